"""What every journal does, whatever database keeps it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from orchestrator.errors import Fenced, InputError, JournalError
from orchestrator.model.journal import Entry
from orchestrator.ports import Journal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

APPENDER = """
import sys
from orchestrator.model.journal import Entry
who, count = sys.argv[1], int(sys.argv[2])
sys.stdin.readline()
for number in range(count):
    written = journal.append(Entry(run="r1", at=0, epoch=0, kind="progress", step=who, data={"number": number}))
    print(written.seq, flush=True)
journal.close()
"""


def entry(run: str = "r1", epoch: int = 0, step: str = "shift", **data: JsonValue) -> Entry:
    """A progress entry."""
    return Entry(run=run, at=101.5, epoch=epoch, kind="progress", step=step, attempt=1, data=data)


def status(run: str, name: str) -> Entry:
    """An entry that gives ``run`` a status."""
    return Entry(run=run, at=102.0, epoch=0, kind="run", data={"status": name})


def test_an_entry_comes_back_as_it_was_written(journal: Journal, open_journal: Callable[[], Journal]) -> None:
    """What one connection appends, another reads: equal but for the seq that the journal has set."""
    written = journal.append(entry(text="25%", weights={"ord": 75, "iad": 125}))
    assert written.seq > 0
    assert written == entry(text="25%", weights={"ord": 75, "iad": 125}).model_copy(update={"seq": written.seq})
    assert list(open_journal().entries("r1")) == [written]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(st.text(), JSON, max_size=3), at=st.floats(allow_nan=False, allow_infinity=False))
def test_any_json_survives(journal: Journal, data: dict[str, JsonValue], at: float) -> None:
    """Any JSON, with any text, depth and number in it, is read back equal."""
    written = journal.append(Entry(run="r1", at=at, epoch=0, kind="verdict", data=data))
    assert journal.entries("r1", after=written.seq - 1)[-1] == written


def test_a_number_that_is_none_is_kept(journal: Journal) -> None:
    """NaN and infinity in measured numbers do not keep an entry from being written and read."""
    journal.append(entry(p99=float("nan"), rate=float("inf")))
    [read] = journal.entries("r1")
    assert repr(read.data["p99"]) == "nan"
    assert read.data["rate"] == float("inf")


def test_entries_are_in_the_order_of_their_seq(journal: Journal) -> None:
    """Entries come in the order in which they were appended, and ``after`` gives those that followed."""
    written = [journal.append(entry(number=number)) for number in range(5)]
    assert list(journal.entries("r1")) == written
    assert list(journal.entries("r1", after=written[2].seq)) == written[3:]
    assert list(journal.entries("r1", after=written[4].seq)) == []


def test_seq_counts_the_entries_of_all_runs(journal: Journal) -> None:
    """Two runs share one count, and each run sees only its own entries."""
    journal.create("r2", "{}", "maintenance", at=1.0)
    seqs = [journal.append(entry(run)).seq for run in ("r1", "r2", "r1", "r2")]
    assert seqs == sorted(set(seqs))
    assert [found.seq for found in journal.entries("r2")] == [seqs[1], seqs[3]]
    assert [found.seq for found in journal.entries("r2", after=seqs[0])] == [seqs[1], seqs[3]]
    assert [found.seq for found in journal.entries("r1", after=seqs[1])] == [seqs[2]]


def test_an_old_owner_is_fenced(journal: Journal, open_journal: Callable[[], Journal]) -> None:
    """After a second ``take`` the first owner's entries are refused, and leave no trace; a person's always pass."""
    first = journal.take("r1")
    journal.append(entry(epoch=first))
    other = open_journal()
    second = other.take("r1")
    assert second > first
    with pytest.raises(Fenced):
        journal.append(entry(epoch=first))
    other.append(entry(epoch=second))
    journal.append(entry(epoch=0))
    assert [found.epoch for found in journal.entries("r1")] == [first, second, 0]
    assert journal.epoch("r1") == other.epoch("r1") == second


def test_an_epoch_that_nobody_has_taken_is_fenced(journal: Journal) -> None:
    """An epoch must have been taken: one from the future is refused too."""
    assert journal.epoch("r1") == 0
    with pytest.raises(Fenced):
        journal.append(entry(epoch=1))


def test_each_take_gets_an_epoch_of_its_own(journal: Journal, open_journal: Callable[[], Journal]) -> None:
    """Owners that take one run at the same moment get different epochs."""
    journals = [open_journal() for _ in range(8)]
    epochs: list[int] = []
    threads = [threading.Thread(target=lambda own=own: epochs.append(own.take("r1"))) for own in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(epochs) == list(range(1, 9))


def test_runs_have_epochs_of_their_own(journal: Journal) -> None:
    """Taking one run leaves the owner of another alone."""
    journal.create("r2", "{}", "maintenance", at=1.0)
    epoch = journal.take("r1")
    journal.take("r2")
    journal.take("r2")
    journal.append(entry(epoch=epoch))


def test_a_run_is_listed_with_its_latest_status(journal: Journal) -> None:
    """A run is planned until a ``run`` entry says otherwise; the newest run stands first."""
    journal.create("r2", "{}", "maintenance", at=99.0)
    assert [(row.run, row.status) for row in journal.runs()] == [("r2", "planned"), ("r1", "planned")]
    journal.append(status("r1", "running"))
    journal.append(status("r1", "held"))
    journal.append(entry())
    assert [(row.run, row.status) for row in journal.runs()] == [("r2", "planned"), ("r1", "held")]
    row = journal.run("r1")
    assert (row.run, row.created, row.runbook, row.status, row.plan) == (
        "r1", 100.0, "maintenance", "held", '{"plan": 1}',
    )  # fmt: skip


def test_a_run_is_found_by_an_unambiguous_beginning(journal: Journal) -> None:
    """A beginning that fits one run names it, and a whole name wins over a beginning of a longer one."""
    journal.create("r10", "{}", "maintenance", at=1.0)
    journal.create("x%_", "{}", "maintenance", at=1.0)
    assert journal.run("r10").run == "r10"
    assert journal.run("r1").run == "r1"
    assert journal.run("x").run == "x%_"


@pytest.mark.parametrize("name", ["nothing", "", "%", "_", "R1"])
def test_an_unknown_run_names_the_newest(journal: Journal, name: str) -> None:
    """A name that fits no run is the user's mistake, and the remedy lists up to five newest runs."""
    for number in range(2, 8):
        journal.create(f"r{number}", "{}", "maintenance", at=1.0)
    with pytest.raises(InputError) as caught:
        journal.run(name)
    assert "r7, r6, r5, r4, r3" in caught.value.problems[0].remedy
    assert "r2" not in str(caught.value)


