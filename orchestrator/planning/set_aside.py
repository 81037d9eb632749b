"""What an override sets aside: what was foreseen when the plan was made, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from orchestrator.model.check import BlastRadiusGuard, Guard, HeadroomGuard, ServingGuard
from orchestrator.model.plan import Plan, PlanRule, Refusal

_SLACK: Final = 0.9
"""Demand comes and goes: a headroom that was set aside may turn out so much smaller."""


def unreviewed(refusals: Sequence[Refusal], reviewed: Sequence[Refusal]) -> list[Refusal]:
    """Those that nobody has set aside: of another rule, step or pool, or clearly less headroom than was foreseen."""
    allowed = {_place(one): one for one in reviewed}
    return [one for one in refusals if not _is_covered(one, allowed.get(_place(one)))]


def _place(refusal: Refusal) -> tuple[PlanRule, str, str]:
    return refusal.rule, refusal.step, refusal.pool


def _is_covered(refusal: Refusal, reviewed: Refusal | None) -> bool:
    if reviewed is None:
        return False
    if refusal.rule != "headroom" or reviewed.found is None:
        return True
    return refusal.found is not None and refusal.found >= reviewed.found * _SLACK


def watched_guards(plan: Plan) -> tuple[Guard, ...]:
    """The guards to watch in a run: as they are stated, but for what was set aside.

    There a guard as stated would break, and undo the run. It is kept at what was foreseen, and left out where
    nothing was.
    """
    watched = (watched_as(plan, guard) for guard in plan.runbook.guards)
    return tuple(guard for guard in watched if guard is not None)


def watched_as(plan: Plan, guard: Guard) -> Guard | None:
    """How one guard is watched; None where it is not."""
    if isinstance(guard, HeadroomGuard):
        return _headroom(guard, _found(plan.set_aside, "headroom", guard.headroom.pool))
    if isinstance(guard, ServingGuard):
        return _serving(guard, _found(plan.set_aside, "serving", guard.serving.pool))
    if isinstance(guard, BlastRadiusGuard):
        return None if _found(plan.set_aside, "blast-radius", guard.blast_radius.pool) else guard
    return guard


def _found(refusals: Sequence[Refusal], rule: PlanRule, pool: str) -> Sequence[float]:
    """What was foreseen of the pool where the rule is set aside; 0 for what is unknown."""
    return [one.found or 0.0 for one in refusals if one.rule == rule and one.pool == pool]


def _headroom(guard: HeadroomGuard, found: Sequence[float]) -> HeadroomGuard | None:
    lowest = min(found, default=math.inf)
    if lowest >= guard.headroom.at_least:
        return guard
    floor = math.floor(lowest * _SLACK * 100) / 100
    lowered = guard.headroom.model_copy(update={"at_least": floor})
    return guard.model_copy(update={"headroom": lowered}) if floor else None


def _serving(guard: ServingGuard, found: Sequence[float]) -> ServingGuard | None:
    lowest = min(found, default=math.inf)
    if lowest >= guard.serving.at_least:
        return guard
    lowered = guard.serving.model_copy(update={"at_least": int(lowest)})
    return guard.model_copy(update={"serving": lowered}) if lowest else None
