"""Resolvers that are asked until none gives the old answer: one that is away for long serves nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from orchestrator.adapters.dns_audience import SILENT_FOR, Resolvers
from orchestrator.errors import UnreachableError

from ..fakes.clock import LoopClock, run

OLD, NEW, SILENT = "192.0.2.1", "192.0.2.2", ""


class Scene:
    """Resolvers with what each answers."""

    def __init__(self, **answers: str) -> None:
        self.answers = answers
        self.resolvers = Resolvers(list(answers), LoopClock(), self._ask)

    async def _ask(self, resolver: str, name: str, type_: str) -> frozenset[str]:
        if self.answers[resolver] == SILENT:
            raise UnreachableError(f"cannot ask {resolver}")
        return frozenset({self.answers[resolver]})

    async def look(self) -> str:
        """Who is behind now."""
        return await self.resolvers.behind("mx.example.com", "A", lambda given: "still gives mx1" * (OLD in given))

    def watch(self, *looks: Mapping[str, str], every: float = SILENT_FOR / 2) -> list[str]:
        """What is said at looks so far apart, each with changed answers."""

        async def go() -> list[str]:
            said = []
            for changed in looks:
                self.answers |= changed
                said.append(await self.look())
                await asyncio.sleep(every)
            return said

        return run(go())


def test_one_that_gives_the_old_answer_is_waited_for() -> None:
    """However long it takes; each is named."""
    old = "resolver a still gives mx1; resolver b still gives mx1"
    assert Scene(a=OLD, b=OLD).watch({}, {}, {}, {"a": NEW}) == [old, old, old, "resolver b still gives mx1"]


def test_one_that_is_dead_is_not_waited_for() -> None:
    """After a while without an answer it serves nobody, as long as another one tells what clients meet."""
    silent = "no word from resolver b: cannot ask b"
    assert Scene(a=NEW, b=SILENT).watch({}, {}, {}) == [silent, silent, ""]
    assert Scene(a=OLD, b=SILENT).watch({}, {}, {})[-1] == "resolver a still gives mx1"


def test_a_lost_datagram_is_no_death() -> None:
    """Silence counts from the last answer: one that answers now and then is waited for."""
    said = Scene(a=NEW, b=SILENT).watch({}, {}, {"b": OLD}, {"b": SILENT}, {})
    assert all("resolver b" in words for words in said)


def test_one_that_comes_back_is_heard_again() -> None:
    """A dead one that answers with what is old is behind, as any other."""
    assert Scene(a=NEW, b=SILENT).watch({}, {}, {}, {"b": OLD}, {"b": NEW})[2:] == [
        "",
        "resolver b still gives mx1",
        "",
    ]


@pytest.mark.parametrize("answers", [{"a": SILENT}, {"a": SILENT, "b": SILENT}])
def test_without_any_answer_nobody_knows(answers: Mapping[str, str]) -> None:
    """When all are silent it is no proof of anything: that is said for as long as it lasts."""
    said = Scene(**answers).watch(*[{}] * 10)
    assert all("no word from resolver a" in words for words in said)
    assert Scene().watch({}) == [""]
