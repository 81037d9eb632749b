"""Rules that look at single steps: a way back, a check, a deadline, a pace."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from orchestrator.load.lint.finding import Found
from orchestrator.load.lint.scene import PlacedStep, Scene
from orchestrator.load.problems import quote
from orchestrator.model.check import BlastRadiusGuard
from orchestrator.model.runbook import DrainStep, ManualStep, NodeDrainStep, ReturnStep, ShiftStep, Step, TakeOutStep
from orchestrator.model.units import format_fraction

_ROUNDING: Final = 1e-9
"""Of waypoints in binary: 90% - 60% is a little more than 30%."""


def no_plan_b(scene: Scene) -> Iterator[Found]:
    """Steps that cannot be undone, for which nothing else is said. In a plan B nothing is undone any more."""
    for one in scene.steps:
        if not _can_be_undone(one.step) and not one.step.plan_b:
            message = f"{one.what} cannot be undone, and has no plan B"
            yield Found(one.place("id"), one.step.id, message, "write its 'undo', or a 'plan_b' to do instead")


def _can_be_undone(step: Step) -> bool:
    return not isinstance(step, ManualStep) or step.with_.undo is not None


def shift_without_check(scene: Scene) -> Iterator[Found]:
    """Steps that move traffic and do not look what became of it, out or back."""
    for one in scene.every_step:
        if not one.step.after and _shifts(scene, one.step):
            message = f"{one.what} moves traffic, and no check looks at its waypoints"
            remedy = "name one in 'after' that sees what clients see: at every waypoint it is asked"
            yield Found(one.place("id"), one.step.id, message, remedy)


def _shifts(scene: Scene, step: Step) -> bool:
    if isinstance(step, ReturnStep):
        return any(isinstance(scene.step_named[name].step, ShiftStep) for name in step.steps)
    return isinstance(step, ShiftStep)


def drain_without_deadline(scene: Scene) -> Iterator[Found]:
    """Drains that one client, or one budget, can keep waiting for ever."""
    for one in scene.every_step:
        step = one.step
        if not isinstance(step, DrainStep | TakeOutStep | NodeDrainStep):
            continue
        if step.with_.deadline is None and step.timeout is None:
            message = f"{one.what} has no deadline: one {_who_holds(step)} holds it for ever"
            yield Found(one.place("id"), step.id, message, "give it a 'deadline', or a 'timeout'")


def _who_holds(step: Step) -> str:
    if isinstance(step, NodeDrainStep):
        return "PodDisruptionBudget that never allows an eviction"
    return "client that never pauses"


def ramp_too_steep(scene: Scene) -> Iterator[Found]:
    """Waypoints that may move more of a pool's traffic at once than its guard allows."""
    allowed: dict[str, float] = {}
    for guard in (placed.guard for placed in scene.guards):
        if isinstance(guard, BlastRadiusGuard):
            pool, share = guard.blast_radius.pool, guard.blast_radius.at_most
            allowed[pool] = min(share, allowed.get(pool, 1.0))
    for one in scene.every_step:
        if isinstance(one.step, ShiftStep) and one.step.with_.pool in allowed:
            yield from _too_steep(one, one.step, allowed[one.step.with_.pool])


def _too_steep(one: PlacedStep, step: ShiftStep, allowed: float) -> Iterator[Found]:
    most = format_fraction(allowed)
    for index, (before, share) in enumerate(pairwise((0.0, *step.with_.by))):
        jump = share - before
        if jump > allowed + _ROUNDING:
            message = (
                f"{one.what} moves up to {format_fraction(jump)} of the new traffic at once, on the way to "
                f"{format_fraction(share)}, and the guard of pool {quote(step.with_.pool)} allows {most}"
            )
            remedy = f"let no waypoint of 'by' rise by more than {most}"
            yield Found(one.place("with", "by", index), step.id, message, remedy)
