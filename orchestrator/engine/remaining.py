"""What of a run is still to be taken back, and how a person does that without us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.actions.action import Action, Effect
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import VerifyStep
from orchestrator.model.value import Value
from orchestrator.status import RunState, StepStatus

_FINISHED: Final = frozenset({StepStatus.DONE, StepStatus.NOTHING})


def to_undo(plan: Plan, state: RunState) -> list[PlannedStep]:
    """What was done and not returned, the last first. The parts of a return undo nothing of their own."""
    returned = {step.returns for step in plan.steps if step.returns and state.step(step.id).status in _FINISHED}
    done = {
        step.id: step
        for step in plan.forward
        if step.returns is None and step.id not in returned and state.step(step.id).status is not StepStatus.UNDONE
    }
    return [done[name] for name in reversed(state.touched) if name in done]


def left_of_plan_b(plan: Plan, state: RunState, undoing: str) -> list[PlannedStep]:
    """The steps of the plan B of ``undoing`` that are not done since its undo began.

    What was done before that was done for another undo.
    """
    since = state.step(undoing).turn
    return [
        step
        for step in plan.plan_b(undoing)
        if state.step(step.id).status not in _FINISHED or state.step(step.id).turn <= since
    ]


def stand_upon(plan: Plan, state: RunState, returned: str, actions: Mapping[str, Action[Value]]) -> list[PlannedStep]:
    """The steps that stand in the way of a return of ``returned``, in the order in which they are to be returned first.

    They were touched after it, set what it sets, and are neither undone nor returned. What was recorded before them
    holds what it did: an undo would go back to that, and nobody would take it away any more.
    """
    mine = _effect(state, returned, actions)
    if mine is None:
        return []
    later = frozenset(state.touched[state.touched.index(returned) + 1 :])
    standing = (step for step in to_undo(plan, state) if step.id in later)
    return [step for step in standing if _overlap(mine, _effect(state, step.id, actions))]


def _effect(state: RunState, step: str, actions: Mapping[str, Action[Value]]) -> Effect | None:
    """What a step that was touched sets; None where nothing is recorded of it, as after its undo."""
    recorded, action = state.step(step).start, actions.get(step)
    if recorded is None or action is None:
        return None
    return action.effect(action.state.model_validate(recorded))


def _overlap(one: Effect, other: Effect | None) -> bool:
    """Whether both set the same. A gate and a node are their host's, whichever pool it is for."""
    if other is None:
        return False
    if one.gates.keys() & other.gates or one.cordons.keys() & other.cordons:
        return True
    same_weights, same_admins = one.weights.keys() & other.weights, one.admins.keys() & other.admins
    same_groups = one.desired.keys() & other.desired
    return one.pool == other.pool and bool(same_weights or same_admins or same_groups)


@dataclass(frozen=True, slots=True)
class ManualWork:
    """One step that a person takes back, or one step of a plan B that they do."""

    step: str
    why: str
    """What it comes to, in one line."""
    first: Sequence[str] = ()
    """What they must see before, a line each."""
    commands: Sequence[str] = ()
    """For the shell of this machine, in this order; none where only a person knows how."""


def by_hand(plan: Plan, state: RunState, actions: Mapping[str, Action[Value]]) -> list[ManualWork]:
    """The work that is left to bring the world back to where it was before the run, in the order of an undo.

    It follows from the journal alone: where the world is already as it was, the commands change nothing.
    """
    return [work for planned in to_undo(plan, state) for work in _work(plan, state, planned, actions)]


def _work(
    plan: Plan, state: RunState, planned: PlannedStep, actions: Mapping[str, Action[Value]]
) -> Iterator[ManualWork]:
    if planned.reversible:
        yield from _back(plan, planned, state.step(planned.id).start, actions[planned.id])
        return
    for step in left_of_plan_b(plan, state, planned.id):
        yield from _instead(plan, step, actions.get(step.id))
    if not plan.plan_b(planned.id):
        yield ManualWork(planned.id, "it cannot be undone, and has no plan B")


def _back(
    plan: Plan, planned: PlannedStep, recorded: Mapping[str, object] | None, action: Action[Value]
) -> Iterator[ManualWork]:
    if recorded is None:  # it was undone once, and has not begun anew
        return
    start = action.state.model_validate(recorded)
    if work := action.by_hand(start):
        first = _see(plan, action.receivers(action.target(start), start))
        yield ManualWork(planned.id, work.what, first, tuple(work.commands))


def _instead(plan: Plan, step: PlannedStep, action: Action[Value] | None) -> Iterator[ManualWork]:
    """One step of a plan B, as it was foreseen: it has not begun, so nothing is recorded of it."""
    why = f"instead of the undo of {step.instead_of}, which cannot be undone: "
    if isinstance(step.step, VerifyStep):
        yield ManualWork(step.id, f"{why}see that these hold: {', '.join(step.step.checks)}")
    elif action is None or step.observed is None:
        yield ManualWork(step.id, why + ("; ".join(step.diff) or step.step.do))
    else:
        observed = action.state.model_validate(step.observed)
        target = action.target(observed)
        if work := action.by_hand(target):
            first = _see(plan, action.receivers(observed, target))
            yield ManualWork(step.id, why + work.what, first, tuple(work.commands))


def _see(plan: Plan, receivers: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Never send traffic to a site that does not answer; a person is told what we would have asked."""
    return tuple(
        f"see that {site} takes mail at {plan.inventory.pools[pool].sites[site].address}: it gets new traffic"
        for pool, site in receivers
    )
