"""What a run says while it goes: it does not wait for who reads it.

A pipe whose reader has stopped (a pager, a log shipper that hangs) takes no more once it is full, and a write to it
waits for ever: no guard, no approval and no signal would be heard, and the lease would run out.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import struct
import termios
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, TextIO

ROOM: Final = 16 * 2**20
"""Characters that wait for a reader; a line that comes when there is no room is missed, and counted."""

PATIENCE: Final = 2.0
"""Seconds for which a reader may read nothing at the end of a run before it is left."""

_LOOK_EVERY: Final = 0.05


class Outbox:
    """Writes lines to ``out`` in their order; ``close`` it, then ``wait``.

    The thread is a daemon: when it never comes back from a write it does not keep the process. For that ``out`` must
    be without a lock that Python would wait for when it ends, see ``output.open_output``.
    """

    def __init__(self, out: TextIO, room: int = ROOM, patience: float = PATIENCE) -> None:
        self._out = out
        self._room = room
        self._patience = patience
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._told = self._taken_in = 0  # lines, characters; counted by who tells
        self._written = self._let_out = 0  # the same; counted by the thread
        self._trouble: Exception | None = None
        self._trouble_is_known = False
        self._thread = threading.Thread(target=self._work, name="report", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Take in a line without its end; never waits.

        Raises:
            OSError: a line before could not be written, and so none after it will be.
        """
        self._told += 1
        if self._trouble is not None:
            self._trouble_is_known = True
            raise self._trouble
        if self._taken_in - self._let_out + len(line) > self._room:
            return
        self._taken_in += len(line)
        self._lines.put(line)

    def close(self) -> None:
        """No line comes any more."""
        self._lines.put(None)

    def is_out(self, within: float) -> bool:
        """Wait for so many seconds in all; whether everything is out."""
        with suppress(KeyboardInterrupt):  # a person who will not wait for a reader
            self._thread.join(within)
        return not self._thread.is_alive()

    def wait(self) -> bool:
        """Wait as long as the reader reads on; whether everything is out."""
        seen, since = self._progress(), time.monotonic()
        with suppress(KeyboardInterrupt):
            while self._thread.is_alive() and time.monotonic() - since < self._patience:
                self._thread.join(_LOOK_EVERY)
                if (now := self._progress()) != seen:
                    seen, since = now, time.monotonic()
        return not self._thread.is_alive()

    def complaint(self) -> str:
        """What the reader has missed, unless it has gone, or ``put`` has told; empty when that is nothing."""
        missing = self._told - self._written
        if not missing or self._trouble_is_known or isinstance(self._trouble, BrokenPipeError):
            return ""
        why = "nobody reads it" if self._thread.is_alive() else "its reader was too slow"
        if self._trouble is not None:
            why = getattr(self._trouble, "strerror", None) or str(self._trouble)
        return f"standard output has missed {missing} of {self._told} lines: {why}"

    def _work(self) -> None:
        try:
            while (line := self._lines.get()) is not None:
                print(line, file=self._out, flush=True)
                self._written += 1
                self._let_out += len(line)
        except Exception as error:  # a closed pipe, a full disk: whoever tells the next line hears of it
            self._trouble = error

    def _progress(self) -> tuple[int, int]:
        """What changes as long as the reader reads: a page of a full pipe must be read before a write goes on."""
        return self._written, _unread(self._out)


class Log:
    """The file that logs of a run go to. It never waits: what its reader has no room for is lost."""

    _AT_ONCE = 1024
    """Characters: at most the 4096 bytes that there is room for."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        """Write as much as there is room for."""
        for start in range(0, len(text), self._AT_ONCE):
            if not has_room(self._out):
                break
            self._out.write(text[start : start + self._AT_ONCE])
            self._out.flush()
        return len(text)

    def flush(self) -> None:
        """All is out, or lost."""


def has_room(out: TextIO) -> bool:
    """Whether 4096 bytes (a page of a pipe) can be written without a wait."""
    try:
        ready = select.poll()
        ready.register(out.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # a file in memory, as in a test
        return True
    return bool(ready.poll(0))


def _unread(out: TextIO) -> int:
    """Bytes in the pipe behind ``out``; always 0 where that is no pipe."""
    try:
        number = out.fileno()
        if not stat.S_ISFIFO(os.fstat(number).st_mode):
            return 0
        unread: int = struct.unpack("i", fcntl.ioctl(number, termios.FIONREAD, bytes(4)))[0]
    except (OSError, ValueError):  # a file in memory, as in a test
        return 0
    return unread
