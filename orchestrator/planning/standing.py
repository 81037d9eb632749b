"""How a pool stands: who takes which share of its new traffic, and whether what serves is enough."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.checks.guards import Balance, Readings, balance, serves, serving_part, serving_sites
from orchestrator.model.inventory import Pool
from orchestrator.model.plan import PoolForecast


@dataclass(frozen=True, slots=True)
class Standing:
    """A pool at one moment of the forecast."""

    pool: str
    shares: Mapping[str, float]
    """Of new traffic, by site: they sum to 1, or to 0 where nobody takes any."""
    serving: tuple[str, ...]
    balance: Balance | None
    """None where capacity and demand are not stated in one unit, or nobody counts the demand."""
    carries: Mapping[str, float]
    """What the members that serve carry, by site, in the unit of its capacity."""

    @property
    def headroom(self) -> float | None:
        """Capacity that serves / demand; None where nothing is asked for, or they cannot be compared."""
        return self.balance.headroom if self.balance else None

    def load(self, site: str) -> float:
        """The site's share of the demand / what it carries itself; 0 where no balance can be struck."""
        asked = self.shares[site] * self.balance.demand.amount if self.balance else 0.0
        if not asked:
            return 0.0
        return asked / self.carries[site] if self.carries[site] else math.inf

    def moved_from(self, before: Standing) -> float:
        """The share of new traffic that goes elsewhere than ``before``; to nowhere, or from there, counts too."""
        gains = [max(0.0, share - before.shares[site]) for site, share in self.shares.items()]
        nowhere = max(0.0, sum(before.shares.values()) - sum(self.shares.values()))
        return sum(gains) + nowhere

    def forecast(self, before: Standing) -> PoolForecast:
        """The same for the plan, seen from how it stood just before."""
        return PoolForecast(
            pool=self.pool,
            shares=dict(self.shares),
            moved=self.moved_from(before),
            serving=self.serving,
            headroom=self.headroom,
        )


class Surveyor:
    """Tells how one pool stands, for the demand that was measured at the start.

    A drain takes sessions away from the switch that come back elsewhere; that must not look like falling demand.
    """

    def __init__(self, name: str, pool: Pool, start: Readings) -> None:
        self._name = name
        self._pool = pool
        self._asked: Pool | None = None
        try:
            self._asked = pool.model_copy(update={"demand": balance(pool, start).demand})
        except ValueError as error:
            self.why_unknown = str(error)

    why_unknown = ""
    """Why there is no balance of capacity and demand."""

    def stands(self, readings: Readings) -> Standing:
        """How the pool stands with these members."""
        return Standing(
            pool=self._name,
            shares=_shares(self._pool, readings),
            serving=serving_sites(self._pool, readings),
            balance=balance(self._asked, readings) if self._asked else None,
            carries=_carries(self._pool, readings),
        )


def _carries(pool: Pool, readings: Readings) -> dict[str, float]:
    """Each site's capacity, as far as it serves."""
    return {name: site.capacity.amount * serving_part(site, readings) for name, site in pool.sites.items()}


def _shares(pool: Pool, readings: Readings) -> dict[str, float]:
    """Each site's share of the weights that count: of members that are up, ready and have one."""
    weights = {
        name: sum(readings[member].intake.share_weight for member in site.members if serves(readings.get(member)))
        for name, site in pool.sites.items()
    }
    total = sum(weights.values())
    return {name: weight / total if total else 0.0 for name, weight in weights.items()}
