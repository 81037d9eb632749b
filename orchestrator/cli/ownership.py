"""Who works on a run: the locks that keep a second owner away, and what people are told when there is none."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import RefusedError

if TYPE_CHECKING:
    from orchestrator.model.plan import Plan
    from orchestrator.ports import Holder, Lock
    from orchestrator.status import RunState

OVER: Final = frozenset({"done", "undone", "refused"})
"""The RunStatus that no owner goes on from, by value: the command starts without the models behind the type."""


LOGIN_UID: Final = Path("/proc/self/loginuid")
_NOBODY_LOGGED_IN: Final = 2**32 - 1
"""What the kernel has there for what no login has started."""


@contextmanager
def locked(plan: Plan, run: str, *, typed: str = "", take_over: bool = False) -> Iterator[Lock]:
    """The run and its pools, for this process alone while the block lasts.

    With ``take_over`` an owner that gives no sign of life is ended first. ``typed`` is the run as it is typed in a
    command, where that is more than its name.

    Raises:
        RefusedError: somebody else has one of them, or lives and is not to be taken over.
    """
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import lock_names, open_lock

    lock = open_lock(SystemClock())
    if take_over and (ended := lock.take_over(_name(run))):
        print(f"ended {_stripped(ended, run)}: it gave no sign of life", file=sys.stderr)
    holder = lock.holder(_name(run))
    if holder is not None and _stripped(holder.owner, run) != holder.owner:  # not its import, say, which soon ends
        raise _taken(run, holder, typed or run)
    lock.acquire([_name(run), *lock_names(plan)], f"run {run} of {who()} (process {os.getpid()})")
    try:
        yield lock
    finally:
        lock.release()


def owner_of(run: str) -> str | None:
    """Who works on the run now, for people; as ``holder_of``."""
    holder = holder_of(run)
    return None if holder is None else str(holder)


def holder_of(run: str) -> Holder | None:
    """Who works on the run now, as user@host and process; None when nobody does.

    Ask before you read the run's journal, not after: in the other order a run that ends between the two looks
    abandoned.
    """
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import open_lock

    holder = open_lock(SystemClock()).holder(_name(run))
    return holder and holder.model_copy(update={"owner": _stripped(holder.owner, run)})


@dataclass(frozen=True, slots=True)
class Notice:
    """Who works on a run, for people; and where nobody acts there, what to type."""

    words: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.words}: {self.command}" if self.command else self.words


def notice(owner: str | None, state: RunState, typed: str, *, silent: bool = False) -> Notice | None:
    """What to say of who works on a run, given how it is ``typed`` in a command; None where it is over.

    An owner who is ``silent`` has it still, and does nothing.
    """
    from orchestrator.report.advice import way_on

    if owner is not None and silent:
        return Notice(f"{owner} gives no sign of life", f"failover resume {typed} --take-over")
    if owner is not None:
        return Notice(f"{owner} works on it")
    if state.status in OVER:
        return None
    repair = "; after the repair" if state.status == "stuck" else ""
    return Notice(f"nobody works on this run now{repair}", way_on(state, typed).command)


def notice_of(holder: Holder | None, state: RunState, typed: str) -> Notice | None:
    """As ``notice``, of what ``holder_of`` has found before the run's journal was read."""
    if holder is None:
        return notice(None, state, typed)
    return notice(holder.owner, state, typed, silent=holder.silent is not None)


def who(uid: Callable[[], int] = lambda: person(os.getuid(), os.environ, LOGIN_UID)) -> str:
    """The person at this terminal, as the journal and the locks name them: user@host. It is no proof of who it is."""
    number = uid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # a uid without an entry in passwd(5), as in a container
        name = f"uid {number}"
    return f"{name}@{os.uname().nodename}"


def person(uid: int, environment: Mapping[str, str], login_uid: Path) -> int:
    """The uid of the person: root is whoever became it by sudo(8), or logged in (the kernel's loginuid)."""
    if uid != 0:
        return uid
    with suppress(KeyError, ValueError):
        return int(environment["SUDO_UID"])
    with suppress(OSError, ValueError):
        number = int(login_uid.read_text())
        return number if number != _NOBODY_LOGGED_IN else uid
    return uid


def _taken(run: str, holder: Holder, typed: str) -> RefusedError:
    """The error for a run that somebody works on."""
    owner, since = _stripped(str(holder), run), "just now"
    if holder.since is not None:
        since = f"since {datetime.fromtimestamp(holder.since, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    if holder.silent is None:
        how = f"to go back: failover abort {typed}; to follow: failover status {typed} --watch"
        return RefusedError(f"cannot work on {run}: {owner} works on it, {since}", remedy=how)
    how = f"to go on: failover resume {typed} --take-over; to go back: failover undo {typed} --take-over"
    return RefusedError(f"cannot work on {run}: {owner} has it {since}", remedy=how)


def _name(run: str) -> str:
    return f"run {run}"


def _stripped(owner: str, run: str) -> str:
    """Who it is, without the run that they have."""
    return owner.removeprefix(f"{_name(run)} of ")
