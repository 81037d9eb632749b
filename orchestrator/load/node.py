"""A file as a tree in which every key and every value knows its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

Plain: TypeAlias = str | int | float | bool | None
"""What a scalar means."""

Tree: TypeAlias = "Plain | list[Tree] | dict[str, Tree]"
"""A node without its places, as pydantic takes it."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands. Lines and columns count from 1; line 0 is the whole file, file "" is no file."""

    file: str = ""
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value: what it means, and how it is written."""

    place: Place
    value: Plain
    text: str
    unknown: bool = False
    """It could not be found, and that has been reported: nothing more is to be said about it."""
    inserted: bool = False
    """It stands for a parameter or a reference."""


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list."""

    place: Place
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A key with its value, and the place of the key."""

    key: str
    place: Place
    value: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    """Keys with values; no key twice."""

    place: Place
    pairs: tuple[Pair, ...]
    _index: dict[str, Pair] = field(default_factory=dict, init=False, repr=False, compare=False)

    def pair(self, key: str) -> Pair | None:
        """The pair of ``key``; None where there is none."""
        if not self._index:
            self._index.update((pair.key, pair) for pair in self.pairs)
        return self._index.get(key)

    def keys(self) -> tuple[str, ...]:
        """All keys, in the file's order."""
        return tuple(pair.key for pair in self.pairs)


Node: TypeAlias = ScalarNode | SequenceNode | MappingNode


def plain(node: Node) -> Tree:
    """The node's meaning without its places."""
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return {pair.key: plain(pair.value) for pair in node.pairs}


def child(node: Node | None, part: str | int) -> Node | None:
    """What ``node`` holds under a key or an index; None where it holds nothing there."""
    if isinstance(node, MappingNode) and isinstance(part, str):
        pair = node.pair(part)
        return pair.value if pair else None
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.items):
        return node.items[part]
    return None


def descend(node: Node | None, *path: str | int) -> Node | None:
    """The node at the end of ``path``; None where the path breaks off."""
    for part in path:
        node = child(node, part)
    return node


def has(node: Node | None, *path: str | int) -> bool:
    """Whether a value stands at the end of ``path``; a key with nothing behind it, or a null, counts as left out."""
    found = descend(node, *path)
    return found is not None and not (isinstance(found, ScalarNode) and found.value is None and not found.unknown)


def place_of(node: Node, *path: str | int) -> Place:
    """The place of the deepest node that ``path`` reaches."""
    for part in path:
        deeper = child(node, part)
        if deeper is None:
            break
        node = deeper
    return node.place


@dataclass(frozen=True, slots=True)
class Name:
    """A name that the file mentions, and where."""

    text: str
    place: Place


def name_at(node: Node | None, *path: str | int) -> Name | None:
    """The name at ``path``; None where there is none, or something that is no name, or an unknown one."""
    return _name(descend(node, *path))


def names_at(node: Node | None, *path: str | int) -> Iterator[Name]:
    """The names in the list at ``path``, passing over what is no name."""
    found = descend(node, *path)
    if isinstance(found, SequenceNode):
        for item in found.items:
            name = _name(item)
            if name:
                yield name


def _name(node: Node | None) -> Name | None:
    if not isinstance(node, ScalarNode) or node.unknown or not isinstance(node.value, str):
        return None
    return Name(node.value, node.place)
