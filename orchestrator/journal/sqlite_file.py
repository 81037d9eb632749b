"""The journal's SQLite file: made whole or not at all, opened only when it is sound, and its errors in our words."""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from orchestrator.errors import JournalError

APPLICATION_ID: Final = 0x4641494C  # "FAIL": what file(1) and we tell a journal by (SQLite file format, 1.3.18)
BUSY_SECONDS: Final = 5.0
"""How long a call waits for another process's write; ours take milliseconds."""

_ERROR_CODE: Final = re.compile(r"error code=(\d+)")

Migration = Sequence[str]

MIGRATIONS: Final[Sequence[Migration]] = (
    (
        """CREATE TABLE runs (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            run TEXT NOT NULL UNIQUE,
            created REAL NOT NULL,
            runbook TEXT NOT NULL,
            plan TEXT NOT NULL,
            genesis TEXT NOT NULL
        )""",
        """CREATE TABLE entries (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            run TEXT NOT NULL REFERENCES runs (run),
            at REAL NOT NULL,
            epoch INTEGER NOT NULL CHECK (epoch >= 0),
            kind TEXT NOT NULL,
            step TEXT NOT NULL,
            attempt INTEGER NOT NULL,
            data TEXT NOT NULL,
            digest TEXT NOT NULL
        )""",
        """CREATE TABLE owners (
            run TEXT PRIMARY KEY NOT NULL REFERENCES runs (run),
            epoch INTEGER NOT NULL CHECK (epoch >= 0),
            head TEXT NOT NULL
        )""",
        "CREATE INDEX entries_of_run ON entries (run, seq)",
        "CREATE INDEX statuses_of_run ON entries (run, seq) WHERE kind = 'run'",
        """CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
            BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END""",
        """CREATE TRIGGER entries_last BEFORE DELETE ON entries
            BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END""",
        # INSERT OR REPLACE deletes without asking the trigger above.
        """CREATE TRIGGER entries_unique BEFORE INSERT ON entries
            WHEN EXISTS (SELECT 1 FROM entries WHERE seq = NEW.seq)
            BEGIN SELECT RAISE(ABORT, 'entries are append-only'); END""",
        "CREATE TRIGGER runs_stay BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'runs are append-only'); END",
        "CREATE TRIGGER runs_last BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'runs are append-only'); END",
        """CREATE TRIGGER epochs_grow BEFORE UPDATE ON owners
            WHEN NEW.epoch < OLD.epoch OR NEW.run <> OLD.run
            BEGIN SELECT RAISE(ABORT, 'epochs only grow'); END""",
        "CREATE TRIGGER owners_last BEFORE DELETE ON owners BEGIN SELECT RAISE(ABORT, 'owners stay'); END",
    ),
    ("CREATE INDEX durations_of_all ON entries (seq) WHERE kind = 'duration'",),
)
"""The schema as the ordered list of its changes; ``user_version`` says how many of them a file has seen."""

_BY_HAND: Final = (
    "keep the file for a look, restore it from a backup or name a new one with --journal; "
    "what a run had under way is not known, so look at its pool yourself first"
)
_TROUBLE: Final = (
    (
        "SQLITE_FULL",
        "the disk is full",
        "free space on its disk, then go on; what was under way when it could not be written is not known",
    ),
    ("SQLITE_IOERR", "the disk does not take or give the data", "look at its free space, its quota and the kernel log"),
    ("SQLITE_READONLY", "it cannot be written", "run as the user who owns it, or name another one with --journal"),
    ("SQLITE_CANTOPEN", "it cannot be opened", "check the permissions of the file and its folder"),
    ("SQLITE_PERM", "it cannot be opened", "check the permissions of the file and its folder"),
    ("SQLITE_NOTADB", "it is damaged, or no journal at all", _BY_HAND),
    (  # also what SQLite makes of a page that the disk did not give (SQLITE_IOERR_CORRUPTFS)
        "SQLITE_CORRUPT",
        "it is damaged, or its disk does not give the data",
        f"look in the kernel log for errors of the disk; if there are none, {_BY_HAND}",
    ),
    (
        "SQLITE_BUSY",
        f"another process has kept it locked for {BUSY_SECONDS:g} s",
        "find that process with fuser(1), and try again when it is done",
    ),
)


