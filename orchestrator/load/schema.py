"""Nodes to model with pydantic, and pydantic's errors to sentences at their places."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.load.node import MappingNode, Node, Place, ScalarNode, SequenceNode, child, plain
from orchestrator.load.problems import MOST, Problems, closest, listed, meant, quote
from orchestrator.load.shape import (
    EitherShape,
    LeafShape,
    ListShape,
    MapShape,
    ModelShape,
    Shape,
    TaggedShape,
    field_shape,
    holds_secret,
    shape_of,
)
from orchestrator.load.subject import subject
from orchestrator.model.value import Value

M = TypeVar("M", bound=Value)
T = TypeVar("T")

_REPORTED: Final = MOST - 1
"""So many of pydantic's errors, after the sentence that says how many there are."""


def build(model: type[M], root: MappingNode, problems: Problems) -> M | None:
    """The model that ``root`` describes; None where it describes none, with every reason reported."""
    try:
        return model.model_validate(plain(root))
    except ValidationError as error:
        _report(ModelShape(model), root, error.errors(include_url=False), problems)
        return None


def part(kind: TypeAdapter[T], node: Node) -> T | None:
    """A part of a model that may be sound where the whole is not; None where it is not, which is not reported."""
    try:
        return kind.validate_python(plain(node))
    except ValidationError:
        return None


def is_mistyped(root: MappingNode, section: str) -> bool:
    """Whether ``root`` seems to hold ``section`` under a mistyped key."""
    return section not in root.keys() and any(closest(key, [section]) for key in root.keys())  # noqa: SIM118


@dataclass(frozen=True, slots=True)
class _Spot:
    """What an error is about: the deepest node on its way, what is expected there, and how one gets there."""

    shape: Shape
    node: Node
    trail: tuple[str | int, ...]
    missing: str | None = None
    """The key that ``node`` does not have."""
    siblings: tuple[str, ...] = ()
    """Keys that would make another kind of thing of the node."""


def _report(shape: Shape, root: MappingNode, errors: Sequence[ErrorDetails], problems: Problems) -> None:
    spots = [(error, spot) for error in errors[:_REPORTED] if (spot := _locate(shape, root, error["loc"])) is not None]
    mistyped = {
        (spot.node.place, near)
        for error, spot in spots
        if error["type"] == "extra_forbidden" and (near := _near_key(spot, error))
    }
    if len(errors) > _REPORTED:
        message = f"cannot read this file: it has {len(errors)} mistakes, of which the first {_REPORTED} follow"
        problems.add(Place(root.place.file), message, "is it the right file?")
    for error, spot in spots:
        if error["type"] == "missing" and (spot.node.place, spot.missing) in mistyped:
            continue  # it is there, under a mistyped key, which is reported
        _Explanation(root, error, spot, problems).give()


def _near_key(spot: _Spot, error: ErrorDetails) -> str | None:
    if not isinstance(spot.shape, ModelShape) or not isinstance(spot.node, MappingNode):
        return None
    missing = [key for key in spot.shape.fields() if spot.node.pair(key) is None]
    return closest(str(error["loc"][-1]), missing)


def _locate(shape: Shape, node: Node, location: Sequence[str | int]) -> _Spot | None:
    """Follow pydantic's location, in which the kinds of unions stand among the keys.

    None: the error is about a kind that the file does not try to write.
    """
    trail: list[str | int] = []
    siblings: tuple[str, ...] = ()
    for step in location:
        if isinstance(shape, TaggedShape) and step in shape.models:
            shape = ModelShape(shape.models[str(step)])
            continue
        if isinstance(shape, EitherShape):
            chosen = shape.meant(node)
            if chosen is None:
                break
            if not shape.is_called(chosen, str(step)):
                return None
            siblings = tuple(key for model in shape.models() if model != chosen for key in model.fields())
            shape = chosen
            continue
        inner = _inner(shape, step)
        deeper = child(node, step)
        if inner is None or deeper is None:
            missing = str(step) if inner is not None else None
            return _Spot(shape, node, tuple(trail), missing, siblings)
        shape, node, siblings = inner, deeper, ()
        trail.append(step)
    return _Spot(shape, node, tuple(trail), None, siblings)


