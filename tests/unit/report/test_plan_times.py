"""How long a plan takes, in numbers and in words."""

from __future__ import annotations

from orchestrator.model.plan import Plan
from orchestrator.report.plan_record import plan_record
from orchestrator.report.plan_text import plan_text
from orchestrator.report.plan_times import plan_times, times_lines
from orchestrator.report.plan_words import takes_text

from . import plans, story


def words(plan: Plan) -> dict[str, str]:
    """The times as they are read."""
    return dict(times_lines(plan_times(plan)))


def test_steps_side_by_side_take_the_time_of_the_longest() -> None:
    """A plan takes as long as its longest way, and its people are named apart."""
    times = plan_times(plans.everything())
    assert (times.expected, times.at_most) == (12 + 3600, None)
    assert (times.people, times.unknown, times.endless) == ({"reboot": None}, (), ("leave.drain",))


def test_people_do_not_hide_the_limit_of_the_rest() -> None:
    """What takes the time that people need has no limit, and the limit of all else is told."""
    times = plan_times(plans.maintenance())
    assert (times.people, times.endless) == ({"window": None}, ())
    assert times.at_most == 60 + 360 + 1230 + 60 + 360
    assert words(plans.maintenance())["at most"] == "34m30s, and the time that people take (window)"


def test_what_the_runbook_says_of_people() -> None:
    """An estimate of people's time stands behind the step's name, and counts for the window, never for the limit."""
    plan = plans.maintenance()
    window = plan.steps[3]
    steps = list(plan.steps)
    steps[3] = window.model_copy(update={"step": window.step.model_copy(update={"estimate": 7200.0})})
    runbook = plan.runbook.model_copy(update={"window": 4 * 3600.0})
    told = words(plan.model_copy(update={"steps": tuple(steps), "runbook": runbook}))
    assert told["all goes well"] == "~5m, and the time that people take (window ~2h)"
    assert told["at most"] == "34m30s, and the time that people take (window)"
    assert told["window"].startswith("4h: leaves 1h55m")


def test_what_the_window_leaves() -> None:
    """A window says what it leaves, and until when an undo that needs no people still fits in."""
    plan = plans.maintenance()
    window = plan.model_copy(update={"runbook": plan.runbook.model_copy(update={"window": 4 * 3600.0})})
    assert (
        words(window)["window"] == "4h: leaves 3h55m for people; undo --at-once within 3h59m of the start (takes ~4s)"
    )
    short = plan.model_copy(update={"runbook": plan.runbook.model_copy(update={"window": 60.0})})
    assert words(short)["window"] == "1m: too short by 4m"


def test_an_undo_that_needs_people_has_no_latest_moment() -> None:
    """Where a person has a part in the way back, nobody can say when it must begin."""
    assert words(plans.everything())["window"] == "4h: leaves 2h59m for people"


def test_nothing_is_said_of_what_is_not_known() -> None:
    """A plan of whose steps no times are known does not claim that it takes none."""
    steps = tuple(step for step in story.plan().steps if step.step.do == "smtp.drain")
    plan = story.plan().model_copy(update={"steps": steps})
    assert words(plan) == {"at most": "no limit (drain)"}


def test_by_when_a_run_must_begin() -> None:
    """An end that was given says by when to begin, without the time of people, and by when to begin an undo."""
    plan = plans.maintenance().model_copy(update={"window_ends": story.BEGIN + 7200})
    assert words(plan)["window ends"] == (
        "2026-06-10 16:00:00 UTC: begin by 15:55:00, earlier by the time that people take (window); "
        "undo --at-once by 15:59:56 (takes ~4s)"
    )
    assert "window" not in words(plan), "the runbook states none"
    record = plan_record(plan)["times"]
    assert isinstance(record, dict)
    assert (record["window_ends"], record["begin_by"]) == ("2026-06-10T16:00:00.000Z", "2026-06-10T15:55:00.300Z")


def test_what_is_usual_is_told_as_that() -> None:
    """A time that past runs tell names them; short ones are told too, as they were measured."""
    step = plans.maintenance().steps[0]
    assert takes_text(step) == "~2.7s, at most 1m"
    usual = step.model_copy(update={"expected": 0.4, "past": 6})
    assert takes_text(usual) == "usually 0.4s (p75 of 6 runs), at most 1m"
    assert "usually 0.4s (p75 of 6 runs)" in plan_text(plans.maintenance().model_copy(update={"steps": (usual,)}))
