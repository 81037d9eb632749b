"""Where all mail of the lab ends: a fast SMTP server that counts, and keeps only what probes send.

Also the two other listeners that cost nothing: the scanner's delay, and the port that never answers.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

_END: Final = b"\r\n.\r\n"
_KEEP_PROBES: Final = 500


class Maildir:
    """The inbox of the probes. Of probes that nobody takes, only the last 500 stay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: deque[Path] = deque()
        self._number = 0
        for name in ("tmp", "new", "cur"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def store(self, message: bytes) -> None:
        """Write one message so that a reader sees it whole or not at all (maildir(5))."""
        self._number += 1
        name = f"{time.time():.6f}.{os.getpid()}_{self._number}.sink"
        unfinished, finished = self._folder / "tmp" / name, self._folder / "new" / name
        unfinished.write_bytes(message)
        unfinished.rename(finished)
        self._kept.append(finished)
        if len(self._kept) > _KEEP_PROBES:
            self._kept.popleft().unlink(missing_ok=True)


class Sink(asyncio.Protocol):
    """One connection from a host."""

    def __init__(self, id_header: str, counted: Callable[[str], None], mailbox: str, inbox: Maildir) -> None:
        self._id_header = b"\r\n" + id_header.lower().encode() + b":"
        self._counted = counted
        self._mailbox = mailbox.lower().encode()
        self._inbox = inbox
        self._buffer = b""
        self._in_data = False
        self._for_inbox = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._answer("220 sink.lab ESMTP")

    def data_received(self, data: bytes) -> None:
        """Take commands and messages, pipelined or not (RFC 2920)."""
        self._buffer += data
        while self._take_message() if self._in_data else self._take_command():
            pass

    def _take_command(self) -> bool:
        line, newline, rest = self._buffer.partition(b"\r\n")
        if not newline:
            return False
        self._buffer = rest
        verb = line[:4].upper()
        if verb == b"EHLO":
            self._answer("250-sink.lab\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8")
        elif verb == b"DATA":
            self._in_data = True
            self._buffer = b"\r\n" + self._buffer  # so that a message of no lines ends like every other
            self._answer("354 go on")
        elif verb == b"QUIT":
            self._answer("221 bye")
            self._transport.close()
            return False
        else:
            if verb in {b"MAIL", b"RSET"}:
                self._for_inbox = False
            if verb == b"RCPT":
                self._for_inbox = self._for_inbox or self._mailbox in line.lower()
            self._answer("250 ok")
        return True

    def _take_message(self) -> bool:
        message, end, rest = self._buffer.partition(_END)
        if not end:
            return False
        self._buffer = rest
        self._in_data = False
        if self._for_inbox:
            self._inbox.store(message.removeprefix(b"\r\n").replace(b"\r\n..", b"\r\n.").replace(b"\r\n", b"\n"))
        else:
            self._count(message)
        self._answer("250 taken")
        return True

    def _count(self, message: bytes) -> None:
        head = message.partition(b"\r\n\r\n")[0]
        place = head.lower().find(self._id_header)
        if place >= 0:
            value = head[place + len(self._id_header) :].partition(b"\r\n")[0]
            self._counted(value.strip().decode("ascii", "replace"))

    def _answer(self, text: str) -> None:
        self._transport.write(text.encode() + b"\r\n")


class Scanner(asyncio.Protocol):
    """A policy service that says DUNNO after a while (Postfix SMTPD_POLICY_README).

    Asked at the end of the data, it delays a message between its final dot and its queueing. That is where a virus
    scanner before the queue (SMTPD_PROXY_README) works too: Postfix goes on to queue the message when the client hangs
    up meanwhile, just as it does with a scanner, but no second set of server processes is needed for it.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request after the delay."""
        self._buffer += data
        while b"\n\n" in self._buffer:
            _, _, self._buffer = self._buffer.partition(b"\n\n")
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, b"action=DUNNO\n\n")


class Blackhole(asyncio.Protocol):
    """Takes a connection and never answers."""
