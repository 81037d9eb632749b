"""A run that leaves one journal as a file and enters another: nothing is lost, doubled, bent or taken on trust."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from orchestrator.errors import Fenced, InputError, JournalError, RefusedError
from orchestrator.journal.chain import stored
from orchestrator.journal.portable import BEGINNING, Copy, Header, Origin, export_lines, read_export
from orchestrator.journal.sqlite import Restored, SqliteJournal
from orchestrator.model.journal import Entry
from orchestrator.ports import Journal

ORIGIN = Origin(at=200.0, by="ada@ops1", host="ops1", owner=None)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)

Open = Callable[[str], SqliteJournal]


@pytest.fixture
def open_one(tmp_path: Path) -> Iterator[Open]:
    """Opens the journal of the machine of this name."""
    with ExitStack() as opened:
        yield lambda name: opened.enter_context(SqliteJournal(tmp_path / name / "journal.sqlite"))


@pytest.fixture
def here(open_one: Open) -> SqliteJournal:
    """The journal of a machine with the run r1, amid entries of another run."""
    journal = open_one("here")
    journal.create("r0", "{}", "maintenance", at=1.0)
    journal.create("r1", '{"plan": "ä"}', "maintenance", at=100.0)
    journal.take("r1")
    write(journal, status("running"), progress(1))
    journal.append(Entry(run="r0", at=1.0, epoch=0, kind="progress"))
    write(journal, progress(2), status("held"), progress(3))
    return journal


@pytest.fixture
def there(open_one: Open) -> SqliteJournal:
    """The journal of another machine, which has entries of its own."""
    journal = open_one("there")
    journal.create("x", "{}", "other", at=1.0)
    for _ in range(3):
        journal.append(Entry(run="x", at=1.0, epoch=0, kind="progress"))
    return journal


def status(name: str) -> Entry:
    """An entry that gives the run a status."""
    return Entry(run="r1", at=102.0, epoch=0, kind="run", data={"status": name})


def progress(number: JsonValue, epoch: int = 0) -> Entry:
    """An entry with something in it."""
    return Entry(run="r1", at=101.5, epoch=epoch, kind="progress", step="shift", attempt=1, data={"number": number})


def write(journal: Journal, *entries: Entry) -> None:
    """The owner of r1 writes; a person does where it has none."""
    for entry in entries:
        journal.append(entry.model_copy(update={"epoch": journal.epoch(entry.run)}))


def text_of(journal: Journal) -> bytes:
    """The run r1 as a file."""
    return "".join(export_lines(journal.run("r1"), journal.entries("r1"), journal.epoch("r1"), ORIGIN)).encode()


def read(text: bytes) -> Copy:
    """The copy in a file called run.jsonl."""
    return read_export(io.BytesIO(text), "run.jsonl")


def carry(source: Journal, target: SqliteJournal) -> Restored:
    """Export and import."""
    return target.restore(read(text_of(source)))


def said(journal: Journal) -> Sequence[object]:
    """What the entries of r1 say, which is all but their numbers; NaN is NaN."""
    return [repr(entry.model_copy(update={"seq": 0})) for entry in journal.entries("r1")]


def refusal(text: bytes) -> str:
    """The one error with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read(text)
    (problem,) = caught.value.problems
    return str(problem)


def test_a_run_is_the_same_in_another_journal(here: SqliteJournal, there: SqliteJournal) -> None:
    """Row, entries and status are equal after the way; numbers follow on those that the other journal has given."""
    assert carry(here, there) == Restored(new=True, entries=5)
    assert there.run("r1") == here.run("r1")
    assert said(there) == said(here)
    assert [entry.seq for entry in here.entries("r1")] == [1, 2, 4, 5, 6]
    assert [entry.seq for entry in there.entries("r1")] == [4, 5, 6, 7, 8]
    assert [row.run for row in there.runs()] == ["r1", "x"]
    assert len(there.entries("x")) == 3


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(st.dictionaries(st.text(), JSON, max_size=3), max_size=4))
def test_any_entry_survives_the_way_there_and_back(
    tmp_path: Path, here: SqliteJournal, data: list[dict[str, JsonValue]]
) -> None:
    """Whatever numbers and texts an entry has, it is read back equal there; and here, where it comes back, known."""
    write(here, *(Entry(run="r1", at=103.0, epoch=0, kind="verdict", data=it) for it in data))
    with SqliteJournal(tmp_path / str(len(list(tmp_path.iterdir()))) / "journal.sqlite") as there:
        carry(here, there)
        assert said(there) == said(here)
        assert carry(there, here) == Restored(new=False, entries=0)


