"""The statuses of steps and runs, and every way from one to the next.

A step::

    pending ──▶ gating ──▶ converging ⇄ verifying ──▶ done        once round for each waypoint
       │          │             │           │
       │          ├──▶ refused  └───────────┴──▶ failed ──▶ gating      a new attempt, when the run is resumed
       │          └──▶ failed                                           (with ``on_failure: continue`` it stays failed)
       └──▶ nothing                                                     its observed state was its target

    any that has touched something ──▶ undoing ──▶ undone ──▶ gating    anew, with nothing recorded; so does
                                                                        a plan B that is done a second time
                                          └──▶ stuck                    as any may become where a person must look

A run::

    planned ──▶ running ──▶ done
                 ⇅    │
               held   ├──▶ refused         nothing had been touched
                 │    ├──▶ interrupted     resumable, back to what it was; so is a killed run as it stands
                 └────┴──▶ undoing ──▶ undone
                              └──▶ stuck

A run is a fold of its journal: ``fold`` gives the state after any prefix of its entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import JsonValue

from orchestrator.model.journal import Entry


class StepStatus(StrEnum):
    """Where a step is in its life."""

    PENDING = "pending"
    GATING = "gating"
    CONVERGING = "converging"
    VERIFYING = "verifying"
    DONE = "done"
    NOTHING = "nothing"
    REFUSED = "refused"
    FAILED = "failed"
    UNDOING = "undoing"
    UNDONE = "undone"
    STUCK = "stuck"


class RunStatus(StrEnum):
    """Where a run is in its life."""

    PLANNED = "planned"
    RUNNING = "running"
    HELD = "held"
    INTERRUPTED = "interrupted"
    UNDOING = "undoing"
    DONE = "done"
    UNDONE = "undone"
    REFUSED = "refused"
    STUCK = "stuck"


_S = StepStatus
STEP_TRANSITIONS: Final = MappingProxyType(
    {
        _S.PENDING: frozenset({_S.GATING, _S.NOTHING}),
        _S.GATING: frozenset({_S.CONVERGING, _S.VERIFYING, _S.DONE, _S.NOTHING, _S.REFUSED, _S.FAILED, _S.GATING}),
        _S.CONVERGING: frozenset({_S.VERIFYING, _S.CONVERGING, _S.FAILED, _S.DONE, _S.GATING}),
        _S.VERIFYING: frozenset({_S.CONVERGING, _S.DONE, _S.FAILED, _S.GATING}),
        _S.DONE: frozenset({_S.UNDOING, _S.GATING}),
        _S.NOTHING: frozenset({_S.UNDOING, _S.GATING}),
        _S.REFUSED: frozenset({_S.GATING}),
        _S.FAILED: frozenset({_S.GATING, _S.UNDOING}),
        _S.UNDOING: frozenset({_S.UNDONE, _S.UNDOING}),
        _S.UNDONE: frozenset({_S.GATING, _S.UNDOING}),
        _S.STUCK: frozenset({_S.GATING, _S.UNDOING}),
    }
)
_SETTLED: Final = frozenset({_S.DONE, _S.NOTHING, _S.UNDONE})
_UNDOABLE: Final = frozenset({_S.GATING, _S.CONVERGING, _S.VERIFYING, _S.UNDOING, _S.FAILED})

_R = RunStatus
RUN_TRANSITIONS: Final = MappingProxyType(
    {
        _R.PLANNED: frozenset({_R.RUNNING, _R.REFUSED}),
        _R.RUNNING: frozenset({_R.RUNNING, _R.HELD, _R.DONE, _R.UNDOING, _R.REFUSED, _R.INTERRUPTED, _R.STUCK}),
        _R.HELD: frozenset({_R.RUNNING, _R.HELD, _R.UNDOING, _R.REFUSED, _R.INTERRUPTED, _R.STUCK}),
        _R.INTERRUPTED: frozenset({_R.RUNNING, _R.UNDOING, _R.INTERRUPTED}),
        _R.UNDOING: frozenset({_R.UNDOING, _R.UNDONE, _R.STUCK, _R.INTERRUPTED}),
        _R.DONE: frozenset({_R.UNDOING}),
        _R.UNDONE: frozenset(),
        _R.REFUSED: frozenset(),
        _R.STUCK: frozenset({_R.RUNNING, _R.UNDOING}),
    }
)
_ANSWERS_ABORT: Final = frozenset({_R.UNDOING, _R.DONE, _R.UNDONE, _R.REFUSED, _R.STUCK})


def step_transition(now: StepStatus, then: StepStatus) -> StepStatus:
    """``then``, when a step may go there from ``now``.

    Raises:
        ValueError: it may not; that is a bug in the engine, or a journal that somebody edited.
    """
    allowed = STEP_TRANSITIONS[now]
    if then in allowed or (then is StepStatus.STUCK) or (then is StepStatus.UNDOING and now in _UNDOABLE):
        return then
    raise ValueError(f"a step cannot go from {now} to {then}")


def run_transition(now: RunStatus, then: RunStatus) -> RunStatus:
    """``then``, when a run may go there from ``now``.

    Raises:
        ValueError: it may not; that is a bug in the engine, or a journal that somebody edited.
    """
    if then in RUN_TRANSITIONS[now]:
        return then
    raise ValueError(f"a run cannot go from {now} to {then}")


@dataclass(frozen=True, slots=True)
class StepState:
    """One step after some prefix of the journal."""

    status: StepStatus = StepStatus.PENDING
    attempt: int = 0
    reason: str = ""
    start: dict[str, JsonValue] | None = None
    """Recorded before the first converge."""
    began: float | None = None
    """Unix time of the first intent."""
    changed: bool = False
    """An intent was written: the world may have been touched."""
    in_doubt: bool = False
    """An intent stands without its outcome: observe before acting."""
    loose: bool = False
    """The last converge was begun and did not reach what it was to: what it has written may still be taking hold."""
    since: float | None = None
    """Unix time of the last change of status."""
    entered: float | None = None
    """Unix time at which it left ``pending``."""
    progress: str = ""
    turn: int = 0
    """When its status last changed: the number of that entry in the run."""
    approved_by: str | None = None
    """Everybody who has approved it, for people."""
    approvers: tuple[str, ...] = ()
    """Who has approved what it is doing now: out, or back."""
    approved_note: str = ""


_PENDING: Final = StepState()


@dataclass(frozen=True, slots=True)
class RunState:
    """A run after some prefix of its journal."""

    status: RunStatus = RunStatus.PLANNED
    reason: str = ""
    epoch: int = 0
    undoing: bool = False
    """It is on its way back; resuming goes on with that."""
    answered: bool = False
    """It is held because of a failure or an abort, which a person is told."""
    entries: int = 0
    """How many there were so far."""
    undoing_because: str = ""
    """Why it is on its way back, over interruptions too."""
    paced: bool = False
    """It goes back by the waypoints of the way out, not in one move."""
    abort: Literal["", "undo", "hold"] = ""
    """What a person wants, unanswered so far."""
    aborts: int = 0
    """How often that same wish was said; the second time means at once."""
    aborted_by: str = ""
    """Who, and their note."""
    began: float | None = None
    at: float = 0.0
    steps: Mapping[str, StepState] = field(default_factory=dict)
    touched: tuple[str, ...] = ()
    """Steps by their first intent; to undo, go backwards."""

    def step(self, name: str) -> StepState:
        """The step's state; a step that the journal does not know yet is pending."""
        return self.steps.get(name, _PENDING)


