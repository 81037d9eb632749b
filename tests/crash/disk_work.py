"""What a process does while its disk fails, and what it says meanwhile: a journal's life, and a whole run's.

It says ``did NAME`` when a write is acknowledged, ``refused NAME: message`` when it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from orchestrator.errors import Fenced, JournalError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.journal import Entry
from tests.unit.engine.scene import RUN, Scene, turn, verify

Say = Callable[[str], None]

NAME: Final = "journal.sqlite"
PAGES: Final = 12
"""After so many pages the log is copied into the journal's file. SQLite's own 1,000 would need a long run."""


class Work(NamedTuple):
    """What is there before, without any fault; and what is done."""

    prepare: Callable[[Path], None]
    do: Callable[[Path, Say], None]


def one(number: int) -> Entry:
    """An entry that can be told by its number."""
    return Entry(run=RUN, at=1.0, epoch=1, kind="progress", step="shift", data={"number": number})


def write_journal(folder: Path, say: Say) -> None:
    """Make a journal and write a run into it; whatever is refused, go on with what comes next.

    Nobody goes on like that in earnest: it shows that a refused write spoils nothing that comes after it.
    """
    journal = SqliteJournal(folder / NAME)
    say("did open")
    journal._db.execute(f"PRAGMA wal_autocheckpoint = {PAGES}")

    def attempt(name: str, act: Callable[[], object]) -> None:
        try:
            act()
        except (JournalError, Fenced) as error:
            say(f"refused {name}: {error}")
        else:
            say(f"did {name}")

    attempt("create", lambda: journal.create(RUN, '{"plan": 1}', "maintenance", at=1.0))
    attempt("take", lambda: journal.take(RUN))
    for number in range(4):
        attempt(str(number), lambda number=number: journal.append(one(number)))  # type: ignore[misc]
    attempt("4 5 6", lambda: journal.append_all([one(4), one(5), one(6)]))
    attempt("look", lambda: journal.entries(RUN))
    for number in (7, 8):
        attempt(str(number), lambda number=number: journal.append(one(number)))  # type: ignore[misc]
    journal.close()


class ToldJournal(SqliteJournal):
    """Tells of each entry when it is on disk, and of all that was refused."""

    def __init__(self, path: Path, say: Say) -> None:
        super().__init__(path)
        self._say = say
        self._db.execute(f"PRAGMA wal_autocheckpoint = {PAGES}")

    def append_all(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """As the journal's; a single ``append`` comes by here too."""
        try:
            written = super().append_all(entries)
        except JournalError as error:
            for entry in entries:
                self._say(f"refused {_name(entry)}: {error}")
            raise
        for entry in written:
            self._say(f"did {_name(entry)}")
        return written

    def epoch(self, run: str) -> int:
        """As the journal's: what an action asks before it touches anything."""
        try:
            return super().epoch(run)
        except JournalError as error:
            self._say(f"refused epoch: {error}")
            raise


class DiskScene(Scene):
    """A run whose journal is on the disk: one dial, then two side by side, then a check that fails. So all go back."""

    def __init__(self, journal: SqliteJournal, levels: Mapping[str, int] | None = None) -> None:
        super().__init__(
            turn("one"), turn("two"), turn("three", needs=["one"]), verify("look", "good", needs=["two", "three"]),
            judge={"good": "fail"}, levels=levels,
        )  # fmt: skip
        self.journal = journal  # type: ignore[assignment]  # the same port
        self.world.dead = lambda: False


def _name(entry: Entry) -> str:
    return f"{entry.kind} {entry.step or '-'} {entry.data.get('status', '')}".rstrip()


def names(journal: SqliteJournal) -> Sequence[str]:
    """The run's entries in the words in which they are told."""
    return [_name(entry) for entry in journal.entries(RUN)]


def prepare_run(folder: Path) -> None:
    """The journal of a run that begins; nothing lies in its log."""
    with SqliteJournal(folder / NAME) as journal:
        journal.create(RUN, "{}", "scene", at=1.0)


def do_run(folder: Path, say: Say) -> None:
    """Run it to its end; the dials are the world."""
    with ToldJournal(folder / NAME, say) as journal:
        scene = DiskScene(journal)
        scene.world._tell = lambda event: say(f"turned {event}")
        scene.start()
        say(f"ended {scene.status}")


def nothing(folder: Path) -> None:
    """There is nothing before."""


WORKS: Final[Mapping[str, Work]] = {
    "journal": Work(nothing, write_journal),
    "run": Work(prepare_run, do_run),
}
