"""The ``aws`` command line, as far as our commands use it: what a person types, done with boto3 in this process.

Options are read by the operation's own model, as the real one does, so that a wrong name or a wrong form is an error.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped]  # has no types of its own
from botocore import xform_name

_INNER = re.compile(r'(.*)"\$\((.*)\)"(.*)', re.DOTALL)


def obey(line: str) -> str:
    """Do it, and return what it prints."""
    inner = _INNER.fullmatch(line)
    if inner is not None:
        line = inner[1] + shlex.quote(obey(inner[2])) + inner[3]
    program, *words = shlex.split(line)
    assert program == "aws"
    options: dict[str, str] = {}
    while words[0].startswith("--"):
        name, value, *words = words
        options[name] = value
    service, operation, *rest = words
    client = boto3.client(service, region_name=options.get("--region"), endpoint_url=options.get("--endpoint-url"))
    arguments, query = _read(client, operation, rest)
    reply = getattr(client, operation.replace("-", "_"))(**arguments)
    return json.dumps(jmespath.search(query, reply) if query else reply, default=str)


def _read(client: Any, operation: str, words: Sequence[str]) -> tuple[dict[str, Any], str]:
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation.replace("-", "_")])
    shapes = {xform_name(name, "-"): (name, shape) for name, shape in model.input_shape.members.items()}
    arguments: dict[str, Any] = {}
    query = ""
    for option, values in _grouped(words):
        word = option.removeprefix("--")
        if word in ("query", "output"):
            query = values[0] if word == "query" else query
        elif word.removeprefix("no-") in shapes and word not in shapes:
            arguments[shapes[word.removeprefix("no-")][0]] = False
        else:
            name, shape = shapes[word]
            arguments[name] = _value(shape, values)
    return arguments, query


def _grouped(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("--"):
            found.append((word, []))
        else:
            found[-1][1].append(word)
    return found


def _value(shape: Any, values: Sequence[str]) -> Any:
    if shape.type_name == "list":
        if values[0].startswith("["):
            return json.loads(values[0])
        return [_value(shape.member, [value]) for value in values]
    if shape.type_name == "structure":
        pairs = (pair.split("=", 1) for pair in values[0].split(","))
        return {key: _value(shape.members[key], [value]) for key, value in pairs}
    if shape.type_name in ("integer", "long"):
        return int(values[0])
    return values[0]
