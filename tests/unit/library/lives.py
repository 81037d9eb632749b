"""A stage on which the owners of a run die or are interrupted, one after the other, before the last one ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Final, Literal, get_args

from pydantic import JsonValue

from orchestrator.engine.engine import Engine
from orchestrator.load.runbook import LoadedRunbook
from orchestrator.model.check import Verdict
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.model.traffic import Intake
from orchestrator.status import RunState, RunStatus, StepStatus, fold

from ..fakes.clock import run
from ..fakes.journal import Killed
from ..fakes.judges import verdict
from .stage import RUN, Ended, Judge, Stage

ENDS: Final = frozenset({RunStatus.UNDONE, RunStatus.REFUSED})
FOR_EVER: Final = 1800.0
"""Seconds: a run that is not over by then waits for something that never comes."""
RESUMES: Final = 3
"""So often a run that is held or interrupted is resumed before it is undone."""

Work = Literal["run", "undo"]
Death = Literal["dies before", "dies after", "is killed", "is interrupted", "is aborted", "is asked to hold"]
DEATHS: Final[tuple[Death, ...]] = get_args(Death)


@dataclass(frozen=True, slots=True)
class Life:
    """One owner: what it is started for, and how it ends unless it comes to its own end first."""

    work: Work
    death: Death
    number: int
    """Of the entry around which it dies, counted from its first; else of the tenths of a second that it lives."""


class Moody(Judge):
    """A judge whose judgements with these numbers fail, and whose looks at a site's health do; others pass."""

    def __init__(self, fails: Collection[int], unhealthy: Collection[int] = ()) -> None:
        super().__init__(fails_at=0)
        self._fails = fails
        self._unhealthy = unhealthy
        self._looks = 0

    async def judge(self, name: str, progress: Callable[[str], None]) -> Verdict:
        """See ``Judge.judge``."""
        passed = await super().judge(name, progress)
        return verdict(name, "fail") if len(self.asked) in self._fails else passed

    async def healthy(self, pool: str, site: str) -> Verdict:
        """See ``Judge.healthy``."""
        self._looks += 1
        return verdict(site, "fail" if self._looks in self._unhealthy else "pass")


class Lives(Stage):
    """One run of one runbook, over several owners. It begins with the members of ``start`` as they are there."""

    def __init__(
        self,
        loaded: LoadedRunbook,
        start: Mapping[str, Intake],
        *,
        judge: Judge | None = None,
        breach_at: float | None = None,
    ) -> None:
        super().__init__(loaded, breach_at=breach_at, judge=judge)
        self._lab.one_switch.members.update(start)
        self._replayed = RunState()
        self._heard: set[int] = set()
        self.compared = 0
        self.astray: list[str] = []
        """Where the journal, entry by entry, told another state than its writer had."""

    @property
    def entries(self) -> Sequence[Entry]:
        """The journal."""
        return self._journal.entries(RUN)

    def live(self, lives: Sequence[Life], last: Work = "run") -> Ended:
        """Plan it; let each owner live its life, and ``last`` one bring the run to its end; then undo it."""

        async def all_of_them() -> Ended:
            async with asyncio.timeout(FOR_EVER):
                return await self._live(lives, last)

        return run(self._with_clients(all_of_them))

    async def _live(self, lives: Sequence[Life], last: Work) -> Ended:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # what a killed process leaves unsaid
        plan = await self._make_plan()
        before = self._lab.world
        self._journal.create(RUN, plan.model_dump_json(by_alias=True), plan.runbook.runbook, 0.0)
        for life in lives:
            if self._status not in ENDS:
                await self._one(plan, life)
        for _ in range(RESUMES):
            if last == "run" and self._status not in {*ENDS, RunStatus.DONE, RunStatus.STUCK}:
                await self._engine(plan).run()
        first = self._status
        if first is RunStatus.PLANNED:
            await self._engine(plan).run()
        if self._status not in ENDS:
            await self._engine(plan).undo("the operator asks for it")
        return self._ended(plan, before, first)

    @property
    def _status(self) -> RunStatus:
        return fold(self.entries).status

    async def _one(self, plan: Plan, life: Life) -> None:
        """One owner's life."""
        engine = self._engine(plan)
        undoes = life.work == "undo" and self._status is not RunStatus.PLANNED
        work: Coroutine[object, object, RunState] = engine.undo("somebody asks for it") if undoes else engine.run()
        if self._status is RunStatus.DONE and not undoes:
            work.close()
            return
        owner = asyncio.create_task(work)
        entry = len(self._journal.written) + life.number
        self._journal.dies_before = entry if life.death == "dies before" else 0
        self._journal.dies_after = entry if life.death == "dies after" else 0
        fate = asyncio.get_running_loop().call_later(life.number / 10, self._fate, life.death, engine, owner)
        with suppress(Killed, asyncio.CancelledError):
            await owner
        fate.cancel()
        self._journal.revive()

    def _fate(self, death: Death, engine: Engine, owner: asyncio.Task[RunState]) -> None:
        """The owner's time is over, if that is how it ends."""
        if death == "is killed":
            self._journal.dead = True
            owner.cancel()
        elif death == "is interrupted":
            engine.interrupt("SIGTERM")
        elif death in {"is aborted", "is asked to hold"}:
            data: dict[str, JsonValue] = {"by": "ada", "note": "", "then": "undo" if death == "is aborted" else "hold"}
            self._journal.append(Entry(run=RUN, at=self._clock.now(), epoch=0, kind="abort", data=data))

    def _hear(self, entry: Entry) -> None:
        """The writer of ``entry`` has its state by now: the journal up to here must tell the same."""
        if entry.kind != "progress":
            self._compare(entry)
        super()._hear(entry)

    def _compare(self, entry: Entry) -> None:
        """Not before everything is read that people have written."""
        self._replayed = fold(self.entries[self._replayed.entries :], self._replayed)
        self._heard.add(entry.seq)
        unread = [one for one in self.entries if one.epoch == 0 and one.seq not in self._heard]
        if unread:
            return
        self.compared += 1
        here, there = (_essence(state) for state in (self._replayed, self._recorder.state))
        if here != there:
            where = f"entry {self._replayed.entries}, {entry.kind} {entry.step}"
            self.astray.append(f"{where}: {_differing(here, there)}")

    def _engine(self, plan: Plan) -> Engine:
        """A new owner has read everything."""
        self._heard.update(one.seq for one in self.entries)
        return super()._engine(plan)


def _essence(state: RunState) -> dict[str, object]:
    """What a state says, but for what may differ while nothing does.

    Progress is written now and then only, and so are the numbers of entries. An approval that comes just as its step
    turns round is read after that, even when the step is undone: it counts for nothing either way, as the step begins
    anew without any, but who gave it is named at one place only.
    """
    steps = {
        name: asdict(
            replace(
                step,
                progress="",
                turn=0,
                approved_by=None,
                approvers=() if step.status is StepStatus.UNDONE else step.approvers,
                approved_note="",
            )
        )
        for name, step in state.steps.items()
    }
    return {**asdict(replace(state, steps={}, entries=0, at=0.0)), **steps}


def _differing(here: Mapping[str, object], there: Mapping[str, object]) -> str:
    """Where the journal tells another state than its writer has."""
    return "; ".join(f"{key}: {here.get(key)} ≠ {there.get(key)}" for key in there if here.get(key) != there.get(key))
