"""Synchronous calls in threads: each limited as a whole, and none sends anything more once nobody waits for it.

A thread cannot be stopped. A call that is given up, because its time is over or its step was cancelled, is kept from
sending another try; and a write that is on its way just then is waited for, so that nobody looks at what is about to
change. What never ends, as a program that is to print credentials, neither stops a run nor keeps the process alive.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from orchestrator.errors import UnreachableError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a call may take, in seconds, and how often it is tried."""

    connect: float
    answer: float
    """Of each try."""
    tries: int
    whole: float
    """For all tries, the waits between them, and finding out as whom to call; no try begins later."""
    lands: bool = False
    """Whether the try that is on its way at the end, or when the call is cancelled, is waited for: it may change
    something."""


class GivenUpError(Exception):
    """Nobody waits for this call any more, so nothing of it may be sent."""


class Ticket:
    """The leave of one call to send, shared by the thread that makes it and by whom it is made for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self._under_way = False
        self.used = False
        """Whether anything was sent."""

    def send(self) -> None:
        """Say that a try is about to be sent.

        Raises:
            GivenUpError: it must not be.
        """
        with self._lock:
            self._check()
            self._under_way = self.used = True

    def check(self) -> None:
        """Raise ``GivenUpError`` where nothing may be sent any more."""
        with self._lock:
            self._check()

    def land(self) -> None:
        """Say that nothing of the try is under way any more, whatever came of it."""
        with self._lock:
            self._under_way = False

    def give_up(self) -> bool:
        """Let nothing more be sent; whether a try is under way."""
        with self._lock:
            self._given_up = True
            return self._under_way

    def _check(self) -> None:
        if self._given_up:
            raise GivenUpError


_TICKET: Final[ContextVar[Ticket]] = ContextVar("ticket")


def ticket() -> Ticket:
    """That of the call which this thread makes; a new one, which nobody gives up, outside of such calls."""
    return _TICKET.get(None) or Ticket()


@contextmanager
def sending() -> Iterator[None]:
    """The block sends a try, and ends when it has landed.

    Raises:
        GivenUpError: the call was given up before.
    """
    mine = ticket()
    mine.send()
    try:
        yield
    finally:
        mine.land()


class CallThreads(Executor):
    """Makes so many calls side by side, each in a thread that does not keep the process from ending."""

    def __init__(self, at_a_time: int, name: str) -> None:
        self._name = name
        self._free = threading.BoundedSemaphore(at_a_time)

    async def run(self, work: Callable[[], T], what: str, limits: Limits) -> T:
        """What ``work`` returns or raises; ``what`` it is, for messages.

        It has to say through ``ticket`` what it sends.

        Raises:
            UnreachableError: the time is over; what the call has done is not known, if it was sent at all.
        """
        mine = Ticket()
        context = contextvars.copy_context()
        context.run(_TICKET.set, mine)
        call = asyncio.get_running_loop().run_in_executor(self, context.run, work)
        try:
            await self._end(call, mine, limits)
            if call.done():
                with suppress(GivenUpError):
                    return call.result()
            raise _overdue(what, limits, mine)
        finally:
            forget(call)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See ``Executor.submit``."""
        future: Future[Any] = Future()
        threading.Thread(target=self._make, args=(future, fn, args, kwargs), name=self._name, daemon=True).start()
        return future

    async def _end(self, call: asyncio.Future[Any], mine: Ticket, limits: Limits) -> None:
        try:
            await asyncio.wait({call}, timeout=limits.whole)
        finally:
            if not call.done() and mine.give_up() and limits.lands:
                await land(call, limits.connect + limits.answer)

    def _make(self, future: Future[Any], fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        with self._free:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # it is raised where the call is awaited
                future.set_exception(error)
            else:
                future.set_result(result)


async def land(call: asyncio.Future[Any], within: float | None = None) -> None:
    """Wait for the end of what is under way, also when cancelled meanwhile; that goes on afterwards."""
    loop = asyncio.get_running_loop()
    until = None if within is None else loop.time() + within
    cancelled: asyncio.CancelledError | None = None
    while not call.done() and (until is None or loop.time() < until):
        try:
            await asyncio.wait({call}, timeout=None if until is None else until - loop.time())
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def forget(call: asyncio.Future[Any]) -> None:
    """Leave alone what nobody wants to know of any more."""
    if not call.cancel() and not call.cancelled():
        call.exception()


def _overdue(what: str, limits: Limits, mine: Ticket) -> UnreachableError:
    if mine.used:
        return UnreachableError(
            f"cannot call {what}: no answer within {limits.whole:g} seconds",
            remedy="look at the network, and at the other side's own status",
        )
    return UnreachableError(
        f"cannot call {what}: nothing could be sent within {limits.whole:g} seconds",
        remedy="look whether what gives the credentials ends: a credential_process, a login, an exec plugin",
    )