def test_an_ambiguous_beginning_names_what_it_fits(journal: Journal) -> None:
    """A beginning of several runs is refused, and they are named."""
    journal.create("r2", "{}", "maintenance", at=1.0)
    with pytest.raises(InputError, match="2 runs begin with 'r': r2, r1"):
        journal.run("r")


def test_an_empty_journal_says_so(open_journal: Callable[[], Journal]) -> None:
    """With no run at all the remedy is to start one."""
    empty = open_journal()
    assert list(empty.runs()) == []
    with pytest.raises(InputError, match="it is empty: start a run first"):
        empty.run("r1")


def test_a_run_is_recorded_once(journal: Journal) -> None:
    """A second run of the same name is refused, and the first one stays as it was."""
    with pytest.raises(JournalError, match="has a run of that name"):
        journal.create("r1", "{}", "other", at=5.0)
    assert journal.run("r1").plan == '{"plan": 1}'


@pytest.mark.parametrize(
    "call",
    [
        lambda journal: journal.take("no"),
        lambda journal: journal.epoch("no"),
        lambda journal: journal.entries("no"),
        lambda journal: journal.append(entry("no")),
    ],
    ids=["take", "epoch", "entries", "append"],
)
def test_a_run_must_be_recorded_first(journal: Journal, call: Callable[[Journal], object]) -> None:
    """Nothing is written for, or read of, a run that the journal does not have."""
    with pytest.raises(JournalError, match="no run of that name"):
        call(journal)


def test_many_processes_lose_nothing(journal: Journal, opening: str) -> None:
    """Eight processes that append at the same time lose, double and reorder nothing."""
    count = 20
    writers = [_appender(opening, f"writer{number}", count) for number in range(8)]
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    acknowledged = [writer.communicate()[0].split() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 8
    found = journal.entries("r1")
    assert sorted(entry.seq for entry in found) == sorted(int(seq) for seqs in acknowledged for seq in seqs)
    for number in range(8):
        own = [entry.data["number"] for entry in found if entry.step == f"writer{number}"]
        assert own == list(range(count))


def test_a_killed_writer_leaves_all_that_it_was_told_is_written(journal: Journal, opening: str) -> None:
    """After SIGKILL amid appends every acknowledged entry is there, at most one more, and the next one fits on."""
    writer = _appender(opening, "writer", 100_000)
    assert writer.stdin
    assert writer.stdout
    writer.stdin.write("go\n")
    writer.stdin.flush()
    acknowledged = [int(writer.stdout.readline()) for _ in range(40)]
    writer.kill()
    acknowledged += [int(line) for line in writer.communicate()[0].splitlines() if line]
    found = [entry.seq for entry in journal.entries("r1")]
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) <= len(acknowledged) + 1
    assert [entry.data["number"] for entry in journal.entries("r1")] == list(range(len(found)))
    journal.append(entry())
    assert len(journal.entries("r1")) == len(found) + 1


def _appender(opening: str, who: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", opening + APPENDER, who, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
