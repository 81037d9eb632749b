"""Capacity that comes and goes with a run, whoever dies on the way: nothing is added twice, nothing is left over."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import pytest

from orchestrator.actions.action import Action
from orchestrator.actions.node_drain import NodeDrain
from orchestrator.actions.scale_out import ScaleOut
from orchestrator.engine.engine import Engine
from orchestrator.engine.recorder import Recorder
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import NodeDrainStep, Runbook, ScaleOutStep
from orchestrator.model.value import Value
from orchestrator.planning import ordered
from orchestrator.status import RunState, RunStatus, StepStatus, fold

from ..fakes.capacity import FakeGroup, FakeNode, LivePod
from ..fakes.clock import LoopClock, run
from ..fakes.journal import Killed, MemoryJournal
from ..fakes.judges import FakeGuards, FakeJudge
from .scene import INVENTORY, RUN, StepText, back, verify

MORE: StepText = {"id": "more", "do": "scale.out", "with": {"pool": "smtp", "site": "iad", "add": 2}}
EMPTY: StepText = {"id": "empty", "do": "node.drain", "with": {"host": "n1", "deadline": "10m"}}


class Cluster:
    """One run over a scaling group of three and a node of two pods; of the node one pod takes a while to end."""

    def __init__(self, *steps: StepText, judge: Mapping[str, str] | None = None) -> None:
        runbook = Runbook.model_validate({"runbook": "cluster", "steps": steps})
        self.plan = Plan(runbook=runbook, inventory=INVENTORY, parameters={}, steps=ordered(runbook))
        self.group = FakeGroup(3, boots=20)
        self.node = FakeNode(LivePod("web"), LivePod("slow", grace=9))
        self.journal = MemoryJournal()
        self.journal.create(RUN, self.plan.model_dump_json(by_alias=True), "cluster", 0.0)
        self.group.dead = self.node.dead = lambda: self.journal.dead
        self._judge = dict(judge or {})

    def run(self, *, dies_before: int = 0, dies_after: int = 0, undo: bool = False) -> RunStatus:
        """An owner runs, resumes or undoes it, until it ends or the owner dies around that entry; then another does."""

        async def owners() -> None:
            self.journal.dies_before, self.journal.dies_after = dies_before, dies_after
            with suppress(Killed):
                await self._own(undo)
            self.journal.dead, self.journal.dies_before, self.journal.dies_after = False, 0, 0
            if self.state.status not in {RunStatus.DONE, RunStatus.UNDONE}:
                await self._own(undo)

        run(owners())
        return self.state.status

    async def _own(self, undo: bool) -> None:
        recorder = Recorder(RUN, self.journal.take(RUN), self.journal, LoopClock(), _nobody_listens)
        judge = FakeJudge(self._judge, lambda _: None)
        engine = Engine(self.plan, self._actions(), recorder, judge, FakeGuards(), LoopClock())
        await (engine.undo("asked for") if undo else engine.run())

    @property
    def state(self) -> RunState:
        """Where the journal says that the run stands."""
        return fold(self.journal.entries(RUN))

    def _actions(self) -> Mapping[str, Action[Value]]:
        actions: dict[str, object] = {}
        for step in self.plan.runbook.steps:
            if isinstance(step, ScaleOutStep):
                actions[step.id] = ScaleOut(step.with_, self.group)
            elif isinstance(step, NodeDrainStep):
                actions[step.id] = NodeDrain(step.with_, self.node)
        return actions  # type: ignore[return-value]  # each action checks its states by its own state class


def _nobody_listens(entry: Entry) -> None:
    """Nobody reads what happens."""


def entries_of(*steps: StepText, judge: Mapping[str, str] | None = None) -> int:
    """How many entries the journal has when nobody dies."""
    cluster = Cluster(*steps, judge=judge)
    cluster.run()
    return len(cluster.journal.written)


OUT = (MORE, EMPTY)
FAILS = (MORE, EMPTY, verify("end", "flows"))
RETURNS = (MORE, EMPTY, back("back", "empty", "more"))


@pytest.mark.parametrize("around", ["before", "after"])
@pytest.mark.parametrize("number", range(1, entries_of(*OUT) + 1))
def test_a_resume_adds_nothing_again(around: str, number: int) -> None:
    """Whichever entry its owner dies at, the next one brings the group to five, and the node to no pod."""
    cluster = Cluster(*OUT)
    before, after = (number, 0) if around == "before" else (0, number)
    assert cluster.run(dies_before=before, dies_after=after) is RunStatus.DONE
    assert (cluster.group.desired, cluster.group.log) == (5, ["desired 5"])
    assert (cluster.node.cordoned, cluster.node.log) == (True, ["cordon", "evict web", "evict slow"])


@pytest.mark.parametrize("number", range(1, entries_of(*FAILS, judge={"flows": "fail"}) + 1))
def test_an_undo_takes_away_what_the_run_has_added(number: int) -> None:
    """Whichever entry its owner dies at, the group is as large as before in the end, and the node is open."""
    cluster = Cluster(*FAILS, judge={"flows": "fail"})
    assert cluster.run(dies_after=number) is RunStatus.UNDONE
    assert (cluster.group.desired, cluster.node.cordoned) == (3, False)
    assert cluster.group.log == ["desired 5", "desired 3"]


def test_a_return_brings_both_back() -> None:
    """A planned return asks for what was there before, the node first, and leaves nothing to undo."""
    cluster = Cluster(*RETURNS)
    assert cluster.run() is RunStatus.DONE
    assert (cluster.group.desired, cluster.node.cordoned) == (3, False)
    writes = len(cluster.group.log)
    assert cluster.run(undo=True) in {RunStatus.DONE, RunStatus.UNDONE}
    assert len(cluster.group.log) == writes


def test_a_failure_says_what_was_missing() -> None:
    """Capacity that does not become healthy fails the step with who is waited for, and is taken back."""
    cluster = Cluster({**MORE, "with": {"pool": "smtp", "site": "iad", "add": 2, "deadline": "10s"}})
    assert cluster.run() is RunStatus.UNDONE
    reasons = [str(entry.data.get("reason", "")) for entry in cluster.journal.written if entry.step == "more"]
    assert "after 10s 3 of 5 healthy; waits for i-3 Pending, i-4 Pending" in reasons
    assert cluster.group.desired == 3


def test_what_stands_upon_it_is_returned_first() -> None:
    """Of two steps that made one group larger the later one is returned first; the other one is refused until then."""
    again = {**MORE, "id": "again"}
    cluster = Cluster(MORE, again, back("back", "more"))
    assert cluster.run() is RunStatus.HELD
    assert cluster.state.step("back.more").status is StepStatus.REFUSED
    assert "cannot return more: again was done after it" in cluster.state.step("back.more").reason
    assert cluster.group.desired == 7
