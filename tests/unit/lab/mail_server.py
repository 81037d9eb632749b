"""Mail servers in memory, and a loop whose time passes at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from orchestrator.lab.smtp_session import SessionLost, SmtpSession

T = TypeVar("T")

Answer = str | None
"""A reply; None hangs up without one."""


class _NoWaiting(selectors.DefaultSelector):
    """Instead of waiting it puts the clock forward."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; the time that nothing happens in is skipped."""
        assert timeout is not None, "everything waits for something that never comes"
        self.now += timeout
        return super().select(0)


class _QuickLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _NoWaiting()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run_quickly(work: Callable[[], Awaitable[T]]) -> T:
    """Run it in a loop in which waiting takes no time."""

    async def awaited() -> T:
        return await work()

    with asyncio.Runner(loop_factory=_QuickLoop) as runner:
        return runner.run(awaited())


class MailServer:
    """Answers as a server at a site does, except where the script says otherwise.

    The script's answers are used up one by one, by verb; ``.`` stands for the final dot.
    """

    def __init__(self, script: Mapping[str, Iterable[Answer]] | None = None) -> None:
        self._script = {verb: list(answers) for verb, answers in (script or {}).items()}
        self.heard: list[str] = []
        self.texts: list[bytes] = []
        self.open: list[_Connection] = []

    async def connect(self) -> SmtpSession:
        """A session with it, as ``SmtpSession.open`` makes it."""
        reader = asyncio.StreamReader()
        connection = _Connection(self, reader)
        self.open.append(connection)
        loop = asyncio.get_running_loop()
        writer = asyncio.StreamWriter(connection, asyncio.StreamReaderProtocol(reader), reader, loop)
        session = SmtpSession(reader, writer)
        session.host = "ord-mx1.lab"
        return session

    def answer(self, verb: str) -> Answer:
        """What it says to one command."""
        self.heard.append(verb)
        scripted = self._script.get(verb, [])
        if scripted:
            return scripted.pop(0)
        return {"DATA": "354 go on", ".": f"250 2.0.0 Ok: queued as Q{len(self.texts)}"}.get(verb, "250 ok")


class _Connection(asyncio.Transport):
    def __init__(self, server: MailServer, reader: asyncio.StreamReader) -> None:
        super().__init__()
        self._server = server
        self._reader = reader
        self._buffer = b""
        self._in_data = False
        self._closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._buffer += bytes(data)
        end = b"\r\n.\r\n" if self._in_data else b"\r\n"
        if not self._closed and self._buffer.endswith(end):
            taken, self._buffer = self._buffer, b""
            if self._in_data:
                self._server.texts.append(taken)
            self._say(self._server.answer("." if self._in_data else taken[:4].decode()))

    def _say(self, answer: Answer) -> None:
        self._in_data = answer is not None and answer.startswith("354")
        if answer is not None:
            self._reader.feed_data(answer.encode() + b"\r\n")
        if answer is None or answer.startswith("421"):
            self.hang_up()

    def hang_up(self) -> None:
        """End the connection from the server's side."""
        if not self._closed:
            self._closed = True
            self._reader.feed_eof()

    def close(self) -> None:
        self._closed = True

    def is_closing(self) -> bool:
        return self._closed


async def nobody() -> SmtpSession:
    """Connect to where no server is."""
    raise SessionLost("connection refused")
