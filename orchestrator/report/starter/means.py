"""What an inventory has to move a pool's traffic with, and what it lacks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

from orchestrator.model.inventory import Inventory, MapGate, Pool
from orchestrator.model.switch import ALL_OR_NOTHING, AnySwitch
from orchestrator.model.units import Quantity
from orchestrator.report.starter.kind import Kind
from orchestrator.report.starter.outline import Outline, host_of

COMFORT = 1.3
"""Capacity / demand that lets one member of four fail without harm; more is not asked for, or the guard would break
the run while there is still plenty."""


class Emptying(Enum):
    """How what is emptied loses the sessions that are open."""

    CLOSED = auto()
    """Each is closed between two messages: the switch lists them, and every host has a gate."""
    AWAITED = auto()
    """They end when their clients want, and that is waited for: the switch counts them, and a gate is missing."""
    LET_GO = auto()
    """The switch takes members out, and lets go of what they had."""
    UNSEEN = auto()
    """They end when their clients want, and nobody sees that."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """What can be asked of the capacity that serves."""

    at_least: float
    """Capacity / demand, for the guard."""
    because: str
    """Where the number comes from, in sentences."""
    enough: bool = True
    """Whether the capacity is known to cover the stated demand, or nothing is known."""


@dataclass(frozen=True, slots=True)
class Means:
    """What there is."""

    pool: str
    switch: AnySwitch
    emptying: Emptying
    tls: bool
    """Whether the probes can be sure of a certificate, or need TLS to log in."""
    inbox: bool
    ungated: tuple[str, ...]
    """Hosts that are to be drained and have no gate."""
    elsewhere: tuple[str, ...]
    """The pool's other hosts that have none either."""
    blind: tuple[str, ...]
    """Hosts to be drained whose gate sees no transactions."""
    unqueued: tuple[str, ...]
    """Hosts to be drained of whose queue nothing is known."""
    others: tuple[str, ...]
    """Other pools at the site that is emptied."""
    headroom: Headroom

    @property
    def in_one_move(self) -> bool:
        """Whether members take traffic or do not, without shares in between."""
        return self.switch.max_weight == ALL_OR_NOTHING


def means(outline: Outline, inventory: Inventory) -> Means:
    """What there is for this."""
    pool = inventory.pools[outline.pool]
    mail = pool.test_mail
    reboots = outline.kind is Kind.REBOOT
    emptied = (host_of(outline, inventory),) if reboots else pool.members(outline.site)
    others = [member for site in pool.sites.values() for member in site.members if member not in emptied]
    ungated = tuple(name for name in emptied if inventory.host(name).gate is None)
    return Means(
        pool=outline.pool,
        switch=pool.switch,
        emptying=_emptying(pool.switch, gated=not ungated),
        tls=any((mail.ca_file, mail.server_name, mail.login)),
        inbox=mail.inbox is not None,
        ungated=ungated,
        elsewhere=tuple(name for name in others if inventory.host(name).gate is None),
        blind=tuple(name for name in emptied if isinstance(inventory.host(name).gate, MapGate)),
        unqueued=tuple(name for name in emptied if inventory.host(name).queue is None),
        others=() if reboots else _also_at(outline, inventory),
        headroom=_headroom(outline, inventory),
    )


def _emptying(switch: AnySwitch, *, gated: bool) -> Emptying:
    if switch.lists_sessions:
        return Emptying.CLOSED if gated else Emptying.AWAITED
    return Emptying.LET_GO if "drain" in switch.admins else Emptying.UNSEEN


def _also_at(outline: Outline, inventory: Inventory) -> tuple[str, ...]:
    return tuple(name for name, pool in inventory.pools.items() if name != outline.pool and outline.site in pool.sites)


def _headroom(outline: Outline, inventory: Inventory) -> Headroom:
    pool = inventory.pools[outline.pool]
    if not isinstance(pool.demand, Quantity):
        because = (
            "The demand is what the switch measures, so it is not known here: 1 asks for just enough. 'failover plan' "
            f"shows what there really is; raise this as far as it allows, {COMFORT:g} being comfortable."
        )
        return Headroom(1.0, because)
    if not pool.demand.amount:
        return Headroom(COMFORT, "The inventory states that nothing is asked for, which every capacity covers.")
    who, capacity = _left_over(outline, pool)
    ratio = math.floor(capacity / pool.demand.amount * 100 + 1e-9) / 100
    found = (
        f"{who} {Quantity(amount=capacity, unit=pool.demand.unit)}, {ratio:g} times the stated demand of {pool.demand}"
    )
    if ratio >= COMFORT:
        return Headroom(COMFORT, f"{found}. {COMFORT:g} of it leaves room for a member that fails, and for growth.")
    if ratio >= 1:
        return Headroom(ratio, f"{found}, and so no more can be asked for; {COMFORT:g} would be comfortable.")
    because = (
        f"{found}: that is too little, unless further sites serve as well. Where they do not, the plan refuses itself. "
        "Add capacity first."
    )
    return Headroom(1.0, because, enough=False)


def _left_over(outline: Outline, pool: Pool) -> tuple[str, float]:
    """Who carries the traffic while the site or the host is away, and how much."""
    if outline.kind is Kind.REBOOT:
        sites = [pool.sites[outline.site]] if "site" in outline.defaults else pool.sites.values()
        host = max(site.capacity.amount / len(site.members) for site in sites)
        total = sum(site.capacity.amount for site in pool.sites.values())
        return "All sites together carry, with one host less,", total - host
    if pool.switch.weighs and pool.switch.max_weight == ALL_OR_NOTHING:
        alone = (outline.site, outline.to) if len(outline.defaults) > 1 else tuple(pool.sites)
        least = min(alone, key=lambda name: pool.sites[name].capacity.amount)
        return f"{least}, the smallest site that may serve alone, carries", pool.sites[least].capacity.amount
    if "to" in outline.defaults:
        return f"{outline.to} alone carries", pool.sites[outline.to].capacity.amount
    takers = {name: site for name, site in pool.sites.items() if name != outline.site or not outline.defaults}
    least = min(takers, key=lambda name: takers[name].capacity.amount)
    return f"{least}, the smallest site to move to, alone carries", takers[least].capacity.amount
