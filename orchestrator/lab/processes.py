"""Child processes that cannot outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc: Final = ctypes.CDLL(None, use_errno=True)


def die_with_parent(death: signal.Signals | None) -> None:
    """Ask the kernel to send this process ``death`` when the thread that started it ends; None takes it back."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(death or 0), 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that we can wait for its end ourselves.

    The machine's init may take seconds to notice, and in a container may never.
    """
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _bound_to(parent: int, death: signal.Signals) -> Callable[[], None]:
    def run_in_child() -> None:
        die_with_parent(death)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return run_in_child


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """A process for certain: numbers are used again, start times are not."""

    pid: int
    started: int
    """Clock ticks after boot, from proc(5)."""

    def alive(self) -> bool:
        """Whether that very process still runs; a zombie does not."""
        return _stat(self.pid) == (self.started, True)


def mark(pid: int) -> ProcessMark | None:
    """The mark of a process, None when there is none."""
    found = _stat(pid)
    return ProcessMark(pid, found[0]) if found else None


def _stat(pid: int) -> tuple[int, bool] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[19]), fields[0] not in "ZX"


class Child:
    """One process with its own process group, which takes all its descendants along."""

    def __init__(self, name: str, argv: Sequence[str], log: Path, *, death: signal.Signals = signal.SIGKILL) -> None:
        """Start it; its output goes to the end of ``log``.

        ``death`` is what it gets when we die. Programs with children of their own take SIGTERM and end these too.
        """
        self.name = name
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
                preexec_fn=_bound_to(os.getpid(), death),  # safe: only ever called where there is one thread
            )

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to it and all its descendants."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it and all its descendants at once, as a power cut would."""
        self.signal_group(signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(ChildProcessError):  # until none is left, or where we did not adopt them
            while True:
                os.waitpid(-self.pid, 0)


class Guard:
    """A process of ours that kills our children with all their descendants when we are gone, even by SIGKILL.

    The kernel's parent-death signal is not enough: Postfix's master loses it when it changes its effective user
    (prctl(2), PR_SET_PDEATHSIG), and grandchildren never have it. Our end of a pipe closes whatever kills us.
    """

    def __init__(self) -> None:
        """Start it; call this while there is one thread, and before any lock or socket is open."""
        reading, self._writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._writing)
            _guard(reading)
        os.close(reading)

    def watch(self, child: Child) -> None:
        """It is one of ours now."""
        os.write(self._writing, b"+%d\n" % child.pid)

    def forget(self, child: Child) -> None:
        """It has ended; its number may soon be another's."""
        os.write(self._writing, b"-%d\n" % child.pid)

    def end(self) -> None:
        """Let it go, with what it still watches."""
        os.close(self._writing)
        os.waitpid(self._pid, 0)


def _guard(reading: int) -> NoReturn:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # whoever waits for the end of our output must not wait for the guard's
        os.dup2(null, number)
    groups: set[int] = set()
    with os.fdopen(reading, "rb") as orders:
        for order in orders:
            (groups.add if order.startswith(b"+") else groups.discard)(int(order[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    os._exit(0)


def kill_all(children: Iterable[Child]) -> None:
    """End them all at once, with their descendants."""
    ending = list(children)
    for child in ending:
        child.signal_group(signal.SIGKILL)
    for child in ending:
        child.kill()


def kill_marked(marks: Iterable[ProcessMark]) -> int:
    """Kill those processes, with their groups, that still run; returns how many did."""
    running = [found for found in marks if found.alive()]
    for found in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(found.pid, signal.SIGKILL)
    wait_until(lambda: not any(found.alive() for found in running), 2.0)
    return len(running)


def wait_until(condition: Callable[[], bool], timeout: float, every: float = 0.02) -> bool:
    """Whether ``condition`` has become true within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True