def test_a_run_that_has_not_begun_can_be_carried(open_one: Open, there: SqliteJournal) -> None:
    """A run without an entry arrives as planned, is known the second time, and can be owned."""
    planned = open_one("planned")
    planned.create("r1", "{}", "maintenance", at=100.0)
    assert carry(planned, there) == Restored(new=True, entries=0)
    assert carry(planned, there) == Restored(new=False, entries=0)
    assert there.run("r1").status == "planned"
    write(there, status("running"))


def test_every_line_is_strict_json(here: SqliteJournal) -> None:
    """Any reader of JSON can read every line, as NaN and infinity, which JSON lacks, stand in a text."""

    def no_json(text: str) -> NoReturn:
        raise AssertionError(text)

    write(here, progress(float("nan")), progress(float("-inf")))
    header, *entries = [json.loads(line, parse_constant=no_json) for line in text_of(here).splitlines()]
    assert text_of(here).startswith(BEGINNING)
    assert (header["run"], header["status"], header["entries"], header["epoch"]) == ("r1", "held", 7, 1)
    assert json.loads(header["plan"]) == {"plan": "ä"}
    assert header["exported"] == {"at": 200.0, "by": "ada@ops1", "host": "ops1", "owner": None}
    assert entries[1]["data"] == {"number": 1}
    assert entries[5]["data"] == '{"number":NaN}'


def test_lines_have_the_digests_of_their_journal(tmp_path: Path, here: SqliteJournal) -> None:
    """A copy can be held against the journal that it comes from, digest by digest."""
    header, *entries = [json.loads(line) for line in text_of(here).splitlines()]
    with closing(sqlite3.connect(tmp_path / "here" / "journal.sqlite")) as db:
        kept = [row[0] for row in db.execute("SELECT digest FROM entries WHERE run = 'r1' ORDER BY seq")]
        ends = db.execute("SELECT genesis, head FROM runs JOIN owners USING (run) WHERE run = 'r1'").fetchone()
    assert [entry["digest"] for entry in entries] == kept
    assert (header["genesis"], header["head"]) == ends


def test_a_copy_that_was_cut_is_refused(here: SqliteJournal) -> None:
    """Wherever a file ends too early it is refused, with one error that names the line."""
    text = text_of(here)
    for length in range(len(text) - 1):
        line = text[: length + 1].count(b"\n") + 1  # of a whole line without its end, the next one is missing
        assert refusal(text[:length]).startswith(f"run.jsonl:{line}: cannot import "), length
    assert read(text[:-1]).entries == read(text).entries, "only its last line's end is no loss"


def test_a_copy_that_was_changed_is_refused(here: SqliteJournal) -> None:
    """Whichever byte is another one, the file is refused at that line, or says the same as before."""
    text = text_of(here)
    whole, told = read(text), 0
    for place, byte in enumerate(text):
        other = b"7" if byte != ord("7") else b"8"
        try:
            found: Copy | str = read(text[:place] + other + text[place + 1 :])
        except InputError as error:
            found, told = str(error), told + 1
        line = text[:place].count(b"\n") + 1
        assert found == whole or str(found).startswith(f"run.jsonl:{line}: cannot import "), (place, found)
    assert told == len(text)


