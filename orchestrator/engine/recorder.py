"""Writes what happens into the journal, keeps the folded state, and tells whoever listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from pydantic import JsonValue

from orchestrator.errors import Fenced
from orchestrator.model.journal import Entry, EntryKind
from orchestrator.ports import Clock, Journal
from orchestrator.status import RunState, RunStatus, StepState, StepStatus, fold

Listener = Callable[[Entry], None]

log = structlog.get_logger(__name__)

PROGRESS_EVERY = 1.0
"""Seconds between two progress entries of one step in the journal; listeners hear of each."""

COMMIT_WITHIN: Final = 0.05
"""Seconds after which what was said is on disk, at the latest. Several entries share one write that way; what must be
there before anything else happens does not wait."""


@dataclass(frozen=True, slots=True)
class _Word:
    """An entry on its way; ``kept`` when it goes into the journal, ``told`` when listeners have heard of it."""

    entry: Entry
    kept: bool = True
    told: bool = False


class Recorder:
    """One owner's pen: everything that it writes carries its epoch.

    Once the journal has failed, or somebody has taken the run over, every method raises that: a run that cannot
    journal does not act.
    """

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
        self._words: list[_Word] = []
        self._timer: asyncio.TimerHandle | None = None
        self._failure: BaseException | None = None

    @property
    def state(self) -> RunState:
        """The run as it stands."""
        return self._state

    def step_state(self, step: str) -> StepState:
        """One step as it stands."""
        return self._state.step(step)

    def is_owner(self) -> bool:
        """Whether nobody has taken the run over. Asked before every change: who cannot write may not act."""
        self._raise_failure()
        return self._journal.epoch(self.run) == self._epoch

    def run_status(self, status: RunStatus, reason: str = "", *, answered: bool = False, paced: bool = False) -> None:
        """Record the run's new status; ``answered`` when it is held because something failed, or a person wished so.

        ``paced`` when it goes back by the waypoints of the way out.
        """
        now = self._state
        same_pace = status is not RunStatus.UNDOING or paced is now.paced
        if (status, reason, answered) != (now.status, now.reason, now.answered) or not same_pace:
            data: dict[str, JsonValue] = {"status": status.value, "reason": reason}
            marks: dict[str, JsonValue] = {"answered": answered, "paced": paced}
            self._write("run", data={**data, **{name: True for name, is_so in marks.items() if is_so}})
            self.commit()

    def step_status(self, step: str, status: StepStatus, reason: str = "", *, attempt: int | None = None) -> None:
        """Record a step's new status, after the last progress that is not in the journal yet."""
        if pending := self._unwritten.pop(step, None):
            self._words.append(_Word(pending, told=True))
        self._write("step", step, attempt=attempt, data={"status": status.value, "reason": reason})

    def intent(self, step: str, data: dict[str, JsonValue], status: StepStatus, reason: str = "") -> None:
        """Record what is about to be touched, and the status that goes with it: on disk before this returns."""
        self._write("intent", step, data=data)
        if (status, reason) != (self.step_state(step).status, self.step_state(step).reason):
            self.step_status(step, status, reason)
        self.commit()

    def record(self, kind: EntryKind, step: str, data: dict[str, JsonValue]) -> None:
        """Record an outcome, a verdict or a duration."""
        self._write(kind, step, data=data)

    def progress(self, step: str, text: str, numbers: dict[str, float]) -> None:
        """Tell how far a step is: listeners soon, the journal now and then."""
        self._raise_failure()
        entry = self._entry("progress", step, None, {"text": text, **numbers})
        now = self._clock.monotonic()
        kept = now - self._written.get(step, float("-inf")) >= PROGRESS_EVERY
        if kept:
            self._written[step] = now
            self._unwritten.pop(step, None)
        else:
            self._unwritten[step] = entry
        self._state = fold([entry], self._state)
        self._say(_Word(entry, kept=kept))

    def refresh(self) -> None:
        """Read what people wrote meanwhile in other terminals: approvals, aborts."""
        self._raise_failure()
        for entry in self._journal.entries(self.run, after=self._seen):
            self._seen = max(self._seen, entry.seq)
            if entry.epoch == 0:
                self._state = fold([entry], self._state)
                self._say(_Word(entry, kept=False))

    def look(self) -> None:
        """As ``refresh``, for who only listens: trouble is kept, and stops whoever records next."""
        try:
            self.refresh()
            if not self.is_owner():
                raise Fenced(f"another orchestrator has taken over run {self.run}")
        except Exception as error:
            self._failure = self._failure or error

    def commit(self) -> None:
        """Bring to disk what was said so far, in one write; then listeners hear of it, so that all they hear is kept.

        Raises:
            JournalError: it cannot be written; nothing may be touched any more.
            Fenced: somebody else owns the run now.
        """
        self._raise_failure()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        words, self._words = self._words, []
        try:
            entries = self._journal.append_all([word.entry for word in words if word.kept])
        except BaseException as error:
            self._failure = error
            raise
        if entries and entries[0].seq == self._seen + 1:  # nobody else has written since we looked
            self._seen = entries[-1].seq
        written = iter(entries)
        for word in words:
            entry = next(written) if word.kept else word.entry
            if not word.told:
                self._tell(entry)

    def _write(
        self, kind: EntryKind, step: str = "", *, attempt: int | None = None, data: dict[str, JsonValue]
    ) -> None:
        self._raise_failure()
        entry = self._entry(kind, step, attempt, data)
        self._state = fold([entry], self._state)  # first: a move that does not exist must never get into the journal
        self._say(_Word(entry))

    def _say(self, word: _Word) -> None:
        self._words.append(word)
        if self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(COMMIT_WITHIN, self._commit_now)
            except RuntimeError:  # nobody would wake us later
                self.commit()

    def _commit_now(self) -> None:
        self._timer = None
        if self._failure is None:
            with suppress(Exception):  # kept, and raised where the run can act on it
                self.commit()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

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
