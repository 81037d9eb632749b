"""``smtp.drain``: take a site's persistent SMTP sessions to zero without cutting a transaction.

1. The switch gives the site's members no new session (HAProxy's ``drain``).
2. Each session is closed between two messages, as soon as it is certain that none is under way; a session
   that never pauses is told 421 at its next MAIL FROM and its client reconnects elsewhere (RFC 5321, 3.8).
   ``stragglers`` holds the rules. A long message is waited for.
3. Zero means that the switch carries no session, also not in an old process of it.
4. Then the gate answers 421 to whatever may still come in another way, and the queues are flushed, until
   nothing in them is on its way; messages that wait for somebody else's server are counted and left.

The way back is the other way round: first the gate opens, then the switch gives sessions again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from orchestrator.actions.action import REACHED, ByHand, Effect, Outcome, Watch, Waypoint
from orchestrator.actions.stragglers import Assessment, Stragglers, under_gate
from orchestrator.actions.tally import Tally
from orchestrator.errors import OutsideError, UnreachableError
from orchestrator.model.inventory import Pool
from orchestrator.model.runbook import DrainArguments, TakeOutArguments
from orchestrator.model.traffic import Admin, GateReading, Intake, MemberReading
from orchestrator.model.units import format_duration
from orchestrator.model.value import Value
from orchestrator.ports import Clock, MailGate, MailQueue, TrafficSwitch

LOOK_EVERY = 0.1
LOOK_SOON = 0.005
"""Seconds between two looks, and while a message is about to be answered: its client's pause may be short."""

AT_A_TIME = 16
"""Sessions that are closed side by side: each must go as soon as its next MAIL is taken away."""

SETTLE_WITH_TRANSACTIONS = 10.0
SETTLE_BLIND = 30.0

POLITE_FOR = 5.0
"""Seconds that a session between two messages has to hear its 421, where ``clients: any`` wants it told."""

TELL_AGAIN = 5.0
"""Seconds after which a session that is still there is turned away again: a gate that was restarted has forgotten."""

PATIENCE = 5.0
"""Seconds for which a gate or the switch may be out of reach, as while it is restarted."""

CUT_WITHIN = 5.0
"""Seconds in which a session that was cut must be gone."""


class SiteDrain(Value):
    """Whether the site is drained: its members in the switch, their gates, and the sessions left."""

    members: dict[str, Admin]
    gates_closed: dict[str, bool]
    sessions: int = 0


@dataclass(slots=True)
class _Emptying:
    """What is remembered from look to look while the sessions go."""

    tally: Tally
    rules: Stragglers | None = None
    """Made by the first look, which shows what the gates can see."""
    blind: set[str] = field(default_factory=set)
    """Hosts whose gates see no transactions; these gates are closed."""
    zeros: int = 0
    """Looks in a row that found no session."""
    soon: bool = False
    """A client's pause is near."""
    cut: set[tuple[str, str]] = field(default_factory=set)
    """Sessions, by id and client, that were cut at the deadline."""


