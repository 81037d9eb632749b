"""The world as it will be: the ports over a snapshot. What is written to them changes the forecast, and nothing else.

Actions cannot tell the difference. So a plan foresees what a step finds after the steps before it, with the same
code that will act then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache

from orchestrator.actions.action import Effect
from orchestrator.checks.guards import Readings
from orchestrator.errors import OutsideError, UnfitError
from orchestrator.model.capacity import NodeReading, Pod, ScalingReading
from orchestrator.model.inventory import Inventory
from orchestrator.model.traffic import Admin, GateReading, Intake, MemberReading, QueueDepth, Session
from orchestrator.planning.snapshot import SeenPool, Snapshot
from orchestrator.ports import Inbox, MailClient, MailGate, MailQueue, Node, Outside, ScalingGroup, TrafficSwitch


class ForecastGate:
    """``ports.MailGate``, foreseen."""

    def __init__(self, seen: GateReading | OutsideError) -> None:
        self._seen = seen
        self.closed = not isinstance(seen, OutsideError) and seen.closed

    @property
    def shut(self) -> bool:
        """Whether a step closes it that was open."""
        return self.closed and not (isinstance(self._seen, GateReading) and self._seen.closed)

    @property
    def sees_transactions(self) -> bool:
        """Whether it does, as far as that is known."""
        return isinstance(self._seen, GateReading) and self._seen.sees_transactions

    async def read(self) -> GateReading:
        """See ``MailGate.read``."""
        if isinstance(self._seen, OutsideError):
            raise self._seen
        return self._seen if self._seen.closed == self.closed else self._seen.model_copy(update={"closed": self.closed})

    async def look(self) -> GateReading:
        """See ``MailGate.look``."""
        return await self.read()

    async def set_closed(self, closed: bool) -> None:
        """See ``MailGate.set_closed``."""
        self.closed = closed

    async def turn_away(self, client: str, number: int | None) -> bool:
        """See ``MailGate.turn_away``; no client is foreseen."""
        return self.closed

    def by_hand(self, closed: bool) -> Sequence[str]:
        """See ``MailGate.by_hand``; a forecast is changed by nobody's hand."""
        return ()


class ForecastSwitch:
    """``ports.TrafficSwitch``, foreseen. Sessions are today's: nobody knows where clients will be then."""

    def __init__(self, seen: SeenPool, gates: Mapping[str, ForecastGate]) -> None:
        self._seen = seen
        self._gates = gates
        self.now: dict[str, MemberReading] = {} if isinstance(seen.readings, OutsideError) else dict(seen.readings)
        """Every member with its foreseen intake and today's sessions."""

    @property
    def max_weight(self) -> int:
        """See ``TrafficSwitch.max_weight``."""
        return self._seen.max_weight

    async def read(self) -> Readings:
        """See ``TrafficSwitch.read``."""
        if isinstance(self._seen.readings, OutsideError):
            raise self._seen.readings
        return self.foreseen()

    def foreseen(self) -> Readings:
        """Every member that could be read, as it will be."""
        return {
            name: reading.model_copy(update={"sessions": reading.sessions and 0, "draining": False})
            if self._is_emptied(name)
            else reading
            for name, reading in self.now.items()
        }

    async def elsewhere(self) -> int:
        """See ``TrafficSwitch.elsewhere``; it stays as it was seen."""
        return self._seen.elsewhere

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """See ``TrafficSwitch.apply``."""
        for name, intake in changes.items():
            self.set(name, intake)

    async def settling(self) -> str:
        """See ``TrafficSwitch.settling``; a forecast has nobody who holds on to anything."""
        return ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """See ``TrafficSwitch.sessions``."""
        if isinstance(self._seen.sessions, OutsideError):
            raise self._seen.sessions
        left = {name for name in members if not self._is_emptied(name)}
        return [session for session in self._seen.sessions if session.member in left]

    async def close(self, session: Session) -> None:
        """See ``TrafficSwitch.close``; sessions are today's, whoever closes them."""

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``; a forecast is changed by nobody's hand."""
        return ()

    def set(self, name: str, intake: Intake) -> None:
        """Foresee a member's intake; one that the switch does not have is passed over."""
        reading = self.now.get(name)
        if reading is not None and reading.intake != intake:
            self.now[name] = reading.model_copy(update={"intake": intake})

    def _is_emptied(self, name: str) -> bool:
        """A member that a step has taken out of service, or behind a gate that one has closed, has no session then."""
        reading, gate = self.now.get(name), self._gates.get(name)
        if reading is None or reading.intake.admin == "ready" or isinstance(self._seen.readings, OutsideError):
            return False
        return (gate is not None and gate.shut) or self._seen.readings[name].intake.admin == "ready"


class ForecastQueue:
    """``ports.MailQueue``: what lies in it can be asked, and is left alone."""

    def __init__(self, real: MailQueue) -> None:
        self._real = real

    async def depth(self) -> QueueDepth:
        """See ``MailQueue.depth``."""
        return await self._real.depth()

    async def flush(self) -> None:
        """See ``MailQueue.flush``; a forecast has nothing to send."""


class ForecastGroup:
    """``ports.ScalingGroup``, foreseen: what a step has asked for is healthy then, or that step has failed."""

    def __init__(self, seen: ScalingReading | OutsideError) -> None:
        self._seen = seen
        self.desired: int | None = None
        """What a step asks for; None: none does."""

    async def read(self) -> ScalingReading:
        """See ``ScalingGroup.read``."""
        if isinstance(self._seen, OutsideError):
            raise self._seen
        if self.desired is None:
            return self._seen
        return self._seen.model_copy(update={"desired": self.desired, "healthy": self.desired, "waits_for": ()})

    async def set_desired(self, count: int) -> None:
        """See ``ScalingGroup.set_desired``."""
        self.desired = count

    def by_hand(self, count: int) -> Sequence[str]:
        """See ``ScalingGroup.by_hand``; a forecast is changed by nobody's hand."""
        return ()


