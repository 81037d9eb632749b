"""Another terminal shows a run to its end, whoever works on it, and is never in the way of who does."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.filelock import LEASE, FileLock
from orchestrator.cli.ownership import locked, who
from orchestrator.cli.watch import Look, Lookout, Owner, follow, owner_from
from orchestrator.errors import JournalError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.journal import Entry
from orchestrator.status import RunStatus

from .desk import RUN, Desk

ABANDONED = f"nobody works on this run now: failover resume {RUN}"
BEGIN = 1_700_000_000.0


def says(journal: SqliteJournal, status: RunStatus) -> None:
    """The run's owner journals a status."""
    entry = Entry(run=RUN, at=BEGIN, epoch=journal.epoch(RUN), kind="run", data={"status": status.value, "reason": ""})
    journal.append(entry)


def ends(journal: SqliteJournal, status: RunStatus, work: ExitStack) -> None:
    """The run's owner journals its last status, and lets go of the run."""
    says(journal, status)
    work.close()


def looks(desk: Desk, *pauses: Callable[[], object]) -> list[Look]:
    """What is seen of the run when these things happen, one in each pause between two looks."""
    happenings = iter(pauses)
    with desk.journal() as journal:
        lookout = Lookout(journal, desk.state / "journal.sqlite", RUN)
        return list(follow(lookout.look, lambda: do(next(happenings))))


def do(happening: Callable[[], object]) -> None:
    """Let it happen."""
    happening()


def seen(found: Sequence[Look]) -> list[tuple[bool, list[object]]]:
    """Of each look: whether somebody works on the run, and the statuses that are new."""
    return [(look.owner is not None, [entry.data["status"] for entry in look.entries]) for look in found]


