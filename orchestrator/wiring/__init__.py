"""The composition root: which real thing stands behind each port.

A real run, a resumed run and a test are the same engine; they differ in the objects that are put together here.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import platformdirs

from orchestrator.actions.catalogue import actions_of
from orchestrator.adapters.catalogue import Drivers
from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.command import commands_for
from orchestrator.adapters.filelock import FileLock
from orchestrator.adapters.maildir import Maildir
from orchestrator.adapters.postfix_map import MapGateDriver
from orchestrator.adapters.postfix_policy import PolicyGateDriver
from orchestrator.adapters.postfix_queue import PostfixMailQueue
from orchestrator.adapters.smtp_client import SmtpClient
from orchestrator.checks.gate import Gatekeeper
from orchestrator.checks.guards import GuardKeeper
from orchestrator.engine.engine import Engine
from orchestrator.engine.recorder import Listener, Recorder
from orchestrator.engine.remaining import ManualWork, to_undo
from orchestrator.engine.remaining import by_hand as work_by_hand
from orchestrator.errors import RefusedError, UnfitError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.journal.sqlite_file import is_missing
from orchestrator.model.inventory import Inventory, PolicyGate
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan, PlanRule
from orchestrator.model.runbook import Runbook
from orchestrator.planning import History, Recheck, make_plan, recheck, watched_guards
from orchestrator.planning.planner import NO_OVERRIDES
from orchestrator.ports import (
    Clock,
    Holder,
    Inbox,
    Journal,
    Lock,
    MailClient,
    MailGate,
    MailQueue,
    Node,
    Outside,
    RunRow,
    ScalingGroup,
    TrafficSwitch,
)
from orchestrator.status import RunState, RunStatus
from orchestrator.wiring.places import targets_by_place

ROOT_LOCKS: Final = Path("/run/lock/failover")
"""Where runs of root lock, whatever home folder sudo left them with (FHS 3.0, 5.9)."""

_OVER: Final = frozenset({RunStatus.DONE, RunStatus.UNDONE, RunStatus.REFUSED})
"""Runs that touch nothing any more."""


def state_folder() -> Path:
    """Where this machine's journal and locks live: ``FAILOVER_STATE``, else the XDG state folder."""
    override = os.environ.get("FAILOVER_STATE")
    return Path(override).absolute() if override else Path(platformdirs.user_state_path("failover"))


def own_journal() -> Path:
    """The file of this machine's own journal."""
    return state_folder() / "journal.sqlite"


def open_journal(path: Path | None) -> SqliteJournal:
    """The journal that is in the file at ``path`` already, or this machine's own.

    Raises:
        JournalError: there is none, or it cannot be opened.
    """
    return SqliteJournal.existing(path or own_journal())


def find_journal(path: Path | None) -> SqliteJournal | None:
    """As ``open_journal``; None where this machine has no journal of its own yet."""
    return None if path is None and is_missing(own_journal()) else open_journal(path)


def make_journal(path: Path | None) -> SqliteJournal:
    """As ``open_journal``, but the journal is made where it is missing: for commands that begin a run in it."""
    return SqliteJournal(path or own_journal())


def typed_run(journal: SqliteJournal, run: str) -> str:
    """A run of the journal as it is typed behind a command: ``RUN``, or ``RUN --journal FILE``, for a shell."""
    return run + typed_journal(journal)


def typed_journal(journal: SqliteJournal) -> str:
    """What a command must have behind it to mean this journal: nothing where it is this machine's own."""
    if journal.path.resolve() == own_journal().resolve():
        return ""
    return f" --journal {shlex.quote(str(journal.path.absolute()))}"


def open_lock(clock: Clock) -> Lock:
    """What keeps two orchestrators of this machine apart."""
    return FileLock(lock_folder(os.geteuid()), clock)


def lock_folder(user: int, shared: Path = ROOT_LOCKS) -> Path:
    """Where the locks of the user with this uid are: for root ``shared``, unless ``FAILOVER_STATE`` names a place."""
    if user == 0 and not os.environ.get("FAILOVER_STATE") and _is_ours_alone(shared):
        return shared
    return state_folder() / "locks"


