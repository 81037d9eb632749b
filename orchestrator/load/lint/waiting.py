"""The rule that looks for waits that a night watch cannot leave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from orchestrator.load.lint.finding import Found
from orchestrator.load.lint.order import Steps, members
from orchestrator.load.lint.scene import PlacedStep, Scene
from orchestrator.load.node import Place
from orchestrator.load.problems import quote
from orchestrator.model.check import BlastRadiusGuard
from orchestrator.model.runbook import (
    DrainStep,
    HoldStep,
    ManualStep,
    NodeDrainStep,
    ReturnStep,
    ScaleOutStep,
    ShiftStep,
    Step,
    TakeOutStep,
)

_EMPTIES: Final = (DrainStep, TakeOutStep, NodeDrainStep)


def hold_without_way_out(scene: Scene) -> Iterator[Found]:
    """Waits for a person while traffic is away, that nothing else ends; and those with nothing to go on to."""
    watched = any(not isinstance(one.guard, BlastRadiusGuard) for one in scene.guards)
    for one in scene.steps:
        away = scene.away(one.number) if waits_for_a_person(one.step) else 0
        if away and not watched and not ends_by_itself(one.step):
            yield _unwatched(scene, one, away)
        if away and isinstance(one.step, HoldStep) and one.step.with_.until == "approval":
            yield from _nothing_after(scene, one, away)


def waits_for_a_person(step: Step) -> bool:
    """Whether it goes on only when a person says so."""
    return _asks_while_it_works(step) or step.approval is not None


def _asks_while_it_works(step: Step) -> bool:
    return isinstance(step, ManualStep) or (isinstance(step, HoldStep) and step.with_.until == "approval")


def ends_by_itself(step: Step) -> bool:
    """A timeout ends a wait, unless the run is then held for the same person; an approval beforehand has none."""
    return _asks_while_it_works(step) and step.timeout is not None and step.on_failure != "hold"


def _unwatched(scene: Scene, one: PlacedStep, away: Steps) -> Found:
    last = scene.steps[max(members(away))].step.id
    message = (
        f"{one.what} waits for a person while what {quote(last)} moved is away: it has no timeout and the runbook no "
        "guard that watches, so that nothing ends it when things go wrong"
    )
    return Found(place_of_wait(one), one.step.id, message, "add a guard such as 'headroom', or give it a 'timeout'")


def _nothing_after(scene: Scene, one: PlacedStep, away: Steps) -> Iterator[Found]:
    """A drained site that nobody brings back: who approves expects that something happens."""
    drained = [number for number in members(away) if isinstance(scene.steps[number].step, _EMPTIES)]
    if not drained or any(_acts(scene.steps[number].step) for number in members(scene.order.after[one.number])):
        return
    drain = scene.steps[drained[-1]].step.id
    message = (
        f"{one.what} leads nowhere: what {quote(drain)} emptied stays empty after the approval, as nothing comes after"
    )
    yield Found(place_of_wait(one), one.step.id, message, "add a 'return' after it, or take it out")


def _acts(step: Step) -> bool:
    return isinstance(step, (ReturnStep, ShiftStep, ScaleOutStep, ManualStep, *_EMPTIES))


def place_of_wait(one: PlacedStep) -> Place:
    """Where the file says that a step waits."""
    return one.place("with", "until") if isinstance(one.step, HoldStep) else one.place("id")