def fold(entries: Iterable[Entry], state: RunState | None = None) -> RunState:
    """The run's state after ``entries``, which follow on ``state``."""
    now = state or RunState()
    for entry in entries:
        now = _after(now, entry)
    return now


def _after(run: RunState, entry: Entry) -> RunState:
    update: dict[str, Any] = {"at": entry.at, "epoch": max(run.epoch, entry.epoch), "entries": run.entries + 1}
    if entry.kind == "run":
        update |= _run_after(run, entry)
    elif entry.kind == "abort":
        update |= _aborted(run, entry)
    elif entry.step:
        update["answered"] = run.answered and (run.status is not RunStatus.RUNNING or entry.kind != "step")
        update["steps"] = {**run.steps, entry.step: _step_after(run.step(entry.step), entry, run.entries + 1)}
        if entry.kind == "intent" and entry.step not in run.touched:
            update["touched"] = (*run.touched, entry.step)
    return replace(run, **update)


def _run_after(run: RunState, entry: Entry) -> dict[str, Any]:
    status = run_transition(run.status, RunStatus(str(entry.data["status"])))
    reason = str(entry.data.get("reason", ""))
    undoing = status is RunStatus.UNDOING or (run.undoing and status is not RunStatus.RUNNING)
    why = reason if status is RunStatus.UNDOING else run.undoing_because
    # A resumed run has answered for what failed before until one of its steps begins.
    answered = bool(entry.data.get("answered")) or (run.answered and status is RunStatus.RUNNING)
    paced = bool(entry.data.get("paced")) if status is RunStatus.UNDOING else run.paced
    update: dict[str, Any] = {
        "status": status,
        "reason": reason,
        "undoing": undoing,
        "answered": answered,
        "undoing_because": why if undoing else "",
        "paced": paced and undoing,
        "began": entry.at if run.began is None else run.began,
    }
    if entry.data.get("answered") or status in _ANSWERS_ABORT:
        update |= {"abort": "", "aborts": 0, "aborted_by": ""}
    return update


