"""Virtual time: a loop whose clock leaps to the next event instead of waiting, so that an hour costs nothing."""

# ruff: noqa: D102 - the ports say what their methods mean

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from itertools import count
from typing import TypeVar

T = TypeVar("T")

EPOCH = 1_700_000_000.0
"""Unix time at which every virtual clock starts."""

Turn = Callable[[int], None]
"""Told the number of each turn of the loop before it begins: a place to interrupt, or to pull the plug."""


class _LeapingSelector(selectors.DefaultSelector):
    """Where a loop would wait, time leaps."""

    def __init__(self, each_turn: Turn | None) -> None:
        super().__init__()
        self.elapsed = 0.0
        self._turn = 0
        self._each_turn = each_turn

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for ever")
        self.elapsed += max(timeout, 0.0)
        self._turn += 1
        if self._each_turn is not None:
            self._each_turn(self._turn)
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        return ready


class _LeapingLoop(asyncio.SelectorEventLoop):
    """A loop on leaping time."""

    def __init__(self, each_turn: Turn | None) -> None:
        self._leaping = _LeapingSelector(each_turn)
        self._timers = count()
        super().__init__(self._leaping)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.TimerHandle:
        # Of two timers for one moment the first one set goes first; a heap alone would not mind.
        return super().call_at(when + next(self._timers) * 1e-12, callback, *args, context=context)

    def time(self) -> float:
        return self._leaping.elapsed


def run(work: Coroutine[object, object, T], each_turn: Turn | None = None) -> T:
    """``asyncio.run`` on virtual time. The order of events is the same every time."""
    with asyncio.Runner(loop_factory=lambda: _LeapingLoop(each_turn)) as runner:
        return runner.run(work)


class LoopClock:
    """The running loop's time, ``later`` seconds on: what a process that is started again finds."""

    def __init__(self, later: float = 0.0) -> None:
        self.later = later

    def now(self) -> float:
        return EPOCH + self.later + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
