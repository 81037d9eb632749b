"""A loaded runbook as the rules look at it: everything with its place, its order, and what is away from where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from orchestrator.load.lint.order import Order, Steps, members
from orchestrator.load.node import MappingNode, Name, Node, Place, SequenceNode, child, place_of
from orchestrator.load.problems import quote
from orchestrator.load.runbook import LoadedRunbook
from orchestrator.model.check import CheckGuard, Guard, HeadroomGuard, ServingGuard
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import DrainStep, NodeDrainStep, ReturnStep, Runbook, ShiftStep, Step, TakeOutStep

_MOVES: Final = (ShiftStep, DrainStep, TakeOutStep, NodeDrainStep)


@dataclass(frozen=True, slots=True)
class PlacedStep:
    """A step, and where it stands."""

    step: Step
    node: Node
    number: int
    """Its index in the runbook; of a step of a plan B that of the step whose plan it is."""

    @property
    def what(self) -> str:
        """What people call it."""
        return f"step {quote(self.step.id)}"

    def place(self, *path: str | int) -> Place:
        """The place of a part of it; of the nearest that is there."""
        return place_of(self.node, *path)


@dataclass(frozen=True, slots=True)
class PlacedGuard:
    """A guard, and where it stands."""

    guard: Guard
    node: Node
    number: int

    @property
    def what(self) -> str:
        """What people call it."""
        return f"guard {self.number + 1}"

    @property
    def name(self) -> str:
        """What ``silence`` calls it: its check, or its kind and pool as ``headroom smtp``."""
        if isinstance(self.guard, CheckGuard):
            return self.guard.check
        if isinstance(self.guard, HeadroomGuard):
            return f"headroom {self.guard.headroom.pool}"
        if isinstance(self.guard, ServingGuard):
            return f"serving {self.guard.serving.pool}"
        return f"blast_radius {self.guard.blast_radius.pool}"


class Scene:
    """One runbook, bound to its inventory. What is asked for more than once is indexed once."""

    def __init__(self, loaded: LoadedRunbook, inventory: Inventory) -> None:
        self.runbook: Runbook = loaded.runbook
        self.root: MappingNode = loaded.root
        self.unused: tuple[Name, ...] = loaded.unused
        self.inventory = inventory
        nodes = _items(self.root, "steps")
        self.steps = tuple(
            PlacedStep(step, node, number)
            for number, (step, node) in enumerate(zip(self.runbook.steps, nodes, strict=True))
        )
        guards = zip(self.runbook.guards, _items(self.root, "guards"), strict=True)
        self.guards = tuple(PlacedGuard(guard, node, number) for number, (guard, node) in enumerate(guards))
        self.order = Order(self.runbook.steps)

    @cached_property
    def every_step(self) -> tuple[PlacedStep, ...]:
        """All steps, each followed by those of its plan B."""
        return tuple(one for step in self.steps for one in (step, *_plan_b(step)))

    @cached_property
    def step_named(self) -> dict[str, PlacedStep]:
        """Every step by its name."""
        return {one.step.id: one for one in self.every_step}

    @cached_property
    def checks(self) -> dict[str, tuple[Place, Node]]:
        """Of each check the place of its name, and what is said of it."""
        section = child(self.root, "checks")
        pairs = section.pairs if isinstance(section, MappingNode) else ()
        return {pair.key: (pair.place, pair.value) for pair in pairs}

    @cached_property
    def moves(self) -> Steps:
        """The steps that take traffic, or the pods that carry it, away from where it was."""
        return sum(1 << one.number for one in self.steps if isinstance(one.step, _MOVES))

    @cached_property
    def brought_back(self) -> dict[int, Steps]:
        """By each ``return`` what it brings back."""
        return {
            one.number: sum(1 << self.step_named[name].number for name in set(one.step.steps))
            for one in self.steps
            if isinstance(one.step, ReturnStep)
        }

    @cached_property
    def returned_by(self) -> dict[int, Steps]:
        """By what is brought back the steps that do it."""
        found: dict[int, Steps] = {}
        for back, brought in self.brought_back.items():
            for number in members(brought):
                found[number] = found.get(number, 0) | 1 << back
        return found

    @cached_property
    def _back_before(self) -> list[Steps]:
        """What has been brought back when each step begins."""
        back: list[Steps] = [0] * len(self.steps)
        for number in self.order.sorted:
            for need in self.order.needs[number]:
                back[number] |= back[need] | self.brought_back.get(need, 0)
        return back

    def may_be_away(self, number: int) -> Steps:
        """What may be moved while a step is at work: it too, and steps beside it that are not certain to be back."""
        return self.moves & ~self.order.after[number] & ~self._back_before[number]

    def away(self, number: int) -> Steps:
        """What has been moved when a step begins, and has not been brought back."""
        return self.moves & self.order.before[number] & ~self._back_before[number]


def _plan_b(step: PlacedStep) -> Iterator[PlacedStep]:
    for instead, node in zip(step.step.plan_b, _items(step.node, "plan_b"), strict=True):
        yield PlacedStep(instead, node, step.number)


def _items(node: Node, key: str) -> tuple[Node, ...]:
    found = child(node, key)
    return found.items if isinstance(found, SequenceNode) else ()
