"""Keeps secrets out of inventories: what ``${…}`` inserts is text, and text lands in plans and journals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Final

from orchestrator.load.change import ANY, Trail, changed
from orchestrator.load.node import MappingNode, Node, ScalarNode
from orchestrator.load.problems import Problems
from orchestrator.load.shape import (
    ListShape,
    MapShape,
    ModelShape,
    Shape,
    TaggedShape,
    field_shape,
    is_secret,
    shape_of,
)
from orchestrator.load.subject import subject
from orchestrator.model.secret import HOW_TO_REFER
from orchestrator.model.value import Value

_VARIABLE: Final = re.compile(r"\$\{(env:[A-Za-z_][A-Za-z0-9_]*)\}")


def refuse_inserted(model: type[Value], root: MappingNode, problems: Problems) -> MappingNode:
    """The tree before anything is inserted; where a secret would be, that is reported and the place left unknown.

    A path may be put together: ``file:${lab:folder}/password``.
    """

    def check(node: Node, trail: Trail) -> Node:
        if not isinstance(node, ScalarNode) or "${" not in node.text or node.text.startswith("file:"):
            return node
        variable = _VARIABLE.fullmatch(node.text)
        remedy = f"write {variable[1]}" if variable else HOW_TO_REFER
        message = f"cannot read {subject(root, trail)}: a secret is never written into a file"
        problems.add(node.place, message, remedy, hidden=0 if variable else node.place.column)
        return replace(node, value=None, unknown=True)

    tree: Node = root
    for path in _secret_paths(model):
        tree = changed(tree, path, check)
    assert isinstance(tree, MappingNode), "only scalars are changed"
    return tree


@cache
def _secret_paths(model: type[Value]) -> tuple[tuple[str, ...], ...]:
    """Where a file of this model, which must not contain itself, has secrets."""
    return tuple(_paths(ModelShape(model)))


def _paths(shape: Shape) -> Iterator[tuple[str, ...]]:
    if is_secret(shape):
        yield ()
    elif isinstance(shape, ModelShape):
        for key, info in shape.fields().items():
            yield from ((key, *rest) for rest in _paths(field_shape(info)))
    elif isinstance(shape, MapShape | ListShape):
        yield from ((ANY, *rest) for rest in _paths(shape_of(shape.inner)))
    elif isinstance(shape, TaggedShape):
        for kind in shape.models.values():
            yield from _paths(ModelShape(kind))
