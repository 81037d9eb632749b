"""How long a plan takes: what is known of it, who is waited for, and what the window leaves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from orchestrator.model.moment import format_day, format_moments, format_zone
from orchestrator.model.plan import Plan
from orchestrator.model.units import format_duration
from orchestrator.planning import begin_by
from orchestrator.planning.times import back_from, critical_path

_PEOPLE: Final = "the time that people take"
_UNDO: Final = "undo --at-once"
"""The times of a plan are of single moves; the live view has those of both ways."""


@dataclass(frozen=True, slots=True)
class PlanTimes:
    """Seconds, over the longest way through the steps."""

    expected: float
    """When all goes well, without people and the unknown steps."""
    at_most: float | None
    """After which all is done or has failed, without the time of people; None where that has no limit."""
    people: Mapping[str, float | None]
    """Steps that wait for people, and how long the runbook says that these take."""
    with_people: float
    """As expected, with what the runbook says of people."""
    unknown: tuple[str, ...]
    """Other steps of which nobody can say how long they take."""
    endless: tuple[str, ...]
    """Steps that have no limit, people or not."""
    window: float | None
    back: float | None
    """What an undo in single moves takes from where it takes longest; None where that is unknown, or with no window."""
    window_ends: float | None
    """Unix time by which all must be over."""
    begin_by: float | None
    """Unix time at which the run must have begun for that, if all goes well."""


def plan_times(plan: Plan) -> PlanTimes:
    """The plan's times, from those of its steps."""
    path = critical_path(plan.forward)
    only_people = {step.id for step in plan.forward if step.id in path.people and step.expected is None}
    return PlanTimes(
        expected=path.expected,
        at_most=path.at_most,
        people=path.people,
        with_people=path.with_people,
        unknown=path.unknown_steps,
        endless=tuple(step.id for step in plan.forward if step.at_most is None and step.id not in only_people),
        window=plan.runbook.window,
        back=_longest_back(plan) if plan.runbook.window is not None or plan.window_ends is not None else None,
        window_ends=plan.window_ends,
        begin_by=begin_by(plan),
    )


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
    if times.window_ends is not None and times.begin_by is not None:
        yield "window ends", _window_ends(times, times.window_ends, times.begin_by)


def _well(times: PlanTimes) -> str:
    parts = [f"~{format_duration(times.expected)}"] if times.expected else []
    if times.people:
        named = [name if not take else f"{name} ~{format_duration(take)}" for name, take in times.people.items()]
        parts.append(f"{_PEOPLE} ({_names(named)})")
    return ", and ".join(parts) + (f"; not known: {_names(times.unknown)}" if times.unknown else "")


def _most(times: PlanTimes) -> str:
    if times.at_most is None:
        return f"no limit ({_names(times.endless)})"
    return format_duration(times.at_most) + (f", and {_PEOPLE} ({_names(times.people)})" if times.people else "")


def _window(times: PlanTimes, window: float) -> str:
    left = window - times.with_people
    if left < 0:
        return f"{format_duration(window)}: too short by {format_duration(-left)}"
    waits = any(take is None for take in times.people.values())
    text = f"{format_duration(window)}: leaves {format_duration(left)}" + (" for people" if waits else "")
    if times.back is None or times.back > window:
        return text
    by = format_duration(window - times.back)
    return f"{text}; {_UNDO} within {by} of the start (takes ~{format_duration(times.back)})"


def _window_ends(times: PlanTimes, ends: float, begin: float) -> str:
    """The times of day are near the end, which has its date and zone."""
    waits = [name for name, take in times.people.items() if take is None]
    end, first, back = format_moments([ends, begin, ends - (times.back or 0.0)], ends)
    text = f"{format_day(ends)} {end} {format_zone(ends)}: begin by {first}"
    text += f", earlier by {_PEOPLE} ({_names(waits)})" if waits else ""
    if not times.back:
        return text
    return f"{text}; {_UNDO} by {back} (takes ~{format_duration(times.back)})"


def _names(steps: Iterable[str]) -> str:
    return ", ".join(steps)
