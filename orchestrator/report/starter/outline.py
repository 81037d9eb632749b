"""What a runbook is to move, and where: what can be chosen, what is chosen for who does not say, what cannot be."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from orchestrator.errors import RefusedError
from orchestrator.load.problems import listed, meant, quote
from orchestrator.model.inventory import Inventory, Pool
from orchestrator.model.runbook import NAME
from orchestrator.model.switch import AnySwitch, ArcZonalShiftSwitch
from orchestrator.model.units import format_duration, parse_duration
from orchestrator.report.starter.kind import SHORTEST, WINDOWS, Kind

_EMPTY_INSTEAD: Final = "empty the whole site with --kind maintenance"


@dataclass(frozen=True, slots=True)
class Outline:
    """What the runbook is to do."""

    kind: Kind
    name: str
    pool: str
    site: str
    """The site that is emptied; of a reboot the host's."""
    to: str
    """The site that takes its traffic; empty for a reboot."""
    window: float
    """Seconds."""
    approval: int
    """People who must say yes before anything moves."""
    defaults: frozenset[str] = frozenset()
    """Of ``site`` and ``to`` those that are chosen for good, and so stand in the file."""


def checked_name(name: str) -> str:
    """The name itself.

    Raises:
        RefusedError: no runbook can be called so.
    """
    if not re.fullmatch(NAME, name):
        remedy = "use small letters, digits and hyphens, as in move-ord-out"
        raise RefusedError(f"cannot call a runbook {quote(name)}: it is no name in this language", remedy=remedy)
    return name


def longest_window(kind: Kind, switch: AnySwitch) -> float:
    """Seconds after which what the runbook has done would end by itself; endless where nothing does, or may."""
    if kind is Kind.MAINTENANCE and isinstance(switch, ArcZonalShiftSwitch):
        return switch.expires
    return math.inf


def likely_window(kind: Kind, switch: AnySwitch) -> float:
    """The window in seconds where nobody says."""
    return min(WINDOWS[kind], longest_window(kind, switch))


def checked_window(kind: Kind, text: str, longest: float = math.inf) -> float:
    """The window in seconds; ``longest`` is what the switch allows.

    Raises:
        RefusedError: it is no duration, too short for what is to be done in it, or too long.
    """
    try:
        window = parse_duration(text)
    except ValueError as error:
        why, _, remedy = str(error).partition(": ")
        raise RefusedError(f"cannot use --window: {why}", remedy=remedy) from None
    if window < SHORTEST[kind]:
        least = format_duration(SHORTEST[kind])
        why = f"{format_duration(window)} is too short for its own deadlines and checks"
        raise RefusedError(f"cannot use --window: {why}", remedy=f"give a runbook of this kind {least} at least")
    if window > longest:
        most = format_duration(longest)
        why = f"AWS ends the zonal shift after {most}, and {format_duration(window)} is longer"
        remedy = f"give {most} at most, or raise 'expires' of the switch in the inventory"
        raise RefusedError(f"cannot use --window: {why}", remedy=remedy)
    return window


def pools_for(kind: Kind, inventory: Inventory) -> Sequence[str]:
    """The pools for which such a runbook can be written.

    Raises:
        RefusedError: there is none.
    """
    obstacles = {name: _obstacle(kind, pool) for name, pool in inventory.pools.items()}
    found = [name for name, obstacle in obstacles.items() if obstacle is None]
    if found:
        return found
    for name, pool in inventory.pools.items():
        if (obstacle := _of_its_kind(kind, pool.switch)) is not None:
            message = f"cannot write a runbook of kind {kind} for pool {quote(name)}: {obstacle.why}"
            raise RefusedError(message, remedy=obstacle.remedy)
    if kind is Kind.REBOOT:
        raise RefusedError(
            "cannot write a reboot runbook: no pool has a second host that would serve meanwhile",
            remedy="add a member to a pool in the inventory",
        )
    raise RefusedError(
        f"cannot write a runbook of kind {kind}: there is nothing to move to, as each pool stands at one site only",
        remedy="add a second site to a pool in the inventory, or use --kind reboot, which stays at the site",
    )


class _Obstacle(NamedTuple):
    """What stands against a kind of runbook for a pool."""

    why: str
    remedy: str


