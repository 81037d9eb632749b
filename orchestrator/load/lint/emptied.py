"""The rule that nothing may depend on the site which a runbook empties: neither failover itself nor what it works with.

A site is emptied from the first shift away from it, whose drain follows, until it is returned::

      escape ─ shift ─ drain ─ window ─ back ─ done
               ╰──────── emptied ─────────╯

A drain of a single host empties its site where the traffic has been shifted away before, and where all the other
members may be drained at the same time. One host after the other, each brought back before the next, empties nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

from orchestrator.load.lint.finding import Found
from orchestrator.load.lint.order import Steps, members
from orchestrator.load.lint.scene import PlacedGuard, PlacedStep, Scene
from orchestrator.load.locations import Locations
from orchestrator.load.node import Place, has, place_of
from orchestrator.load.problems import quote
from orchestrator.model.check import CheckGuard, HeadroomGuard, ServingGuard, SessionsCheck, SmtpCheck
from orchestrator.model.inventory import Pool
from orchestrator.model.runbook import (
    DrainArguments,
    DrainStep,
    ReturnStep,
    ShiftStep,
    TakeOutArguments,
    TakeOutStep,
    VerifyStep,
)


@dataclass(frozen=True, slots=True)
class _Emptying:
    """One site, and when it is empty."""

    site: str
    drain: PlacedStep
    """The first step that empties it."""
    during: Steps
    """What may be done while it is."""

    def __str__(self) -> str:
        return f"{quote(self.site)}, which {quote(self.drain.step.id)} empties"


@dataclass(frozen=True, slots=True)
class _Use:
    """Who needs something while a site is empty."""

    what: str
    at: str
    place: Place


def depends_on_emptied_site(scene: Scene) -> Iterator[Found]:
    """What stands at an emptied site, as far as the inventory says, and is needed while it is empty."""
    locations = Locations(scene.inventory)
    for emptying in _emptyings(scene):
        yield from _control(scene, emptying)
        yield from _switches(scene, emptying, locations)
        yield from _probes(scene, emptying, locations)


def _emptyings(scene: Scene) -> list[_Emptying]:
    """Every site that is emptied."""
    moves = _Moves(scene)
    found: dict[str, _Emptying] = {}
    for one in scene.steps:
        if not isinstance(one.step, DrainStep | TakeOutStep):
            continue
        site = _site_of(scene, one.step.with_)
        way_out = moves.way_out(one.number, one.step.with_, site)
        if not way_out:
            continue
        during = _during(scene, way_out)
        first = found.get(site)
        found[site] = _Emptying(site, first.drain, first.during | during) if first else _Emptying(site, one, during)
    return list(found.values())


def _site_of(scene: Scene, drain: DrainArguments | TakeOutArguments) -> str:
    """The site that is drained, or that of the host."""
    if drain.site is not None:
        return drain.site
    return scene.inventory.pools[drain.pool].site_of(drain.host or "") or ""


class _Moves:
    """Which steps take traffic away from where."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._shifts: dict[tuple[str, str], Steps] = {}
        """By pool and site."""
        self._drains: dict[tuple[str, str], Steps] = {}
        """Those of single hosts, by pool and host."""
        for one in scene.steps:
            if isinstance(one.step, ShiftStep):
                _note(self._shifts, one.step.with_.pool, one.step.with_.from_, one.number)
            elif isinstance(one.step, DrainStep | TakeOutStep) and one.step.with_.host is not None:
                _note(self._drains, one.step.with_.pool, one.step.with_.host, one.number)

    def way_out(self, number: int, drain: DrainArguments | TakeOutArguments, site: str) -> Steps:
        """The steps that empty the site of a drain; none where it empties a host of it only."""
        shifts = self._scene.away(number) & self._shifts.get((drain.pool, site), 0)
        if drain.host is None or shifts:
            return shifts | 1 << number
        at_once = self._scene.may_be_away(number)
        members_of_site = self._scene.inventory.pools[drain.pool].members(site)
        drains = [self._drains.get((drain.pool, member), 0) & at_once for member in members_of_site]
        return reduce(or_, drains) if all(drains) else 0


def _note(by_place: dict[tuple[str, str], Steps], pool: str, place: str, number: int) -> None:
    by_place[pool, place] = by_place.get((pool, place), 0) | 1 << number


def _during(scene: Scene, way_out: Steps) -> Steps:
    """All steps but those that are done before any of ``way_out`` begins, or begin when some of it is brought back."""
    order = scene.order
    before = reduce(and_, (order.before[number] for number in members(way_out)))
    ends = reduce(or_, (scene.returned_by.get(number, 0) for number in members(way_out)))
    after = reduce(or_, (order.after[number] for number in members(ends)), 0)
    return order.all & ~before & ~after