@contextmanager
def translated(purpose: str, path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say into a ``JournalError``: ``cannot PURPOSE: why``."""
    try:
        yield
    except (sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise  # a bug of ours, such as a use after close
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter out of damaged texts and names
        raise _not_done(purpose, path, getattr(error, "sqlite_errorname", ""), str(error)) from error
    except OSError as error:
        raise JournalError(
            f"cannot {purpose}: {path}: {error.strerror or error}",
            remedy="check the folder's permissions and free space, or name another place with --journal",
        ) from error


def _not_done(purpose: str, path: Path, name: str, found: str) -> JournalError:
    """The error for what SQLite calls ``name``."""
    why, remedy = next(
        ((why, remedy) for start, why, remedy in _TROUBLE if name.startswith(start)), ("it is damaged", _BY_HAND)
    )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")) and _lies_read_only(path):
        why = "its file system is read-only"
        remedy = f"to read it copy it elsewhere, with {path.name}-wal if that is there, and name that with --journal"
    return JournalError(f"cannot {purpose}: {path}: {why} ({found})", remedy=remedy)


def _lies_read_only(path: Path) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def damaged(purpose: str, path: Path, what: str) -> JournalError:
    """The error for a file that SQLite can read but that does not say the whole truth."""
    return JournalError(f"cannot {purpose}: {path}: it is damaged: {what}", remedy=_BY_HAND)


def open_file(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> sqlite3.Connection:
    """A connection to the journal at ``path``, which is made when it is not there.

    Raises:
        JournalError: it cannot be opened, is damaged, is of a newer version, or is no journal.
    """
    with translated("open the journal", path):
        if not path.exists():
            _create(path, migrations)
        if path.is_dir():
            raise JournalError(f"cannot open the journal: {path}: it is a folder", remedy="name the file in it")
        if path.stat().st_size == 0:
            # A new journal gets its name when it is complete, so nobody has begun to write this one: it was cut.
            raise damaged("open the journal", path, "the file is empty")
        db = _connect(path)
        try:
            _inspect(db, path, migrations)
            _migrate(db, path, migrations)
        except BaseException:
            db.close()
            raise
        return db


def is_missing(path: Path) -> bool:
    """Whether no journal is there, nor the log of one that was.

    Raises:
        JournalError: that cannot be seen.
    """
    with translated("read the journal", path):
        try:
            path.lstat()
        except FileNotFoundError:
            return not _log_of(path).exists()
        return False


def _create(path: Path, migrations: Sequence[Migration]) -> None:
    """Make the journal under another name and link it to its own: it is never seen half made."""
    for folder in reversed(path.parents):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    if _log_of(path).exists() and not path.exists():
        # SQLite would play this log into the new file.
        raise damaged("open the journal", path, f"it is missing, but its log {path.name}-wal is still there")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with closing(_connect(draft)) as db:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            _migrate(db, path, migrations)
            # Only this file gets the name. Closing would copy the log into it too, but be silent where it cannot.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        with suppress(FileExistsError):  # another process was faster, and its file is as good
            os.link(draft, path)
        _sync_folder(path.parent)
    finally:
        for ending in ("", "-wal", "-shm", "-journal"):
            draft.with_name(draft.name + ending).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "foreign_keys = ON", "synchronous = FULL"):
            db.execute(f"PRAGMA {setting}")
        return db
    except BaseException:
        db.close()
        raise


def _inspect(db: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    # Asked before the mode is set: a file that is not ours must stay as it is.
    if _number(db, "PRAGMA application_id") != APPLICATION_ID:
        raise JournalError(
            f"cannot open the journal: {path}: it is a database, but no journal of failover",
            remedy="name another file with --journal",
        )
    version = _number(db, "PRAGMA user_version")
    if version > len(migrations):
        raise JournalError(
            f"cannot open the journal: {path}: a newer failover wrote it (version {version}, known here: "
            f"{len(migrations)})",
            remedy="install the newer failover, or name another file with --journal",
        )
    # SQLite fills a last page that was cut with zeros, which it may well have held. Such a page is no damage only where
    # the log has it whole: the disk was full when it was copied from there.
    if path.stat().st_size % _number(db, "PRAGMA page_size") and not _has_log(path):
        raise damaged("open the journal", path, "it was cut in the middle of a page")
    # The whole check, not quick_check: only it compares the indexes, by which runs get their status (80 ms at 100,000
    # entries, against 20).
    found = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
    if found != "ok":
        raise _unsound(path, " ".join(line for line in found.splitlines() if not line.startswith("***")))
    if db.execute("PRAGMA foreign_key_check").fetchone():
        raise damaged("open the journal", path, "the plan of a run is missing")


def _unsound(path: Path, found: str) -> JournalError:
    """What the integrity check found. It also tells of pages that the disk did not give, which is no damage yet."""
    code = _ERROR_CODE.search(found)
    if code and int(code[1]) & 0xFF == sqlite3.SQLITE_IOERR:
        return _not_done("open the journal", path, "SQLITE_IOERR", found)
    return damaged("open the journal", path, found)


def _migrate(db: sqlite3.Connection, path: Path, migrations: Sequence[Migration]) -> None:
    """Bring the file to the newest version, whole or not at all."""
    mode = str(db.execute("PRAGMA journal_mode = WAL").fetchone()[0])
    if mode != "wal":
        raise JournalError(
            f"cannot open the journal: {path}: its file system lacks the shared memory that SQLite's log needs",
            remedy="put it on a local disk with --journal",
        )
    if _number(db, "PRAGMA user_version") == len(migrations):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for migration in migrations[_number(db, "PRAGMA user_version") :]:
            for statement in migration:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(migrations)}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _has_log(path: Path) -> bool:
    """Whether something lies in the log; opening makes an empty one."""
    log = _log_of(path)
    return log.exists() and log.stat().st_size > 0


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _number(db: sqlite3.Connection, question: str) -> int:
    return int(db.execute(question).fetchone()[0])
