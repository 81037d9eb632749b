"""Calls in threads that are given up: nothing more is sent, and a write that is on its way is waited for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import pytest

from orchestrator.adapters.call_threads import CallThreads, Limits, sending, ticket
from orchestrator.errors import UnreachableError

READ: Final = Limits(connect=5.0, answer=5.0, tries=1, whole=20.0)
WRITE: Final = replace(READ, lands=True)


class Call:
    """A call that sends when it is let on, and lands when it is let on again."""

    def __init__(self) -> None:
        self.began, self.on, self.sent, self.landed = (threading.Event() for _ in range(4))
        self.may_land = threading.Event()

    def __call__(self) -> str:
        """The call itself."""
        self.began.set()
        assert self.on.wait(10)
        with sending():
            self.sent.set()
            assert self.may_land.wait(10)
        self.landed.set()
        return "done"


def given_up(call: Call, limits: Limits, work: Callable[[asyncio.Task[str]], Awaitable[None]]) -> asyncio.Task[str]:
    """The task that made the call, once ``work`` has dealt with it and it has ended."""

    async def run() -> asyncio.Task[str]:
        task = asyncio.ensure_future(CallThreads(1, "call").run(call, "it", limits))
        try:
            await asyncio.to_thread(call.began.wait, 10)
            await work(task)
            await asyncio.wait({task}, timeout=10)
        finally:
            call.on.set()
            call.may_land.set()
        return task

    return asyncio.run(run())


async def send(call: Call) -> None:
    """Have it sent."""
    call.on.set()
    await asyncio.to_thread(call.sent.wait, 10)


async def turns() -> None:
    """Let whatever can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_write_that_is_on_its_way_is_waited_for() -> None:
    """However often it is cancelled meanwhile: whoever looks afterwards sees what it has done."""
    call = Call()

    async def work(task: asyncio.Task[str]) -> None:
        await send(call)
        for _ in range(2):
            task.cancel()
            await turns()
            assert not task.done()
        call.may_land.set()

    assert given_up(call, WRITE, work).cancelled()
    assert call.landed.is_set()


def test_a_read_is_left_alone() -> None:
    """It changes nothing, so nobody waits for it."""
    call = Call()

    async def work(task: asyncio.Task[str]) -> None:
        await send(call)
        task.cancel()
        await turns()
        assert task.cancelled()

    given_up(call, READ, work)


def test_what_was_not_sent_yet_never_is() -> None:
    """A cancelled write ends at once, and its thread may go on for long: it sends nothing."""
    call = Call()

    async def work(task: asyncio.Task[str]) -> None:
        task.cancel()
        await turns()
        assert task.cancelled()

    given_up(call, WRITE, work)
    assert not call.sent.wait(0.1)


def test_what_lands_after_its_time_is_known_all_the_same() -> None:
    """A write is not given up while it is under way: its result is better than not to know."""
    call = Call()

    async def work(task: asyncio.Task[str]) -> None:
        await send(call)
        await asyncio.sleep(0.05)
        call.may_land.set()

    assert given_up(call, replace(WRITE, whole=0.02), work).result() == "done"


@pytest.mark.parametrize(("sends", "said"), [(True, "no answer within 0.02 seconds"), (False, "credential_process")])
def test_its_time_is_limited_as_a_whole(sends: bool, said: str) -> None:
    """It says whether the other side does not answer, or nothing was sent at all."""
    call = Call()

    async def work(task: asyncio.Task[str]) -> None:
        if sends:
            await send(call)

    task = given_up(call, replace(WRITE, answer=0.0, connect=0.01, whole=0.02), work)
    with pytest.raises(UnreachableError, match=said):
        task.result()


def test_what_fails_while_it_is_waited_for_is_nobodys_error() -> None:
    """A cancelled call is cancelled, whatever becomes of it."""
    began, on = threading.Event(), threading.Event()

    def fail() -> None:
        ticket().send()
        began.set()
        assert on.wait(10)
        raise OSError("gone")

    async def run() -> None:
        task = asyncio.ensure_future(CallThreads(1, "call").run(fail, "it", WRITE))
        await asyncio.to_thread(began.wait, 10)
        task.cancel()
        on.set()
        await asyncio.wait({task})
        assert task.cancelled()

    asyncio.run(run())


def test_what_never_ends_does_not_keep_the_process() -> None:
    """As a program that is to print credentials, and hangs."""
    program = """
import asyncio, threading
from orchestrator.adapters.call_threads import CallThreads, Limits
asyncio.run(CallThreads(1, "call").run(threading.Event().wait, "it", Limits(1, 1, 1, 0.05, lands=True)))
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, timeout=20, capture_output=True, text=True)
    assert "nothing could be sent" in ended.stderr
