"""A run against the clock: how long its steps work, which are overdue, and until when an undo fits in the window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.model.moment import format_moments, format_zone
from orchestrator.model.plan import PlannedStep
from orchestrator.model.units import format_duration
from orchestrator.planning.times import paced_undo_takes, undo_overdue_after, undo_takes
from orchestrator.report.account import Account, is_parked
from orchestrator.report.advice import waits_for_approval
from orchestrator.status import RunStatus, StepStatus

_OVER: Final = frozenset({RunStatus.DONE, RunStatus.UNDONE, RunStatus.REFUSED})
_SAME: Final = 60.0
"""Seconds by which two moments may differ and still be told as one, the earlier."""


@dataclass(frozen=True, slots=True)
class StepTiming:
    """How long a step has been at work, and how long it should. Seconds."""

    elapsed: float
    """In this try, without what people took."""
    expected: float | None
    overdue_after: float | None
    past: int
    """The past durations that this rests on; 0: a rule of thumb."""

    @property
    def is_overdue(self) -> bool:
        """Whether it takes longer than it should."""
        return self.overdue_after is not None and self.elapsed > self.overdue_after

    def __str__(self) -> str:
        runs = f"{self.past} run{'' if self.past == 1 else 's'}"
        if self.is_overdue and self.overdue_after is not None:
            limit = format_duration(self.overdue_after)
            known = f"p95 of {runs} is {limit}" if self.past else f"at most {limit} expected"
            return f"overdue: {format_duration(self.elapsed)}, {known}"
        if not self.expected:
            return ""
        usual = format_duration(self.expected)
        known = f"usually {usual} (p75 of {runs})" if self.past else f"~{usual}"
        return f"{format_duration(self.elapsed)} of {known}"


def step_timing(account: Account, planned: PlannedStep, now: float) -> StepTiming | None:
    """The step's timing at ``now`` (Unix time); None where nobody works on it, or people decide how long it takes."""
    elapsed = account.works(planned.id, now)
    if elapsed is None or planned.timed is None:
        return None
    if is_parked(account.state):
        return None
    if planned.step.approval is not None and planned.id in waits_for_approval(account.plan, account.state):
        return None
    if account.state.step(planned.id).status is not StepStatus.UNDOING:
        return StepTiming(elapsed, planned.expected, planned.overdue, planned.past)
    if not planned.reversible or account.state.paced:
        return None  # its plan B has times of its own; and a paced way back mostly waits at its waypoints
    return StepTiming(elapsed, undo_takes(planned, account.plan.steps), undo_overdue_after(planned), 0)


def overdue(account: Account, now: float) -> dict[str, StepTiming]:
    """The steps that take longer than they should, by id."""
    found = {planned.id: step_timing(account, planned, now) for planned in account.steps}
    return {name: timing for name, timing in found.items() if timing is not None and timing.is_overdue}


@dataclass(frozen=True, slots=True)
class UndoTimes:
    """How long an undo takes, in seconds; None where a person has a part in it and the runbook has no estimate."""

    at_once: float | None
    """Each step in a single move."""
    paced: float | None
    """By the waypoints of the way out."""


@dataclass(frozen=True, slots=True)
class WindowTiming:
    """What is left of the window."""

    ends: float
    """Unix time."""
    undo: UndoTimes | None
    """What an undo of all that is changed now takes; None where nothing is."""
    undoing: bool

    @property
    def latest_undo(self) -> float | None:
        """Unix time at which an undo in single moves must begin to be over with the window; None where nobody knows."""
        return None if self.undo is None or self.undo.at_once is None else self.ends - self.undo.at_once

    def is_late(self, now: float) -> bool:
        """Whether an undo does not fit in any more; with nothing to undo, whether the window is over."""
        return now > (self.ends if self.latest_undo is None or self.undoing else self.latest_undo)

    def text(self, now: float) -> str:
        """What there is to say of it at ``now`` (Unix time)."""
        undo = self.undo
        if now > self.ends:
            return f"the window is over since {self._moments(now)[0]}"
        ends = f"window ends {self._moments(now)[0]}"
        if undo is None:
            return ends
        if undo.at_once is None or undo.paced is None:
            return f"{ends}; how long an undo takes is not known"
        if self.undoing:
            return f"{ends}; the undo takes ~{format_duration(undo.at_once)}"
        if self.is_late(now):
            return f"too late for an undo within the window: it takes ~{format_duration(undo.at_once)}; {ends}"
        return self._undo_by(undo.at_once, undo.paced, now)

    def _undo_by(self, at_once: float, paced: float, now: float) -> str:
        """Of the two ways only those that are told have a part in how precise the line is."""
        fast, slow = f"(takes ~{format_duration(at_once)})", f"(takes ~{format_duration(paced)})"
        if now > self.ends - paced:
            ends, by = self._moments(now, at_once)
            return f"undo --at-once by {by} {fast}; window ends {ends}"
        if paced - at_once < _SAME:
            ends, by = self._moments(now, paced)
            return f"undo by {by} {slow}; window ends {ends}"
        ends, by, late = self._moments(now, paced, at_once)
        return f"undo by {by} {slow}, --at-once by {late} {fast}; window ends {ends}"

    def _moments(self, now: float, *before: float) -> list[str]:
        """The window's end, with the zone, and so many seconds before it."""
        end, *others = format_moments([self.ends, *(self.ends - seconds for seconds in before)], now)
        zone = format_zone(self.ends)
        return [end if end.endswith(zone) else f"{end} {zone}", *others]


def window_timing(account: Account) -> WindowTiming | None:
    """The window's timing; None where the run has none, or is over."""
    ends, state = window_end(account), account.state
    if ends is None or state.status in _OVER:
        return None
    undo = undo_times(account)
    if undo is not None and state.paced:
        undo = UndoTimes(undo.paced, undo.paced)
    return WindowTiming(ends, undo, state.undoing)


def undo_times(account: Account) -> UndoTimes | None:
    """How long an undo of all that is changed now takes, one step after the other; None where nothing is."""
    steps, left = {step.id: step for step in account.plan.steps}, account.left_changed()
    if not left:
        return None
    at_once = [undo_takes(steps[name], account.plan.steps) for name in left]
    paced = [paced_undo_takes(steps[name], account.plan.steps) for name in left]
    return UndoTimes(_sum(at_once), _sum(paced))


def _sum(times: Sequence[float | None]) -> float | None:
    known = [seconds for seconds in times if seconds is not None]
    return sum(known) if len(known) == len(times) else None


def window_end(account: Account) -> float | None:
    """Unix time by which all must be over: as it was given for the run, or as long as the runbook may take from its
    begin, whatever is earlier; None where neither says.
    """
    plan, began = account.plan, account.state.began
    stated = [] if plan.window_ends is None else [plan.window_ends]
    if plan.runbook.window is not None and began is not None:
        stated.append(began + plan.runbook.window)
    return min(stated, default=None)
