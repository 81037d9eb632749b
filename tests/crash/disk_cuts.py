"""Damages a journal's files at one byte after another, reads what is left, and judges what the journal says of it."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Literal, NamedTuple

from orchestrator.errors import JournalError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.journal import Entry
from orchestrator.ports import RunRow

RUN: Final = "r1"
WORKERS: Final = 2
READ_AGAIN_EVERY: Final = 32
"""At so many places once, what was read is read a second time: the first time has copied the log into the file."""

History = tuple[Sequence[RunRow], Sequence[Entry], int]
"""All that a journal says: its runs, their entries, and the epoch of whoever owns ``RUN``."""
Kind = Literal["file cut", "file changed", "log cut", "log changed", "file cut beside its log"]


class Files(NamedTuple):
    """A journal's file, and its log where it has one."""

    main: bytes
    log: bytes = b""


def _cut(content: bytes, place: int) -> bytes:
    return content[:place]


def _changed(content: bytes, place: int) -> bytes:
    bit = 1 << (place % 7 + place // 7) % 8
    return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]


_DAMAGES: Final[dict[Kind, Callable[[Files, int], Files]]] = {
    "file cut": lambda files, place: Files(_cut(files.main, place)),
    "file changed": lambda files, place: Files(_changed(files.main, place)),
    "log cut": lambda files, place: Files(files.main, _cut(files.log, place)),
    "log changed": lambda files, place: Files(files.main, _changed(files.log, place)),
    "file cut beside its log": lambda files, place: Files(_cut(files.main, place), files.log),
}


@dataclass
class Found:
    """What reading damaged journals came to."""

    refused: int = 0
    whole: int = 0
    """It said exactly what it said before the damage."""
    earlier: Counter[int] = field(default_factory=Counter)
    """It said what had been true before: how often after so many of the writes that the log has."""
    wrong: list[str] = field(default_factory=list)
    """It said anything else, or broke. This must not be."""

    def add(self, other: Found) -> None:
        """Take in what another process found."""
        self.refused += other.refused
        self.whole += other.whole
        self.earlier += other.earlier
        self.wrong += other.wrong


def write(folder: Path) -> tuple[Files, Files, Sequence[History]]:
    """A journal with two writes in its log; the same when closed; and what it said before, between and after them."""
    path = folder / "journal.sqlite"
    with SqliteJournal(path) as journal:
        journal.create(RUN, '{"plan": 1}', "maintenance", at=1.0)
        epoch = journal.take(RUN)
        journal.append(Entry(run=RUN, at=2.0, epoch=epoch, kind="run", data={"status": "running"}))
    with SqliteJournal(path) as journal:
        truths = [read(path)]
        epoch = journal.take(RUN)
        truths.append(read(path))
        journal.append(Entry(run=RUN, at=3.0, epoch=epoch, kind="progress", step="shift", data={"text": "x" * 50}))
        truths.append(read(path))
        live = Files(path.read_bytes(), path.with_name(path.name + "-wal").read_bytes())
    return live, Files(path.read_bytes()), truths


def read(path: Path) -> History:
    """All that a journal says."""
    with SqliteJournal(path) as journal:
        rows = journal.runs()
        return rows, [entry for row in rows for entry in journal.entries(row.run)], journal.epoch(RUN) if rows else 0


def damage(kind: Kind, files: Files, truths: Sequence[History], places: Sequence[int]) -> Found:
    """Damage the files at each place in turn. Several processes share the places."""
    found = Found()
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        parts = [places[worker::WORKERS] for worker in range(WORKERS)]
        for part in pool.map(_damage, *zip(*((kind, files, truths, part) for part in parts), strict=True)):
            found.add(part)
    return found


def _damage(kind: Kind, files: Files, truths: Sequence[History], places: Iterable[int]) -> Found:
    found = Found()
    memory = Path("/dev/shm")  # where there is one: nothing here is about the disk's speed
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        path = Path(folder) / "journal.sqlite"
        for place in places:
            _lay(path, _DAMAGES[kind](files, place))
            try:
                _judge(path, truths, place, found)
            except Exception as error:
                found.wrong.append(f"{kind} at {place}: {type(error).__name__}: {error}")
    return found


def _lay(path: Path, files: Files) -> None:
    for leftover in path.parent.iterdir():
        leftover.unlink()
    path.write_bytes(files.main)
    if files.log:
        path.with_name(path.name + "-wal").write_bytes(files.log)


def _judge(path: Path, truths: Sequence[History], place: int, found: Found) -> None:
    try:
        said = read(path)
        again = read(path) if place % READ_AGAIN_EVERY == 0 else said
    except JournalError as error:
        found.refused += 1
        if not error.remedy:
            found.wrong.append(f"{place}: refused without a remedy: {error}")
        return
    assert again == said, "read a second time it says something else"
    if said == truths[-1]:
        found.whole += 1
        return
    assert said in truths, f"it says {said}"
    found.earlier[truths.index(said)] += 1
