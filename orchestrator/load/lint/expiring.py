"""The rule that looks for waits which a zonal shift may not outlast: when it expires, its zone takes traffic again."""

from __future__ import annotations

import math
from collections.abc import Iterator

from orchestrator.load.lint.finding import Found
from orchestrator.load.lint.order import members
from orchestrator.load.lint.scene import PlacedStep, Scene
from orchestrator.load.lint.waiting import ends_by_itself, place_of_wait, waits_for_a_person
from orchestrator.load.problems import quote
from orchestrator.model.runbook import HoldStep, Step, TakeOutStep
from orchestrator.model.switch import ArcZonalShiftSwitch
from orchestrator.model.units import format_duration


def expiring_shift(scene: Scene) -> Iterator[Found]:
    """Waits while a zone is shifted away from, that may be longer than the shift lasts."""
    expires = _expires(scene)
    zones = sum(1 << number for number in expires)
    for one in scene.steps if expires else ():
        away = scene.away(one.number) & zones
        longest = _waits_for(scene, one.step) if away else 0.0
        first = min(members(away), key=expires.__getitem__, default=None)
        if first is not None and longest > expires[first]:
            yield _found(one, scene.steps[first], longest, expires[first])


def _expires(scene: Scene) -> dict[int, float]:
    """Seconds after which what each step has taken out comes back by itself; only steps of which that is so."""
    found: dict[int, float] = {}
    for one in scene.steps:
        switch = scene.inventory.pools[one.step.with_.pool].switch if isinstance(one.step, TakeOutStep) else None
        if isinstance(switch, ArcZonalShiftSwitch):
            found[one.number] = switch.expires
    return found


def _waits_for(scene: Scene, step: Step) -> float:
    """Seconds that a step may wait, as far as the runbook says: its window is for all of them together."""
    until = step.with_.until if isinstance(step, HoldStep) else 0.0
    timed = 0.0 if until == "approval" else float(until)
    if not waits_for_a_person(step):
        return timed
    limit = step.timeout if step.timeout is not None and ends_by_itself(step) else math.inf
    return max(timed, min(limit, math.inf if scene.runbook.window is None else scene.runbook.window))


def _found(one: PlacedStep, out: PlacedStep, longest: float, expires: float) -> Found:
    waits = "for a person without an end" if longest == math.inf else f"up to {format_duration(longest)}"
    ends = format_duration(expires)
    message = (
        f"{one.what} waits {waits} while the zone that {quote(out.step.id)} took out is away: AWS ends its shift after "
        f"{ends}, and sends clients there again"
    )
    remedy = f"give it a 'timeout' or the runbook a 'window' of {ends} at most, or raise 'expires' in the inventory"
    return Found(place_of_wait(one), one.step.id, message, remedy)
