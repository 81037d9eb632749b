"""``manual``: a person does something that no action can do, and says when it is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from orchestrator.actions.action import REACHED, ByHand, Effect, Outcome, Watch, Waypoint
from orchestrator.model.runbook import ManualArguments
from orchestrator.model.value import Value

LOOK_EVERY = 0.25
"""Seconds between two looks for the word that somebody gives in another terminal."""


class Work(Value):
    """Whether the task is done; None where only the person knows."""

    done: bool | None


class Manual:
    """Asks for the task, and to go back for its undo.

    The world cannot be asked whether a person has done something. So what nobody has said in this process is
    unknown, and unknown is never taken for done or undone: the person is asked again.
    """

    state: ClassVar[type[Value]] = Work
    asks: ClassVar[bool] = True

    def __init__(self, arguments: ManualArguments) -> None:
        self._task = arguments.task
        self._undo = arguments.undo
        self._done: bool | None = None

    @property
    def reversible(self) -> bool:
        """Whether the runbook says how a person undoes it."""
        return self._undo is not None

    async def preflight(self) -> Sequence[str]:
        """Nothing can stand against asking."""
        return []

    async def observe(self) -> Work:
        """What somebody has said in this process."""
        return Work(done=self._done)

    def target(self, observed: Work) -> Work:
        """Done."""
        return observed.model_copy(update={"done": True})

    def reached(self, now: Work, wanted: Work) -> bool:
        """Whether a person has said so. Before the task nothing was known; to go back there it must be undone."""
        return now.done is not None and now.done == bool(wanted.done)

    def route(self, start: Work, end: Work) -> Sequence[Waypoint[Work]]:
        """At once."""
        return [] if self.reached(start, end) else [Waypoint(end)]

    async def converge(self, to: Work, watch: Watch) -> Outcome:
        """Ask, and wait for the answer."""
        wanted = bool(to.done)
        task = self._task if wanted else self._undo
        if task is None:
            return Outcome(reached=False, reason=f"it cannot be undone: {self._task}")
        if not watch.approval():
            watch.hold(f"for a person: {task}")
        while not (who := watch.approval()):
            watch.progress(f"a person must: {task}")
            await watch.pause(LOOK_EVERY)
        self._done = wanted
        watch.progress(f"done, says {who}")
        return REACHED

    def receivers(self, start: Work, end: Work) -> Sequence[tuple[str, str]]:
        """Nobody gets traffic from it, as far as we know."""
        return ()

    def effect(self, state: Work) -> Effect | None:
        """None that we could foresee."""
        return None

    def by_hand(self, to: Work) -> ByHand:
        """The task or its undo, in the runbook's words."""
        task = self._task if to.done else self._undo
        return ByHand(f"a person: {task}" if task else f"it cannot be undone: {self._task}")

    def describe(self, observed: Work, target: Work) -> Sequence[str]:
        """What the person is asked."""
        if self.reached(observed, target):
            return []
        task = self._task if target.done else self._undo
        return [f"a person: {task}" if task else f"cannot be undone: {self._task}"]
