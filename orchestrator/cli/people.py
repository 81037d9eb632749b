"""``failover approve`` and ``failover abort``: what people say to a run from any terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.approvals import approvable
from orchestrator.cli.options import AsJson, JournalFile, RunName
from orchestrator.cli.output import answers_errors
from orchestrator.cli.ownership import OVER, abandoned, is_abandoned, locked, owner_of, who
from orchestrator.cli.record import approve_step, known, open_record, say, state_of
from orchestrator.cli.telemetry import LogFile, MetricsFile, MetricsListen, TracesTo, telemetry
from orchestrator.cli.work import closing, work
from orchestrator.errors import RefusedError

if TYPE_CHECKING:
    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.model.plan import Plan
    from orchestrator.report.sinks import Sink


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
    from orchestrator.status import StepStatus

    with open_record(journal) as record:
        plan, name = known(record, run)
        state = state_of(record, name)
        step = approvable(plan, step)
        now = state.step(step).status
        if state.status in OVER or now in {StepStatus.DONE, StepStatus.UNDONE}:
            raise RefusedError(f"cannot approve {step}: it is over already in {name} ({state.status})")
        if now is StepStatus.PENDING and not ahead:
            remedy = f"to say yes ahead, so that nobody is asked then: failover approve {name} {step} --ahead"
            raise RefusedError(f"cannot approve {step}: it has not begun, and does not wait for you yet", remedy=remedy)
        back = now is StepStatus.UNDOING
        if back and (instead := [one.id for one in plan.plan_b(step)]):
            remedy = f"approve what its plan B asks: {', '.join(instead)}"
            raise RefusedError(f"cannot approve the undo of {step}: it cannot be undone", remedy=remedy)
        approve_step(record, name, step, who(), note=note, ahead=ahead, back=back)
        print(f"{'the undo of ' if back else ''}{step} of {name} approved by {who()}")
        owner = owner_of(name)
        if is_abandoned(state_of(record, name).status, owner):
            print(abandoned(name))


@answers_errors
def abort(
    run: RunName,
    hold: Annotated[
        bool, typer.Option("--hold", help="Stand where it is, and wait for 'resume' or 'undo', instead of going back.")
    ] = False,
    note: Annotated[str, typer.Option(help="Why; it is kept in the journal.")] = "",
    journal: JournalFile = None,
    log: LogFile = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    traces: TracesTo = None,
    as_json: AsJson = False,
) -> None:
    """Stop a run: it finishes the waypoint that it is at, then undoes all it has done, or holds.

    Waits, pauses and checks end at once. Abort a second time to stop inside the waypoint, at its next safe point.
    Where nobody works on the run, this command takes it back itself, in one move for each step.

    Exit codes: 0 asked for, or undone; 4 stuck, a person must look; 5 held.
    """
    with telemetry(log, metrics_file, metrics_listen, traces) as sinks, open_record(journal) as record:
        plan, name = known(record, run)
        _abortable(record, name)
        owner = owner_of(name)
        say(record, name, "abort", {"by": who(), "note": note, "then": "hold" if hold else "undo"})
        if owner is None:
            _answer(plan, name, record, sinks, hold=hold, as_json=as_json)
        again = state_of(record, name).aborts > 1
        how = "it stops at its next safe point" if again else "it finishes the waypoint that it is at"
        print(f"{name} is to be aborted: {how}, then it {'holds' if hold else 'goes back'} ({owner})")
        if not again:
            print(f"to stop inside the waypoint: failover abort {name}")
        print(f"follow it with: failover status {name} --watch")


def _abortable(record: SqliteJournal, run: str) -> None:
    """Make sure that there is something to stop.

    Raises:
        RefusedError: it is over, goes back already, or has never begun.
    """
    state = state_of(record, run)
    if state.status in OVER:
        remedy = f"to take back what it did: failover undo {run}" if state.status == "done" else ""
        raise RefusedError(f"cannot abort {run}: it is {state.status}", remedy=remedy)
    if state.undoing:
        raise RefusedError(f"cannot abort {run}: it is going back already ({state.undoing_because})")
    if state.status == "planned":
        raise RefusedError(f"cannot abort {run}: it has not begun", remedy=f"to close it: failover undo {run}")
    if state.status == "stuck":
        raise RefusedError(f"cannot abort {run}: it is stuck", remedy=f"after the repair: failover undo {run}")


def _answer(plan: Plan, run: str, record: SqliteJournal, sinks: Sequence[Sink], *, hold: bool, as_json: bool) -> None:
    """Do here what was asked for, as nobody else does."""
    from orchestrator.report.summary import exit_code, exit_code_of_undo

    with locked(plan, run) as lock:
        state = work(plan, run, record, lambda engine: engine.run(), lock, as_json=as_json, sinks=sinks)
    closing(plan, run, record, as_json=as_json)
    raise typer.Exit(exit_code(state) if hold else exit_code_of_undo(state))