@pytest.mark.parametrize(
    ("edit", "line", "what"),
    [
        (lambda lines: [lines[0], *lines[2:]], 2, "one before it is missing"),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], 3, "was changed, or one before it is missing"),
        (lambda lines: [*lines[:3], lines[2], *lines[3:]], 4, "was changed, or one before it is missing"),
        (lambda lines: lines[:-1], 6, "its last entries are missing: 4 of 5 are there"),
        (lambda lines: [*lines, lines[-1]], 7, "it has more lines than entries"),
        (lambda lines: [*lines[:2], b"\n", *lines[2:]], 3, "the line was cut or changed"),
        (lambda lines: [lines[0].replace(b'"owner":null', b'"owner":"me"'), *lines[1:]], 1, "the line was changed"),
        (lambda lines: [lines[0].replace(b'"entries":5', b'"entries":4'), *lines[1:]], 1, "the line was changed"),
        (lambda lines: lines[1:], 1, "it is no exported run"),
        (lambda lines: [], 1, "it is empty"),
        (lambda lines: [b"runbook: out\n"], 1, "it is no exported run"),
        (lambda lines: [b"[1]\n"], 1, "it is no exported run"),
        (lambda lines: [b"\xff\xfe\x00"], 1, "it is no exported run"),
        (lambda lines: [b"[" * 100_000], 1, "it is no exported run"),
        (lambda lines: [b'{"failover_journal": 2, "shape": "round"}\n'], 1, "its format is 2, newer than 1"),
    ],
    ids=["first", "swapped", "doubled", "last", "more", "blank", "owner", "count", "header", "empty", "yaml", "list",
         "binary", "deep", "newer"],
)  # fmt: skip
def test_a_file_that_is_no_whole_copy(
    here: SqliteJournal, edit: Callable[[list[bytes]], list[bytes]], line: int, what: str
) -> None:
    """Lines that are missing, moved, doubled or made by something else: one error, at the line, with what to do."""
    told = refusal(b"".join(edit(text_of(here).splitlines(keepends=True))))
    assert told.startswith(f"run.jsonl:{line}: cannot import ")
    assert what in told
    assert " — " in told


def test_a_line_without_an_end_is_not_read_to_it() -> None:
    """What has no end, as /dev/zero has none, is refused and does not fill the memory."""

    class Endless:
        def readline(self, size: int, /) -> bytes:
            return b"0" * size

    with pytest.raises(InputError, match="the line has more than 64 MiB"):
        read_export(Endless(), "run.jsonl")


@pytest.mark.parametrize(
    ("last", "what"),
    [
        ({"kind": "teleport"}, "this version of failover does not know what entry 6 says — use failover 0.9"),
        ({"kind": "run", "step": "", "data": {"status": "undone"}}, "does not know what entry 6 says"),
        ({"kind": "run", "step": "", "data": {}}, "does not know what entry 6 says"),
        ({"epoch": 7}, "entry 6 is of an epoch that nobody has taken"),
    ],
    ids=["kind", "history", "status", "epoch"],
)
def test_sound_digests_are_not_enough(here: SqliteJournal, last: dict[str, object], what: str) -> None:
    """An entry that is chained rightly, and says what no run of this version can, is refused at its line."""
    lines = text_of(here).splitlines(keepends=True)
    entry = here.entries("r1")[-1].model_copy(update=last)
    end = stored(entry, entry.seq, json.loads(lines[-2])["digest"])
    header = Header.model_validate_json(lines[0]).model_copy(update={"head": end.digest, "version": "0.9"})
    lines[0] = header.model_copy(update={"digest": header.true_digest()}).model_dump_json().encode() + b"\n"
    fields = {name: value for name, value in end._asdict().items() if name != "run"}
    lines[-1] = json.dumps({**fields, "data": entry.data}).encode() + b"\n"
    told = refusal(b"".join(lines))
    assert told.startswith("run.jsonl:6: cannot import run r1: ")
    assert what in told


