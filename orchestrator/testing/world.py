"""A world in which a runbook can be run for a test: AWS as it behaves, on a clock that moves as fast as the test.

The plan, the engine, the actions, the checks and AWS's own drivers are the ones of production. AWS is moto under our
overlay; what is not AWS has a simple stand-in. Time is the world's own, so that a drain of five minutes takes
milliseconds.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from orchestrator.adapters.catalogue import Drivers
from orchestrator.errors import UnfitError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.load.inventory import from_environment, load_inventory
from orchestrator.load.runbook import LoadedRunbook, load_runbook
from orchestrator.model.capacity import AutoScaling
from orchestrator.model.inventory import Inventory
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan, PlanRule
from orchestrator.model.switch import Route53FailoverSwitch, Route53WeightsSwitch
from orchestrator.model.traffic import Intake
from orchestrator.planning import make_plan
from orchestrator.planning.planner import NO_OVERRIDES
from orchestrator.ports import Inbox, MailClient, MailGate, MailQueue, Node, ScalingGroup, TrafficSwitch
from orchestrator.status import RunState, RunStatus, StepStatus, fold
from orchestrator.testing.building import build, in_aws, set_ttl
from orchestrator.testing.loop import LoopTime, run_in
from orchestrator.testing.overlay import AwsWorld, aws_world
from orchestrator.testing.stand_ins import (
    StandInGate,
    StandInMail,
    StandInNode,
    StandInQueue,
    StandInScaling,
    StandInSwitch,
)
from orchestrator.wiring import open_engine

SETTLES_WITHIN: Final = 3600.0
"""Seconds of the world's time after which all that was built is healthy, in sync and deployed."""

PEOPLE: Final = ("a person", "a second person")
"""Who approves what a run waits for."""

THEY_TAKE: Final = 60.0
"""Seconds that they take to answer."""

