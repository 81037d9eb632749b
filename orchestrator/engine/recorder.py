"""Writes what happens into the journal, keeps the folded state, and tells whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import structlog
from pydantic import JsonValue

from orchestrator.model.journal import Entry, EntryKind
from orchestrator.ports import Clock, Journal
from orchestrator.status import RunState, RunStatus, StepState, StepStatus, fold

Listener = Callable[[Entry], None]

log = structlog.get_logger(__name__)

PROGRESS_EVERY = 1.0
"""Seconds between two progress entries of one step in the journal; listeners hear of each."""


class Recorder:
    """One owner's pen: everything that it writes carries its epoch."""

    def __init__(self, run: str, epoch: int, journal: Journal, clock: Clock, listener: Listener) -> None:
        self.run = run
        self._epoch = epoch
        self._journal = journal
        self._clock = clock
        self._listener: Listener | None = listener
        entries = journal.entries(run)
        self._state = fold(entries)
        self._seen = entries[-1].seq if entries else 0
        self._written: dict[str, float] = {}
        self._unwritten: dict[str, Entry] = {}

    @property
    def state(self) -> RunState:
        """The run as it stands."""
        return self._state

    def step_state(self, step: str) -> StepState:
        """One step as it stands."""
        return self._state.step(step)

    def is_owner(self) -> bool:
        """Whether nobody has taken the run over."""
        return self._journal.epoch(self.run) == self._epoch

    def run_status(self, status: RunStatus, reason: str = "", *, answered: bool = False) -> None:
        """Record the run's new status; ``answered`` when it is held because something failed."""
        if status is not self._state.status or reason != self._state.reason or answered is not self._state.answered:
            data: dict[str, JsonValue] = {"status": status.value, "reason": reason}
            self._write("run", data={**data, "answered": True} if answered else data)

    def step_status(self, step: str, status: StepStatus, reason: str = "", *, attempt: int | None = None) -> None:
        """Record a step's new status, after the last progress that is not on disk yet."""
        if pending := self._unwritten.pop(step, None):
            self._journal.append(pending)
        self._write("step", step, attempt=attempt, data={"status": status.value, "reason": reason})

    def record(self, kind: EntryKind, step: str, data: dict[str, JsonValue]) -> None:
        """Record an intent, an outcome or a verdict."""
        self._write(kind, step, data=data)

    def progress(self, step: str, text: str, numbers: dict[str, float]) -> None:
        """Tell how far a step is: listeners at once, the journal now and then."""
        data: dict[str, JsonValue] = {"text": text, **numbers}
        entry = self._entry("progress", step, None, data)
        now = self._clock.monotonic()
        if now - self._written.get(step, float("-inf")) >= PROGRESS_EVERY:
            self._written[step] = now
            self._unwritten.pop(step, None)
            entry = self._journal.append(entry)
        else:
            self._unwritten[step] = entry
        self._state = fold([entry], self._state)
        self._tell(entry)

    def refresh(self) -> None:
        """Read what people wrote meanwhile: approvals from other terminals."""
        for entry in self._journal.entries(self.run, after=self._seen):
            self._seen = max(self._seen, entry.seq)
            if entry.epoch == 0:
                self._state = fold([entry], self._state)
                self._tell(entry)

    def _write(
        self, kind: EntryKind, step: str = "", *, attempt: int | None = None, data: dict[str, JsonValue]
    ) -> None:
        entry = self._entry(kind, step, attempt, data)
        state = fold([entry], self._state)  # first: a move that does not exist must never get into the journal
        entry = self._journal.append(entry)
        self._state = state
        self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        """Let the listener hear of it. A report never steers a run: one that breaks is told nothing any more."""
        if self._listener is None:
            return
        try:
            self._listener(entry)
        except Exception as error:  # a closed pipe, a full disk, a bug: the run does not mind which
            self._listener = None
            with suppress(Exception):  # the log may go down the same closed pipe
                log.error("report.broken", run=self.run, error=f"{type(error).__name__}: {error}")

    def _entry(self, kind: EntryKind, step: str, attempt: int | None, data: dict[str, JsonValue]) -> Entry:
        attempt = self._state.step(step).attempt if attempt is None else attempt
        return Entry(
            run=self.run,
            at=self._clock.now(),
            epoch=self._epoch,
            kind=kind,
            step=step,
            attempt=attempt if step else 0,
            data=data,
        )
