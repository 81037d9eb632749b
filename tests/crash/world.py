"""The world that outlives the orchestrator: hosts, switch, gates, mail clients that go on, and a person."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, cast

from pydantic import JsonValue

from orchestrator.actions.drain import drained_members
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.load.runbook import LoadedRunbook
from orchestrator.model.journal import Entry
from orchestrator.model.runbook import DrainStep
from orchestrator.model.traffic import Session
from orchestrator.status import StepStatus, fold
from tests.crash.lockstep import Broken, Call, Over, Victim, WorldLoop
from tests.crash.points import Death
from tests.crash.victim import ENDS, RUN, Orchestrator, Result, Task
from tests.unit.fakes import mail
from tests.unit.fakes.clock import EPOCH
from tests.unit.fakes.mail import FakeQueue, Habit
from tests.unit.library.shelf import lab_inventory
from tests.unit.library.stage import CLIENTS, PEOPLE, THINKS_FOR, FakeLab

INVENTORY = lab_inventory()

LONGEST_LIFE = 3600.0
"""Virtual seconds after which an orchestrator that still waits has got stuck in silence."""

SETTLES = 1.0
"""Virtual seconds in which what was under way at a death has happened."""


MAIL_IN_QUEUE = 8
"""Messages in each host's queue, which a flush gets going: so long that a process can die over them."""


class Life(NamedTuple):
    """One process, from its start to its end."""

    result: Result | None
    """None: it was killed."""
    last_words: str
    """The write around which it was killed."""


class Person:
    """Reads what the run waits for, does it, and says so, whether or not the process that asked is still there."""

    def __init__(self, journal: Path) -> None:
        self.tasks: list[str] = []
        """What was begun, by step, in order; ``undo STEP`` on the way back."""
        self.asked_again: list[str] = []
        """What was asked for once more although the journal had it that it was done."""
        self._journal = journal
        self._at_work: set[str] = set()
        self._said: set[str] = set()

    def hear(self, entry: Entry) -> None:
        """Somebody reads a line of the report."""
        said = str(entry.data.get("reason" if entry.kind == "run" else "text", ""))
        step, waits, what = said.partition("waits for ")
        if not waits or not what.startswith(("a person", "an approval", "the approval")):
            return
        if entry.kind in {"run", "progress"}:  # a run that goes back is not held, and tells it as progress
            self._begin(entry.step or step.strip())

    def _begin(self, step: str) -> None:
        goes_back = self._goes_back(step)
        task, opposite = (f"undo {step}", step) if goes_back else (step, f"undo {step}")
        if task in self._at_work:
            return
        if task in self._said:
            self.asked_again.append(task)
        self._said -= {task, opposite}
        self._at_work.add(task)
        self.tasks.append(task)
        asyncio.get_running_loop().call_later(THINKS_FOR, self._say, step, task, goes_back)

    def _say(self, step: str, task: str, goes_back: bool) -> None:
        """As ``failover approve``: what is over, or by now going the other way, is not approved."""
        self._at_work.discard(task)
        with SqliteJournal(self._journal) as journal:
            state = fold(journal.entries(RUN))
            status = state.step(step).status
            over = state.status in ENDS or status in {StepStatus.PENDING, StepStatus.DONE, StepStatus.UNDONE}
            if over or (status is StepStatus.UNDOING) is not goes_back:
                return
            direction = "undo" if goes_back else "out"
            now = EPOCH + asyncio.get_running_loop().time()
            for who in PEOPLE:
                data: dict[str, JsonValue] = {"by": who, "note": "", "ahead": False, "direction": direction}
                journal.append(Entry(run=RUN, at=now, epoch=0, kind="approval", step=step, data=data))
        self._said.add(task)

    def _goes_back(self, step: str) -> bool:
        with SqliteJournal(self._journal) as journal:
            return fold(journal.entries(RUN)).step(step).status is StepStatus.UNDOING


