"""Every fault of the disk is detected: files cut and changed at any byte, each write failing, no room, no rights."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.status import RunStatus, fold
from tests.crash.disk_cuts import Files, Found, History, Kind, damage, write
from tests.crash.disk_faults import PROJECT, Calls, Ending, Fault, count, fail_at_each, why_not
from tests.crash.disk_work import NAME, DiskScene, names
from tests.unit.engine.scene import RUN

DIALS = ("one", "two", "three")

Written = tuple[Files, Files, Sequence[History]]
Print = Callable[[str], None]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A journal with a log, the same when it was closed, and what they say after each write."""
    return write(tmp_path_factory.mktemp("written"))


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str]) -> Print:
    """Print a line of numbers past pytest's capture."""

    def show(line: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n    {line} ")

    return show


def told(kind: Kind, places: Sequence[int], found: Found) -> str:
    """What came of it, in numbers."""
    earlier = ", ".join(f"{times} as after write {write}" for write, times in sorted(found.earlier.items()))
    return (
        f"{kind}: {len(places)} places, {found.refused} refused, {found.whole} unharmed; {earlier or 'none as before'}"
    )


def test_a_file_cut_at_every_byte(written: Written, show: Print) -> None:
    """A closed journal that is cut at any byte is refused."""
    _, closed, truths = written
    places = range(len(closed.main))
    found = damage("file cut", closed, truths, places)
    show(told("file cut", places, found))
    assert not found.wrong
    assert found.refused == len(places)


def test_a_log_cut_at_every_byte(written: Written, show: Print) -> None:
    """A log that is cut at any byte leaves what was true after an earlier write, and nothing else."""
    live, _, truths = written
    places = range(len(live.log) + 1)
    found = damage("log cut", live, truths, places)
    show(told("log cut", places, found))
    assert not found.wrong
    assert found.whole == 1, "where it was not cut at all"
    assert set(found.earlier) == {0, 1}, "before the two writes of the log, and between them"


@pytest.mark.parametrize("kind", ["file changed", "log changed", "file cut beside its log"])
def test_other_damage(written: Written, kind: Kind, every_point: bool, show: Print) -> None:
    """A flipped bit, or a cut below a log, is found, or changes nothing; in the log it leaves an earlier truth."""
    live, closed, truths = written
    files = closed if kind == "file changed" else live
    length = len(live.log if kind == "log changed" else files.main)
    places = range(0, length, 1 if every_point else 32)
    found = damage(kind, files, truths, places)
    show(told(kind, places, found))
    assert not found.wrong
    assert bool(found.earlier) is (kind == "log changed")


SERIES = [
    Fault("pwrite64", "EIO", "once"),
    Fault("pwrite64", "ENOSPC", "from then on"),
    Fault("fdatasync", "EIO", "once"),
    Fault("fdatasync", "EIO", "from then on"),
    Fault("fdatasync", "ENOSPC", "once"),
    *(Fault(call, "EIO", "once") for call in ("write", "pread64", "fsync", "ftruncate", "openat", "unlink", "link")),
    *(Fault(call, "ENOSPC", "from then on") for call in ("ftruncate", "openat", "link")),
]
"""With both errors for each write and each sync. Which calls there are is SQLite's choice, and the machine's."""


Counted = Mapping[str, Mapping[str, Calls]]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """How many calls each work makes. Skips where no fault can be injected, and says why."""
    if reason := why_not():
        pytest.skip(reason)
    calls = sorted({fault.call for fault in (*SERIES, *RUN_SERIES)})
    return {work: count(work, tmp_path_factory.mktemp("counted") / work, calls) for work in ("journal", "run")}


class Inject(Protocol):
    """Does a work once for each call that can fail, or for one of so many, each time with that one failing."""

    def __call__(self, work: str, fault: Fault, every: int = 1) -> Sequence[Ending]:
        """How each of them ended."""


@pytest.fixture
def inject(counted: Counted, tmp_path: Path) -> Inject:
    """Do a work once for each call that can fail, each time with that one failing."""

    def inject(work: str, fault: Fault, every: int = 1) -> Sequence[Ending]:
        calls = counted[work][fault.call]
        return list(fail_at_each(work, tmp_path / "failing", fault, calls, every)) if calls.work else []

    return inject


def of_points(work: str, fault: Fault, endings: Sequence[Ending]) -> str:
    """What came of it, in numbers."""
    refused = sum(1 for ending in endings if ending.refused or ending.end != "end")
    return f"{work}, {fault}: {len(endings)} points, {refused} said so, the others were not harmed"


@pytest.mark.lab
@pytest.mark.parametrize("fault", SERIES, ids=str)
def test_a_journal_whose_nth_call_fails(inject: Inject, fault: Fault, show: Print) -> None:
    """Whichever call fails, a write is acknowledged and stays, or is refused in one line; the file stays sound."""
    endings = inject("journal", fault)
    show(of_points("journal", fault, endings))
    assert endings or fault.call not in {"pwrite64", "fdatasync"}, "a journal is written and synced"
    for ending in endings:
        assert_told(ending)
        drafts = [found.name for found in ending.folder.iterdir() if found.name.startswith(".")]
        assert fault.call == "unlink" or not drafts, f"point {ending.point}"
        assert_nothing_lost(ending, fault)


def assert_told(ending: Ending) -> None:
    """What was refused was refused by us, each time with a remedy."""
    as_error = ending.end.startswith("end JournalError: cannot ")
    assert as_error or ending.end == "end", f"point {ending.point}: {ending.lines}"
    for said in (*ending.refused, *([ending.end] if ": " in ending.end else [])):
        name, _, message = said.partition(": ")
        remedied = message.startswith("cannot ") and " — " in message
        assert remedied or "has a newer owner" in message, f"point {ending.point}: {name}: {message}"


def assert_nothing_lost(ending: Ending, fault: Fault) -> None:
    """A process without faults finds all that was acknowledged; of what was refused at most the last write."""
    acknowledged = [int(word) for name in ending.did for word in name.split() if word.isdigit()]
    refused = [[int(word) for word in said.partition(": ")[0].split() if word.isdigit()] for said in ending.refused]
    with SqliteJournal(ending.folder / NAME) as journal:
        rows = journal.runs()
        stored = [int(str(entry.data["number"])) for entry in journal.entries(RUN)] if rows else []
        taken = journal.epoch(RUN) if rows else 0
    more = stored[len(acknowledged) :]
    assert stored[: len(acknowledged)] == acknowledged, f"point {ending.point}: {stored} {ending.lines}"
    assert not more or more in refused, f"point {ending.point}: {stored} {ending.lines}"
    assert not more or fault.lasts != "once", "what comes after a refused write takes its place"
    assert rows or "create" not in ending.did, f"point {ending.point}"
    assert taken == 1 or "take" not in ending.did, f"point {ending.point}"


RUN_SERIES = [
    Fault("pwrite64", "ENOSPC", "from then on"),
    Fault("fdatasync", "EIO", "once"),
    Fault("fdatasync", "EIO", "from then on"),
    *(Fault(call, "EIO", "once") for call in ("pread64", "ftruncate", "openat")),
]


@pytest.mark.lab
@pytest.mark.parametrize("fault", RUN_SERIES, ids=str)
def test_a_run_whose_disk_fails_does_not_act(inject: Inject, fault: Fault, every_point: bool, show: Print) -> None:
    """Nothing is touched without its intent on disk, nor after a refusal; a new owner brings it to its end."""
    # Whichever write of an entry fails, the entry does; and it is synced once.
    every = 5 if fault.call == "pwrite64" and not every_point else 1
    endings = inject("run", fault, every)
    show(of_points("run", fault, endings))
    for ending in endings:
        assert_told(ending)
        levels = assert_acts_only_in_order(ending)
        assert_goes_on(ending, levels)


def assert_acts_only_in_order(ending: Ending) -> dict[str, int]:
    """Each turn of a dial has its intent on disk, and comes before all refusals. Return where the dials stand."""
    levels, intended, refused = dict.fromkeys(DIALS, 0), set[str](), False
    for line in ending.lines:
        match line.split():
            case ["did", "intent", step, *_]:
                intended.add(step)
            case ["did", "outcome", step, *_]:
                intended.discard(step)
            case ["refused", *_]:
                refused = True
            case ["turned", event]:
                dial, _, level = event.partition("=")
                levels[dial] = int(level)
                assert dial in intended, f"point {ending.point}: {ending.lines}"
                assert not refused, f"point {ending.point}: {ending.lines}"
    return levels


def assert_goes_on(ending: Ending, levels: dict[str, int]) -> None:
    """The journal has what was acknowledged, at most the last refused write more, and a new owner ends the run."""
    refused = [said.partition(": ")[0] for said in ending.refused]
    with SqliteJournal(ending.folder / NAME) as journal:
        more = names(journal)[len(ending.did) :]
        assert names(journal)[: len(ending.did)] == ending.did, f"point {ending.point}: {ending.lines}"
        assert not more or more == refused, f"point {ending.point}: {more} {refused}"
        scene = DiskScene(journal, levels)
        if fold(journal.entries(RUN)).status is not RunStatus.UNDONE:
            scene.start()
        assert scene.status is RunStatus.UNDONE, f"point {ending.point}"
        assert scene.levels == dict.fromkeys(DIALS, 0), f"point {ending.point}"


@pytest.mark.lab
def test_a_file_system_without_room(tmp_path: Path) -> None:
    """A full file system, and one that is read-only, refuse in one line; all acknowledged entries stay readable."""
    command = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "tests.crash.disk_room", str(tmp_path)]
    try:
        subprocess.run([*command[:3], "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    done = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True)
    messages = dict(line.split(": ", maxsplit=1) for line in done.stdout.splitlines())
    assert set(messages) == {"fill_up", "make_on_full", "read_only"}
    assert "the disk is full" in messages["fill_up"]
    assert "the disk is full" in messages["make_on_full"]
    assert "its file system is read-only" in messages["read_only"]
    for message in messages.values():
        assert message.startswith("cannot ")
        assert " — " in message


NO_RIGHTS = """
import os, sys, urllib.parse  # urllib now: pathlib wants it later, and nobody may not read root's Python
from pathlib import Path
from orchestrator.errors import JournalError
from orchestrator.journal.sqlite import SqliteJournal
if os.geteuid() == 0:
    os.setgroups([])
    os.setuid(65534)
try:
    SqliteJournal(Path(sys.argv[1]))
except JournalError as error:
    print(error)
"""


def test_a_file_that_may_not_be_read() -> None:
    """A journal that its reader has no right to is refused as that."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        SqliteJournal(path).close()
        path.chmod(0)
        path.parent.chmod(0o755)
        command = [sys.executable, "-c", NO_RIGHTS, str(path)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.startswith("cannot open the journal")
    assert "it cannot be opened" in done.stdout
    assert "check the permissions" in done.stdout