def _aborted(run: RunState, entry: Entry) -> dict[str, Any]:
    """A person wants it to stop; what is over, or goes back already, has nothing to stop."""
    if run.undoing or run.status in _ANSWERS_ABORT:
        return {}
    then = "hold" if entry.data.get("then") == "hold" else "undo"
    if (run.abort, then) == ("undo", "hold"):
        return {}  # who wants it back was told that it goes back
    note = f": {entry.data['note']}" if entry.data.get("note") else ""
    times = run.aborts + 1 if then == run.abort else 1
    return {"abort": then, "aborts": times, "aborted_by": f"{entry.data.get('by', '')}{note}"}


def _step_after(step: StepState, entry: Entry, turn: int) -> StepState:
    data = entry.data
    if entry.kind == "step":
        status = step_transition(step.status, StepStatus(str(data["status"])))
        if step.status in _SETTLED and status is StepStatus.GATING:
            step = StepState(attempt=step.attempt)  # it begins anew: what was recorded or approved before is over
        update: dict[str, Any] = {
            "status": status,
            "turn": turn,
            "reason": str(data.get("reason", "")),
            "since": entry.at,
            "attempt": max(step.attempt, entry.attempt),
            "entered": step.entered if step.entered is not None else entry.at,
            "progress": "" if status in {StepStatus.GATING, StepStatus.UNDOING} else step.progress,
            "approvers": () if status is StepStatus.UNDOING is not step.status else step.approvers,
        }
    elif entry.kind == "intent":
        start = step.start if step.start is not None else data.get("start")
        began = step.began if step.began is not None else entry.at
        update = {"start": start, "began": began, "changed": True, "in_doubt": True, "loose": True}
    elif entry.kind == "outcome":
        update = {"in_doubt": False, "loose": data.get("result") != "reached"}
    elif entry.kind == "progress":
        update = {"progress": str(data.get("text", ""))}
    elif entry.kind == "approval" and (data.get("direction") == "undo") is not (step.status is StepStatus.UNDOING):
        update = {}  # somebody said that it was done, just when it was no longer wanted done
    elif entry.kind == "approval":
        people = tuple(dict.fromkeys((*step.approvers, str(data.get("by", "")))))
        update = {"approved_by": ", ".join(people), "approvers": people, "approved_note": str(data.get("note", ""))}
    else:
        update = {}
    return replace(step, **update)
