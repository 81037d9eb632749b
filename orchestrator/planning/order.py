"""The units of the engine's work, and an order in which they can be done."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from orchestrator.model.plan import PlannedStep
from orchestrator.model.runbook import ReturnStep, Runbook, Step


def steps_of(runbook: Runbook) -> Iterator[Step]:
    """Every step, those of plans B too."""
    for step in runbook.steps:
        yield step
        yield from step.plan_b


def ordered(runbook: Runbook) -> tuple[PlannedStep, ...]:
    """The engine's units of work: each step, each part of a ``return`` one after the other, and each plan B."""
    last_part = {step.id: f"{step.id}.{step.steps[-1]}" for step in runbook.steps if isinstance(step, ReturnStep)}
    planned: list[PlannedStep] = []
    above: tuple[str, ...] = ()
    for step in runbook.steps:
        wanted = above if step.needs is None else step.needs
        planned += _units(step, tuple(last_part.get(name, name) for name in wanted))
        planned += _plan_b(step)
        above = (step.id,)
    return tuple(planned)


def _units(step: Step, needs: tuple[str, ...]) -> Iterator[PlannedStep]:
    if not isinstance(step, ReturnStep):
        yield PlannedStep(id=step.id, step=step, needs=needs)
        return
    for name in step.steps:
        yield PlannedStep(id=f"{step.id}.{name}", step=step, needs=needs, returns=name)
        needs = (f"{step.id}.{name}",)


def _plan_b(step: Step) -> Iterator[PlannedStep]:
    """From top to bottom, once the undo comes to ``step``."""
    needs: tuple[str, ...] = ()
    for instead in step.plan_b:
        yield PlannedStep(id=instead.id, step=instead, needs=needs, instead_of=step.id)
        needs = (instead.id,)


def in_order(steps: Sequence[PlannedStep]) -> tuple[PlannedStep, ...]:
    """The steps, each behind all that it needs, and otherwise as they stand in the file; plans B are left out.

    Raises:
        ValueError: steps need each other in a circle, which no loaded runbook has.
    """
    forward = [step for step in steps if step.instead_of is None]
    place = {step.id: number for number, step in enumerate(forward)}
    missing = {step.id: sum(need in place for need in set(step.needs)) for step in forward}
    followers: dict[str, list[str]] = {step.id: [] for step in forward}
    for step in forward:
        for need in set(step.needs) & place.keys():
            followers[need].append(step.id)
    ready = [place[name] for name, count in missing.items() if not count]
    heapq.heapify(ready)
    found: list[PlannedStep] = []
    while ready:
        step = forward[heapq.heappop(ready)]
        found.append(step)
        for name in followers[step.id]:
            missing[name] -= 1
            if not missing[name]:
                heapq.heappush(ready, place[name])
    if len(found) < len(forward):
        raise ValueError("the steps need each other in a circle")
    return tuple(found)
