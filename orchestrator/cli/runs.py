"""``failover run``, ``resume``, ``undo``, ``approve`` and ``status``: a run from its first step to its last."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import files
from orchestrator.cli.approvals import approvable
from orchestrator.cli.options import (
    AsJson,
    BesideOthers,
    InventoryOfRunbook,
    JournalFile,
    Overrides,
    Parameters,
    RunName,
)
from orchestrator.cli.output import answers_errors, show, to_whom_may_be_gone
from orchestrator.cli.ownership import OVER, abandoned, is_abandoned, locked, owner_of, who
from orchestrator.cli.plan import is_saved_plan, make_plan, open_saved_plan, overrides_of, recheck, show_plan
from orchestrator.cli.work import Task, break_off, work
from orchestrator.errors import InputError, Problem, RefusedError

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine
    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.model.plan import Plan
    from orchestrator.ports import RunRow
    from orchestrator.status import RunState, RunStatus


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
    again: Annotated[bool, typer.Option("--again", help="Run a saved plan although it has been run before.")] = False,
    journal: JournalFile = None,
    as_json: AsJson = False,
) -> None:
    """Plan a runbook, then do it, step by step, gated; undo everything when something fails.

    A saved plan is run as it was reviewed: it is refused when the file or the world has changed since.

    Exit codes: 0 done; 1 refused, nothing was touched; 3 failed and undone; 4 stuck, a person must look;
    5 held or interrupted, go on with 'failover resume'.
    """
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.summary import exit_code

    clock = SystemClock()
    name = _new_name(clock.now())
    with _open(journal) as record:
        plan, in_lab = _to_run(runbook, inventory, param, override, record)
        if is_saved_plan(runbook) and not again:
            _first_time(plan, record)
        ahead = [approvable(plan, step) for step in approve or []]
        if not as_json:
            show_plan(plan)
        with locked(plan, name):
            record.create(name, plan.model_dump_json(by_alias=True), plan.runbook.runbook, clock.now())
            for rule, reason in plan.overrides.items():
                _record(record, name, "override", {"rule": rule, "reason": reason, "by": who()})
            for step in ahead:
                _approve(record, name, step, note="given ahead, with --approve", ahead=True)
            state = work(plan, name, record, lambda engine: engine.run(), as_json=as_json)
        _closing(plan, name, record, as_json=as_json, in_lab=in_lab)
    raise typer.Exit(exit_code(state))


def _to_run(
    file: Path,
    inventory: Sequence[Path] | None,
    parameters: Sequence[str] | None,
    override: Sequence[str] | None,
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
        overrides = overrides_of(override or [])
        loaded = files.load(file, inventory, parameters)
        return make_plan(loaded, overrides, record), loaded.in_lab
    needless = [name for name, it in (("-i", inventory), ("-p", parameters), ("--override", override)) if it]
    if needless:
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
def resume(run: RunName, override: BesideOthers = None, journal: JournalFile = None, as_json: AsJson = False) -> None:
    """Go on with a run that is held, or that was interrupted or killed; what it was undoing, it goes on undoing.

    A run that has touched nothing yet is refused when the world has moved since it was planned.
    """
    from orchestrator.report.summary import exit_code
    from orchestrator.status import fold

    with _open(journal) as record:
        plan, name = _known(record, run)
        with locked(plan, name):
            status = _status(record, name)
            if status in OVER:
                raise RefusedError(f"cannot resume {name}: it is {status}", remedy="start a new one with: failover run")
            _alone(plan, name, record, override)
            if not fold(record.entries(name)).touched:
                recheck(plan, [])
            state = work(plan, name, record, lambda engine: engine.run(), as_json=as_json)
        _closing(plan, name, record, as_json=as_json)
    raise typer.Exit(exit_code(state))


@answers_errors
def undo(run: RunName, override: BesideOthers = None, journal: JournalFile = None, as_json: AsJson = False) -> None:
    """Take back what a run has done and not returned yet, the last step first, gated."""
    from orchestrator.report.summary import exit_code_of_undo
    from orchestrator.status import RunStatus

    with _open(journal) as record:
        plan, name = _known(record, run)
        with locked(plan, name):
            status = _status(record, name)
            if status in {RunStatus.UNDONE, RunStatus.REFUSED}:
                raise RefusedError(f"cannot undo {name}: it is {status}, so there is nothing to take back")
            if status is RunStatus.PLANNED:
                work(plan, name, record, _close, as_json=as_json)
                print(f"{name} is closed: it had not begun")
                return
            _alone(plan, name, record, override)
            task: Task = lambda engine: engine.undo(f"asked for by {who()}")  # noqa: E731 - one line, used once
            state = work(plan, name, record, task, as_json=as_json)
        _closing(plan, name, record, as_json=as_json)
    raise typer.Exit(exit_code_of_undo(state))


async def _close(engine: Engine) -> RunState:
    return engine.close(f"closed by {who()} before it began")


def _alone(plan: Plan, run: str, record: SqliteJournal, override: str | None) -> None:
    """Make sure that no other run works on the same pools, or keep why this one goes on all the same.

    Raises:
        InputError: the override names another rule, or no reason.
        RefusedError: another run does.
    """
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import runs_on_same_pools

    reasons = overrides_of([override] if override else [])
    if set(reasons) - {"in-use"}:
        raise InputError([Problem("cannot override anything but in-use here", 'write --override in-use="why"')])
    others = runs_on_same_pools(plan.runbook, plan.inventory, record, SystemClock(), but=run)
    if others and not reasons:
        how = 'to go on all the same: --override in-use="why it is right"'
        raise RefusedError("\n".join((f"cannot go on with {run}:", *(f"  {it}" for it in others), how)))
    for rule, reason in reasons.items():
        _record(record, run, "override", {"rule": rule, "reason": reason, "by": who()})


@answers_errors
def approve(
    run: RunName,
    step: Annotated[str, typer.Argument(help="The step that waits for you.", metavar="STEP")],
    note: Annotated[str, typer.Option(help="Why; it is kept in the journal.")] = "",
    ahead: Annotated[
        bool, typer.Option("--ahead", help="Say yes now to a step that has not begun; it will not ask then.")
    ] = False,
    journal: JournalFile = None,
) -> None:
    """Say yes to a step, end a hold, or say that a manual step is done; it is journalled with your name."""
    from orchestrator.status import StepStatus, fold

    with _open(journal) as record:
        plan, name = _known(record, run)
        state = fold(record.entries(name))
        step = approvable(plan, step)
        if state.status in OVER or state.step(step).status in {StepStatus.DONE, StepStatus.UNDONE}:
            raise RefusedError(f"cannot approve {step}: it is over already in {name} ({state.status})")
        now = state.step(step).status
        if now is StepStatus.PENDING and not ahead:
            remedy = f"to say yes ahead, so that nobody is asked then: failover approve {name} {step} --ahead"
            raise RefusedError(f"cannot approve {step}: it has not begun, and does not wait for you yet", remedy=remedy)
        back = now is StepStatus.UNDOING
        if back and (instead := [one.id for one in plan.plan_b(step)]):
            remedy = f"approve what its plan B asks: {', '.join(instead)}"
            raise RefusedError(f"cannot approve the undo of {step}: it cannot be undone", remedy=remedy)
        _approve(record, name, step, note=note, ahead=ahead, back=back)
        print(f"{'the undo of ' if back else ''}{step} of {name} approved by {who()}")
        owner = owner_of(name)
        if is_abandoned(_status(record, name), owner):
            print(abandoned(name))


@answers_errors
def status(
    run: Annotated[str | None, typer.Argument(help="The run; all of them when left out.", metavar="RUN")] = None,
    journal: JournalFile = None,
    as_json: AsJson = False,
) -> None:
    """Show where a run stands and whether anybody works on it, or list all runs."""
    with _open(journal) as record:
        if run is None:
            _list(record, as_json=as_json)
        else:
            _show(record, record.run(run), as_json=as_json)


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


def _show(record: SqliteJournal, row: RunRow, *, as_json: bool) -> None:
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.records import json_line, run_record, status_view
    from orchestrator.status import fold

    owner = owner_of(row.run)
    plan, entries = _plan(row.plan, row.run), record.entries(row.run)
    if as_json:
        print(json_line({**run_record(plan, row, entries), "owner": owner}))
        return
    show(status_view(plan, row, entries, SystemClock().now()))
    if is_abandoned(fold(entries).status, owner):
        print(abandoned(row.run))


def _open(path: Path | None) -> SqliteJournal:
    from orchestrator.wiring import open_journal

    return open_journal(path)


def _plan(text: str, run: str) -> Plan:
    from orchestrator.wiring import read_plan

    return read_plan(text, run)


def _known(record: SqliteJournal, run: str) -> tuple[Plan, str]:
    """The plan and the whole name of a run; neither ever changes."""
    row = record.run(run)
    return _plan(row.plan, row.run), row.run


def _status(record: SqliteJournal, run: str) -> RunStatus:
    """Where it stands now; what a decision rests on is read while the run is locked."""
    from orchestrator.status import fold

    return fold(record.entries(run)).status


def _closing(plan: Plan, name: str, journal: SqliteJournal, *, as_json: bool, in_lab: bool = False) -> None:
    """The closing summary, for whoever is still there to read it."""
    from orchestrator.report.records import json_line, run_record
    from orchestrator.report.summary import summary

    try:
        row, entries = journal.run(name), journal.entries(name)
        with to_whom_may_be_gone():
            if as_json:
                print(json_line({**run_record(plan, row, entries), "owner": None}))
                return
            show(summary(plan, entries, name))
            if in_lab:
                from orchestrator.cli.lab import show_ledger

                show_ledger()
    except (Exception, KeyboardInterrupt) as error:
        break_off(error, name)


def _approve(journal: SqliteJournal, run: str, step: str, *, note: str, ahead: bool, back: bool = False) -> None:
    data: dict[str, object] = {"by": who(), "note": note, "ahead": ahead, "direction": "undo" if back else "out"}
    _record(journal, run, "approval", data, step)


def _record(journal: SqliteJournal, run: str, kind: str, data: dict[str, object], step: str = "") -> None:
    """Write what a person has said."""
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.model.journal import Entry

    entry = {"run": run, "at": SystemClock().now(), "epoch": 0, "kind": kind, "step": step, "data": data}
    journal.append(Entry.model_validate(entry))


def _new_name(now: float) -> str:
    """A name that sorts by time and is short enough to type: 20260914-0312-7f3a."""
    import datetime
    import secrets

    at = datetime.datetime.fromtimestamp(now, tz=datetime.UTC)
    return f"{at:%Y%m%d-%H%M}-{secrets.token_hex(2)}"
