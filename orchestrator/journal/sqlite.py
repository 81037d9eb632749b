"""The journal in one SQLite file: the default, and the truth of one machine.

An entry is on disk when ``append`` returns: write-ahead log, ``synchronous = FULL``, one transaction each, which
also checks the epoch. Several processes may use one file; a file system that is shared between machines will not
do (https://sqlite.org/wal.html, "All processes … on the same host").

What damage is found: a changed, missing or swapped entry or plan, a file that was cut or emptied, pages that SQLite
cannot read. What cannot be found: the loss of whole last transactions that still lay in the log (the ``-wal`` file
deleted or cut while nobody had the journal open), for then an earlier and sound state is left; and a copy of the
whole journal from an earlier day.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self

from orchestrator.errors import Fenced, InputError, JournalError, Problem
from orchestrator.journal.chain import StoredEntry, flaw, genesis, stored
from orchestrator.journal.portable import Copy
from orchestrator.journal.sqlite_file import damaged, is_missing, open_file, translated
from orchestrator.model.journal import Entry
from orchestrator.ports import RunRow
from orchestrator.status import RunStatus

_ENTRY: Final = "SELECT seq, run, at, epoch, kind, step, attempt, data, digest FROM entries WHERE run = ?"
_DURATIONS: Final = """SELECT seq, run, at, epoch, kind, step, attempt, data, digest FROM entries
    WHERE kind = 'duration' ORDER BY seq DESC LIMIT ?"""
_RUN: Final = """SELECT run, created, runbook, plan, genesis, head,
    (SELECT digest FROM entries WHERE entries.run = runs.run ORDER BY seq DESC LIMIT 1),
    (SELECT data FROM entries WHERE entries.run = runs.run AND kind = 'run' ORDER BY seq DESC LIMIT 1)
    FROM runs LEFT JOIN owners USING (run)"""


class _StoredRun(NamedTuple):
    """A run as ``_RUN`` finds it."""

    run: str
    created: float
    runbook: str
    plan: str
    genesis: str
    head: str | None
    last: str | None
    status: str | None


class _Owner(NamedTuple):
    """The run's part that changes: who owns it, and the digest that its chain ends with."""

    epoch: int
    head: str


class Restored(NamedTuple):
    """What an import has brought into a journal."""

    new: bool
    """Whether the journal did not have the run before."""
    entries: int


