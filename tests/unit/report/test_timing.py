"""A run against the clock: steps that take longer than usual, and until when an undo fits in the window."""

from __future__ import annotations

import pytest

from orchestrator.model.plan import Plan, TimedAs
from orchestrator.model.runbook import Approval
from orchestrator.report.account import Account
from orchestrator.report.lines import LineReport
from orchestrator.report.records import run_record, status_view
from orchestrator.report.sheet import plain
from orchestrator.report.timing import overdue, step_timing, undo_times, window_end, window_timing

from . import plans, story
from .story import BEGIN, HandClock, Story

TIMED = TimedAs(action="smtp.drain", target="smtp ord", shape="s")
PACED = {"pool": "smtp", "from": "ord", "to": "iad", "by": ["50%", "100%"], "pause": "5m"}
USUAL = {"timed": TIMED, "expected": 5.0, "overdue": 6.0, "past": 6}


def plan(*, window: float | None = None, **drain: object) -> Plan:
    """The plan of the stories, in which the drain is timed; its window ends so many seconds after the begin."""
    made = story.plan()
    steps = [one.model_copy(update={**USUAL, **drain}) if one.id == "drain" else one for one in made.steps]
    ends = None if window is None else BEGIN + window
    return made.model_copy(update={"steps": tuple(steps), "window_ends": ends})


def timing(made: Plan, told: Story, wait: float = 0.0) -> str:
    """What is said of the drain, so long after the story's last entry."""
    found = step_timing(Account(made, told.entries), made.steps[2], told.at + wait)
    return "" if found is None else str(found)


def window(made: Plan, told: Story, wait: float = 0.0) -> str:
    """What is said of the window."""
    found = window_timing(Account(made, told.entries))
    return "" if found is None else found.text(told.at + wait)


def tree(made: Plan, told: Story, wait: float = 0.0) -> str:
    """The tree, so long after the last entry."""
    return plain(status_view(made, story.row("running"), told.entries, told.at + wait), 120)


def lines(made: Plan, told: Story) -> list[str]:
    """The lines, without their times."""
    written: list[str] = []
    clock = HandClock()
    report = LineReport(made, written.append, clock)
    for entry in told.entries:
        clock.set(entry.at)
        report.entry(entry)
    return [line[10:] for line in written]


def test_a_step_at_work_says_what_is_usual() -> None:
    """Beside the time that it has worked stands its past, or the rule of thumb; nothing where neither is known."""
    told = story.draining(4)
    assert timing(plan(), told) == "4s of usually 5s (p75 of 6 runs)"
    assert timing(plan(past=0), told) == "4s of ~5s"
    assert timing(plan(expected=None, overdue=None, past=0), told) == ""
    assert "\n     4s of usually 5s (p75 of 6 runs)\n" in tree(plan(), told)


def test_a_step_past_its_mark_is_overdue() -> None:
    """It says by how much, and what the mark is."""
    told = story.draining(4)
    assert timing(plan(), told, 2) == "6s of usually 5s (p75 of 6 runs)", "not past it yet"
    assert timing(plan(), told, 2.1) == "overdue: 6.1s, p95 of 6 runs is 6s"
    assert timing(plan(past=0), told, 246) == "overdue: 4m10s, at most 6s expected"
    assert "\n     overdue: 4m10s, p95 of 6 runs is 6s\n" in tree(plan(), told, 246)


def test_only_steps_at_work_are_overdue() -> None:
    """Not one that is done, one that people decide about, nor one of a run that stands still."""
    assert timing(plan(), story.drained(), 999) == ""
    assert timing(plan(timed=None), story.draining(4), 999) == ""
    stopped = story.draining(4).run("interrupted", "SIGTERM")
    assert timing(plan(), stopped, 999) == "4s of usually 5s (p75 of 6 runs)"


def test_the_wait_for_people_does_not_count() -> None:
    """Until people have approved a step it is not timed, and then from their word on."""
    step = story.plan().steps[2].step.model_copy(update={"approval": Approval()})
    made = plan(step=step)
    told = story.shifted().step("drain", "gating").run("held", "drain waits for an approval").wait(600)
    assert timing(made, told) == ""
    told.approve("drain", "alice").run("running").wait(3)
    assert timing(made, told) == "3s of usually 5s (p75 of 6 runs)"


def test_each_try_counts_anew() -> None:
    """A step that begins again is timed from there; a further try of an undo is not a new one."""
    told = story.draining(4).outcome("drain", "failed").step("drain", "failed").wait(60).step("drain", "gating").wait(1)
    assert timing(plan(), told) == "1s of usually 5s (p75 of 6 runs)"
    back = (
        story.draining(4).run("undoing", "why").step("drain", "undoing").wait(50).step("drain", "undoing", "try 2 of 3")
    )
    assert timing(plan(), back) == "50s of ~2s"
    assert timing(plan(), back, 20) == "overdue: 1m10s, at most 1m expected"
    assert timing(plan(undo_expected=30.0, undo_overdue=40.0), back) == "overdue: 50s, at most 40s expected"


def test_a_line_says_once_that_a_step_is_overdue() -> None:
    """It comes with the next progress, once for each try."""
    told = story.draining(12)
    found = [line for line in lines(plan(), told) if "overdue" in line]
    assert found == ["drain       overdue      7s, p95 of 6 runs is 6s"]
    told.outcome("drain").step("drain", "verifying").wait(9).progress("drain", "silent").step("drain", "done")
    assert [line for line in lines(plan(), told) if "overdue" in line] == found


