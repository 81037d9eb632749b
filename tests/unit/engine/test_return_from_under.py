"""A return takes no step from under one that stands and set the same: an undo would go back to what that found."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.actions.action import Action, Effect
from orchestrator.engine.remaining import stand_upon
from orchestrator.model.value import Value
from orchestrator.status import RunStatus, StepStatus

from ..fakes.dials import Dial, Dials, Level
from .scene import Scene, StepText, back, turn


class Valve(Dial):
    """Turns a valve, which other steps may turn too, to a level of its own; it sets ``sets`` outside."""

    def __init__(self, valve: str, to: int, world: Dials, sets: Effect) -> None:
        super().__init__(valve, world)
        self._to = to
        self._sets = sets

    def target(self, observed: Level) -> Level:
        """Its own level."""
        return Level(level=self._to)

    def effect(self, state: Level) -> Effect | None:
        """The same, whichever way it turns."""
        return self._sets


WEIGHT = Effect("smtp", weights={"mx1": 1})


class Pipes(Scene):
    """Steps that turn valves, two of which may be one: by step the valve, its new level, and what it sets."""

    def __init__(
        self, *steps: StepText, valves: Mapping[str, tuple[str, int, Effect]], judge: Mapping[str, str] | None = None
    ) -> None:
        self._valves = valves
        super().__init__(*steps, judge=judge)
        self.world.levels = dict.fromkeys(sorted({valve for valve, _, _ in valves.values()}), 0)
        self.before = dict(self.world.levels)

    def _actions(self) -> dict[str, Action[Value]]:
        turns: dict[str, object] = {
            step: Valve(valve, level, self.world, sets) for step, (valve, level, sets) in self._valves.items()
        }
        return turns  # type: ignore[return-value]  # each action checks its states by its own state class


OUT = (turn("a"), turn("b"))
ONE_VALVE = {"a": ("main", 40, WEIGHT), "b": ("main", 100, WEIGHT)}
WHY = "cannot return a: b was done after it, moved the same and stands — return b first, or undo the run"


def apart(one: Effect, other: Effect) -> dict[str, tuple[str, int, Effect]]:
    """Two valves, and what they set."""
    return {"a": ("main", 40, one), "b": ("side", 100, other)}


def upon(scene: Scene, returned: str) -> list[str]:
    """The steps that stand in the way of a return."""
    return [step.id for step in stand_upon(scene.plan, scene.state, returned, scene._actions())]


def test_nothing_is_touched_and_a_person_is_told() -> None:
    """The return is refused and holds the run; an undo then takes back everything, the last step first."""
    scene = Pipes(*OUT, back("home", "a"), valves=ONE_VALVE)
    writes = [event for event in scene.start().split() if "=" in event]
    assert writes == ["main=20", "main=40", "main=70", "main=100"]
    assert (scene.step("home.a").status, scene.step("home.a").reason) == (StepStatus.REFUSED, WHY)
    assert (scene.status, scene.levels) == (RunStatus.HELD, {"main": 100})
    assert WHY in scene.state.reason
    scene.undo()
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)


def test_the_last_step_is_returned_first() -> None:
    """In its order a return goes all the way."""
    scene = Pipes(*OUT, back("home", "b", "a"), valves=ONE_VALVE)
    scene.start()
    assert (scene.status, scene.levels) == (RunStatus.DONE, scene.before)


def test_a_return_that_was_passed_over_has_returned_nothing() -> None:
    """Where the last step could not be returned and the runbook goes on, the one beneath stays, too."""
    scene = Pipes(
        *OUT,
        back("one", "b", before=["flows"], on_failure="continue"),
        back("two", "a"),
        valves=ONE_VALVE,
        judge={"flows": "fail"},
    )
    assert "main=" not in scene.start().partition("b:done")[2]
    assert (scene.step("two.a").status, scene.step("two.a").reason) == (StepStatus.REFUSED, WHY)
    scene.undo()
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)


def test_a_step_whose_effect_is_gone_is_not_returned_either() -> None:
    """A later step may have turned it all back: to be returned would mean that an undo leaves it as that found it."""
    scene = Pipes(*OUT, back("home", "a"), valves={"a": ("main", 40, WEIGHT), "b": ("main", 0, WEIGHT)})
    scene.start()
    assert scene.step("home.a").status is StepStatus.REFUSED
    scene.undo()
    assert scene.levels == scene.before


def test_what_is_undone_stands_no_longer() -> None:
    """A later step that failed and was taken back is in nobody's way, until it is done anew."""
    fails = turn("b", after=["flows"], on_failure="hold")
    scene = Pipes(turn("a"), fails, valves=ONE_VALVE, judge={"flows": "fail pass"})
    scene.start()
    assert (scene.step("b").status, upon(scene, "a")) == (StepStatus.UNDONE, [])
    scene.start()
    assert (scene.step("b").status, upon(scene, "a")) == (StepStatus.DONE, ["b"])


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (WEIGHT, Effect("smtp", weights={"mx1": 9, "mx2": 9}), True),
        (WEIGHT, Effect("smtp", weights={"mx2": 9}), False),
        (WEIGHT, Effect("quiet", weights={"mx1": 9}), False),
        (WEIGHT, Effect("smtp", admins={"mx1": "drain"}, gates={"mx1": True}), False),
        (Effect("smtp", admins={"mx1": "drain"}), Effect("smtp", admins={"mx1": "ready", "mx2": "ready"}), True),
        (Effect("smtp", admins={"mx1": "drain"}), Effect("quiet", admins={"mx1": "drain"}), False),
        (Effect("smtp", gates={"mx1": True}), Effect("quiet", gates={"mx1": True}), True),
    ],
)
def test_what_overlaps(one: Effect, other: Effect, overlap: bool) -> None:
    """Weights meet weights and admin states meet admin states in one pool; a gate is one for all pools."""
    scene = Pipes(*OUT, valves=apart(one, other))
    scene.start()
    assert (upon(scene, "a"), upon(scene, "b")) == (["b"] if overlap else [], [])
    scene.undo()
    assert upon(scene, "a") == []


def test_a_return_in_doubt_is_converged_again_by_an_undo() -> None:
    """Killed when all was back and not yet said so: what cannot be seen of it is made good, with an intent before."""

    def there_and_back() -> Scene:
        return Pipes(turn("a"), back("home", "a"), valves={"a": ("main", 100, WEIGHT)})

    whole = there_and_back()
    whole.start()
    written = enumerate(whole.journal.written, 1)
    said = next(number for number, one in written if (one.kind, one.step) == ("outcome", "home.a"))
    scene = there_and_back()
    scene.journal.dies_before = said
    scene.start()
    scene.journal.revive()
    assert scene.levels == scene.before
    scene.undo()
    undone = [one.step for one in scene.journal.written if one.kind == "intent" and one.data["direction"] == "undo"]
    assert (scene.status, scene.levels, undone) == (RunStatus.UNDONE, scene.before, ["a"])