@contextmanager
def watching(desk: Desk, *arguments: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A watcher in a process of its own, which ends with the block."""
    command = [sys.executable, "-m", "orchestrator", "status", *arguments, "--watch"]
    environment = {**os.environ, "FAILOVER_STATE": str(desk.state), "TERM": "xterm"}
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def line_with(process: subprocess.Popen[str], part: str) -> str:
    """Its next line that has this in it."""
    assert process.stdout is not None
    for line in process.stdout:
        if part in line:
            return line
    raise AssertionError(f"it ended without {part!r}")


def test_what_is_there_and_what_comes(desk: Desk) -> None:
    """The first look has the whole journal, later ones only what is new, and quiet ones are not told."""
    plan = desk.has_run(RunStatus.RUNNING)
    with desk.journal() as owner, ExitStack() as work:
        work.enter_context(locked(plan, RUN))
        found = looks(
            desk,
            lambda: None,
            lambda: says(owner, RunStatus.HELD),
            lambda: None,
            lambda: says(owner, RunStatus.RUNNING),
            lambda: ends(owner, RunStatus.DONE, work),
        )
    assert seen(found) == [(True, ["running"]), (True, ["held"]), (True, ["running"]), (False, ["done"])]
    assert found[-1].state.status is RunStatus.DONE


def test_a_new_owner_goes_on_in_the_same_view(desk: Desk) -> None:
    """An owner who has gone is told once and waited for, also after an interruption; the next one ends the watch."""
    plan = desk.has_run(RunStatus.RUNNING)
    with desk.journal() as owner, ExitStack() as work:
        found = looks(
            desk,
            lambda: None,
            lambda: work.enter_context(locked(plan, RUN)),
            lambda: says(owner, RunStatus.INTERRUPTED),
            work.close,
            lambda: None,
            lambda: owner.take(RUN),
            lambda: says(owner, RunStatus.UNDOING),
            lambda: says(owner, RunStatus.UNDONE),
        )
    nobody, somebody = False, True
    assert seen(found) == [
        (nobody, ["running"]),
        (somebody, []),
        (somebody, ["interrupted"]),
        (nobody, []),
        (nobody, ["undoing"]),
        (nobody, ["undone"]),
    ]
    assert found[-1].state.epoch == 2


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ([RunStatus.RUNNING, RunStatus.DONE], 0),
        ([RunStatus.REFUSED], 1),
        ([RunStatus.RUNNING, RunStatus.UNDOING, RunStatus.UNDONE], 3),
        ([RunStatus.RUNNING, RunStatus.STUCK], 4),
    ],
    ids=["done", "refused", "undone", "stuck"],
)
def test_a_run_that_has_ended_gives_its_exit_code(desk: Desk, way: list[RunStatus], code: int) -> None:
    """What is over is told once, with its summary, and ends the watch at once with the run's exit code."""
    desk.has_run(*way)
    ended = desk.failover("status", RUN, "--watch")
    assert (ended.exit_code, "nobody" in ended.stdout) == (code, False)
    assert way[-1].value in ended.stdout
    records = [json.loads(line) for line in desk.failover("status", RUN, "--watch", "--json").stdout.splitlines()]
    assert [record["data"]["status"] for record in records[:-1]] == [status.value for status in way]
    assert (records[-1]["status"], records[-1]["owner"]) == (way[-1].value, None)


def test_an_owner_who_gives_no_sign_of_life(tmp_path: Path) -> None:
    """What the lock tells of an owner who has stopped is one owner who is silent, however long."""

    class HandClock(SystemClock):
        ahead = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.ahead

    clock = HandClock()
    lock = FileLock(tmp_path, clock)
    lock.acquire([f"run {RUN}"], f"run {RUN} of ann@mx (process 7)")
    found = []
    for clock.ahead in (0.0, LEASE + 1, LEASE + 99):
        holder = lock.holder(f"run {RUN}")
        assert holder is not None
        found.append(owner_from(holder, RUN))
    lock.release()
    assert found == [Owner("ann@mx (process 7)"), *[Owner("ann@mx (process 7)", silent=True)] * 2]


def test_a_run_that_is_done_and_taken_back_is_watched(desk: Desk) -> None:
    """While somebody works on a run that is done, as its undo begins, the watch goes on."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.DONE)
    with desk.journal() as owner, ExitStack() as work:
        work.enter_context(locked(plan, RUN))
        found = looks(
            desk,
            lambda: says(owner, RunStatus.UNDOING),
            lambda: ends(owner, RunStatus.UNDONE, work),
        )
    assert [look.state.status.value for look in found] == ["done", "undoing", "undone"]


def test_without_a_name_the_run_under_way_is_watched(desk: Desk) -> None:
    """It is the newest that somebody works on, else the newest that is not over; with none there is a remedy."""
    nothing = desk.failover("status", "--watch")
    assert (nothing.exit_code, "journal.sqlite: it does not exist" in nothing.stderr) == (1, True)
    desk.has_run(RunStatus.REFUSED, run="newest")
    over = desk.failover("status", "--watch")
    assert (over.exit_code, "no run is under way" in over.stderr, "failover status" in over.stderr) == (1, True, True)
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.STUCK, run="older")
    desk.has_run(RunStatus.RUNNING, RunStatus.STUCK, run="newer")
    assert "newer" in desk.failover("status", "--watch").stdout
    with locked(plan, "older"), watching(desk, "--json") as watcher:
        assert json.loads(line_with(watcher, '"owner"'))["run"] == "older"


def test_lines_tell_who_works_on_the_run(desk: Desk) -> None:
    """Where there is no terminal, the history, each owner and the summary are lines; the exit code is the run's."""
    plan = desk.has_run(RunStatus.RUNNING)
    with watching(desk, RUN) as watcher, desk.journal() as owner:
        assert f"run     running      {RUN}: wait" in line_with(watcher, "running")
        assert ABANDONED in line_with(watcher, "owner")
        with locked(plan, RUN):
            assert f"{who()} (process " in line_with(watcher, "works on it")
            says(owner, RunStatus.UNDOING)
            says(owner, RunStatus.UNDONE)
            line_with(watcher, "undone")
        rest, errors = watcher.communicate(timeout=20)
    assert ("the world is as before" in rest, "nobody" in rest, errors, watcher.returncode) == (True, False, "", 3)


def test_a_terminal_shows_the_live_tree(desk: Desk) -> None:
    """On a terminal the tree is drawn with who works on the run below it; at the end the cursor is back."""
    plan = desk.has_run(RunStatus.RUNNING)
    with (
        locked(plan, RUN),
        terminal() as (screen, slave),
        desk.journal() as owner,
        watching(desk, RUN, stdout=slave) as watcher,
    ):
        os.close(slave)
        drawn = until(screen, "works on it")
        says(owner, RunStatus.UNDOING)
        drawn += until(screen, "undoing")
        watcher.send_signal(signal.SIGTERM)
        drawn += until(screen, "\x1b[?25h")
        assert watcher.wait(timeout=20) == 0
    assert drawn.index(f"run {RUN}") < drawn.index("window") < drawn.index(f"{who()} (process")
    assert "\x1b[?25l" in drawn


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal; who takes the second one closes it."""
    screen, slave = pty.openpty()
    try:
        yield screen, slave
    finally:
        os.close(screen)


def until(screen: int, part: str) -> str:
    """What the terminal shows, up to this."""
    shown = ""
    while part not in shown:
        shown += os.read(screen, 65536).decode()
    return shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_the_watch_leaves_the_run(desk: Desk, number: signal.Signals) -> None:
    """Ctrl-C ends the watching with exit code 0, says so without a traceback, and writes nothing into the journal."""
    plan = desk.has_run(RunStatus.RUNNING)
    with locked(plan, RUN), watching(desk, RUN) as watcher:
        line_with(watcher, "works on it")
        watcher.send_signal(number)
        _, errors = watcher.communicate(timeout=20)
    assert (watcher.returncode, errors) == (0, "the watching has ended; the run is not affected\n")
    assert desk.stands().entries == 1


def test_a_reader_who_has_gone_ends_the_watch(desk: Desk) -> None:
    """When its pipe is closed, a watcher ends at the next line, quietly."""
    plan = desk.has_run(RunStatus.RUNNING)
    with locked(plan, RUN), watching(desk, RUN) as watcher, desk.journal() as owner:
        line_with(watcher, "works on it")
        assert watcher.stdout is not None
        assert watcher.stderr is not None
        watcher.stdout.close()
        says(owner, RunStatus.HELD)
        assert watcher.wait(timeout=20) >= 0
        assert watcher.stderr.read() == ""


@pytest.mark.parametrize("instead", ["nothing", "another"])
def test_a_journal_that_vanishes_is_told(desk: Desk, instead: str) -> None:
    """When the file has gone, or another is in its place, the watch does not read on in the old one: one error."""
    desk.has_run(RunStatus.RUNNING)
    path = desk.state / "journal.sqlite"

    def vanish() -> None:
        path.rename(desk.state / "moved")
        if instead == "another":
            path.write_bytes(b"")

    with pytest.raises(JournalError, match=f"cannot watch run {RUN}: the journal .* is gone, or another file"):
        looks(desk, lambda: None, vanish)


def test_a_damaged_journal_is_told(desk: Desk) -> None:
    """What the journal itself cannot answer ends the watch with its message and exit code 1."""
    desk.has_run(RunStatus.RUNNING)
    (desk.state / "journal.sqlite").write_bytes(b"no database" * 1000)
    refused = desk.failover("status", RUN, "--watch")
    assert (refused.exit_code, refused.stderr.count("cannot open the journal")) == (1, 1)


@pytest.mark.lab
def test_many_watchers_are_in_nobodys_way(desk: Desk) -> None:
    """Eight watchers and an approval at once delay no write of the owner by a second, and each sees every entry."""
    plan = desk.has_run(RunStatus.RUNNING)
    waits: list[float] = []
    with ExitStack() as terminals, desk.journal() as owner:
        watchers = [terminals.enter_context(watching(desk, RUN, "--json")) for _ in range(8)]
        with locked(plan, RUN):
            for watcher in watchers:
                line_with(watcher, '"owner"')
            with desk.start("approve", RUN, "window", "--ahead") as approval:
                while approval.poll() is None or len(waits) < 100:
                    before = time.monotonic()
                    owner.append(progress(owner, len(waits)))
                    waits.append(time.monotonic() - before)
                    time.sleep(0.01)
            says(owner, RunStatus.DONE)
        told = [read(watcher) for watcher in watchers]
        entries = [entry.seq for entry in owner.entries(RUN)]
    assert (approval.returncode, max(waits) < 1.0) == (0, True)
    for records in told:
        events = [record for record in records if record.get("event") not in {"owner", None}]
        assert [record["seq"] for record in events] == entries[1:]
        assert records[-1]["status"] == "done"
    assert {watcher.returncode for watcher in watchers} == {0}


def progress(journal: SqliteJournal, number: int) -> Entry:
    """A step's words."""
    text = {"text": f"{number} sessions left"}
    return Entry(run=RUN, at=BEGIN, epoch=journal.epoch(RUN), kind="progress", step="window", data=dict(text))


def read(watcher: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What it has still to say, until it ends."""
    output, errors = watcher.communicate(timeout=30)
    assert errors == ""
    return [json.loads(line) for line in output.splitlines()]
