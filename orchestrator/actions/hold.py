"""``hold``: wait while the provider works, for a time or for a person's approval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from orchestrator.actions.action import REACHED, ByHand, Effect, Outcome, Watch, Waypoint
from orchestrator.model.runbook import HoldArguments
from orchestrator.model.units import format_duration
from orchestrator.model.value import Value

LOOK_EVERY = 0.25
"""Seconds between two looks for an approval that somebody gives in another terminal."""


class Released(Value):
    """Whether the wait is over."""

    released: bool


class Hold:
    """Waits; it changes nothing outside, so to undo it is to do nothing."""

    state: ClassVar[type[Value]] = Released
    reversible: ClassVar[bool] = True
    asks: ClassVar[bool] = True

    def __init__(self, arguments: HoldArguments) -> None:
        self._until = arguments.until
        self._released = False

    async def preflight(self) -> Sequence[str]:
        """Nothing can stand against waiting."""
        return []

    async def observe(self) -> Released:
        """Whether this process has seen the wait end: the journal, not the world, knows of earlier ones."""
        return Released(released=self._released)

    def target(self, observed: Released) -> Released:
        """Released."""
        return observed.model_copy(update={"released": True})

    def reached(self, now: Released, wanted: Released) -> bool:
        """Whether there is nothing to wait for."""
        return now == wanted

    def route(self, start: Released, end: Released) -> Sequence[Waypoint[Released]]:
        """One wait."""
        return [] if start == end else [Waypoint(end)]

    async def converge(self, to: Released, watch: Watch) -> Outcome:
        """Wait until the time is over, counted from the first start of the step, or somebody approves."""
        if to.released:
            await self._wait(watch)
        self._released = to.released
        return REACHED

    async def _wait(self, watch: Watch) -> None:
        if not watch.approval():  # given ahead
            watch.hold("for an approval" if self._until == "approval" else f"for {format_duration(float(self._until))}")
        while True:
            if who := watch.approval():
                watch.progress(f"approved by {who}")
                return
            if self._until != "approval":
                left = float(self._until) - watch.elapsed()
                if left <= 0:
                    watch.progress(f"{format_duration(float(self._until))} are over")
                    return
                watch.progress(f"{format_duration(left)} left", left=left)
            await watch.pause(LOOK_EVERY)

    def receivers(self, start: Released, end: Released) -> Sequence[tuple[str, str]]:
        """Nobody gets traffic from it."""
        return ()

    def effect(self, state: Released) -> Effect | None:
        """None."""
        return None

    def by_hand(self, to: Released) -> ByHand | None:
        """None."""
        return None

    def describe(self, observed: Released, target: Released) -> Sequence[str]:
        """What it waits for."""
        if observed == target:
            return []
        return ["wait for an approval" if self._until == "approval" else f"wait {format_duration(float(self._until))}"]
