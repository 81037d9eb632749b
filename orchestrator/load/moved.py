"""What a step sets outside that another step may set, too: the weights of a site, or the service of a host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.load.node import Node, name_at
from orchestrator.model.inventory import Inventory


class Moved(NamedTuple):
    """One thing that a step sets: two steps overlap where they share one."""

    verb: str
    """What the step does with it."""
    pool: str
    """Empty where it is one for all pools, as a host's gate is."""
    name: str


def moved(step: Node, inventory: Inventory) -> frozenset[Moved]:
    """All that ``step`` sets. A shift sets weights, and a drain admin states and gates, so that these do not meet.

    What is unknown is passed over: that is reported where it is found out.
    """
    kind = name_at(step, "do")
    if kind is not None and kind.text == "traffic.shift":
        return frozenset(_weights(step))
    if kind is not None and kind.text == "smtp.drain":
        return frozenset(Moved("drains", "", host) for host in _drained(step, inventory))
    return frozenset()


def _weights(step: Node) -> Iterator[Moved]:
    pool = name_at(step, "with", "pool")
    for key in ("from", "to"):
        site = name_at(step, "with", key)
        if pool is not None and site is not None:
            yield Moved("moves", pool.text, site.text)


def _drained(step: Node, inventory: Inventory) -> tuple[str, ...]:
    pool, site, host = (name_at(step, "with", key) for key in ("pool", "site", "host"))
    if host is not None:
        return (host.text,)
    known = inventory.pools.get(pool.text) if pool is not None else None
    if known is None or site is None or site.text not in known.sites:
        return ()
    return known.members(site.text)
