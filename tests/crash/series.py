"""A runbook, killed at each of its points, and gone on with; or turned round.

Not idempotent are today a person's task, and to close a session: its id may be another session's by then. Everything
else sets what is wanted, and may be said twice; only a flush that comes again and again would be a burden.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.load.runbook import LoadedRunbook
from orchestrator.model.plan import Plan
from orchestrator.status import RunState, RunStatus, fold
from tests.crash.points import JOURNAL, Death, Side
from tests.crash.victim import ENDS, RUN, Task
from tests.crash.world import SETTLES, World
from tests.unit.library import stage
from tests.unit.library.shelf import Given, sensible, take

Then = Literal["resume", "undo"]

PAUSES: Final = (0.3, 3.0, 12.0)
"""Virtual seconds between a death and the next process, in turn: at once, and after every wait of a gate or client."""

LIVES: Final = 4
"""So often a run is gone on with before it counts as one that does not end."""

USUAL: Final = {name: ways[0] for name, ways in sensible().items()}
CASES: Final[dict[str, tuple[str, Given]]] = {
    **{name: (name, given) for name, given in USUAL.items()},
    "region-evacuation, urgent": ("region-evacuation", {**USUAL["region-evacuation"], "pace": "urgent"}),
}
"""Every runbook that ships, called in its most usual way."""


@dataclass(frozen=True, slots=True)
class Course:
    """A run that nobody killed: its writes, and the world before and after it."""

    name: str
    loaded: LoadedRunbook
    writes: Sequence[str]
    before: stage.World
    after: stage.World
    flushed: Mapping[str, int]
    """How often it flushed the queue of each host."""

    @property
    def deaths(self) -> list[Death]:
        """All its points."""
        return [
            Death(number, side)
            for number, what in enumerate(self.writes, 1)
            for side in Side
            if side is not Side.UNDER_WAY or not what.startswith(JOURNAL)
        ]

    def place(self, death: Death) -> str:
        """The point in words."""
        return f"{self.name}, killed {death.side} write {death.number}, {self.writes[death.number - 1]}"

    @property
    def journal_writes(self) -> int:
        """How many of its writes went to the journal; all others are side effects."""
        return sum(what.startswith(JOURNAL) for what in self.writes)


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one run with its deaths."""

    status: RunStatus | None
    """None: it was killed before the journal knew of it."""
    problems: Sequence[str]
    """Everything that is not as it must be, but:"""
    left_in_queues: Sequence[str]
    kills: int


def course(case: str) -> Course:
    """Let a runbook go its way once, and see what it writes."""
    name, given = CASES[case]
    loaded = take(name, given)
    with _world(loaded) as (world, journal):
        before = world.lab.world
        result = world.live(Task.RUN).result
        assert result is not None
        assert result.status is RunStatus.DONE, f"nobody killed it, and it is {_state(journal)}"
        assert _unclean(world) == []
        return Course(case, loaded, tuple(result.passed), before, world.lab.world, dict(world.flushed))


def fate(its: Course, deaths: Sequence[Death], then: Then) -> Fate:
    """Kill the run at its first death, and the processes that take it on at theirs; then let it end."""
    with _world(its.loaded) as (world, journal):
        task, kills = Task.RUN, 0
        for life, death in enumerate([*deaths, *[None] * LIVES]):
            ended = world.live(task, death)
            if ended.result is None:
                kills += 1
                expected = its.writes[death.number - 1] if death and not life else ended.last_words
                assert ended.last_words == expected, f"it took another course: {ended.last_words}, not {expected}"
                world.let(PAUSES[deaths[0].number % len(PAUSES)])
            elif task is Task(then) and ended.result.status in {*ENDS, None}:
                break
            task = Task(then)
        world.let(SETTLES)
        problems = _problems(its, world, journal, then, kills)
        return Fate(ended.result.status if ended.result else None, problems, world.left_in_queues, kills)


def second_death(its: Course, first: Death, seed: str) -> Death:
    """A point in the life of the second process, chosen by lot: in what was left to do, or to take back."""
    dice = random.Random(f"{seed} {its.name} {first}")
    left = max(len(its.writes) - first.number, 1)
    return Death(dice.randint(1, left + 3), dice.choice(list(Side)))


@contextmanager
def _world(loaded: LoadedRunbook) -> Iterator[tuple[World, Path]]:
    """A world with an empty journal, in memory where this system has a folder for that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        journal = Path(folder) / "journal.sqlite"
        with World(loaded, journal) as world:
            yield world, journal


def _problems(its: Course, world: World, journal: Path, then: Then, kills: int) -> list[str]:
    """Everything in which the end is not as it must be."""
    found = _unclean(world)
    found += [
        f"the queue of {host} was flushed {times} times, after {kills} deaths"
        for host, times in world.flushed.items()
        if times > its.flushed.get(host, 0) + kills
    ]
    plan, state = _kept(journal)
    if plan is None:
        return [*found, *_differences(its.before, world.lab.world)]
    wanted = {RunStatus.DONE} if then == "resume" else {RunStatus.UNDONE, RunStatus.REFUSED}
    if state.status not in wanted:
        found.append(f"the run is {state.status}: {state.reason}")
    if state.status is RunStatus.REFUSED and state.touched:
        found.append(f"it is refused, and has touched {', '.join(state.touched)}")
    if doubtful := [name for name, step in state.steps.items() if step.in_doubt and then == "resume"]:
        found.append(f"nobody knows how {', '.join(doubtful)} ended")
    found += _differences(its.after if then == "resume" else its.before, world.lab.world)
    if left := _left_over(its, plan, state, world):
        found.append(f"the person has done and not undone {', '.join(sorted(left))}")
    return found


def _unclean(world: World) -> list[str]:
    """What no run may leave or do, killed or not."""
    pool, person = world.lab.pool, world.person
    found = [f"cut: {client}" for client in pool.cut] + [f"doubled: {client}" for client in pool.doubled]
    found += [f"asked again, although it was done: {task}" for task in person.asked_again]
    found += [f"closed {times} times: session {name}" for name, times in world.closed.items() if times > 1]
    found += [f"closed, though it was gone: the session of {client}" for client in world.closed_too_late]
    members, gates = world.lab.world
    found += [
        f"{name} is drained, and carries {len(pool.live(name))} sessions"
        for name, intake in members.items()
        if intake.admin != "ready" and gates[name] and pool.live(name)
    ]
    return found


def _kept(journal: Path) -> tuple[Plan | None, RunState]:
    """What the journal has of the run; reading it also proves its chain."""
    with SqliteJournal(journal) as file:
        if not file.runs():
            return None, RunState()
        return Plan.model_validate_json(file.run(RUN).plan), fold(file.entries(RUN))


def _state(journal: Path) -> str:
    state = _kept(journal)[1]
    return f"{state.status}: {state.reason}"


def _left_over(its: Course, plan: Plan, state: RunState, world: World) -> set[str]:
    if state.status is RunStatus.DONE:
        return set()
    ended = stage.Ended(
        plan, its.before, world.lab.world, state.status, state.status, state, [], world.lab.pool, world.person.tasks
    )
    return ended.left_over


def _differences(wanted: stage.World, found: stage.World) -> list[str]:
    (weights, gates), (weights_now, gates_now) = wanted, found
    lines = [f"{name}: {weights_now[name]}, not {one}" for name, one in weights.items() if weights_now[name] != one]
    lines += [
        f"gate of {name}: {'closed' if gates_now[name] else 'open'}"
        for name, closed in gates.items()
        if gates_now[name] != closed
    ]
    return lines
