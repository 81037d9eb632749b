"""Records for machines: stable keys, valid JSON, times with their zone."""

from __future__ import annotations

import json

from orchestrator.report.diff import has_changes, plan_record
from orchestrator.report.records import entry_record, json_line, run_record, runs_table
from orchestrator.report.sheet import plain
from orchestrator.status import fold

from . import story


def test_a_run_record_has_its_keys() -> None:
    """The keys of a run's record, of its steps and of their verdicts are these, in this order."""
    record = json.loads(json_line(run_record(story.plan(), story.row("done"), story.done().entries)))
    assert list(record) == [
        "run", "runbook", "parameters", "checksum", "overrides", "status", "reason", "began", "ended", "seconds",
        "window_ends", "undo_seconds", "undo_paced_seconds", "latest_undo", "overdue", "steps", "guards", "next",
    ]  # fmt: skip
    step = record["steps"][1]
    assert list(step) == [
        "id", "do", "returns", "instead_of", "status", "reason", "attempt", "began", "seconds", "undo_took",
        "expected", "overdue_after", "past", "progress", "numbers", "approved_by", "verdicts",
    ]  # fmt: skip
    assert list(step["verdicts"][0]) == [
        "at", "gate", "check", "judgement", "reason", "samples", "metrics", "waypoint", "attempt",
    ]  # fmt: skip


def test_a_run_record_tells_the_run() -> None:
    """The record holds the ends of the run, and of each step its status, time, numbers and verdicts."""
    record = run_record(story.plan(), story.row("done"), story.done().entries)
    assert (record["status"], record["began"], record["ended"], record["seconds"]) == (
        "done",
        "2026-06-10T14:00:00.000Z",
        "2026-06-10T14:12:57.200Z",
        777.2,
    )
    steps = json.loads(json_line(record))["steps"]
    assert [(step["id"], step["status"], step["returns"]) for step in steps] == [
        ("escape", "done", None),
        ("shift", "done", None),
        ("drain", "done", None),
        ("window", "done", None),
        ("back.drain", "done", "drain"),
        ("back.shift", "done", "shift"),
    ]
    assert steps[2]["numbers"] == {
        "sessions": 0, "open": 0, "idle": 0, "told": 46, "closed": 4, "cut": 0, "queue": 0, "seconds": 8,
    }  # fmt: skip
    assert [verdict["waypoint"] for verdict in steps[1]["verdicts"]] == ["5%", "25%", "100%"]
    assert steps[3]["approved_by"] == "alice"


def test_a_run_that_can_go_on_has_not_ended() -> None:
    """A held run has no end, and names the commands that can be typed."""
    record = run_record(story.plan(), story.row("held"), story.held().entries)
    assert record["ended"] is None
    assert record["next"] == [
        "failover approve 0610-k3f window",
        "failover resume 0610-k3f",
        "failover undo 0610-k3f",
    ]


def test_every_event_is_one_line_of_json() -> None:
    """Each entry becomes one line with the key 'event', and no run record has that key."""
    for entry in story.stuck().entries:
        line = json_line(entry_record(entry))
        assert "\n" not in line
        record = json.loads(line)
        assert (record["event"], record["run"], record["data"]) == (entry.kind, story.RUN, entry.data)
    assert "event" not in run_record(story.plan(), story.row("stuck"), story.stuck().entries)


def test_numbers_that_json_cannot_write_are_null() -> None:
    """NaN and infinity, as a probe without samples measures them, become null."""
    assert json_line({"metrics": {"p99": float("nan")}, "list": [float("inf"), 1.5]}) == (
        '{"metrics": {"p99": null}, "list": [null, 1.5]}'
    )


def test_a_plan_record_tells_the_plan() -> None:
    """The plan's record says whether anything would change, and what each step would."""
    record = json.loads(json_line(plan_record(story.plan())))
    assert record["checksum"] == story.plan().checksum
    assert record["changes"] is True
    assert record["steps"][1]["diff"] == ["ord: 50% → 0% of new sessions", "iad: 50% → 100% of new sessions"]
    assert record["guards"][2] == "smtp serves from >= 1 site"


def test_a_plan_without_differences_changes_nothing() -> None:
    """A plan whose steps all observe their targets has no changes."""
    quiet = tuple(step.model_copy(update={"diff": ()}) for step in story.plan().steps)
    assert not has_changes(story.plan().model_copy(update={"steps": quiet}))


def test_the_table_of_runs() -> None:
    """Each run is a line: when it began, how long it took, its status and reason; the order is kept."""
    other = story.row("planned").model_copy(update={"run": "0609-a", "created": story.BEGIN - 86400})
    states = {story.RUN: fold(story.undone().entries)}
    text = plain(runs_table([story.row("undone"), other], states, story.BEGIN + 9999))
    assert text == (
        "run       runbook               status   began (local)     took   reason\n"
        "0610-k3f  provider-maintenance  undone   2026-06-10 14:00  1m07s  shift: mail-f…\n"
        "0609-a    provider-maintenance  planned  2026-06-09 14:00\n"
    )


def test_no_runs_are_said() -> None:
    """An empty journal has a table that says so."""
    assert plain(runs_table([], {}, story.BEGIN)) == "no runs yet\n"
