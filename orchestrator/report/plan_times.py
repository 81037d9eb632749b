"""How long a plan takes: what is known of it, who is waited for, and what the window leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import HoldStep, ManualStep
from orchestrator.model.units import format_duration
from orchestrator.planning.times import back_from, critical_path


@dataclass(frozen=True, slots=True)
class PlanTimes:
    """Seconds, over the longest way through the steps."""

    expected: float
    """When all goes well, without the steps below."""
    at_most: float | None
    """After which all is done or has failed, without the time of people; None where that has no limit."""
    people: tuple[str, ...]
    """Steps that last as long as people need."""
    unknown: tuple[str, ...]
    """Other steps of which nobody can say how long they take."""
    endless: tuple[str, ...]
    """Other steps that have no limit."""
    window: float | None
    back: float | None
    """What an undo takes from where it takes longest; None where that is unknown, or where there is no window."""


def plan_times(plan: Plan) -> PlanTimes:
    """The plan's times, from those of its steps."""
    # People take their time: what the steps beside them take at most is worth knowing all the same.
    steps = [_at_once(step) if step.at_most is None and asks_people(step) else step for step in plan.forward]
    expected, at_most, unknown = critical_path(steps)
    people = {step.id for step in steps if asks_people(step)}
    return PlanTimes(
        expected=expected,
        at_most=at_most,
        people=tuple(step for step in unknown if step in people),
        unknown=tuple(step for step in unknown if step not in people),
        endless=tuple(step.id for step in steps if step.at_most is None),
        window=plan.runbook.window,
        back=_longest_back(plan) if plan.runbook.window is not None else None,
    )


def _at_once(step: PlannedStep) -> PlannedStep:
    return step.model_copy(update={"at_most": 0.0})


def asks_people(planned: PlannedStep) -> bool:
    """Whether it goes on only when a person says so."""
    step = planned.step
    if isinstance(step, HoldStep):
        return step.with_.until == "approval"
    return isinstance(step, ManualStep) or step.approval is not None


def _longest_back(plan: Plan) -> float | None:
    """The way back is longest just before a return, or at the end."""
    steps = plan.forward
    tops = [above for above, below in pairwise(steps) if below.returns is not None and above.returns is None]
    times = [back_from(plan.steps, step.id) for step in (*tops, *steps[-1:])]
    known = [seconds for seconds in times if seconds is not None]
    return max(known) if known and len(known) == len(times) else None


def times_lines(times: PlanTimes) -> Iterator[tuple[str, str]]:
    """The times in words, as titles with their texts; none where nothing is known of them."""
    if times.expected or times.people:
        yield "all goes well", _well(times)
    if times.at_most or times.endless:
        yield "at most", _most(times)
    if times.window is not None:
        yield "window", _window(times, times.window)


def _well(times: PlanTimes) -> str:
    parts = [f"~{format_duration(times.expected)}"] if times.expected else []
    if times.people:
        parts.append(f"the time that people take ({_names(times.people)})")
    return ", and ".join(parts) + (f"; not known: {_names(times.unknown)}" if times.unknown else "")


def _most(times: PlanTimes) -> str:
    if times.at_most is None:
        return f"no limit ({_names(times.endless)})"
    return format_duration(times.at_most) + (", and the time that people take" if times.people else "")


def _window(times: PlanTimes, window: float) -> str:
    left = window - times.expected
    if left < 0:
        return f"{format_duration(window)}: too short by {format_duration(-left)}"
    text = f"{format_duration(window)}: leaves {format_duration(left)}" + (" for people" if times.people else "")
    if times.back is None or times.back > window:
        return text
    by = format_duration(window - times.back)
    return f"{text}; begin an undo (~{format_duration(times.back)}) within {by} of the start"


def _names(steps: Sequence[str]) -> str:
    return ", ".join(steps)
