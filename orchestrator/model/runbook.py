"""The runbook language: parameters, checks, guards and steps. A loaded runbook has its parameters inserted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.model.check import Check, Guard
from orchestrator.model.units import Duration, Fraction
from orchestrator.model.value import Value

ParameterType = Literal["string", "number", "duration", "percent", "site", "pool", "host"]
OnFailure = Literal["undo", "hold", "continue"]


class Parameter(Value):
    """One thing that the runbook asks for; ``${name}`` inserts it."""

    type: ParameterType
    help: str = ""
    default: str | int | float | None = Field(default=None, description="Used when it is not given.")


class _Step(Value):
    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$", description="Its name in this runbook.")
    needs: tuple[str, ...] | None = Field(
        default=None, description="Steps that must be done before; the step above when left out."
    )
    before: tuple[str, ...] = Field(default=(), description="Checks that must pass before it touches anything.")
    after: tuple[str, ...] = Field(default=(), description="Checks that must pass after each waypoint.")
    timeout: Duration | None = Field(default=None, description="After this the step is stopped and has failed.")
    on_failure: OnFailure | None = Field(
        default=None, description="undo the whole run (default), hold it for a person, or continue."
    )


class VerifyStep(_Step):
    """Run checks, change nothing."""

    do: Literal["verify"]
    checks: tuple[str, ...] = Field(min_length=1, description="Checks that must pass.")


class ShiftArguments(Value):
    """From which site to which, and in which waypoints."""

    pool: str
    from_: str = Field(alias="from", description="The site that gives its share of new traffic away.")
    to: str = Field(description="The site that takes it.")
    by: tuple[Fraction, ...] = Field(
        default=(1.0,),
        min_length=1,
        description="Waypoints: how much of the share has moved, rising to 100%.",
    )
    pause: Duration = Field(default=0.0, description="Wait at each waypoint before its checks.")


class ShiftStep(_Step):
    """Move new traffic from one site to another."""

    do: Literal["traffic.shift"]
    with_: ShiftArguments = Field(alias="with")


class DrainArguments(Value):
    """Which site, and until when."""

    pool: str
    site: str
    deadline: Duration = Field(description="Sessions that are left then fail the step. The queues get as long anew.")
    settle: Duration | None = Field(
        default=None,
        description="How long a session must be silent after its last message before it may be closed without "
        "other proof that the message was answered; longer than the slowest commit of a message. "
        "10s when left out; never less than 30s where the gate sees no transactions.",
    )
    clients: Literal["mta", "any"] = Field(
        default="mta",
        description="mta: sessions are closed between two messages, which an MTA takes for an expired connection "
        "cache, so that it defers nothing; busy ones get 421. any: all get 421 at their next MAIL, "
        "only the silent ones are closed.",
    )
    at_deadline: Literal["fail", "cut"] = Field(
        default="fail",
        description="fail: stop and undo, nothing is cut. cut: close what is left, inside a transaction too, and "
        "count it.",
    )


class DrainStep(_Step):
    """Take a site's sessions to zero without cutting a transaction."""

    do: Literal["smtp.drain"]
    with_: DrainArguments = Field(alias="with")


class HoldArguments(Value):
    """Until when: ``approval``, or a duration."""

    until: Literal["approval"] | Duration


class HoldStep(_Step):
    """Wait while the provider works; guards stay on watch."""

    do: Literal["hold"]
    with_: HoldArguments = Field(alias="with")


class ReturnStep(_Step):
    """Undo earlier steps, in the order named, paced and gated like the way out."""

    do: Literal["return"]
    steps: tuple[str, ...] = Field(min_length=1, description="Steps to undo, the first one first.")


Step = Annotated[VerifyStep | ShiftStep | DrainStep | HoldStep | ReturnStep, Field(discriminator="do")]


class Runbook(Value):
    """What is to be done, in which order, and what must hold."""

    version: Literal[1] = 1
    runbook: str = Field(pattern=r"^[a-z][a-z0-9-]*$", description="Its name.")
    summary: str = ""
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    checks: dict[str, Check] = Field(default_factory=dict)
    guards: tuple[Guard, ...] = ()
    steps: tuple[Step, ...] = Field(min_length=1)

    def step(self, name: str) -> Step:
        """The step called ``name``.

        Raises:
            StopIteration: there is none; a loaded runbook names only steps that it has.
        """
        return next(step for step in self.steps if step.id == name)

    def needs(self, step: Step) -> tuple[str, ...]:
        """The steps that ``step`` waits for: what it says, else the step above it."""
        if step.needs is not None:
            return step.needs
        place = self.steps.index(step)
        return (self.steps[place - 1].id,) if place else ()
