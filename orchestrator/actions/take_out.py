"""``traffic.drain``: take members out of their switch, and wait until it has let go of the connections they had.

For switches that see no mail sessions, as Elastic Load Balancing, and for services whose connections end by themselves.
Nothing is cut by us. Persistent SMTP sessions behind a switch that lists them are ``smtp.drain``'s.

Who takes the traffic then must be healthy, as after a shift; and the last member that takes any is not taken out. Only
where the inventory knows of no other member, as where a pool is one site's, nobody here can tell: the plan refuses that
by its own rule, which a person can override.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from orchestrator.actions.action import REACHED, ByHand, Effect, Outcome, Watch, Waypoint
from orchestrator.actions.drain import drained_members
from orchestrator.actions.lost import Lost
from orchestrator.actions.settling import pause_after, settle
from orchestrator.errors import UnreachableError
from orchestrator.model.inventory import Pool
from orchestrator.model.runbook import TakeOutArguments
from orchestrator.model.traffic import Admin, Intake, MemberReading
from orchestrator.model.units import format_duration
from orchestrator.model.value import Value
from orchestrator.ports import TrafficSwitch


class TakenOut(Value):
    """Which members are in service, and what those that are not still have."""

    members: dict[str, Admin]
    sessions: int | None = None
    """Connections of all of them; None where the switch counts none."""
    draining: tuple[str, ...] = ()
    """Members that the switch still serves old connections of, by its own account."""
    lapses: dict[str, str] = Field(default_factory=dict)
    """Members that are out, but not for as long as our own word would keep them out, and why."""
    objected: bool = False
    """Whether the switch has an objection to taking one of them out, which ``preflight`` tells."""
    takers: tuple[str, ...] = ()
    """Other sites with a member that is up and takes new traffic; of a target none."""
    strangers: int = 0
    """Weights of what takes traffic at the switch and is no member of the pool; of a target 0."""

    @property
    def is_out(self) -> bool:
        """Whether none of them takes anything new."""
        return "ready" not in self.members.values()

    @property
    def is_empty(self) -> bool:
        """Whether the switch has let go of all that they had."""
        return not self.sessions and not self.draining


class TakeOut:
    """Takes a site's members, or one of them, out of the switch."""

    state: ClassVar[type[Value]] = TakenOut
    reversible: ClassVar[bool] = True
    asks: ClassVar[bool] = False

    def __init__(self, arguments: TakeOutArguments, pool: Pool, switch: TrafficSwitch) -> None:
        self._arguments = arguments
        self._counts = pool.switch.counts_sessions
        self._members = drained_members(arguments, pool)
        self._pool = pool
        self._site = arguments.site or pool.site_of(self._members[0]) or ""
        self._deadline = math.inf if arguments.deadline is None else arguments.deadline
        self._switch = switch

    async def preflight(self) -> Sequence[str]:
        """Refuse to take out the last one that takes traffic, and what the switch has something against."""
        readings = await self._switch.read()
        objections: dict[str, list[str]] = {}
        for name in self._members:
            if why := readings[name].objection:
                objections.setdefault(why, []).append(name)
        problems = [f"cannot take {', '.join(names)} out: {why}" for why, names in objections.items()]
        last = self._last(readings)
        return [*problems, last] if last else problems

    def _last(self, readings: Mapping[str, MemberReading]) -> str:
        """Why nobody would take the traffic any more; empty where somebody does, or where none comes here anyway."""
        ours = [name for name in self._members if readings[name].intake.share_weight]
        others = [reading for name, reading in readings.items() if name not in self._members]
        if not ours or not others or any(_serves(reading) for reading in others):
            return ""
        why = f"no other member of {self._arguments.pool} is up and takes traffic"
        return f"cannot take {', '.join(ours)} out: {why} — put one into service first"

    async def observe(self) -> TakenOut:
        """The members' admin states, what they still have, and who else there is."""
        readings = await self._switch.read()
        sites = [site for site in self._pool.sites if site != self._site]
        serving = {name for name, reading in readings.items() if _serves(reading)}
        return self._left(readings).model_copy(
            update={
                "lapses": {name: why for name in self._members if (why := readings[name].lapses)},
                "objected": any(readings[name].objection for name in self._members),
                "takers": tuple(site for site in sites if serving.intersection(self._pool.members(site))),
                "strangers": await self._switch.elsewhere(),
            }
        )

    def _left(self, readings: Mapping[str, MemberReading]) -> TakenOut:
        ours = {name: readings[name] for name in self._members}
        counts = [reading.sessions for reading in ours.values()]
        return TakenOut(
            members={name: reading.intake.admin for name, reading in ours.items()},
            sessions=None if None in counts else sum(count or 0 for count in counts),
            draining=tuple(name for name, reading in ours.items() if reading.draining or self._is_hidden(reading)),
        )

    def _is_hidden(self, reading: MemberReading) -> bool:
        """Whether the switch counts sessions, and just now not this member's: unknown is not empty."""
        return self._counts and reading.sessions is None and reading.intake.admin != "ready"

    def target(self, observed: TakenOut) -> TakenOut:
        """All out, and empty. A member in ``maint`` stays there."""
        return TakenOut(
            members={name: "drain" if admin == "ready" else admin for name, admin in observed.members.items()},
            sessions=None if observed.sessions is None else 0,
            objected=observed.objected,
        )

    def reached(self, now: TakenOut, wanted: TakenOut) -> bool:
        """As set; where out of service, empty and not out by somebody else's passing word.

        What the switch had an objection to from the start is never reached: that it is out may be a wrong name.
        """
        if now.members != wanted.members or wanted.objected:
            return False
        return not wanted.is_out or (now.is_empty and set(now.lapses) <= set(wanted.lapses))

    def route(self, start: TakenOut, end: TakenOut) -> Sequence[Waypoint[TakenOut]]:
        """At once, both ways."""
        return [] if self.reached(start, end) else [Waypoint(end)]

    async def converge(self, to: TakenOut, watch: Watch) -> Outcome:
        """Set the members, wait until clients meet that, and until what is out is empty."""
        now = await self._switch.read()
        if to.is_out and (last := self._last(now)):
            return Outcome(reached=False, reason=last)
        # Who goes into service is named also where nothing differs, so that the switch waits until they are up.
        changes = {
            name: Intake(weight=now[name].intake.weight, admin=admin)
            for name, admin in to.members.items()
            if admin == "ready" or now[name].intake.admin != admin or (now[name].lapses and name not in to.lapses)
        }
        watch.fence()
        began = watch.clock.monotonic()
        await self._switch.apply(changes)  # also without a difference: see ``TrafficShift.converge``
        settled = await settle(self._switch, watch)
        if not settled.reached:
            return settled
        if to.is_out:
            return await self._empty(began, watch)
        watch.progress("in service: " + ", ".join(f"{name} {admin}" for name, admin in to.members.items()))
        return REACHED

    async def _empty(self, began: float, watch: Watch) -> Outcome:
        lost, said = Lost(watch), "nothing is known of what is left"
        while True:
            try:
                left = self._left(await self._switch.read())
            except UnreachableError as error:
                lost.bear(error)
            else:
                lost.found()
                if left.is_empty:
                    return REACHED
                said = _what_is_left(left)
                told = f"{said}{self._since(watch.clock.monotonic() - began)}"
                watch.progress(told, **({} if left.sessions is None else {"sessions": float(left.sessions)}))
            passed = watch.clock.monotonic() - began
            if passed >= self._deadline:
                return Outcome(reached=False, reason=f"{said}{self._since(passed)}; nothing was cut")
            await watch.pause(min(pause_after(passed), self._deadline - passed))

    def _since(self, seconds: float) -> str:
        of = "" if self._deadline == math.inf else f" of {format_duration(self._deadline)}"
        return f", for {format_duration(round(seconds))}{of}"

    def receivers(self, start: TakenOut, end: TakenOut) -> Sequence[tuple[str, str]]:
        """Its own site, where a member goes back into service; the others that serve, where one leaves it."""
        changes = [(start.members[name], admin) for name, admin in end.members.items()]
        sites = list(start.takers) if any(was == "ready" != will for was, will in changes) else []
        if any(was != "ready" == will for was, will in changes):
            sites.append(self._site)
        return [(self._arguments.pool, site) for site in sites]

    def effect(self, state: TakenOut) -> Effect:
        """The members' admin states."""
        return Effect(self._arguments.pool, admins=state.members)

    def by_hand(self, to: TakenOut) -> ByHand:
        """The members' admin states."""
        listed = ", ".join(f"{name} {admin}" for name, admin in to.members.items())
        return ByHand(f"in the switch: {listed}", self._switch.by_hand({}, to.members))

    def describe(self, observed: TakenOut, target: TakenOut) -> Sequence[str]:
        """A line for each member that changes, and the connections to wait for."""
        lines = [
            f"{name}: {observed.members[name]} → {admin}"
            for name, admin in target.members.items()
            if observed.members[name] != admin
        ]
        lines += [
            f"{name}: {admin} is renewed, as it would not last: {observed.lapses[name]}"
            for name, admin in target.members.items()
            if name in observed.lapses and name not in target.lapses and admin == observed.members[name]
        ]
        if target.is_out and observed.sessions:
            lines.append(f"sessions: {observed.sessions} → 0")
        if lines and target.is_out and observed.strangers:
            lines.append(f"{observed.strangers} more in the switch belong to no member, and go on taking traffic")
        return lines


def _serves(reading: MemberReading) -> bool:
    return reading.up and reading.intake.share_weight > 0


def _what_is_left(left: TakenOut) -> str:
    parts = [f"{left.sessions} sessions left"] if left.sessions else []
    if left.draining:
        parts.append(f"draining: {', '.join(left.draining)}")
    return ", ".join(parts)