def _control(scene: Scene, emptying: _Emptying) -> Iterator[Found]:
    if scene.inventory.control.site == emptying.site:
        drain = emptying.drain
        message = (
            f"{drain.what} empties {quote(emptying.site)}, where failover itself stands with its journal: "
            "when the site goes, nobody brings it back"
        )
        remedy = "run it from another site, and say in 'control' of the inventory where that is"
        which = "host" if has(drain.node, "with", "host") else "site"
        yield Found(drain.place("with", which), drain.step.id, message, remedy)


def _switches(scene: Scene, emptying: _Emptying, locations: Locations) -> Iterator[Found]:
    users = _users_of_switches(scene, emptying)
    for name, use in users.items():
        why = _stands_there(scene.inventory.pools[name], emptying.site, locations)
        if why:
            message = f"{use.what} needs the switch of pool {quote(name)}, and {why} {emptying}"
            yield Found(use.place, use.at, message, "use a switch that stands at another site")


def _stands_there(pool: Pool, site: str, locations: Locations) -> str:
    """Why the switch of a pool counts as standing at ``site``; empty where it does not."""
    if pool.switch.site == site:
        return "that stands at"
    for words, address in (
        *pool.switch.paths,
        ("the address of its clients", pool.address),
    ):
        standing = locations.of(address)
        if standing is not None and standing.site == site:
            return f"{words} {address} is in {standing.network} at"
    return ""


def _users_of_switches(scene: Scene, emptying: _Emptying) -> Mapping[str, _Use]:
    """By pool who first needs its switch while the site is empty."""
    users: dict[str, _Use] = {}
    for one in _steps_during(scene, emptying):
        for pool in _pools_of(scene, one):
            users.setdefault(pool, _use_of(one))
    for guard in scene.guards:
        pool_of_guard = _pool_of_guard(guard)
        if pool_of_guard is not None:
            users.setdefault(pool_of_guard, _Use(guard.what, guard.name, guard.node.place))
    for check, use in _checks_during(scene, emptying).items():
        found = scene.runbook.checks[check]
        if isinstance(found, SessionsCheck):
            users.setdefault(found.at.pool, use)
    return users


def _steps_during(scene: Scene, emptying: _Emptying) -> Iterator[PlacedStep]:
    for one in scene.every_step:
        if emptying.during >> one.number & 1:
            yield one


def _pools_of(scene: Scene, one: PlacedStep) -> Iterator[str]:
    """The pools whose switch a step works with."""
    if isinstance(one.step, ShiftStep | DrainStep | TakeOutStep):
        yield one.step.with_.pool
    elif isinstance(one.step, ReturnStep):
        for name in one.step.steps:
            yield from _pools_of(scene, scene.step_named[name])


def _pool_of_guard(guard: PlacedGuard) -> str | None:
    if isinstance(guard.guard, HeadroomGuard):
        return guard.guard.headroom.pool
    return guard.guard.serving.pool if isinstance(guard.guard, ServingGuard) else None


def _use_of(one: PlacedStep) -> _Use:
    return _Use(one.what, one.step.id, one.place("id"))


def _checks_during(scene: Scene, emptying: _Emptying) -> dict[str, _Use]:
    """The checks that are asked while the site is empty, by guards or steps; after a return it is so no more."""
    asked: dict[str, None] = {}
    for one in scene.guards:
        if isinstance(one.guard, CheckGuard):
            asked[one.guard.check] = None
    for step in (one.step for one in _steps_during(scene, emptying)):
        asked |= dict.fromkeys(step.before)
        asked |= dict.fromkeys(() if isinstance(step, ReturnStep) else step.after)
        asked |= dict.fromkeys(step.checks if isinstance(step, VerifyStep) else ())
    return {name: _Use(f"check {quote(name)}", name, scene.checks[name][0]) for name in asked}


def _probes(scene: Scene, emptying: _Emptying, locations: Locations) -> Iterator[Found]:
    """Probes that come from the emptied site, or get to another one only through it."""
    for name, use in _checks_during(scene, emptying).items():
        check, node = scene.runbook.checks[name], scene.checks[name][1]
        for index, source in enumerate(check.with_.sources if isinstance(check, SmtpCheck) else ()):
            standing = locations.of(source)
            if standing is not None and standing.site == emptying.site:
                message = f"{use.what} probes from {source}, which is in {standing.network} at {emptying}"
                place = place_of(node, "with", "sources", index)
                yield Found(place, name, message, "probe from an address at another site")
        site = check.at.site
        if isinstance(check, SessionsCheck) or site is None or site == emptying.site:
            continue
        address = scene.inventory.pools[check.at.pool].sites[site].address
        standing = locations.of(address)
        if standing is not None and standing.site == emptying.site:
            message = f"{use.what} gets to {quote(site)} over {address}, which is in {standing.network} at {emptying}"
            yield Found(place_of(node, "at", "site"), name, message, f"give {quote(site)} a path of its own")
