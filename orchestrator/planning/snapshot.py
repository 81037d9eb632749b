"""Everything of the world that a runbook rests on, read once, a few questions at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Final, TypeVar

from orchestrator.actions.drain import drained_members
from orchestrator.checks.guards import Readings
from orchestrator.errors import OutsideError
from orchestrator.model.capacity import NodeReading, ScalingReading
from orchestrator.model.check import BlastRadiusGuard, HeadroomGuard, ServingGuard, SessionsCheck
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import DrainStep, NodeDrainStep, Runbook, ScaleOutStep, ShiftStep, TakeOutStep
from orchestrator.model.traffic import GateReading, Session
from orchestrator.planning.order import steps_of
from orchestrator.ports import Clock, Outside, TrafficSwitch

T = TypeVar("T")

AT_A_TIME: Final = 8
"""Systems that are asked side by side: a plan of many hosts is no reason to open a connection to each at once."""


@dataclass(frozen=True, slots=True)
class SeenPool:
    """A pool as its switch shows it; in place of what cannot be read, why."""

    readings: Readings | OutsideError
    sessions: Sequence[Session] | OutsideError
    """Of the members that the runbook drains."""
    max_weight: int
    elsewhere: int = 0
    """The weights of what else takes traffic at the switch."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen. Sessions are no younger at ``at`` than they were reported, so that none looks newer than it is."""

    inventory: Inventory
    at: float
    """Unix time just before the first question."""
    pools: Mapping[str, SeenPool]
    gates: Mapping[str, GateReading | OutsideError]
    """By host."""
    scaling: Mapping[tuple[str, str], ScalingReading | OutsideError] = field(default_factory=dict)
    """By pool and site."""
    nodes: Mapping[str, NodeReading | OutsideError] = field(default_factory=dict)
    """By host."""

    @property
    def is_blind(self) -> bool:
        """Whether a switch could not be read."""
        return any(isinstance(pool.readings, OutsideError) for pool in self.pools.values())

    @property
    def problems(self) -> tuple[str, ...]:
        """Why something could not be read, each reason once."""
        answers: list[object] = [seen for pool in self.pools.values() for seen in (pool.readings, pool.sessions)]
        answers += (*self.gates.values(), *self.scaling.values(), *self.nodes.values())
        return tuple(dict.fromkeys(str(answer) for answer in answers if isinstance(answer, OutsideError)))


async def observe(runbook: Runbook, outside: Outside, clock: Clock) -> Snapshot:
    """Ask every switch, gate, scaling group and node that the runbook rests on, once.

    It never raises for what cannot be read.
    """
    drained = _drained(runbook, outside.inventory)
    pools = tuple(_pools(runbook))
    hosts = tuple(dict.fromkeys(host for members in drained.values() for host in members))
    groups, nodes = _scaled(runbook), _drained_nodes(runbook)
    places = asyncio.Semaphore(AT_A_TIME)
    at = clock.now()
    seen, gates, sizes, standing = await asyncio.gather(
        asyncio.gather(*(_see_pool(outside, pool, drained.get(pool, ()), places) for pool in pools)),
        asyncio.gather(*(_see_gate(outside, host, places) for host in hosts)),
        asyncio.gather(*(_see_group(outside, group, places) for group in groups)),
        asyncio.gather(*(_see_node(outside, host, places) for host in nodes)),
    )
    return Snapshot(
        inventory=outside.inventory,
        at=at,
        pools=dict(zip(pools, seen, strict=True)),
        gates=dict(zip(hosts, gates, strict=True)),
        scaling=dict(zip(groups, sizes, strict=True)),
        nodes=dict(zip(nodes, standing, strict=True)),
    )


