"""What a runbook can do: its parameters, and its steps. ``written`` is the file; ``Runbook`` is what is left to do.

A ``Runbook`` is bound: parameters are inserted, included runbooks and parallel groups have become steps with
``needs``, and steps whose ``when`` does not hold are left out.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, StringConstraints

from orchestrator.model.check import Check, Guard
from orchestrator.model.units import Duration, Fraction, PositiveDuration
from orchestrator.model.value import Value

PlainType = Literal["string", "number", "duration", "percent", "site", "pool", "host", "secret"]
ParameterType = Literal[PlainType, "choice"]
OnFailure = Literal["undo", "hold", "continue"]

NAME = r"^[a-z][a-z0-9-]*$"
"""What a runbook or a step may be called in a file."""

_BOUND_NAME = r"^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)*$"
"""What a bound step is called: behind the names of the includes that it came with."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text that says something: white space does not."""


class PlainParameter(Value):
    """One thing that the runbook asks for; ``${name}`` inserts it."""

    type: PlainType = Field(
        description="What it is. A secret is given as env:NAME or file:PATH, and only that is ever stored."
    )
    help: str = Field(default="", description="What it is for; shown where it is missing.")
    default: str | int | float | None = Field(default=None, description="Used when it is not given.")


class ChoiceParameter(Value):
    """One of a few words, which ``when`` can look at; ``${name}`` inserts it."""

    type: Literal["choice"]
    choices: tuple[str, ...] = Field(min_length=1, description="The words that it can be.")
    help: str = Field(default="", description="What it is for; shown where it is missing.")
    default: str | None = Field(default=None, description="Used when it is not given.")


Parameter = Annotated[PlainParameter | ChoiceParameter, Field(discriminator="type")]


class When(Value):
    """A step is done only if a parameter has this value; nothing else can be asked."""

    param: str = Field(description="A parameter of this runbook.")
    is_: str | int | float = Field(alias="is", description="The value that it must have, written as it would be given.")


class Retries(Value):
    """How often a step that fails is tried again, and how long after."""

    times: int = Field(strict=True, ge=1, le=20, description="So often at most, after the first try.")
    pause: Duration = Field(default=5.0, description="Before the first retry.")
    factor: float = Field(
        default=2.0, strict=True, ge=1, le=10, description="Each further pause is so many times as long."
    )
    at_most: PositiveDuration = Field(default=60.0, description="No pause is longer.")

    def pauses(self) -> tuple[float, ...]:
        """The pause in seconds before each retry."""
        return tuple(min(self.pause * self.factor**retry, self.at_most) for retry in range(self.times))


class Approval(Value):
    """People who must say yes: ``failover approve RUN STEP``."""

    people: int = Field(default=1, strict=True, ge=1, le=9, description="So many different people.")
    ask: str = Field(default="", description="What they are asked.")


class Placed(Value):
    """What every entry of ``steps`` has: a name, and its place in the order."""

    id: str = Field(pattern=_BOUND_NAME, description="Its name in this runbook.", json_schema_extra={"pattern": NAME})
    needs: tuple[str, ...] | None = Field(
        default=None, description="Steps that must be done before; the step above when left out."
    )
    when: When | None = Field(default=None, description="Do it only if a parameter has this value.")


class _Step(Placed):
    before: tuple[str, ...] = Field(default=(), description="Checks that must pass before it touches anything.")
    after: tuple[str, ...] = Field(default=(), description="Checks that must pass after each waypoint.")
    timeout: PositiveDuration | None = Field(
        default=None, description="After this a try of the step is stopped and has failed."
    )
    retries: Retries | None = Field(default=None, description="Try again when it fails.")
    on_failure: OnFailure | None = Field(
        default=None, description="undo the whole run (default), hold it for a person, or continue."
    )
    plan_b: tuple[Step, ...] = Field(
        default=(), description="Steps to do instead of an undo, where this one cannot be undone."
    )
    approval: Approval | None = Field(default=None, description="Ask people before it touches anything.")
    estimate: Duration | None = Field(
        default=None, description="How long it takes, for the plan's times, where the step itself does not tell."
    )


class VerifyStep(_Step):
    """Run checks, change nothing."""

    do: Literal["verify"]
    checks: tuple[str, ...] = Field(min_length=1, description="Checks that must pass.")


class ShiftArguments(Value):
    """From which site to which, and in which waypoints."""

    pool: str = Field(description="The pool whose new traffic moves.")
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
    """Which site or host, and until when."""

    pool: str = Field(description="The pool whose sessions end.")
    site: str | None = Field(
        default=None, description="All members of the pool at this site; with 'host', where that host must stand."
    )
    host: str | None = Field(default=None, description="One member only.")
    deadline: Duration | None = Field(
        default=None,
        description="Sessions that are left then fail the step. The queues get as long anew. Left out: wait for ever.",
    )
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


