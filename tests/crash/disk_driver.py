"""Started under strace(1), which makes the disk fail: one process for each point at which it is to fail.

    python -m tests.crash.disk_driver WORK FOLDER CALL POINTS EVERY WHEN

strace counts the system calls of each process for itself, and fails number ``WHEN``. So one strace serves all points:
the process of point n makes so many idle calls first that its own n-th is the one that fails. Starting a program anew
for each point would take ten times as long. Where ``WHEN`` is 0, nothing fails. With ``EVERY`` above 1 points are left
out. Each point has its folder already.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from orchestrator.errors import FailoverError
from tests.crash.disk_work import WORKS, Say

MISSING: Final = Path("/nowhere/at/all")


def _idle_calls(device: int) -> Mapping[str, Callable[[], object]]:
    """For each system call, how to make it without any effect."""
    return {
        "pwrite64": lambda: os.pwrite(device, b"x", 0),
        "pread64": lambda: os.pread(device, 1, 0),
        "write": lambda: os.write(device, b"x"),
        "read": lambda: os.read(device, 1),
        "fdatasync": lambda: os.fdatasync(device),
        "fsync": lambda: os.fsync(device),
        "ftruncate": lambda: os.ftruncate(device, 0),
        "fallocate": lambda: os.posix_fallocate(device, 0, 1),
        "openat": lambda: os.open(MISSING, os.O_RDONLY),
        "unlink": MISSING.unlink,
        "link": lambda: os.link(MISSING, MISSING),
    }


def one_process(work: str, folder: Path, call: str, idle: int) -> int:
    """Fork the process of one point; return its exit status. What it has to say lies in ``folder/said``."""
    said = os.open(folder / "said", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def say(line: str) -> None:
        os.writev(said, [f"{line}\n".encode()])  # not write(2), which may be what fails

    pid = os.fork()
    if pid:
        os.close(said)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    say(str(os.getpid()))
    device = os.open(os.devnull, os.O_RDWR)
    for _ in range(idle):
        with suppress(OSError):
            _idle_calls(device)[call]()
    _work(work, folder, say)
    os._exit(0)


def _work(work: str, folder: Path, say: Say) -> None:
    try:
        WORKS[work].do(folder, say)
    except FailoverError as error:
        say(f"end {type(error).__name__}: {error}")
    except BaseException:
        say(f"broke {traceback.format_exc()}")
    else:
        say("end")


def main(work: str, folder: Path, call: str, points: int, every: int, when: int) -> None:
    """Run the points, one after the other."""
    # Whatever is loaded or made once shall be there before anything is counted; in a thread, as strace counts for each.
    warm = threading.Thread(target=_work, args=(work, folder / "warm", lambda _: None))
    warm.start()
    warm.join()
    for point in range(1, points + 1, every):
        one_process(work, folder / str(point), call, idle=max(when - point, 0))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], *map(int, sys.argv[4:7]))
