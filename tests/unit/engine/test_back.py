"""The way back: undo, and the parts of a return."""

from __future__ import annotations

from itertools import pairwise

import pytest

from orchestrator.engine.steps import UNDO_PAUSE
from orchestrator.status import RunStatus, StepStatus

from .scene import Scene, back, deeds, hold, turn

OUT = (turn("shift"), turn("drain"))
ROUND = (*OUT, back("back", "drain", "shift", after=["flows"]))


def test_undo_goes_backwards() -> None:
    """A run that is done can be undone: the last step first, each behind the health of who gets traffic."""
    scene = Scene(*OUT, levels={"shift": 5})
    scene.start()
    assert scene.undo() == (
        "run:undoing drain:undoing drain-here?pass drain=50 drain=0 drain:undone "
        "shift:undoing shift-here?pass shift=52 shift=5 shift:undone run:undone"
    )


def test_undo_of_steps_that_began_in_the_same_instant() -> None:
    """The order of an undo is that of the journal, not of a clock that may stand still or go back."""
    scene = Scene(turn("one"), turn("two"), turn("three"))
    scene.clock.now = lambda: 0.0  # type: ignore[method-assign]
    scene.start()
    assert deeds(scene.undo()).startswith("run:undoing three-here?pass three=50 three=0 two-here?pass")


def test_an_undo_waits_for_a_healthy_site() -> None:
    """Traffic does not go back to a site that does not answer; it is asked again, and goes back when it does."""
    scene = Scene(turn("shift"), judge={"shift-here": "fail unknown pass"})
    scene.start()
    assert deeds(scene.undo()) == (
        "run:undoing shift-here?fail shift-here?unknown shift-here?pass shift=50 shift=0 run:undone"
    )
    undoing = [one.at for one in scene.journal.written if one.data.get("status") == "undoing" and one.step]
    assert [later - sooner for sooner, later in pairwise(undoing)] == [UNDO_PAUSE + 1] * 2


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("rejects", "cannot turn shift: no"),
        ("breaks", "a bug in traffic.shift: RuntimeError: off by one"),
        ("slips", "the change did not hold, still to do: shift: 100 → 0"),
        ("gone", "cannot read shift: no answer"),
    ],
)
def test_an_undo_that_fails_three_times_is_stuck(trouble: str, reason: str) -> None:
    """What cannot be undone is tried three times; then a person is told at what, and why the run was undone."""
    scene = Scene(turn("shift"), turn("drain", after=["flows"]), judge={"flows": "fail"})

    def break_it() -> None:
        scene.world.trouble["shift"] = trouble

    events = scene.start(after={5.5: break_it})
    assert events.count("shift:undoing") == 3
    assert events.endswith("shift:stuck run:stuck")
    assert scene.levels == {"shift": 100, "drain": 0}
    assert scene.state.reason == (
        f"shift could not be undone: {reason}; "
        "the run was to be undone because: drain: flows failed: the script says fail"
    )


def test_a_stuck_undo_goes_on_where_it_was() -> None:
    """Once a person has mended the world, resuming goes on with the undo, and still knows why."""
    scene = Scene(*OUT)
    scene.start()
    scene.world.trouble["shift"] = "rejects"
    scene.undo()
    assert scene.status is RunStatus.STUCK
    scene.world.trouble.clear()
    assert deeds(scene.start()) == "run:undoing shift-here?pass shift=50 shift=0 run:undone"
    assert scene.state.reason == "asked for"


def test_an_undo_that_hangs_is_cancelled_and_tried_again() -> None:
    """A converge that does not return within its timeout fails that try; it does not leave the run in the air."""
    scene = Scene(turn("shift", timeout="20s"))
    scene.start()
    scene.world.trouble["shift"] = "deaf"
    assert scene.undo().endswith("shift:undoing shift-here?pass shift:stuck run:stuck")
    assert "it did not stop at its timeout and was cancelled" in scene.state.reason


def test_what_was_not_touched_is_not_undone() -> None:
    """Steps that found nothing to do, or never began, are left alone."""
    scene = Scene(turn("one"), turn("two"), turn("three", before=["path"]), judge={"path": "fail"}, levels={"two": 100})
    assert deeds(scene.start()).endswith("path?fail run:undoing one-here?pass one=50 one=0 run:undone")
    assert scene.step("two").status is StepStatus.NOTHING


def test_an_undo_finds_the_world_as_it_was() -> None:
    """What somebody else has brought back already is not touched."""
    scene = Scene(turn("shift"))
    scene.start()
    scene.levels["shift"] = 0
    assert scene.undo() == "run:undoing shift:undoing shift:undone run:undone"


