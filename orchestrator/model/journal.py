"""The journal's entries: everything that happened in a run, from which everything else is derived."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from orchestrator.model.value import Value

EntryKind = Literal[
    "run", "step", "intent", "outcome", "verdict", "approval", "abort", "override", "progress", "duration"
]


class Entry(Value):
    """One line of the journal.

    ========  ===============================================================================
    kind      data
    ========  ===============================================================================
    run       status, reason: the run's new status; answered where it is held because of a failure; paced where an
              undo goes back by the waypoints of the way out
    step      status, reason: the step's new status
    intent    start, to, waypoint, direction: written before converge touches anything
    outcome   result, reason: written after it
    verdict   a ``Verdict``
    approval  by, note, ahead; direction, which is undo where the person has undone a manual step
    abort     by, note, then: a person wants the run to stop, and then undo or hold
    override  rule, reason, by: a rule of planning that was set aside for this run
    progress  text and numbers, at most one a second
    duration  action, target, shape, direction (out, back or undo), seconds: what a step took, without people
    ========  ===============================================================================
    """

    seq: int = Field(default=0, description="Set by the journal: counts the entries of all runs.")
    run: str
    at: float = Field(description="Unix time.")
    epoch: int = Field(description="Which owner of the run wrote it; 0 for people.")
    kind: EntryKind
    step: str = ""
    attempt: int = 0
    data: dict[str, JsonValue] = Field(default_factory=dict)
