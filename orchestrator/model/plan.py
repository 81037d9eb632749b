"""A plan: a runbook bound to an inventory, parameters and the observed state. Frozen, with a checksum."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field, JsonValue

from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import Runbook, Step
from orchestrator.model.value import Value

State = dict[str, JsonValue]
"""The JSON form of a state that an action observed or wants."""


class PlannedStep(Value):
    """One unit of the engine's work: a step, or one part of a ``return``."""

    id: str = Field(description="The step's id; ``back.drain`` for the part of ``back`` that returns ``drain``.")
    step: Step
    needs: tuple[str, ...]
    returns: str | None = Field(default=None, description="The step whose recorded start is this one's target.")
    diff: tuple[str, ...] = Field(default=(), description="Observed → target, a line each, for people.")
    observed: State | None = Field(default=None, description="What planning saw; None where it cannot be known yet.")


class Plan(Value):
    """What will be done, exactly."""

    runbook: Runbook
    inventory: Inventory
    parameters: dict[str, str | int | float]
    steps: tuple[PlannedStep, ...]

    @property
    def checksum(self) -> str:
        """SHA-256 of the plan's canonical JSON: the name under which it was reviewed."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
