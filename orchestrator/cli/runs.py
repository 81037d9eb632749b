"""``failover run``, ``resume`` and ``undo``: a run from its first step to its last."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import files
from orchestrator.cli.approvals import approvable
from orchestrator.cli.beside import alone, may_go_on
from orchestrator.cli.options import (
    AsJson,
    BesideOthers,
    InventoryOfRunbook,
    JournalFile,
    Overrides,
    Parameters,
    RunName,
    TakeOver,
    WindowEnds,
)
from orchestrator.cli.output import answers_errors, to_whom_may_be_gone
from orchestrator.cli.ownership import OVER, locked, who
from orchestrator.cli.plan import end_of, is_saved_plan, make_plan, open_saved_plan, overrides_of, recheck, show_plan
from orchestrator.cli.record import approve_step, as_typed, known, make_record, open_record, say, state_of
from orchestrator.cli.telemetry import LogFile, MetricsFile, MetricsListen, TracesTo, telemetry
from orchestrator.cli.work import Task, closing, work
from orchestrator.errors import InputError, Problem, RefusedError

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine
    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.model.plan import Plan
    from orchestrator.status import RunState


@answers_errors
def run(
    runbook: Annotated[
        Path,
        typer.Argument(
            help="A runbook, or a plan that 'failover plan -o' saved.", metavar="RUNBOOK|PLAN", readable=False
        ),
    ],
    inventory: InventoryOfRunbook = None,
    param: Parameters = None,
    approve: Annotated[
        list[str] | None,
        typer.Option("--approve", help="Approve this step ahead, so that nobody is waited for.", metavar="STEP"),
    ] = None,
    override: Overrides = None,
    window_ends: WindowEnds = None,
    again: Annotated[bool, typer.Option("--again", help="Run a saved plan although it has been run before.")] = False,
    journal: JournalFile = None,
    log: LogFile = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    traces: TracesTo = None,
    as_json: AsJson = False,
) -> None:
    """Plan a runbook, then do it, step by step, gated; undo everything when something fails.

    A saved plan is run as it was reviewed: it is refused when the file or the world has changed since.

    Exit codes: 0 done; 1 refused, nothing was touched; 3 failed or aborted, and undone; 4 stuck, a person must look;
    5 held or interrupted, go on with 'failover resume'.
    """
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.summary import exit_code

    clock = SystemClock()
    name = _new_name(clock.now())
    with telemetry(log, metrics_file, metrics_listen, traces) as sinks, make_record(journal) as record:
        plan, in_lab = _to_run(runbook, inventory, param, override, window_ends, record)
        if is_saved_plan(runbook) and not again:
            _first_time(plan, record)
        ahead = [approvable(plan, step) for step in approve or []]
        if not as_json:
            show_plan(plan)
        with locked(plan, name) as lock:
            record.create(name, plan.model_dump_json(by_alias=True), plan.runbook.runbook, clock.now())
            for rule, reason in plan.overrides.items():
                say(record, name, "override", {"rule": rule, "reason": reason, "by": who()})
            for step in ahead:
                approve_step(record, name, step, who(), note="given ahead, with --approve", ahead=True)
            state = work(plan, name, record, lambda engine: engine.run(), lock, as_json=as_json, sinks=sinks)
        closing(plan, name, record, as_json=as_json, in_lab=in_lab)
    raise typer.Exit(exit_code(state))


def _to_run(
    file: Path,
    inventory: Sequence[Path] | None,
    parameters: Sequence[str] | None,
    override: Sequence[str] | None,
    window_ends: str | None,
    record: SqliteJournal,
) -> tuple[Plan, bool]:
    """The plan to run, and whether it is for the lab.

    Raises:
        InputError: what is named cannot be used.
        RefusedError: it must not be run.
    """
    if not os.path.lexists(file):
        raise InputError([Problem("cannot read this file: it does not exist", "check its path", file=str(file))])
    if not is_saved_plan(file):
        overrides, ends = overrides_of(override or []), end_of(window_ends)
        loaded = files.load(file, inventory, parameters)
        return make_plan(loaded, overrides, record, ends), loaded.in_lab
    given = {"-i": inventory, "-p": parameters, "--override": override, "--window-ends": window_ends}
    if needless := [name for name, it in given.items() if it]:
        why = f"cannot use {' and '.join(needless)} with a saved plan: it has its own"
        raise InputError([Problem(why, "leave them out, or make a new plan")])
    return open_saved_plan(file, record), False


def _first_time(plan: Plan, record: SqliteJournal) -> None:
    """Make sure that a reviewed plan is run once: a ticket is for one window.

    Raises:
        RefusedError: it was run before.
    """
    text = plan.model_dump_json(by_alias=True)
    for row in record.runs():
        if row.plan == text:
            message = f"cannot run this plan again: {row.run} was it ({row.status})"
            raise RefusedError(message, remedy="make a new one, or run it once more with --again")


@answers_errors
def resume(
    run: RunName,
    override: BesideOthers = None,
    take_over: TakeOver = False,
    journal: JournalFile = None,
    log: LogFile = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    traces: TracesTo = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that is held, or that was interrupted or killed; what it was undoing, it goes on undoing.

    A run that has touched nothing yet is refused when the world has moved since it was planned.

    Exit codes: 0 done; 1 refused; 3 failed or aborted, and undone; 4 stuck, a person must look; 5 held or interrupted.
    """
    from orchestrator.report.summary import exit_code
    from orchestrator.status import fold

    with telemetry(log, metrics_file, metrics_listen, traces) as sinks, open_record(journal) as record:
        plan, name = known(record, run)
        _resumable(record, name)
        if take_over:
            may_go_on(plan, name, record, override)  # before anybody is ended
        with locked(plan, name, typed=as_typed(record, name), take_over=take_over) as lock:
            _resumable(record, name)
            alone(plan, name, record, override)
            if not fold(record.entries(name)).touched:
                recheck(plan, [])
            state = work(plan, name, record, lambda engine: engine.run(), lock, as_json=as_json, sinks=sinks)
        closing(plan, name, record, as_json=as_json)
    raise typer.Exit(exit_code(state))