class SqliteJournal:
    """A journal file; made, with its folders, when it is not there. Any thread may call it; close it at the end.

    Raises:
        JournalError: from every method, when the file cannot be read or written, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._one_at_a_time = threading.Lock()
        self._db = open_file(path)
        self._file = _identity(path)

    @classmethod
    def existing(cls, path: Path) -> Self:
        """The journal that is in the file already: nothing is made.

        Raises:
            JournalError: none is there, or it cannot be opened.
        """
        if is_missing(path):
            message = f"cannot read the journal {path}: it does not exist"
            raise JournalError(message, remedy="check --journal or FAILOVER_STATE")
        return cls(path)

    @property
    def path(self) -> Path:
        """Its file, as it was named."""
        return self._path

    def close(self) -> None:
        """Give the file back; a second time does nothing."""
        with self._one_at_a_time:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def create(self, run: str, plan: str, runbook: str, at: float) -> None:
        """Record a new run with its plan's JSON."""
        begin = genesis(run, float(at) + 0.0, runbook, plan)
        with self._transaction("BEGIN IMMEDIATE", f"record run {run}") as db:
            if db.execute("SELECT 1 FROM runs WHERE run = ?", (run,)).fetchone():
                raise JournalError(
                    f"cannot record run {run}: the journal has a run of that name", remedy="give it another name"
                )
            _begin(db, run, float(at) + 0.0, runbook, plan, begin)

    def take(self, run: str) -> int:
        """Become the owner of the run: a new epoch, greater than every one before. Older epochs are fenced."""
        purpose = f"take run {run}"
        with self._transaction("BEGIN IMMEDIATE", purpose) as db:
            owner = self._owner(db, run, purpose)
            self._last(db, run, owner, purpose)
            db.execute("UPDATE owners SET epoch = ? WHERE run = ?", (owner.epoch + 1, run))
            return owner.epoch + 1

    def epoch(self, run: str) -> int:
        """The epoch of the run's owner; 0 before the first ``take``."""
        purpose = f"look up who owns run {run}"
        with self._transaction("BEGIN", purpose) as db:
            return self._owner(db, run, purpose).epoch

    def append(self, entry: Entry) -> Entry:
        """Write an entry, and return it with its ``seq``. It is on disk then.

        Raises:
            Fenced: the entry's epoch is not the run's any more (0, a person's, always passes).
        """
        return self.append_all([entry])[0]

    def append_all(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Write entries of one run in one transaction, and return them with their ``seq``. They are on disk then.

        Raises:
            Fenced: as ``append``.
        """
        if not entries:
            return []
        run, epoch = entries[0].run, entries[0].epoch
        assert all((entry.run, entry.epoch) == (run, epoch) for entry in entries), "one run's, by one owner"
        purpose = f"append to run {run}"
        with self._transaction("BEGIN IMMEDIATE", purpose) as db:
            owner = self._owner(db, run, purpose)
            if epoch not in (0, owner.epoch):
                raise Fenced(f"run {run} has a newer owner (epoch {owner.epoch}, ours was {epoch})")
            self._last(db, run, owner, purpose)
            rows = _chain(db, run, owner.head, entries)
        return [entry.model_copy(update={"seq": row.seq}) for entry, row in zip(entries, rows, strict=True)]

    def entries(self, run: str, after: int = 0) -> Sequence[Entry]:
        """The run's entries with a ``seq`` above ``after``, in order."""
        purpose = f"read run {run}"
        with self._transaction("BEGIN", purpose) as db:
            owner = self._owner(db, run, purpose)
            before = self._before(db, run, after, purpose)
            rows = [StoredEntry(*row) for row in db.execute(f"{_ENTRY} AND seq > ? ORDER BY seq", (run, after))]
            trouble = flaw(before, rows, owner.head)
            if trouble is None and any(row.epoch > owner.epoch for row in rows):
                trouble = "an entry is of an epoch that nobody has taken"
            if trouble:
                raise damaged(purpose, self._path, trouble)
        return [row.entry() for row in rows]

    def durations(self, newest: int = 2_000) -> Sequence[Entry]:
        """So many entries of the kind ``duration``, of all runs, the newest first.

        Trusted is what SQLite's own check of the file trusts: the chains of so many runs are not walked here, so an
        edit by hand is noticed only when its run is read. Nothing but an estimate may rest on these.
        """
        purpose = "read past durations"
        with self._transaction("BEGIN", purpose) as db:
            rows = [StoredEntry(*row) for row in db.execute(_DURATIONS, (newest,))]
        try:
            return [row.entry() for row in rows]
        except (ValueError, TypeError) as error:
            raise damaged(purpose, self._path, "a duration is none") from error

    def runs(self) -> Sequence[RunRow]:
        """All runs, the newest first."""
        with self._transaction("BEGIN", "list the runs") as db:
            return [self._run_row(row) for row in db.execute(f"{_RUN} ORDER BY number DESC")]

    def run(self, run: str) -> RunRow:
        """One run, by its name or an unambiguous beginning of it.

        Raises:
            InputError: there is none, or several.
        """
        with self._transaction("BEGIN", f"look up run {run}") as db:
            exact = db.execute(f"{_RUN} WHERE run = ?", (run,)).fetchall()
            rows = (
                exact
                or db.execute(
                    f"{_RUN} WHERE substr(run, 1, length(:run)) = :run AND :run <> '' ORDER BY number DESC",
                    {"run": run},
                ).fetchall()
            )
            if len(rows) == 1:
                return self._run_row(rows[0])
            newest = [str(row[0]) for row in db.execute("SELECT run FROM runs ORDER BY number DESC LIMIT 5")]
        raise InputError([_not_one(self._path, run, [str(row[0]) for row in rows], newest)])

    def restore(self, copy: Copy) -> Restored:
        """Take in a run that another journal has exported, or what its copy has more than this one; all or nothing.

        What comes is numbered and chained anew (see ``portable``). The run gets a new epoch, so that whoever owned it
        here is fenced; where nothing comes, nobody is.

        Raises:
            RefusedError: the journal has another run of that name, or has more or other entries of this one.
        """
        it = copy.header
        run, purpose = it.run, f"import run {it.run}"
        with self._transaction("BEGIN IMMEDIATE", purpose) as db:
            new = db.execute("SELECT 1 FROM runs WHERE run = ?", (run,)).fetchone() is None
            if new:
                _begin(db, run, it.created, it.runbook, it.plan, it.genesis)
            owner, begin = self._owner(db, run, purpose), self._genesis(db, run, purpose)
            here = [StoredEntry(*row) for row in db.execute(f"{_ENTRY} ORDER BY seq", (run,))]
            if trouble := flaw(begin, here, owner.head):
                raise damaged(purpose, self._path, trouble)
            more = copy.beyond(begin, here)
            if new or more:
                _chain(db, run, owner.head, [row.entry() for row in more])
                db.execute("UPDATE owners SET epoch = ? WHERE run = ?", (max(owner.epoch, it.epoch) + 1, run))
        return Restored(new, len(more))

    @contextmanager
    def _transaction(self, begin: Literal["BEGIN", "BEGIN IMMEDIATE"], purpose: str) -> Iterator[sqlite3.Connection]:
        with self._one_at_a_time, translated(purpose, self._path):
            if _identity(self._path) != self._file:  # SQLite itself would write on into the removed file
                raise damaged(purpose, self._path, "the file was removed or replaced while it was open")
            self._db.execute(begin)
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _owner(self, db: sqlite3.Connection, run: str, purpose: str) -> _Owner:
        row = db.execute("SELECT epoch, head FROM owners WHERE run = ?", (run,)).fetchone()
        if row is None:
            raise JournalError(
                f"cannot {purpose}: the journal {self._path} has no run of that name",
                remedy="is it the same journal file as before?",
            )
        return _Owner(*row)

    def _last(self, db: sqlite3.Connection, run: str, owner: _Owner, purpose: str) -> None:
        """Refuse to go on with a chain whose end is not the recorded one."""
        row = db.execute(f"{_ENTRY} ORDER BY seq DESC LIMIT 1", (run,)).fetchone()
        if row is None:
            whole = owner.head == self._genesis(db, run, purpose)
        else:
            last = StoredEntry(*row)
            whole = last.digest == owner.head and last.epoch <= owner.epoch
        if not whole:
            raise damaged(purpose, self._path, f"the last entries of run {run} are missing")

    def _before(self, db: sqlite3.Connection, run: str, after: int, purpose: str) -> str:
        """The digest that the first entry above ``after`` is chained to."""
        row = db.execute(
            "SELECT digest FROM entries WHERE run = ? AND seq <= ? ORDER BY seq DESC LIMIT 1", (run, after)
        ).fetchone()
        return self._genesis(db, run, purpose) if row is None else str(row[0])

    def _genesis(self, db: sqlite3.Connection, run: str, purpose: str) -> str:
        row = db.execute("SELECT run, created, runbook, plan FROM runs WHERE run = ?", (run,)).fetchone()
        if row is None:
            raise damaged(purpose, self._path, f"the plan of run {run} is missing")
        return genesis(*row)

    def _run_row(self, row: Sequence[Any]) -> RunRow:
        found = _StoredRun(*row)
        purpose = f"read run {found.run}"
        if genesis(found.run, found.created, found.runbook, found.plan) != found.genesis:
            raise damaged(purpose, self._path, "its plan was changed")
        if found.head != (found.last or found.genesis):
            raise damaged(purpose, self._path, "its last entries are missing")
        try:
            status = RunStatus.PLANNED if found.status is None else RunStatus(json.loads(found.status)["status"])
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(purpose, self._path, "its status is none that a run can have") from error
        return RunRow(run=found.run, created=found.created, runbook=found.runbook, status=str(status), plan=found.plan)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands at the path; None when there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _begin(db: sqlite3.Connection, run: str, created: float, runbook: str, plan: str, begin: str) -> None:
    """Insert a run that nobody owns; its chain begins with the digest ``begin``."""
    db.execute(
        "INSERT INTO runs (run, created, runbook, plan, genesis) VALUES (?, ?, ?, ?, ?)",
        (run, created, runbook, plan, begin),
    )
    db.execute("INSERT INTO owners (run, epoch, head) VALUES (?, 0, ?)", (run, begin))


def _chain(db: sqlite3.Connection, run: str, head: str, entries: Sequence[Entry]) -> Sequence[StoredEntry]:
    """Insert entries behind the one with the digest ``head``, the run's last."""
    seq = int(db.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()[0])
    rows = []
    for number, entry in enumerate(entries, seq + 1):
        rows.append(stored(entry, number, head))
        head = rows[-1].digest
    db.executemany(
        "INSERT INTO entries (seq, run, at, epoch, kind, step, attempt, data, digest) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    db.execute("UPDATE owners SET head = ? WHERE run = ?", (head, run))
    return rows


def _not_one(path: Path, run: str, found: Sequence[str], newest: Sequence[str]) -> Problem:
    if found:
        return Problem(f"{len(found)} runs begin with {run!r}: {', '.join(found[:5])}", "write more of the name")
    if newest:
        return Problem(f"the journal {path} has no run {run!r}", f"the newest are {', '.join(newest)}")
    return Problem(f"the journal {path} has no run {run!r}", "it is empty: start a run first, or check --journal")
