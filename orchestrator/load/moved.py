"""What a step sets outside that another step may set, too: a site's weights or capacity, a host's service or node."""

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
    Nor does either with the capacity that a scaling group has, or with pods.

    What is unknown is passed over: that is reported where it is found out.
    """
    kind = name_at(step, "do")
    if kind is not None and kind.text == "traffic.shift":
        return frozenset(_weights(step))
    if kind is not None and kind.text in ("smtp.drain", "traffic.drain"):
        return frozenset(Moved("drains", "", host) for host in _drained(step, inventory))
    if kind is not None and kind.text == "scale.out":
        return frozenset(_named(step, "scales", "site"))
    if kind is not None and kind.text == "node.drain":
        return frozenset(_named(step, "cordons", "host"))
    return frozenset()


def leans(step: Node, inventory: Inventory) -> frozenset[Moved]:
    """The capacity that ``step`` lets traffic count on: none of it may go before that traffic does.

    A shift counts on that of the site it moves to, a drain on that of every site of the pool that has other members.
    """
    kind, pool = name_at(step, "do"), name_at(step, "with", "pool")
    if kind is not None and kind.text == "traffic.shift":
        return frozenset(_named(step, "scales", "to"))
    if kind is None or pool is None or kind.text not in ("smtp.drain", "traffic.drain"):
        return frozenset()
    known, drained = inventory.pools.get(pool.text), set(_drained(step, inventory))
    sites = known.sites if known is not None and drained else {}
    left = [site for site, part in sites.items() if not drained.issuperset(part.members)]
    return frozenset(Moved("scales", pool.text, site) for site in left)


def _weights(step: Node) -> Iterator[Moved]:
    for key in ("from", "to"):
        yield from _named(step, "moves", key)


def _named(step: Node, verb: str, key: str) -> Iterator[Moved]:
    """A site of the step's pool, or a host, which is one for all pools."""
    pool, name = name_at(step, "with", "pool"), name_at(step, "with", key)
    if name is not None and (pool is not None or key == "host"):
        yield Moved(verb, pool.text if pool is not None else "", name.text)


def _drained(step: Node, inventory: Inventory) -> tuple[str, ...]:
    pool, site, host = (name_at(step, "with", key) for key in ("pool", "site", "host"))
    if host is not None:
        return (host.text,)
    known = inventory.pools.get(pool.text) if pool is not None else None
    if known is None or site is None or site.text not in known.sites:
        return ()
    return known.members(site.text)
