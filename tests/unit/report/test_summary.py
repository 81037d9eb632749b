"""The summary says in its first line how the run ended, and the exit code says the same."""

from __future__ import annotations

import pytest

from orchestrator.report.sheet import plain
from orchestrator.report.summary import exit_code, exit_code_of_undo, summary
from orchestrator.status import RunState, RunStatus, fold

from . import story
from .story import Story


def closing(told: Story) -> str:
    """The summary at 80 columns."""
    return plain(summary(story.plan(), told.entries, story.RUN))


@pytest.mark.parametrize(
    ("status", "code", "of_undo"),
    [
        ("done", 0, 0),
        ("refused", 1, 1),
        ("undone", 3, 0),
        ("stuck", 4, 4),
        ("held", 5, 5),
        ("interrupted", 5, 5),
        ("running", 5, 5),
        ("undoing", 5, 5),
        ("planned", 5, 5),
    ],
)
def test_exit_codes(status: str, code: int, of_undo: int) -> None:
    """Each status has its exit code; undone is what 'failover undo' was asked for, and so a success there."""
    state = RunState(status=RunStatus(status))
    assert (exit_code(state), exit_code_of_undo(state)) == (code, of_undo)


def test_an_undo_that_a_person_asked_for_is_no_failure() -> None:
    """A run without trouble that was undone says so, and does not claim that it failed."""
    told = story.taking_back(story.shifted().run("done").taken_over().run("undoing", "asked for by alice"))
    told.outcome("shift").step("shift", "undone").run("undone", "asked for by alice")
    assert closing(told).startswith("Undone as asked: the world is as before.\n  asked for by alice\n")


def test_what_could_not_be_undone_is_named() -> None:
    """When a step that changed something was not undone, the summary does not claim that the world is as before."""
    told = story.draining().step("drain", "failed", reason="10m are over").run("undoing", "drain failed")
    told.step("drain", "undoing").step("drain", "undone").run("undone", "drain failed")
    assert closing(told).startswith("Failed and undone, except shift: look there.\n")


def test_the_first_failure_comes_first() -> None:
    """The reason of the first failure stands above the reason at which the way back is stuck."""
    text = closing(story.stuck())
    assert text.index("shift failed: mail-flows failed") < text.index("shift stuck: cannot set the weights")


def test_a_stuck_run_names_what_remains() -> None:
    """A run that is stuck on its way back names the steps that are still to be undone, and how to go on."""
    text = closing(story.stuck())
    assert "still to undo\n  shift\n" in text
    assert "  failover undo 0610-k3f  after the repair: looks again and goes on undoing\n" in text


def test_a_stuck_way_out_can_go_on_or_back() -> None:
    """A run that is stuck on its way out offers both ways."""
    told = story.draining().step("drain", "stuck", reason="cannot tell").run("stuck", "drain is stuck")
    text = closing(told)
    assert text.startswith("Stuck at drain: a person must look")
    assert "still to do\n  drain, window, back.drain and back.shift\n" in text
    assert "failover resume 0610-k3f  after the repair: looks again and goes on\n" in text


def test_what_was_taken_back_alone_is_still_to_do() -> None:
    """In a run that is held a step that failed and was taken back is named: to resume is to do it again."""
    told = story.held().approve("window", "alice").outcome("window").step("window", "verifying").step("window", "done")
    told.run("running").step("back.drain", "gating").waypoint("back.drain", "", "in service: mx1 ready", "back")
    told.step("back.drain", "failed", f"mail-flows failed: {story.LOSSY}").step("back.drain", "undoing")
    told.step("back.drain", "undone", "is as it was before").run("held", "back.drain: mail-flows failed")
    assert "still to do\n  back.drain and back.shift\n" in closing(told)


def test_an_interrupted_undo_goes_on_undoing() -> None:
    """A run that was interrupted on its way back is not offered the way out again."""
    text = closing(story.broken().run("undoing", "shift failed").run("interrupted", "SIGTERM"))
    assert "failover undo 0610-k3f  goes on undoing" in text
    assert "failover resume" not in text


def test_a_drain_is_summed_up_from_its_last_numbers() -> None:
    """The drain line counts the sessions told, closed and cut, and says what is left where it did not end."""
    assert "  drain: 4 sessions closed idle, 46 told 421, 0 cut at the deadline, 8s\n" in closing(story.held())
    assert ", 8 left, 7s\n" in closing(story.draining()).replace("\n  7s", " 7s")


def test_the_way_back_does_not_blur_the_drain() -> None:
    """Progress with numbers during the undo does not replace what the drain did."""
    told = story.held().run("undoing", "asked for").step("drain", "undoing")
    told.progress("drain", "gate open", sessions=0, told=0, closed=0, cut=0, seconds=1)
    assert "46 told 421" in closing(told)


def test_what_a_run_leaves_changed_is_named() -> None:
    """A run that is done without its return names what stays changed and how to take it back."""
    text = closing(story.shifted().run("done"))
    assert text.startswith("Done. It leaves changed, as planned: shift.\n")
    assert "  failover undo 0610-k3f  goes back to how it was before the run\n" in text


def test_a_failure_that_the_runbook_accepts_is_not_hidden() -> None:
    """A run that went on over a failed step says so in its first line."""
    told = story.escaped().step("shift", "gating").step("shift", "failed", reason="no").run("done")
    assert closing(told).startswith("Done, but shift failed, and the runbook says to continue.\n  shift failed: no\n")


def test_nothing_to_do_is_said() -> None:
    """A run in which every step found its target says that there was nothing to do."""
    told = Story().run("running")
    for planned in story.plan().steps:
        told.step(planned.id, "nothing")
    assert closing(told.run("done")).startswith("Done: everything was already as it should be.\n")


def test_a_journal_that_breaks_off_claims_nothing() -> None:
    """The summary of a run that still says 'running' tells where its journal ends, not that it is done."""
    text = closing(story.shifting())
    assert text.startswith("Not finished during shift: the journal ends while it is running.\n")
    assert exit_code(fold(story.shifting().entries)) == 5


def test_failed_gates_come_first_and_in_full() -> None:
    """A gate that failed once stands above those that passed, with its whole reason and how often it was asked."""
    text = closing(story.undone())
    gates = text[text.index("gates\n") :]
    assert gates.splitlines()[1] == "  fail  1 of 2  shift after mail-flows"
    assert gates.splitlines()[2].strip() == story.LOSSY


def test_a_broken_guard_is_a_failure() -> None:
    """A run that was undone because a guard broke has failed, though none of its steps has, and names the guard."""
    text = closing(story.breached())
    assert text.startswith(
        "Failed and undone: the world is as before.\n  guard serving failed: smtp is served by no healthy site\n\n"
    )


def test_a_failure_that_nobody_recorded_is_a_failure() -> None:
    """A run whose own owner turns it back has failed, even when no step and no guard says why."""
    told = story.shifted().run("undoing", "the guards cannot be watched: no probe")
    told = story.taking_back(told).outcome("shift").step("shift", "undone").run("undone", "the guards")
    assert closing(told).startswith("Failed and undone: the world is as before.\n  run failed: the guards cannot be")


def test_a_reason_is_said_once() -> None:
    """The run's reason is not repeated where it is made of those of its steps."""
    for told in (story.stuck(), story.undone(), story.refused()):
        text = closing(told)
        assert text[: text.index("result")].count("connect: timed out") <= 1
