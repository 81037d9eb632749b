"""Started on a small file system of its own, which gets full or read-only.

    python -m tests.crash.disk_room FOLDER

``FOLDER`` is where the file system is mounted; only this process and what it starts sees it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestrator.errors import JournalError
from orchestrator.journal.sqlite import SqliteJournal
from tests.crash.disk_work import one
from tests.unit.engine.scene import RUN

ROOM: Final = 1024 * 1024


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill the file system up to its last ``leave`` bytes; return the file that does."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("ab", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    if leave:
        os.truncate(ballast, ballast.stat().st_size - leave)
    return ballast


def refused(act: Callable[[], object]) -> str:
    """The message with which ``act`` is refused."""
    try:
        act()
    except JournalError as error:
        return str(error)
    raise AssertionError("it was not refused")


def numbers(journal: SqliteJournal) -> list[int]:
    """What the journal has of ``one``."""
    return [int(str(entry.data["number"])) for entry in journal.entries(RUN)]


def fill_up(folder: Path) -> str:
    """Append until the file system is full; what was acknowledged is there, and with room again it goes on."""
    path = folder / "full.sqlite"
    done: list[int] = []

    def append(journal: SqliteJournal) -> None:
        for number in range(10_000):
            journal.append(one(number))
            done.append(number)

    with SqliteJournal(path) as journal:
        journal.create(RUN, "{}", "maintenance", at=1.0)
        journal.take(RUN)
        ballast = fill(folder, leave=300_000)
        message = refused(lambda: append(journal))
        assert len(done) > 5, "some fitted in"
        assert numbers(journal) == done, "the same process reads what it wrote"
    with SqliteJournal(path) as journal:
        assert numbers(journal) == done, "so does the next one, while the disk is still full"
        ballast.unlink()
        journal.append(one(-1))
        assert numbers(journal) == [*done, -1]
    return message


def make_on_full(folder: Path) -> str:
    """Make a journal where there is hardly any room: refused, nothing is left of it; with room it is made."""
    messages = set()
    for leave in range(0, 160_000, 8192):
        path = folder / "new" / "journal.sqlite"
        path.parent.mkdir()
        ballast = fill(folder, leave)
        try:
            SqliteJournal(path).close()
        except JournalError as error:
            messages.add(str(error))
            assert not list(path.parent.iterdir()), "nothing is left"
        ballast.unlink()
        SqliteJournal(path).close()
        path.unlink()
        path.parent.rmdir()
    assert messages, "some had too little room"
    return max(messages)


def read_only(folder: Path) -> str:
    """Open and append where the file system has become read-only, as a disk in trouble does."""
    path = folder / "read-only.sqlite"
    SqliteJournal(path).close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    assert refused(lambda: SqliteJournal(folder / "another.sqlite")).startswith("cannot open the journal")
    return refused(lambda: SqliteJournal(path))


def main(folder: Path) -> None:
    """Say each case's message in a line."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", str(folder)], check=True)
    for case in (fill_up, make_on_full, read_only):
        os.writev(1, [f"{case.__name__}: {case(folder)}\n".encode()])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
