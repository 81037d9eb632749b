"""Judges and guards that say what a script tells them."""

# ruff: noqa: D102 - the engine's protocols say what their methods mean

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from orchestrator.model.check import Judgement, Verdict

SECONDS: Final = 1.0
"""How long a judge takes to measure."""


def verdict(check: str, judgement: str) -> Verdict:
    """A verdict in one word."""
    return Verdict(check=check, judgement=Judgement(judgement), reason=f"the script says {judgement}")


class FakeJudge:
    """Judges by ``script``: a word for each time that a check, or a site's health, is asked; the last one stays.

    What the script does not name passes. ``hang`` is a judgement that never comes.
    """

    def __init__(self, script: Mapping[str, str], tell: Callable[[str], None]) -> None:
        self._script = {name: words.split() for name, words in script.items()}
        self._tell = tell

    async def judge(self, name: str, progress: Callable[[str], None]) -> Verdict:
        progress(f"{name}: measuring")
        return await self._measure(name)

    async def healthy(self, pool: str, site: str) -> Verdict:
        return await self._measure(site)

    async def _measure(self, name: str) -> Verdict:
        words = self._script.get(name, ["pass"])
        word = words.pop(0) if len(words) > 1 else words[0]
        await asyncio.sleep(1e9 if word == "hang" else SECONDS)
        self._tell(f"{name}?{word}")
        return verdict(name, word)


class FakeGuards:
    """Quiet until ``breach_at`` seconds after the watch begins, then broken at every look; or it dies then."""

    def __init__(self, breach_at: float | None = None, error: Exception | None = None) -> None:
        self.breach_at = breach_at
        self.error = error
        self.watching = False

    def has_held(self, guard: str) -> bool:
        return bool(self.breach_at)

    async def watch(self, on_breach: Callable[[Verdict], None]) -> None:
        self.watching = True
        try:
            await asyncio.sleep(1e9 if self.breach_at is None else self.breach_at)
            if self.error is not None:
                raise ExceptionGroup("of the guards", [self.error])
            while True:
                on_breach(verdict("headroom", "fail"))
                await asyncio.sleep(1.0)
        finally:
            self.watching = False
