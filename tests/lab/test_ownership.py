"""Who owns a run: of two that start at once one wins; who was stopped and taken over never touches a target again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from orchestrator.adapters import filelock
from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.filelock import LEASE
from orchestrator.cli.ownership import owner_of, who
from orchestrator.engine.stopping import StepWatch
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.lab.processes import wait_until
from orchestrator.status import RunState, RunStatus, fold
from orchestrator.wiring import open_engine, read_plan
from tests.lab.command import INVENTORY, Command, maintenance
from tests.lab.command import failover as whole_command
from tests.lab.forked import Child, Event, failover, forked
from tests.lab.sight import Sight

from .conftest import StartLab
from .test_main_path import assert_nothing_lost, world

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

ROUNDS = int(os.environ.get("OWNERSHIP_ROUNDS", "10"))
"""How often two start at once, for each way to do so; 100 take five minutes in all."""

WAITS = """
runbook: waits
summary: Wait for a person, then move everything.
steps:
  - {id: window, do: hold, with: {until: approval}}
  - {id: shift, do: traffic.shift, with: {pool: smtp, from: ord, to: iad, by: [100%]}}
"""

SINCE = r"since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC"


class Meeting:
    """Where two processes wait for each other, to go on in the same moment."""

    def __init__(self) -> None:
        self._here, self._arrivals = os.pipe()
        self._gate, self._opener = os.pipe()

    def wait(self) -> None:
        """In a child: be there, and go on when the other is there too."""
        os.write(self._arrivals, b"x")
        os.read(self._gate, 1)

    def let_go(self) -> None:
        """In the parent: when both are there, let them go on."""
        for _ in range(2):
            os.read(self._here, 1)
        os.write(self._opener, b"xx")

    def close(self) -> None:
        """Give the pipes back."""
        for descriptor in (self._here, self._arrivals, self._gate, self._opener):
            os.close(descriptor)

    def at_the_lock(self) -> None:
        """In a child: wait just before the locks are taken, when all else is looked at."""
        acquire = filelock.FileLock.acquire

        def acquires(self: filelock.FileLock, names: Sequence[str], owner: str) -> None:
            meeting.wait()
            acquire(self, names, owner)

        meeting = self
        filelock.FileLock.acquire = acquires  # type: ignore[method-assign]


@contextmanager
def race(arguments: Sequence[str], folder: Path, together: Callable[[Meeting], None]) -> Iterator[tuple[Child, Child]]:
    """The same command twice, at once: who stands held, and who has ended."""
    with ExitStack() as begun:
        meeting = Meeting()
        begun.callback(meeting.close)
        outs = (folder / "a.out", folder / "b.out")
        both = [begun.enter_context(forked(arguments, out, lambda: together(meeting))) for out in outs]
        meeting.let_go()
        assert wait_until(lambda: any(child.ended() for child in both), 30.0)
        winner, loser = sorted(both, key=lambda child: child.code is not None)
        winner.until(is_held, 30.0)
        yield winner, loser


def is_held(event: Event) -> bool:
    """Whether a record says that the run waits."""
    return event.get("event") == "run" and event["data"]["status"] == "held"


def stopped(owner: Child) -> str:
    """End a run that waits, with SIGTERM; its name."""
    owner.send(signal.SIGTERM)
    assert owner.end() == 5, owner.errors
    return str(owner.events[0]["run"])


def journal() -> SqliteJournal:
    """This test's journal; close it."""
    return SqliteJournal(Path(os.environ["FAILOVER_STATE"]) / "journal.sqlite")


def stands(run: str) -> RunState:
    """Where the journal says that it stands."""
    with journal() as record:
        return fold(record.entries(run))


def names() -> list[str]:
    """The runs that the journal knows."""
    with journal() as record:
        return [row.run for row in record.runs()]


@pytest.fixture
def waits(tmp_path: Path) -> list[str]:
    """A command that waits for a person before it touches anything, with the pool locked."""
    runbook = tmp_path / "waits.yaml"
    runbook.write_text(WAITS)
    return ["run", str(runbook), "-i", str(INVENTORY), "--json"]


@pytest.mark.parametrize("together", [Meeting.wait, Meeting.at_the_lock], ids=["from the start", "at the lock"])
def test_two_runs_at_once(
    start_lab: StartLab, waits: list[str], tmp_path: Path, together: Callable[[Meeting], None]
) -> None:
    """However often two start at once: one runs, the other is told who has the pool, and leaves no trace."""
    start_lab(clients=2)
    before = world()
    told = []
    for number in range(1, ROUNDS + 1):
        with race(waits, tmp_path, together) as (winner, loser):
            run = stopped(winner)
        assert (loser.code, loser.printed, len(names())) == (1, "", number)
        told.append(loser.errors)
        assert f"{who()} (process {winner.pid})" in loser.errors
        assert (failover(["undo", run], tmp_path / "undo.out").code, stands(run).status) == (0, "undone")
    assert world() == before
    if together is Meeting.at_the_lock:
        assert [text for text in told if not re.search(SINCE, text)] == []


