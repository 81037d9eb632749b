"""Drivers as typed unions: what stands under ``driver`` says which model a mapping is.

pydantic's own discriminated union wants two models at least; ours can begin with one, and the next only joins it.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Final, Union, get_args, get_origin

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from orchestrator.model.value import Value

KEY: Final = "driver"


@dataclass(frozen=True, slots=True)
class ByDriver:
    """In ``Annotated``: one model or a union of them, each with a field ``driver: Literal[…]``, told apart by it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {driver: handler.generate_schema(model) for driver, model in drivers_of(source).items()}
        return core_schema.tagged_union_schema(choices, discriminator=KEY)


def drivers_of(kinds: object) -> dict[str, type[Value]]:
    """The models of a type that ``ByDriver`` marks, by what they have under ``driver``."""
    models = get_args(kinds) if get_origin(kinds) in {Union, types.UnionType} else (kinds,)
    return {driver: model for model in models for driver in get_args(model.model_fields[KEY].annotation)}