def test_what_went_on_there_comes_back(here: SqliteJournal, there: SqliteJournal) -> None:
    """A journal whose entries are the beginning of a copy gets the rest, as often as there is one."""
    carry(here, there)
    write(there, progress(4), status("running"))
    assert carry(there, here) == Restored(new=False, entries=2)
    assert said(here) == said(there)
    assert here.run("r1").status == "running"
    assert carry(there, here) == Restored(new=False, entries=0)
    write(here, progress(5))
    assert carry(here, there) == Restored(new=False, entries=1)
    assert said(here) == said(there)


def test_the_owner_before_an_import_is_fenced(here: SqliteJournal, there: SqliteJournal) -> None:
    """Whoever owned the run in a journal that takes a newer copy in writes no more; where nothing comes, he does."""
    carry(here, there)
    assert there.epoch("r1") > here.epoch("r1")
    old = there.take("r1")
    carry(here, there)
    there.append(progress(4, epoch=old))
    assert carry(there, here).entries == 1
    write(here, progress(5))
    assert carry(here, there).entries == 1
    assert there.epoch("r1") > max(old, here.epoch("r1"))
    with pytest.raises(Fenced):
        there.append(progress(6, epoch=old))
    there.append(progress(6, epoch=there.take("r1")))
    assert there.entries("r1")[-1].data == {"number": 6}


def test_a_run_that_went_two_ways_is_refused(here: SqliteJournal, there: SqliteJournal) -> None:
    """What happened here and there after the copy is told from its first entry on, and both journals stay."""
    carry(here, there)
    write(there, progress(4), progress(5))
    write(here, progress("four"))
    before, epoch = said(here), here.epoch("r1")
    with pytest.raises(RefusedError, match=r"in different ways, from entry 6 of 7 on \(line 7 of the file\)"):
        carry(there, here)
    assert (said(here), here.epoch("r1")) == (before, epoch)


def test_an_older_copy_is_refused(here: SqliteJournal, there: SqliteJournal) -> None:
    """A copy of earlier takes nothing away from what was done since."""
    old = read(text_of(here))
    carry(here, there)
    write(there, progress(4), progress(5))
    before = said(there)
    with pytest.raises(RefusedError, match="has 2 more of its entries than the file, which is older"):
        there.restore(old)
    assert said(there) == before


def test_another_run_of_that_name_is_refused(here: SqliteJournal, there: SqliteJournal) -> None:
    """Two runs that only share a name are never joined."""
    there.create("r1", '{"plan": "another"}', "maintenance", at=100.0)
    with pytest.raises(RefusedError, match="another run of that name"):
        carry(here, there)
    assert said(there) == []


def test_a_damaged_journal_takes_nothing_in(tmp_path: Path, here: SqliteJournal, there: SqliteJournal) -> None:
    """Where the run's own entries here are not whole, nothing is compared with them or put behind them."""
    carry(here, there)
    with closing(sqlite3.connect(tmp_path / "there" / "journal.sqlite", isolation_level=None)) as db:
        db.execute("DROP TRIGGER entries_stay")
        db.execute("UPDATE entries SET data = '{\"number\":7}' WHERE seq = 5")
    write(here, progress(4))
    with pytest.raises(JournalError, match="entry 5 was changed"):
        carry(here, there)


def test_an_import_that_is_broken_off_leaves_nothing(here: SqliteJournal, there: SqliteJournal, tmp_path: Path) -> None:
    """When an entry cannot be written, neither the run nor any entry of it is there."""
    with closing(sqlite3.connect(tmp_path / "there" / "journal.sqlite", isolation_level=None)) as db:
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON entries WHEN NEW.seq = 6 BEGIN SELECT RAISE(ABORT, 'disk'); END"
        )
        with pytest.raises(JournalError, match="cannot import run r1"):
            carry(here, there)
        db.execute("DROP TRIGGER full")
    assert [row.run for row in there.runs()] == ["x"]
    assert carry(here, there) == Restored(new=True, entries=5)
