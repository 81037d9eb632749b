"""An owner that gives no sign of life is ended, with all that it has started; one that lives is left alone.

Real processes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

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


COMMANDED = """
import asyncio, sys
from orchestrator.adapters.command import LocalCommands
deep = "echo $$ > pid; exec 3<>line; touch up; read word <&3; echo done by the old owner > mark"
command = ["sh", "-c", f"cd {sys.argv[1]}; setsid sh -c '{deep}' & wait"]
asyncio.run(LocalCommands("mx1").run(command, timeout=60))
"""
"""It waits for a command, whose second process has a session of its own and waits for a line to write a file."""

LAPSED = """
import sys, time
from pathlib import Path
from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.filelock import FileLock
FileLock(Path(sys.argv[1]), SystemClock()).acquire(["run r1"], "run r1 of ann@ops1")
print("taken", flush=True)
"""
WORKS = LAPSED + "import asyncio\nwhile True: asyncio.run(asyncio.sleep(0.05))"
LOOPS = LAPSED + "while True: pass"

SELF = """
import os
from orchestrator.adapters import eviction
parent = os.getppid()
eviction.end(parent, eviction.began(parent), lambda: True)
"""


class LaterClock(SystemClock):
    """The same clock, so many seconds on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def monotonic(self) -> float:
        """Later."""
        return super().monotonic() + self._seconds


Owner = subprocess.Popen[str]


@pytest.fixture(autouse=True)
def _watched_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner here turns more often than one that only renews its lease, so it is not watched as long."""
    monkeypatch.setattr(eviction, "WATCHED", 0.6)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    """A process that holds the run and its pool, and renews when it is told to."""
    with started(OWNER, tmp_path) as process:
        yield process


@pytest.fixture
def commanded(tmp_path: Path) -> Iterator[Owner]:
    """A process in the middle of a command, which writes the file ``mark`` once it is given a line."""
    os.mkfifo(tmp_path / "line")
    command = [sys.executable, "-c", COMMANDED, str(tmp_path)]
    with subprocess.Popen(command, text=True) as process:
        try:
            assert appears(tmp_path / "up")
            yield process
        finally:
            process.kill()
            with suppress(OSError):
                give_line(tmp_path)


@contextmanager
def started(program: str, folder: Path) -> Iterator[Owner]:
    """An owner that has its locks in the folder."""
    command = [sys.executable, "-c", program, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "taken\n"
            yield process
        finally:
            process.kill()


def give_line(folder: Path) -> None:
    """Let the command go on; an OSError when there is none any more."""
    line = os.open(folder / "line", os.O_WRONLY | os.O_NONBLOCK)
    os.write(line, b"go\n")
    os.close(line)


def appears(path: Path) -> bool:
    """Whether there is such a file within ten seconds."""
    end = time.monotonic() + 10
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return path.exists()


def state(pid: int) -> str:
    """The state of a process, as proc(5) calls it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def end(owner: Owner, still_silent: Callable[[], bool] = lambda: True) -> None:
    """End the owner itself."""
    ticks = eviction.began(owner.pid)
    assert ticks is not None
    eviction.end(owner.pid, ticks, still_silent)


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
    with pytest.raises(RefusedError, match="just given a sign of life"):
        end(owner, lambda: False)
    assert owner.poll() is None
    assert state(owner.pid) != "T"


@pytest.mark.parametrize("ticks", [lambda real: real + 1, lambda real: 0])
def test_a_pid_that_another_process_has_now(owner: Owner, ticks: Callable[[int], int]) -> None:
    """A process that did not take the lock is not touched."""
    real = eviction.began(owner.pid)
    assert real is not None
    with pytest.raises(RefusedError, match="not the one that took the lock"):
        eviction.end(owner.pid, ticks(real), lambda: True)
    assert owner.poll() is None


@pytest.mark.parametrize("stopped", [False, True])
def test_what_an_owner_has_under_way_ends_with_it(tmp_path: Path, commanded: Owner, stopped: bool) -> None:
    """A command that it has started never does what it was about to do, however many processes it consists of."""
    if stopped:
        commanded.send_signal(signal.SIGSTOP)
    end(commanded)
    assert commanded.wait() == -signal.SIGKILL
    with pytest.raises(OSError, match="No such device or address"):  # nobody waits for the line any more
        give_line(tmp_path)
    assert not (tmp_path / "mark").exists()


def test_an_interrupted_end_leaves_all_as_it_was(tmp_path: Path, commanded: Owner) -> None:
    """Ctrl-C while owner and command are stopped: both go on, and the command does its work."""
    child = int((tmp_path / "pid").read_text())

    def interrupted() -> NoReturn:
        assert (state(commanded.pid), state(child)) == ("T", "T")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        end(commanded, interrupted)
    give_line(tmp_path)
    assert appears(tmp_path / "mark")
    assert commanded.wait(10) == 0


def test_who_was_stopped_by_another_hand_stays_stopped(owner: Owner) -> None:
    """What is not ended after all is left as it was found."""
    owner.send_signal(signal.SIGSTOP)
    while state(owner.pid) != "T":
        time.sleep(0.001)
    with pytest.raises(RefusedError, match="just given a sign of life"):
        end(owner, lambda: False)
    assert state(owner.pid) == "T"


def test_an_owner_that_cannot_write_its_lease_is_left_alone(tmp_path: Path) -> None:
    """Where its loop turns it works, whatever its file says: the refusal names the folder and what may ail it."""
    with started(WORKS, tmp_path) as owner:
        with pytest.raises(RefusedError) as refused:
            after(tmp_path, LEASE + 1).take_over("run r1")
        assert owner.poll() is None
    assert f"run r1 of ann@ops1 works, though its last sign of life in {tmp_path} was 2" in str(refused.value)
    assert "see that there is room and that it can be written, or stop the process with SIGTERM" in str(refused.value)


def test_an_owner_that_goes_round_in_circles_is_ended(tmp_path: Path) -> None:
    """Using the processor is no sign of life."""
    with started(LOOPS, tmp_path) as owner:
        assert after(tmp_path, LEASE + 1).take_over("run r1") == "run r1 of ann@ops1"
        assert owner.wait() == -signal.SIGKILL


def test_a_process_that_cannot_end_yet(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL that the kernel cannot act on yet is told as what it is: it will end, and must not be started anew."""
    send = signal.pidfd_send_signal

    def device_silent(handle: int, number: signal.Signals) -> None:
        if number is not signal.SIGKILL:
            send(handle, number)

    monkeypatch.setattr(signal, "pidfd_send_signal", device_silent)
    monkeypatch.setattr(eviction, "ENDS_WITHIN", 0.05)
    with pytest.raises(RefusedError) as refused:
        end(owner)
    assert str(refused.value) == (
        f"cannot go on yet: process {owner.pid} waits for a device, and has not ended 0.05 s after SIGKILL; the signal "
        "stays, and ends it as soon as the device answers — do not start it anew; free the device, or restart this "
        "machine, then try again"
    )


def test_who_was_started_by_the_owner_does_not_end_it() -> None:
    """It would stop itself, and then nobody could go on."""
    command = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, SELF]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as owner:
        try:
            _, errors = owner.communicate(timeout=20)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(owner.pid, signal.SIGKILL)
    assert f"cannot end process {owner.pid}: it has started this one" in errors