class SmtpDrain:
    """Drains one site of one pool, or one of its hosts."""

    state: ClassVar[type[Value]] = SiteDrain
    reversible: ClassVar[bool] = True
    asks: ClassVar[bool] = False

    def __init__(
        self,
        arguments: DrainArguments,
        pool: Pool,
        switch: TrafficSwitch,
        gates: Mapping[str, MailGate],
        queues: Mapping[str, MailQueue],
        clock: Clock,
    ) -> None:
        self._arguments = arguments
        self._members = drained_members(arguments, pool)
        self._site = arguments.site or pool.site_of(self._members[0]) or ""
        self._deadline = math.inf if arguments.deadline is None else arguments.deadline
        self._switch = switch
        self._gates = gates
        self._queues = queues
        self._clock = clock

    async def preflight(self) -> Sequence[str]:
        """Each gate must be asked by its Postfix, and every session must have begun under it."""
        problems = []
        readings: dict[str, GateReading] = {}
        for host, gate in self._gates.items():
            try:
                readings[host] = await gate.read()
            except OutsideError as error:
                problems.append(str(error))
        if problems:
            return problems
        clock = self._clock.now()
        older = [s for s in await self._switch.sessions(self._members) if not under_gate(s, readings[s.member], clock)]
        if older:
            oldest = format_duration(max(session.age for session in older))
            where = self._arguments.host or self._site
            problems.append(
                f"cannot drain {where}: {len(older)} sessions are older than the gate (the oldest "
                f"{oldest}), and Postfix keeps the restrictions with which a session began — wait until their "
                "clients have reconnected, or restart those clients"
            )
        return problems

    async def observe(self) -> SiteDrain:
        """The members' admin states, their gates and the number of sessions."""
        readings, gates = await asyncio.gather(self._switch.read(), self._each_gate())
        return SiteDrain(
            members={name: readings[name].intake.admin for name in self._members},
            gates_closed={host: reading.closed for host, reading in gates.items()},
            sessions=sum(readings[name].sessions or 0 for name in self._members),
        )

    def target(self, observed: SiteDrain) -> SiteDrain:
        """No new sessions, gates closed, none left. A member in ``maint`` stays there."""
        return SiteDrain(
            members={name: "drain" if admin == "ready" else admin for name, admin in observed.members.items()},
            gates_closed=dict.fromkeys(observed.gates_closed, True),
            sessions=0,
        )

    def reached(self, now: SiteDrain, wanted: SiteDrain) -> bool:
        """As set; and where drained, with no session left."""
        as_set = now.members == wanted.members and now.gates_closed == wanted.gates_closed
        return as_set and (now.sessions == 0 or not _is_drained(wanted))

    def route(self, start: SiteDrain, end: SiteDrain) -> Sequence[Waypoint[SiteDrain]]:
        """At once, both ways."""
        return [] if self.reached(start, end) else [Waypoint(end)]

    async def converge(self, to: SiteDrain, watch: Watch) -> Outcome:
        """Drain, or take the site back into service."""
        return await (self._drain(to, watch) if _is_drained(to) else self._restore(to, watch))

    def receivers(self, start: SiteDrain, end: SiteDrain) -> Sequence[tuple[str, str]]:
        """Nobody: to be ready is not yet to get traffic, but a member with weight gets it at once."""
        ready = [name for name, admin in end.members.items() if admin == "ready" and start.members[name] != "ready"]
        return [(self._arguments.pool, self._site)] if ready else []

    def effect(self, state: SiteDrain) -> Effect:
        """The members' admin states and their gates."""
        return Effect(self._arguments.pool, admins=state.members, gates=state.gates_closed)

    def by_hand(self, to: SiteDrain) -> ByHand:
        """The gates and the members' admin states, in the order in which ``converge`` sets them."""
        gates = [line for host, closed in to.gates_closed.items() for line in self._gates[host].by_hand(closed)]
        members = self._switch.by_hand({}, to.members)
        set_gates = "gates: " + ", ".join(f"{host} {_gate(closed)}" for host, closed in to.gates_closed.items())
        set_members = "in the switch: " + ", ".join(f"{name} {admin}" for name, admin in to.members.items())
        if _is_drained(to):
            return ByHand(f"{set_members}; then {set_gates}", [*members, *gates])
        return ByHand(f"{set_gates}; then {set_members}", [*gates, *members])

    def describe(self, observed: SiteDrain, target: SiteDrain) -> Sequence[str]:
        """A line for each member and gate that changes, and the sessions to move."""
        lines = [
            f"{name}: {observed.members[name]} → {admin}"
            for name, admin in target.members.items()
            if observed.members[name] != admin
        ]
        lines += [
            f"{host} gate: {_gate(observed.gates_closed[host])} → {_gate(closed)}"
            for host, closed in target.gates_closed.items()
            if observed.gates_closed[host] != closed
        ]
        if observed.sessions and _is_drained(target):
            lines.append(f"sessions: {observed.sessions} → 0")
        return lines

    async def _drain(self, to: SiteDrain, watch: Watch) -> Outcome:
        tally = Tally(began=self._clock.monotonic())
        await self._set_admin(to.members, watch)
        if self._arguments.clients == "any":
            await self._set_gates(to.gates_closed, watch)
        outcome = await self._empty(tally, watch)
        if not outcome.reached:
            return outcome
        await self._set_gates(to.gates_closed, watch)
        return await self._empty_queues(tally, watch)

    async def _restore(self, to: SiteDrain, watch: Watch) -> Outcome:
        await self._set_gates(to.gates_closed, watch)
        await self._set_admin(to.members, watch)
        watch.progress("in service: " + ", ".join(f"{name} {admin}" for name, admin in to.members.items()))
        return REACHED

    async def _set_admin(self, members: Mapping[str, Admin], watch: Watch) -> None:
        now = await self._switch.read()
        changes = {
            name: Intake(weight=now[name].intake.weight, admin=admin)
            for name, admin in members.items()
            if now[name].intake.admin != admin
        }
        watch.fence()
        await self._switch.apply(changes)  # also without a difference: see ``TrafficShift.converge``

    async def _set_gates(self, closed: Mapping[str, bool], watch: Watch) -> None:
        """Write to the gates that are not so yet; an open one may still turn single clients away."""
        now = await self._each_gate()
        changes = {
            host: shut
            for host, shut in closed.items()
            if now[host].closed != shut or (not shut and now[host].sees_transactions)
        }
        if changes:
            watch.fence()
            await _together(*(self._gates[host].set_closed(shut) for host, shut in changes.items()))

    async def _empty(self, tally: Tally, watch: Watch) -> Outcome:
        """Look and close until no session is left, or the deadline comes; bear with what cannot be reached."""
        work = _Emptying(tally)
        lost: float | None = None
        while True:
            try:
                outcome = await self._round(work, watch)
                lost = None
            except UnreachableError as error:
                now = self._clock.monotonic()
                lost = now if lost is None else lost
                if now - lost >= PATIENCE:
                    raise
                outcome, work.zeros, work.soon = None, 0, False
                watch.progress(f"cannot look: {error.message}", **tally.numbers(now))
            if outcome:
                return outcome
            await watch.pause(LOOK_SOON if work.soon else LOOK_EVERY)

    async def _round(self, work: _Emptying, watch: Watch) -> Outcome | None:
        """One look, and what it allows."""
        tally = work.tally
        looked, gates = await self._look(work, watch)
        now = self._clock.monotonic()
        work.zeros = work.zeros + 1 if not looked and not await self._carried() else 0
        if work.zeros >= 2:
            return REACHED
        if now - tally.began >= self._deadline:
            return await self._at_deadline(work, watch)
        if not work.blind and (blind := {host for host, gate in gates.items() if not gate.sees_transactions}):
            await self._set_gates(dict.fromkeys(blind, True), watch)
            work.blind = blind
        await self._move_all(looked, work, watch)
        work.soon = any(one.ending and not one.busy for one in looked)
        return None

    async def _look(self, work: _Emptying, watch: Watch) -> tuple[Sequence[Assessment], Mapping[str, GateReading]]:
        began = self._clock.monotonic()
        gates = await self._each_gate(looking=True)
        sessions = await self._switch.sessions(self._members)
        now = self._clock.monotonic()
        work.rules = work.rules or Stragglers(self._settle(gates))
        looked = work.rules.look(began, now, self._clock.now(), sessions, gates)
        work.tally.count(looked)
        watch.progress(work.tally.text(), **work.tally.numbers(now))
        return looked, gates

    async def _move_all(self, looked: Sequence[Assessment], work: _Emptying, watch: Watch) -> None:
        places = asyncio.Semaphore(AT_A_TIME)

        async def move(one: Assessment) -> None:
            async with places:
                await self._move(one, work, watch)

        await _together(*(move(one) for one in looked))

    async def _move(self, one: Assessment, work: _Emptying, watch: Watch) -> None:
        """Close the session when it is idle; tell it 421 at its next MAIL when it never is.

        A gate that sees transactions first takes the session's next MAIL away: one may have come since the look.
        """
        session, gate, tally = one.session, self._gates[one.session.member], work.tally
        now = self._clock.monotonic()
        if one.standing == "idle":
            if self._arguments.clients == "any" and one.idle_for < POLITE_FOR:
                return
            watch.fence()
            if session.member in work.blind or await gate.turn_away(session.client, one.number):
                await self._switch.close(session)
                tally.closed += 1
                tally.turned_away.pop(session.client, None)  # closed before it could be told
        elif one.busy or one.standing == "unknown":
            if now - tally.turned_away.get(session.client, float("-inf")) < TELL_AGAIN:
                return
            watch.fence()
            if await gate.turn_away(session.client, None):
                tally.turned_away[session.client] = now

    async def _at_deadline(self, work: _Emptying, watch: Watch) -> Outcome:
        if self._arguments.at_deadline == "cut":
            return await self._cut(work, watch)
        deadline = format_duration(self._deadline)
        return Outcome(reached=False, reason=f"after {deadline} {work.tally.text()}; none was cut")

    async def _cut(self, work: _Emptying, watch: Watch) -> Outcome:
        """Close what is left, and look until it is gone. With the gates closed no idle session begins anything."""
        await self._set_gates(dict.fromkeys(self._gates, True), watch)
        began = self._clock.monotonic()
        while True:
            looked, _ = await self._look(work, watch)
            if not looked and not (carried := await self._carried()):
                return REACHED
            if self._clock.monotonic() - began >= CUT_WITHIN:
                left = len(looked) or carried
                return Outcome(reached=False, reason=f"{left} sessions are left {CUT_WITHIN:g}s after they were cut")
            await _together(*(self._cut_one(one, work, watch) for one in looked))
            await watch.pause(LOOK_EVERY)

    async def _cut_one(self, one: Assessment, work: _Emptying, watch: Watch) -> None:
        session, tally = one.session, work.tally
        watch.fence()
        await self._switch.close(session)
        if (session.id, session.client) in work.cut:  # the switch is still at it
            return
        work.cut.add((session.id, session.client))
        tally.turned_away.pop(session.client, None)
        if one.standing == "idle":
            tally.closed += 1
        else:
            tally.cut += 1

    async def _empty_queues(self, tally: Tally, watch: Watch) -> Outcome:
        """Let the hosts pass on what they have accepted: as long as the deadline says, from now on.

        They can only be waited for after the sessions, which may have taken the whole of it.
        """
        began = self._clock.monotonic()
        watch.fence()
        await _together(*(queue.flush() for queue in self._queues.values()))
        while True:
            depths = await asyncio.gather(*(queue.depth() for queue in self._queues.values()))
            moving = {host: d.incoming + d.active for host, d in zip(self._queues, depths, strict=True)}
            now = self._clock.monotonic()
            tally.queue = sum(moving.values())
            waiting = sum(depth.deferred + depth.hold for depth in depths)
            left = f", {waiting} deferred messages stay in the queue" if waiting else ""
            under_way = f", {tally.queue} messages on their way" if tally.queue else ""
            watch.progress(tally.text() + under_way + left, **tally.numbers(now))
            if not tally.queue:
                return REACHED
            if now - began >= self._deadline:
                hosts = ", ".join(host for host, messages in moving.items() if messages)
                return Outcome(
                    reached=False, reason=f"{tally.queue} messages still on their way in the queues of {hosts}"
                )
            await watch.pause(LOOK_EVERY)

    async def _each_gate(self, *, looking: bool = False) -> dict[str, GateReading]:
        readings = await asyncio.gather(*(gate.look() if looking else gate.read() for gate in self._gates.values()))
        return dict(zip(self._gates, readings, strict=True))

    async def _carried(self) -> int:
        """The switch's own count, which also sees sessions that it is only just setting up."""
        members: Mapping[str, MemberReading] = await self._switch.read()
        return sum(members[name].sessions or 0 for name in self._members)

    def _settle(self, gates: Mapping[str, GateReading]) -> float:
        """What the runbook says; at least 30 s of silence where a pause inside a message looks just the same."""
        stated = self._arguments.settle if self._arguments.settle is not None else SETTLE_WITH_TRANSACTIONS
        seen = bool(gates) and all(gate.sees_transactions for gate in gates.values())
        return stated if seen else max(stated, SETTLE_BLIND)


async def _together(*writes: Awaitable[None]) -> None:
    """Side by side, each to its end; then the first error, so that no write goes on behind the engine's back.

    What is only out of reach comes last: it may be tried again, and a ``Stop`` must not get lost in that.
    """
    ended = await asyncio.gather(*writes, return_exceptions=True)
    errors = [one for one in ended if isinstance(one, BaseException)]
    for error in sorted(errors, key=lambda one: isinstance(one, UnreachableError)):
        raise error


def drained_members(arguments: DrainArguments | TakeOutArguments, pool: Pool) -> tuple[str, ...]:
    """The members that a drain empties: one host, or all of a site."""
    return (arguments.host,) if arguments.host is not None else pool.members(arguments.site or "")


def _is_drained(state: SiteDrain) -> bool:
    return "ready" not in state.members.values() and all(state.gates_closed.values())


def _gate(closed: bool) -> str:
    return "closed" if closed else "open"
