"""A runbook as it is written: parameters not yet inserted, includes and groups not yet taken apart."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.model.check import Check, Guard
from orchestrator.model.runbook import NAME, AnyStep, Parameter, Placed, Text
from orchestrator.model.units import PositiveDuration
from orchestrator.model.value import Value


class IncludeStep(Placed):
    """Do another runbook here. Its checks and guards hold too; its steps are called ID.STEP."""

    do: Literal["include"]
    runbook: str = Field(min_length=1, description="Its file, as seen from this one.")
    with_: dict[str, str | int | float] = Field(default_factory=dict, alias="with", description="Its parameters.")


InGroup = Annotated[AnyStep | IncludeStep, Field(discriminator="do")]


class ParallelStep(Placed):
    """Steps that are done side by side, as far as their ``needs`` allow; what follows waits for all of them."""

    do: Literal["parallel"]
    steps: tuple[InGroup, ...] = Field(min_length=1, description="The steps.")


WrittenStep = Annotated[AnyStep | IncludeStep | ParallelStep, Field(discriminator="do")]


class Silence(Value):
    """A finding of lint that is meant to be so."""

    rule: str = Field(description="The rule, as lint names it.")
    at: str | None = Field(default=None, description="The step, check or parameter; everywhere when left out.")
    reason: Text = Field(description="Why it is right here; shown with the plan.")


class RunbookFile(Value):
    """What is to be done, in which order, and what must hold."""

    version: Literal[1] = Field(default=1, description="The version of this language.")
    runbook: str = Field(pattern=NAME, description="Its name.")
    summary: str = Field(default="", description="What it is for, in a sentence.")
    window: PositiveDuration | None = Field(
        default=None, description="How long all of it may take, the way back and its deadlines included."
    )
    parameters: dict[str, Parameter] = Field(default_factory=dict, description="What it asks for.")
    checks: dict[str, Check] = Field(default_factory=dict, description="Measurements with what they must find.")
    guards: tuple[Guard, ...] = Field(default=(), description="What must hold during the whole run.")
    steps: tuple[WrittenStep, ...] = Field(min_length=1, description="What is done, from top to bottom.")
    silence: tuple[Silence, ...] = Field(default=(), description="Findings of lint that are meant to be so.")
