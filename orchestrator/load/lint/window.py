"""The rule that adds up the time which a runbook allows itself, and compares it with its window.

What is stated counts, and only that: deadlines, timeouts, timed holds, pauses, and how long checks measure. Of a wait
for a person the estimate counts, where there is one. Independent steps run side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from orchestrator.checks.gate import DEFAULT_WINDOW
from orchestrator.load.lint.finding import Found
from orchestrator.load.lint.scene import PlacedStep, Scene
from orchestrator.load.node import place_of
from orchestrator.model.check import Check
from orchestrator.model.runbook import (
    DrainStep,
    HoldStep,
    ManualStep,
    NodeDrainStep,
    ReturnStep,
    ScaleOutStep,
    ShiftStep,
    Step,
    TakeOutStep,
    VerifyStep,
)
from orchestrator.model.units import format_duration

_WITH_DEADLINE: Final = (DrainStep, TakeOutStep, ScaleOutStep, NodeDrainStep)

_NAMED: Final = 4
"""So many steps are named, those that take longest."""


def deadline_past_window(scene: Scene) -> Iterator[Found]:
    """A single deadline that is longer than the window, or a longest way through all steps that is."""
    window = scene.runbook.window
    if window is None:
        return
    too_long = list(_single(scene, window))
    yield from too_long
    if too_long:
        return
    seconds = [stated_seconds(scene, one.step) for one in scene.steps]
    way = _longest_way(scene, seconds)
    total = sum(seconds[number] for number in way)
    if total > window:
        message = (
            f"the runbook may take {format_duration(total)}, and its window is {format_duration(window)}: "
            f"{_told(scene, way, seconds)}"
        )
        yield Found(
            place_of(scene.root, "window"), "", message, "shorten its deadlines and pauses, or widen the window"
        )


class _Limit(NamedTuple):
    key: str
    path: tuple[str, ...]
    seconds: float


def _single(scene: Scene, window: float) -> Iterator[Found]:
    for one in scene.every_step:
        limit = _longest_limit(one.step)
        if limit is not None and limit.seconds > window:
            message = (
                f"{one.what} has {limit.key} of {format_duration(limit.seconds)}, and the window of the runbook is "
                f"{format_duration(window)}"
            )
            yield Found(one.place(*limit.path), one.step.id, message, "shorten it, or widen the window")


def _longest_limit(step: Step) -> _Limit | None:
    """The longest of what a step may take by itself; its timeout, where it has one, is above all."""
    if step.timeout is not None:
        return _Limit("a timeout", ("timeout",), step.timeout)
    if isinstance(step, _WITH_DEADLINE) and step.with_.deadline is not None:
        return _Limit("a deadline", ("with", "deadline"), step.with_.deadline)
    if isinstance(step, HoldStep) and step.with_.until != "approval":
        return _Limit("a hold", ("with", "until"), float(step.with_.until))
    if step.estimate is not None:
        return _Limit("an estimate", ("estimate",), step.estimate)
    return None


def stated_seconds(scene: Scene, step: Step) -> float:
    """How long a step may take, as far as the runbook says, with all its tries."""
    one_try = sum(_part(scene, step, one) for one in _parts(scene, step))
    if step.retries is None:
        return one_try
    return one_try * (1 + step.retries.times) + sum(step.retries.pauses())


def _parts(scene: Scene, step: Step) -> tuple[Step, ...]:
    """A return does one thing after the other, each with its own gates and timeout."""
    return tuple(scene.step_named[name].step for name in step.steps) if isinstance(step, ReturnStep) else (step,)


def _part(scene: Scene, step: Step, does: Step) -> float:
    """One unit of work of ``step``, which is ``does``: itself, or what it brings back."""
    known, limited = _work(scene, does, returning=does is not step)
    waypoints = len(does.with_.by) if isinstance(does, ShiftStep) else 1
    once = (*step.before, *(step.checks if isinstance(step, VerifyStep) else ()))
    checks = scene.runbook.checks
    known += sum(_check_seconds(checks[name]) for name in once)
    known += sum(_check_seconds(checks[name]) for name in step.after) * waypoints
    if step.timeout is not None:
        return min(known, step.timeout) if limited else step.timeout
    return max(known, (step.estimate or 0.0) / len(_parts(scene, step)))


class _Work(NamedTuple):
    seconds: float
    limited: bool
    """Whether it then is over; else it may take any time."""


def _work(scene: Scene, step: Step, *, returning: bool) -> _Work:
    if isinstance(step, ShiftStep):
        return _Work(step.with_.pause * len(step.with_.by), limited=True)
    if isinstance(step, ManualStep):
        return _Work(0.0, limited=False)
    if returning:
        return _Work(0.0, limited=True)
    if isinstance(step, HoldStep):
        until = step.with_.until
        return _Work(0.0, limited=False) if until == "approval" else _Work(float(until), limited=True)
    if isinstance(step, _WITH_DEADLINE):
        deadline = step.with_.deadline
        turns = _turns(scene, step) if isinstance(step, DrainStep) else 1
        return _Work(0.0, limited=False) if deadline is None else _Work(deadline * turns, limited=True)
    return _Work(0.0, limited=True)


def _turns(scene: Scene, step: DrainStep) -> int:
    """The deadline counts for the sessions, and anew for the queues of hosts that have one."""
    pool = scene.inventory.pools[step.with_.pool]
    names = (step.with_.host,) if step.with_.host is not None else pool.members(step.with_.site or "")
    return 2 if any(scene.inventory.host(name).queue is not None for name in names) else 1


def _check_seconds(check: Check) -> float:
    """As long as it says; one that is to find a fault needs as many probes as it takes, which states no time."""
    stated = check.for_ if check.for_ is not None else check.over
    if stated is not None:
        return stated
    return DEFAULT_WINDOW if check.detect is None else 0.0


def _longest_way(scene: Scene, seconds: list[float]) -> list[int]:
    """The steps along the longest way, in their order."""
    order = scene.order
    ends = [0.0] * len(seconds)
    came_from: list[int | None] = [None] * len(seconds)
    for number in order.sorted:
        came_from[number] = max(order.needs[number], key=lambda need: ends[need], default=None)
        last = came_from[number]
        ends[number] = seconds[number] + (0.0 if last is None else ends[last])
    at: int | None = max(range(len(ends)), key=lambda number: ends[number])
    way: list[int] = []
    while at is not None:
        way.append(at)
        at = came_from[at]
    return way[::-1]


def _told(scene: Scene, way: list[int], seconds: list[float]) -> str:
    longest = sorted(way, key=lambda number: -seconds[number])[:_NAMED]
    named: list[PlacedStep] = [scene.steps[number] for number in way if number in longest and seconds[number]]
    told = ", ".join(f"{one.step.id} {format_duration(seconds[one.number])}" for one in named)
    rest = sum(seconds[number] for number in way) - sum(seconds[one.number] for one in named)
    return f"{told}, the rest {format_duration(rest)}" if rest else told
