"""``failover approve`` and ``failover abort``: what people say to a run from any terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from orchestrator.cli.approvals import approvable
from orchestrator.cli.beside import alone
from orchestrator.cli.by_hand import whole_record
from orchestrator.cli.options import AsJson, BesideOthers, JournalFile, RunName
from orchestrator.cli.output import answers_errors
from orchestrator.cli.ownership import OVER, holder_of, locked, notice_of, owner_of, who
from orchestrator.cli.record import approve_step, as_typed, known, open_record, say, state_of
from orchestrator.cli.telemetry import LogFile, MetricsFile, MetricsListen, TracesTo, telemetry
from orchestrator.cli.work import Task, closing, work
from orchestrator.errors import RefusedError

if TYPE_CHECKING:
    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.model.plan import Plan
    from orchestrator.report.sinks import Sink
    from orchestrator.status import RunState

ANSWERS_WITHIN: Final = 3.0
"""Seconds that an owner is waited for, to answer a wish before the prompt comes back."""
LOOK_EVERY: Final = 0.1


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
            command = f"failover approve {as_typed(record, name)} {step} --ahead"
            remedy = f"to say yes ahead, so that nobody is asked then: {command}"
            raise RefusedError(f"cannot approve {step}: it has not begun, and does not wait for you yet", remedy=remedy)
        back = now is StepStatus.UNDOING
        if back and (instead := [one.id for one in plan.plan_b(step)]):
            remedy = f"approve what its plan B asks: {', '.join(instead)}"
            raise RefusedError(f"cannot approve the undo of {step}: it cannot be undone", remedy=remedy)
        approve_step(record, name, step, who(), note=note, ahead=ahead, back=back)
        print(f"{'the undo of ' if back else ''}{step} of {name} approved by {who()}")
        _say_if_unheard(record, name)


def _say_if_unheard(record: SqliteJournal, run: str) -> None:
    """Say who must come before anything follows from what a person has said."""
    holder = holder_of(run)  # before the journal: a run may end in between
    said = notice_of(holder, state_of(record, run), as_typed(record, run))
    if said is not None and (holder is None or holder.silent is not None):
        print(said if holder is None else f"nobody hears it now: {said}")


@answers_errors
def abort(
    run: RunName,
    hold: Annotated[
        bool, typer.Option("--hold", help="Stand where it is, and wait for 'resume' or 'undo', instead of going back.")
    ] = False,
    note: Annotated[str, typer.Option(help="Why; it is kept in the journal.")] = "",
    override: BesideOthers = None,
    journal: JournalFile = None,
    log: LogFile = None,
    metrics_file: MetricsFile = None,
    metrics_listen: MetricsListen = None,
    traces: TracesTo = None,
    as_json: AsJson = False,
) -> None:
    """Stop a run: it finishes the waypoint that it is at, then undoes all it has done, or holds.

    Waits, pauses and checks end at once. Abort a second time to stop inside the waypoint, at its next safe point.
    In the middle of a return only the return is taken back, and the run is held: the site stays empty.
    Where nobody works on the run, this command takes it back itself, as 'failover undo' does.

    Exit codes: 0 asked for, or undone; 4 stuck, a person must look; 5 held.
    """
    from orchestrator.report.records import json_line

    with telemetry(log, metrics_file, metrics_listen, traces) as sinks, open_record(journal) as record:
        plan, name = known(record, run)
        wish: dict[str, object] = {"by": who(), "note": note, "then": "hold" if hold else "undo"}
        holder = holder_of(name)  # before the journal: a run may end in between
        before = _abortable(record, name)
        if holder is not None and holder.silent is not None:
            remedy = f"end it and go back in its place: failover undo {as_typed(record, name)} --take-over"
            raise RefusedError(f"cannot abort {name}: nobody would hear it, {holder} has it", remedy=remedy)
        if holder is not None:
            say(record, name, "abort", wish)
        if holder is None or not _is_heard(record, name):
            _answer(plan, name, record, sinks, wish, override, as_json=as_json)
        if as_json:
            owner = owner_of(name)  # before the journal, here too
            entries = record.entries(name)
            print(json_line(whole_record(plan, record.run(name), entries, owner, as_typed(record, name))))
            return
        _tell(name, as_typed(record, name), before, state_of(record, name), hold=hold)


def _tell(name: str, typed: str, before: RunState, now: RunState, *, hold: bool) -> None:
    """Say what comes of it; ``typed`` is the run as it is typed in a command."""
    if not now.abort:
        print(f"{name} is {now.status}: {now.reason}")
    else:
        how = "stops at its next safe point" if now.aborts > 1 else "finishes the waypoint that it is at"
        print(f"{name} {how}, then it {'holds' if now.abort == 'hold' else 'goes back'}")
        if before.abort and before.abort != now.abort:
            print("it was to hold; now it goes back")
        if hold and now.abort == "undo":
            print("somebody has aborted it before, and wants it back: that stands")
        if now.aborts == 1:
            print(f"to stop inside the waypoint: failover abort {typed}{' --hold' if now.abort == 'hold' else ''}")
    print(f"follow it with: failover status {typed} --watch")


def _is_heard(record: SqliteJournal, run: str) -> bool:
    """Whether the wish is answered within some seconds, or there is somebody still who will; false where nobody is.

    An owner that has just ended its work holds the run for some moments more, and hears nothing.
    """
    end = time.monotonic() + ANSWERS_WITHIN
    while holder_of(run) is not None:
        if not state_of(record, run).abort or time.monotonic() > end:
            return True
        time.sleep(LOOK_EVERY)
    return not state_of(record, run).abort


def _abortable(record: SqliteJournal, run: str) -> RunState:
    """Where the run stands, when there is something to stop.

    Raises:
        RefusedError: it is over, goes back already, or has never begun.
    """
    state, undo = state_of(record, run), f"failover undo {as_typed(record, run)}"
    if state.status in OVER:
        remedy = f"to take back what it did: {undo}" if state.status == "done" else ""
        raise RefusedError(f"cannot abort {run}: it is {state.status}", remedy=remedy)
    if state.status == "stuck":
        raise RefusedError(f"cannot abort {run}: it is stuck", remedy=f"after the repair: {undo}")
    if state.undoing:
        raise RefusedError(f"cannot abort {run}: it is going back already ({state.undoing_because})")
    if state.status == "planned":
        raise RefusedError(f"cannot abort {run}: it has not begun", remedy=f"to close it: {undo}")
    return state


def _as_wished(state: RunState) -> Task:
    """Stand where it is; or go back, as the undo that a person asks for does: nothing is under way that must hurry."""
    if state.abort == "hold" or not state.touched:
        return lambda engine: engine.run()
    return lambda engine: engine.undo(f"aborted by {state.aborted_by}", paced=True)


def _answer(
    plan: Plan,
    run: str,
    record: SqliteJournal,
    sinks: Sequence[Sink],
    wish: dict[str, object],
    override: str | None,
    *,
    as_json: bool,
) -> NoReturn:
    """Do here what is asked for, as nobody else does; what it rests on is read again under the lock."""
    from orchestrator.report.summary import exit_code, exit_code_of_undo

    with locked(plan, run, typed=as_typed(record, run)) as lock:
        _abortable(record, run)
        alone(plan, run, record, override)
        if not state_of(record, run).abort:
            say(record, run, "abort", wish)
        state = work(plan, run, record, _as_wished(state_of(record, run)), lock, as_json=as_json, sinks=sinks)
    closing(plan, run, record, as_json=as_json)
    raise typer.Exit(exit_code_of_undo(state) if state.status == "undone" else exit_code(state))
