"""A journal in memory, with the fencing of a real one, and a plug that can be pulled."""

# ruff: noqa: D102 - the port says what its methods mean

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import Fenced, InputError, Problem
from orchestrator.model.journal import Entry
from orchestrator.ports import RunRow


class Killed(BaseException):
    """The process is dead; whatever it still tries has no effect."""


class MemoryJournal:
    """``ports.Journal``. ``dies_before`` and ``dies_after`` name the entry, from 1, around which the process dies."""

    def __init__(self) -> None:
        self.written: list[Entry] = []
        self.dies_before = 0
        self.dies_after = 0
        self.dead = False
        self._runs: dict[str, RunRow] = {}
        self._epochs: dict[str, int] = {}

    def create(self, run: str, plan: str, runbook: str, at: float) -> None:
        self._runs[run] = RunRow(run=run, created=at, runbook=runbook, status="planned", plan=plan)
        self._epochs[run] = 0

    def take(self, run: str) -> int:
        self._epochs[run] += 1
        return self._epochs[run]

    def epoch(self, run: str) -> int:
        return self._epochs[run]

    def append(self, entry: Entry) -> Entry:
        number = len(self.written) + 1
        if number == self.dies_before:
            self.dead = True
        if self.dead:
            raise Killed
        if entry.epoch not in (0, self._epochs[entry.run]):
            raise Fenced(f"run {entry.run} has a newer owner")
        self.written.append(entry.model_copy(update={"seq": number}))
        if number == self.dies_after:
            self.dead = True
            raise Killed
        return self.written[-1]

    def append_all(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        return [self.append(entry) for entry in entries]

    def entries(self, run: str, after: int = 0) -> Sequence[Entry]:
        return [entry for entry in self.written[after:] if entry.run == run]

    def durations(self, newest: int = 2_000) -> Sequence[Entry]:
        return [entry for entry in reversed(self.written) if entry.kind == "duration"][:newest]

    def runs(self) -> Sequence[RunRow]:
        return list(reversed(self._runs.values()))

    def run(self, run: str) -> RunRow:
        found = [row for row in self._runs.values() if row.run.startswith(run)]
        if len(found) != 1:
            raise InputError([Problem(f"{len(found)} runs begin with {run!r}")])
        return found[0]

    def revive(self) -> None:
        """A new process opens the same journal."""
        self.dead = False
        self.dies_before = self.dies_after = 0