def _obstacle(kind: Kind, pool: Pool) -> _Obstacle | None:
    if kind is not Kind.REBOOT and len(pool.sites) < 2:
        why = f"it stands at {quote(next(iter(pool.sites)))} only"
        return _Obstacle(why, "add a second site to it, use --kind reboot")
    if kind is Kind.REBOOT and sum(len(site.members) for site in pool.sites.values()) < 2:
        return _Obstacle("it has one host only", "add a host to it")
    return _of_its_kind(kind, pool.switch)


def _of_its_kind(kind: Kind, switch: AnySwitch) -> _Obstacle | None:
    """What the kind of switch cannot do."""
    what = f"a switch of kind {quote(switch.driver)}"
    if kind is Kind.TRIAL and not switch.weighs:
        return _Obstacle(f"{what} has no weights, so that nothing can be tried on another site", _EMPTY_INSTEAD)
    if kind is Kind.REBOOT and isinstance(switch, ArcZonalShiftSwitch):
        return _Obstacle(f"a member of {what} is a whole zone, and no host", _EMPTY_INSTEAD)
    if kind is Kind.REBOOT and "drain" not in switch.admins:
        return _Obstacle(f"{what} cannot take a host out: its members have weights only", _EMPTY_INSTEAD)
    if longest_window(kind, switch) < SHORTEST[kind]:
        why = f"AWS ends its zonal shift after {format_duration(longest_window(kind, switch))}, before all is done"
        return _Obstacle(why, "raise 'expires' of the switch in the inventory")
    return None


def checked_pool(kind: Kind, inventory: Inventory, name: str) -> str:
    """The pool itself.

    Raises:
        RefusedError: there is no such pool, or nothing of this kind can be done with it.
    """
    if name not in inventory.pools:
        remedy = meant(name, inventory.pools, "pools")
        raise RefusedError(f"cannot use --pool: there is no pool {quote(name)}", remedy=remedy)
    obstacle = _obstacle(kind, inventory.pools[name])
    if obstacle is not None:
        message = f"cannot write a runbook of kind {kind} for pool {quote(name)}: {obstacle.why}"
        raise RefusedError(message, remedy=f"{obstacle.remedy}, or name another --pool")
    return name


def site_choices(inventory: Inventory, pool: str, to: str | None) -> Sequence[str]:
    """The sites that can be emptied, the likeliest first: one on which nothing rests, and that can be drained."""
    sites = inventory.pools[pool].sites
    needed = {inventory.pools[pool].switch.site, inventory.control.site}

    def stands_against(site: str) -> tuple[bool, bool]:
        return site in needed, any(inventory.host(member).gate is None for member in sites[site].members)

    return sorted((site for site in sites if site != to), key=stands_against)


def destinations(inventory: Inventory, pool: str, site: str) -> Sequence[str]:
    """The sites that can take what ``site`` has, the one that carries most first."""
    sites = inventory.pools[pool].sites
    return sorted((name for name in sites if name != site), key=lambda name: -sites[name].capacity.amount)


def checked_site(inventory: Inventory, pool: str, flag: str, name: str) -> str:
    """The site itself.

    Raises:
        RefusedError: the pool is not there.
    """
    sites = inventory.pools[pool].sites
    if name in sites:
        return name
    if name in inventory.sites:
        message = f"cannot use {flag}: pool {quote(pool)} is not at site {quote(name)}"
        raise RefusedError(message, remedy=f"it is at {listed(sites)}")
    raise RefusedError(f"cannot use {flag}: there is no site {quote(name)}", remedy=meant(name, sites, "sites"))


def check_flags(kind: Kind, site: str | None, to: str | None) -> None:
    """See that the sites go with each other and with the kind.

    Raises:
        RefusedError: they do not.
    """
    if kind is Kind.REBOOT and to is not None:
        raise RefusedError("cannot use --to for a reboot: nothing moves to another site", remedy="leave it out")
    if site is not None and site == to:
        message = f"cannot move traffic from {quote(site)} to {quote(site)}"
        raise RefusedError(f"{message}: --site and --to are the same", remedy="name two sites")


def checked_approval(text: str) -> int:
    """So many people.

    Raises:
        RefusedError: it is no number from 0 to 9.
    """
    if not re.fullmatch("[0-9]", text):
        raise RefusedError(f"cannot ask {quote(text)} people", remedy="write a number from 0 to 9")
    return int(text)


def host_of(outline: Outline, inventory: Inventory) -> str:
    """A host to show a reboot with: one that can be drained, where there is any."""
    members = inventory.pools[outline.pool].members(outline.site)
    return next((name for name in members if inventory.host(name).gate is not None), members[0])
