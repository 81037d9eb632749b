"""The client's side of one SMTP session (RFC 5321), as a busy MTA holds it: open for many messages."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from orchestrator.lab.layout import site_of

_MOVED: Final = 421
_CHUNKS: Final = 13


class SessionEnded(Exception):  # noqa: N818 - one way in which every session ends
    """The session is over."""


class SessionLost(SessionEnded):
    """The connection went away, or no answer came, and nothing was said."""


class SessionMoved(SessionEnded):
    """The server said 421 and hangs up (RFC 5321, 3.8)."""


class ReplyRefused(Exception):  # noqa: N818 - the session goes on
    """A reply that is neither good nor 421."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Code and the text of the last line."""

    code: int
    text: str


class SmtpSession:
    """One open session, after EHLO."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.host = ""
        """What the server calls itself in its banner."""

    @property
    def site(self) -> str:
        """The site of the server, by its banner."""
        return site_of(self.host)

    @classmethod
    async def open(cls, port: int, timeout: float) -> SmtpSession:
        """Connect to loopback, read the banner, say EHLO.

        Raises:
            SessionEnded: nobody answers, or not with 220.
        """
        try:
            async with asyncio.timeout(timeout):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            raise SessionLost(str(error)) from error
        session = cls(reader, writer)
        try:
            async with asyncio.timeout(timeout):
                session.host = (await session._reply()).text.partition(" ")[0]
                await session.command("EHLO client.lab")
        except (TimeoutError, ReplyRefused, SessionEnded) as error:
            session.close()
            raise error if isinstance(error, SessionEnded) else SessionLost(str(error)) from error
        return session

    async def command(self, line: str) -> Reply:
        """Send one command and read its reply.

        Raises:
            SessionEnded: the session is over.
            ReplyRefused: the reply is an error; the session goes on.
        """
        self._writer.write(line.encode() + b"\r\n")
        return await self._reply()

    async def text(self, message: bytes, seconds: float) -> Reply:
        """Send the text of a message after 354, taking ``seconds`` for it, and the final dot; read the final reply."""
        if seconds:
            step = -(-len(message) // _CHUNKS)
            for start in range(0, len(message), step):
                self._writer.write(message[start : start + step])
                await self._pause(seconds / _CHUNKS)
            self._writer.write(b".\r\n")
        else:
            self._writer.write(message + b".\r\n")
        return await self._reply()

    async def rest(self, seconds: float) -> None:
        """Stay idle.

        Raises:
            SessionEnded: the server ended the session meanwhile.
        """
        await self._pause(seconds)

    async def _pause(self, seconds: float) -> None:
        """Wait, but hear when the server speaks unasked: it ends the session."""
        try:
            async with asyncio.timeout(seconds):
                first = await self._reader.read(1)
        except TimeoutError:
            return
        except OSError as error:
            raise SessionLost(str(error)) from error
        if not first:
            raise SessionLost("connection closed")
        line = first + await self._line()
        raise SessionMoved(line.decode()) if line.startswith(b"421") else SessionLost(line.decode())

    async def _reply(self) -> Reply:
        line = await self._line()
        while line[3:4] == b"-":
            line = await self._line()
        text = line[4:].decode("ascii", "replace").rstrip()
        code = int(line[:3]) if line[:3].isdigit() else 0
        if code == _MOVED:
            raise SessionMoved(text)
        if not 200 <= code < 400:
            raise ReplyRefused(f"{code} {text}")
        return Reply(code, text)

    async def _line(self) -> bytes:
        try:
            line = await self._reader.readline()
        except (OSError, ValueError) as error:
            raise SessionLost(str(error)) from error
        if not line.endswith(b"\n"):
            raise SessionLost("connection closed")
        return line

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
