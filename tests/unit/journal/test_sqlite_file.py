"""The journal's file: how it is made, what is refused, and that every trouble ends in a JournalError."""

from __future__ import annotations

import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.errors import JournalError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.journal.sqlite_file import MIGRATIONS, open_file
from orchestrator.model.journal import Entry

READ = tuple[list[str], list[Entry]]


def progress(number: int) -> Entry:
    """An entry with something in it."""
    return Entry(run="r1", at=float(number), epoch=1, kind="progress", step="shift", data={"number": number})


def fill(path: Path, count: int = 12) -> SqliteJournal:
    """A journal with one owned run and ``count`` entries; a plan that needs pages of its own."""
    journal = SqliteJournal(path)
    journal.create("r1", '{"plan": "' + "x" * 9000 + '"}', "maintenance", at=1.0)
    journal.take("r1")
    journal.append(Entry(run="r1", at=0.0, epoch=1, kind="run", data={"status": "running"}))
    for number in range(count - 1):
        journal.append(progress(number))
    return journal


def read(path: Path) -> READ:
    """All that a journal says."""
    with SqliteJournal(path) as journal:
        rows = journal.runs()
        return [f"{row.run} {row.status} {row.plan}" for row in rows], list(journal.entries("r1")) if rows else []


@pytest.fixture
def whole(path: Path) -> tuple[bytes, READ]:
    """A closed journal's bytes, with all that it says."""
    fill(path).close()
    return path.read_bytes(), read(path)