class TakeOutArguments(Value):
    """Which site or host the switch is to let go, and until when."""

    pool: str = Field(description="The pool whose switch is told.")
    site: str | None = Field(default=None, description="All members of the pool at this site.")
    host: str | None = Field(default=None, description="One member only.")
    deadline: Duration | None = Field(
        default=None,
        description="The step fails when the switch is still serving old connections then; nothing is cut. "
        "Left out: wait for ever.",
    )


class TakeOutStep(_Step):
    """Take members out of the switch, and wait until it has let go of the connections that they had."""

    do: Literal["traffic.drain"]
    with_: TakeOutArguments = Field(alias="with")


class ScaleOutArguments(Value):
    """Which pool grows where, to how many."""

    pool: str = Field(description="The pool that grows.")
    site: str = Field(description="Where.")
    to: PositiveInt | None = Field(default=None, description="So many instances or pods at least; more stay.")
    add: PositiveInt | None = Field(default=None, description="So many more than there are at the start.")
    deadline: Duration = Field(
        default=900.0, description="The step fails when they are not all healthy then, by the group's own account."
    )


class ScaleOutStep(_Step):
    """Bring up capacity, and wait until it is healthy; its undo asks for as many as there were before."""

    do: Literal["scale.out"]
    with_: ScaleOutArguments = Field(alias="with")


class NodeDrainArguments(Value):
    """Which node is emptied, and until when."""

    host: str = Field(description="The host, whose 'node' says what it is in its cluster.")
    deadline: Duration | None = Field(
        default=None, description="The step fails when pods are left then; none is killed. Left out: wait for ever."
    )
    alone: Literal["refuse", "evict"] = Field(
        default="refuse",
        description="refuse: do not begin while a pod runs there that nothing would start again elsewhere. "
        "evict: end such pods too.",
    )


class NodeDrainStep(_Step):
    """Cordon a node and evict its pods, as their PodDisruptionBudgets allow; its undo uncordons it."""

    do: Literal["node.drain"]
    with_: NodeDrainArguments = Field(alias="with")


class HoldArguments(Value):
    """Until when: ``approval``, or a duration."""

    until: Literal["approval"] | Duration = Field(
        description="approval: until a person says so, with failover approve RUN STEP. Or so long."
    )


class HoldStep(_Step):
    """Wait while the provider works; guards stay on watch."""

    do: Literal["hold"]
    with_: HoldArguments = Field(alias="with")


class ManualArguments(Value):
    """What a person is to do, and how it is undone."""

    task: Text = Field(description="What to do, in words that are clear at 3 a.m.")
    undo: Text | None = Field(
        default=None, description="How a person undoes it. Left out: it cannot be undone, and needs a plan_b."
    )


class ManualStep(_Step):
    """Ask a person to do something, and wait until they say that it is done: failover approve RUN STEP."""

    do: Literal["manual"]
    with_: ManualArguments = Field(alias="with")


class ReturnStep(_Step):
    """Undo earlier steps, in the order named, paced and gated like the way out."""

    do: Literal["return"]
    steps: tuple[str, ...] = Field(min_length=1, description="Steps to undo, the first one first.")


AnyStep = (
    VerifyStep | ShiftStep | TakeOutStep | DrainStep | ScaleOutStep | NodeDrainStep | HoldStep | ManualStep | ReturnStep
)

Step = Annotated[AnyStep, Field(discriminator="do")]

for _kind in (
    VerifyStep,
    ShiftStep,
    TakeOutStep,
    DrainStep,
    ScaleOutStep,
    NodeDrainStep,
    HoldStep,
    ManualStep,
    ReturnStep,
):
    _kind.model_rebuild()  # plan_b: steps have steps


class Included(Value):
    """A runbook that came in with an ``include``; its steps are called by the include's name, a dot and their own."""

    runbook: str
    summary: str = ""
    parameters: dict[str, str | int | float] = Field(default_factory=dict)


class Runbook(Value):
    """What is to be done, in which order, and what must hold. Bound: nothing in it is left to be found out."""

    version: Literal[1] = 1
    runbook: str
    summary: str = ""
    window: PositiveDuration | None = Field(default=None, description="How long all of it may take.")
    parameters: dict[str, Parameter] = Field(default_factory=dict, description="What it asked for.")
    checks: dict[str, Check] = Field(default_factory=dict)
    guards: tuple[Guard, ...] = ()
    steps: tuple[Step, ...] = Field(min_length=1)
    includes: dict[str, Included] = Field(default_factory=dict, description="By the steps that included them.")
    skipped: dict[str, str] = Field(default_factory=dict, description="Steps that are left out, and why.")

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
