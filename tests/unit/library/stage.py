"""A stage for whole runs: the lab's hosts as fakes, mail clients on them, and a person who does what is asked.

The actions, the planner, the engine, and the guards for capacity and sites are the real ones.
"""

# ruff: noqa: D102 - the ports say what their methods mean

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import JsonValue

from orchestrator.actions.catalogue import actions_of
from orchestrator.checks.gate import Gatekeeper
from orchestrator.checks.guards import GuardKeeper
from orchestrator.engine.engine import Engine, Guards
from orchestrator.engine.recorder import Recorder
from orchestrator.load.runbook import LoadedRunbook
from orchestrator.model.check import CheckGuard, Verdict
from orchestrator.model.inventory import Inventory
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import HoldStep, ManualStep
from orchestrator.model.traffic import Intake
from orchestrator.planning import make_plan
from orchestrator.ports import Inbox, MailClient, MailGate, MailQueue, TrafficSwitch
from orchestrator.status import RunState, RunStatus, StepStatus, fold

from ..fakes import mail
from ..fakes.clock import LoopClock, run
from ..fakes.journal import MemoryJournal
from ..fakes.judges import FakeGuards, verdict
from ..fakes.mail import FakeGate, FakeQueue, FakeSwitch, Habit
from ..fakes.no_capacity import NoCapacity
from .shelf import lab_inventory

T = TypeVar("T")
World = tuple[dict[str, Intake], dict[str, bool]]

RUN = "r1"
SPARE = "dfw"
CLIENTS = 8
PEOPLE = ("ada", "bob")
"""Two, as some steps want two different ones."""
THINKS_FOR = 3.0
"""Seconds that they take for a task."""


class FakeLab(NoCapacity):
    """``ports.Outside``: three sites of two hosts behind one switch; the spare takes no traffic."""

    def __init__(self, inventory: Inventory) -> None:
        self.inventory = inventory
        hosts = inventory.hosts
        self.pool = mail.Pool()
        weights = {name: Intake(weight=0 if name.startswith(SPARE) else 100) for name in hosts}
        self.one_switch = FakeSwitch(weights, self.pool)
        self.gates = {name: FakeGate() for name in hosts}
        self.queues = {name: FakeQueue(moving=2) for name in hosts}

    @property
    def world(self) -> World:
        """What a run may change."""
        return dict(self.one_switch.members), {name: gate.closed for name, gate in self.gates.items()}

    def switch(self, pool: str) -> TrafficSwitch:
        return self.one_switch

    def gate(self, host: str) -> MailGate:
        return self.gates[host]

    def queue(self, host: str) -> MailQueue:
        return self.queues[host]

    def mail_client(self) -> MailClient:
        raise AssertionError("the judge of this stage sends no mail")

    def inbox(self, pool: str) -> Inbox:
        raise AssertionError("the judge of this stage reads no mail")


class Judge:
    """Passes everything up to the judgement number ``fails_at``, which fails, as its check does from then on."""

    def __init__(self, fails_at: int) -> None:
        self.asked: list[str] = []
        self._fails_at = fails_at
        self._broken = ""

    async def judge(self, name: str, progress: Callable[[str], None]) -> Verdict:
        self.asked.append(name)
        if len(self.asked) == self._fails_at:
            self._broken = name
        await asyncio.sleep(1.0)
        return verdict(name, "fail" if name == self._broken else "pass")

    async def healthy(self, pool: str, site: str) -> Verdict:
        return verdict(site, "pass")


@dataclass
class Ended:
    """What is there when the curtain falls."""

    plan: Plan
    before: World
    after: World
    status: RunStatus
    first_status: RunStatus
    """Before a run that was held has been undone."""
    state: RunState
    asked: list[str]
    """The checks that were judged."""
    pool: mail.Pool
    tasks: list[str] = field(default_factory=list)
    """What the person has done, by step, in order; ``undo STEP`` on the way back."""

    @property
    def left_over(self) -> set[str]:
        """Manual steps that a person has done, and that nobody has returned, undone or met with a plan B."""
        takes_back = {one.id: one.returns or one.instead_of for one in self.plan.steps}
        manual = {one.id for one in self.plan.forward if isinstance(one.step, ManualStep)}
        left: set[str] = set()  # who is asked again for what is done already does nothing
        for task in self.tasks:
            step = task.removeprefix("undo ")
            what = takes_back[step] or step
            goes_back = (takes_back[step] is not None) != task.startswith("undo ")
            left = left - {what} if goes_back else left | {what}
        return left & manual


