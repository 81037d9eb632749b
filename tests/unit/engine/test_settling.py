"""A run that is killed while clients meet the old answer: who takes it on waits anew, and tells nothing too soon."""

# ruff: noqa: D102 - the ports say what their methods mean

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest

from orchestrator.actions.action import Action
from orchestrator.actions.settling import PATIENCE
from orchestrator.actions.take_out import TakeOut
from orchestrator.actions.traffic import TrafficShift
from orchestrator.engine.engine import Engine
from orchestrator.engine.recorder import Recorder
from orchestrator.errors import UnreachableError
from orchestrator.model.inventory import Inventory
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import Runbook, ShiftStep, TakeOutStep
from orchestrator.model.traffic import Intake, MemberReading
from orchestrator.model.value import Value
from orchestrator.planning import ordered
from orchestrator.status import RunState, RunStatus, StepStatus, fold

from ..fakes.clock import EPOCH, LoopClock, run
from ..fakes.elsewhere import DistantSwitch, pool_behind
from ..fakes.journal import Killed, MemoryJournal
from ..fakes.judges import FakeGuards, FakeJudge
from ..fakes.mail import moment
from .scene import INVENTORY, RUN, StepText, back, verify

SITES = {"ord": ["o"], "iad": ["i"]}
SETTLES = 30.0
DRAINS = 50.0

SHIFT: StepText = {"id": "shift", "do": "traffic.shift", "with": {"pool": "dns", "from": "ord", "to": "iad"}}
OUT: StepText = {"id": "out", "do": "traffic.drain", "with": {"pool": "targets", "host": "o", "deadline": "5m"}}


class Driver(DistantSwitch):
    """One process's driver of a switch that outlives it: what a process before has written it does not know of."""

    def __init__(self, world: DistantSwitch, journal: MemoryJournal, kind: str) -> None:
        super().__init__(pool_behind(kind, SITES).switch, {})
        self._world = world
        self._journal = journal
        self._since: float | None = None

    async def read(self) -> Mapping[str, MemberReading]:
        return await self._world.read()

    async def elsewhere(self) -> int:
        return await self._world.elsewhere()

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        if self._journal.dead:
            raise Killed
        self._since = moment()
        await self._world.apply(changes)

    async def settling(self) -> str:
        if moment() < self._world.lost_until:
            raise UnreachableError("cannot ask 192.0.2.53: no answer within 2s")
        self._since = moment() if self._since is None else self._since
        left = self._since + SETTLES - moment()
        return f"resolvers may hold the old answer for {left:g}s more" if left > 0 else ""


class Sites:
    """A pool behind DNS, and one behind a load balancer; one run over both, and its owners."""

    def __init__(self, *steps: StepText, judge: Mapping[str, str] | None = None) -> None:
        kinds = {"dns": "dns", "targets": "elbv2-targets"}
        pools = {name: pool_behind(kind, SITES) for name, kind in kinds.items()}
        inventory = Inventory.model_validate(
            {**INVENTORY.model_dump(by_alias=True), "pools": {n: p.model_dump(by_alias=True) for n, p in pools.items()}}
        )
        runbook = Runbook.model_validate({"runbook": "sites", "steps": steps})
        self.plan = Plan(runbook=runbook, inventory=inventory, parameters={}, steps=ordered(runbook))
        self.worlds = {
            "dns": DistantSwitch(pools["dns"].switch, {"o": Intake(weight=1), "i": Intake(weight=0)}),
            "targets": DistantSwitch(pools["targets"].switch, {"o": Intake(weight=1), "i": Intake(weight=1)}),
        }
        self.worlds["dns"].settles_in, self.worlds["targets"].drains_in = SETTLES, DRAINS
        self._kinds = kinds
        self.journal = MemoryJournal()
        self.journal.create(RUN, self.plan.model_dump_json(by_alias=True), "sites", 0.0)
        self._judge = dict(judge or {})
        self.too_soon: list[str] = []
        """Steps that were told done while clients met the old answer, or while connections were left."""

    def run(self, dies_around: int = 0, *, before: bool = False) -> RunStatus:
        """An owner runs it to its end, or dies around that entry; then another one goes on at once."""

        async def owners() -> None:
            self.journal.dies_before, self.journal.dies_after = (dies_around, 0) if before else (0, dies_around)
            with suppress(Killed):
                await self._own()
            self.journal.dead, self.journal.dies_before, self.journal.dies_after = False, 0, 0
            if self.state.status not in {RunStatus.DONE, RunStatus.UNDONE}:
                await self._own()

        run(owners())
        return self.state.status

    async def _own(self) -> None:
        recorder = Recorder(RUN, self.journal.take(RUN), self.journal, LoopClock(), self._hear)
        judge = FakeJudge(self._judge, lambda _: None)
        await Engine(self.plan, self._actions(), recorder, judge, FakeGuards(), LoopClock()).run()

    @property
    def state(self) -> RunState:
        """Where the journal says that the run stands."""
        return fold(self.journal.entries(RUN))

    def _actions(self) -> Mapping[str, Action[Value]]:
        drivers = {name: Driver(world, self.journal, self._kinds[name]) for name, world in self.worlds.items()}
        actions: dict[str, object] = {}
        for step in self.plan.runbook.steps:
            if isinstance(step, ShiftStep | TakeOutStep):
                kind = TrafficShift if isinstance(step, ShiftStep) else TakeOut
                pool = self.plan.inventory.pools[step.with_.pool]
                actions[step.id] = kind(step.with_, pool, drivers[step.with_.pool])  # type: ignore[arg-type]
        return actions  # type: ignore[return-value]  # each action checks its states by its own state class

    def _hear(self, entry: Entry) -> None:
        """Look behind the drivers whenever a step is told done or undone."""
        if entry.kind != "step" or entry.data.get("status") not in {StepStatus.DONE, StepStatus.UNDONE}:
            return
        dns, targets = self.worlds["dns"], self.worlds["targets"]
        if dns.changed_at + SETTLES > moment():
            self.too_soon.append(f"{entry.step}: clients meet the old answer")
        if entry.step == "out" and entry.data.get("status") == StepStatus.DONE and targets.still_serves("o"):
            self.too_soon.append("out: connections are left")


