"""How fast a run goes by itself: steps that do nothing, the real engine, the real journal with full sync.

Against the rate at which bare SQLite commits on the same disk in the same run; and how time and memory grow with the
number of steps.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import ClassVar

from orchestrator.actions.action import REACHED, Effect, Outcome, Watch, Waypoint
from orchestrator.adapters.clock import SystemClock
from orchestrator.engine.engine import Engine
from orchestrator.engine.recorder import Recorder
from orchestrator.engine.steps import AnyAction
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.check import Judgement, Verdict
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import Runbook
from orchestrator.model.value import Value
from orchestrator.planning import ordered
from orchestrator.status import RunStatus

ROUNDS = 5
SIZES = (10, 100, 1000)
INVENTORY = Inventory.model_validate(
    {
        "sites": {"ord": {}, "iad": {}},
        "pools": {
            "smtp": {
                "protocol": "smtp",
                "address": "vip:25",
                "switch": {"driver": "haproxy", "socket": "s", "backend": "smtp"},
                "test_mail": {"sender": "probe@lab.example", "recipient": "probe@lab.example"},
                "sites": {
                    "ord": {"capacity": "100 sessions", "members": ["mx1"], "address": "ord:25"},
                    "iad": {"capacity": "100 sessions", "members": ["mx2"], "address": "iad:25"},
                },
            }
        },
    }
)


class Level(Value):
    """The state of one dial."""

    level: int


class Dial:
    """Something that is turned in no time."""

    state: ClassVar[type[Value]] = Level
    reversible = True
    asks = False

    def __init__(self) -> None:
        self.level = 0

    async def preflight(self) -> Sequence[str]:
        """Nothing is in the way."""
        return ()

    async def observe(self) -> Level:
        """Where it stands."""
        return Level(level=self.level)

    def target(self, observed: Level) -> Level:
        """All the way."""
        return Level(level=100)

    def reached(self, now: Level, wanted: Level) -> bool:
        """Whether it is there."""
        return now == wanted

    def route(self, start: Level, end: Level) -> Sequence[Waypoint[Level]]:
        """In one move."""
        return [Waypoint(end)]

    async def converge(self, to: Level, watch: Watch) -> Outcome:
        """Turn it, after the question that every action asks first."""
        watch.fence()
        self.level = to.level
        return REACHED

    def receivers(self, start: Level, end: Level) -> Sequence[tuple[str, str]]:
        """Nobody gets traffic."""
        return ()

    def effect(self, state: Level) -> Effect | None:
        """None."""
        return None

    def describe(self, observed: Level, target: Level) -> Sequence[str]:
        """Nobody reads it."""
        return ()

    def by_hand(self, to: Level) -> Sequence[str]:
        """Nobody types it."""
        return ()


class Content:
    """A judge that is never asked, and guards that never break."""

    async def judge(self, name: str, progress: Callable[[str], None]) -> Verdict:
        """Pass."""
        return Verdict(check=name, judgement=Judgement.PASS)

    async def healthy(self, pool: str, site: str) -> Verdict:
        """Pass."""
        return Verdict(check=site, judgement=Judgement.PASS)

    def has_held(self, guard: str) -> bool:
        """They have."""
        return True

    async def watch(self, on_breach: Callable[[Verdict], None]) -> None:
        """Look on."""
        await asyncio.Event().wait()


def chain(steps: int) -> Plan:
    """So many steps, each of which needs the one before."""
    shift = {"pool": "smtp", "from": "ord", "to": "iad"}
    texts = [{"id": f"s{number}", "do": "traffic.shift", "with": shift} for number in range(steps)]
    runbook = Runbook.model_validate({"runbook": "bench", "steps": texts})
    return Plan(runbook=runbook, inventory=INVENTORY, parameters={}, steps=ordered(runbook))


def play(plan: Plan, folder: Path) -> float:
    """Run the plan; the seconds that it took, without the planning."""
    clock, content = SystemClock(), Content()
    actions: Mapping[str, AnyAction] = {step.id: Dial() for step in plan.steps}  # type: ignore[misc]
    with tempfile.TemporaryDirectory(dir=folder) as state, SqliteJournal(Path(state) / "journal.sqlite") as journal:
        journal.create("run", plan.model_dump_json(by_alias=True), "bench", clock.now())

        async def work() -> RunStatus:
            recorder = Recorder("run", journal.take("run"), journal, clock, lambda _: None)
            return (await Engine(plan, actions, recorder, content, content, clock).run()).status

        began = time.perf_counter()
        assert asyncio.run(work()) is RunStatus.DONE
        return time.perf_counter() - began


def commits(folder: Path, count: int) -> float:
    """The seconds that bare SQLite takes for so many commits with full sync of a row like ours."""
    with tempfile.TemporaryDirectory(dir=folder) as state:
        bare = sqlite3.connect(Path(state) / "bare.sqlite", isolation_level=None)
        bare.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE entries (data TEXT);")
        began = time.perf_counter()
        for _ in range(count):
            bare.execute("INSERT INTO entries VALUES (?)", ('{"status":"running","reason":""}' * 8,))
        took = time.perf_counter() - began
        bare.close()
    return took


def peak(plan: Plan, folder: Path) -> float:
    """The most memory that a run takes on top of its plan, in MiB."""
    gc.collect()
    tracemalloc.start()
    play(plan, folder)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2**20


def main() -> None:
    """Rates, growth, memory."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.gettempdir())
    plans = {size: chain(size) for size in SIZES}
    play(plans[10], folder)
    took: dict[int, float] = {}
    for size, plan in plans.items():
        pairs = [(play(plan, folder), commits(folder, size)) for _ in range(ROUNDS)]
        took[size] = median(one for one, _ in pairs)
        ratio = median(bare / ours for ours, bare in pairs)
        rate, bare = size / took[size], size / median(other for _, other in pairs)
        print(
            f"{size:>5} steps  {rate:>7.0f} steps/s  {bare:>7.0f} bare commits/s  ratio {ratio:>4.2f}  "
            f"{peak(plan, folder):>6.1f} MiB  aim >= 0.5",
            flush=True,
        )
    growth = (took[1000] / 1000) / (took[10] / 10)
    print(f"time of a step in 1,000 against one in 10: {growth:.2f} (linear: 1)")


if __name__ == "__main__":
    main()