@answers_errors
def undo(
    run: RunName,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Take each step back in one move, without the pauses of the way out.")
    ] = False,
    override: BesideOthers = None,
    take_over: TakeOver = False,
    journal: JournalFile = None,
    log: LogFile = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    traces: TracesTo = None,
    as_json: AsJson = False,
) -> None:
    """Take back what a run has done and not returned yet, the last step first, gated; also long after it is done.

    Traffic goes back by the waypoints of the way out, with their pauses; with --at-once in one move, as it does
    after a failure. An undo that was under way goes on as it began.

    Exit codes: 0 undone, or closed as it had not begun; 1 refused; 4 stuck, a person must look; 5 interrupted, go on
    with the same command.
    """
    from orchestrator.report.summary import exit_code_of_undo
    from orchestrator.status import RunStatus

    with telemetry(log, metrics_file, metrics_listen, traces) as sinks, open_record(journal) as record:
        plan, name = known(record, run)
        _undoable(record, name)
        if take_over:
            may_go_on(plan, name, record, override)  # before anybody is ended
        with locked(plan, name, typed=as_typed(record, name), take_over=take_over) as lock:
            before = _undoable(record, name)
            if before.status is RunStatus.PLANNED:
                work(plan, name, record, _close, lock, as_json=as_json, sinks=sinks)
                with to_whom_may_be_gone():
                    print(f"{name} is closed: it had not begun")
                return
            alone(plan, name, record, override)
            paced = not at_once and (before.paced or not before.undoing)
            task: Task = lambda engine: engine.undo(f"asked for by {who()}", paced=paced)  # noqa: E731 - used once
            state = work(plan, name, record, task, lock, as_json=as_json, sinks=sinks)
        closing(plan, name, record, as_json=as_json)
    raise typer.Exit(exit_code_of_undo(state))


def _resumable(record: SqliteJournal, run: str) -> None:
    """Make sure that there is something to go on with. Ask before the run is locked, and again when it is.

    Raises:
        RefusedError: it is over.
    """
    status = state_of(record, run).status
    if status in OVER:
        raise RefusedError(f"cannot resume {run}: it is {status}", remedy="start a new one with: failover run")


def _undoable(record: SqliteJournal, run: str) -> RunState:
    """Where a run stands that can be taken back. Ask as ``_resumable``.

    Raises:
        RefusedError: there is nothing to take back.
    """
    state = state_of(record, run)
    if state.status in OVER - {"done"}:
        raise RefusedError(f"cannot undo {run}: it is {state.status}, so there is nothing to take back")
    return state


async def _close(engine: Engine) -> RunState:
    return engine.close(f"closed by {who()} before it began")


def _new_name(now: float) -> str:
    """A name that sorts by time and is short enough to type: 20260914-0312-7f3a."""
    import datetime
    import secrets

    at = datetime.datetime.fromtimestamp(now, tz=datetime.UTC)
    return f"{at:%Y%m%d-%H%M}-{secrets.token_hex(2)}"