def _inner(shape: Shape, step: str | int) -> Shape | None:
    if isinstance(shape, ModelShape):
        info = shape.fields().get(str(step))
        return field_shape(info) if info else None
    if isinstance(shape, MapShape | ListShape):
        return shape_of(shape.inner)
    return None


class _Explanation:
    """One error of pydantic's, said for people."""

    def __init__(self, root: MappingNode, error: ErrorDetails, spot: _Spot, problems: Problems) -> None:
        self._error = error
        self._spot = spot
        self._problems = problems
        self._subject = subject(root, spot.trail)

    def give(self) -> None:
        """Report it, unless it follows from something that is reported already."""
        kind = self._error["type"]
        node = self._spot.node
        if isinstance(node, ScalarNode) and node.unknown:
            return
        if isinstance(self._spot.shape, LeafShape) and not isinstance(node, ScalarNode):
            self._say(node, *_wrong_value(self._error, self._spot))  # whatever is wrong inside it
        elif isinstance(self._spot.shape, EitherShape) and isinstance(node, MappingNode) and self._spot.shape.models():
            self._unknown_kind(self._spot.shape, node)
        elif kind == "extra_forbidden":
            self._unknown_key()
        elif kind == "missing":
            self._missing_key()
        elif isinstance(self._spot.shape, TaggedShape) and isinstance(node, MappingNode):
            self._unknown_tag(self._spot.shape, node)
        elif kind == "too_short":
            self._empty()
        else:
            why, remedy = _wrong_value(self._error, self._spot)
            self._say(node, why, remedy)

    def _say(self, node: Node, why: str, remedy: str) -> None:
        hidden = node.place.column if holds_secret(self._spot.shape) else 0
        self._problems.add(node.place, f"cannot read {self._subject}: {why}", remedy, hidden=hidden)

    def _unknown_key(self) -> None:
        key = str(self._error["loc"][-1])
        shape, node = self._spot.shape, self._spot.node
        if not isinstance(shape, ModelShape) or not isinstance(node, MappingNode):
            return
        pair = node.pair(key)
        if pair is None or ("${" in key and self._problems.at(pair.place)):
            return  # that nothing can be inserted into a key is said already
        near = _near_key(self._spot, self._error)
        if key in self._spot.siblings:
            remedy = "write it as an entry of its own"
        else:
            remedy = f"did you mean {quote(near)}?" if near else f"the keys here are: {listed(shape.fields())}"
        secret = near is not None and holds_secret(field_shape(shape.fields()[near]))
        hidden = pair.value.place.column if secret and pair.value.place.line == pair.place.line else 0
        self._problems.add(pair.place, f"cannot read {self._subject}: unknown key {quote(key)}", remedy, hidden=hidden)

    def _missing_key(self) -> None:
        key = str(self._spot.missing)
        info = self._spot.shape.fields().get(key) if isinstance(self._spot.shape, ModelShape) else None
        expected = field_shape(info).words() if info else "a value"
        about = info.description if info and info.description else expected
        self._say(self._spot.node, f"{quote(key)} is missing", f"add it: {about[:1].lower()}{about[1:].rstrip('.')}")

    def _unknown_tag(self, shape: TaggedShape, node: MappingNode) -> None:
        pair = node.pair(shape.key)
        if pair is None:
            mistyped = next((pair for pair in node.pairs if closest(pair.key, [shape.key])), None)
            if mistyped is not None:
                why = f"unknown key {quote(mistyped.key)}"
                self._problems.add(
                    mistyped.place, f"cannot read {self._subject}: {why}", f"did you mean {quote(shape.key)}?"
                )
                return
            self._say(node, f"{quote(shape.key)} is missing", f"add it: one of {listed(shape.models)}")
            return
        if isinstance(pair.value, ScalarNode) and pair.value.unknown:
            return
        word = _TAG_WORDS.get(shape.key, shape.key)
        why = f"there is no {word} {_shown(pair.value)}"
        remedy = meant(pair.value.text if isinstance(pair.value, ScalarNode) else "", shape.models, f"{word}s")
        self._say(pair.value, why, remedy)

    def _unknown_kind(self, shape: EitherShape, node: MappingNode) -> None:
        known = [key for model in shape.models() for key in model.fields()]
        if not node.pairs:
            self._say(node, "it is empty", f"write one of {listed(known)}")
            return
        pair = node.pairs[0]
        why = f"unknown key {quote(pair.key)}"
        self._problems.add(pair.place, f"cannot read {self._subject}: {why}", meant(pair.key, known, "kinds"))

    def _empty(self) -> None:
        node = self._spot.node
        if isinstance(node, SequenceNode) and node.items:
            return  # its entries are wrong, which is reported
        self._say(node, "it is empty", "write at least one entry")


