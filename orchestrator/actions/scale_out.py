"""``scale.out``: bring up capacity at a site before traffic moves there, and wait until it is healthy.

Healthy is what the group says of its own instances or pods: they are not the pool's members by name, so the switch
cannot be asked for them. That mail flows through them is for the checks in ``after``.

The way back asks for as many as there were before. Where somebody else has asked for more than we did in the meantime,
as a scaling policy does under load, the group is theirs and stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from orchestrator.actions.action import REACHED, ByHand, Effect, Outcome, Watch, Waypoint
from orchestrator.actions.lost import Lost
from orchestrator.errors import UnreachableError
from orchestrator.model.capacity import ScalingReading
from orchestrator.model.runbook import ScaleOutArguments
from orchestrator.model.units import format_duration
from orchestrator.model.value import Value
from orchestrator.ports import ScalingGroup

LOOK_EVERY = 5.0
"""Seconds between two looks: instances take minutes, and the APIs that tell of them are throttled."""

_SHOWN = 3
"""So many of those that are waited for are named."""


class Capacity(Value):
    """How large the group is, in instances or pods."""

    desired: int
    healthy: int = 0
    """What was healthy when it was looked at; of a target nothing."""
    needed: int = 0
    """How many must be healthy; of what was observed nothing."""


class ScaleOut:
    """Makes a pool larger at one site, and never smaller than it finds it."""

    state: ClassVar[type[Value]] = Capacity
    reversible: ClassVar[bool] = True
    asks: ClassVar[bool] = False

    def __init__(self, arguments: ScaleOutArguments, group: ScalingGroup) -> None:
        self._arguments = arguments
        self._group = group

    @property
    def _where(self) -> str:
        return f"{self._arguments.pool} at {self._arguments.site}"

    async def preflight(self) -> Sequence[str]:
        """Refuse more than the group takes."""
        now = await self._group.read()
        wanted = self.target(_seen(now)).desired
        if now.most is None or wanted <= now.most:
            return []
        why = f"cannot scale {self._where} to {wanted}: its group takes {now.most} at most"
        return [f"{why} — raise the group's upper limit, or ask for less"]

    async def observe(self) -> Capacity:
        """What the group has been asked for, and what of it is healthy."""
        return _seen(await self._group.read())

    def target(self, observed: Capacity) -> Capacity:
        """``to`` at least, or ``add`` more than at the start; the engine keeps the start, so that none is added twice.

        More than ``to`` stay, and need not all be healthy.
        """
        if self._arguments.to is not None:
            wanted = self._arguments.to
            return Capacity(desired=max(observed.desired, wanted), needed=wanted)
        wanted = observed.desired + (self._arguments.add or 0)
        return Capacity(desired=wanted, needed=wanted)

    def reached(self, now: Capacity, wanted: Capacity) -> bool:
        """On the way out as large at least, and healthy. On the way back as large as before, or somebody else's."""
        if wanted.needed:
            return now.desired >= wanted.desired and now.healthy >= wanted.needed
        return now.desired == wanted.desired or self._is_anothers(now, wanted)

    def route(self, start: Capacity, end: Capacity) -> Sequence[Waypoint[Capacity]]:
        """At once, both ways."""
        return [] if self.reached(start, end) else [Waypoint(end)]

    async def converge(self, to: Capacity, watch: Watch) -> Outcome:
        """Ask for so many; on the way out wait until they are healthy."""
        return await (self._grow(to, watch) if to.needed else self._shrink(to, watch))

    def receivers(self, start: Capacity, end: Capacity) -> Sequence[tuple[str, str]]:
        """Nobody: the site's share of new traffic is the switch's business."""
        return ()

    def effect(self, state: Capacity) -> Effect:
        """How large the group is asked to be."""
        return Effect(self._arguments.pool, desired={self._arguments.site: state.desired})

    def by_hand(self, to: Capacity) -> ByHand:
        """Ask the group for so many."""
        return ByHand(f"scale {self._where} to {to.desired}", self._group.by_hand(to.desired))

    def describe(self, observed: Capacity, target: Capacity) -> Sequence[str]:
        """How large it is, and what must become healthy where that is all."""
        if self.reached(observed, target):
            return []
        if target.needed and observed.desired >= target.desired:
            return [f"capacity of {self._where}: {observed.healthy} → {target.needed} healthy"]
        return [f"capacity of {self._where}: {observed.desired} → {target.desired}"]

    async def _grow(self, to: Capacity, watch: Watch) -> Outcome:
        began = watch.clock.monotonic()
        if (await self._group.read()).desired < to.desired:
            watch.fence()
            await self._group.set_desired(to.desired)
        lost, left = Lost(watch), f"of {to.needed} nothing is known"
        while True:
            try:
                now = await self._group.read()
            except UnreachableError as error:
                lost.bear(error)
            else:
                lost.found()
                if self.reached(_seen(now), to):
                    watch.progress(f"{now.healthy} of {now.desired} healthy", **_numbers(now))
                    return REACHED
                if now.desired < to.desired:
                    return self._taken_down(now.desired, to.desired)
                left = _what_is_left(now, to.needed)
                watch.progress(left, **_numbers(now))
            if watch.clock.monotonic() - began >= self._arguments.deadline:
                return Outcome(reached=False, reason=f"after {format_duration(self._arguments.deadline)} {left}")
            await watch.pause(LOOK_EVERY)

    def _taken_down(self, found: int, asked: int) -> Outcome:
        """To ask again would be to fight with whoever asked for less."""
        why = f"somebody else asked for {found} after we had asked for {asked}"
        remedy = "keep scaling policies from scaling it in, then try again"
        return Outcome(reached=False, reason=f"cannot scale {self._where}: {why} — {remedy}")

    async def _shrink(self, to: Capacity, watch: Watch) -> Outcome:
        """Back to what was recorded. Nobody waits for the end of what is not needed any more."""
        now = _seen(await self._group.read())
        if self._is_anothers(now, to):
            watch.progress(f"{self._where} stays at {now.desired}: somebody else has asked for that since")
            return REACHED
        if now.desired != to.desired:
            watch.fence()
            await self._group.set_desired(to.desired)
        watch.progress(f"{self._where} is asked for {to.desired}, as before")
        return REACHED

    def _is_anothers(self, now: Capacity, start: Capacity) -> bool:
        """Whether it is larger than we made it from ``start``."""
        return now.desired > self.target(start).desired


def _seen(reading: ScalingReading) -> Capacity:
    return Capacity(desired=reading.desired, healthy=reading.healthy)


def _what_is_left(now: ScalingReading, needed: int) -> str:
    named = ", ".join(now.waits_for[:_SHOWN])
    more = f" and {len(now.waits_for) - _SHOWN} more" if len(now.waits_for) > _SHOWN else ""
    return f"{now.healthy} of {needed} healthy" + (f"; waits for {named}{more}" if named else "")


def _numbers(now: ScalingReading) -> dict[str, float]:
    return {"healthy": float(now.healthy), "desired": float(now.desired)}
