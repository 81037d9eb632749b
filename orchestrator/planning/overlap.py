"""Steps that may move one thing at the same time, as a pool or a node, which no plan can foresee."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from orchestrator.model.plan import PlannedStep
from orchestrator.model.runbook import DrainStep, NodeDrainStep, ScaleOutStep, ShiftStep, Step, TakeOutStep
from orchestrator.planning.order import in_order

_TOLD: Final = 5
"""So many pairs are enough to see what is the matter."""


def overlaps(steps: Sequence[PlannedStep]) -> tuple[str, ...]:
    """Each pair of steps that move the same and of which neither comes before the other, a line each.

    A forecast goes over the steps one after the other; what is done side by side would be judged by a state of the
    pool that never is. Plans B are left out: the undo goes over one step at a time.
    """
    return tuple(
        f"steps '{one}' and '{other}' may move {what} at the same time: a plan can foresee one at a time "
        "— let one need the other"
        for one, other, what in islice(_pairs(in_order(steps)), _TOLD)
    )


def _pairs(forward: Sequence[PlannedStep]) -> Iterator[tuple[str, str, str]]:
    does = {planned.id: planned.step for planned in forward}
    before = _before(forward)
    movers: dict[str, int] = {}
    for place, planned in enumerate(forward):
        what = _moved(does.get(planned.returns, planned.step) if planned.returns else planned.step)
        if what is None:
            continue
        beside = movers.get(what, 0) & ~before[planned.id]
        yield from ((forward[one].id, planned.id, what) for one in _places(beside))
        movers[what] = movers.get(what, 0) | 1 << place


def _before(forward: Sequence[PlannedStep]) -> Mapping[str, int]:
    """All that is over when a step begins: a bit for each place, so that a thousand steps stay quick."""
    found: dict[str, int] = {}
    with_itself: dict[str, int] = {}
    for place, planned in enumerate(forward):
        bits = 0
        for need in planned.needs:
            bits |= with_itself.get(need, 0)
        found[planned.id], with_itself[planned.id] = bits, bits | 1 << place
    return found


def _places(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _moved(step: Step) -> str | None:
    """What a step moves, in words; None where that is nothing."""
    if isinstance(step, ShiftStep | DrainStep | TakeOutStep):
        return f"pool {step.with_.pool}"
    if isinstance(step, ScaleOutStep):
        return f"the capacity of pool {step.with_.pool} at {step.with_.site}"
    if isinstance(step, NodeDrainStep):
        return f"node {step.with_.host}"
    return None