def test_two_owners_at_once(start_lab: StartLab, waits: list[str], tmp_path: Path) -> None:
    """However often two go on with the same run at once: one does, the other is told who, and the run has one owner."""
    start_lab(clients=2)
    with forked(waits, tmp_path / "first.out") as first:
        first.until(is_held)
        run = stopped(first)
    for number in range(1, ROUNDS + 1):
        with race(["resume", run, "--json"], tmp_path, Meeting.wait) as (winner, loser):
            assert stopped(winner) == run
        assert (loser.code, loser.printed) == (1, "")
        assert f"{who()} (process {winner.pid})" in loser.errors
        assert re.search(SINCE, loser.errors)
        assert stands(run).epoch == number + 1


@pytest.fixture
def begin() -> Iterator[Callable[..., Command]]:
    """Starts commands that are ended with the test."""
    with ExitStack() as begun:

        def begins(*arguments: str) -> Command:
            command = Command(*arguments)
            begun.callback(command.close)
            return command

        yield begins


def refusal(*arguments: str) -> str:
    """What a command says that must be refused."""
    ended = whole_command(*arguments)
    assert (ended.code, ended.events) == (1, []), ended.errors
    return ended.errors


@pytest.mark.parametrize(
    ("profile", "step", "at"),
    [("steady", "shift", {"waypoint": "25%"}), ("mixed", "drain", {})],
    ids=["in the ramp", "in the drain"],
)
def test_a_stopped_owner_is_taken_over(
    start_lab: StartLab, begin: Callable[..., Command], profile: str, step: str, at: dict[str, str]
) -> None:
    """Within its lease nobody may; after it another goes on to the end, and the old one never wakes."""
    lab = start_lab(profile=profile, clients=20)
    before = world()
    owner = begin(*maintenance("--approve", "window"))
    owner.until("intent", step, **at)
    owner.process.send_signal(signal.SIGSTOP)
    run, pid = str(owner.events[0]["run"]), owner.process.pid
    assert f"process {pid}) works on it, since" in refusal("resume", run)
    assert f"process {pid}) lives, its last sign of life was" in refusal("resume", run, "--take-over")
    assert wait_until(lambda: "without a sign of life" in (owner_of(run) or ""), LEASE + 10)
    silent = refusal("resume", run)
    assert re.search(rf"process {pid}\), without a sign of life for 2\ds .*--take-over", silent), silent
    taken = whole_command("resume", run, "--take-over", "--json")
    assert (taken.code, taken.record["status"]) == (0, "done"), taken.errors
    assert f"process {pid}" in taken.errors
    assert owner.process.wait() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    assert_nothing_lost(lab.settle())
    assert world() == before


def stop_at(number: int) -> None:
    """In a child: be stopped just before its ``number``-th write is let through."""
    fence, fences = StepWatch.fence, iter(range(1, 1_000_000))

    def stops(self: StepWatch) -> None:
        if next(fences) == number:
            os.kill(os.getpid(), signal.SIGSTOP)
        fence(self)

    StepWatch.fence = stops  # type: ignore[method-assign]


def is_stopped(pid: int) -> bool:
    """Whether the process is (proc(5), stat, field 3)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("write", [2, 5], ids=["a waypoint", "a session"])
def test_who_cannot_be_ended_is_fenced(start_lab: StartLab, tmp_path: Path, write: int) -> None:
    """Where nobody can end the old owner: when it wakes, it writes nothing, says why, and ends by itself."""
    lab = start_lab(profile="steady", clients=10)
    sight = Sight()
    before = sight.look()
    with forked(maintenance("--approve", "window"), tmp_path / "owner.out", lambda: stop_at(write)) as owner:
        assert wait_until(lambda: is_stopped(owner.pid), 60.0)
        run = str(owner.events[0]["run"])
        assert undone_elsewhere(run) is RunStatus.UNDONE
        sessions, journalled = sum(host.sessions for host in lab.status().hosts.values()), stands(run).entries
        worlds = sight.watch(5.0, lambda: owner.send(signal.SIGCONT))
        assert worlds == [before]
        assert owner.end() == 5
        assert f"another orchestrator has taken over run {run}; this process touches nothing any more" in owner.errors
    assert (stands(run).entries, stands(run).epoch) == (journalled, 2)
    assert sum(host.sessions for host in lab.status().hosts.values()) >= sessions
    assert_nothing_lost(lab.settle())


def undone_elsewhere(run: str) -> RunStatus:
    """Take a run and undo it, past all locks: as from another machine, for which they are no hindrance."""
    with journal() as record:
        plan = read_plan(record.run(run).plan, run)
        engine = open_engine(plan, run, record, SystemClock(), lambda entry: None)
        return asyncio.run(engine.undo("the other machine went on")).status