_LIMITS: Final[Mapping[str, tuple[str, str]]] = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_TAG_WORDS: Final = {"do": "action"}
_NAME_RULE: Final = "use lower-case letters, digits and hyphens, beginning with a letter"


def _wrong_value(error: ErrorDetails, spot: _Spot) -> tuple[str, str]:
    """Why a value is wrong, and what to write instead."""
    context = error.get("ctx", {})
    node, shape = spot.node, spot.shape
    if error["type"] == "value_error" and isinstance(node, ScalarNode) and isinstance(shape, LeafShape):
        return _own_words(str(context.get("error", "")), shape)
    if error["type"] == "string_pattern_mismatch":
        return f"{_shown(node)} is not a name", _NAME_RULE
    if error["type"] == "string_too_short":
        return "it is empty", "write some text"
    if error["type"] in _LIMITS:
        key, words = _LIMITS[error["type"]]
        limit = f"it must be {words} {context.get(key, 0):g}"
        return f"{limit}, not {_shown(node)}", "change the number"
    shown = "" if holds_secret(shape) else f", not {_shown(node)}"
    return f"it must be {shape.words()}{shown}", _remedy(shape, node)


def _own_words(said: str, shape: LeafShape) -> tuple[str, str]:
    """Our own parsers say ``why: what to do``."""
    why, separator, remedy = said.rpartition(": ")
    if len(said) > 300 or not said:
        return f"it must be {shape.words()}", "write a shorter value"
    return (why, remedy) if separator else (said, f"write {shape.words()}")


def _remedy(shape: Shape, node: Node) -> str:
    if isinstance(shape, LeafShape):
        return _leaf_remedy(shape, node)
    if isinstance(shape, ListShape):
        single = isinstance(node, ScalarNode) and node.value is not None
        return (
            f"write [{quote(node.text)[1:-1]}]"
            if isinstance(node, ScalarNode) and single
            else "begin each entry with '- '"
        )
    if isinstance(shape, EitherShape):
        near = closest(node.text, shape.choices()) if isinstance(node, ScalarNode) else None
        return f"did you mean {quote(near)}?" if near else "write one of these"
    keys = [shape.key] if isinstance(shape, TaggedShape) else []
    if isinstance(shape, ModelShape):
        keys = shape.required() or list(shape.fields())
    return "write {" + ", ".join(f"{key}: …" for key in keys) + "}"


def _leaf_remedy(shape: LeafShape, node: Node) -> str:
    choices = shape.choices()
    if not isinstance(node, ScalarNode) or node.value is None:
        return "write one value" if not choices else f"write {shape.words()}"
    if node.inserted:
        return "insert a parameter of another type"
    if isinstance(node.value, str) and (node.text in choices or (shape.kind in {int, float} and _is_number(node))):
        return f"write {node.text} without quotes"
    near = closest(node.text, choices)
    if near:
        return f"did you mean {quote(near)}?"
    if shape.kind is str:
        return f'put it in quotes: "{quote(node.text)[1:-1]}"'
    return f"write {shape.words()}" if len(choices) < 2 else "write one of these"


def _is_number(node: ScalarNode) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)?", node.text) is not None


def _shown(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    return "nothing" if node.value is None else quote(node.text)