def _is_ours_alone(folder: Path) -> bool:
    """Make the folder; whether nobody else can put files into it, as its parent may be open to all (as /tmp is)."""
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not others_write


class RealOutside:
    """The ports of an inventory, on the real systems; each is made when it is first asked for."""

    def __init__(self, inventory: Inventory, clock: Clock) -> None:
        self._inventory = inventory
        self._client = SmtpClient(clock)
        self._spare = tuple(sorted({pool.test_mail.sender for pool in inventory.pools.values()}))
        drivers = Drivers(inventory, clock)
        self.switch: Callable[[str], TrafficSwitch] = cache(drivers.switch)
        self.scaling: Callable[[str, str], ScalingGroup] = cache(drivers.scaling)
        self.node: Callable[[str], Node] = cache(drivers.node)
        self.gate: Callable[[str], MailGate] = cache(self._gate)
        self.queue: Callable[[str], MailQueue] = cache(self._queue)
        self.inbox: Callable[[str], Inbox] = cache(self._inbox)

    @property
    def inventory(self) -> Inventory:
        """See ``Outside.inventory``."""
        return self._inventory

    def mail_client(self) -> MailClient:
        """See ``Outside.mail_client``."""
        return self._client

    def _gate(self, host: str) -> MailGate:
        it = self._inventory.hosts[host]
        if it.gate is None:
            raise UnfitError(f"cannot drain {host}: the inventory gives it no gate", remedy=f"add hosts.{host}.gate")
        commands = commands_for(host, it)
        if isinstance(it.gate, PolicyGate):
            return PolicyGateDriver(host, it.gate, commands, self._spare)
        return MapGateDriver(host, it.gate, commands, self._spare)

    def _queue(self, host: str) -> MailQueue:
        it = self._inventory.hosts[host]
        if it.queue is None:
            raise UnfitError(f"cannot see the queue of {host}", remedy=f"add hosts.{host}.queue to the inventory")
        return PostfixMailQueue(host, it.queue, commands_for(host, it))

    def _inbox(self, pool: str) -> Inbox:
        folder = self._inventory.pools[pool].test_mail.inbox
        if folder is None:
            raise UnfitError(
                f"cannot see probes of pool {pool} arrive: the inventory names no inbox",
                remedy=f"add pools.{pool}.test_mail.inbox",
            )
        return Maildir(Path(folder))


async def plan_runbook(
    runbook: Runbook,
    inventory: Inventory,
    parameters: Mapping[str, str | int | float],
    *,
    overrides: Mapping[PlanRule, str] = NO_OVERRIDES,
    in_use: Sequence[str] = (),
    warnings: Sequence[str] = (),
    durations: Sequence[Entry] = (),
    window_ends: float | None = None,
) -> Plan:
    """Observe the real world and plan; see ``make_plan``. ``durations`` are those that the journal has kept.

    Raises:
        PlanRefusedError: it must not be run.
    """
    clock = SystemClock()
    outside = RealOutside(inventory, clock)
    return await make_plan(
        runbook,
        parameters,
        outside,
        clock,
        overrides=overrides,
        in_use=in_use,
        warnings=warnings,
        history=History.of(durations),
        window_ends=window_ends,
    )


async def recheck_plan(plan: Plan, *, in_use: Sequence[str] = ()) -> Recheck:
    """Look at the real world again before a saved plan is run; see ``recheck``.

    Raises:
        PlanRefusedError: something cannot be read now, or the plan must not be run any more.
    """
    clock = SystemClock()
    return await recheck(plan, RealOutside(plan.inventory, clock), clock, in_use=in_use)


def lock_names(plan: Plan) -> Sequence[str]:
    """What a run of this plan must have for itself: its pools, as their switch knows them, and the gates it closes."""
    return sorted(targets_by_place(plan.runbook, plan.inventory))


