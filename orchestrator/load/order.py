"""The order of a runbook's steps: names that are there once, no circles, and a return of what was done before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from orchestrator.load.flatten import RETURNABLE
from orchestrator.load.moved import Moved, leans, moved
from orchestrator.load.node import MappingNode, Name, Node, SequenceNode, child, has, name_at, names_at, place_of
from orchestrator.load.problems import Problems, meant, quote
from orchestrator.model.inventory import Inventory

T = TypeVar("T")


def check_order(root: MappingNode, inventory: Inventory, problems: Problems) -> None:
    """Report steps that cannot be told apart, put in an order, or returned."""
    found = child(root, "steps")
    if isinstance(found, SequenceNode):
        _Order(found.items, inventory, problems).check()


class _Order:
    def __init__(self, nodes: tuple[Node, ...], inventory: Inventory, problems: Problems) -> None:
        self._problems = problems
        self._nodes: dict[str, Node] = {}
        self._needs: dict[str, tuple[str, ...]] = {}
        self._complete = True
        """Whether every step has a name; else a name that is not there may be one of theirs."""
        above: str | None = None
        for node in nodes:
            above = self._take(node, above)
        instead = (step for node in nodes for step in _items(node, "plan_b"))
        self._check_ids(name for step in instead if (name := name_at(step, "id")) is not None)
        self._moved = {name: moved(node, inventory) for name, node in self._nodes.items()}
        self._movers = _inverted(self._moved)
        self._leaners = _inverted({name: leans(node, inventory) for name, node in self._nodes.items()})
        self._returns = {name: _returned(node) for name, node in self._nodes.items()}
        self._returned_by = _inverted(self._returns)
        self._needed_by = _inverted(self._needs)

    def _check_ids(self, names: Iterable[Name]) -> None:
        """The steps of a plan B are called by their names in the same run."""
        taken = {name: place_of(node, "id") for name, node in self._nodes.items()}
        for name in names:
            if name.text in taken:
                message = f"cannot tell two steps apart: {quote(name.text)} stands in line {taken[name.text].line}"
                self._problems.add(name.place, f"{message} already", "give one of them another id")
            taken.setdefault(name.text, name.place)

    def _take(self, node: Node, above: str | None) -> str | None:
        name = name_at(node, "id")
        if name is None:
            self._complete = False
            return above
        if name.text in self._nodes:
            first = place_of(self._nodes[name.text], "id")
            message = f"cannot tell two steps apart: {quote(name.text)} stands in line {first.line} already"
            self._problems.add(name.place, message, "give one of them another id")
            return name.text
        default = (above,) if above else ()
        listed = tuple(need.text for need in names_at(node, "needs"))
        self._needs[name.text] = listed if has(node, "needs") else default
        self._nodes[name.text] = node
        return name.text

    def check(self) -> None:
        """Every rule of the order."""
        for step, node in self._nodes.items():
            for need in names_at(node, "needs"):
                self._known(step, need)
        if self._circles():
            return  # what is done before what, nobody can say
        for step, node in self._nodes.items():
            if (kind := name_at(node, "do")) is not None and kind.text == "return":
                self._check_return(step, list(names_at(node, "steps")))

    def _known(self, step: str, name: Name) -> bool:
        if name.text in self._nodes:
            return True
        if self._complete:
            message = f"cannot use step {quote(step)}: there is no step {quote(name.text)}"
            self._problems.add(name.place, message, meant(name.text, self._nodes, "steps"))
        return False

    def _circles(self) -> bool:
        unordered = _unordered(self._needs)
        reported: set[str] = set()
        for step in unordered:
            circle = [] if step in reported else _circle(step, self._needs)
            reported.update(circle)
            if circle:
                message = f"cannot order the steps: {' needs '.join(quote(name) for name in circle)}"
                self._problems.add(place_of(self._nodes[step], "needs"), message, "break the circle in 'needs'")
        return bool(unordered)

    def _check_return(self, step: str, names: list[Name]) -> None:
        before = _ancestors(step, self._needs)
        returned: list[str] = []
        for name in names:
            if self._known(step, name) and self._returnable(step, name, before, returned):
                returned.append(name.text)

    def _returnable(self, step: str, name: Name, before: set[str], returned: list[str]) -> bool:
        kind = name_at(self._nodes[name.text], "do")
        if kind is None:
            return False
        what = f"cannot return {quote(name.text)} in step {quote(step)}"
        if kind.text not in RETURNABLE:
            remedy = f"only {', '.join(RETURNABLE)} can be returned"
            self._problems.add(name.place, f"{what}: {quote(kind.text)} changes nothing that could be", remedy)
        elif kind.text == "manual" and not has(self._nodes[name.text], "with", "undo"):
            self._problems.add(name.place, f"{what}: it says no way back", "write its 'undo', or leave it out here")
        elif name.text not in before:
            remedy = "name a step above it, or one that its 'needs' lead to"
            self._problems.add(name.place, f"{what}: it is not certain to be done before", remedy)
        elif name.text in returned:
            self._problems.add(name.place, f"{what}: it is returned already", "name it once")
        elif later := self._first_before(name, returned):
            message = f"{what}: it was done after {quote(later)}, so it must be returned before it"
            self._problems.add(name.place, message, "name the last step of the way out first")
        elif later := self._stands_upon(step, name.text, before, self._movers):
            message = f"{what}: {quote(later)} was done after it and {self._shared(name.text, later)} too"
            self._problems.add(name.place, message, f"return {quote(later)} first")
        elif later := self._stands_upon(step, name.text, before, self._leaners):
            message = f"{what}: {quote(later)} was done after it and has moved traffic to what it has brought up"
            self._problems.add(name.place, message, f"return {quote(later)} first")
        else:
            return True
        return False

    def _first_before(self, name: Name, returned: list[str]) -> str | None:
        """The first of the returned steps that was done before ``name``; None where none was."""
        before = _ancestors(name.text, self._needs)
        return next((done for done in returned if done in before), None)

    def _stands_upon(
        self, step: str, name: str, before: set[str], by_thing: Mapping[Moved, tuple[str, ...]]
    ) -> str | None:
        """The last step between ``name`` and its return in ``step`` that is not returned by then, of ``by_thing``.

        What one that moves the same found when it began holds what ``name`` did: an undo would bring back just that,
        and nobody would take it away any more. What one leans on must not go from under it.
        """
        movers = {mover for what in self._moved[name] for mover in by_thing.get(what, ())} & before
        standing = {mover for mover in movers if before.isdisjoint(self._returned_by.get(mover, ()))}
        standing -= {name, *self._returns[step]}  # in which order those stand is seen already
        if not standing:
            return None
        after = _ancestors(name, self._needed_by)
        return next((later for later in reversed(self._nodes) if later in standing and later in after), None)

    def _shared(self, name: str, later: str) -> str:
        """What two steps have in common, as ``moves 'iad'``."""
        both = sorted(self._moved[name] & self._moved[later])
        return f"{both[0].verb} {', '.join(quote(what.name) for what in both)}"


def _items(node: Node, key: str) -> tuple[Node, ...]:
    found = child(node, key)
    return found.items if isinstance(found, SequenceNode) else ()


def _returned(node: Node) -> tuple[str, ...]:
    """What a step returns."""
    kind = name_at(node, "do")
    return tuple(name.text for name in names_at(node, "steps")) if kind is not None and kind.text == "return" else ()


def _inverted(index: Mapping[str, Iterable[T]]) -> dict[T, tuple[str, ...]]:
    """By each thing the steps that have it."""
    found: dict[T, list[str]] = {}
    for step, things in index.items():
        for thing in things:
            found.setdefault(thing, []).append(step)
    return {thing: tuple(steps) for thing, steps in found.items()}


def _ancestors(step: str, needs: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Every step that is done before ``step``."""
    found: set[str] = set()
    waiting = list(needs.get(step, ()))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs.get(name, ())
    return found


def _unordered(needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The steps that stand in a circle or wait for one (Kahn's algorithm leaves them over)."""
    waits = {step: {need for need in wanted if need in needs} for step, wanted in needs.items()}
    wanted_by: dict[str, list[str]] = {}
    for step, wanted in waits.items():
        for need in wanted:
            wanted_by.setdefault(need, []).append(step)
    free = [step for step, wanted in waits.items() if not wanted]
    while free:
        done = free.pop()
        del waits[done]
        for step in wanted_by.get(done, ()):
            waits[step].discard(done)
            if not waits[step]:
                free.append(step)
    return list(waits)


def _circle(step: str, needs: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The way from ``step`` back to itself; empty where there is none."""
    came_from: dict[str, str] = {}
    waiting = [step]
    while waiting:
        name = waiting.pop(0)
        for need in needs.get(name, ()):
            if need == step:
                return _way(step, name, came_from)
            if need not in came_from:
                came_from[need] = name
                waiting.append(need)
    return []


def _way(step: str, last: str, came_from: Mapping[str, str]) -> list[str]:
    way = [step]
    while last != step:
        way.insert(1, last)
        last = came_from[last]
    return [*way, step]
