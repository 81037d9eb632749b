"""The smallest world that can be changed: dials with a level, and the action that turns one."""

# ruff: noqa: D102 - the protocol says what its methods mean

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

from orchestrator.actions.action import REACHED, ByHand, Effect, Outcome, Watch, Waypoint
from orchestrator.errors import RejectedError, UnreachableError
from orchestrator.model.value import Value

from .journal import Killed


class Dials:
    """The world: a level for each dial. ``tell`` hears of every change."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.levels: dict[str, int] = {}
        self.dead: Callable[[], bool] = lambda: False
        """Whether the process that turns the dials is dead: its writes do not arrive."""
        self.trouble: dict[str, str] = {}
        """What is wrong with a dial, see ``Dial.converge`` and ``observe``."""
        self._tell = tell

    def turn(self, name: str, level: int) -> None:
        """Set a level."""
        if self.dead():
            raise Killed
        if self.trouble.get(name) == "slips":
            return
        self.levels[name] = level
        self._tell(f"{name}={level}")


class Level(Value):
    """The state of one dial."""

    level: int


class Dial:
    """Turns a dial from where it is to 100, by waypoints, in two halves that are a second apart.

    What can be wrong with a dial: it ``rejects``, ``declines`` (an outcome), ``breaks`` (a bug), ``slips`` (takes
    no change), is ``deaf`` (never returns), or is ``gone`` (cannot be read).
    """

    state: ClassVar[type[Value]] = Level
    reversible: ClassVar[bool] = True
    asks: ClassVar[bool] = False

    def __init__(self, name: str, world: Dials, by: Sequence[int] = (100,), pause: float = 0.0) -> None:
        self._name = name
        self._world = world
        self._by = by
        self._pause = pause

    async def preflight(self) -> Sequence[str]:
        return [f"cannot turn {self._name}: it is blocked"] if self._trouble == "blocked" else []

    async def observe(self) -> Level:
        await asyncio.sleep(0)
        if self._trouble == "gone":
            raise UnreachableError(f"cannot read {self._name}: no answer")
        return Level(level=self._world.levels[self._name])

    def target(self, observed: Level) -> Level:
        return Level(level=100)

    def reached(self, now: Level, wanted: Level) -> bool:
        return now == wanted

    def route(self, start: Level, end: Level) -> Sequence[Waypoint[Level]]:
        levels = [start.level + (end.level - start.level) * part // 100 for part in self._by[:-1]]
        points = [*zip(levels, self._by, strict=False), (end.level, 100)]
        return [Waypoint(Level(level=level), f"{part}%", self._pause) for level, part in points]

    async def converge(self, to: Level, watch: Watch) -> Outcome:
        watch.fence()
        match self._trouble:
            case "rejects":
                raise RejectedError(f"cannot turn {self._name}: no")
            case "declines":
                return Outcome(reached=False, reason=f"{self._name} is stiff")
            case "breaks":
                raise RuntimeError("off by one")
            case "deaf":
                await asyncio.sleep(1e9)
        now = self._world.levels[self._name]
        watch.progress(f"turning to {to.level}")
        if now != to.level:
            self._world.turn(self._name, (now + to.level) // 2)
            await watch.pause(1.0)
            watch.fence()
            self._world.turn(self._name, to.level)
        return REACHED

    def receivers(self, start: Level, end: Level) -> Sequence[tuple[str, str]]:
        if start == end:
            return []
        return [("smtp", f"{self._name}-there" if end.level > start.level else f"{self._name}-here")]

    def effect(self, state: Level) -> Effect | None:
        return None

    def by_hand(self, to: Level) -> ByHand | None:
        return ByHand(f"turn {self._name} to {to.level}", [f"turn {self._name} {to.level}"])

    def describe(self, observed: Level, target: Level) -> Sequence[str]:
        return [] if observed == target else [f"{self._name}: {observed.level} → {target.level}"]

    @property
    def _trouble(self) -> str:
        return self._world.trouble.get(self._name, "")
