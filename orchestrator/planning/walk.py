"""Takes every step over the forecast, in an order in which they can run, and writes down what it would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.actions.action import Action, Waypoint
from orchestrator.actions.catalogue import actions_of
from orchestrator.actions.drain import drained_members
from orchestrator.errors import OutsideError
from orchestrator.model.plan import Milestone, PlannedStep
from orchestrator.model.runbook import DrainStep, HoldStep, Runbook, ShiftStep, Step, TakeOutStep, VerifyStep
from orchestrator.model.switch import AnySwitch
from orchestrator.model.value import Value
from orchestrator.planning.forecast import ForecastOutside, Instant
from orchestrator.planning.history import NO_HISTORY, History, direction_of, timed_as
from orchestrator.planning.order import in_order, ordered
from orchestrator.planning.rules import Move
from orchestrator.planning.snapshot import Snapshot
from orchestrator.planning.standing import Standing, Surveyor
from orchestrator.planning.times import overdue_after, step_times
from orchestrator.ports import Outside


@dataclass(slots=True)
class Findings:
    """What a walk finds."""

    steps: dict[str, PlannedStep] = field(default_factory=dict)
    """As foreseen, by id."""
    problems: list[str] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    """Up to the first problem: what would come after it cannot be foreseen."""


class Walk:
    """One walk; make a new one for each plan."""

    def __init__(self, runbook: Runbook, snapshot: Snapshot, outside: Outside, history: History = NO_HISTORY) -> None:
        self._runbook = runbook
        self._history = history
        self._forecast = ForecastOutside(snapshot, outside)
        self._actions = actions_of(runbook, self._forecast, Instant(snapshot.at))
        self._surveyors = {
            name: Surveyor(name, snapshot.inventory.pools[name], self._forecast.readings(name))
            for name in snapshot.pools
        }
        self._steps = {step.id: step for step in runbook.steps}
        self._observed: dict[str, Value] = {}
        self._found = Findings(problems=list(snapshot.problems))
        self.now: Mapping[str, Standing] = {name: self._stands(name) for name in snapshot.pools}
        """How each pool stands before the first step."""
        self.unknown: Mapping[str, str] = {
            name: surveyor.why_unknown for name, surveyor in self._surveyors.items() if surveyor.why_unknown
        }
        """Why no balance of capacity and demand can be struck, by pool."""

    async def walk(self) -> Findings:
        """Foresee every step; a plan B right behind the step that it is for."""
        steps = ordered(self._runbook)
        plans_b: dict[str, list[PlannedStep]] = {}
        for planned in steps:
            if planned.instead_of is not None:
                plans_b.setdefault(planned.instead_of, []).append(planned)
        for planned in in_order(steps):
            await self._take(planned)
            await self._take_aside(plans_b.get(planned.id, ()))
        self._found.steps = {planned.id: self._found.steps[planned.id] for planned in steps}
        return self._found

    async def _take_aside(self, instead: Sequence[PlannedStep]) -> None:
        """A plan B is foreseen too, and forgotten: the way out does not go over it."""
        if not instead:
            return
        with self._forecast.aside():
            for planned in instead:
                await self._take(planned)

    async def _take(self, planned: PlannedStep) -> None:
        try:
            foreseen = await self._foreseen(planned)
        except OutsideError as error:
            self._found.problems.append(str(error))
            foreseen = planned
        self._found.steps[planned.id] = foreseen

    async def _foreseen(self, planned: PlannedStep) -> PlannedStep:
        if isinstance(planned.step, VerifyStep):
            diff = tuple(f"check {name}" for name in planned.step.checks)
            return self._timed(planned.model_copy(update={"diff": diff}), (), 0)
        action = self._actions[planned.returns or planned.id]
        self._refuse_no_way_back(planned, action)
        problems = [] if planned.returns is not None else await action.preflight()
        observed = await action.observe()
        if problems:
            self._found.problems += problems
            return planned
        self._observed[planned.id] = observed
        return self._along(planned, action, observed, self._target(planned, action, observed))

    def _along(self, planned: PlannedStep, action: Action[Value], observed: Value, target: Value) -> PlannedStep:
        waypoints = () if action.reached(observed, target) else tuple(action.route(observed, target))
        receivers = len(action.receivers(observed, target)) if waypoints else 0
        sessions = self._sessions(action, target)
        reversible = planned.returns is not None or action.reversible
        foreseen = planned.model_copy(
            update={
                "reversible": reversible,
                "diff": tuple(action.describe(observed, target)),
                "observed": observed.model_dump(mode="json", by_alias=True),
                "sessions": sessions,
                "undo": self._undo(planned, action, observed, target),
                "milestones": self._milestones(planned.id, action, waypoints),
            }
        )
        return self._timed(foreseen, waypoints, receivers)

    def _target(self, planned: PlannedStep, action: Action[Value], observed: Value) -> Value:
        """What the step wants: for a return, what was foreseen before the step that it returns, as the engine does."""
        if planned.returns is None:
            return action.target(observed)
        return self._observed.get(planned.returns, observed)

    def _milestones(self, step: str, action: Action[Value], route: Sequence[Waypoint[Value]]) -> tuple[Milestone, ...]:
        """Go along the route; what has no effect that we could foresee has no milestones either."""
        found: list[Milestone] = []
        start: Standing | None = None
        before: Standing | None = None
        for waypoint in route:
            effect = action.effect(waypoint.state)
            if effect is None:
                continue
            if not effect.is_of_service:
                self._forecast.foresee(effect)
                continue
            before = before or self._stands(effect.pool)
            start = start or before
            self._forecast.foresee(effect)
            after = self._stands(effect.pool)
            found.append(Milestone(label=waypoint.label, pools=(after.forecast(before),)))
            if not self._found.problems:
                self._found.moves.append(Move(step, waypoint.label, start, before, after))
            before = after
        return tuple(found)

    def _sessions(self, action: Action[Value], target: Value) -> int | None:
        """What the members carry that the step takes out of service, by today's count."""
        effect = action.effect(target)
        leaving = [name for name, admin in effect.admins.items() if admin != "ready"] if effect else []
        if effect is None or not leaving:
            return None
        readings = self._forecast.readings(effect.pool)
        counts = [readings[name].sessions for name in leaving]
        return None if None in counts else sum(count or 0 for count in counts)

    def _undo(self, planned: PlannedStep, action: Action[Value], observed: Value, target: Value) -> tuple[str, ...]:
        """What is done at an undo. A wait leaves nothing behind, and parts of a return undo nothing of their own."""
        if planned.returns is not None or isinstance(planned.step, HoldStep) or action.reached(observed, target):
            return ()
        if not action.reversible:
            return (f"plan B: {', '.join(step.id for step in planned.step.plan_b)}",)
        return tuple(action.describe(target, observed))

    def _refuse_no_way_back(self, planned: PlannedStep, action: Action[Value]) -> None:
        if planned.returns is not None or planned.instead_of is not None:
            return
        if action.reversible or planned.step.plan_b:
            return
        self._found.problems.append(
            f"cannot plan step {planned.id}: it cannot be undone — say in its plan_b what to do instead"
        )

    def _timed(self, planned: PlannedStep, route: Sequence[Waypoint[Value]], receivers: int) -> PlannedStep:
        checks = self._runbook.checks
        does = planned.step if planned.returns is None else self._steps[planned.returns]
        timed = timed_as(planned, does, self._forecast.inventory, checks)
        planned = planned.model_copy(update={"timed": timed})
        works = bool(route) or isinstance(planned.step, VerifyStep)
        past = self._history.past(timed, direction_of(planned)) if works else None
        undone = self._history.past(timed, "undo") if planned.returns is None else None
        switch = self._switch_of(does)
        times = step_times(
            planned, does, route, receivers, checks, blind=self._is_blind(does), switch=switch, past=past
        )
        update: dict[str, float | None] = {
            "settles": 0.0 if switch is None else switch.settles_in,
            "expected": times.expected,
            "at_most": times.at_most,
            "past": 0 if past is None else past.runs,
            "overdue": overdue_after(planned, times, past),
            "undo_expected": None if undone is None else undone.expected,
            "undo_overdue": None if undone is None else undone.overdue,
        }
        return planned.model_copy(update=update)

    def _switch_of(self, step: Step) -> AnySwitch | None:
        if not isinstance(step, ShiftStep | DrainStep | TakeOutStep):
            return None
        return self._forecast.inventory.pools[step.with_.pool].switch

    def _is_blind(self, step: Step) -> bool:
        """Whether it drains behind a gate that sees no transactions."""
        if not isinstance(step, DrainStep):
            return False
        pool = self._forecast.inventory.pools[step.with_.pool]
        return not self._forecast.see_transactions(drained_members(step.with_, pool))

    def _stands(self, pool: str) -> Standing:
        return self._surveyors[pool].stands(self._forecast.readings(pool))