Listener = Callable[[Entry], None]
Snapshot = Mapping[str, Mapping[str, Intake]]
"""What each member of each pool takes."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run in the world has ended."""

    plan: Plan
    state: RunState
    entries: Sequence[Entry]
    before: Snapshot
    after: Snapshot
    seconds: float
    """That it took, of the world's time."""

    @property
    def status(self) -> str:
        """done, undone, stuck, held or refused."""
        return str(self.state.status)

    @property
    def steps(self) -> Mapping[str, str]:
        """Each step's status, by its id."""
        return {planned.id: str(self.state.step(planned.id).status) for planned in self.plan.steps}

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why each step failed that did, by its id."""
        return {
            entry.step: str(entry.data.get("reason", ""))
            for entry in self.entries
            if entry.kind == "step" and entry.data.get("status") in {"failed", "refused", "stuck"}
        }

    def __str__(self) -> str:
        why = "; ".join(f"{step}: {reason}" for step, reason in self.reasons.items())
        return f"{self.plan.runbook.runbook}: {self.status}" + (f" ({why})" if why else "")


class World:
    """What a test holds: ``run`` and ``plan`` a runbook, and the means to make things go wrong.

    ``aws`` has the clock, the ``faults`` and AWS's own state (``aws.targets``…); ``mail.broken`` are sites that answer
    no probe; ``switches`` are the stand-ins of what is not AWS.
    """

    def __init__(self, inventory: Inventory, aws: AwsWorld, journal: SqliteJournal) -> None:
        self.aws: Final = aws
        self.inventory: Final = build(inventory, aws)
        """As it reads in this world: with the ids that AWS has made up."""
        self._journal = journal
        self._runs = 0
        self._time = LoopTime(aws.clock)
        self._drivers = Drivers(self.inventory, self._time)
        self.switches: Final[Mapping[str, StandInSwitch]] = {
            name: StandInSwitch(pool, self._time)
            for name, pool in self.inventory.pools.items()
            if not in_aws(pool.switch)
        }
        self._switch: Callable[[str], TrafficSwitch] = cache(
            lambda pool: self.switches[pool] if pool in self.switches else self._drivers.switch(pool)
        )
        self._scaling: Callable[[str, str], ScalingGroup] = cache(self._scaling_of)
        self._node: Callable[[str], Node] = cache(self._node_of)
        self._gate: Callable[[str], StandInGate] = cache(self._gate_of)
        self.mail: Final = StandInMail(self.inventory, self._switch, self._time)
        aws.clock.advance(SETTLES_WITHIN)

    def plan(self, runbook: Path | str, parameters: Mapping[str, str] | None = None, /, **named: str) -> Plan:
        """Plan a runbook; parameters are given as ``site="ord"``, or as a mapping.

        Raises:
            InputError: the runbook cannot be read.
            PlanRefusedError: it must not be run.
        """
        return run_in(self.aws.clock, self._plan(self._load(Path(runbook), {**(parameters or {}), **named})))

    def run(
        self,
        runbook: Path | str,
        parameters: Mapping[str, str] | None = None,
        /,
        **named: str,
    ) -> Ran:
        """Plan a runbook and run it to its end; people approve what it waits for.

        Raises:
            InputError: the runbook cannot be read.
            PlanRefusedError: it must not be run.
        """
        return self.run_loaded(self._load(Path(runbook), {**(parameters or {}), **named}))

    def run_loaded(
        self,
        runbook: LoadedRunbook,
        hear: Callable[[Plan, LoopTime], Listener] | None = None,
        overrides: Mapping[PlanRule, str] = NO_OVERRIDES,
    ) -> Ran:
        """As ``run``, with rules of planning set aside; ``hear`` makes, of the plan, what is told of every entry."""
        return run_in(self.aws.clock, self._run(runbook, hear, overrides))

    def snapshot(self) -> Snapshot:
        """What every member of every pool takes now, by AWS's own word."""
        return run_in(self.aws.clock, self._look())

    def set_ttl(self, pool: str, seconds: int) -> None:
        """Give the Route 53 records of a pool another TTL than 60 s, as if they had had it for long.

        Raises:
            UnfitError: the pool's switch has no such records; the TTL of a ``dns`` switch stands in the inventory.
        """
        switch = self.inventory.pools[pool].switch
        if not isinstance(switch, Route53WeightsSwitch | Route53FailoverSwitch):
            raise UnfitError(
                f"cannot set the TTL of pool {pool}: its switch is none of Route 53",
                remedy="for a switch of kind dns, write 'ttl' into the inventory",
            )
        set_ttl(switch, seconds)
        self.aws.clock.advance(SETTLES_WITHIN)

    def _load(self, runbook: Path, parameters: Mapping[str, str]) -> LoadedRunbook:
        return load_runbook(runbook, self.inventory, parameters)

    async def _look(self) -> Snapshot:
        found = {}
        for pool in self.inventory.pools:
            readings = await self._switch(pool).read()
            found[pool] = {name: reading.intake for name, reading in readings.items()}
        return found

    async def _plan(self, loaded: LoadedRunbook, overrides: Mapping[PlanRule, str] = NO_OVERRIDES) -> Plan:
        return await make_plan(loaded.runbook, loaded.parameters, _Outside(self), self._time, overrides=overrides)

    async def _run(
        self,
        loaded: LoadedRunbook,
        hear: Callable[[Plan, LoopTime], Listener] | None,
        overrides: Mapping[PlanRule, str],
    ) -> Ran:
        before, began = await self._look(), self._time.monotonic()
        plan = await self._plan(loaded, overrides)
        self._runs += 1
        run = f"test-{self._runs}"
        self._journal.create(run, plan.model_dump_json(by_alias=True), plan.runbook.runbook, self._time.now())
        people = _People(run, self._journal, self._time)
        listener = hear(plan, self._time) if hear is not None else None

        def told(entry: Entry) -> None:
            people.hear(entry)
            if listener is not None:
                listener(entry)

        engine = open_engine(plan, run, self._journal, self._time, told, _Outside(self))
        state = await engine.run()
        entries = self._journal.entries(run)
        return Ran(plan, state, entries, before, await self._look(), self._time.monotonic() - began)

    def _scaling_of(self, pool: str, site: str) -> ScalingGroup:
        scaling = self.inventory.pools[pool].sites[site].scaling
        if scaling is None or isinstance(scaling, AutoScaling):
            return self._drivers.scaling(pool, site)
        return StandInScaling(self._time)

    def _node_of(self, host: str) -> Node:
        if self.inventory.host(host).node is None:
            return self._drivers.node(host)
        return StandInNode()

    def _gate_of(self, host: str) -> StandInGate:
        if self.inventory.host(host).gate is None:
            raise UnfitError(f"cannot drain {host}: the inventory gives it no gate", remedy=f"add hosts.{host}.gate")
        return StandInGate()


