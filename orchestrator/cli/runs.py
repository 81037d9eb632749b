"""``failover run``, ``resume``, ``undo``, ``approve`` and ``status``: a run from its first step to its last."""

from __future__ import annotations

import asyncio
import getpass
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import files
from orchestrator.cli.options import AsJson, InventoryFiles, JournalFile, Parameters, RunbookFile, RunName
from orchestrator.cli.output import answers_errors, reporting, show
from orchestrator.errors import Fenced, InputError, Problem, RefusedError

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine
    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.model.plan import Plan
    from orchestrator.status import RunState

Work = Callable[["Engine"], Awaitable["RunState"]]


@answers_errors
def run(
    runbook: RunbookFile,
    inventory: InventoryFiles,
    param: Parameters = None,
    approve: Annotated[
        list[str] | None,
        typer.Option("--approve", help="Approve this hold ahead, so that nobody is waited for.", metavar="STEP"),
    ] = None,
    journal: JournalFile = None,
    as_json: AsJson = False,
) -> None:
    """Plan a runbook, then do it, step by step, gated; undo everything when something fails.

    Exit codes: 0 done; 1 refused, nothing was touched; 3 failed and undone; 4 stuck, a person must look;
    5 held or interrupted, go on with 'failover resume'.
    """
    from orchestrator.adapters.clock import SystemClock

    loaded = files.load(runbook, inventory, param)
    ahead = _holds(approve or [], loaded)
    plan = files.make_plan(loaded)
    if not as_json:
        from orchestrator.report.diff import plan_text

        print(plan_text(plan))
    record = _open(journal)
    clock = SystemClock()
    name = _new_name(clock.now())
    with _locked(plan, name):
        record.create(name, plan.model_dump_json(by_alias=True), plan.runbook.runbook, clock.now())
        for step in ahead:
            _approve(record, name, step, note="given ahead, with --approve", ahead=True)
        state = _work(plan, name, record, lambda engine: engine.run(), as_json=as_json)
    _finish(plan, name, record, state, as_json=as_json, in_lab=loaded.in_lab)


@answers_errors
def resume(run: RunName, journal: JournalFile = None, as_json: AsJson = False) -> None:
    """Go on with a run that is held, or that was interrupted or killed; what it was undoing, it goes on undoing."""
    from orchestrator.status import RunStatus

    record, plan, name, state = _known(run, journal)
    if state.status in {RunStatus.DONE, RunStatus.UNDONE, RunStatus.REFUSED}:
        raise RefusedError(f"cannot resume {name}: it is {state.status}", remedy="start a new one with: failover run")
    with _locked(plan, name):
        state = _work(plan, name, record, lambda engine: engine.run(), as_json=as_json)
    _finish(plan, name, record, state, as_json=as_json)


@answers_errors
def undo(run: RunName, journal: JournalFile = None, as_json: AsJson = False) -> None:
    """Take back what a run has done and not returned yet, the last step first, gated."""
    from orchestrator.report.summary import exit_code_of_undo
    from orchestrator.status import RunStatus

    record, plan, name, state = _known(run, journal)
    if state.status in {RunStatus.UNDONE, RunStatus.REFUSED, RunStatus.PLANNED}:
        raise RefusedError(f"cannot undo {name}: it is {state.status}, so there is nothing to take back")
    with _locked(plan, name):
        work: Work = lambda engine: engine.undo(f"asked for by {_who()}")  # noqa: E731 - one line, used once
        state = _work(plan, name, record, work, as_json=as_json)
    _finish(plan, name, record, state, as_json=as_json, code=exit_code_of_undo)


@answers_errors
def approve(
    run: RunName,
    step: Annotated[str, typer.Argument(help="The hold to release.", metavar="STEP")],
    note: Annotated[str, typer.Option(help="Why; it is kept in the journal.")] = "",
    journal: JournalFile = None,
) -> None:
    """Release a hold of a run, also from another terminal; it is journalled with your name."""
    from orchestrator.model.runbook import HoldStep
    from orchestrator.status import RunStatus, StepStatus

    record, plan, name, state = _known(run, journal)
    holds = [it.id for it in plan.runbook.steps if isinstance(it, HoldStep)]
    if step not in holds:
        problem = Problem(f"cannot approve {step}: {name} has no such hold", f"it has {', '.join(holds) or 'none'}")
        raise InputError([problem])
    over = state.status in {RunStatus.DONE, RunStatus.UNDONE, RunStatus.REFUSED}
    if over or state.step(step).status in {StepStatus.DONE, StepStatus.UNDONE}:
        raise RefusedError(f"cannot approve {step}: it is over already in {name} ({state.status})")
    _approve(record, name, step, note=note, ahead=False)
    print(f"{step} of {name} approved by {_who()}")
    if state.status is RunStatus.INTERRUPTED:
        print(f"nobody works on this run now: failover resume {name}")


