"""Whether a plan fits in before the moment by which all must be over."""

from __future__ import annotations

from orchestrator.model.moment import format_moment
from orchestrator.model.plan import Plan
from orchestrator.model.units import format_duration
from orchestrator.planning.times import critical_path


def begin_by(plan: Plan) -> float | None:
    """Unix time at which a run must have begun to be over when its window ends, if all goes well.

    People count as the runbook says of them. None where no end is stated.
    """
    if plan.window_ends is None:
        return None
    return plan.window_ends - critical_path(plan.forward).with_people


def too_late(plan: Plan, now: float) -> str:
    """Why a run that begins ``now`` (Unix time) is not over when its window ends; empty where it is, or may be."""
    begin = begin_by(plan)
    if plan.window_ends is None or begin is None or now <= begin:
        return ""
    if now >= plan.window_ends:
        return f"the window is over since {format_moment(plan.window_ends, now)}"
    takes, left = (format_duration(seconds) for seconds in (plan.window_ends - begin, plan.window_ends - now))
    ends = format_moment(plan.window_ends, now)
    return f"it does not fit: the window ends at {ends}, in {left}, and all this takes ~{takes}"
