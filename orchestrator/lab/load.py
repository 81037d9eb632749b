"""Persistent SMTP clients that behave like mail servers.

Each keeps its session open for many messages. It sends a message again only when it saw no 250 after the final dot
(RFC 5321, 4.5.4.1); that is how duplicates arise. On 421 or a lost connection it connects to the edge again.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.lab.ledger import Book, TransactionRecord
from orchestrator.lab.profiles import MAX_RATE, Behaviour
from orchestrator.lab.smtp_session import ReplyRefused, SessionEnded, SessionLost, SessionMoved, SmtpSession

ID_HEADER: Final = "X-Lab-Id"
_SENDER: Final = "load@lab.example"
_RECIPIENT: Final = "sink@lab.example"
_PATIENCE: Final = 60.0
_BACK_OFF: Final = (0.02, 0.15)
_QUEUE_ID: Final = re.compile(r"queued as (\S+)")
_FILLING: Final = ("The quick brown fox jumps over the lazy dog, and over the next datacenter too.\r\n" * 12).encode()


class Pacer:
    """Holds all clients together to a rate."""

    def __init__(self, rate: float) -> None:
        self._step = 1 / rate
        self._next = 0.0

    async def slot(self) -> None:
        """Wait for the next turn."""
        now = asyncio.get_running_loop().time()
        self._next = max(now, self._next + self._step)
        if self._next > now:
            await asyncio.sleep(self._next - now)


@dataclass(slots=True)
class _Message:
    """One message, and the book that it belongs to: a reset must not count it in the new one."""

    id: str
    book: Book

    def text(self) -> bytes:
        head = f"From: <{_SENDER}>\r\nTo: <{_RECIPIENT}>\r\nMessage-ID: <{self.id}@lab.example>\r\n"
        return f"{head}{ID_HEADER}: {self.id}\r\nSubject: load\r\n\r\n".encode() + _FILLING


class Load:
    """All clients, their book and their pause button."""

    def __init__(
        self, connect: Callable[[], Awaitable[SmtpSession]], manners: Sequence[Behaviour], rate: float = MAX_RATE
    ) -> None:
        """``connect`` opens a session; it raises SessionEnded where that fails."""
        self.book = Book()
        self.connect = connect
        self._clients = [_Client(self, manner) for manner in manners]
        self._pacer = Pacer(rate)
        self._go = asyncio.Event()
        self._sending = 0
        self._nothing_open = asyncio.Event()
        self._nothing_open.set()

    @property
    def sessions(self) -> int:
        """Sessions that are open now."""
        return sum(client.connected for client in self._clients)

    @property
    def paused(self) -> bool:
        """Whether clients start no new message."""
        return not self._go.is_set()

    def resume(self) -> None:
        """Let the clients send."""
        self._go.set()

    def pause(self) -> None:
        """Let them finish what they are sending, until it is accepted, and start nothing new. Sessions stay open."""
        self._go.clear()

    async def quiet(self) -> None:
        """Wait until no client is sending."""
        await self._nothing_open.wait()

    async def run(self) -> None:
        """Be all clients, for ever."""
        async with asyncio.TaskGroup() as group:
            for client in self._clients:
                group.create_task(client.run())

    async def next_message(self) -> _Message:
        """A new message, when sending is on and it is this client's turn."""
        while True:
            await self._go.wait()
            await self._pacer.slot()
            if self._go.is_set():
                break
        self._sending += 1
        self._nothing_open.clear()
        return _Message(self.book.issue(), self.book)

    def message_done(self) -> None:
        """The client of ``next_message`` has seen its 250."""
        self._sending -= 1
        if not self._sending:
            self._nothing_open.set()

    async def started(self) -> None:
        """Wait for the first ``resume``."""
        await self._go.wait()


class _Client:
    def __init__(self, load: Load, manner: Behaviour) -> None:
        self._load = load
        self._manner = manner
        self._session: SmtpSession | None = None

    @property
    def connected(self) -> bool:
        return self._session is not None

    async def run(self) -> None:
        await self._load.started()
        if not self._manner.in_step:
            await asyncio.sleep(random.uniform(0, max(1.0, self._manner.gap[1])))  # a phase of its own
        try:
            while True:
                if self._manner.noop_only:
                    await self._say_noop()
                else:
                    await self._send_next()
                await self._rest(random.uniform(*self._manner.gap))
        finally:
            self._hang_up()

    async def _send_next(self) -> None:
        message = await self._load.next_message()
        try:
            await self._send(message)
        finally:
            self._load.message_done()

    async def _send(self, message: _Message) -> None:
        """Try until it is accepted."""
        while True:
            if await self._try(message):
                return
            await asyncio.sleep(random.uniform(*_BACK_OFF))

    async def _try(self, message: _Message) -> bool:
        """Whether the message was accepted in one attempt."""
        session = await self._connected(message.book)
        if session is None or not await self._still_open(session, message.book):
            return False
        record = message.book.begin(session.site)
        try:
            async with asyncio.timeout(_PATIENCE + self._manner.data_seconds):
                queue_id = await self._transact(session, message, record)
        except (SessionEnded, TimeoutError) as ending:
            message.book.transactions_cut += record.begun and not isinstance(ending, SessionMoved)
            self._ended(ending, message.book)
            return False
        except ReplyRefused:
            message.book.transactions_cut += record.begun
            self._ended(SessionLost(), message.book)
            return False
        finally:
            message.book.end(record)
        message.book.accept(message.id, queue_id, record.seconds)
        return True

    async def _still_open(self, session: SmtpSession, book: Book) -> bool:
        """Whether the session did not end while we waited for our turn: nothing was open in it then."""
        try:
            await session.rest(0)
        except SessionEnded as ending:
            self._ended_idle(ending, book)
            return False
        return True

    async def _transact(self, session: SmtpSession, message: _Message, record: TransactionRecord) -> str:
        await session.command(f"MAIL FROM:<{_SENDER}>")
        record.begun = True
        await session.command(f"RCPT TO:<{_RECIPIENT}>")
        await session.command("DATA")
        reply = await session.text(message.text(), self._manner.data_seconds)
        found = _QUEUE_ID.search(reply.text)
        return found[1] if found else ""

    async def _say_noop(self) -> None:
        session = await self._connected(self._load.book)
        if session is None:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await session.command("NOOP")
        except (SessionEnded, TimeoutError, ReplyRefused) as ending:
            self._ended(ending, self._load.book)

    async def _rest(self, seconds: float) -> None:
        until = asyncio.get_running_loop().time() + seconds
        if self._session is not None:
            try:
                await self._session.rest(seconds)
            except SessionEnded as ending:
                self._ended_idle(ending, self._load.book)
        await asyncio.sleep(max(0.0, until - asyncio.get_running_loop().time()))

    async def _connected(self, book: Book) -> SmtpSession | None:
        if self._session is None:
            try:
                self._session = await self._load.connect()
            except SessionMoved:
                book.replies_421 += 1
            except (SessionEnded, TimeoutError):
                book.failed_connects += 1
        return self._session

    def _ended_idle(self, ending: SessionEnded, book: Book) -> None:
        """An MTA takes this for a connection cache that expired: it costs it nothing."""
        if isinstance(ending, SessionMoved):
            book.replies_421 += 1
        else:
            book.idle_closes += 1
        self._hang_up()

    def _ended(self, ending: Exception, book: Book) -> None:
        if isinstance(ending, SessionMoved):
            book.replies_421 += 1
        else:
            book.hard_errors += 1
        self._hang_up()

    def _hang_up(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