def test_a_new_journal_is_private(path: Path) -> None:
    """The file and the folders above it are made for their owner only, the log beside it too."""
    with SqliteJournal(path) as journal:
        journal.create("r1", "{}", "maintenance", at=1.0)
        modes = {found.name: stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()}
    assert modes == {"journal.sqlite": 0o600, "journal.sqlite-wal": 0o600, "journal.sqlite-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [found.name for found in path.parent.iterdir()] == ["journal.sqlite"], "closing leaves the one file"


def test_every_commit_reaches_the_disk(path: Path) -> None:
    """The connection uses the write-ahead log, syncs it at each commit and waits for other writers."""
    SqliteJournal(path).close()
    with closing(open_file(path)) as db:
        values = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "user_version")
        }
    assert values == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "user_version": len(MIGRATIONS),
    }


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET data = '{}'",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries SELECT seq, run, at, epoch, kind, step, attempt, '{}', digest FROM entries",
        "UPDATE runs SET plan = '{}'",
        "DELETE FROM runs",
        "UPDATE owners SET epoch = epoch - 1",
        "DELETE FROM owners",
    ],
)
def test_history_cannot_be_changed(path: Path, statement: str) -> None:
    """Whoever opens the file with SQLite's own shell cannot change or remove what was written."""
    fill(path).close()
    before = read(path)
    with (
        closing(sqlite3.connect(path)) as db,
        pytest.raises(sqlite3.IntegrityError, match=r"append-only|only grow|owners stay"),
    ):
        db.execute(statement)
    assert read(path) == before


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        ("UPDATE entries SET data = '{\"number\":7}' WHERE seq = 5", "entry 5 was changed"),
        ("UPDATE entries SET at = 7.5 WHERE seq = 5", "entry 5 was changed"),
        ("DELETE FROM entries WHERE seq = 5", "one before it is missing"),
        ("DELETE FROM entries WHERE seq > 8", "its last entries are missing"),
        ("DELETE FROM entries", "its last entries are missing"),
        ("UPDATE runs SET plan = '{}'", "its plan was changed"),
        ("UPDATE owners SET epoch = 0", "an epoch that nobody has taken"),
        ("DELETE FROM runs", "the plan of a run is missing"),
    ],
)
def test_an_edit_by_hand_is_noticed(path: Path, edit: str, what: str) -> None:
    """Whoever removes the triggers and edits the file leaves traces that stop the next reader."""
    fill(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")]
        for name in names:
            db.execute(f"DROP TRIGGER {name}")
        db.execute(edit)
    with pytest.raises(JournalError, match=what):
        read(path)


def test_nothing_is_appended_to_a_chain_without_its_end(path: Path) -> None:
    """A run whose last entries are gone takes no further entry, no new owner, and is not read."""
    fill(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DROP TRIGGER entries_last")
        db.execute("DELETE FROM entries WHERE seq > 8")
    with SqliteJournal(path) as journal:
        with pytest.raises(JournalError, match="missing"):
            journal.append(progress(1))
        with pytest.raises(JournalError, match="missing"):
            journal.take("r1")
        with pytest.raises(JournalError, match="missing"):
            journal.run("r1")
        for after in (0, 5, 8):
            with pytest.raises(JournalError, match="missing"):
                journal.entries("r1", after=after)


def test_an_index_that_lost_a_row_is_noticed(path: Path) -> None:
    """A run's status is found by an index: one that does not fit its table is refused at opening."""
    fill(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = 'statuses_of_run'", ("'run'", "'step'")
        )
    with pytest.raises(JournalError, match="statuses_of_run"):
        SqliteJournal(path)


def test_a_cut_file_is_never_read_as_a_shorter_one(path: Path, whole: tuple[bytes, READ]) -> None:
    """A file that was cut at any place is refused: near each page's edge and at places in between."""
    content, _ = whole
    places = {page + near for page in range(0, len(content) + 1, 4096) for near in (-1, 0, 1)}
    places |= set(random.Random(1).sample(range(len(content)), 60)) | set(range(0, 110, 10))
    for length in sorted(place for place in places if 0 <= place < len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(JournalError):
            read(path)


def test_a_changed_byte_is_found_or_does_not_matter(path: Path, whole: tuple[bytes, READ]) -> None:
    """With any one byte changed the journal is refused, or says exactly what it said before."""
    content, said = whole
    chance = random.Random(2)
    for place in [*range(100), *chance.sample(range(100, len(content)), 200)]:
        changed = bytearray(content)
        changed[place] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        try:
            now = read(path)
        except JournalError:
            continue
        finally:
            for log in path.parent.glob("*-*"):
                log.unlink()
        assert now == said, f"byte {place}"


def test_a_cut_log_leaves_a_beginning_of_the_journal(tmp_path: Path) -> None:
    """When the log of a killed process was cut, what is left is a true beginning of the run, or is refused."""
    live, copy = tmp_path / "live" / "journal.sqlite", tmp_path / "copy" / "journal.sqlite"
    copy.parent.mkdir()
    SqliteJournal(live).close()
    with fill(live) as journal:  # its entries lie in the log until it is closed
        runs, entries = [f"{row.run} {row.status} {row.plan}" for row in journal.runs()], list(journal.entries("r1"))
        main, log = live.read_bytes(), live.with_name("journal.sqlite-wal").read_bytes()
    seen = set()
    for length in [*random.Random(3).sample(range(len(log)), 60), len(log)]:
        copy.write_bytes(main)
        copy.with_name("journal.sqlite-wal").write_bytes(log[:length])
        now_runs, now_entries = read(copy)
        assert now_entries == entries[: len(now_entries)]
        assert not now_runs or now_runs[0].startswith(("r1 planned", "r1 running"))
        seen.add(len(now_entries))
    assert (now_runs, now_entries) == (runs, entries)
    assert len(seen) > 5, "the cuts left beginnings of many lengths"


def test_an_empty_file_is_a_lost_journal(path: Path) -> None:
    """An empty file was once a journal: it is refused and not taken for a new one."""
    path.parent.mkdir()
    path.touch()
    with pytest.raises(JournalError, match="the file is empty"):
        SqliteJournal(path)
    assert path.stat().st_size == 0


def test_a_log_without_its_journal_is_refused(tmp_path: Path) -> None:
    """Where the journal is gone but its log is not, no new one is begun beside it."""
    tmp_path.joinpath("journal.sqlite-wal").write_bytes(b"entries")
    with pytest.raises(JournalError, match="it is missing, but its log"):
        SqliteJournal(tmp_path / "journal.sqlite")
    assert [found.name for found in tmp_path.iterdir()] == ["journal.sqlite-wal"]


def _text(path: Path) -> None:
    path.write_text("this is a shopping list, " * 40)


def _other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE shopping (item)")


def _newer(path: Path) -> None:
    SqliteJournal(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_text, "damaged, or no journal at all"),
        (_other_database, "it is a database, but no journal of failover — name another file with --journal"),
        (_newer, "a newer failover wrote it .* — install the newer failover"),
        (Path.mkdir, "it is a folder"),
        (lambda path: path.symlink_to("nowhere"), "No such file"),
    ],
    ids=["text", "database", "newer", "folder", "dangling link"],
)
def test_what_is_no_journal_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    """A file that is no journal of this version is refused with a remedy, and not one byte of it changes."""
    path = tmp_path / "file"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(JournalError, match=message) as caught:
        SqliteJournal(path)
    assert caught.value.remedy
    assert (path.read_bytes() if path.is_file() else b"") == before


def test_an_older_file_is_brought_up_to_date(path: Path) -> None:
    """Opening a file of an older version applies the missing migrations, in order, and keeps the entries."""
    fill(path).close()
    before = read(path)
    newer = (*MIGRATIONS, ("CREATE TABLE notes (text)",), ("INSERT INTO notes VALUES ('last')",))
    open_file(path, newer).close()
    with closing(open_file(path, newer)) as db:
        assert db.execute("SELECT text FROM notes").fetchall() == [("last",)]
        assert db.execute("PRAGMA user_version").fetchone() == (len(newer),)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    assert read(path) == before


def test_a_migration_that_breaks_changes_nothing(path: Path) -> None:
    """A migration is whole or not at all: after a failure the file is as it was, and the cause is chained."""
    fill(path).close()
    before = read(path)
    with pytest.raises(JournalError) as caught:
        open_file(path, (*MIGRATIONS, ("CREATE TABLE notes (text)", "INSERT INTO nowhere VALUES (1)")))
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert read(path) == before


def test_a_file_below_a_file_is_refused(tmp_path: Path) -> None:
    """Where the folder cannot be made, the error says so and chains the system's own."""
    tmp_path.joinpath("state").write_text("")
    with pytest.raises(JournalError, match="Not a directory") as caught:
        SqliteJournal(tmp_path / "state" / "journal.sqlite")
    assert isinstance(caught.value.__cause__, OSError)


FULL_DISK = """
import resource, sys
from pathlib import Path
from orchestrator.errors import JournalError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.journal import Entry
journal = SqliteJournal(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for number in range(10_000):
        journal.append(Entry(run="r1", at=0, epoch=0, kind="progress", data={"number": number, "text": "x" * 500}))
        print(number)
except JournalError as error:
    assert error.remedy and error.__cause__
    sys.exit(7)
"""


def test_a_full_disk_stops_and_keeps_what_was_written(path: Path) -> None:
    """Where the disk takes no more, append fails with a JournalError, and every entry before it is there."""
    fill(path, count=1).close()
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 7
    written = [int(line) for line in done.stdout.split()]
    assert len(written) > 5
    with SqliteJournal(path) as journal:
        assert [entry.data["number"] for entry in journal.entries("r1")[1:]] == written
        journal.append(progress(0))


NO_RIGHTS = """
import os, sys, urllib.parse  # urllib now: pathlib wants it later, and nobody may not read root's Python
from pathlib import Path
from orchestrator.errors import JournalError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.journal import Entry
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
try:
    with SqliteJournal(Path(sys.argv[1])) as journal:
        journal.append(Entry(run="r1", at=0, epoch=0, kind="progress"))
except JournalError as error:
    assert error.remedy and error.__cause__
    print(error)
"""


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user of this machine can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("there", [True, False], ids=["read-only file", "read-only folder"])
def test_without_rights_nothing_is_written(public_folder: Path, there: bool) -> None:
    """Whoever may not write the journal, or make one in its folder, is told so with a remedy."""
    path = public_folder / "journal.sqlite"
    if there:
        fill(path).close()
        path.chmod(0o444)
    public_folder.chmod(0o555)
    done = subprocess.run([sys.executable, "-c", NO_RIGHTS, str(path)], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.startswith("cannot ")
    assert " — " in done.stdout


def test_a_writer_that_never_ends_is_named(path: Path) -> None:
    """A journal that another process keeps locked is reported as such, with how to find that process."""
    fill(path).close()
    with SqliteJournal(path) as journal, closing(sqlite3.connect(path, isolation_level=None)) as other:
        journal._db.execute("PRAGMA busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match=r"kept it locked .*fuser"):
            journal.append(progress(1))
        other.execute("ROLLBACK")
        journal.append(progress(1))


def test_processes_that_open_a_new_journal_share_it(path: Path) -> None:
    """Several processes that make the journal at the same moment end with one, and no draft is left."""
    journals = [SqliteJournal(path) for _ in range(3)]
    code = "import sys; from pathlib import Path; from orchestrator.journal.sqlite import SqliteJournal\n"
    code += "with SqliteJournal(Path(sys.argv[1])) as j: j.create(sys.argv[2], '{}', 'm', 1.0)"
    fresh = path.with_name("fresh.sqlite")
    makers = [subprocess.Popen([sys.executable, "-c", code, str(fresh), f"r{number}"]) for number in range(4)]
    assert [maker.wait() for maker in makers] == [0] * 4
    with SqliteJournal(fresh) as journal:
        assert sorted(row.run for row in journal.runs()) == ["r0", "r1", "r2", "r3"]
    for opened in journals:
        opened.close()
    assert sorted(found.name for found in path.parent.iterdir()) == ["fresh.sqlite", "journal.sqlite"]


@pytest.mark.parametrize("then", ["removed", "replaced"])
def test_a_file_that_is_gone_is_found_out(path: Path, then: str) -> None:
    """Nothing is written into, or read from, a file that nobody will find again."""
    with fill(path) as journal:
        path.rename(path.with_name("elsewhere"))
        if then == "replaced":
            path.touch()
        with pytest.raises(JournalError, match="removed or replaced while it was open"):
            journal.append(progress(99))
        with pytest.raises(JournalError, match="removed or replaced"):
            journal.entries("r1")
