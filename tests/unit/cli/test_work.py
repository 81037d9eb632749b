"""However the work on a run ends, the exit code is true and the next command is named."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from pathlib import Path

import pytest
import typer

from orchestrator.cli.output import to_whom_may_be_gone
from orchestrator.cli.ownership import locked
from orchestrator.cli.work import closing, work
from orchestrator.engine.engine import Engine
from orchestrator.errors import Fenced, JournalError, UnfitError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.journal.sqlite_file import translated
from orchestrator.ports import RunRow
from orchestrator.status import RunState, RunStatus

from .desk import RUN, Desk

RUNBOOK = """\
version: 1
runbook: wait
steps:
  - {id: window, do: hold, with: {until: approval}}
"""
INVENTORY = Path(__file__).parents[1] / "load" / "inventory.yaml"


@pytest.mark.parametrize(
    ("trouble", "code", "told"),
    [
        (KeyboardInterrupt(), 5, [f"failover status {RUN}", f"failover resume {RUN}"]),
        (Fenced("run r1 has a newer owner"), 5, ["has a newer owner", f"failover status {RUN}"]),
        (JournalError("cannot append: the disk is full"), 4, ["disk is full", "room", f"failover resume {RUN}"]),
        (
            ExceptionGroup("both", [JournalError("cannot append: the disk is full")]),
            4,
            ["disk is full", f"failover resume {RUN}"],
        ),
        (
            ZeroDivisionError("ours"),
            4,
            ["Traceback", "ours", "bug", f"failover status {RUN}", f"failover resume {RUN}", f"failover undo {RUN}"],
        ),
        (UnfitError("cannot see the queue"), 4, ["cannot see the queue", f"failover status {RUN}"]),
    ],
    ids=["second-signal", "fenced", "journal", "journal-side-by-side", "bug", "leaked"],
)
def test_work_that_breaks_off(
    desk: Desk, capsys: pytest.CaptureFixture[str], trouble: BaseException, code: int, told: list[str]
) -> None:
    """Never 1, which promises that nothing was touched: 5 where it can just be resumed, 4 where a person must look."""
    plan = desk.has_run(RunStatus.RUNNING)

    async def broken(engine: Engine) -> RunState:
        raise trouble

    with desk.journal() as journal, locked(plan, RUN) as lock, pytest.raises(typer.Exit) as left:
        work(plan, RUN, journal, broken, lock, as_json=True)
    said = capsys.readouterr()
    assert left.value.exit_code == code
    assert [part for part in told if part not in said.err] == []
    assert said.out == ""


class Impatience(SqliteJournal):
    """Ctrl-C is typed while the closing summary is put together."""

    def run(self, run: str) -> RunRow:
        """Never comes to an end."""
        raise KeyboardInterrupt


def test_an_impatient_reader_is_told_nothing_untrue(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C in the closing summary ends the summary alone: the run has ended, and its exit code stays."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.INTERRUPTED)
    with Impatience(desk.state / "journal.sqlite") as journal:
        closing(plan, RUN, journal, as_json=False)
    assert capsys.readouterr() == ("", "")


def test_a_journal_that_cannot_be_opened(desk: Desk, tmp_path: Path) -> None:
    """Before a run's engine starts, trouble with the journal is a refusal: exit code 1."""
    (tmp_path / "journal.sqlite").write_text("no database at all")
    refused = desk.failover("status")
    assert (refused.exit_code, "cannot open the journal" in refused.stderr) == (1, True)


def test_a_full_disk_promises_nothing(tmp_path: Path) -> None:
    """What was under way when the journal could not be written is not known, and is not said to be."""
    with contextlib.closing(sqlite3.connect(tmp_path / "full")) as full:
        full.execute("PRAGMA max_page_count = 1")
        with pytest.raises(JournalError, match=r"disk is full.* what was under way .* is not known"):  # noqa: SIM117
            with translated("append", tmp_path / "full"):
                full.execute("CREATE TABLE filled (it)")


def test_a_reader_who_has_gone_changes_nothing() -> None:
    """Output that fails in the end does not decide how it ends; other errors still do."""
    reader, writer = os.pipe()
    os.close(reader)
    with to_whom_may_be_gone():
        os.write(writer, b"done")
    os.close(writer)
    with pytest.raises(ZeroDivisionError), to_whom_may_be_gone():
        raise ZeroDivisionError


@pytest.fixture
def runbook(tmp_path: Path) -> str:
    """A runbook that waits until it is approved."""
    path = tmp_path / "wait.yaml"
    path.write_text(RUNBOOK)
    return str(path)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt_at_a_safe_point(desk: Desk, runbook: str, number: signal.Signals) -> None:
    """Each of them leaves the run interrupted with exit code 5, also when nobody can be told any more."""
    ours = signal.signal(number, signal.SIG_DFL)  # else a test under nohup(1) would hand its SIG_IGN down
    with desk.start("run", runbook, "-i", str(INVENTORY), "--json") as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            while '"converging"' not in process.stdout.readline():
                assert process.poll() is None, process.stderr.read()
            if number is signal.SIGHUP:  # ssh has dropped
                process.stdout.close()
                process.stderr.close()
            process.send_signal(number)
            assert process.wait(20) == 5
        finally:
            process.kill()
            signal.signal(number, ours)
    with desk.journal() as journal:
        run = journal.runs()[0].run
    state = desk.stands(run)
    assert (state.status, state.reason) == (RunStatus.INTERRUPTED, f"interrupted by {number.name}")
