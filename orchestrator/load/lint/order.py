"""Which steps are certain to be done before which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from orchestrator.model.runbook import Step

Steps: TypeAlias = int
"""A set of steps: bit N stands for step N, so that sets of thousands cost next to nothing."""


class Order:
    """The order that ``needs`` makes; steps are known by their index in the runbook."""

    def __init__(self, steps: Sequence[Step]) -> None:
        numbers = {step.id: number for number, step in enumerate(steps)}
        self.all: Steps = (1 << len(steps)) - 1
        self.needs = tuple(tuple(numbers[name] for name in _needs(steps, number)) for number in range(len(steps)))
        """What each step waits for."""
        self.sorted = _sorted(self.needs)
        """Every step after all that it waits for."""
        self.before: list[Steps] = [0] * len(steps)
        """What is done when a step begins."""
        self.after: list[Steps] = [0] * len(steps)
        """What begins only when a step is done."""
        for number in self.sorted:
            for need in self.needs[number]:
                self.before[number] |= self.before[need] | 1 << need
        for number in reversed(self.sorted):
            for need in self.needs[number]:
                self.after[need] |= self.after[number] | 1 << number


def members(steps: Steps) -> Iterator[int]:
    """The numbers of the steps in a set, in the order of the runbook."""
    while steps:
        lowest = steps & -steps
        yield lowest.bit_length() - 1
        steps ^= lowest


def _needs(steps: Sequence[Step], number: int) -> tuple[str, ...]:
    stated = steps[number].needs
    if stated is not None:
        return stated
    return (steps[number - 1].id,) if number else ()


def _sorted(needs: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Kahn's algorithm; a loaded runbook has no circles."""
    waits = [len(set(wanted)) for wanted in needs]
    wanted_by: list[list[int]] = [[] for _ in needs]
    for number, wanted in enumerate(needs):
        for need in set(wanted):
            wanted_by[need].append(number)
    done = [number for number, left in enumerate(waits) if not left]
    for number in done:  # which grows on the way
        for waiting in wanted_by[number]:
            waits[waiting] -= 1
            if not waits[waiting]:
                done.append(waiting)
    return tuple(done)