class Stage:
    """One run of one runbook."""

    def __init__(
        self, loaded: LoadedRunbook, fails_at: int = 0, breach_at: float | None = None, judge: Judge | None = None
    ) -> None:
        self._loaded = loaded
        self._lab = FakeLab(lab_inventory())
        self._journal = MemoryJournal()
        self._judge = judge or Judge(fails_at)
        self._breach_at = breach_at
        """Seconds after which the guards find a breach."""
        self._clock = LoopClock()
        self._tasks: list[str] = []

    def play(self, *, ahead: bool = False, undo: Sequence[RunStatus] = (RunStatus.HELD,)) -> Ended:
        """Plan it and run it; undo it where it ends so. Approvals are given ahead, or by a person when asked."""
        return run(self._with_clients(lambda: self._play(ahead, undo)))

    def plan(self) -> Plan:
        """Only plan it."""
        return run(self._with_clients(self._make_plan))

    async def _play(self, ahead: bool, undo: Sequence[RunStatus]) -> Ended:
        plan = await self._make_plan()
        before = self._lab.world
        self._journal.create(RUN, plan.model_dump_json(by_alias=True), plan.runbook.runbook, 0.0)
        for step in approvable(plan.forward) if ahead else ():
            self._approve(step, ahead=True)
        first = (await self._engine(plan).run()).status
        if first in undo:
            await self._engine(plan).undo("the operator asks for it")
        return self._ended(plan, before, first)

    def _ended(self, plan: Plan, before: World, first: RunStatus) -> Ended:
        state = fold(self._journal.entries(RUN))
        return Ended(
            plan,
            before,
            self._lab.world,
            state.status,
            first,
            state,
            self._judge.asked,
            self._lab.pool,
            self._tasks,
        )

    async def _make_plan(self) -> Plan:
        return await make_plan(self._loaded.runbook, self._loaded.parameters, self._lab, self._clock)

    def _engine(self, plan: Plan) -> Engine:
        """A new owner of the run."""
        self._recorder = Recorder(RUN, self._journal.take(RUN), self._journal, self._clock, self._hear)
        actions = actions_of(plan.runbook, self._lab, self._clock)
        return Engine(plan, actions, self._recorder, self._judge, self._guards(plan), self._clock)

    def _guards(self, plan: Plan) -> Guards:
        if self._breach_at is not None:
            return FakeGuards(self._breach_at)
        gatekeeper = Gatekeeper(plan.runbook.checks, self._lab, self._clock)
        guards = [guard for guard in plan.runbook.guards if not isinstance(guard, CheckGuard)]
        return GuardKeeper(guards, gatekeeper, self._lab, self._clock)

    def _hear(self, entry: Entry) -> None:
        """The person reads what the run waits for, does it, and says so."""
        said = str(entry.data.get("reason" if entry.kind == "run" else "text", ""))
        step, waits, what = said.partition("waits for ")
        if not waits or not what.startswith(("a person", "an approval", "the approval")):
            return
        if entry.kind in {"run", "progress"}:  # a run that goes back is not held, and tells it as progress
            self._do(entry.step or step.strip())

    def _do(self, step: str) -> None:
        goes_back = self._goes_back(step)
        self._tasks.append(f"undo {step}" if goes_back else step)

        def say() -> None:
            if self._goes_back(step) == goes_back:  # else the opposite is asked for by now
                self._approve(step, ahead=False)

        asyncio.get_running_loop().call_later(THINKS_FOR, say)

    def _goes_back(self, step: str) -> bool:
        return fold(self._journal.entries(RUN)).step(step).status is StepStatus.UNDOING

    def _approve(self, step: str, *, ahead: bool) -> None:
        direction = "undo" if self._goes_back(step) else "out"
        for who in PEOPLE:
            data: dict[str, JsonValue] = {"by": who, "note": "", "ahead": ahead, "direction": direction}
            self._journal.append(Entry(run=RUN, at=0.0, epoch=0, kind="approval", step=step, data=data))

    async def _with_clients(self, tell: Callable[[], Coroutine[object, object, T]]) -> T:
        """Let clients work for two seconds, then ``tell``; they are still at work."""
        dice = random.Random(7)
        clients = [asyncio.create_task(self._client(number, dice)) for number in range(CLIENTS)]
        await asyncio.sleep(2.0)
        try:
            return await tell()
        finally:
            for one in clients:
                one.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def _client(self, number: int, dice: random.Random) -> None:
        """A client that connects again whenever its session has ended, where the switch sends it."""
        for port in range(40000 + number, 65000, CLIENTS):
            members = self._lab.one_switch.members
            weights = [intake.share_weight for intake in members.values()]
            member = dice.choices(list(members), weights)[0]
            await mail.client(f"192.0.2.7:{port}", Habit(gap=0.9), member, self._lab.pool, self._lab.gates[member])


def approvable(steps: Sequence[PlannedStep]) -> Iterator[str]:
    """The steps that wait for a person on the way out."""
    by_id = {planned.id: planned.step for planned in steps}
    for planned in steps:
        does = by_id[planned.returns] if planned.returns else planned.step
        until_approval = isinstance(does, HoldStep) and does.with_.until == "approval"
        if until_approval or isinstance(does, ManualStep) or planned.step.approval:
            yield planned.id