def entries_of(steps: Sequence[StepText], judge: Mapping[str, str] | None = None) -> int:
    """How many entries the journal has when nobody dies."""
    sites = Sites(*steps, judge=judge)
    sites.run()
    return len(sites.journal.written)


WAY = (SHIFT, OUT, back("back", "out", "shift"))
FAILS = (SHIFT, OUT, verify("end", "flows"))
BROKEN = {"flows": "fail"}


def test_nobody_dies() -> None:
    """There and back: each of the four changes is waited for."""
    sites = Sites(*WAY)
    assert sites.run() is RunStatus.DONE
    assert sites.too_soon == []
    assert [intake.weight for intake in sites.worlds["dns"].members.values()] == [1, 0]
    assert [intake.admin for intake in sites.worlds["targets"].members.values()] == ["ready", "ready"]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("number", range(1, entries_of(WAY) + 1))
def test_a_resume_waits_for_what_the_dead_had_written(number: int, before: bool) -> None:
    """Whichever entry its owner dies at, no step is done before clients meet it and old connections are gone."""
    sites = Sites(*WAY)
    assert sites.run(number, before=before) is RunStatus.DONE
    assert sites.too_soon == []


@pytest.mark.parametrize("number", range(1, entries_of(FAILS, BROKEN) + 1))
def test_an_undo_waits_too(number: int) -> None:
    """Also on the way back nothing is undone before clients meet it; the end is as the beginning."""
    sites = Sites(*FAILS, judge=BROKEN)
    assert sites.run(number) is RunStatus.UNDONE
    assert sites.too_soon == []
    assert [intake.weight for intake in sites.worlds["dns"].members.values()] == [1, 0]
    assert [intake.admin for intake in sites.worlds["targets"].members.values()] == ["ready", "ready"]


def test_the_second_try_of_an_undo_waits_as_the_first_would_have() -> None:
    """A try that has written all, and could not see it take hold, leaves the next one something to wait for."""
    sites = Sites(*FAILS, judge=BROKEN)
    dns = sites.worlds["dns"]
    hear = sites._hear

    def cut_the_line(entry: Entry) -> None:
        hear(entry)
        if entry.kind == "intent" and entry.step == "shift" and entry.data["direction"] == "undo" and not cut:
            cut.append(moment())
            dns.lost_until = moment() + 45.0

    cut: list[float] = []
    sites._hear = cut_the_line  # type: ignore[method-assign]
    assert sites.run() is RunStatus.UNDONE
    assert cut
    assert sites.too_soon == []
    tries = [str(entry.data["reason"]) for entry in sites.journal.written if entry.data.get("status") == "undoing"]
    assert "try 2 of 3" in tries
    assert moment_of(sites, "shift", "undone") >= cut[0] + PATIENCE + SETTLES


def moment_of(sites: Sites, step: str, status: str) -> float:
    """When the step got that status, in virtual seconds."""
    at = [entry.at for entry in sites.journal.written if entry.step == step and entry.data.get("status") == status]
    return at[-1] - EPOCH
