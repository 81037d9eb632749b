"""A scene: a runbook of dials, a world, scripted judges and guards, and what happened in it as one line of events.

Events: ``run:STATUS``, ``STEP:STATUS``, ``DIAL=LEVEL`` (a write), ``NAME?JUDGEMENT`` (a check, or a site's health).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress

from pydantic import JsonValue

from orchestrator.actions.action import Action
from orchestrator.actions.hold import Hold
from orchestrator.actions.manual import Manual
from orchestrator.engine.engine import Engine
from orchestrator.engine.recorder import Recorder
from orchestrator.model.inventory import Inventory
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import HoldStep, ManualStep, Runbook, ShiftStep
from orchestrator.model.value import Value
from orchestrator.planning import ordered
from orchestrator.status import RunState, RunStatus, StepState, StepStatus, fold

from ..fakes.clock import LoopClock, Turn, run
from ..fakes.dials import Dial, Dials
from ..fakes.journal import Killed, MemoryJournal
from ..fakes.judges import FakeGuards, FakeJudge

RUN = "r1"

INVENTORY = Inventory.model_validate(
    {
        "sites": {"ord": {}, "iad": {}},
        "pools": {
            "smtp": {
                "protocol": "smtp",
                "address": "vip:25",
                "switch": {"driver": "haproxy", "socket": "s", "backend": "smtp"},
                "test_mail": {"sender": "probe@lab.example", "recipient": "probe@lab.example"},
                "sites": {
                    "ord": {"capacity": "100 sessions", "members": ["mx1"], "address": "ord:25"},
                    "iad": {"capacity": "100 sessions", "members": ["mx2"], "address": "iad:25"},
                },
            }
        },
    }
)

StepText = Mapping[str, object]
Work = Callable[[Engine], Coroutine[object, object, RunState]]


def verify(name: str, *checks: str, **more: object) -> StepText:
    """A step that only looks."""
    return {"id": name, "do": "verify", "checks": checks, **more}


def turn(name: str, **more: object) -> StepText:
    """A step that turns the dial of its name; the engine does not mind what its words say."""
    return {"id": name, "do": "traffic.shift", "with": {"pool": "smtp", "from": "ord", "to": "iad"}, **more}


def hold(name: str, until: str = "approval", **more: object) -> StepText:
    """A step that waits."""
    return {"id": name, "do": "hold", "with": {"until": until}, **more}


def manual(name: str, undo: str | None = None, **more: object) -> StepText:
    """A step that a person does."""
    task = {"task": f"do {name}"} if undo is None else {"task": f"do {name}", "undo": undo}
    return {"id": name, "do": "manual", "with": task, **more}


def back(name: str, *steps: str, **more: object) -> StepText:
    """A step that returns others."""
    return {"id": name, "do": "return", "steps": steps, **more}


def deeds(events: str) -> str:
    """The events without the steps' statuses: verdicts, writes, and the run's own."""
    return " ".join(event for event in events.split() if ":" not in event or event.startswith("run:"))


class Scene:
    """One run from its first owner to its last. Dials stand at 0 before it unless ``levels`` says otherwise."""

    def __init__(
        self,
        *steps: StepText,
        judge: Mapping[str, str] | None = None,
        by: Sequence[int] = (100,),
        pause: float = 0.0,
        guards: FakeGuards | None = None,
        levels: Mapping[str, int] | None = None,
    ) -> None:
        runbook = Runbook.model_validate({"runbook": "scene", "steps": steps})
        self.plan = Plan(runbook=runbook, inventory=INVENTORY, parameters={}, steps=ordered(runbook))
        self.journal = MemoryJournal()
        self.journal.create(RUN, self.plan.model_dump_json(by_alias=True), "scene", 0.0)
        self.told: list[str] = []
        self.world = Dials(self.told.append)
        self.world.dead = lambda: self.journal.dead
        self.guards = guards or FakeGuards()
        self.judge = FakeJudge(judge or {}, self.told.append)
        self.clock = LoopClock()
        self.engine: Engine | None = None
        self._by = by
        self._pause = pause
        self._levels = dict(levels or {})
        for step in runbook.steps:
            if isinstance(step, ShiftStep):
                self.world.levels[step.id] = self._levels.get(step.id, 0)
        self.before = dict(self.world.levels)
        ends = {name for name, action in self._actions().items() if not action.reversible}
        steps_ = (one.model_copy(update={"reversible": one.id not in ends}) for one in self.plan.steps)
        self.plan = self.plan.model_copy(update={"steps": tuple(steps_)})

    def start(self, each_turn: Turn | None = None, after: Mapping[float, Callable[[], None]] | None = None) -> str:
        """Let a new owner run or resume it; return the events. ``after`` so many seconds, something happens."""
        return self.work(lambda engine: engine.run(), each_turn, after)

    def undo(self, each_turn: Turn | None = None, after: Mapping[float, Callable[[], None]] | None = None) -> str:
        """Let a new owner undo it; return the events."""
        return self.work(lambda engine: engine.undo("asked for"), each_turn, after)

    def work(
        self,
        work: Work,
        each_turn: Turn | None = None,
        after: Mapping[float, Callable[[], None]] | None = None,
    ) -> str:
        """Let a new owner do ``work``; return the events."""
        self.told.clear()

        async def owner() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda *_: None)  # what a killed process leaves unsaid
            for seconds, happens in (after or {}).items():
                loop.call_later(seconds, happens)
            await work(self.open())

        with suppress(Killed):
            run(owner(), each_turn)
        return " ".join(self.told)

    def open(self) -> Engine:
        """A new process takes the run over."""
        recorder = Recorder(RUN, self.journal.take(RUN), self.journal, self.clock, self._hear)
        self.engine = Engine(self.plan, self._actions(), recorder, self.judge, self.guards, self.clock)
        return self.engine

    def interrupt(self) -> None:
        """SIGTERM."""
        assert self.engine is not None
        self.engine.interrupt("SIGTERM")

    def approve(self, step: str, by: str = "ada") -> None:
        """Somebody approves a hold, from another process."""
        undoing = self.step(step).status is StepStatus.UNDOING
        data: dict[str, JsonValue] = {"by": by, "note": "", "ahead": False, "direction": "undo" if undoing else "out"}
        self.journal.append(Entry(run=RUN, at=self.clock.later, epoch=0, kind="approval", step=step, data=data))

    def steal(self) -> None:
        """Another orchestrator takes the run over."""
        self.journal.take(RUN)

    def later(self, seconds: float) -> None:
        """Let time pass while nobody works on the run."""
        self.clock.later += seconds

    @property
    def live(self) -> RunState:
        """Where the engine says that the run stands, on disk or not yet."""
        return self.engine.state if self.engine is not None else self.state

    @property
    def state(self) -> RunState:
        """Where the journal says that the run stands."""
        return fold(self.journal.entries(RUN))

    @property
    def status(self) -> RunStatus:
        """The run's status."""
        return self.state.status

    def step(self, name: str) -> StepState:
        """A step's state."""
        return self.state.step(name)

    @property
    def levels(self) -> dict[str, int]:
        """Every dial's level."""
        return self.world.levels

    def _actions(self) -> dict[str, Action[Value]]:
        actions: dict[str, object] = {}
        for step in self.plan.runbook.steps:
            if isinstance(step, ShiftStep):
                actions[step.id] = Dial(step.id, self.world, self._by, self._pause)
            elif isinstance(step, HoldStep):
                actions[step.id] = Hold(step.with_)
        for planned in self.plan.steps:
            if isinstance(planned.step, ManualStep):
                actions[planned.id] = Manual(planned.step.with_)
        return actions  # type: ignore[return-value]  # each action checks its states by its own state class

    def _hear(self, entry: Entry) -> None:
        if entry.kind == "run":
            self.told.append(f"run:{entry.data['status']}")
        elif entry.kind == "step":
            self.told.append(f"{entry.step}:{entry.data['status']}")
