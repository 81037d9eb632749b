"""The language of runbooks and inventories as a JSON Schema, for editors: completion, errors, and hover that teaches.

pydantic says what the models are; this says it in the way that editors understand best. It is draft-07, which all of
them read. What is written anew, and why:

* **Kinds** (a step by its ``do``, a check by its ``probe``): pydantic's ``oneOf`` makes an editor report the mistakes
  of all kinds, or of the wrong one. A list of the kinds and an ``if … then`` for each lead it to the one that is meant.
* **References**: where a number, a word or a unit stands, ``${name}`` can stand as well. What it is shows later, so
  that it is allowed for everything but what tells the kind.
* **Alternatives of different types** become one schema, whose mistakes are said in one sentence.
* **Nothing behind a key** is a mistake in an editor, although loading takes it for a key that is left out.

``enumDescriptions``, ``patternErrorMessage`` and ``defaultSnippets`` are keywords of Visual Studio Code, which
yaml-language-server knows; others pass over them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final, Literal, TypeAlias

from orchestrator.model import units
from orchestrator.model.check import METRICS
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import NAME
from orchestrator.model.value import Value
from orchestrator.model.written import RunbookFile

FileKind: TypeAlias = Literal["runbook", "inventory"]
Schema: TypeAlias = dict[str, Any]

MODELS: Final[Mapping[FileKind, type[Value]]] = {"runbook": RunbookFile, "inventory": Inventory}

_REFERENCE: Final = r"\$\{"
"""What text contains that is decided later."""

_TEXTS: Final[Mapping[str, Callable[[float], str]]] = {
    units.DURATION: units.format_duration,
    units.POSITIVE_DURATION: units.format_duration,
    units.FRACTION: units.format_fraction,
}
"""How defaults, which the models hold as numbers, are written."""

_TYPE_WORDS: Final = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}


def schema_text(kind: FileKind) -> str:
    """The JSON Schema of such files, as it is written to a file."""
    return json.dumps(_Language(MODELS[kind]).schema(kind), indent=2, ensure_ascii=False) + "\n"


class _Language:
    """One model's schema, taken apart and put together again."""

    def __init__(self, model: type[Value]) -> None:
        self._raw: Schema = model.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
        self._models: dict[str, Schema] = self._raw.pop("$defs", {})
        self._tags: dict[str, tuple[str, list[str]]] = {}
        """Models that are one kind of several: the key that tells the kind, and what stands there."""
        for union in _unions([self._raw, *self._models.values()]):
            key = union["discriminator"]["propertyName"]
            for tag, pointer in union["discriminator"]["mapping"].items():
                tags = self._tags.setdefault(_name(pointer), (key, []))[1]
                tags += [tag] if tag not in tags else []
        self._definitions: dict[str, Schema] = {}

    def schema(self, kind: FileKind) -> Schema:
        """All of it."""
        root = self._mapping(self._raw, f"failover {kind}")
        for name, model in self._models.items():
            self._definitions[name] = self._definition(name, model)
        if kind == "inventory":
            root.pop("required", None)  # an inventory can come in several files, of which none is whole
        used = _reachable(root, self._definitions)
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            **root,
            "definitions": {name: self._definitions[name] for name in sorted(used)},
        }

    def _definition(self, name: str, model: Schema) -> Schema:
        if name not in self._tags:
            return self._mapping(model, _words(name)) if "properties" in model else self._value(model)
        key, tags = self._tags[name]
        found = self._mapping(model, tags[0] if len(tags) == 1 else _words(name))
        description = _about(found["properties"][key]) or _about(found)
        found["properties"][key] = {**description, **({"const": tags[0]} if len(tags) == 1 else {"enum": tags})}
        if key == "probe":
            threshold = found["properties"]["expect"].pop("additionalProperties")
            found["properties"]["expect"] |= {
                "properties": dict.fromkeys(sorted(METRICS[tags[0]]), threshold),
                "additionalProperties": False,
            }
        return found

    def _mapping(self, schema: Schema, title: str) -> Schema:
        """A mapping with fixed keys."""
        return {"title": title, **self._value(schema)}

    def _value(self, schema: Schema) -> Schema:
        """What may stand in one place."""
        schema = _without_null(_described(schema))
        if "discriminator" in schema:
            return self._kinds(schema)
        if "anyOf" in schema:
            schema = self._either(schema)
        if "properties" in schema:
            schema["properties"] = {key: self._value(value) for key, value in schema["properties"].items()}
        for keyword in ("items", "additionalProperties"):
            if isinstance(schema.get(keyword), dict):
                schema[keyword] = self._value(schema[keyword])
        return _or_reference(_with_written_default(schema))

    def _kinds(self, schema: Schema) -> Schema:
        """One of several mappings, told apart by what stands under one key."""
        key = schema.pop("discriminator")["propertyName"]
        names = [_name(member["$ref"]) for member in schema.pop("oneOf")]
        title = re.findall(r"[A-Z][a-z]*", names[0])[-1]
        kinds = [(name, self._tags[name][1]) for name in names]
        tags = [tag for _, several in kinds for tag in several]
        about = [
            _text(self._models[name]["description"]) if len(several) == 1 else ""
            for name, several in kinds
            for _ in several
        ]
        union: Schema = {
            "title": title.lower(),
            "type": "object",
            "required": [key],
            "properties": {key: {"enum": tags, "enumDescriptions": about}},
            "allOf": [
                *({"if": _has(key, several), "then": {"$ref": _pointer(name)}} for name, several in kinds),
                {"if": {"type": "object", "required": [key]}, "else": self._undecided(key, kinds)},
            ],
        }
        return {**schema, "$ref": _pointer(self._shared(title, union))}

    def _undecided(self, key: str, kinds: Sequence[tuple[str, list[str]]]) -> Schema:
        """What is offered, and what is refused, as long as the kind is not there."""
        about = {"description": "Its kind, which decides about the other keys.", "type": "string"}
        properties: dict[str, Schema] = {key: about}
        for name, _ in kinds:
            for other, raw in self._models[name]["properties"].items():
                value = _without_null(raw)
                kind = "object" if "$ref" in value else value.get("type", "string")
                loose = kind if kind in ("object", "array") else ["string", "number", "boolean"]
                properties.setdefault(other, {**_about(value), "type": loose})
        snippets = [self._snippet(key, name, tags[0]) for name, tags in kinds if len(tags) == 1]
        return {"properties": properties, "additionalProperties": False, "defaultSnippets": snippets}

    def _snippet(self, key: str, name: str, tag: str) -> Schema:
        """The kind with all that it needs, to be filled in."""
        body = self._filled(self._models[name], [key], count(1))
        first = {"id": body.pop("id")} if "id" in body else {}
        return {"label": tag, **_about(self._models[name]), "body": {**first, key: tag, **body}}

    def _filled(self, model: Schema, known: Sequence[str], stops: Iterator[int]) -> Schema:
        """What the model requires beside what is ``known``, with a tab stop for each value."""
        body: Schema = {}
        for key in (key for key in model.get("required", []) if key not in known):
            value = model["properties"][key]
            if "$ref" in value:
                body[key] = self._filled(self._models[_name(value["$ref"])], [], stops)
            else:
                body[key] = [f"${next(stops)}"] if value.get("type") == "array" else f"${next(stops)}"
        return body

    def _shared(self, name: str, schema: Schema) -> str:
        """The name under which ``schema`` stands among the definitions."""
        for number in count(1):
            unique = name if number == 1 else f"{name}{number}"
            if unique not in self._models and self._definitions.setdefault(unique, schema) == schema:
                return unique
        raise AssertionError("there is always one more number")

    def _either(self, schema: Schema) -> Schema:
        """One of several that nothing tells apart but how they look, as one."""
        members = [
            self._models[_name(member["$ref"])] if "$ref" in member else member for member in schema.pop("anyOf")
        ]
        if all(len(member.get("properties", {})) == 1 for member in members):
            return _one_key_of(members) | schema
        return _merged([_as_pattern(member) for member in members]) | schema


