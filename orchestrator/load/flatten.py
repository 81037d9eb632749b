"""A runbook with its includes and parallel groups → plain steps, each with what it needs.

::

    a, both: {b, c}, leave: {out, drain}, d      a ◀─ b ◀┐
                                                   ◀─ c ◀┴ leave.out ◀─ leave.drain ◀─ d

A step that is included is called by its include's name, a dot and its own; so are the checks that come with it.
A name of a group or an include stands for the steps in it: who needs it needs its last steps, who returns it returns
all of them, backwards. A step whose ``when`` does not hold is left out, and who needs it needs what it needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from orchestrator.load.node import (
    MappingNode,
    Name,
    Node,
    Pair,
    Place,
    ScalarNode,
    SequenceNode,
    Tree,
    child,
    has,
    name_at,
    names_at,
    plain,
)
from orchestrator.load.part import Part
from orchestrator.load.problems import Problems, quote
from orchestrator.load.rewrite import renamed, text_node, text_nodes, with_value, without
from orchestrator.load.silences import PlacedSilence, silences_in

Include = Callable[[Part, MappingNode], Part | None]
"""Reads the runbook that a step of a part includes."""

RETURNABLE: Final = ("traffic.shift", "traffic.drain", "smtp.drain", "scale.out", "node.drain", "manual")
"""What a return can bring back; of manual steps those that say how."""

MAX_NEEDS: Final = 20_000
"""Between all steps together."""


@dataclass(frozen=True, slots=True)
class Flat:
    """The whole runbook as plain steps."""

    root: MappingNode
    steps: int
    unused: tuple[Name, ...]
    silences: tuple[PlacedSilence, ...]


@dataclass(slots=True)
class _Scope:
    """The entries of one file, or of one group in it."""

    part: Part
    prefix: str
    names: dict[str, _Item] = field(default_factory=dict)
    """Every entry of the file by the name that the file gives it, those in groups too."""


@dataclass(slots=True, eq=False)
class _Item:
    """One entry of ``steps``."""

    node: Node
    scope: _Scope
    name: str
    """The bound name; empty where it has none."""
    above: _Item | None
    parent: _Item | None
    skipped: str = ""
    inside: list[_Item] | None = None
    """The entries of a group or an include; None for a plain step."""

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.node.place


def flatten(part: Part, include: Include, problems: Problems) -> Flat:
    """Every step of the runbook, and of those that it includes; what is wrong with them is left for the rules."""
    return _Flattening(include, problems).flat(part)


class _Flattening:
    def __init__(self, include: Include, problems: Problems) -> None:
        self._include = include
        self._problems = problems
        self._parts: list[tuple[Part, str]] = []
        self._included: list[Pair] = []
        self._named: dict[str, _Item] = {}
        """Every entry by its bound name."""
        self._inside: dict[_Item, set[str]] = {}
        self._needs = 0
        self._left_out: set[str] = set()
        """Prefixes of includes that are not done: their checks and guards are not there either."""
        self._entries: dict[_Item, tuple[str, ...] | None] = {}
        self._exits: dict[_Item, tuple[str, ...]] = {}

    def flat(self, part: Part) -> Flat:
        """The whole."""
        items = self._collect(part, "", None)
        leaves = list(_leaves(items))
        self._skip_returns(leaves)
        self._wire(leaves, items)
        steps = [self._step(item, before) for item, before in zip(leaves, [None, *leaves], strict=False)]
        done = tuple(step for step in steps if step is not None)
        skipped = {item.name: item.skipped for item in _all(items) if item.skipped and item.name}
        place = part.root.place
        sections = {
            "checks": self._checks(),
            "guards": self._guards(),
            "includes": MappingNode(place, tuple(self._included)) if self._included else None,
            "skipped": text_nodes(place, skipped) if skipped else None,
        }
        pairs = [pair for pair in part.root.pairs if pair.key not in {*sections, "steps", "silence"}]
        pairs += [Pair(key, place, node) for key, node in sections.items() if node is not None]
        section = part.root.pair("steps")
        if section is not None:
            is_list = isinstance(section.value, SequenceNode)
            pairs.append(replace(section, value=SequenceNode(section.value.place, done)) if is_list else section)
            if skipped and not done:
                message = "cannot use this runbook: every step is left out by its 'when'"
                self._problems.add(section.place, message, "leave at least one step")
        unused = [Name(prefix + name.text, name.place) for one, prefix in self._parts for name in one.unused()]
        silences = [silence for one, prefix in self._parts for silence in silences_in(one.root, prefix)]
        return Flat(replace(part.root, pairs=tuple(pairs)), len(done), tuple(unused), tuple(silences))

    def _collect(self, part: Part, prefix: str, parent: _Item | None) -> list[_Item]:
        """The entries of one file."""
        self._parts.append((part, prefix))
        scope = _Scope(part, prefix)
        return self._entries_of(child(part.root, "steps"), scope, parent, side_by_side=False)

    def _entries_of(
        self, section: Node | None, scope: _Scope, parent: _Item | None, *, side_by_side: bool
    ) -> list[_Item]:
        items: list[_Item] = []
        for node in section.items if isinstance(section, SequenceNode) else ():
            above = items[-1] if items and not side_by_side else None
            items.append(self._item(node, scope, above, parent))
        return items

    def _item(self, node: Node, scope: _Scope, above: _Item | None, parent: _Item | None) -> _Item:
        called, kind = name_at(node, "id"), name_at(node, "do")
        if isinstance(node, MappingNode) and not has(node, "needs"):
            node = without(node, "needs")  # nothing behind it: it is left out
        item = _Item(node, scope, scope.prefix + called.text if called else "", above, parent)
        if item.name:
            self._named.setdefault(item.name, item)
        if called is not None:
            self._call(called, item)
        if isinstance(node, MappingNode):
            why_not = scope.part.why_not(node, self._problems)
            item.skipped = (parent.skipped if parent else "") or why_not
        if kind is not None and kind.text == "parallel":
            item.inside = self._entries_of(child(node, "steps"), scope, item, side_by_side=True)
        elif kind is not None and kind.text == "include" and isinstance(node, MappingNode):
            item.inside = []
            included = self._include(scope.part, node)  # also where it is left out: its mistakes are mistakes
            if included is not None and called is not None:
                item.inside = self._collect(included, f"{item.name}.", item)
                if item.skipped:
                    self._left_out.add(f"{item.name}.")
                else:
                    self._included.append(Pair(item.name, node.place, _included(included, node.place)))
        return item

    def _call(self, called: Name, item: _Item) -> None:
        names, prefix = item.scope.names, item.scope.prefix
        if "." in called.text:
            message = f"cannot call a step {quote(called.text)}: a dot leads to the steps of an include"
            self._problems.add(called.place, message, "write a hyphen")
        first = names.setdefault(called.text, item)
        if first is not item and (_is_composed(first.node) or _is_composed(item.node)):  # else the order's rules say it
            what = quote(prefix + called.text)
            message = f"cannot tell two steps apart: {what} stands in line {first.place.line} already"
            self._problems.add(called.place, message, "give one of them another id")

    def _wire(self, leaves: Sequence[_Item], items: Sequence[_Item]) -> None:
        """Find out what everything needs, from top to bottom, so that nothing recurses far."""
        for item in _all(items):
            self._entry(item)
        for item in leaves:
            self._exit(item)

    def _entry(self, item: _Item) -> tuple[str, ...]:
        """What must be done before ``item`` begins."""
        if item in self._entries:
            found = self._entries[item]
            if found is None:
                message = f"cannot order the steps: {quote(item.name)} needs itself"
                self._problems.add(item.place, message, "break the circle in 'needs'")
            return found or ()
        self._entries[item] = None
        stated = [need for name in names_at(item.node, "needs") for need in self._stands_for(item, name.text)]
        if child(item.node, "needs") is None and item.above is not None:
            stated = list(self._exit(item.above))
        if item.parent is not None and not self._is_within(item.parent, stated):
            stated += self._entry(item.parent)  # a group waits as a whole, whatever one of its steps waits for besides
        found = tuple(dict.fromkeys(stated))
        self._needs += len(found)
        if self._needs > MAX_NEEDS:  # two groups in a row need each other's steps, all of them
            message = f"cannot order the steps: there are more than {MAX_NEEDS} needs between them"
            self._problems.add(item.place, message, "put fewer steps side by side, or a step between two groups")
            self._problems.raise_any()
        self._entries[item] = found
        return found

    def _exit(self, item: _Item) -> tuple[str, ...]:
        """What must be done before whatever waits for ``item`` begins."""
        if item.inside is None and not item.skipped:
            return (item.name,) if item.name else ()
        if item in self._exits:
            return self._exits[item]
        found: tuple[str, ...] = ()
        if not item.skipped and item.inside:
            within = [leaf for leaf in _leaves(item.inside) if not leaf.skipped]
            needed = {need for leaf in within for need in self._entry(leaf)}
            found = tuple(leaf.name for leaf in within if leaf.name and leaf.name not in needed)
            found += self._passed_on(item.inside, {leaf.name for leaf in within})
        self._exits[item] = found or self._entry(item)
        return self._exits[item]

    def _is_within(self, group: _Item, needs: Sequence[str]) -> bool:
        """Whether there are needs, and all are steps of ``group``: then they wait for what the group waits for."""
        if group not in self._inside:
            self._inside[group] = {leaf.name for leaf in _leaves(group.inside or ())}
        return bool(needs) and all(need in self._inside[group] for need in needs)

    def _passed_on(self, items: Sequence[_Item], within: set[str]) -> tuple[str, ...]:
        """What steps that are left out would have waited for, outside of their group."""
        needs = (need for leaf in _leaves(items) if leaf.skipped for need in self._entry(leaf))
        return tuple(dict.fromkeys(need for need in needs if need not in within))

    def _item_called(self, scope: _Scope, name: str) -> _Item | None:
        """The entry that a file means by ``name``, which may lead into an include."""
        return scope.names.get(name) or self._named.get(scope.prefix + name)

    def _stands_for(self, item: _Item, name: str) -> tuple[str, ...]:
        named = self._item_called(item.scope, name)
        return (item.scope.prefix + name,) if named is None else self._exit(named)

    def _step(self, item: _Item, before: _Item | None) -> MappingNode | Node | None:
        """The plain step; None where it is left out."""
        if item.skipped:
            return None
        if not isinstance(item.node, MappingNode):
            return item.node
        node = renamed(without(item.node, "when"), item.scope.prefix)
        kind = name_at(node, "do")
        if kind is not None and kind.text == "return":
            node = with_value(node, "steps", self._returned(item, child(node, "steps")))
        return self._with_needs(node, item, before)

    def _with_needs(self, node: MappingNode, item: _Item, before: _Item | None) -> MappingNode:
        needs = self._entry(item)
        usual: tuple[str, ...] | None = ()
        if before is not None:  # what the runbook takes "the step above" for
            usual = (before.name,) if before.name and not before.skipped else None
        stated = child(item.node, "needs")
        if stated is None and needs == usual:
            return node
        places = {
            need: name.place for name in names_at(item.node, "needs") for need in self._stands_for(item, name.text)
        }
        place = stated.place if stated is not None else node.place
        if stated is not None and not isinstance(stated, SequenceNode):
            return node  # which the schema reports
        listed = tuple(text_node(places.get(need, place), need) for need in needs)
        return with_value(node, "needs", SequenceNode(place, listed))

    def _skip_returns(self, leaves: Sequence[_Item]) -> None:
        """Leave out a return of which nothing is left to be returned."""
        for item in leaves:
            kind, names = name_at(item.node, "do"), list(names_at(item.node, "steps"))
            if kind is None or kind.text != "return" or not names:
                continue
            returned = [self._item_called(item.scope, name.text) for name in names]
            if all(one is not None and not _left(one) for one in returned):
                item.skipped = item.skipped or "everything that it returns is left out"

    def _returned(self, item: _Item, section: Node | None) -> Node:
        """The steps to return, with those that a group or an include stands for."""
        if not isinstance(section, SequenceNode):
            return section or SequenceNode(item.place, ())
        names: list[Node] = []
        for index, node in enumerate(section.items):
            name = name_at(section, index)
            named = self._item_called(item.scope, name.text) if name else None
            if named is None or name is None:
                names.append(node if name is None else text_node(name.place, item.scope.prefix + name.text))
            elif named.inside is None:
                names += [] if named.skipped else [text_node(name.place, named.name)]
            else:
                names += [text_node(name.place, leaf.name) for leaf in reversed(self._in_order(named.inside))]
        return SequenceNode(section.place, tuple(names))

    def _in_order(self, items: Sequence[_Item]) -> list[_Item]:
        """The steps in ``items`` that can be returned, each after all that it needs."""
        left = {leaf.name: leaf for leaf in _leaves(items) if not leaf.skipped}
        found: list[_Item] = []
        while left:
            free = [leaf for leaf in left.values() if not any(need in left for need in self._entry(leaf))]
            if not free:
                free = list(left.values())  # a circle, which the order's rules report
            found += free
            for leaf in free:
                del left[leaf.name]
        return [leaf for leaf in found if _is_returnable(leaf.node)]

    def _present(self) -> Iterator[tuple[Part, str]]:
        """The files whose steps are done, with the prefix of their names."""
        for part, prefix in self._parts:
            if prefix not in self._left_out:
                yield part, prefix

    def _checks(self) -> Node | None:
        """The checks of all files, those of an include behind its name."""
        pairs: list[Pair] = []
        for part, prefix in self._present():
            section = child(part.root, "checks")
            if section is not None and not isinstance(section, MappingNode):
                return section
            pairs += [replace(pair, key=prefix + pair.key) for pair in (section.pairs if section else ())]
        first = child(self._parts[0][0].root, "checks")
        return MappingNode(first.place if first else Place(), tuple(pairs)) if pairs or first else None

    def _guards(self) -> Node | None:
        """The guards of all files; one that stands in several is one."""
        items: list[Node] = []
        seen: list[Tree] = []
        for part, prefix in self._present():
            section = child(part.root, "guards")
            if section is not None and not isinstance(section, SequenceNode):
                return section
            for node in section.items if section else ():
                guard = renamed(node, prefix) if isinstance(node, MappingNode) else node
                if prefix and plain(guard) in seen:
                    continue
                seen.append(plain(guard))
                items.append(guard)
        first = child(self._parts[0][0].root, "guards")
        return SequenceNode(first.place if first else Place(), tuple(items)) if items or first else None


def _is_composed(node: Node) -> bool:
    kind = name_at(node, "do")
    return kind is not None and kind.text in {"parallel", "include"}


def _is_returnable(node: Node) -> bool:
    kind = name_at(node, "do")
    if kind is None or kind.text not in RETURNABLE:
        return False
    return kind.text != "manual" or has(node, "with", "undo")


def _left(item: _Item) -> bool:
    """Whether anything of it is done; of a group or an include, anything that could be returned."""
    done = [leaf for leaf in _leaves([item]) if not leaf.skipped]
    return any(item.inside is None or _is_returnable(leaf.node) for leaf in done)


def _leaves(items: Sequence[_Item]) -> Iterator[_Item]:
    for item in items:
        if item.inside is None:
            yield item
        else:
            yield from _leaves(item.inside)


def _all(items: Sequence[_Item]) -> Iterator[_Item]:
    for item in items:
        yield item
        yield from _all(item.inside or ())


def _included(part: Part, place: Place) -> MappingNode:
    """What a plan tells of an include."""
    values = {name: ScalarNode(place, value, str(value)) for name, value in part.values().items()}
    pairs = [Pair("parameters", place, MappingNode(place, tuple(Pair(key, place, it) for key, it in values.items())))]
    pairs += [pair for key in ("runbook", "summary") if (pair := part.root.pair(key)) is not None]
    return MappingNode(place, tuple(pairs))
