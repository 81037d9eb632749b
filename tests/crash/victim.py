"""The orchestrator that is killed: real planner, engine, actions and journal file; its ports lead into the world."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, NoReturn, cast

from orchestrator.actions.catalogue import actions_of
from orchestrator.checks.gate import Gatekeeper
from orchestrator.checks.guards import GuardKeeper
from orchestrator.engine.engine import Engine
from orchestrator.engine.recorder import Recorder
from orchestrator.errors import InputError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.load.runbook import LoadedRunbook
from orchestrator.model.check import CheckGuard
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan
from orchestrator.model.traffic import Admin, GateReading, Intake, MemberReading, QueueDepth, Session
from orchestrator.planning import make_plan
from orchestrator.ports import Inbox, MailClient, MailGate, MailQueue, TrafficSwitch
from orchestrator.status import RunStatus, fold
from tests.crash.lockstep import Broken, Line, Over, VictimLoop
from tests.crash.points import Death, JournalWithPoints, Points, Side
from tests.unit.fakes.clock import LoopClock
from tests.unit.fakes.mail import FakeGate, FakeSwitch
from tests.unit.fakes.no_capacity import NoCapacity
from tests.unit.library.stage import Judge

RUN = "r1"
ENDS = frozenset({RunStatus.DONE, RunStatus.UNDONE, RunStatus.REFUSED})


class Task(StrEnum):
    """What somebody has typed."""

    RUN = "run"
    RESUME = "resume"
    UNDO = "undo"


class Result(NamedTuple):
    """How a process ended that nobody killed."""

    status: RunStatus | None
    """None: the journal has no such run."""
    passed: Sequence[str]
    """The writes that it made."""


@dataclass(frozen=True, slots=True)
class _Wire:
    """The way of a port's calls into the world."""

    line: Line
    points: Points

    async def read(self, target: tuple[str, str], method: str, *arguments: object) -> object:
        """A call that changes nothing."""
        return await self.line.send(target, method, *arguments)

    async def write(self, target: tuple[str, str], method: str, *arguments: object) -> object:
        """A side effect."""
        number = self.points.begin(f"{target[0]} {method}")
        answer = self.line.send(target, method, *arguments)
        self.points.at(number, Side.UNDER_WAY)
        result = await answer
        self.points.at(number, Side.AFTER)
        return result


class _Switch:
    """``ports.TrafficSwitch``."""

    max_weight = FakeSwitch.max_weight

    def __init__(self, pool: str, wire: _Wire) -> None:
        self._me = ("switch", pool)
        self._wire = wire

    async def read(self) -> Mapping[str, MemberReading]:
        return cast("Mapping[str, MemberReading]", await self._wire.read(self._me, "read"))

    async def elsewhere(self) -> int:
        return cast("int", await self._wire.read(self._me, "elsewhere"))

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        await self._wire.write(self._me, "apply", changes)

    async def settling(self) -> str:
        return cast("str", await self._wire.read(self._me, "settling"))

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        return cast("Sequence[Session]", await self._wire.read(self._me, "sessions", members))

    async def close(self, session: Session) -> None:
        await self._wire.write(self._me, "close", session)

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        return FakeSwitch({}).by_hand(weights, admins)


class _Gate:
    """``ports.MailGate``."""

    def __init__(self, host: str, wire: _Wire) -> None:
        self._me = ("gate", host)
        self._wire = wire

    async def read(self) -> GateReading:
        return cast("GateReading", await self._wire.read(self._me, "read"))

    async def set_closed(self, closed: bool) -> None:
        await self._wire.write(self._me, "set_closed", closed)

    async def look(self) -> GateReading:
        return cast("GateReading", await self._wire.read(self._me, "look"))

    async def turn_away(self, client: str, number: int | None) -> bool:
        return bool(await self._wire.write(self._me, "turn_away", client, number))

    def by_hand(self, closed: bool) -> Sequence[str]:
        return FakeGate().by_hand(closed)


class _Queue:
    """``ports.MailQueue``."""

    def __init__(self, host: str, wire: _Wire) -> None:
        self._me = ("queue", host)
        self._wire = wire

    async def depth(self) -> QueueDepth:
        return cast("QueueDepth", await self._wire.read(self._me, "depth"))

    async def flush(self) -> None:
        await self._wire.write(self._me, "flush")


@dataclass(frozen=True, slots=True)
class _FarWorld(NoCapacity):
    """``ports.Outside``, in another process."""

    inventory: Inventory
    wire: _Wire

    def switch(self, pool: str) -> TrafficSwitch:
        return _Switch(pool, self.wire)

    def gate(self, host: str) -> MailGate:
        return _Gate(host, self.wire)

    def queue(self, host: str) -> MailQueue:
        return _Queue(host, self.wire)

    def mail_client(self) -> MailClient:
        raise AssertionError("the judge sends no mail")

    def inbox(self, pool: str) -> Inbox:
        raise AssertionError("the judge reads no mail")


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """One command from its start to its end, or to its death."""

    loaded: LoadedRunbook
    inventory: Inventory
    journal: Path
    task: Task
    death: Death | None

    def work(self, line: Line) -> NoReturn:
        """Do the task on the world's time; end the process."""
        points = Points(self.death, line.say)
        try:
            line.wait()
            with asyncio.Runner(loop_factory=lambda: VictimLoop(line)) as runner:
                status = runner.run(self._do(line, points))
            line.end(Over(Result(status, points.passed)))
        except BaseException:
            line.end(Broken(traceback.format_exc()))
        finally:
            os._exit(0)

    async def _do(self, line: Line, points: Points) -> RunStatus | None:
        with SqliteJournal(self.journal) as file:
            journal = JournalWithPoints(file, points)
            outside = _FarWorld(self.inventory, _Wire(line, points))
            if self.task is Task.RUN:
                plan = await make_plan(self.loaded.runbook, self.loaded.parameters, outside, LoopClock())
                now = LoopClock().now()
                journal.create(RUN, plan.model_dump_json(by_alias=True), plan.runbook.runbook, now)
                return (await self._engine(plan, outside, journal, line).run()).status
            try:
                plan = Plan.model_validate_json(journal.run(RUN).plan)
            except InputError:
                return None
            status = fold(journal.entries(RUN)).status
            if self.task is Task.RESUME:
                return status if status in ENDS else (await self._engine(plan, outside, journal, line).run()).status
            return await self._undo(status, lambda: self._engine(plan, outside, journal, line))

    async def _undo(self, status: RunStatus, engine: Callable[[], Engine]) -> RunStatus:
        """As ``failover undo`` does it."""
        if status in {RunStatus.UNDONE, RunStatus.REFUSED}:
            return status
        if status is RunStatus.PLANNED:
            return engine().close("closed before it began").status
        return (await engine().undo("the operator asks for it")).status

    def _engine(self, plan: Plan, outside: _FarWorld, journal: JournalWithPoints, line: Line) -> Engine:
        """A new owner of the run. Its judge passes everything; its guards are those for capacity and sites."""
        clock = LoopClock()
        recorder = Recorder(RUN, journal.take(RUN), journal, clock, line.say)
        guards = [guard for guard in plan.runbook.guards if not isinstance(guard, CheckGuard)]
        keeper = GuardKeeper(guards, Gatekeeper(plan.runbook.checks, outside, clock), outside, clock)
        actions = actions_of(plan.runbook, outside, clock)
        return Engine(plan, actions, recorder, Judge(fails_at=0), keeper, clock)
