"""The time of a test's world: it stands still until somebody moves it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import count
from typing import Final

START: Final = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
"""Unix time at which every world begins: a Monday, 00:00 UTC."""


class WorldClock:
    """A clock as ``ports.Clock``, which only ``advance`` and ``sleep`` move. Threads may share it.

    What is to happen at a moment (``call_later``) happens while time is moved over that moment, in the order of time.
    """

    def __init__(self, start: float = START) -> None:
        self.lock: Final = threading.RLock()
        """Held while time moves. Who changes the world holds it too, so that time stands still meanwhile."""
        self._start = start
        self._elapsed = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def now(self) -> float:
        """Unix time in seconds."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds since the world began."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move time on, and let happen what falls into it.

        Raises:
            ValueError: time does not go back.
        """
        if not seconds >= 0:
            raise ValueError(f"cannot advance the clock by {seconds} s: time does not go back")
        with self.lock:
            end = self._elapsed + seconds
            while self._due and self._due[0][0] <= end:
                when, _, happen = heappop(self._due)
                self._elapsed = max(self._elapsed, when)
                happen()
            self._elapsed = max(self._elapsed, end)

    def call_later(self, seconds: float, happen: Callable[[], None]) -> None:
        """Have ``happen`` called once, when so many seconds are over. What is no longer to happen, it leaves itself."""
        with self.lock:
            heappush(self._due, (self._elapsed + seconds, next(self._order), happen))

    async def sleep(self, seconds: float) -> None:
        """Move time on by so much at once, and let other tasks run: nothing is waited for."""
        self.advance(max(seconds, 0.0))
        await asyncio.sleep(0)
