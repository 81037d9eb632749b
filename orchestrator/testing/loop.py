"""An event loop on the time of a test's world: where it would wait, the world's clock moves on instead.

Time stands still while a thread works for the loop, as for a call of boto3, so that a call takes none.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from itertools import count
from typing import Final, TypeVar, TypeVarTuple, Unpack

from orchestrator.testing.overlay.clock import WorldClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LONGEST_CALL: Final = 60.0
"""Seconds of real time in which a thread must come back; a hanging one must not hang the test."""


class LoopTime:
    """``ports.Clock`` on the loop: what sleeps lets the others go on, and the world's time comes to meet it."""

    def __init__(self, clock: WorldClock) -> None:
        self._clock = clock

    def now(self) -> float:
        """See ``Clock.now``."""
        return self._clock.now()

    def monotonic(self) -> float:
        """See ``Clock.monotonic``."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See ``Clock.sleep``."""
        await asyncio.sleep(seconds)


def run_in(clock: WorldClock, work: Coroutine[object, object, T]) -> T:
    """``asyncio.run`` on the world's time.

    Raises:
        RuntimeError: everything waits for something that never comes, or a thread does not come back.
    """
    with asyncio.Runner(loop_factory=lambda: _WorldLoop(clock)) as runner:
        return runner.run(work)


class _Selector(selectors.DefaultSelector):
    """Moves the clock where a loop would wait."""

    def __init__(self, clock: WorldClock) -> None:
        super().__init__()
        self._clock = clock
        self.in_threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]]
        if self.in_threads and timeout != 0:
            ready = super().select(LONGEST_CALL)
            if not ready:
                raise RuntimeError(f"a call in a thread has not come back within {LONGEST_CALL:g}s")
            return ready
        if timeout is None:
            raise RuntimeError("everything waits for something that never comes")
        if timeout > 0:
            self._clock.advance(timeout)
        ready = super().select(0)
        return ready


class _WorldLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: WorldClock) -> None:
        self._clock = clock
        self._world = _Selector(clock)
        self._timers = count()
        super().__init__(self._world)

    def time(self) -> float:
        return self._clock.monotonic()

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        # Of two timers for one moment the first one set goes first; a heap alone would not mind.
        return super().call_at(when + next(self._timers) * 1e-9, callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        self._world.in_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._came_back)
        return future

    def _came_back(self, _: object) -> None:
        self._world.in_threads -= 1
