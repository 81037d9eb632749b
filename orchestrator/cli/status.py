"""``failover status``: where runs stand, and whether anybody works on them."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from orchestrator.cli.by_hand import show_by_hand, whole_record
from orchestrator.cli.options import AsJson, JournalFile
from orchestrator.cli.output import answers_errors, show
from orchestrator.cli.ownership import OVER, abandoned, is_abandoned, owner_of
from orchestrator.cli.watch import POLL, Lookout, watch
from orchestrator.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.ports import RunRow


@answers_errors
def status(
    run: Annotated[
        str | None,
        typer.Argument(help="The run; when left out all of them, or with --watch the one under way.", metavar="RUN"),
    ] = None,
    watching: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it live until it has ended; Ctrl-C ends the watching alone.")
    ] = False,
    by_hand: Annotated[
        bool,
        typer.Option("--by-hand", help="Also print the commands by which a person takes back what it has changed."),
    ] = False,
    journal: JournalFile = None,
    as_json: AsJson = False,
) -> None:
    """Show where a run stands and whether anybody works on it, or list all runs.

    With --watch the exit code is the run's: 0 done; 1 refused; 3 failed and undone; 4 stuck. It is 0 after Ctrl-C,
    which never touches the run. A run whose owner has gone is watched on, until it is resumed and ends.
    """
    from orchestrator.wiring import open_journal, state_folder

    if by_hand and run is None:
        message = "cannot say what is left to do by hand: no run is named"
        raise RefusedError(message, remedy="write: failover status RUN --by-hand")
    if watching:
        path = journal or state_folder() / "journal.sqlite"
        _until_interrupted(lambda: _watch(path, run, as_json=as_json, by_hand=by_hand))
    with open_journal(journal) as record:
        if run is None:
            _list(record, as_json=as_json)
        else:
            _show(record, record.run(run), as_json=as_json, by_hand=by_hand)


def _list(record: SqliteJournal, *, as_json: bool) -> None:
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.records import runs_table
    from orchestrator.status import fold

    rows = record.runs()
    if as_json:
        for row in rows:
            _show(record, row, as_json=True)
        return
    owners = {row.run: owner_of(row.run) for row in rows}
    states = {row.run: fold(record.entries(row.run)) for row in rows}
    show(runs_table(rows, states, SystemClock().now()))
    for name, owner in owners.items():
        if is_abandoned(states[name].status, owner):
            print(f"{name}: {abandoned(name)}")


def _show(record: SqliteJournal, row: RunRow, *, as_json: bool, by_hand: bool = False) -> None:
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.records import json_line, status_view
    from orchestrator.status import fold
    from orchestrator.wiring import read_plan

    owner = owner_of(row.run)
    plan, entries = read_plan(row.plan, row.run), record.entries(row.run)
    if as_json:
        print(json_line(whole_record(plan, row, entries, owner)))
        return
    show(status_view(plan, row, entries, SystemClock().now()))
    if is_abandoned(fold(entries).status, owner):
        print(abandoned(row.run))
    show_by_hand(plan, row.run, entries, owner, unasked=not by_hand)


def _until_interrupted(task: Callable[[], int]) -> NoReturn:
    """End with the exit code of ``task``, or with 0 at Ctrl-C or SIGTERM: neither is meant for the run."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # it too gives the terminal its cursor back
    try:
        code = task()
    except KeyboardInterrupt:
        code = 0
        with suppress(OSError):
            print("the watching has ended; the run is not affected", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)
    raise typer.Exit(code)


def _watch(path: Path, run: str | None, *, as_json: bool, by_hand: bool) -> int:
    """Show one run until it has ended; gives its exit code."""
    from orchestrator.report.records import json_line
    from orchestrator.report.summary import exit_code, summary
    from orchestrator.wiring import open_journal, read_plan

    with open_journal(path) as record:
        row = record.run(run) if run is not None else _under_way(record)
        plan = read_plan(row.plan, row.run)
        look = Lookout(record, path, row.run).look
        state = watch(plan, row.run, look, lambda: time.sleep(POLL), as_json=as_json)
        entries = record.entries(row.run)
    if as_json:
        print(json_line(whole_record(plan, row, entries, None)))
    else:
        show(summary(plan, entries, row.run))
        show_by_hand(plan, row.run, entries, None, unasked=not by_hand)
    return exit_code(state)


def _under_way(record: SqliteJournal) -> RunRow:
    """The newest run that somebody works on, else the newest that is not over.

    Raises:
        RefusedError: all are over.
    """
    rows = [row for row in record.runs() if row.status not in OVER]
    if not rows:
        message = "cannot watch: no run is under way"
        raise RefusedError(message, remedy="name one that is over: failover status lists them")
    return next((row for row in rows if owner_of(row.run) is not None), rows[0])
