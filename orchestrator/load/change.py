"""A tree with something else at some of its places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from orchestrator.load.node import MappingNode, Node, SequenceNode

ANY: Final = "*"
"""In a path: each key of a mapping, or each entry of a list."""

Trail: TypeAlias = tuple[str | int, ...]
"""How one gets to a node: the keys and indices from the root on."""


def changed(node: Node, path: Sequence[str], change: Callable[[Node, Trail], Node], trail: Trail = ()) -> Node:
    """The tree in which ``change`` has made something else of every node at ``path``; it is also told the way there."""
    if not path:
        return change(node, trail)
    step, rest = path[0], path[1:]
    if isinstance(node, MappingNode):
        pairs = (
            replace(pair, value=changed(pair.value, rest, change, (*trail, pair.key)))
            if step in {ANY, pair.key}
            else pair
            for pair in node.pairs
        )
        return replace(node, pairs=tuple(pairs))
    if isinstance(node, SequenceNode) and step == ANY:
        items = (changed(item, rest, change, (*trail, index)) for index, item in enumerate(node.items))
        return replace(node, items=tuple(items))
    return node
