"""The contract of an action, and what the engine lends it while it works.

An action answers three questions and does one thing:

* ``observe``: how is the world now? Reads only. Asked by the plan, before each try, on resume and before an undo.
* ``target``: how should it be, seen from there? Pure.
* ``route``: by which waypoints does one get from here to there? Pure.
* ``converge``: move the world to one waypoint. The only write. Idempotent.

Nobody writes an undo: it is ``converge`` back to what was observed at the start; along ``route`` for a planned return,
in one move after a failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from orchestrator.model.traffic import Admin
from orchestrator.model.value import Value
from orchestrator.ports import Clock

S = TypeVar("S", bound=Value)


@dataclass(frozen=True, slots=True)
class Waypoint(Generic[S]):
    """A state on the way, where the engine waits ``pause`` seconds and asks the gates before it goes on."""

    state: S
    label: str = ""
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a converge ended when nothing broke: reached, or why not."""

    reached: bool
    reason: str = ""


REACHED = Outcome(reached=True)


class Watch(Protocol):
    """What an action may use while it converges."""

    @property
    def clock(self) -> Clock:
        """The run's clock."""

    def fence(self) -> None:
        """Call before every write.

        Raises:
            Stop: the run must stop here (a signal, a broken guard, the step's timeout).
            Fenced: another orchestrator owns the run.
        """

    async def pause(self, seconds: float) -> None:
        """Wait; as ``fence``, it raises ``Stop`` as soon as the run must stop."""

    def progress(self, text: str, **numbers: float) -> None:
        """Say how far it is, in the words and with the numbers that matter to a person."""

    def hold(self, reason: str) -> None:
        """Say that the run waits, for time or for a person, until this step ends."""

    def approval(self) -> str | None:
        """Who has approved this step, if anybody has yet."""

    def elapsed(self) -> float:
        """Seconds since this step first began to converge, over restarts of the orchestrator too."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What a state sets, in one pool or in none, so that a plan can foresee what the next step will find."""

    pool: str = ""
    """Empty where it sets nothing of a pool."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """By member."""
    admins: Mapping[str, Admin] = field(default_factory=dict)
    """By member."""
    gates: Mapping[str, bool] = field(default_factory=dict)
    """Closed or not, by host."""
    desired: Mapping[str, int] = field(default_factory=dict)
    """How many instances or pods its scaling groups are asked for, by site."""
    cordons: Mapping[str, bool] = field(default_factory=dict)
    """Whether nodes take no new pods, by host."""

    @property
    def is_of_service(self) -> bool:
        """Whether it is about who in the pool takes traffic, and not about machines and pods alone."""
        return bool(self.weights or self.admins or self.gates)


@dataclass(frozen=True, slots=True)
class ByHand:
    """How a person gets to a state without us."""

    what: str
    """What is to be done, in one line."""
    commands: Sequence[str] = ()
    """For the shell of this machine, in this order; none where only a person can do it."""


class Action(Protocol[S]):
    """One verb, bound to its arguments and ports."""

    state: ClassVar[type[Value]]
    """The class of S, to read a recorded state back from the journal."""

    @property
    def reversible(self) -> bool:
        """Whether ``converge`` can bring back what was observed before; else the step needs a plan B."""

    @property
    def asks(self) -> bool:
        """Whether ``converge`` waits for a person's word, and what it has done is known from that alone."""

    async def preflight(self) -> Sequence[str]:
        """What would stop this step, found by reading only: each a sentence with its remedy."""

    async def observe(self) -> S:
        """The world now, as far as this action changes it."""

    def target(self, observed: S) -> S:
        """What the step wants, seen from ``observed``."""

    def reached(self, now: S, wanted: S) -> bool:
        """Whether ``now`` counts as ``wanted``: all that this action sets is as wanted."""

    def route(self, start: S, end: S) -> Sequence[Waypoint[S]]:
        """The waypoints from ``start`` to ``end``, the last one being ``end``."""

    async def converge(self, to: S, watch: Watch) -> Outcome:
        """Move the world to ``to``."""

    def receivers(self, start: S, end: S) -> Sequence[tuple[str, str]]:
        """The (pool, site) pairs that take more new traffic at ``end`` than at ``start``.

        Each must be healthy before an undo or a return goes there.
        """

    def effect(self, state: S) -> Effect | None:
        """What ``state`` sets outside; None where nothing that another step could see. Pure."""

    def by_hand(self, to: S) -> ByHand | None:
        """How a person moves the world to ``to`` when we cannot; None where there is nothing to move. Pure."""

    def describe(self, observed: S, target: S) -> Sequence[str]:
        """The difference, a line each, for people; none where there is nothing to do."""
