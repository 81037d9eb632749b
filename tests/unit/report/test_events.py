"""Events of a run in a log: one line each, with where, which attempt, whose, and how long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.secrets import redact_logs, remember
from orchestrator.model.journal import Entry
from orchestrator.report.events import EventLog, Events, Level

from . import story
from .story import Story

ACTIONS = {step.id: step.step.do for step in story.plan().steps}


def logged(path: Path, told: Story, so_far: int = 0, level: Level = "info") -> list[dict[str, Any]]:
    """The log of a story, of which so many entries are in the journal already."""
    log = EventLog(path, redact_logs, level)
    log.begin(story.RUN, story.plan(), told.entries[:so_far], dict)
    for entry in told.entries[so_far:]:
        log.entry(entry)
    log.end()
    return [json.loads(line) for line in path.read_text().splitlines()]


def names(events: list[dict[str, Any]]) -> list[str]:
    """What happened, without the details."""
    return [f"{one.get('step', 'run')}:{one.get('status', one['event'])}" for one in events]


def test_every_transition_is_one_line(tmp_path: Path) -> None:
    """A run is told from its begin to its end in the journal's order; progress is left out."""
    events = logged(tmp_path / "log", story.undone())
    assert names(events) == [
        "run:running",
        "escape:gating",
        "escape:check.verdict",
        "escape:done",
        "shift:gating",
        *("shift:step.intent", "shift:converging", "shift:step.outcome", "shift:verifying", "shift:check.verdict"),
        *("shift:step.intent", "shift:converging", "shift:step.outcome", "shift:verifying", "shift:check.verdict"),
        "shift:failed",
        "run:undoing",
        *("shift:undoing", "shift:step.intent", "shift:step.outcome", "shift:undone"),
        "run:undone",
    ]


def test_an_event_says_where_it_belongs(tmp_path: Path) -> None:
    """Run, runbook, step, attempt, action, epoch, place in the journal, time, level, and for how long it was so."""
    (event,) = [one for one in logged(tmp_path / "log", story.broken()) if one.get("status") == "failed"]
    assert event == {
        "at": "2026-06-10T14:01:06.200Z",
        "level": "warning",
        "event": "step.status",
        "run": story.RUN,
        "runbook": "provider-maintenance",
        "epoch": 1,
        "seq": 21,
        "step": "shift",
        "attempt": 1,
        "action": "traffic.shift",
        "status": "failed",
        "reason": f"mail-flows failed: {story.LOSSY}",
        "was": "verifying",
        "seconds": 30.0,
    }


@pytest.mark.parametrize(
    ("told", "event", "level", "part"),
    [
        (story.breached(), "guard.breach", "warning", {"check": "serving", "judgement": "fail", "gate": "guard"}),
        (story.done(), "person.approval", "info", {"by": "alice", "note": "provider says rebooted", "epoch": 0}),
        (story.stuck(), "run.status", "error", {"status": "stuck", "was": "undoing"}),
        (story.drained(), "step.outcome", "info", {"step": "drain", "result": "reached", "seconds": 8.0}),
        (story.broken(), "check.verdict", "warning", {"judgement": "fail", "check": "mail-flows", "samples": 3012}),
    ],
    ids=["guard", "person", "stuck", "outcome", "verdict"],
)
def test_what_matters_stands_out(tmp_path: Path, told: Story, event: str, level: str, part: dict[str, Any]) -> None:
    """Each kind of event has its name and fields, and what is bad a level that an alert can be made of."""
    last = [one for one in logged(tmp_path / "log", told) if one["event"] == event][-1]
    assert {key: last.get(key) for key in part} == part
    assert last["level"] == level


def test_progress_is_for_debugging(tmp_path: Path) -> None:
    """At level debug it is logged with its numbers; one that JSON cannot write is null."""
    told = story.draining(1).progress("drain", "odd", left=float("nan"))
    *_, one, odd = logged(tmp_path / "log", told, level="debug")
    assert (one["event"], one["level"], one["numbers"]["sessions"]) == ("step.progress", "debug", 50)
    assert odd["numbers"] == {"left": None}


def test_a_resumed_run_goes_on_in_its_log(tmp_path: Path) -> None:
    """What earlier owners have logged is not said again, and it is still known for how long things were so."""
    before, path = story.shifted().run("interrupted", "SIGTERM"), tmp_path / "log"
    logged(path, before)
    number = len(path.read_text().splitlines())
    after = story.shifted().run("interrupted", "SIGTERM").wait(60).taken_over().run("running")
    events = logged(path, after, so_far=len(before.entries))
    assert len(events) == number + 1
    assert {key: events[-1][key] for key in ("status", "was", "seconds", "epoch")} == {
        "status": "running",
        "was": "interrupted",
        "seconds": 60.0,
        "epoch": 2,
    }


def test_what_people_said_meanwhile_is_logged_by_the_next_owner(tmp_path: Path) -> None:
    """Approvals given while nobody worked on the run, or before it began, are in the log."""
    told = story.held().run("interrupted", "SIGTERM").approve("window", "alice")
    assert names(logged(tmp_path / "log", told, so_far=len(told.entries))) == ["window:person.approval"]


def test_an_unknown_kind_is_an_event_too() -> None:
    """What the journal learns later is not lost on the log."""
    entry = Entry(run="r", at=1.0, epoch=1, kind="duration", step="shift", data={"seconds": 12.0, "direction": "out"})
    assert Events(ACTIONS).of(entry) == (
        "info",
        "step.duration",
        {
            "at": "1970-01-01T00:00:01.000Z",
            "epoch": 1,
            "seq": 0,
            "step": "shift",
            "attempt": 0,
            "action": "traffic.shift",
            "seconds": 12.0,
            "direction": "out",
        },
    )


def test_missing_entries_do_not_confuse_it() -> None:
    """A log that has missed entries goes on with the next one."""
    events = Events(ACTIONS)
    for entry in story.undone().entries[::3]:
        events.of(entry)


def test_no_secret_gets_into_the_log(tmp_path: Path) -> None:
    """What was read as a secret is masked in every field."""
    remember("opensesame-42")
    logged(tmp_path / "log", story.escaped().step("shift", "gating").step("shift", "failed", "535 opensesame-42"))
    text = (tmp_path / "log").read_text()
    assert ("opensesame" in text, "535 ***" in text) == (False, True)


def test_a_log_that_comes_back_is_written_again(tmp_path: Path) -> None:
    """A folder that was away for some entries costs those, and the next line is whole."""
    folder = tmp_path / "logs"
    log = EventLog(folder / "log", redact_logs)
    log.begin(story.RUN, story.plan(), [], dict)
    first, second, *_ = story.done().entries
    with pytest.raises(FileNotFoundError):
        log.entry(first)
    folder.mkdir()
    log.entry(second)
    log.end()
    assert [json.loads(line)["step"] for line in (folder / "log").read_text().splitlines()] == ["escape"]


def test_a_log_is_not_for_everybody(tmp_path: Path) -> None:
    """Reasons may name hosts and people: others than the group cannot read a log that we make."""
    logged(tmp_path / "log", story.escaped())
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0
