"""Old workers of a HAProxy on this machine, found in /proc (proc(5)) where no master socket tells of them."""

from __future__ import annotations

from pathlib import Path


def older_workers(worker: int) -> list[int]:
    """The processes beside ``worker`` that its master has started before it, and that have not ended.

    Empty also where this machine cannot tell: HAProxy in another container, or one that was started without a
    master (without ``-W``), so that its old processes have no common parent. Only the master's socket is sure.
    """
    try:
        master = _parent(worker)
        if _name(worker) != _name(master):
            return []
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        siblings = [int(child) for child in children if int(child) != worker]
    except OSError:
        return []
    return [pid for pid in siblings if _is_older(pid, worker)]


def _is_older(pid: int, worker: int) -> bool:
    try:
        return _name(pid) == _name(worker) and _start(pid) < _start(worker)
    except OSError:  # ended while we looked
        return False


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _parent(pid: int) -> int:
    return int(_fields(pid)[1])


def _start(pid: int) -> int:
    """Clock ticks after boot."""
    return int(_fields(pid)[19])


def _fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; the second, the name, may contain anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