def test_the_record_names_what_is_overdue() -> None:
    """Machines get the ids, and of each step what was expected."""
    told = story.draining(4)
    made = plan()
    record = run_record(made, story.row("running"), told.entries, told.at + 9)
    assert record["overdue"] == ["drain"]
    assert run_record(made, story.row("running"), told.entries)["overdue"] == []
    assert list(overdue(Account(made, told.entries), told.at + 9)) == ["drain"]


def test_how_long_an_undo_takes_now() -> None:
    """So long as all that is changed and not returned: in single moves, or by the waypoints with their pauses."""

    def times(told: Story, made: Plan) -> tuple[float | None, float | None] | None:
        found = undo_times(Account(made, told.entries))
        return None if found is None else (found.at_once, found.paced)

    made = plan(undo_expected=30.0)
    assert times(story.escaped(), made) is None
    assert times(story.shifted(), made) == (2.0, 3 * 12.0)
    assert times(story.draining(), made) == (32.0, 66.0)
    assert times(story.done(), made) is None


def test_two_ways_back_that_differ_are_both_told() -> None:
    """Where the waypoints cost more than a minute, the latest moment of each way is told."""
    shift = story.plan().steps[1]
    slow = type(shift.step).model_validate({**shift.step.model_dump(by_alias=True), "with": PACED})
    made = plan(window=3600.0)
    steps = tuple(one.model_copy(update={"step": slow}) if one.id == "shift" else one for one in made.steps)
    told = window(made.model_copy(update={"steps": steps}), story.draining())
    assert told == "undo by 14:49 (takes ~10m06s), --at-once by 14:59 (takes ~4s); window ends 15:00 UTC"


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        (3600.0, "undo by 14:58 (takes ~1m06s); window ends 15:00 UTC"),
        (104.0 + 50, "undo --at-once by 14:02:02 (takes ~32s); window ends 14:02:34 UTC"),
        (104.0 + 20, "too late for an undo within the window: it takes ~32s; window ends 14:02:04 UTC"),
        (60.0, "the window is over since 14:01:00 UTC"),
    ],
)
def test_until_when_an_undo_fits(ends: float, text: str) -> None:
    """With what is changed now the way back must begin so long before the end; then only in single moves; then not."""
    made = plan(window=ends, undo_expected=30.0)
    assert window(made, story.draining()) == text
    assert text in tree(made, story.draining())


def test_a_window_with_nothing_to_undo() -> None:
    """Before the first change and after the return only the end is told; after the run nothing is."""
    made = plan(window=3600.0)
    assert window(made, story.escaped()) == "window ends 15:00 UTC"
    assert window(made, story.escaped(), 7200) == "the window is over since 15:00 UTC"
    assert window(made, story.done()) == ""
    assert window(plan(), story.escaped()) == ""


def test_a_way_back_says_how_long_it_takes() -> None:
    """A run that goes back has no latest moment for that any more."""
    made = plan(window=3600.0)
    told = story.taking_back(story.broken().run("undoing", "why"))
    assert window(made, told) == "window ends 15:00 UTC; the undo takes ~2s"


def test_an_undo_by_people_is_not_known() -> None:
    """Where a person has to undo something without an estimate, no moment is claimed."""
    everything = plans.everything()
    told = Story().run("running").step("reboot", "gating").towards("reboot", "").outcome("reboot")
    told.step("reboot", "verifying").step("reboot", "done")
    assert window(everything, told) == "window ends 18:00 UTC; how long an undo takes is not known"


def test_the_runbooks_window_counts_from_the_begin() -> None:
    """Of the window that the runbook states and the end that was given the earlier one counts."""
    made = plans.everything()
    account = Account(made, story.escaped().entries)
    assert window_end(account) == BEGIN + 4 * 3600
    sooner = made.model_copy(update={"window_ends": BEGIN + 60})
    assert window_end(Account(sooner, story.escaped().entries)) == BEGIN + 60
    assert window_end(Account(made)) is None, "it has not begun"


def test_lines_tell_of_the_window() -> None:
    """While the run is held, as somebody decides then; and once when an undo does not fit any more."""
    roomy = [line for line in lines(plan(window=3600.0), story.held()) if " window  " in line[10:]]
    assert roomy == ["run         window       undo by 14:59 (takes ~38s); window ends 15:00 UTC"]
    tight = [line for line in lines(plan(window=60.0), story.held()) if line.startswith("run         window")]
    assert tight[0] == "run         window       the window is over since 14:01:00 UTC"
    assert len(tight) == 2, "and once more when it is held"


def test_the_record_has_the_window() -> None:
    """Machines get the end, the latest moment for an undo, and how long it takes."""
    record = run_record(plan(window=3600.0), story.row("running"), story.draining().entries)
    assert {key: record[key] for key in ("window_ends", "latest_undo", "undo_seconds", "undo_paced_seconds")} == {
        "window_ends": "2026-06-10T15:00:00.000Z",
        "latest_undo": "2026-06-10T14:59:56.000Z",
        "undo_seconds": 4.0,
        "undo_paced_seconds": 38.0,
    }
