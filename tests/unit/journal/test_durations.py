"""Past durations in the journal: found at once among everything else, also in a file of the first version."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.errors import JournalError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.journal.sqlite_file import MIGRATIONS, open_file
from orchestrator.model.journal import Entry
from orchestrator.ports import Journal

VERSION_1 = Path(__file__).with_name("version-1.sqlite.gz")
"""A journal that the first version of the schema was written with: one run with three entries."""
RUN = "20260914-0312-7f3a"


def duration(run: str, seconds: float) -> Entry:
    """A duration of a step."""
    data = {"action": "traffic.shift", "target": "smtp ord→iad", "shape": "s", "direction": "out", "seconds": seconds}
    return Entry(run=run, at=seconds, epoch=0, kind="duration", step="shift", data=data)


def test_durations_of_all_runs_the_newest_first(journal: Journal, open_journal: Callable[[], Journal]) -> None:
    """Durations come from all runs, without what else happened, and no more than were asked for."""
    journal.create("r2", "{}", "maintenance", at=1.0)
    assert list(journal.durations()) == []
    written = []
    for number, run in enumerate(("r1", "r2", "r1")):
        written.append(journal.append(duration(run, float(number))))
        journal.append(Entry(run=run, at=1.0, epoch=0, kind="progress", step="shift", data={"text": "duration"}))
    assert list(open_journal().durations()) == written[::-1]
    assert list(journal.durations(2)) == written[:0:-1]


def test_durations_have_an_index(path: Path) -> None:
    """They are found without a look at every entry, and in their order."""
    SqliteJournal(path).close()
    with closing(open_file(path)) as db:
        question = "SELECT seq FROM entries WHERE kind = 'duration' ORDER BY seq DESC LIMIT 2000"
        found = " ".join(str(row[-1]) for row in db.execute(f"EXPLAIN QUERY PLAN {question}"))
    assert "durations_of_all" in found
    assert "TEMP" not in found


def test_a_journal_of_the_first_version_is_brought_up_to_date(path: Path) -> None:
    """It opens, keeps its run and all its entries, and takes durations; a second opening finds nothing to do."""
    path.parent.mkdir()
    path.write_bytes(gzip.decompress(VERSION_1.read_bytes()))
    with closing(open_file(path, MIGRATIONS[:1])) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        before = db.execute("SELECT * FROM entries ORDER BY seq").fetchall()
    for count in (0, 1):
        with SqliteJournal(path) as journal:
            assert [(row.run, row.status) for row in journal.runs()] == [(RUN, "running")]
            assert [entry.kind for entry in journal.entries(RUN)][:3] == ["run", "step", "approval"]
            assert len(journal.durations()) == count
            journal.append(duration(RUN, 4.0))
    with closing(open_file(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert db.execute("SELECT * FROM entries ORDER BY seq LIMIT 3").fetchall() == before


def test_a_duration_that_cannot_be_read_is_damage(path: Path) -> None:
    """What is no entry any more is said to be damaged, and is no crash."""
    with SqliteJournal(path) as journal:
        journal.create("r1", "{}", "maintenance", at=1.0)
        journal.append(duration("r1", 1.0))
    with closing(open_file(path)) as db:
        db.execute("DROP TRIGGER entries_stay")
        db.execute("UPDATE entries SET data = '{'")
    with SqliteJournal(path) as journal, pytest.raises(JournalError, match="damaged: a duration is none"):
        journal.durations()