@answers_errors
def status(
    run: Annotated[str | None, typer.Argument(help="The run; all of them when left out.", metavar="RUN")] = None,
    journal: JournalFile = None,
    as_json: AsJson = False,
) -> None:
    """Show where a run stands, or list all runs. Reads the journal only."""
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.records import json_line, run_record, runs_table, status_view
    from orchestrator.status import fold

    record = _open(journal)
    if run is None:
        rows = record.runs()
        states = {row.run: fold(record.entries(row.run)) for row in rows}
        if as_json:
            for row in rows:
                print(json_line(run_record(_plan(row.plan, row.run), row, record.entries(row.run))))
        else:
            show(runs_table(rows, states, SystemClock().now()))
        return
    row = record.run(run)
    plan, entries = _plan(row.plan, row.run), record.entries(row.run)
    if as_json:
        print(json_line(run_record(plan, row, entries)))
    else:
        show(status_view(plan, row, entries, SystemClock().now()))


def _open(path: Path | None) -> SqliteJournal:
    from orchestrator.wiring import open_journal

    return open_journal(path)


def _plan(text: str, run: str) -> Plan:
    from orchestrator.wiring import read_plan

    return read_plan(text, run)


def _known(run: str, journal: Path | None) -> tuple[SqliteJournal, Plan, str, RunState]:
    from orchestrator.status import fold

    record = _open(journal)
    row = record.run(run)
    return record, _plan(row.plan, row.run), row.run, fold(record.entries(row.run))


class _locked:  # noqa: N801 - used as a function
    """The run and its pools, for this process alone while the block lasts."""

    def __init__(self, plan: Plan, run: str) -> None:
        from orchestrator.adapters.clock import SystemClock
        from orchestrator.wiring import lock_names, open_lock

        self._lock = open_lock(SystemClock())
        self._names = [f"run {run}", *lock_names(plan)]
        self._owner = f"run {run} of {_who()} (process {os.getpid()})"

    def __enter__(self) -> None:
        self._lock.acquire(self._names, self._owner)

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _work(plan: Plan, name: str, journal: SqliteJournal, work: Work, *, as_json: bool) -> RunState:
    """Let an engine work; SIGINT and SIGTERM stop it at its next safe point."""
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import open_engine

    clock = SystemClock()
    with reporting(plan, clock, journal.entries(name), as_json=as_json) as listener:

        async def interruptible() -> RunState:
            engine = open_engine(plan, name, journal, clock, listener)
            loop = asyncio.get_running_loop()

            def interrupt(number: signal.Signals) -> None:
                engine.interrupt(f"interrupted by {number.name}")
                loop.remove_signal_handler(number)  # a second one ends the process; the journal knows how to go on

            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, interrupt, number)
            return await work(engine)

        try:
            return asyncio.run(interruptible())
        except Fenced as fenced:
            raise RefusedError(str(fenced), remedy=f"see who: failover status {name}") from fenced


def _finish(
    plan: Plan,
    name: str,
    journal: SqliteJournal,
    state: RunState,
    *,
    as_json: bool,
    in_lab: bool = False,
    code: Callable[[RunState], int] | None = None,
) -> None:
    """The closing summary, and the exit code."""
    from orchestrator.report.records import json_line, run_record
    from orchestrator.report.summary import exit_code, summary

    row, entries = journal.run(name), journal.entries(name)
    if as_json:
        print(json_line(run_record(plan, row, entries)))
    else:
        show(summary(plan, entries, name))
        if in_lab:
            from orchestrator.cli.lab import show_ledger

            show_ledger()
    journal.close()
    raise typer.Exit((code or exit_code)(state))


def _holds(steps: Sequence[str], loaded: files.Loaded) -> Sequence[str]:
    """The holds that are approved ahead.

    Raises:
        InputError: one names no hold of the runbook.
    """
    from orchestrator.model.runbook import HoldStep

    holds = [step.id for step in loaded.runbook.runbook.steps if isinstance(step, HoldStep)]
    known = f"it has {', '.join(holds)}" if holds else "it has none"
    wrong = [
        Problem(f"cannot approve {it} ahead: the runbook has no such hold", known) for it in steps if it not in holds
    ]
    if wrong:
        raise InputError(wrong)
    return steps


def _approve(journal: SqliteJournal, run: str, step: str, *, note: str, ahead: bool) -> None:
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.model.journal import Entry

    data: dict[str, object] = {"by": _who(), "note": note, "ahead": ahead}
    journal.append(
        Entry.model_validate(
            {"run": run, "at": SystemClock().now(), "epoch": 0, "kind": "approval", "step": step, "data": data}
        )
    )


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _new_name(now: float) -> str:
    """A name that sorts by time and is short enough to type: 20260914-0312-7f3a."""
    import datetime
    import secrets

    at = datetime.datetime.fromtimestamp(now, tz=datetime.UTC)
    return f"{at:%Y%m%d-%H%M}-{secrets.token_hex(2)}"