def test_a_return_goes_back_in_parts() -> None:
    """A return is paced and gated like the way out, part by part, to what was recorded before each step."""
    scene = Scene(*ROUND, by=(50, 100), levels={"shift": 20})
    events = scene.start()
    assert events.partition("drain:done ")[2] == (
        "back.drain:gating drain-here?pass back.drain:converging drain=75 drain=50 back.drain:verifying flows?pass "
        "back.drain:converging drain=25 drain=0 back.drain:verifying flows?pass back.drain:done "
        "back.shift:gating shift-here?pass back.shift:converging shift=80 shift=60 back.shift:verifying flows?pass "
        "back.shift:converging shift=40 shift=20 back.shift:verifying flows?pass back.shift:done run:done"
    )


def test_undo_after_a_return_does_nothing() -> None:
    """What was returned is not returned again."""
    scene = Scene(*OUT, hold("window", until="1m"), back("back", "drain", "shift"))
    scene.start()
    assert deeds(scene.undo()) == "run:undoing run:undone"
    assert scene.levels == scene.before


def test_what_was_returned_is_nobody_s_business_any_more() -> None:
    """What others do with a site after its return is not taken back by an undo."""
    scene = Scene(*OUT, back("back", "drain", "shift"))
    scene.start()
    scene.levels.update(shift=42, drain=17)
    assert deeds(scene.undo()) == "run:undoing run:undone"
    assert scene.levels == {"shift": 42, "drain": 17}


def test_undo_after_half_a_return() -> None:
    """Only what was not returned yet is undone."""
    scene = Scene(*OUT, back("back", "drain"))
    scene.start()
    assert deeds(scene.undo()) == "run:undoing shift-here?pass shift=50 shift=0 run:undone"


def test_a_return_that_fails_midway_is_taken_back_and_held() -> None:
    """The part that failed goes back to the evacuated state, which is safe, and a person is asked; resuming retries."""
    scene = Scene(*ROUND, by=(50, 100), judge={"flows": "pass pass fail pass"})
    assert deeds(scene.start()).endswith(
        "shift-here?pass shift=75 shift=50 flows?fail shift-there?pass shift=75 shift=100 run:held"
    )
    assert (scene.levels, scene.step("back.drain").status) == ({"shift": 100, "drain": 0}, StepStatus.DONE)
    assert deeds(scene.start()) == (
        "run:running shift-here?pass shift=75 shift=50 flows?pass shift=25 shift=0 flows?pass run:done"
    )


def test_a_return_that_may_not_begin_is_held() -> None:
    """A site that is not fit to come back stays evacuated, and the run is held, not undone into that site."""
    scene = Scene(*OUT, back("back", "drain", "shift", before=["site"]), judge={"site": "fail pass"})
    assert deeds(scene.start()).endswith("drain=100 site?fail run:held")
    assert scene.step("back.drain").status is StepStatus.REFUSED
    assert deeds(scene.start()).startswith("run:running site?pass drain-here?pass drain=50 drain=0 site?pass")


def test_a_return_that_fails_can_be_told_to_undo() -> None:
    """With ``on_failure: undo`` the failed return becomes the undo of the run."""
    scene = Scene(
        *OUT,
        back("back", "drain", "shift", after=["flows"], on_failure="undo"),
        judge={"flows": "pass fail"},
        by=(50, 100),
    )
    assert deeds(scene.start()).endswith(
        "drain=25 drain=0 flows?fail run:undoing shift-here?pass shift=50 shift=0 run:undone"
    )


def test_a_held_return_can_be_undone() -> None:
    """Instead of retrying a held return, a person may undo the run; what is returned already stays so."""
    scene = Scene(*ROUND, judge={"flows": "pass fail"})
    scene.start()
    assert scene.status is RunStatus.HELD
    assert deeds(scene.undo()) == "run:undoing shift-here?pass shift=50 shift=0 run:undone"


def test_a_return_of_what_was_never_touched_does_nothing() -> None:
    """A step that found nothing to do has nothing to return."""
    scene = Scene(turn("shift"), back("back", "shift"), levels={"shift": 100})
    assert deeds(scene.start()) == "run:running run:done"
    assert scene.levels == {"shift": 100}


def test_a_return_that_cannot_be_taken_back_is_stuck() -> None:
    """When neither way works, a person is told at what."""
    scene = Scene(*OUT, back("back", "drain", after=["flows"]), judge={"flows": "fail", "drain-there": "pass fail"})
    assert scene.start().endswith("back.drain:stuck run:stuck")
    assert "it failed because: back.drain: flows failed" in scene.state.reason
