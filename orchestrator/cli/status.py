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
from orchestrator.cli.ownership import OVER, holder_of, notice_of, owner_of
from orchestrator.cli.record import open_record
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

    With --watch a run whose owner has gone is watched on, until it is resumed and ends. Ctrl-C never touches the run.

    Exit codes: 0 shown; 1 there is no such run, or bad input. With --watch the run's: 0 done; 1 refused; 3 failed or
    aborted, and undone; 4 stuck; and 0 after Ctrl-C.
    """
    from orchestrator.wiring import find_journal, own_journal

    if by_hand and run is None:
        message = "cannot say what is left to do by hand: no run is named"
        raise RefusedError(message, remedy="write: failover status RUN --by-hand")
    if watching:
        _until_interrupted(lambda: _watch(journal, run, as_json=as_json, by_hand=by_hand))
    if run is not None:
        with open_record(journal) as record:
            _show(record, record.run(run), as_json=as_json, by_hand=by_hand)
        return
    found = find_journal(journal)
    if found is None:
        _say_empty(own_journal(), as_json=as_json)
        return
    with found:
        _list(found, as_json=as_json)


def _say_empty(journal: Path, *, as_json: bool) -> None:
    if not as_json:  # whose lines are runs
        print(f"no runs yet ({journal})")


def _list(record: SqliteJournal, *, as_json: bool) -> None:
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.records import runs_table
    from orchestrator.status import fold
    from orchestrator.wiring import typed_run

    rows = record.runs()
    if not rows:
        _say_empty(record.path, as_json=as_json)
        return
    if as_json:
        for row in rows:
            _show(record, row, as_json=True)
        return
    holders = {row.run: holder_of(row.run) for row in rows}
    states = {row.run: fold(record.entries(row.run)) for row in rows}
    show(runs_table(rows, states, SystemClock().now()))
    for name, holder in holders.items():
        if (said := notice_of(holder, states[name], typed_run(record, name))) is not None:
            print(f"{name}: {said}")


def _show(record: SqliteJournal, row: RunRow, *, as_json: bool, by_hand: bool = False) -> None:
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.records import json_line, status_view
    from orchestrator.status import fold
    from orchestrator.wiring import read_plan, typed_run

    holder = holder_of(row.run)
    owner = None if holder is None else str(holder)
    plan, entries, typed = read_plan(row.plan, row.run), record.entries(row.run), typed_run(record, row.run)
    if as_json:
        print(json_line(whole_record(plan, row, entries, owner, typed)))
        return
    show(status_view(plan, row, entries, SystemClock().now(), typed, left=holder is None))
    if (said := notice_of(holder, fold(entries), typed)) is not None:
        print(said if holder is not None else said.words)  # what to type where nobody works on it stands above
    show_by_hand(plan, typed, entries, owner, unasked=not by_hand)


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


def _watch(journal: Path | None, run: str | None, *, as_json: bool, by_hand: bool) -> int:
    """Show one run until it has ended; gives its exit code."""
    from orchestrator.report.records import json_line
    from orchestrator.report.summary import exit_code, summary
    from orchestrator.wiring import read_plan, typed_run

    with open_record(journal) as record:
        row = record.run(run) if run is not None else _under_way(record)
        plan, typed = read_plan(row.plan, row.run), typed_run(record, row.run)
        look = Lookout(record, record.path, row.run).look
        state = watch(plan, row.run, look, lambda: time.sleep(POLL), typed, as_json=as_json)
        entries = record.entries(row.run)
    if as_json:
        print(json_line(whole_record(plan, row, entries, None, typed)))
    else:
        show(summary(plan, entries, row.run, typed))
        show_by_hand(plan, typed, entries, None, unasked=not by_hand)
    return exit_code(state)


def _under_way(record: SqliteJournal) -> RunRow:
    """The newest run that somebody works on, else the newest that is not over.

    Raises:
        RefusedError: all are over.
    """
    from orchestrator.wiring import typed_journal

    rows = [row for row in record.runs() if row.status not in OVER]
    if not rows:
        message = f"cannot watch: no run is under way in {record.path}"
        raise RefusedError(message, remedy=f"name one that is over, of: failover status{typed_journal(record)}")
    return next((row for row in rows if owner_of(row.run) is not None), rows[0])
