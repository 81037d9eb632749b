"""Guards: what must hold during the whole run, also while it is held."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.checks.gate import Gatekeeper
from orchestrator.errors import OutsideError
from orchestrator.model.check import (
    BlastRadiusGuard,
    CheckGuard,
    Guard,
    Headroom,
    HeadroomGuard,
    Judgement,
    Serving,
    ServingGuard,
    Verdict,
)
from orchestrator.model.inventory import DemandFromSwitch, Pool, PoolSite
from orchestrator.model.traffic import MemberReading
from orchestrator.model.units import Quantity, format_fraction
from orchestrator.ports import Clock, Outside

PROBES_PER_SECOND: Final = 5.0
"""What a check guard asks of its target at most, all through a run."""

INTERVAL: Final = 1.0
"""Seconds between two examinations of a check guard; how often a switch is looked at, its kind says."""

UNKNOWN_IN_A_ROW: Final = 2
"""So often unknown is a breach: one missed look is weather, two are blindness, and blind we do not go on."""

Readings = Mapping[str, MemberReading]
PoolGuard = HeadroomGuard | ServingGuard
WatchedGuard = CheckGuard | PoolGuard


def name_of(guard: Guard) -> str:
    """What people call a guard: its check's name, ``headroom smtp >= 1.3``, ``serving smtp >= 1 site``."""
    if isinstance(guard, CheckGuard):
        return guard.check
    if isinstance(guard, HeadroomGuard):
        return f"headroom {guard.headroom.pool} >= {guard.headroom.at_least:g}"
    if isinstance(guard, BlastRadiusGuard):
        return f"blast_radius {guard.blast_radius.pool} <= {format_fraction(guard.blast_radius.at_most)}"
    sites = guard.serving.at_least
    return f"serving {guard.serving.pool} >= {sites} site{'s' if sites > 1 else ''}"


def serves(reading: MemberReading | None) -> bool:
    """Whether a member takes new traffic and is able to: up, ready and with a weight."""
    return reading is not None and reading.up and reading.intake.share_weight > 0


def serving_sites(pool: Pool, readings: Readings) -> tuple[str, ...]:
    """The sites with at least one member that serves."""
    return tuple(
        name for name, site in pool.sites.items() if any(serves(readings.get(member)) for member in site.members)
    )


def serving_part(site: PoolSite, readings: Readings) -> float:
    """The part of a site's capacity that serves: of its members, each as far as it is healthy."""
    found = [readings.get(member) for member in site.members]
    return sum(one.healthy for one in found if one is not None and serves(one)) / len(site.members)


@dataclass(frozen=True, slots=True)
class Balance:
    """Capacity that serves against demand."""

    capacity: Quantity
    demand: Quantity

    @property
    def headroom(self) -> float | None:
        """Capacity / demand; None where nothing is asked for, which every capacity covers."""
        return self.capacity.amount / self.demand.amount if self.demand.amount else None


def balance(pool: Pool, readings: Readings) -> Balance:
    """What the members that serve can carry, and what clients ask for.

    A site's capacity counts in proportion to its members that serve, and to how much of each is healthy.

    Raises:
        ValueError: capacity and demand are not stated in the same unit, or nobody counts the demand.
    """
    demand = _demand(pool, readings)
    total = 0.0
    for name, site in pool.sites.items():
        if site.capacity.unit != demand.unit:
            raise ValueError(f"capacity of {name} is {site.capacity}, demand is {demand}: state both in one unit")
        total += site.capacity.amount * serving_part(site, readings)
    return Balance(capacity=Quantity(amount=total, unit=demand.unit), demand=demand)


def _demand(pool: Pool, readings: Readings) -> Quantity:
    if isinstance(pool.demand, DemandFromSwitch):
        counts = [reading.sessions for reading in readings.values()]
        if None in counts:
            raise ValueError("the switch counts no sessions: state the pool's demand, as 400/s")
        return Quantity(amount=sum(count or 0 for count in counts), unit="sessions")
    return pool.demand


def judge_headroom(guard: Headroom, name: str, pool: Pool, readings: Readings) -> Verdict:
    """Whether the capacity that serves covers the demand ``at_least`` so many times."""
    try:
        found = balance(pool, readings)
    except ValueError as error:
        return Verdict(check=name, judgement=Judgement.UNKNOWN, reason=str(error))
    metrics = {"capacity": found.capacity.amount, "demand": found.demand.amount}
    ratio = found.headroom
    if ratio is None:
        reason = f"{found.capacity} serve, nothing is asked for"
        return Verdict(check=name, judgement=Judgement.PASS, reason=reason, samples=len(readings), metrics=metrics)
    enough = ratio >= guard.at_least
    reason = f"headroom {ratio:.2f} (expected >= {guard.at_least:g}): {found.capacity} serve, demand {found.demand}"
    return Verdict(
        check=name,
        judgement=Judgement.PASS if enough else Judgement.FAIL,
        reason=reason,
        samples=len(readings),
        metrics={"headroom": ratio, **metrics},
    )


