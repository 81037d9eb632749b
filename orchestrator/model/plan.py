"""A plan: a runbook bound to an inventory, parameters and the observed state. Frozen, with a checksum."""

from __future__ import annotations

import hashlib
import json
from typing import Final, Literal

from pydantic import Field, JsonValue

from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import Runbook, Step
from orchestrator.model.value import Value

State = dict[str, JsonValue]
"""The JSON form of a state that an action observed or wants."""

PlanRule = Literal["blast-radius", "headroom", "in-use", "serving"]
"""Why a plan may refuse itself; ``--override`` names one."""

PLAN_RULES: Final[dict[PlanRule, str]] = {
    "blast-radius": "no waypoint moves more of a pool's new traffic at once than its guard allows",
    "headroom": "at every waypoint the capacity that serves covers the demand, as often as the guard asks",
    "in-use": "no other run works on the same pool",
    "serving": "at every waypoint at least one site serves, or as many as the guard asks",
}


class Refusal(Value):
    """Why a plan must not be run: a rule that it breaks, where, by how much, and what to do."""

    rule: PlanRule
    step: str = Field(description="The step that breaks it; empty for the plan as a whole.")
    pool: str = Field(default="", description="The pool that it is broken for; empty for the plan as a whole.")
    found: float | None = Field(
        default=None, description="What was foreseen instead: a headroom, sites, a share; None where it is unknown."
    )
    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{self.step}: " if self.step else ""
        return f"{where}{self.reason}" + (f" — {self.remedy}" if self.remedy else "")


class Fact(Value):
    """One thing of the world that the plan rests on; what is observed again before a saved plan is run."""

    subject: str = Field(description="As ``pool smtp: ord-mx1`` or ``host ord-mx1: gate``.")
    value: str = Field(description="As ``weight 100`` or ``open``.")


class PoolForecast(Value):
    """How a pool will stand at a waypoint, if nothing else changes."""

    pool: str
    shares: dict[str, float] = Field(description="Each site's share of new traffic, a fraction of one.")
    moved: float = Field(default=0.0, description="The share of new traffic that goes elsewhere than just before.")
    serving: tuple[str, ...] = Field(default=(), description="Sites with a member that takes new traffic.")
    headroom: float | None = Field(default=None, description="Capacity that serves / demand; None with no demand.")


class Milestone(Value):
    """One waypoint of a step, as foreseen."""

    label: str = ""
    pools: tuple[PoolForecast, ...] = ()


class TimedAs(Value):
    """What tells which past durations are of the same work; steps with equal values take as long, all else equal."""

    action: str = Field(description="The verb, as ``traffic.shift``.")
    target: str = Field(description="What it is done to, for people, as ``smtp ord→iad``.")
    shape: str = Field(description="A short digest of all else that decides how long it takes: pauses, checks, hosts.")


class PlannedStep(Value):
    """One unit of the engine's work: a step, or one part of a ``return``, or one step of a plan B."""

    id: str = Field(description="The step's id; ``back.drain`` for the part of ``back`` that returns ``drain``.")
    step: Step
    needs: tuple[str, ...]
    returns: str | None = Field(default=None, description="The step whose recorded start is this one's target.")
    instead_of: str | None = Field(default=None, description="The step whose plan B it belongs to: done at its undo.")
    reversible: bool = Field(default=True, description="Whether it can be undone.")
    diff: tuple[str, ...] = Field(default=(), description="Foreseen → target, a line each, for people.")
    observed: State | None = Field(default=None, description="What it will find, as foreseen.")
    milestones: tuple[Milestone, ...] = Field(default=(), description="How its pools will stand at each waypoint.")
    sessions: int | None = Field(default=None, description="Sessions that it has to move, by today's count.")
    undo: tuple[str, ...] = Field(default=(), description="What an undo of it does, a line each, for people.")
    expected: float | None = Field(default=None, description="Seconds when all goes well, without people, if known.")
    at_most: float | None = Field(
        default=None, description="Seconds after which all but people is over or failed, if known."
    )
    timed: TimedAs | None = Field(default=None, description="As what its durations are kept; None where people wait.")
    past: int = Field(default=0, description="The past durations that ``expected`` rests on; 0: a rule of thumb.")
    overdue: float | None = Field(
        default=None, description="Seconds after which it takes longer than it should, without people, if known."
    )
    settles: float = Field(default=0.0, description="Seconds until clients meet a write of it, by its kind of switch.")
    undo_expected: float | None = Field(default=None, description="Seconds that an undo took before, if known.")
    undo_overdue: float | None = Field(default=None, description="Seconds that few undos before took longer than.")


class Plan(Value):
    """What will be done, exactly."""

    runbook: Runbook
    inventory: Inventory
    parameters: dict[str, str | int | float]
    steps: tuple[PlannedStep, ...]
    world: tuple[Fact, ...] = Field(default=(), description="What was observed, and so what the plan rests on.")
    overrides: dict[PlanRule, str] = Field(default_factory=dict, description="Rules that are set aside, and why.")
    set_aside: tuple[Refusal, ...] = Field(
        default=(), description="All that the overrides set aside, with its numbers: nothing else is."
    )
    warnings: tuple[str, ...] = Field(
        default=(), description="What lint says of the runbook, and what is amiss before the first step, a line each."
    )
    window_ends: float | None = Field(default=None, description="Unix time by which all must be over.")

    @property
    def checksum(self) -> str:
        """SHA-256 of the plan's canonical JSON: the name under which it was reviewed."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def forward(self) -> tuple[PlannedStep, ...]:
        """The steps of the way out and back, without those of any plan B."""
        return tuple(step for step in self.steps if step.instead_of is None)

    def plan_b(self, step: str) -> tuple[PlannedStep, ...]:
        """The steps that are done instead of an undo of ``step``."""
        return tuple(one for one in self.steps if one.instead_of == step)

    @property
    def point_of_no_return(self) -> str | None:
        """The first step that cannot be undone; None where all can."""
        return next((step.id for step in self.forward if not step.reversible), None)
