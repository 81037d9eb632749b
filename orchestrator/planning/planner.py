"""Makes a plan, or refuses it with every reason; and makes it again before a saved one is run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from orchestrator.errors import PlanRefusedError
from orchestrator.model.plan import Plan, PlanRule, Refusal
from orchestrator.model.runbook import Runbook
from orchestrator.planning.history import NO_HISTORY, History
from orchestrator.planning.overlap import overlaps
from orchestrator.planning.rules import NOW, Limits, amiss, broken
from orchestrator.planning.set_aside import unreviewed
from orchestrator.planning.snapshot import Snapshot, observe
from orchestrator.planning.walk import Walk
from orchestrator.planning.window import too_late
from orchestrator.planning.world import facts, moved
from orchestrator.ports import Clock, Outside

NO_OVERRIDES: Final[Mapping[PlanRule, str]] = MappingProxyType({})


class Recheck(NamedTuple):
    """A saved plan, seen with the world of today."""

    plan: Plan | None
    """The plan as it would be made now; None where the world has moved."""
    moved: tuple[str, ...]
    """What is not as it was when the plan was made, a line each."""


async def make_plan(
    runbook: Runbook,
    parameters: Mapping[str, str | int | float],
    outside: Outside,
    clock: Clock,
    *,
    overrides: Mapping[PlanRule, str] = NO_OVERRIDES,
    in_use: Sequence[str] = (),
    warnings: Sequence[str] = (),
    history: History = NO_HISTORY,
    window_ends: float | None = None,
) -> Plan:
    """Observe the world, and foresee each step.

    Args:
        runbook: bound to the inventory of ``outside``.
        parameters: what was inserted into it.
        outside: is only read.
        clock: says when.
        overrides: rules to set aside, and why.
        in_use: who else works on the same pools, a line each.
        warnings: what lint says of the runbook, a line each.
        history: how long the same work took before.
        window_ends: Unix time by which all must be over; a plan that takes longer is warned of, not refused.

    Raises:
        PlanRefusedError: it must not be run; every reason is given.
    """
    snapshot = await observe(runbook, outside, clock)
    asked = _Asked(runbook, parameters, overrides, in_use, warnings, history, window_ends)
    plan, problems, refusals = await _foresee(asked, snapshot, outside)
    if not problems:
        problems = _wrong_overrides(overrides, plan.set_aside)
    if problems or refusals:
        raise PlanRefusedError(problems, refusals)
    return plan


async def recheck(plan: Plan, outside: Outside, clock: Clock, *, in_use: Sequence[str] = ()) -> Recheck:
    """Look at the world again, as ``plan`` does, and plan anew where nothing has moved.

    Demand may have changed since, so the new plan may be refused where the old one was not. What was set aside stays
    so, and nothing more is. Times are no facts: they stay as they were reviewed.

    Raises:
        PlanRefusedError: something cannot be read now, or the plan must not be run any more.
    """
    snapshot = await observe(plan.runbook, outside, clock)
    if snapshot.problems:
        raise PlanRefusedError(snapshot.problems)
    if lines := moved(plan, facts(snapshot)):
        return Recheck(None, lines)
    warnings = [line for line in plan.warnings if not line.startswith(NOW)]
    asked = _Asked(
        plan.runbook, plan.parameters, plan.overrides, in_use, warnings, History.reviewed(plan), plan.window_ends
    )
    made, problems, refusals = await _foresee(asked, snapshot, outside)
    refusals = [*refusals, *unreviewed(made.set_aside, plan.set_aside)]
    if problems or refusals:
        raise PlanRefusedError(problems, refusals)
    return Recheck(made.model_copy(update={"set_aside": plan.set_aside}), ())


class _Asked(NamedTuple):
    """What is to be planned, see ``make_plan``."""

    runbook: Runbook
    parameters: Mapping[str, str | int | float]
    overrides: Mapping[PlanRule, str]
    in_use: Sequence[str]
    warnings: Sequence[str]
    history: History
    window_ends: float | None


async def _foresee(
    asked: _Asked, snapshot: Snapshot, outside: Outside
) -> tuple[Plan, Sequence[str], Sequence[Refusal]]:
    """The plan, its problems, and all rules that it breaks."""
    walk = Walk(asked.runbook, snapshot, outside, asked.history)
    found = await walk.walk()
    limits = Limits.of(asked.runbook.guards)
    refusals = broken(limits, walk.now, walk.unknown, found.moves, asked.in_use)
    if snapshot.is_blind:  # of a switch that cannot be read nobody can say that nothing serves
        refusals = [refusal for refusal in refusals if refusal.rule == "in-use"]
    plan = Plan(
        runbook=asked.runbook,
        inventory=outside.inventory,
        parameters=dict(asked.parameters),
        steps=tuple(found.steps.values()),
        world=facts(snapshot),
        overrides=dict(asked.overrides),
        set_aside=tuple(refusal for refusal in refusals if refusal.rule in asked.overrides),
        warnings=(*asked.warnings, *amiss(limits, walk.now, found.moves)),
        window_ends=asked.window_ends,
    )
    if late := too_late(plan, snapshot.at):
        plan = plan.model_copy(update={"warnings": (*plan.warnings, f"{NOW}{late}")})
    problems = (*dict.fromkeys(found.problems), *overlaps(plan.steps))
    return plan, problems, [refusal for refusal in refusals if refusal.rule not in asked.overrides]


def _wrong_overrides(overrides: Mapping[PlanRule, str], refusals: Sequence[Refusal]) -> Sequence[str]:
    """An override is for one thing that somebody has thought about, not for whatever may come."""
    needed = {refusal.rule for refusal in refusals}
    needless = [
        f"cannot override {rule}: the plan does not break it — leave --override {rule} out"
        for rule in overrides
        if rule not in needed
    ]
    silent = [
        f'cannot override {rule}: no reason is given — write --override {rule}="why it is right"'
        for rule, reason in overrides.items()
        if not reason.strip()
    ]
    return (*needless, *silent)