def _one_key_of(members: Iterable[Schema]) -> Schema:
    """Mappings with one key each, as one mapping that has one of the keys."""
    properties = {
        key: {**value, "description": member.get("description", "")}
        for member in members
        for key, value in member["properties"].items()
    }
    one = {"minProperties": 1, "maxProperties": 1}
    return {"type": "object", "properties": properties, "additionalProperties": False, **one}


def _as_pattern(member: Schema) -> Schema:
    """Fixed words as a pattern, which can be joined with another."""
    words = member.get("enum", [member["const"]] if "const" in member else [])
    if not words:
        return member
    return {"type": "string", "pattern": f"^({'|'.join(map(re.escape, words))})$", "examples": words}


def _merged(members: Iterable[Schema]) -> Schema:
    """Alternatives as one schema: all but the type speaks of one type only (JSON Schema validation, section 6)."""
    merged: Schema = {}
    types: list[str] = []
    for member in members:
        types += [kind for kind in _types(member) if kind not in types]
        for keyword, value in member.items():
            if keyword == "examples":
                merged.setdefault(keyword, []).extend(value)
            elif keyword == "pattern" and keyword in merged:
                merged[keyword] += f"|{value}"
            elif keyword not in {"type", "title", "description"}:
                merged[keyword] = value
    return merged | {"type": [kind for kind in types if kind != "integer" or "number" not in types]}


