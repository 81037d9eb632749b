"""What a model expects at each place, read off its types, so that an error can be led back to the file."""

from __future__ import annotations

import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from orchestrator.load.node import MappingNode, Node, ScalarNode
from orchestrator.model.driver import KEY as DRIVER
from orchestrator.model.driver import ByDriver, drivers_of
from orchestrator.model.secret import Secret
from orchestrator.model.value import Value


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A mapping with fixed keys."""

    model: type[Value]

    def fields(self) -> dict[str, FieldInfo]:
        """The fields by the keys that the file uses for them."""
        return {info.alias or name: info for name, info in self.model.model_fields.items()}

    def words(self) -> str:
        """What it is, for a sentence."""
        required = self.required()
        return f"a mapping with {listing(required, 'and')}" if required else "a mapping"

    def required(self) -> list[str]:
        """The keys that must be there."""
        return [key for key, info in self.fields().items() if info.is_required()]


@dataclass(frozen=True, slots=True)
class MapShape:
    """A mapping from names that the file chooses."""

    inner: object

    def words(self) -> str:
        """What it is, for a sentence."""
        return "a mapping of names to values"


@dataclass(frozen=True, slots=True)
class ListShape:
    """A list."""

    inner: object

    def words(self) -> str:
        """What it is, for a sentence."""
        return "a list"


@dataclass(frozen=True, slots=True)
class TaggedShape:
    """One of several mappings, told apart by what stands under ``key``."""

    key: str
    models: dict[str, type[Value]]

    def words(self) -> str:
        """What it is, for a sentence."""
        return f"a mapping with '{self.key}'"


@dataclass(frozen=True, slots=True)
class EitherShape:
    """One of several shapes, told apart by how they look."""

    shapes: tuple[Shape, ...]

    def words(self) -> str:
        """What it is, for a sentence."""
        return " or ".join(shape.words() for shape in self.shapes)

    def models(self) -> tuple[ModelShape, ...]:
        """The mappings among them."""
        return tuple(shape for shape in self.shapes if isinstance(shape, ModelShape))

    def choices(self) -> list[str]:
        """The words among them."""
        return [choice for shape in self.shapes if isinstance(shape, LeafShape) for choice in shape.choices()]

    def meant(self, node: Node) -> Shape | None:
        """The shape that the file tries to write; None where that cannot be told."""
        if isinstance(node, MappingNode):
            models = self.models()
            matching = [model for model in models if set(model.fields()) & set(node.keys())]
            return (matching or models)[0] if matching or len(models) == 1 else None
        others = [shape for shape in self.shapes if not isinstance(shape, ModelShape)]
        return others[0] if isinstance(node, ScalarNode) and len(others) == 1 and not self.models() else None

    def is_called(self, shape: Shape, label: str) -> bool:
        """Whether pydantic calls ``shape``, one of these, by ``label``: a mapping by its class, else not so."""
        named = next((model for model in self.models() if model.model.__name__ == label), None)
        return named == shape if isinstance(shape, ModelShape) else named is None


@dataclass(frozen=True, slots=True)
class LeafShape:
    """One value."""

    kind: object
    text: str

    def words(self) -> str:
        """What it is, for a sentence."""
        return self.text

    def choices(self) -> list[str]:
        """The values that it can have; none where there are too many to list."""
        return [str(value) for value in get_args(self.kind)] if get_origin(self.kind) is Literal else []


Shape: TypeAlias = ModelShape | MapShape | ListShape | TaggedShape | EitherShape | LeafShape

_LEAVES: dict[object, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def shape_of(annotation: object) -> Shape:
    """The shape that a type annotation of the model describes."""
    metadata: tuple[object, ...] = ()
    if get_origin(annotation) is Annotated:
        annotation, *rest = get_args(annotation)
        metadata = tuple(rest)
    unit = next((entry for entry in metadata if isinstance(entry, WithJsonSchema)), None)
    if unit is not None:
        return LeafShape(annotation, _unit_words(unit))
    if any(isinstance(entry, ByDriver) for entry in metadata):
        return TaggedShape(DRIVER, drivers_of(annotation))
    if get_origin(annotation) in {Union, types.UnionType}:
        return _union(annotation, metadata)
    if isinstance(annotation, type) and issubclass(annotation, Value):
        return ModelShape(annotation)
    if get_origin(annotation) is dict:
        return MapShape(get_args(annotation)[1])
    if get_origin(annotation) is tuple:
        return ListShape(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return LeafShape(annotation, listing(get_args(annotation), "or"))
    return LeafShape(annotation, _LEAVES.get(annotation, "another value"))


def field_shape(info: FieldInfo) -> Shape:
    """The shape of a model's field."""
    if not info.metadata and info.discriminator is None:
        return shape_of(info.annotation)
    discriminator = (info,) if info.discriminator is not None else ()
    return shape_of(Annotated[(info.annotation, *info.metadata, *discriminator)])  # type: ignore[misc, unused-ignore]


def holds_secret(shape: Shape) -> bool:
    """Whether what stands there is a secret, or a mapping with one: it must not be shown."""
    if isinstance(shape, ModelShape):
        return any(is_secret(field_shape(info)) for info in shape.fields().values())
    return is_secret(shape)


def is_secret(shape: Shape) -> bool:
    """Whether it is a secret by reference."""
    return isinstance(shape, LeafShape) and shape.kind is Secret


def listing(values: Sequence[object], joiner: str) -> str:
    """``'a', 'b' or 'c'``."""
    *first, last = [repr(value) for value in values]
    return f"{', '.join(first)} {joiner} {last}" if first else last


def _union(annotation: object, metadata: tuple[object, ...]) -> Shape:
    members = [member for member in get_args(annotation) if member is not type(None)]
    if len(members) == 1:
        return shape_of(members[0])
    info = next((entry for entry in metadata if isinstance(entry, FieldInfo)), None)
    if info is None or not isinstance(info.discriminator, str):
        return EitherShape(tuple(shape_of(member) for member in members))
    key = info.discriminator
    return TaggedShape(key, {tag: model for model in members for tag in get_args(model.model_fields[key].annotation)})


def _unit_words(unit: WithJsonSchema) -> str:
    schema = unit.json_schema or {}
    what = str(schema.get("description", "a value")).partition(";")[0].rstrip(".")
    examples = [str(example) for example in schema.get("examples", ())]
    return what[:1].lower() + what[1:] + (f" such as {examples[-1]}" if examples else "")
