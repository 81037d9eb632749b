"""A run as plain lines, one for each event that says something, for logs and for output that is no terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

from orchestrator.model.check import Judgement
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.units import format_duration
from orchestrator.ports import Clock
from orchestrator.report.account import GUARD, Account, Finding, abort_text, parameters_text
from orchestrator.report.advice import advice
from orchestrator.report.sheet import one_line
from orchestrator.report.timing import step_timing, window_timing
from orchestrator.status import RunStatus, StepStatus

PROGRESS_EVERY: Final = 5.0
PROGRESS_AT_LEAST_EVERY: Final = 60.0
"""Seconds between two lines of one step's progress, at first and after some minutes of the same."""
FINDING_EVERY: Final = 60.0
"""Seconds between two lines of the same finding while it stays bad."""
_QUIET: Final = frozenset({StepStatus.CONVERGING, StepStatus.VERIFYING})
"""Where waypoints and verdicts say it better."""
_SETTLED: Final = frozenset({StepStatus.DONE, StepStatus.UNDONE, StepStatus.FAILED, StepStatus.STUCK})
_WINDOW: Final = ("", None)
"""No try of any step."""
_WORD: Final = 11
"""As wide as the longest status."""


class LineReport:
    """Hands a line (without its end) to ``write`` for each event that says something.

    Progress comes at most every five seconds for each step, and the last one always before what ends it. A guard
    speaks when it changes its mind. Times of day are local, from the entries.

    ``so_far`` is what the journal holds already when a run is taken up again, or approved ahead; it is known, not said.
    ``typed`` is the run as a person types it in a command, where that is more than its name.
    """

    def __init__(
        self, plan: Plan, write: Callable[[str], None], clock: Clock, so_far: Iterable[Entry] = (), typed: str = ""
    ) -> None:
        self._write = write
        self._clock = clock
        self._account = Account(plan, so_far, typed)
        self._steps = {step.id: step for step in plan.steps}
        self._column = max(len("run"), *(len(step.id) for step in plan.steps))
        self._spoke: dict[str, float] = {}
        self._waiting: dict[str, Entry] = {}
        self._found: dict[tuple[str, str, str], tuple[Judgement, float]] = {}
        self._late: set[tuple[str, float | None]] = set()
        """The tries, by their begin, and the window, of which it has been said that they are late."""

    def entry(self, entry: Entry) -> None:
        """Write what ``entry`` says, if it says something."""
        before = self._account.state.step(entry.step).status
        self._flush(entry)
        self._account.add(entry)
        if entry.kind == "progress":
            self._progress(entry)
            self._against_the_clock(entry)
            return
        for word, text in self._events(entry, before):
            self._line(entry.at, entry.step, word, text)
        self._against_the_clock(entry)

    def note(self, word: str, text: str) -> None:
        """Write what the journal does not tell of the run."""
        self._line(self._clock.now(), "", word, text)

    def _against_the_clock(self, entry: Entry) -> None:
        """Say once of each try that it is overdue, and of the run that an undo does not fit in its window any more.

        While a run is held its window is told, as somebody decides then.
        """
        planned = self._steps.get(entry.step)
        timing = None if planned is None else step_timing(self._account, planned, entry.at)
        this_try = (entry.step, self._account.step(entry.step).works_since)
        if timing is not None and timing.is_overdue and this_try not in self._late:
            self._late.add(this_try)
            self._line(entry.at, entry.step, *str(timing).split(": ", 1))
        window = window_timing(self._account)
        if window is None:
            return
        held = entry.kind == "run" and self._account.state.status is RunStatus.HELD
        if held or (window.is_late(entry.at) and _WINDOW not in self._late):
            self._line(entry.at, "", "window", window.text(entry.at))
        if window.is_late(entry.at):
            self._late.add(_WINDOW)

    def _progress(self, entry: Entry) -> None:
        now = self._clock.monotonic()
        if now - self._spoke.get(entry.step, -math.inf) < self._every(entry):
            self._waiting[entry.step] = entry
            return
        self._say_progress(entry, now)

    def _every(self, entry: Entry) -> float:
        """Seconds between two lines of a step's progress: of a wait of minutes nobody reads one every few seconds."""
        since = self._account.state.step(entry.step).since
        waited = entry.at - since if since is not None else 0.0
        return min(max(PROGRESS_EVERY, waited / 6), PROGRESS_AT_LEAST_EVERY)

    def _flush(self, entry: Entry) -> None:
        """Say the progress that still waits, of the entry's step, or of all where the run itself changes."""
        if entry.kind not in {"run", "step", "intent", "outcome"}:
            return
        for name in list(self._waiting) if entry.kind == "run" else [entry.step]:
            if name in self._waiting:
                self._say_progress(self._waiting[name], self._clock.monotonic())

    def _say_progress(self, entry: Entry, now: float) -> None:
        self._waiting.pop(entry.step, None)
        self._spoke[entry.step] = now
        status = self._account.state.step(entry.step).status
        self._line(entry.at, entry.step, status, str(entry.data.get("text", "")))

    def _events(self, entry: Entry, before: StepStatus) -> Iterator[tuple[str, str]]:
        match entry.kind:
            case "run":
                yield from self._run(entry)
            case "step":
                yield from self._step(entry, before)
            case "intent":
                yield from self._intent(entry)
            case "outcome" if entry.data.get("result") == "stopped":
                yield "stopped", str(entry.data.get("reason", ""))
            case "verdict":
                yield from self._verdict(entry)
            case "approval":
                note = f": {entry.data['note']}" if entry.data.get("note") else ""
                ahead = ", given ahead" if entry.data.get("ahead") else ""
                yield "approved", f"by {entry.data.get('by', '')}{ahead}{note}"
            case "abort":
                yield "aborted", abort_text(self._account.state) or f"by {entry.data.get('by', '')}: it is over already"
            case _:
                pass

    def _run(self, entry: Entry) -> Iterator[tuple[str, str]]:
        status, reason = RunStatus(str(entry.data["status"])), str(entry.data.get("reason", ""))
        if status is RunStatus.RUNNING and not reason and self._account.state.began == entry.at:
            plan = self._account.plan
            reason = f"{entry.run}: {plan.runbook.runbook} {parameters_text(plan)}".strip()
            reason += f" (local times, {datetime.fromtimestamp(entry.at).astimezone():%Z})"
        if status is RunStatus.DONE and not reason:
            reason = f"took {format_duration(self._account.elapsed(entry.at))}"
        yield status, reason.removeprefix(f"{status} ")
        for order in advice(self._account):
            yield "next", f"{order.command}  ({order.effect})"

    def _step(self, entry: Entry, before: StepStatus) -> Iterator[tuple[str, str]]:
        status, reason = StepStatus(str(entry.data["status"])), str(entry.data.get("reason", ""))
        self._forget(entry.step)
        if status in _QUIET or (status is StepStatus.UNDOING and not reason):
            return
        if status is StepStatus.GATING and before is not StepStatus.GATING:
            planned = self._steps.get(entry.step)
            again = f" (attempt {entry.attempt})" if entry.attempt > 1 else ""
            begins = before in {StepStatus.PENDING, StepStatus.FAILED, StepStatus.STUCK, StepStatus.UNDONE}
            does = _does(planned) + again if planned is not None and begins else ""
            yield status, ": ".join(part for part in (does, reason) if part)
            return
        took = self._account.took(entry.step, entry.at)
        if status in _SETTLED and took is not None:
            of_undo = self._account.undo_took(entry.step, entry.at) is not None
            spent = f"{'undo ' if of_undo else ''}took {format_duration(took)}"
            reason = f"{reason} ({spent})" if reason else spent
        yield status, reason

    def _intent(self, entry: Entry) -> Iterator[tuple[str, str]]:
        self._forget(entry.step)
        label, direction = str(entry.data.get("waypoint", "")), str(entry.data.get("direction", "out"))
        towards = {"back": f"back: {label}", "undo": label}.get(direction, f"to {label}")
        # The intent is written before the status that it leads to.
        status = StepStatus.UNDOING if direction == "undo" else StepStatus.CONVERGING
        if label:
            yield status, towards

    def _verdict(self, entry: Entry) -> Iterator[tuple[str, str]]:
        gate = str(entry.data.get("gate", ""))
        if gate != GUARD:
            self._waiting.pop(entry.step, None)  # how far the check was; now it has its verdict
        found = self._account.guards[-1] if gate == GUARD else self._account.step(entry.step).findings[-1]
        if self._is_news(found):
            where = f"{gate} {found.verdict.check}" if gate not in {"", "checks"} else found.verdict.check
            yield found.verdict.judgement, f"{where}: {found.verdict.reason}"

    def _is_news(self, found: Finding) -> bool:
        key, now = (found.step, found.gate, found.verdict.check), self._clock.monotonic()
        if found.gate == GUARD:
            key = ("", found.gate, found.verdict.check)
        judgement, since = self._found.get(key, (None, now))
        if judgement is found.verdict.judgement and (found.verdict.passed or now - since < FINDING_EVERY):
            return False
        self._found[key] = (found.verdict.judgement, now)
        return True

    def _forget(self, step: str) -> None:
        """After something happened to the step, the same finding is news again."""
        for key in [key for key in self._found if key[0] == step and key[1] != GUARD]:
            del self._found[key]

    def _line(self, at: float, step: str, word: str, text: str) -> None:
        clock = datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
        name = one_line(step or "run")
        self._write(f"{clock}  {name:<{self._column}}  {word:<{_WORD}}  {one_line(text)}".rstrip())


def _does(planned: PlannedStep) -> str:
    return f"takes {planned.returns} back" if planned.returns is not None else planned.step.do
