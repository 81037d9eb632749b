"""Ends a process of this machine that holds a lock and gives no sign of life, so that it can never act again.

An epoch fences what such a process writes into the journal, and it asks for it before each change. But it may have been
stopped between that question and the change. Only its end closes that gap, and on one machine its end can be had.
The programs that it has started are a part of it: a change may be in their hands.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple

from orchestrator.errors import RefusedError

ENDS_WITHIN: Final = 5.0
"""Seconds that the kernel has to end it; a process that waits for a dead disk takes longer."""

STOPS_WITHIN: Final = 1.0
"""Seconds that SIGSTOP has to act. A process that a cgroup has frozen does not take it; it cannot fork either."""

WATCHED: Final = 5.0
"""Seconds for which a process is looked at; its loop turns at least once in two, to give a sign of life."""

_TURNS: Final = 2
"""Times that it has gone to sleep and come back: once may be a SIGSTOP that comes at this moment."""

_PAUSE: Final = 0.1
_SOON: Final = 0.002
_PROC: Final = Path("/proc")
_STOPPED: Final = ("T", "t")
_CANNOT_FORK: Final = (*_STOPPED, "Z", "X", "x", "D")
"""States of a thread (proc(5)) that a SIGSTOP reaches before it comes back from the kernel, or that is no more."""


class _Mark(NamedTuple):
    """A process for certain: pids are used again."""

    pid: int
    ticks: int


class _Stat(NamedTuple):
    state: str
    parent: int
    ticks: int


def began(pid: int) -> int | None:
    """When the process began, in clock ticks since the boot (proc(5), stat, field 22); with its pid that names it."""
    found = _stat(_PROC / str(pid))
    return None if found is None else found.ticks


def is_working(pid: int, ticks: int) -> bool:
    """Whether the main thread of the process that began at ``ticks`` goes to sleep and wakes; it takes up to WATCHED.

    An event loop does, a stopped process does not, nor one that hangs in a call or in a loop.
    """
    end = time.monotonic() + WATCHED
    before = _sleeps(pid)
    while time.monotonic() < end:
        found = _stat(_PROC / str(pid))
        if found is None or found.ticks != ticks or found.state in _STOPPED:
            return False
        if _sleeps(pid) - before >= _TURNS:
            return True
        time.sleep(_PAUSE)
    return False


def end(pid: int, ticks: int, still_silent: Callable[[], bool]) -> None:
    """End the process ``pid`` that began at ``ticks``, and all that it has started.

    They are stopped first, so that none comes back to life or starts another meanwhile. If they are not ended, they
    are left as they were found.

    Raises:
        RefusedError: it is another process by now, it has just given a sign of life, or it cannot be ended.
    """
    with ExitStack() as opened:
        handles = _hold_still(_Mark(pid, ticks), opened)
        if not handles:
            raise RefusedError(
                f"cannot end process {pid}: it is not the one that took the lock, or has just ended",
                remedy="try again; if it stays so, find who has the lock's file open with fuser(1), and end that",
            )
        if not still_silent():
            raise RefusedError(f"cannot end process {pid}: it has just given a sign of life", remedy="wait for it")
        for handle in reversed(list(handles.values())):  # itself last: until then an interruption leaves it what it had
            _send(handle, signal.SIGKILL)
        _wait(handles)


def _hold_still(root: _Mark, opened: ExitStack) -> Mapping[_Mark, int]:
    """Stop the process and all that it has started; their handles, its own first. They go on when ``opened`` closes."""
    handles: dict[_Mark, int] = {}
    end = time.monotonic() + STOPS_WITHIN
    while True:
        new = [mark for mark in _family(root) if mark not in handles]
        for mark in new:
            if (handle := _stop(mark, opened)) is not None:
                handles[mark] = handle
        if time.monotonic() >= end or (not new and all(_cannot_fork(mark.pid) for mark in handles)):
            return handles
        time.sleep(_SOON)


def _family(root: _Mark) -> list[_Mark]:
    """The process and what it and its children have started; nothing when there is no such process."""
    found = {int(path.name): stat for path in _PROC.iterdir() if path.name.isdecimal() and (stat := _stat(path))}
    if root.pid not in found or found[root.pid].ticks != root.ticks:
        return []
    family = [root.pid]
    for parent in family:  # it grows as we go
        family += [pid for pid, stat in found.items() if stat.parent == parent and pid not in family]
    if os.getpid() in family:
        raise RefusedError(
            f"cannot end process {root.pid}: it has started this one", remedy="give the command in another terminal"
        )
    return [_Mark(pid, found[pid].ticks) for pid in family]


def _stop(mark: _Mark, opened: ExitStack) -> int | None:
    """Stop it until ``opened`` closes, and its handle; None when it has ended."""
    try:
        handle = os.pidfd_open(mark.pid)
        opened.callback(os.close, handle)
        found = _stat(_PROC / str(mark.pid))
        if found is None or found.ticks != mark.ticks:  # asked after the handle: the pid stays its own from here on
            return None
        if found.state not in _STOPPED:
            opened.callback(_send, handle, signal.SIGCONT)  # to who has been killed it does nothing
        signal.pidfd_send_signal(handle, signal.SIGSTOP)
    except ProcessLookupError:
        return None
    except PermissionError as error:
        raise RefusedError(
            f"cannot end process {mark.pid}: it belongs to somebody else",
            remedy=f"end it as its user or as root (kill -9 {mark.pid}), then try again",
        ) from error
    return handle


def _wait(handles: Mapping[_Mark, int]) -> None:
    pids = {handle: mark.pid for mark, handle in handles.items()}
    ends = select.poll()
    for handle in pids:
        ends.register(handle, select.POLLIN)
    until = time.monotonic() + ENDS_WITHIN
    while pids and (ended := ends.poll(max(0.0, until - time.monotonic()) * 1000)):
        for handle, _ in ended:
            ends.unregister(handle)
            del pids[handle]
    if pids:
        names = ", ".join(map(str, sorted(pids.values())))
        raise RefusedError(
            f"cannot go on yet: process {names} waits for a device, and has not ended {ENDS_WITHIN:g} s after SIGKILL; "
            "the signal stays, and ends it as soon as the device answers",
            remedy="do not start it anew; free the device, or restart this machine, then try again",
        )


def _send(handle: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # what could not be stopped need not go on
        signal.pidfd_send_signal(handle, number)


def _stat(of: Path) -> _Stat | None:
    """What proc(5) tells of a process or thread; None when there is none."""
    try:
        text = (of / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name, in brackets, may hold blanks and brackets
    return _Stat(fields[0], int(fields[1]), int(fields[19]))


def _cannot_fork(pid: int) -> bool:
    try:
        threads = [_stat(thread) for thread in (_PROC / str(pid) / "task").iterdir()]
    except OSError:
        return True
    return all(thread is None or thread.state in _CANNOT_FORK for thread in threads)


def _sleeps(pid: int) -> int:
    """How often the main thread has gone to sleep by itself so far; 0 when there is none."""
    with suppress(OSError):
        for line in (_PROC / f"{pid}/task/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                return int(line.split()[1])
    return 0
