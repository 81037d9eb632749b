"""Runs for machines, as JSON, and the two texts of ``failover status``.

A run's record (``run_record``) has these keys, and will keep them::

    run, runbook, parameters, checksum    what was run; the checksum is the plan's
    overrides                             rules of planning that are set aside for it, with the reason
    status, reason                        of the run (see ``orchestrator.status``)
    began, ended                          RFC 3339 in UTC; null before, or while it can still go on
    seconds                               from began to the last entry
    window_ends                           RFC 3339: by when all must be over, as given or as the runbook's window says
    undo_seconds, undo_paced_seconds      what an undo of all that is changed takes: each step in a single move, or by
                                          the waypoints of the way out; null where nothing is changed, or nobody knows
    latest_undo                           when an undo in single moves must begin to fit in the window, or null
    overdue                               ids of the steps that take longer than they should
    steps                                 in the plan's order, those of a plan B only once they have begun; each:
        id, do, returns                   returns: the step that this part of a return takes back, or null
        instead_of                        the step whose plan B it belongs to, or null
        status, reason, attempt
        began, seconds                    from its first gate until it was settled, its undo too; null before
        undo_took                         seconds, of these, since its undo began; null where it has none
        expected, overdue_after, past     seconds, and how many past runs they rest on, as in the plan
        progress, numbers                 its last words, and their numbers (a drain: sessions, open, idle, …)
        approved_by                       null where nobody has
        verdicts                          each: at, gate, check, judgement, reason, samples, metrics, waypoint, attempt
    guards                                verdicts of the guards, as above
    next                                  commands that a person can type once nobody works on the run
    owner                                 who works on the run now, or null; added by the command line
    by_hand                               how a person takes back what is left, in this order, added too; each:
        step, why                         the step, or one of a plan B; what it comes to
        first                             what must be seen before, for people
        commands                          for a shell of this machine; none where only a person knows how

With ``--json`` a run writes one ``entry_record`` a line while it goes (it has the key ``event``), and its
``run_record`` as the last line (it has not). ``failover status --watch --json`` writes the same from the run's
beginning, and an ``owner_record`` each time that somebody else works on the run, or nobody.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from pydantic import JsonValue
from rich.text import Text

from orchestrator.model.journal import Entry
from orchestrator.model.moment import timestamp
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.units import format_duration
from orchestrator.ports import RunRow
from orchestrator.report.account import LIVE, Account, Finding
from orchestrator.report.advice import advice_when_left
from orchestrator.report.sheet import Page, Sheet
from orchestrator.report.timing import overdue, undo_times, window_end, window_timing
from orchestrator.report.tree import RUN_STYLES, run_tree
from orchestrator.status import RunState, RunStatus

_OVER: Final = frozenset({RunStatus.DONE, RunStatus.UNDONE, RunStatus.REFUSED, RunStatus.STUCK})

Record = dict[str, JsonValue]


def json_line(record: Mapping[str, JsonValue]) -> str:
    """The record on one line of valid JSON; a number that JSON cannot write (NaN, infinity) is null."""
    return json.dumps(_finite(dict(record)), ensure_ascii=False, allow_nan=False)


def entry_record(entry: Entry) -> Record:
    """One event: event, run, seq, at (RFC 3339), epoch, step, attempt, and in ``data`` what the journal holds."""
    return {
        "event": entry.kind,
        "run": entry.run,
        "seq": entry.seq,
        "at": timestamp(entry.at),
        "epoch": entry.epoch,
        "step": entry.step or None,
        "attempt": entry.attempt,
        "data": dict(entry.data),
    }


def owner_record(run: str, epoch: int, owner: str | None, at: float, *, silent: bool) -> Record:
    """Who works on the run since ``at``, or nobody, with the keys of an ``entry_record``; ``seq`` is null.

    In ``data`` stand ``owner``, and whether it is ``silent``: it has been stopped or hangs.
    """
    data: Record = {"owner": owner, "silent": silent}
    keys: Record = {"event": "owner", "run": run, "seq": None, "at": timestamp(at), "epoch": epoch, "step": None}
    return {**keys, "attempt": 0, "data": data}


def run_record(plan: Plan, row: RunRow, entries: Iterable[Entry], now: float | None = None, typed: str = "") -> Record:
    """The run so far, with the keys that the module's docstring names; what is overdue, at ``now`` (Unix time) or at
    the last entry. ``typed`` is the run as it is typed in a command, where that is more than its name.
    """
    account = Account(plan, entries, typed or row.run)
    account.run = row.run
    state = account.state
    return {
        "run": row.run,
        "runbook": plan.runbook.runbook,
        "parameters": dict(plan.parameters),
        "checksum": plan.checksum,
        "overrides": {str(rule): reason for rule, reason in plan.overrides.items()},
        "status": state.status.value,
        "reason": state.reason,
        "began": timestamp(state.began),
        "ended": timestamp(state.at) if state.status in _OVER else None,
        "seconds": round(account.elapsed(state.at), 3),
        **_clock_record(account, state.at if now is None else now),
        "steps": [_step_record(account, planned) for planned in account.steps],
        "guards": [_finding_record(found) for found in account.guards],
        "next": [order.command for order in advice_when_left(account)],
    }


def runs_table(rows: Sequence[RunRow], states: Mapping[str, RunState], now: float) -> Page:
    """All runs, a line each, as ``rows`` are ordered; ``states`` by run, where its journal has been read."""
    return Page(lambda sheet: _table(rows, states, now, sheet) if rows else [Text("no runs yet", "dim")])


def status_view(
    plan: Plan, row: RunRow, entries: Iterable[Entry], now: float, typed: str = "", *, left: bool = False
) -> Page:
    """The run as the live view shows it, once, at ``now`` (Unix time); ``typed`` as in ``run_record``.

    ``left``: nobody works on it, so that its steps stand still, and other commands are of use.
    """
    account = Account(plan, entries, typed or row.run)
    account.run, account.left = row.run, left
    return run_tree(account, now)


def _clock_record(account: Account, now: float) -> Record:
    window, undo = window_timing(account), undo_times(account)
    return {
        "window_ends": timestamp(window_end(account)),
        "undo_seconds": None if undo is None else undo.at_once,
        "undo_paced_seconds": None if undo is None else undo.paced,
        "latest_undo": None if window is None else timestamp(window.latest_undo),
        "overdue": list(overdue(account, now)),
    }


def _step_record(account: Account, planned: PlannedStep) -> Record:
    step, told = account.state.step(planned.id), account.step(planned.id)
    took, back = account.lasted(planned.id, account.state.at), account.undo_took(planned.id, account.state.at)
    return {
        "id": planned.id,
        "do": planned.step.do,
        "returns": planned.returns,
        "instead_of": planned.instead_of,
        "status": step.status.value,
        "reason": step.reason,
        "attempt": step.attempt,
        "began": timestamp(step.entered),
        "seconds": None if took is None else round(took, 3),
        "undo_took": None if back is None else round(back, 3),
        "expected": planned.expected,
        "overdue_after": planned.overdue,
        "past": planned.past,
        "progress": told.made or step.progress,
        "numbers": dict(told.numbers),
        "approved_by": step.approved_by,
        "verdicts": [_finding_record(found) for found in told.findings],
    }


def _finding_record(found: Finding) -> Record:
    return {
        "at": timestamp(found.at),
        "gate": found.gate,
        "check": found.verdict.check,
        "judgement": found.verdict.judgement.value,
        "reason": found.verdict.reason,
        "samples": found.verdict.samples,
        "metrics": dict(found.verdict.metrics),
        "waypoint": found.waypoint,
        "attempt": found.attempt,
    }


def _table(rows: Sequence[RunRow], states: Mapping[str, RunState], now: float, sheet: Sheet) -> list[Text]:
    head = [Text(word, "dim") for word in ("run", "runbook", "status", "began (local)", "took", "reason")]
    return sheet.table([head, *(_line(row, states.get(row.run), now, sheet) for row in rows)])


def _line(row: RunRow, state: RunState | None, now: float, sheet: Sheet) -> list[Text]:
    status = state.status if state is not None else RunStatus(row.status)
    began = state.began if state is not None and state.began is not None else row.created
    took = ""
    if state is not None and state.began is not None:
        took = format_duration(max(0.0, (max(now, state.at) if status in LIVE else state.at) - began))
    local = datetime.fromtimestamp(began).astimezone()
    return [
        Text(sheet.say(row.run)),
        Text(sheet.say(row.runbook)),
        Text(status, RUN_STYLES[status]),
        Text(f"{local:%Y-%m-%d %H:%M}"),
        Text(took),
        Text(sheet.say(state.reason if state is not None else "")),
    ]


def _finite(value: JsonValue) -> JsonValue:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value
