"""Ends a process of this machine that holds a lock and gives no sign of life, so that it can never act again.

An epoch fences what such a process writes into the journal, and it asks for it before each change. But it may have been
stopped between that question and the change. Only its end closes that gap, and on one machine its end can be had.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDS_WITHIN: Final = 5.0
"""Seconds that the kernel has to end it; a process that waits for a dead disk takes longer."""


def began(pid: int) -> int | None:
    """When the process began, in clock ticks since the boot (proc(5), stat, field 22); with its pid that names it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])  # the name, in brackets, may hold blanks and brackets


def end(pid: int, ticks: int, still_silent: Callable[[], bool]) -> None:
    """End the process ``pid`` that began at ``ticks``; stopped first, it cannot come back to life meanwhile.

    Raises:
        RefusedError: it is another process by now, it has just given a sign of life, or it cannot be ended.
    """
    with _handle(pid) as handle:
        if began(pid) != ticks:  # asked after the handle: from here on the pid cannot be given to another
            raise RefusedError(
                f"cannot end process {pid}: it is not the one that took the lock",
                remedy="find who has the lock's file open with fuser(1), and end that",
            )
        signal.pidfd_send_signal(handle, signal.SIGSTOP)
        if not still_silent():
            signal.pidfd_send_signal(handle, signal.SIGCONT)
            raise RefusedError(f"cannot end process {pid}: it has just given a sign of life", remedy="wait for it")
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        if not select.select([handle], [], [], ENDS_WITHIN)[0]:
            raise RefusedError(
                f"cannot end process {pid}: it has not ended {ENDS_WITHIN:g} s after SIGKILL",
                remedy="it waits for a device that does not answer: free that, or restart this machine",
            )


@contextmanager
def _handle(pid: int) -> Iterator[int]:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise RefusedError(f"cannot end process {pid}: there is none", remedy="try again") from error
    try:
        yield handle
    except PermissionError as error:
        remedy = f"as its user or root: kill -9 {pid}, then go on without --take-over"
        raise RefusedError(f"cannot end process {pid}: it belongs to somebody else", remedy=remedy) from error
    except ProcessLookupError:
        pass  # it has ended by itself
    finally:
        with suppress(OSError):
            os.close(handle)