def judge_serving(guard: Serving, name: str, pool: Pool, readings: Readings) -> Verdict:
    """Whether ``at_least`` so many sites have a member that serves."""
    sites = serving_sites(pool, readings)
    reason = (
        f"{len(sites)} of {len(pool.sites)} sites serve (expected >= {guard.at_least}): {', '.join(sites) or 'none'}"
    )
    return Verdict(
        check=name,
        judgement=Judgement.PASS if len(sites) >= guard.at_least else Judgement.FAIL,
        reason=reason,
        samples=len(readings),
        metrics={"sites": len(sites)},
    )


class GuardKeeper:
    """Examines guards, once or for as long as a run lasts."""

    def __init__(self, guards: Sequence[Guard], gatekeeper: Gatekeeper, outside: Outside, clock: Clock) -> None:
        self._guards = tuple(guard for guard in guards if not isinstance(guard, BlastRadiusGuard))
        """Those that can break while nothing of ours moves; the pace is kept by the plan."""
        self._gatekeeper = gatekeeper
        self._outside = outside
        self._clock = clock
        self._held: set[str] = set()

    async def examine(self, guard: WatchedGuard) -> Verdict:
        """Look at one guard now; a check guard takes its check's own time."""
        if isinstance(guard, CheckGuard):
            return await self._gatekeeper.judge_lightly(guard.check, PROBES_PER_SECOND)
        return self._judge(guard, await self._look(_pool_of(guard)))

    async def _look(self, pool: str) -> Readings | OutsideError:
        try:
            return await self._outside.switch(pool).read()
        except OutsideError as error:
            return error

    def _judge(self, guard: PoolGuard, readings: Readings | OutsideError) -> Verdict:
        name, pool = name_of(guard), _pool_of(guard)
        if isinstance(readings, OutsideError):
            reason = f"the switch of {pool} cannot be read: {readings}"
            return Verdict(check=name, judgement=Judgement.UNKNOWN, reason=reason)
        if isinstance(guard, ServingGuard):
            return judge_serving(guard.serving, name, self._outside.inventory.pools[pool], readings)
        return judge_headroom(guard.headroom, name, self._outside.inventory.pools[pool], readings)

    async def watch(self, on_breach: Callable[[Verdict], None]) -> None:
        """Examine every guard again and again until cancelled; ``on_breach`` hears each verdict that is a breach.

        A breach is a fail, or unknown twice in a row. Guards are watched side by side, so that a slow check does
        not delay the look at the capacity; all guards of a pool share each look at its switch.
        """
        self._held.clear()
        pools: dict[str, list[PoolGuard]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for guard in self._guards:
                    if isinstance(guard, CheckGuard):
                        group.create_task(self._watch_check(guard, on_breach))
                    else:
                        pools.setdefault(_pool_of(guard), []).append(guard)
                for pool, guards in pools.items():
                    group.create_task(self._watch_pool(pool, guards, on_breach))
        except BaseExceptionGroup as raised:
            raise raised.exceptions[0] from None  # what ``on_breach`` raises, the caller expects as it is

    def has_held(self, guard: str) -> bool:
        """Whether the guard of that name has passed since the watch began."""
        return guard in self._held

    async def _watch_check(self, guard: CheckGuard, on_breach: Callable[[Verdict], None]) -> None:
        blind: Counter[str] = Counter()
        while True:
            self._weigh(await self.examine(guard), blind, on_breach)
            await self._clock.sleep(INTERVAL)

    async def _watch_pool(self, pool: str, guards: Sequence[PoolGuard], on_breach: Callable[[Verdict], None]) -> None:
        every = self._outside.inventory.pools[pool].switch.read_every
        blind: Counter[str] = Counter()
        while True:
            readings = await self._look(pool)
            for guard in guards:
                self._weigh(self._judge(guard, readings), blind, on_breach)
            await self._clock.sleep(every)

    def _weigh(self, verdict: Verdict, blind: Counter[str], on_breach: Callable[[Verdict], None]) -> None:
        """Tell of a breach; ``blind`` counts by guard how often in a row nobody knew."""
        name = verdict.check
        if verdict.passed:
            self._held.add(name)
        blind[name] = blind[name] + 1 if verdict.judgement is Judgement.UNKNOWN else 0
        if verdict.judgement is Judgement.FAIL or blind[name] >= UNKNOWN_IN_A_ROW:
            on_breach(verdict)


def _pool_of(guard: PoolGuard) -> str:
    return guard.headroom.pool if isinstance(guard, HeadroomGuard) else guard.serving.pool