class World:
    """One lab, and everybody in it, for one run in a journal file; orchestrators come and go."""

    def __init__(self, loaded: LoadedRunbook, journal: Path) -> None:
        self.lab = FakeLab(INVENTORY)
        self.lab.queues = {host: FakeQueue(moving=MAIL_IN_QUEUE) for host in INVENTORY.hosts}
        self.person = Person(journal)
        self.closed: Counter[str] = Counter()
        """How often the switch was told to close each session, by its id."""
        self.closed_too_late: list[str] = []
        """Clients whose session was to be closed when its id was nobody's any more, or somebody else's."""
        self.flushed: Counter[str] = Counter()
        """How often each host's queue was flushed."""
        self.left_in_queues: list[str] = []
        """Drains that called themselves done while mail was on its way in their hosts' queues."""
        self._loaded = loaded
        self._drained = {
            step.id: drained_members(step.with_, INVENTORY.pools[step.with_.pool])
            for step in loaded.runbook.steps
            if isinstance(step, DrainStep)
        }
        self._journal = journal
        self._looks: set[asyncio.Task[None]] = set()
        self._last_words = ""
        self._clients: list[asyncio.Task[None]] = []
        self._loop: WorldLoop | None = None
        self._runner = asyncio.Runner(loop_factory=WorldLoop)
        self._processors = os.sched_getaffinity(0)

    def __enter__(self) -> Self:
        # Of the two processes only one works at a time. On one processor the turns pass three times as fast.
        os.sched_setaffinity(0, {sorted(self._processors)[os.getpid() % len(self._processors)]})
        self._runner.__enter__()
        self._loop = cast("WorldLoop", self._runner.get_loop())
        self._runner.run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.__exit__(kind, error, trace)
        os.sched_setaffinity(0, self._processors)

    def live(self, task: Task, death: Death | None = None) -> Life:
        """Let a new process do ``task``, until it ends or is killed at its ``death``."""
        self._last_words = ""
        orchestrator = Orchestrator(self._loaded, INVENTORY, self._journal, task, death)
        victim = Victim(orchestrator.work, self._serve, self._hear)
        try:
            self._runner.run(self._accompany(victim))
        finally:
            victim.stop()
        if isinstance(victim.last, Broken):
            raise AssertionError(f"the orchestrator broke\n{victim.last.traceback}")
        if isinstance(victim.last, Over):
            return Life(cast("Result", victim.last.result), "")
        assert victim.killed, f"the orchestrator ended with status {victim.status}"
        return Life(None, self._last_words)

    def let(self, seconds: float) -> None:
        """Let time pass without any orchestrator."""
        self._runner.run(asyncio.sleep(seconds))

    async def _open(self) -> None:
        """The clients are at work before anybody comes."""
        dice = random.Random(7)
        self._clients = [asyncio.create_task(self._client(number, dice)) for number in range(CLIENTS)]
        await asyncio.sleep(2.0)

    async def _accompany(self, victim: Victim) -> None:
        assert self._loop is not None
        self._loop.invite(victim)
        try:
            async with asyncio.timeout(LONGEST_LIFE):
                await victim.end()
        finally:
            self._loop.invite(None)

    async def _serve(self, call: Call) -> object:
        """Do what a port was asked for."""
        kind, name = call.target
        if call.method == "close":
            self._count(cast("Session", call.arguments[0]))
        elif call.method == "flush":
            self.flushed[name] += 1
        port = {"switch": self.lab.switch, "gate": self.lab.gate, "queue": self.lab.queue}[kind](name)
        return await cast("Awaitable[object]", getattr(port, call.method)(*call.arguments))

    def _count(self, session: Session) -> None:
        self.closed[session.id] += 1
        if session.id not in {f"0x{id(live):x}" for live in self.lab.pool.live(session.member)}:
            self.closed_too_late.append(session.client)

    def _hear(self, said: object) -> None:
        if not isinstance(said, Entry):
            self._last_words = str(said)
            return
        self.person.hear(said)
        if said.kind == "step" and said.data["status"] == StepStatus.DONE and said.step in self._drained:
            look = asyncio.get_running_loop().create_task(self._look_into_queues(said.step))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def _look_into_queues(self, step: str) -> None:
        for host in self._drained[step]:
            depth = await self.lab.queues[host].depth()
            if left := depth.incoming + depth.active:
                self.left_in_queues.append(f"{step} is done with {left} messages on their way in the queue of {host}")

    async def _client(self, number: int, dice: random.Random) -> None:
        """A client that connects again whenever its session has ended, where the switch sends it."""
        lab = self.lab
        for port in range(40000 + number, 65000, CLIENTS):
            weights = [intake.share_weight for intake in lab.one_switch.members.values()]
            member = dice.choices(list(lab.one_switch.members), weights)[0]
            await mail.client(f"192.0.2.7:{port}", Habit(gap=0.9), member, lab.pool, lab.gates[member])
