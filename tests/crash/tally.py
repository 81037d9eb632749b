"""What became of all the runs that were killed, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.crash.series import Course, Fate

HEADINGS: Final = ("journal writes", "side effects", "points", "resumed → done", "aborted → undone", "killed twice")
"""Of an aborted run that had touched nothing: closed. ``n/m``: of m runs, n ended as they must."""


@dataclass
class Tally:
    """Counts, by the name of the case."""

    courses: dict[str, Course] = field(default_factory=dict)
    runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    ended_well: Counter[tuple[str, str]] = field(default_factory=Counter)
    kills: int = 0

    def course(self, its: Course) -> None:
        """A runbook takes part."""
        self.courses[its.name] = its

    def add(self, case: str, series: str, end: Fate) -> None:
        """One run has ended; ``series`` is resume, undo or twice."""
        self.runs[case, series] += 1
        self.kills += end.kills
        if not end.problems:
            self.ended_well[case, series] += 1

    def lines(self) -> Iterator[str]:
        """The table, with its sums."""
        courses = list(self.courses.values())
        rows = {**{its.name: self._row([its]) for its in courses}, "all": self._row(courses)}
        wide = max(map(len, rows))
        for name, row in {"": HEADINGS, **rows}.items():
            cells = zip(row, HEADINGS, strict=True)
            yield f"{name:<{wide}}" + "".join(f"  {cell:>{len(heading)}}" for cell, heading in cells)
        killed_once = sum(number for (_, series), number in self.runs.items() if series != "twice")
        possible = 2 * sum(len(its.deaths) for its in courses)
        yield f"{killed_once} of {possible} runs that are killed at one point; {self.kills} processes killed in all"

    def _row(self, courses: Sequence[Course]) -> Sequence[str]:
        to_journal = sum(its.journal_writes for its in courses)
        everywhere = sum(len(its.writes) for its in courses)
        points = sum(len(its.deaths) for its in courses)
        series = (self._of(courses, one) for one in ("resume", "undo", "twice"))
        return (str(to_journal), str(everywhere - to_journal), str(points), *series)

    def _of(self, courses: Sequence[Course], series: str) -> str:
        well, runs = (sum(count[its.name, series] for its in courses) for count in (self.ended_well, self.runs))
        return f"{well}/{runs}"
