"""Real time."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """This machine's clock, as ``ports.Clock``."""

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait without blocking the event loop."""
        await asyncio.sleep(seconds)
