"""What stands in, in a test's world, for the systems that are not AWS: simple, and with what a runbook can get wrong.

Sessions behind a switch that lists them are persistent and idle: they stay until they are closed or turned away.
Probes are answered by what serves: a site's path by its members that are up, the pool's address by one that takes
traffic. Mail that was taken arrives at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.capacity import NodeReading, Pod, ScalingReading
from orchestrator.model.inventory import Inventory, Pool
from orchestrator.model.switch import AnySwitch
from orchestrator.model.traffic import Admin, GateReading, Intake, MemberReading, QueueDepth, Session
from orchestrator.model.units import format_duration
from orchestrator.ports import Clock, MailAttempt, MailResult, TrafficSwitch

ANSWER_AFTER: Final = 0.2
"""Seconds of a mail transaction."""

SESSIONS: Final = 5
"""Persistent sessions on each member of a switch that lists them, when the world begins."""

DRAINS_IN: Final = 30.0
"""Seconds for which a switch that only counts goes on serving what a member had."""

Read = Callable[[], Awaitable[Mapping[str, MemberReading]]]


def first_intake(switch: AnySwitch, place: int) -> Intake:
    """What the member at that place takes when the world begins: all alike, and of two that change places the first."""
    if switch.driver in {"arc-routing", "kubernetes-selector", "route53-failover"}:
        return Intake(weight=int(place == 0))
    if switch.dials or not switch.weighs or switch.max_weight == 1:
        return Intake(weight=switch.max_weight)
    return Intake(weight=min(100, switch.max_weight))


class StandInSwitch:
    """``ports.TrafficSwitch``."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._kind = pool.switch
        self._clock = clock
        names = [name for site in pool.sites.values() for name in site.members]
        self.members = {name: first_intake(self._kind, place) for place, name in enumerate(names)}
        """A test may change them, as somebody else's hand would."""
        self.down: set[str] = set()
        """Members whose health check fails."""
        listed = SESSIONS if self._kind.lists_sessions else 0
        self._sessions = [
            Session(id=f"{name}/{n}", client=f"192.0.2.{n + 1}:{40000 + place}", member=name, age=600.0)
            for place, name in enumerate(names)
            for n in range(listed)
        ]
        self._out_since: dict[str, float] = {}
        self._settled_at = float("-inf")

    @property
    def max_weight(self) -> int:
        """See ``TrafficSwitch.max_weight``."""
        return self._kind.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """See ``TrafficSwitch.read``."""
        return {
            name: MemberReading(intake=intake, up=name not in self.down, sessions=self._count(name))
            for name, intake in self.members.items()
        }

    def _count(self, name: str) -> int | None:
        if self._kind.lists_sessions:
            return sum(session.member == name for session in self._sessions)
        if not self._kind.counts_sessions:
            return None
        out = self._out_since.get(name)
        return SESSIONS if out is None or self._clock.monotonic() < out + DRAINS_IN else 0

    async def elsewhere(self) -> int:
        """See ``TrafficSwitch.elsewhere``; a test's world has only the pool."""
        return 0

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """See ``TrafficSwitch.apply``."""
        if unknown := [name for name in changes if name not in self.members]:
            raise UnfitError(f"cannot find {', '.join(unknown)} in the switch: it has {', '.join(self.members)}")
        wrong = [
            name for name, to in changes.items() if to.weight > self.max_weight or to.admin not in self._kind.admins
        ]
        if wrong:
            raise RejectedError(f"cannot set {', '.join(wrong)}: a switch of this kind does not take that")
        if any(self.members[name] != to for name, to in changes.items()):
            self._settled_at = self._clock.monotonic() + self._kind.settles_in
        for name, to in changes.items():
            self.members[name] = to
            if to.admin == "ready":
                self._out_since.pop(name, None)
            else:
                self._out_since.setdefault(name, self._clock.monotonic())

    async def settling(self) -> str:
        """See ``TrafficSwitch.settling``: as long as a change of this kind usually takes, as the TTL with DNS."""
        left = self._settled_at - self._clock.monotonic()
        return f"clients meet the change in {format_duration(math.ceil(left))}" if left > 0 else ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """See ``TrafficSwitch.sessions``."""
        if not self._kind.lists_sessions:
            raise UnfitError(f"cannot list sessions: a {self._kind.driver} switch lists none")
        return [session for session in self._sessions if session.member in members]

    async def close(self, session: Session) -> None:
        """See ``TrafficSwitch.close``."""
        self._sessions = [one for one in self._sessions if one.id != session.id]

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``; nobody's hand gets into a test's world."""
        return ()


class StandInGate:
    """``ports.MailGate``: Postfix has asked it for long, and no message is under way."""

    def __init__(self) -> None:
        self.closed = False

    async def read(self) -> GateReading:
        """See ``MailGate.read``."""
        return GateReading(closed=self.closed, since=0.0, sees_transactions=True)

    async def look(self) -> GateReading:
        """See ``MailGate.look``."""
        return await self.read()

    async def set_closed(self, closed: bool) -> None:
        """See ``MailGate.set_closed``."""
        self.closed = closed

    async def turn_away(self, client: str, number: int | None) -> bool:
        """See ``MailGate.turn_away``; no client ever had a transaction."""
        return number in (None, 0) or self.closed

    def by_hand(self, closed: bool) -> Sequence[str]:
        """See ``MailGate.by_hand``."""
        return ()


class StandInQueue:
    """``ports.MailQueue``: empty."""

    async def depth(self) -> QueueDepth:
        """See ``MailQueue.depth``."""
        return QueueDepth()

    async def flush(self) -> None:
        """See ``MailQueue.flush``."""


class StandInScaling:
    """``ports.ScalingGroup``: what is asked for is healthy after a while."""

    def __init__(self, clock: Clock, desired: int = 2, healthy_after: float = 60.0) -> None:
        self._clock = clock
        self._healthy_after = healthy_after
        self._desired = self._healthy = desired
        self._asked = float("-inf")

    async def read(self) -> ScalingReading:
        """See ``ScalingGroup.read``."""
        if self._clock.monotonic() >= self._asked + self._healthy_after:
            self._healthy = self._desired
        missing = self._desired - self._healthy
        waits = (f"{missing} not ready yet",) if missing > 0 else ()
        return ScalingReading(desired=self._desired, healthy=min(self._healthy, self._desired), waits_for=waits)

    async def set_desired(self, count: int) -> None:
        """See ``ScalingGroup.set_desired``."""
        if count != self._desired:
            self._healthy, self._desired, self._asked = min(self._healthy, count), count, self._clock.monotonic()

    def by_hand(self, count: int) -> Sequence[str]:
        """See ``ScalingGroup.by_hand``."""
        return ()


class StandInNode:
    """``ports.Node`` with a few pods that something starts again elsewhere."""

    def __init__(self, pods: int = 3) -> None:
        self._cordoned = False
        self._pods = {f"web-{n}": Pod(name=f"web-{n}", namespace="default", uid=str(n)) for n in range(pods)}

    async def read(self) -> NodeReading:
        """See ``Node.read``."""
        return NodeReading(cordoned=self._cordoned, pods=tuple(self._pods.values()))

    async def cordon(self, cordoned: bool) -> None:
        """See ``Node.cordon``."""
        self._cordoned = cordoned

    async def evict(self, pod: Pod) -> str:
        """See ``Node.evict``."""
        self._pods.pop(pod.name, None)
        return ""

    def by_hand(self, cordoned: bool) -> Sequence[str]:
        """See ``Node.by_hand``."""
        return ()


class StandInMail:
    """``ports.MailClient`` and ``ports.Inbox``: whether mail gets through is what the switches say."""

    def __init__(self, inventory: Inventory, switch: Callable[[str], TrafficSwitch], clock: Clock) -> None:
        self._switch = switch
        self._clock = clock
        self._paths = {pool.address: (name, None) for name, pool in inventory.pools.items()} | {
            part.address: (name, site) for name, pool in inventory.pools.items() for site, part in pool.sites.items()
        }
        self._pools = inventory.pools
        self.broken: set[str] = set()
        """Sites that answer no mail, by a test's word."""
        self._arrived: set[str] = set()
        self._seen: dict[str, tuple[float, Mapping[str, MemberReading]]] = {}

    async def deliver(self, attempt: MailAttempt) -> MailResult:
        """See ``MailClient.deliver``."""
        await asyncio.sleep(ANSWER_AFTER)
        path = self._paths.get(attempt.address)
        why = f"nothing listens at {attempt.address} in this world" if path is None else await self._why_not(*path)
        if why:
            return MailResult(ok=False, seconds=ANSWER_AFTER, stage="connect", reason=why)
        self._arrived.add(attempt.message_id)
        return MailResult(ok=True, seconds=ANSWER_AFTER, certificate_days=90.0 if attempt.starttls else None)

    async def take(self, message_id: str) -> bool:
        """See ``Inbox.take``."""
        found = message_id in self._arrived
        self._arrived.discard(message_id)
        return found

    async def _why_not(self, pool: str, site: str | None) -> str:
        try:
            readings = await self._read(pool)
        except (UnreachableError, RejectedError, UnfitError) as error:
            return f"the switch of {pool} cannot be asked: {error.message}"
        sites = (site,) if site is not None else tuple(self._pools[pool].sites)
        up = [
            name
            for place in sites
            if place not in self.broken
            for name in self._pools[pool].members(place)
            if readings[name].up and (site is not None or readings[name].intake.share_weight)
        ]
        return "" if up else "connection refused"

    async def _read(self, pool: str) -> Mapping[str, MemberReading]:
        """What the switch says, asked once at each moment: probes come by the hundred."""
        now = self._clock.monotonic()
        at, readings = self._seen.get(pool, (float("-inf"), {}))
        if now - at >= 1.0 or not readings:
            readings = await self._switch(pool).read()
            self._seen[pool] = (now, readings)
        return readings
