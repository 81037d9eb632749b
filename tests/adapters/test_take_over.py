"""An owner that gives no sign of life is ended by whoever takes over; one that lives is left alone. Real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.adapters import eviction
from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.filelock import LEASE, FileLock
from orchestrator.errors import RefusedError

OWNER = """
import sys, time
from pathlib import Path
from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.filelock import FileLock
lock = FileLock(Path(sys.argv[1]), SystemClock())
lock.acquire(["run r1", "pool smtp"], "run r1 of ann@ops1")
print("taken", flush=True)
for line in sys.stdin:
    lock.renew()
    print("renewed", flush=True)
"""


class LaterClock(SystemClock):
    """The same clock, so many seconds on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def monotonic(self) -> float:
        """Later."""
        return super().monotonic() + self._seconds


Owner = subprocess.Popen[str]


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    """A process that holds the run and its pool, and renews when it is told to."""
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "taken\n"
            yield process
        finally:
            process.kill()


def after(folder: Path, seconds: float) -> FileLock:
    """Another orchestrator's lock, so many seconds later."""
    return FileLock(folder, LaterClock(seconds))


def test_an_owner_within_its_lease_is_left_alone(tmp_path: Path, owner: Owner) -> None:
    """Who works is never ended: the refusal names them, their last sign of life, and what to do."""
    with pytest.raises(RefusedError, match=r"cannot take run r1 over: run r1 of ann@ops1 lives.*1\d s ago"):
        after(tmp_path, LEASE - 5).take_over("run r1")
    assert owner.poll() is None


def test_a_silent_owner_is_ended(tmp_path: Path, owner: Owner) -> None:
    """After its lease it is killed, for good, and its run and its pool are free at once."""
    late = after(tmp_path, LEASE + 1)
    assert late.take_over("run r1") == "run r1 of ann@ops1"
    late.acquire(["run r1", "pool smtp"], "run r1 of bob@ops2")
    late.release()
    assert owner.wait() == -signal.SIGKILL


def test_a_stopped_owner_never_wakes(tmp_path: Path, owner: Owner) -> None:
    """SIGSTOP, its lease runs out, it is taken over: SIGCONT finds nobody."""
    owner.send_signal(signal.SIGSTOP)
    after(tmp_path, LEASE + 1).take_over("run r1")
    assert owner.wait() == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(owner.pid, signal.SIGCONT)


def test_a_sign_of_life_counts(tmp_path: Path, owner: Owner) -> None:
    """The lease begins anew with each renewal."""
    assert owner.stdin is not None
    assert owner.stdout is not None
    path = tmp_path / "run%20r1.lock"
    before = path.read_text()
    owner.stdin.write("renew\n")
    owner.stdin.flush()
    assert owner.stdout.readline() == "renewed\n"
    assert path.read_text() != before


def test_its_silence_is_told(tmp_path: Path, owner: Owner) -> None:
    """Whoever asks who holds it, or wants it, hears how long it has been silent, and how to go on."""
    late = after(tmp_path, 90)
    assert str(late.holder("run r1")) == "run r1 of ann@ops1, without a sign of life for 1m30s"
    with pytest.raises(RefusedError, match="go on in its place: failover resume RUN --take-over"):
        late.acquire(["run r1"], "run r1 of bob@ops2")


def test_nobody_is_taken_over(tmp_path: Path) -> None:
    """Where nobody holds it there is nothing to end."""
    assert after(tmp_path, 0).take_over("run r1") is None


def test_who_wakes_at_the_last_moment_goes_on(owner: Owner) -> None:
    """It is stopped before it is looked at for the last time, and let go on when it has given a sign."""
    ticks = eviction.began(owner.pid)
    assert ticks is not None
    with pytest.raises(RefusedError, match="just given a sign of life"):
        eviction.end(owner.pid, ticks, lambda: False)
    assert owner.poll() is None
    state = Path(f"/proc/{owner.pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert state != "T"


@pytest.mark.parametrize("ticks", [lambda real: real + 1, lambda real: 0])
def test_a_pid_that_another_process_has_now(owner: Owner, ticks: Callable[[int], int]) -> None:
    """A process that did not take the lock is not touched."""
    real = eviction.began(owner.pid)
    assert real is not None
    with pytest.raises(RefusedError, match="not the one that took the lock"):
        eviction.end(owner.pid, ticks(real), lambda: True)
    assert owner.poll() is None
