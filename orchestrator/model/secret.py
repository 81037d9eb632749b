"""Secrets by reference: a file says where a secret is to be found, and never what it is.

The reference is what plans and journals hold. ``adapters.secrets`` reads the secret itself, when it is used.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from orchestrator.model.value import Value

HOW_TO_REFER: Final = "write env:NAME or file:/PATH"

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Secret(Value):
    """Where a secret is to be found: an environment variable or a file, exactly one of them."""

    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError(f"a secret has one place, a variable or a file: {HOW_TO_REFER}")
        return self

    def __str__(self) -> str:
        return f"env:{self.env}" if self.env is not None else f"file:{self.file}"


def parse_secret(text: object) -> Secret:
    """The reference ``env:NAME`` or ``file:/PATH``.

    A path is absolute: a run may be resumed from another working folder than the one that it was planned in.

    Raises:
        ValueError: it is something else, which is never repeated, as it may be the secret itself.
    """
    if isinstance(text, Secret):
        return text
    if text is None:
        raise ValueError(f"it is empty: {HOW_TO_REFER}")
    kind, _, name = text.partition(":") if isinstance(text, str) else ("", "", "")
    if kind == "env":
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"what follows 'env:' is not the name of a variable: {HOW_TO_REFER}")
        return Secret(env=name)
    if kind == "file":
        if not name.startswith("/") or not name.isprintable():
            raise ValueError(f"what follows 'file:' is not an absolute path: {HOW_TO_REFER}")
        return Secret(file=name)
    raise ValueError(f"a secret is never written into a file: {HOW_TO_REFER}")


SecretReference = Annotated[
    Secret,
    BeforeValidator(parse_secret),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.*)$",
            "description": "A secret by reference; it is read when it is used, and stored nowhere.",
            "examples": ["file:/etc/failover/probe-password", "env:PROBE_PASSWORD"],
        }
    ),
]
"""A ``Secret`` as files, plans and journals write it."""


class Login(Value):
    """How a mail client says who it is (RFC 4954)."""

    user: str = Field(min_length=1, description="The name to log in with.")
    password: SecretReference = Field(description="Its password, by reference: env:NAME or file:/PATH.")