class ForecastNode:
    """``ports.Node``, foreseen: of one that a step has cordoned the pods are gone, and do not come back."""

    def __init__(self, seen: NodeReading | OutsideError) -> None:
        self._seen = seen
        self.cordons: tuple[bool, ...] = ()
        """What steps do with it, in their order."""

    async def read(self) -> NodeReading:
        """See ``Node.read``."""
        if isinstance(self._seen, OutsideError):
            raise self._seen
        if not self.cordons:
            return self._seen
        left = tuple(pod for pod in self._seen.pods if pod.stays or True not in self.cordons)
        return NodeReading(cordoned=self.cordons[-1], pods=left)

    async def cordon(self, cordoned: bool) -> None:
        """See ``Node.cordon``."""
        self.cordons = (*self.cordons, cordoned)

    async def evict(self, pod: Pod) -> str:
        """See ``Node.evict``; a forecast ends nothing."""
        return ""

    def by_hand(self, cordoned: bool) -> Sequence[str]:
        """See ``Node.by_hand``; a forecast is changed by nobody's hand."""
        return ()


class ForecastOutside:
    """``ports.Outside`` over a snapshot."""

    def __init__(self, snapshot: Snapshot, outside: Outside) -> None:
        self._snapshot = snapshot
        self._gates = {host: ForecastGate(seen) for host, seen in snapshot.gates.items()}
        self._switches = {pool: ForecastSwitch(seen, self._gates) for pool, seen in snapshot.pools.items()}
        self._groups = {group: ForecastGroup(seen) for group, seen in snapshot.scaling.items()}
        self._nodes = {host: ForecastNode(seen) for host, seen in snapshot.nodes.items()}
        self.queue = cache(lambda host: ForecastQueue(outside.queue(host)))

    @property
    def inventory(self) -> Inventory:
        """See ``Outside.inventory``."""
        return self._snapshot.inventory

    def switch(self, pool: str) -> TrafficSwitch:
        """See ``Outside.switch``; the snapshot has every pool that a step names."""
        return self._switches[pool]

    def gate(self, host: str) -> MailGate:
        """See ``Outside.gate``; the snapshot has every host that a step drains."""
        return self._gates[host]

    def scaling(self, pool: str, site: str) -> ScalingGroup:
        """See ``Outside.scaling``; the snapshot has every group that a step scales."""
        return self._groups[pool, site]

    def node(self, host: str) -> Node:
        """See ``Outside.node``; the snapshot has every node that a step drains."""
        return self._nodes[host]

    def mail_client(self) -> MailClient:
        """See ``Outside.mail_client``.

        Raises:
            UnfitError: no mail flows in a forecast.
        """
        raise UnfitError("cannot send mail: this is a forecast")

    def inbox(self, pool: str) -> Inbox:
        """See ``Outside.inbox``.

        Raises:
            UnfitError: no mail flows in a forecast.
        """
        raise UnfitError(f"cannot see mail of pool {pool} arrive: this is a forecast")

    def readings(self, pool: str) -> Readings:
        """How the pool stands at this point of the forecast; empty where its switch could not be read."""
        return self._switches[pool].foreseen()

    def see_transactions(self, hosts: Sequence[str]) -> bool:
        """Whether the gates of all these hosts do."""
        return all(self._gates[host].sees_transactions for host in hosts)

    def foresee(self, effect: Effect) -> None:
        """Take in what a step sets."""
        for name in {**effect.weights, **effect.admins}:
            switch = self._switches[effect.pool]
            if name in switch.now:
                now = switch.now[name].intake
                weight, admin = effect.weights.get(name, now.weight), effect.admins.get(name, now.admin)
                if (weight, admin) != (now.weight, now.admin):
                    switch.set(name, Intake(weight=weight, admin=admin))
        for host, closed in effect.gates.items():
            self._gates[host].closed = closed
        for site, desired in effect.desired.items():
            self._groups[effect.pool, site].desired = desired
        for host, cordoned in effect.cordons.items():
            self._nodes[host].cordons += (cordoned,)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is foreseen within the block is forgotten after it."""
        switches = {pool: dict(switch.now) for pool, switch in self._switches.items()}
        gates = {host: gate.closed for host, gate in self._gates.items()}
        groups = {place: group.desired for place, group in self._groups.items()}
        nodes = {host: node.cordons for host, node in self._nodes.items()}
        try:
            yield
        finally:
            for pool, now in switches.items():
                self._switches[pool].now = now
            for host, closed in gates.items():
                self._gates[host].closed = closed
            for place, desired in groups.items():
                self._groups[place].desired = desired
            for host, cordons in nodes.items():
                self._nodes[host].cordons = cordons


class Instant:
    """``ports.Clock`` that stands still: a plan is made of one moment."""

    def __init__(self, at: float) -> None:
        self._at = at

    def now(self) -> float:
        """See ``Clock.now``."""
        return self._at

    def monotonic(self) -> float:
        """See ``Clock.monotonic``."""
        return self._at

    async def sleep(self, seconds: float) -> None:
        """See ``Clock.sleep``; no time passes here."""
        await asyncio.sleep(0)
