"""Nodes made from other nodes: keys set and left out, names put behind the name of an include."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from orchestrator.load.node import MappingNode, Node, Pair, Place, ScalarNode, SequenceNode, child, name_at

_CHECK_LISTS: Final = ("before", "after", "checks")


def renamed(node: MappingNode, prefix: str) -> MappingNode:
    """A step or guard of an include, called and calling by bound names."""
    if not prefix:
        return node
    if (called := name_at(node, "id")) is not None:
        node = with_value(node, "id", text_node(called.place, prefix + called.text))
    if (check := name_at(node, "check")) is not None:
        node = with_value(node, "check", text_node(check.place, prefix + check.text))
    for key in _CHECK_LISTS:
        listed = child(node, key)
        if isinstance(listed, SequenceNode):
            items = (_prefixed(item, prefix) for item in listed.items)
            node = with_value(node, key, SequenceNode(listed.place, tuple(items)))
    instead = child(node, "plan_b")
    if isinstance(instead, SequenceNode):
        steps = (renamed(step, prefix) if isinstance(step, MappingNode) else step for step in instead.items)
        node = with_value(node, "plan_b", SequenceNode(instead.place, tuple(steps)))
    return node


def _prefixed(node: Node, prefix: str) -> Node:
    if not isinstance(node, ScalarNode) or node.unknown or not isinstance(node.value, str):
        return node
    return text_node(node.place, prefix + node.value)


def with_value(node: MappingNode, key: str, value: Node) -> MappingNode:
    """``node`` with ``key`` at ``value``, in its place where it is there already."""
    if node.pair(key) is None:
        return replace(node, pairs=(*node.pairs, Pair(key, value.place, value)))
    return replace(node, pairs=tuple(replace(one, value=value) if one.key == key else one for one in node.pairs))


def without(node: MappingNode, key: str) -> MappingNode:
    """``node`` without ``key``."""
    return replace(node, pairs=tuple(pair for pair in node.pairs if pair.key != key))


def text_node(place: Place, text: str) -> ScalarNode:
    """Text, as if it were written at ``place``."""
    return ScalarNode(place, text, text)


def text_nodes(place: Place, values: dict[str, str]) -> MappingNode:
    """Texts by their keys, in the same way."""
    return MappingNode(place, tuple(Pair(key, place, text_node(place, text)) for key, text in values.items()))
