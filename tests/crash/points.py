"""The points at which an orchestrator can die: before and after every write to its journal and every side effect."""

# ruff: noqa: D102 - the port says what its methods mean

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

from orchestrator.model.journal import Entry
from orchestrator.ports import Journal, RunRow

JOURNAL = "journal"

WRITES = {
    "Journal": {"create", "take", "append", "append_all"},
    "TrafficSwitch": {"apply", "close"},
    "MailGate": {"set_closed", "turn_away"},
    "MailQueue": {"flush"},
}
"""The methods of the ports that change something; around each call there are points."""

READS = {
    "Journal": {"epoch", "entries", "durations", "runs", "run"},
    "TrafficSwitch": {"elsewhere", "max_weight", "read", "sessions", "settling", "by_hand"},
    "MailGate": {
        "read",
        "look",
        "by_hand",
    },  # a look withholds a message for half a second at most; the gate ends that itself
    "MailQueue": {"depth"},
}
"""Those that do not."""


class Side(StrEnum):
    """Where, around a write, the process dies."""

    BEFORE = "before"
    UNDER_WAY = "under way"
    """It has asked for a side effect, which happens, and has not heard that it did."""
    AFTER = "after"


class Death(NamedTuple):
    """Where a process is killed: at this side of its ``number``-th write, from 1."""

    number: int
    side: Side


class Points:
    """Counts the writes of one process, and kills it where its ``death`` is."""

    def __init__(self, death: Death | None, last_words: Callable[[str], None]) -> None:
        self.passed: list[str] = []
        """Every write that it began: ``journal append``, ``switch apply``."""
        self._death = death
        self._last_words = last_words

    def begin(self, what: str) -> int:
        """A write is about to begin; returns its number."""
        self.passed.append(what)
        number = len(self.passed)
        self.at(number, Side.BEFORE)
        return number

    def at(self, number: int, side: Side) -> None:
        """The process is at this side of a write."""
        if self._death == (number, side):
            self._last_words(self.passed[number - 1])
            os.kill(os.getpid(), signal.SIGKILL)


class JournalWithPoints:
    """``ports.Journal``: a real one, with a point before and after each of its writes. One transaction is one write."""

    def __init__(self, journal: Journal, points: Points) -> None:
        self._journal = journal
        self._points = points

    def create(self, run: str, plan: str, runbook: str, at: float) -> None:
        number = self._points.begin(f"{JOURNAL} create")
        self._journal.create(run, plan, runbook, at)
        self._points.at(number, Side.AFTER)

    def take(self, run: str) -> int:
        number = self._points.begin(f"{JOURNAL} take")
        epoch = self._journal.take(run)
        self._points.at(number, Side.AFTER)
        return epoch

    def append(self, entry: Entry) -> Entry:
        number = self._points.begin(f"{JOURNAL} append")
        written = self._journal.append(entry)
        self._points.at(number, Side.AFTER)
        return written

    def append_all(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        if not entries:
            return self._journal.append_all(entries)
        number = self._points.begin(f"{JOURNAL} append")
        written = self._journal.append_all(entries)
        self._points.at(number, Side.AFTER)
        return written

    def epoch(self, run: str) -> int:
        return self._journal.epoch(run)

    def entries(self, run: str, after: int = 0) -> Sequence[Entry]:
        return self._journal.entries(run, after)

    def durations(self, newest: int = 2_000) -> Sequence[Entry]:
        return self._journal.durations(newest)

    def runs(self) -> Sequence[RunRow]:
        return self._journal.runs()

    def run(self, run: str) -> RunRow:
        return self._journal.run(run)
