"""A world that is only looked at: switches and gates of an inventory, which note every call."""

# ruff: noqa: D102 - the ports say what their methods mean

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from orchestrator.errors import UnfitError, UnreachableError
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan, PlanRule
from orchestrator.model.runbook import Runbook
from orchestrator.model.traffic import Admin, GateReading, Intake, MemberReading, QueueDepth, Session
from orchestrator.planning import make_plan
from orchestrator.ports import Inbox, MailClient, MailGate, MailQueue, TrafficSwitch

from ..fakes.clock import EPOCH, LoopClock, run
from ..fakes.no_capacity import NoCapacity

READS = frozenset({"read", "sessions", "depth"})
"""What may be asked while a plan is made."""

StepText = Mapping[str, object]


class World(NoCapacity):
    """``ports.Outside``: every member has weight 100, is up and carries ``sessions`` sessions; every gate is open."""

    def __init__(self, inventory: Inventory, sessions: int = 10) -> None:
        self.inventory = inventory
        self.calls: list[str] = []
        self.elsewhere = 0
        """The weights of what takes traffic at the switches and is no member of a pool."""
        """Each call, as ``read switch smtp``."""
        self.at_once = 0
        self.most_at_once = 0
        self.trouble: dict[str, str] = {}
        """Why a switch or gate gives no answer, as ``switch smtp`` or ``gate mx1``."""
        self.readings = {
            name: {
                member: MemberReading(intake=Intake(weight=100), up=True, sessions=sessions)
                for site in pool.sites.values()
                for member in site.members
            }
            for name, pool in inventory.pools.items()
        }
        self.gates = {
            name: GateReading(closed=False, since=EPOCH - 1e6, sees_transactions=True) for name in inventory.hosts
        }
        self.listed: list[Session] = []

    def set(
        self, member: str, *, weight: int = 100, admin: Admin = "ready", up: bool = True, sessions: int = 10
    ) -> None:
        """Bring a member to something else, as a person would."""
        for readings in self.readings.values():
            if member in readings:
                readings[member] = MemberReading(intake=Intake(weight=weight, admin=admin), up=up, sessions=sessions)

    async def ask(self, call: str, what: str) -> None:
        self.calls.append(f"{call} {what}")
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.1)
        self.at_once -= 1
        if what in self.trouble:
            raise UnreachableError(self.trouble[what])

    def switch(self, pool: str) -> TrafficSwitch:
        return _Switch(self, pool)

    def gate(self, host: str) -> MailGate:
        if host not in self.gates:
            raise UnfitError(f"cannot drain {host}: the inventory gives it no gate")
        return _Gate(self, host)

    def queue(self, host: str) -> MailQueue:
        return _Queue(self, host)

    def mail_client(self) -> MailClient:
        raise AssertionError("planning sends no mail")

    def inbox(self, pool: str) -> Inbox:
        raise AssertionError("planning receives no mail")


class _Switch:
    max_weight = 256

    def __init__(self, world: World, pool: str) -> None:
        self._world = world
        self._pool = pool

    async def read(self) -> Mapping[str, MemberReading]:
        await self._world.ask("read", f"switch {self._pool}")
        return dict(self._world.readings[self._pool])

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        await self._world.ask("sessions", f"switch {self._pool}")
        return [session for session in self._world.listed if session.member in members]

    async def elsewhere(self) -> int:
        return self._world.elsewhere

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        await self._world.ask("apply", f"switch {self._pool}")

    async def settling(self) -> str:
        raise AssertionError("planning waits for nothing")

    async def close(self, session: Session) -> None:
        await self._world.ask("close", f"switch {self._pool}")

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        raise AssertionError("planning tells nobody what to type")


class _Gate:
    def __init__(self, world: World, host: str) -> None:
        self._world = world
        self._host = host

    async def read(self) -> GateReading:
        await self._world.ask("read", f"gate {self._host}")
        return self._world.gates[self._host]

    async def look(self) -> GateReading:
        await self._world.ask("look", f"gate {self._host}")
        return self._world.gates[self._host]

    async def set_closed(self, closed: bool) -> None:
        await self._world.ask("set_closed", f"gate {self._host}")

    async def turn_away(self, client: str, number: int | None) -> bool:
        await self._world.ask("turn_away", f"gate {self._host}")
        return False

    def by_hand(self, closed: bool) -> Sequence[str]:
        raise AssertionError("planning tells nobody what to type")


class _Queue:
    def __init__(self, world: World, host: str) -> None:
        self._world = world
        self._host = host

    async def depth(self) -> QueueDepth:
        await self._world.ask("depth", f"queue {self._host}")
        return QueueDepth()

    async def flush(self) -> None:
        await self._world.ask("flush", f"queue {self._host}")


def inventory_of(
    sites: Mapping[str, int], *, pools: Sequence[str] = ("smtp",), capacity: str = "150 sessions", demand: object = None
) -> Inventory:
    """An inventory with so many members at each site: SITE1, SITE2, and POOL-SITE1 in all pools but the first."""

    def members(pool: str, site: str) -> list[str]:
        first = "" if pool == pools[0] else f"{pool}-"
        return [f"{first}{site}{number + 1}" for number in range(sites[site])]

    gate = {"driver": "postfix-policy", "control": "c"}
    return Inventory.model_validate(
        {
            "sites": {site: {} for site in sites},
            "pools": {
                pool: {
                    "protocol": "smtp",
                    "address": "vip:25",
                    "switch": {"driver": "haproxy", "socket": f"/run/{pool}.sock", "backend": pool},
                    "demand": demand or {"from": "switch"},
                    "test_mail": {"sender": "probe@lab.example", "recipient": "probe@lab.example"},
                    "sites": {
                        site: {"members": members(pool, site), "capacity": capacity, "address": f"{site}:25"}
                        for site in sites
                    },
                }
                for pool in pools
            },
            "hosts": {
                member: {"gate": gate, "queue": {"driver": "postfix"}}
                for pool in pools
                for site in sites
                for member in members(pool, site)
            },
        }
    )


INVENTORY = inventory_of({"ord": 2, "iad": 2, "dfw": 1})


def runbook_of(*steps: StepText, **more: object) -> Runbook:
    """A runbook of these steps."""
    return Runbook.model_validate({"runbook": "scene", "steps": steps, **more})


def shift(name: str, from_: str = "ord", to: str = "iad", pool: str = "smtp", **more: object) -> StepText:
    """A shift in one move, unless ``by`` says otherwise."""
    arguments: StepText = {key: more.pop(key) for key in ("by", "pause") if key in more}
    return {"id": name, "do": "traffic.shift", "with": {"pool": pool, "from": from_, "to": to, **arguments}, **more}


def drain(name: str, site: str = "ord", pool: str = "smtp", deadline: str | None = "10m", **more: object) -> StepText:
    """A drain of a site."""
    arguments: StepText = {key: more.pop(key) for key in ("settle", "at_deadline") if key in more}
    limit = {} if deadline is None else {"deadline": deadline}
    return {"id": name, "do": "smtp.drain", "with": {"pool": pool, "site": site, **limit, **arguments}, **more}


def plan_of(
    world: World,
    *steps: StepText,
    overrides: Mapping[PlanRule, str] | None = None,
    in_use: Sequence[str] = (),
    **more: object,
) -> Plan:
    """The plan of these steps in this world."""
    runbook = runbook_of(*steps, **more)
    return run(make_plan(runbook, {}, world, LoopClock(), overrides=overrides or {}, in_use=in_use))