def runs_on_same_pools(
    runbook: Runbook, inventory: Inventory, journal: SqliteJournal | None, clock: Clock, but: str | None = None
) -> tuple[str, ...]:
    """Who else works on the runbook's pools and hosts, a line each: runs that are not over, and whoever holds one.

    Runs of another journal are only seen while somebody works on them; without a ``journal``, where there is none yet,
    so are all. The run ``but`` does not count.

    Raises:
        RefusedError: the locks cannot be looked at.
    """
    places, lock = targets_by_place(runbook, inventory), open_lock(clock)
    holders = {place: lock.holder(place) for place in places}  # before the journal: a run may end in between
    lines, known = [], {but}
    option = typed_journal(journal) if journal is not None else ""
    for row in journal.runs() if journal is not None else ():
        if row.run == but or row.status in _OVER:
            continue
        shared = _shared(row, places)
        if not shared:
            continue
        known.add(row.run)
        typed = row.run + option
        where = f"works on {', '.join(shared)}"
        if owner := lock.holder(f"run {row.run}"):
            lines.append(f"{owner.owner}, {row.runbook}, {where} now — {_how_to_get_rid_of(owner, typed)}")
        else:
            what = f"run {row.run} ({row.runbook}, {row.status}) {where}"
            lines.append(f"{what} — failover resume {typed}, or failover undo {typed}")
    strangers: dict[str, list[str]] = {}
    for place, holder in holders.items():
        if holder and not any(holder.owner.startswith(f"run {run} ") for run in known):
            strangers.setdefault(str(holder), []).append(places[place])
    lines += [
        f"{holder} works on {', '.join(_told(targets))} now — wait until it is over"
        for holder, targets in strangers.items()
    ]
    return tuple(lines)


def _how_to_get_rid_of(owner: Holder, run: str) -> str:
    if owner.silent is None:
        return "wait until it is over"
    return f"it gives no sign of life: failover resume {run} --take-over, or failover undo {run} --take-over"


def _shared(row: RunRow, places: Mapping[str, str]) -> Sequence[str]:
    """What a run of the journal works on, of that at ``places``; all where its plan cannot be read."""
    try:
        plan = read_plan(row.plan, row.run)
    except RefusedError:
        return _told(places.values())
    theirs = targets_by_place(plan.runbook, plan.inventory)
    return _told(target for place, target in places.items() if place in theirs)


def _told(targets: Iterable[str]) -> Sequence[str]:
    """What is said of shared targets: a pool stands for its hosts."""
    found = sorted(set(targets))
    return [target for target in found if target.startswith("pool ")] or found


def open_engine(
    plan: Plan, run: str, journal: Journal, clock: Clock, listener: Listener, outside: Outside | None = None
) -> Engine:
    """The engine for a run that the journal knows; from here on this process owns the run.

    It works on the real systems, or on ``outside``.
    """
    outside = outside or RealOutside(plan.inventory, clock)
    gatekeeper = Gatekeeper(plan.runbook.checks, outside, clock)
    guards = GuardKeeper(watched_guards(plan), gatekeeper, outside, clock)
    recorder = Recorder(run, journal.take(run), journal, clock, listener)
    return Engine(plan, actions_of(plan.runbook, outside, clock), recorder, gatekeeper, guards, clock)


def by_hand(plan: Plan, state: RunState) -> Sequence[ManualWork]:
    """What a person does to take back what is left of a run, without us. Nothing is asked and nothing is done.

    Raises:
        RefusedError: another version of this program recorded what was there before.
    """
    if not to_undo(plan, state):
        return []
    clock = SystemClock()
    try:
        return work_by_hand(plan, state, actions_of(plan.runbook, RealOutside(plan.inventory, clock), clock))
    except (ValueError, KeyError) as error:
        raise RefusedError(
            "cannot say what is left to do by hand: another version of failover recorded what was there before",
            remedy="use the version that started the run",
        ) from error


def read_plan(text: str, run: str) -> Plan:
    """The plan of a run in the journal.

    Raises:
        RefusedError: another version of this program wrote it.
    """
    try:
        return Plan.model_validate_json(text)
    except ValueError as error:
        raise RefusedError(
            f"cannot read the plan of run {run}: it was written by another version of failover",
            remedy="use the version that started the run",
        ) from error
