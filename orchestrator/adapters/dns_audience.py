"""Servers that must all have met a change of the DNS, each of which may be away: resolvers, or a zone's own servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from orchestrator.errors import UnreachableError
from orchestrator.ports import Clock

Ask: TypeAlias = Callable[[str, str, str], Awaitable[frozenset[str]]]
"""``resolvers.ask``: the answers of a server to a name and type."""

Judge: TypeAlias = Callable[[frozenset[str]], str]
"""What is wrong with an answer, as "still gives mx1"; empty where it is as it should be."""

SILENT_FOR: Final = 10.0
"""Seconds after which a server without an answer serves no clients either. Shorter, and lost datagrams would count."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the servers have answered in one round."""

    behind: str
    """Who is waited for, and why; empty where nobody is."""
    lost: str
    """Who has been silent for so long that nobody waits for them."""
    anybody: bool
    """Whether at least one of them is not lost."""


class Audience:
    """Servers of one sort, asked again and again until each that is there has met a change."""

    def __init__(self, what: str, clock: Clock, ask: Ask) -> None:
        self._what = what
        self._clock = clock
        self._ask = ask
        self._silent_since: dict[str, float] = {}

    async def hear(self, servers: Sequence[str], name: str, type_: str, judge: Judge) -> Heard:
        """Ask each of the servers, as host or host:port, for the records of a name and type."""
        answers = await asyncio.gather(*(self._look(server, name, type_, judge) for server in servers))
        said = dict(zip(servers, answers, strict=True))
        lost = [server for server in said if self._silence(server) >= SILENT_FOR]
        return Heard(
            behind="; ".join(why for server, why in said.items() if why and server not in lost),
            lost="; ".join(said[server] for server in lost),
            anybody=len(lost) < len(said),
        )

    async def _look(self, server: str, name: str, type_: str, judge: Judge) -> str:
        try:
            given = await self._ask(server, name, type_)
        except UnreachableError as error:
            self._silent_since.setdefault(server, self._clock.monotonic())
            return f"no word from {self._what} {server}: {error.message}"
        self._silent_since.pop(server, None)
        wrong = judge(given)
        return f"{self._what} {server} {wrong}" if wrong else ""

    def _silence(self, server: str) -> float:
        """Seconds since the first question without an answer; 0 after an answer."""
        now = self._clock.monotonic()
        return now - self._silent_since.get(server, now)


class Resolvers:
    """The resolvers that clients use, as an inventory names them."""

    def __init__(self, places: Sequence[str], clock: Clock, ask: Ask) -> None:
        self._places = places
        self._audience = Audience("resolver", clock, ask)

    async def behind(self, name: str, type_: str, judge: Judge) -> str:
        """Which of them still gives the old answer, in words; empty where none does.

        One that has been silent for ``SILENT_FOR`` serves nobody and is not waited for. Where none answers, nobody
        knows what clients meet.
        """
        heard = await self._audience.hear(self._places, name, type_, judge)
        if self._places and not heard.anybody:
            return heard.lost
        return heard.behind