async def _see_pool(outside: Outside, pool: str, drained: Sequence[str], places: asyncio.Semaphore) -> SeenPool:
    try:
        switch = outside.switch(pool)
    except OutsideError as error:
        unfit = _of(f"pool {pool}", error)
        return SeenPool(unfit, unfit, 0)
    asked = (_ask(lambda: _look(switch), places), _ask(lambda: _sessions(switch, drained), places))
    seen, sessions = await asyncio.gather(*asked)
    sessions = _told(f"pool {pool}", sessions)
    if isinstance(seen, OutsideError):
        return SeenPool(_of(f"pool {pool}", seen), sessions, switch.max_weight)
    readings, elsewhere = seen
    return SeenPool(readings, sessions, switch.max_weight, elsewhere)


async def _look(switch: TrafficSwitch) -> tuple[Readings, int]:
    return await switch.read(), await switch.elsewhere()


async def _sessions(switch: TrafficSwitch, drained: Sequence[str]) -> Sequence[Session]:
    return await switch.sessions(drained) if drained else ()


async def _see_gate(outside: Outside, host: str, places: asyncio.Semaphore) -> GateReading | OutsideError:
    try:
        gate = outside.gate(host)
    except OutsideError as error:
        return error
    return await _ask(gate.read, places)


async def _see_group(
    outside: Outside, group: tuple[str, str], places: asyncio.Semaphore
) -> ScalingReading | OutsideError:
    return _told(f"pool {group[0]} at {group[1]}", await _ask(lambda: outside.scaling(*group).read(), places))


async def _see_node(outside: Outside, host: str, places: asyncio.Semaphore) -> NodeReading | OutsideError:
    return _told(f"host {host}", await _ask(lambda: outside.node(host).read(), places))


async def _ask(question: Callable[[], Awaitable[T]], places: asyncio.Semaphore) -> T | OutsideError:
    async with places:
        try:
            return await question()
        except OutsideError as error:
            return error


def _told(what: str, answer: T | OutsideError) -> T | OutsideError:
    """An answer; in place of none, the reason with what was asked for: an SDK does not say whose call it was."""
    return _of(what, answer) if isinstance(answer, OutsideError) else answer


def _of(what: str, error: OutsideError) -> OutsideError:
    told = copy(error)
    told.message = f"{what}: {error.message}"
    told.args = (told.message,)
    return told


def _pools(runbook: Runbook) -> Iterator[str]:
    """The pools whose switch is moved, guarded or counted at, each once."""
    found = [step.with_.pool for step in steps_of(runbook) if isinstance(step, ShiftStep | DrainStep | TakeOutStep)]
    for guard in runbook.guards:
        if isinstance(guard, HeadroomGuard):
            found.append(guard.headroom.pool)
        elif isinstance(guard, ServingGuard):
            found.append(guard.serving.pool)
        elif isinstance(guard, BlastRadiusGuard):
            found.append(guard.blast_radius.pool)
    found += [check.at.pool for check in runbook.checks.values() if isinstance(check, SessionsCheck)]
    return iter(dict.fromkeys(found))


def _scaled(runbook: Runbook) -> tuple[tuple[str, str], ...]:
    """Where capacity is brought up: pools and their sites, each pair once."""
    steps = (step.with_ for step in steps_of(runbook) if isinstance(step, ScaleOutStep))
    return tuple(dict.fromkeys((with_.pool, with_.site) for with_ in steps))


def _drained_nodes(runbook: Runbook) -> tuple[str, ...]:
    """The hosts whose nodes are drained, each once."""
    return tuple(dict.fromkeys(step.with_.host for step in steps_of(runbook) if isinstance(step, NodeDrainStep)))


def _drained(runbook: Runbook, inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """The members that are drained, by pool."""
    found: dict[str, dict[str, None]] = {}
    for step in steps_of(runbook):
        if isinstance(step, DrainStep):
            members = drained_members(step.with_, inventory.pools[step.with_.pool])
            found.setdefault(step.with_.pool, {}).update(dict.fromkeys(members))
    return {pool: tuple(members) for pool, members in found.items()}
