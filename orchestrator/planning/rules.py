"""The rules by which a dangerous plan refuses itself: how it stands at each waypoint, against what must hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from orchestrator.actions.traffic import COARSE
from orchestrator.model.check import BlastRadiusGuard, Guard, HeadroomGuard, ServingGuard
from orchestrator.model.plan import PlanRule, Refusal
from orchestrator.model.units import Quantity, format_fraction
from orchestrator.planning.standing import Standing

COVERED: Final = 1.0
"""The headroom that every pool needs, where no guard asks for more: its demand is covered."""

FULL: Final = COVERED + COARSE
"""Of what one site carries, that may be sent to it: all of it, and what the rounding of weights explains."""

NOW: Final = "now: "
"""How a line begins that says what is amiss before the first step."""

_REMEDIES: Final[Mapping[PlanRule, str]] = {
    "headroom": "move less, add capacity, or wait until less is asked for",
    "serving": "keep another site in service",
    "blast-radius": "go there by more waypoints",
}


_AT_ONCE: Final = "lower the guard, which would stop the run at once, or set it aside"


@dataclass(frozen=True, slots=True)
class Move:
    """What one waypoint of a step does to a pool."""

    step: str
    label: str
    start: Standing
    """Before the step."""
    before: Standing
    """Just before this waypoint."""
    after: Standing


@dataclass(slots=True)
class Limits:
    """What guards ask for, by pool; the strictest of several counts."""

    headroom: dict[str, float] = field(default_factory=dict)
    serving: dict[str, int] = field(default_factory=dict)
    at_once: dict[str, float] = field(default_factory=dict)
    """The largest share of new traffic that one waypoint may move."""

    @classmethod
    def of(cls, guards: Iterable[Guard]) -> Limits:
        """The limits that these guards state."""
        found = cls()
        for guard in guards:
            if isinstance(guard, HeadroomGuard):
                pool, least = guard.headroom.pool, guard.headroom.at_least
                found.headroom[pool] = max(least, found.headroom.get(pool, 0.0))
            elif isinstance(guard, ServingGuard):
                pool, sites = guard.serving.pool, guard.serving.at_least
                found.serving[pool] = max(sites, found.serving.get(pool, 1))
            elif isinstance(guard, BlastRadiusGuard):
                pool, most = guard.blast_radius.pool, guard.blast_radius.at_most
                found.at_once[pool] = min(most, found.at_once.get(pool, 1.0))
        return found


def broken(
    limits: Limits,
    now: Mapping[str, Standing],
    unknown: Mapping[str, str],
    moves: Sequence[Move],
    in_use: Sequence[str],
) -> list[Refusal]:
    """Every rule that is broken: at most once for each step, at its worst waypoint.

    ``now`` is how each pool stands before the first step, ``unknown`` why no balance can be struck for one. A step
    answers for what it makes worse, not for what it finds. What a guard finds broken refuses too: the run would undo
    itself at once.
    """
    found = [Refusal(rule="in-use", step="", reason=line) for line in in_use]
    for pool, standing in now.items():
        if pool in limits.headroom and pool in unknown:
            reason = f"headroom of {pool} cannot be known: {unknown[pool]}"
            found.append(Refusal(rule="headroom", step="", pool=pool, reason=reason))
        found += _guarded_now(limits, standing)
    by_step: dict[str, list[Move]] = {}
    for move in moves:
        by_step.setdefault(move.step, []).append(move)
    for its_moves in by_step.values():
        found += _of_step(limits, its_moves)
    return found


def amiss(limits: Limits, now: Mapping[str, Standing], moves: Sequence[Move]) -> list[str]:
    """What is too little before the first step although no guard says so, of the pools that the plan moves."""
    concerned = {move.after.pool for move in moves}
    return [f"{NOW}{line}" for pool in now if pool in concerned for line in _unguarded_now(limits, now[pool])]


def _guarded_now(limits: Limits, standing: Standing) -> Iterator[Refusal]:
    if standing.pool in limits.headroom and _is_short(limits, standing):
        yield _short("", "now ", limits, standing).model_copy(update={"remedy": _AT_ONCE})
    if standing.pool in limits.serving and _is_dark(limits, standing):
        yield _dark("", "now ", limits, standing).model_copy(update={"remedy": _AT_ONCE})


def _unguarded_now(limits: Limits, standing: Standing) -> Iterator[str]:
    if standing.pool not in limits.headroom and _is_short(limits, standing):
        yield _headroom(limits, standing)
    elif _covers(standing) >= COVERED:
        yield from (_overload(standing, site) for site in standing.shares if standing.load(site) > FULL)
    if standing.pool not in limits.serving and _is_dark(limits, standing):
        yield _serving(limits, standing)


def _of_step(limits: Limits, moves: Sequence[Move]) -> Iterator[Refusal]:
    short = [move for move in moves if _is_short(limits, move.after) and _covers(move.after) < _covers(move.start)]
    if short:
        worst = min(short, key=lambda move: _covers(move.after))
        yield _short(worst.step, _at(worst), limits, worst.after)
    yield from _overloaded(moves)
    dark = [move for move in moves if _is_dark(limits, move.after) and _sites(move.after) < _sites(move.start)]
    if dark:
        worst = min(dark, key=lambda move: _sites(move.after))
        yield _dark(worst.step, _at(worst), limits, worst.after)
    fast = [move for move in moves if _is_fast(limits, move)]
    if fast:
        worst = max(fast, key=_moved)
        pool = worst.after.pool
        yield _refusal("blast-radius", worst.step, pool, _moved(worst), _at(worst) + _blast(limits, worst))


def _overloaded(moves: Sequence[Move]) -> Iterator[Refusal]:
    """The site that a step overloads most, though all sites together have room; where they have none that is said."""
    if any(_covers(move.after) < COVERED for move in moves):
        return
    over = [
        (move, site)
        for move in moves
        for site in move.after.shares
        if move.after.load(site) > max(FULL, move.start.load(site))
    ]
    if over:
        worst, site = max(over, key=lambda one: one[0].after.load(one[1]))
        standing = worst.after
        reason = _at(worst) + _overload(standing, site)
        yield _refusal("headroom", worst.step, standing.pool, standing.headroom, reason)


def _short(step: str, where: str, limits: Limits, standing: Standing) -> Refusal:
    return _refusal("headroom", step, standing.pool, standing.headroom, where + _headroom(limits, standing))


def _dark(step: str, where: str, limits: Limits, standing: Standing) -> Refusal:
    return _refusal("serving", step, standing.pool, float(_sites(standing)), where + _serving(limits, standing))


def _refusal(rule: PlanRule, step: str, pool: str, found: float | None, reason: str) -> Refusal:
    return Refusal(rule=rule, step=step, pool=pool, found=found, reason=reason, remedy=_REMEDIES[rule])


def _at(move: Move) -> str:
    return f"at {move.label} " if move.label else ""


def _covers(standing: Standing) -> float:
    return math.inf if standing.headroom is None else standing.headroom


def _sites(standing: Standing) -> int:
    return len(standing.serving)


def _moved(move: Move) -> float:
    return move.after.moved_from(move.before)


def _is_short(limits: Limits, standing: Standing) -> bool:
    return _covers(standing) < limits.headroom.get(standing.pool, COVERED)


def _is_dark(limits: Limits, standing: Standing) -> bool:
    return _sites(standing) < limits.serving.get(standing.pool, 1)


def _is_fast(limits: Limits, move: Move) -> bool:
    """Whether it moves more than is allowed, and more than the rounding of weights explains."""
    return _moved(move) > limits.at_once.get(move.after.pool, 1.0) + COARSE


def _headroom(limits: Limits, standing: Standing) -> str:
    assert standing.balance is not None, "headroom that is not known is never too low"
    wanted = limits.headroom.get(standing.pool, COVERED)
    shown = math.floor(_covers(standing) * 100) / 100  # never rounded up to what is wanted
    balance = standing.balance
    return (
        f"headroom of {standing.pool} is {shown:.2f}, {wanted:g} wanted: "
        f"{balance.capacity} serve, demand {balance.demand}"
    )


def _overload(standing: Standing, site: str) -> str:
    assert standing.balance is not None, "a load that is not known is never too much"
    demand = standing.balance.demand
    share = f"{math.floor(standing.shares[site] * 1000) / 10:g}%"
    carries = Quantity(amount=standing.carries[site], unit=demand.unit)
    return f"{site} gets {share} of {standing.pool}'s demand of {demand} and carries {carries}"


def _serving(limits: Limits, standing: Standing) -> str:
    wanted, sites = limits.serving.get(standing.pool, 1), ", ".join(standing.serving)
    of = f"{_sites(standing)} of {len(standing.shares)} sites"
    return f"{standing.pool} serves from {of}{f' ({sites})' if sites else ''}, {wanted} wanted"


def _blast(limits: Limits, move: Move) -> str:
    pool = move.after.pool
    moved, allowed = (format_fraction(round(share, 3)) for share in (_moved(move), limits.at_once[pool]))
    return f"{moved} of {pool}'s new traffic moves at once, {allowed} allowed"