def _or_reference(schema: Schema) -> Schema:
    """``schema``, or text with a reference in it."""
    if "enum" in schema or "const" in schema:
        words = {keyword: schema.pop(keyword) for keyword in ("type", "enum", "const") if keyword in schema}
        reference = {"description": "What the reference stands for.", "type": "string", "pattern": _REFERENCE}
        return {**schema, "anyOf": [words, reference]}
    if "pattern" in schema:
        return {**schema, "pattern": f"{schema['pattern']}|{_REFERENCE}", **_advice(schema)}
    types = _types(schema)
    words_for = [_TYPE_WORDS[kind] for kind in types if kind in _TYPE_WORDS]
    if not words_for or "string" in types:
        return schema
    return {
        **schema,
        "type": [*types, "string"],
        "pattern": _REFERENCE,
        "patternErrorMessage": f"Write {' or '.join(words_for)}.",
    }


def _advice(schema: Schema) -> Schema:
    if schema["pattern"] == NAME:
        return {"patternErrorMessage": "Write lower-case letters, digits and dashes, with a letter first."}
    *first, last = schema.get("examples", ["?"])
    if not first:
        return {}
    return {"patternErrorMessage": f"Write for example {', '.join(first)} or {last}."}


def _with_written_default(schema: Schema) -> Schema:
    """The default as a file would have it; none where it says no more than that the key is not there."""
    default = schema.pop("default", None)
    if default in (None, "", [], {}) or isinstance(default, dict):
        return schema
    if isinstance(default, list):
        return {**schema, "default": [_written(entry, schema.get("items", {})) for entry in default]}
    return {**schema, "default": _written(default, schema)}


def _written(value: Any, schema: Schema) -> Any:
    for pattern, text in _TEXTS.items():
        if str(schema.get("pattern", "")).startswith(pattern) and isinstance(value, float):
            return text(value)
    return value


def _without_null(schema: Schema) -> Schema:
    members = [member for member in schema.get("anyOf", []) if member.get("type") != "null"]
    if len(members) != 1:
        return {**schema, "anyOf": members} if members else schema
    return {**members[0], **{keyword: value for keyword, value in schema.items() if keyword != "anyOf"}}


def _described(schema: Schema) -> Schema:
    """Without pydantic's titles, which say no more than the key; with its description as one flowing text."""
    rest = {keyword: value for keyword, value in schema.items() if keyword not in {"title", "description"}}
    return {**_about(schema), **rest}


def _about(schema: Schema) -> Schema:
    return {"description": _text(schema["description"])} if "description" in schema else {}


def _text(docstring: str) -> str:
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs).replace("``", "`")


def _has(key: str, tags: list[str]) -> Schema:
    told = {"const": tags[0]} if len(tags) == 1 else {"enum": tags}
    return {"type": "object", "properties": {key: told}, "required": [key]}


def _types(schema: Schema) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def _words(name: str) -> str:
    """``PoolSite`` as ``pool site``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _pointer(name: str) -> str:
    return f"#/definitions/{name}"


def _name(pointer: str) -> str:
    return pointer.rpartition("/")[2]


def _reachable(schema: object, definitions: Mapping[str, Schema]) -> set[str]:
    """The definitions that ``schema`` needs."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        children = list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
        waiting += children
        name = _name(node["$ref"]) if isinstance(node, dict) and isinstance(node.get("$ref"), str) else ""
        if name and name not in found:
            found.add(name)
            waiting.append(definitions[name])
    return found


def _unions(schemas: Iterable[object]) -> Iterable[Schema]:
    for schema in schemas:
        if isinstance(schema, dict):
            if "discriminator" in schema and "oneOf" in schema:
                yield schema
            yield from _unions(schema.values())
        elif isinstance(schema, list):
            yield from _unions(schema)
