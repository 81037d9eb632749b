"""The line report says what happened, once, and not more often than one can read."""

from __future__ import annotations

from orchestrator.report.lines import LineReport

from . import story
from .story import BEGIN, HandClock, Story


def written(told: Story) -> list[str]:
    """The lines of a story, without their times."""
    lines: list[str] = []
    clock = HandClock()
    report = LineReport(story.plan(), lines.append, clock)
    for entry in told.entries:
        clock.set(entry.at)
        report.entry(entry)
    return [line[10:] for line in lines]


def test_times_are_those_of_the_entries() -> None:
    """A line begins with the local time at which its event happened, not with the time at which it is written."""
    lines: list[str] = []
    report = LineReport(story.plan(), lines.append, HandClock(BEGIN + 9999))
    for entry in story.escaped().entries:
        report.entry(entry)
    assert [line[:8] for line in lines] == ["14:00:00", "14:00:00", "14:00:04", "14:00:04", "14:00:04"]


def test_progress_comes_every_five_seconds_and_at_the_end() -> None:
    """Of progress that comes each second, a line every five seconds is written, and the last one always."""
    told = story.draining(8).outcome("drain").step("drain", "verifying")
    drained = [line for line in written(told) if "sessions left" in line]
    assert [line.split()[2] for line in drained] == ["50", "15", "1"]


def test_a_wait_of_minutes_is_told_less_and_less_often() -> None:
    """A step that has gone on for minutes has a line a minute at last, so that a log of it can be read."""
    drained = [line for line in written(story.draining(900)) if "sessions left" in line]
    assert 20 <= len(drained) <= 45


def test_a_stopped_run_still_says_how_far_it_was() -> None:
    """Progress that waits for its five seconds is written before the line that says that the run stops."""
    lines = written(story.draining(3).run("interrupted", "SIGTERM"))
    assert [line.split()[:2] for line in lines[-4:]] == [
        ["drain", "converging"],
        ["run", "interrupted"],
        ["run", "next"],
        ["run", "next"],
    ]
    assert "36 sessions left" in lines[-4]


def test_a_guard_speaks_when_it_changes_its_mind() -> None:
    """Of a guard's verdicts only the first and those that differ from the last are written."""
    told = story.escaped()
    for judgement in ("pass", "pass", "unknown", "pass", "pass"):
        told.wait(1).verdict("", "guard", "mail-flows", judgement, "so it is")
    words = [line.split()[1] for line in written(told) if "guard mail-flows" in line]
    assert words == ["pass", "unknown", "pass"]


def test_a_gate_that_stays_shut_is_said_once_a_minute() -> None:
    """The same bad verdict, looked at again every ten seconds, is written again after a minute only."""
    told = story.escaped().step("shift", "gating")
    for _ in range(8):
        told.wait(10).verdict("shift", "before", "mail-flows", "fail", story.LOSSY)
    assert sum("before mail-flows" in line for line in written(told)) == 2


def test_the_same_verdict_at_the_next_waypoint_is_news() -> None:
    """A check that passes after each of three waypoints is written three times."""
    assert sum("after mail-flows" in line for line in written(story.shifted())) == 3


def test_an_approval_says_who_and_why() -> None:
    """The approval's line carries the person's name and note."""
    told = story.held().approve("window", "alice", "provider says rebooted")
    assert written(told)[-1].split(maxsplit=1)[1] == "approved     by alice: provider says rebooted"


def test_text_from_outside_cannot_break_the_lines() -> None:
    """Line ends and escape sequences in a reason do not reach the terminal."""
    told = story.escaped().step("shift", "gating").step("shift", "failed", reason="554 \x1b[2Jno\r\nrun  done\u202e")
    assert written(told)[-1] == "shift       failed       554 [2Jno run done (took 0s)"


def test_a_second_attempt_is_counted() -> None:
    """A step that begins again says which attempt it is."""
    told = story.broken()
    told.step("shift", "gating")
    last = told.entries[-1].model_copy(update={"attempt": 2})
    told.entries[-1] = last
    assert written(told)[-1].endswith("traffic.shift (attempt 2)")


def test_the_action_speaks_last_before_its_gate() -> None:
    """Progress of the action that still waits is written before the gate's, and a gate's not after its verdict."""
    told = story.draining(3).outcome("drain").step("drain", "verifying")
    told.progress("drain", "site-silent …").wait(1).verdict("drain", "after", "site-silent", "pass", "0 sessions")
    lines = [line.split(maxsplit=2)[2] for line in written(told.step("drain", "done"))[-3:]]
    assert lines == [
        "36 sessions left: 4 with an open transaction, 2 idle",
        "after site-silent: 0 sessions",
        "took 4s",
    ]


def test_a_run_that_is_taken_up_again_is_known() -> None:
    """With what the journal holds already, the report of an undo starts in the middle and says nothing twice."""
    lines: list[str] = []
    before, after = story.shifted().run("done"), story.shifted().run("done").taken_over()
    after.run("undoing", "asked for by alice").step("shift", "undoing").towards("shift", "as before", "undo")
    report = LineReport(story.plan(), lines.append, HandClock(), so_far=before.entries)
    for entry in after.entries[len(before.entries) :]:
        report.entry(entry)
    assert [line[10:] for line in lines] == [
        "run         undoing      asked for by alice",
        "shift       undoing      as before",
    ]