class _Outside:
    """``ports.Outside`` of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.switch = world._switch
        self.scaling = world._scaling
        self.node = world._node
        self._gate = world._gate

    @property
    def inventory(self) -> Inventory:
        return self._world.inventory

    def gate(self, host: str) -> MailGate:
        return self._gate(host)

    def queue(self, host: str) -> MailQueue:
        return StandInQueue()

    def mail_client(self) -> MailClient:
        return self._world.mail

    def inbox(self, pool: str) -> Inbox:
        return self._world.mail


class _People:
    """Two people who read what a run waits for, and say yes after a minute."""

    def __init__(self, run: str, journal: SqliteJournal, time: LoopTime) -> None:
        self._run = run
        self._journal = journal
        self._time = time

    def hear(self, entry: Entry) -> None:
        """A line of the report."""
        said = str(entry.data.get("reason" if entry.kind == "run" else "text", ""))
        step, waits, what = said.partition("waits for ")
        if entry.kind not in {"run", "progress"} or not waits:
            return
        if what.startswith(("a person", "an approval", "the approval")):
            asyncio.get_running_loop().call_later(THEY_TAKE, self._say_yes, entry.step or step.strip())

    def _say_yes(self, step: str) -> None:
        state = fold(self._journal.entries(self._run))
        status = state.step(step).status
        if state.status in {RunStatus.DONE, RunStatus.UNDONE, RunStatus.STUCK} or status is StepStatus.DONE:
            return
        direction = "undo" if status is StepStatus.UNDOING else "out"
        for who in PEOPLE:
            data: dict[str, JsonValue] = {"by": who, "note": "", "ahead": False, "direction": direction}
            entry = Entry(run=self._run, at=self._time.now(), epoch=0, kind="approval", step=step, data=data)
            self._journal.append(entry)


def read_inventory(paths: Sequence[Path]) -> Inventory:
    """An inventory for a test: with ``${env:NAME}``, and nothing of a running lab.

    Raises:
        InputError: it cannot be read.
    """
    return load_inventory(paths, {"env": from_environment})


@contextmanager
def open_world(*inventory: Path | str, seed: int = 0) -> Iterator[World]:
    """A world with everything of AWS that the inventory names; several files are merged.

    Args:
        inventory: the files.
        seed: of what AWS makes up, as ids. The same seed gives the same world.

    Raises:
        InputError: the inventory cannot be read.
        RuntimeError: another world is open in this process.
    """
    with world_of(read_inventory([Path(one) for one in inventory]), seed=seed) as world:
        yield world


@contextmanager
def world_of(inventory: Inventory, *, seed: int = 0) -> Iterator[World]:
    """As ``open_world``, for an inventory that has been read."""
    with (
        aws_world(seed) as aws,
        tempfile.TemporaryDirectory(prefix="failover-test-") as folder,
        SqliteJournal(Path(folder) / "journal.sqlite") as journal,
    ):
        yield World(inventory, aws, journal)
