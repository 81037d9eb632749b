"""What the engine lends an action, in its simplest form."""

# ruff: noqa: D102 - the protocol says what its methods mean

from __future__ import annotations

from collections.abc import Callable

from orchestrator.errors import Stop

from .clock import LoopClock


class FakeWatch:
    """Keeps what an action said. ``stop_at`` is the number of the fence, from 1, at which it must stop."""

    def __init__(self, stop_at: int = 0) -> None:
        self.clock = LoopClock()
        self.texts: list[str] = []
        self.numbers: list[dict[str, float]] = []
        self.held: list[str] = []
        self.approved: Callable[[], str | None] = lambda: None
        self.began = 0.0
        self.fences = 0
        self._stop_at = stop_at

    def fence(self) -> None:
        self.fences += 1
        if self.fences == self._stop_at:
            raise Stop("SIGTERM")

    async def pause(self, seconds: float) -> None:
        await self.clock.sleep(seconds)

    def progress(self, text: str, **numbers: float) -> None:
        self.texts.append(text)
        self.numbers.append(numbers)

    def hold(self, reason: str) -> None:
        self.held.append(reason)

    def approval(self) -> str | None:
        return self.approved()

    def elapsed(self) -> float:
        return self.clock.monotonic() - self.began
