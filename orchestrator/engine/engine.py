"""Runs a plan: the order of its steps, its guards, and what happens when something fails.

The engine knows actions, a journal and a clock. A real run, a resumed run and a test are this same code with
other objects; where a run stands comes from the journal alone, so that a killed process loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from orchestrator.engine.recorder import Recorder
from orchestrator.engine.remaining import left_of_plan_b, to_undo
from orchestrator.engine.schedule import Schedule
from orchestrator.engine.steps import LOOK_EVERY, AnyAction, Judge, StepFailed, StepRunner, StepStuck
from orchestrator.engine.stopping import Cause, StopRequest, Waiting
from orchestrator.errors import Fenced, Stop
from orchestrator.model.check import Verdict
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import OnFailure
from orchestrator.ports import Clock
from orchestrator.status import RunState, RunStatus, StepStatus

log = structlog.get_logger(__name__)

FINISHED = frozenset({StepStatus.DONE, StepStatus.NOTHING})
FAILURES = frozenset({StepStatus.FAILED, StepStatus.REFUSED})


class Guards(Protocol):
    """Who watches what must hold during the whole run."""

    async def watch(self, on_breach: Callable[[Verdict], None]) -> None:
        """Watch until cancelled; call ``on_breach`` with what a broken guard found; its ``check`` names the guard."""

    def has_held(self, guard: str) -> bool:
        """Whether the guard of that name has passed since the watch began."""


@dataclass(slots=True)
class _Result:
    """How the steps that were started ended."""

    failed: list[tuple[PlannedStep, str]] = field(default_factory=list)
    stopped: list[PlannedStep] = field(default_factory=list)
    stuck: str = ""


class Engine:
    """One owner's work on one run."""

    def __init__(
        self,
        plan: Plan,
        actions: Mapping[str, AnyAction],
        recorder: Recorder,
        judge: Judge,
        guards: Guards,
        clock: Clock,
    ) -> None:
        self._plan = plan
        self._actions = actions
        self._recorder = recorder
        self._judge = judge
        self._guards = guards
        self._clock = clock
        self._stop = StopRequest()
        self._waiting = Waiting(recorder)
        self._interrupted = ""
        self._broken_guards: set[str] = set()
        """Those that people have been told of."""

    @property
    def state(self) -> RunState:
        """The run as it stands."""
        return self._recorder.state

    def interrupt(self, reason: str) -> None:
        """Stop at the next safe point and leave the run resumable; for signals."""
        self._interrupted = self._interrupted or reason
        self._stop.ask(Cause.INTERRUPTED, reason)

    async def run(self) -> RunState:
        """Start the run, or go on from where its journal ends; return where it stands then."""
        state = self._recorder.state
        if state.undoing:
            return await self.undo(state.undoing_because, paced=state.paced)
        unanswered = self._unanswered()
        self._recorder.run_status(RunStatus.RUNNING)
        if state.abort:
            return await self._after_abort(unanswered)
        if unanswered.failed:
            return await self._after_failure(unanswered)
        async with self._attentive(self._breach, self._guards_ended, self._heed_abort):
            result = await self._go_forward()
        return await self._conclude(result)

    def close(self, reason: str) -> RunState:
        """End a run that has not begun: nothing was touched, and nothing will be."""
        return self._end(RunStatus.REFUSED, reason)

    async def undo(self, reason: str, *, paced: bool = False) -> RunState:
        """Take back everything that was done and not returned yet, the last first; return where the run stands.

        ``paced`` goes back by the waypoints of the way out, and a guard that breaks on the way stops it there;
        without it each step is taken back in one move, and nothing is safer than to go on.
        """
        self._turn_round()
        self._recorder.run_status(RunStatus.UNDOING, reason, paced=paced)
        try:
            async with self._on_the_way_back(paced=paced):
                for planned in to_undo(self._plan, self._recorder.state):
                    await self._take_back(planned, self._runner(paced=paced))
        except StepStuck as stuck:
            return self._end(RunStatus.STUCK, f"{stuck}; the run was to be undone because: {reason}")
        except Fenced:
            raise
        except Stop as stop:
            return self._end(RunStatus.INTERRUPTED, stop.reason)
        return self._end(RunStatus.UNDONE, reason)

    async def _take_back(self, planned: PlannedStep, runner: StepRunner) -> None:
        """Undo a step; where it cannot be undone, do its plan B instead.

        Raises:
            StepStuck: neither was possible.
            Stop: the run was asked to stop; resuming goes on with it.
        """
        if planned.reversible:
            await runner.take_back(planned)
            return
        if self._recorder.step_state(planned.id).status is not StepStatus.UNDOING:
            self._recorder.step_status(planned.id, StepStatus.UNDOING, "it cannot be undone: plan B")
        try:
            if not self._plan.plan_b(planned.id):
                raise StepFailed("it cannot be undone, and has no plan B")
            for step in left_of_plan_b(self._plan, self._recorder.state, planned.id):
                await runner.forward(step)
        except StepFailed as failure:
            self._recorder.step_status(planned.id, StepStatus.STUCK, failure.reason)
            raise StepStuck(f"{planned.id} cannot be undone, and its plan B failed: {failure.reason}") from failure
        self._recorder.step_status(planned.id, StepStatus.UNDONE, "plan B is done instead")

    async def _go_forward(self) -> _Result:
        """Run every step whose needs are met, side by side where they allow it, until none is left or one fails."""
        runner, result = self._runner(), _Result()
        schedule = Schedule(self._plan.forward, self._is_over)
        running: dict[asyncio.Task[None], PlannedStep] = {}
        ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()
        try:
            while True:
                for planned in schedule.start() if self._may_start(result) else ():
                    task = asyncio.create_task(runner.forward(planned), name=planned.id)
                    task.add_done_callback(ended.put_nowait)
                    running[task] = planned
                if not running:
                    return result
                task = await ended.get()
                planned = running[task]
                await self._note(task, planned, result)
                self._go_on_after_wait(running.pop(task))
                if self._is_over(planned):
                    schedule.settle(planned)
        finally:  # none is left, but when the journal broke or somebody took the run over
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _note(self, task: Awaitable[None], planned: PlannedStep, result: _Result) -> None:
        try:
            await task
        except StepFailed as failure:
            if self._on_failure(planned) != "continue":
                result.failed.append((planned, failure.reason))
                self._stop.ask(Cause.SIBLING, f"{planned.id} failed")
        except StepStuck as stuck:
            self._recorder.step_status(planned.id, StepStatus.STUCK, str(stuck))
            result.stuck = f"{planned.id}: {stuck}"
            self._stop.ask(Cause.SIBLING, f"{planned.id} is stuck")
        except Fenced:
            raise
        except Stop:
            result.stopped.append(planned)

    def _go_on_after_wait(self, planned: PlannedStep) -> None:
        """The run is held no longer when nothing waits; what is stopped gets its status at the end."""
        if self._stop.cause is None:
            self._waiting.end(planned.id)

    def _may_start(self, result: _Result) -> bool:
        """Whether further steps may start."""
        return not result.failed and not result.stuck and self._stop.cause is None

    def _is_over(self, planned: PlannedStep) -> bool:
        """Whether what needs the step may start, as far as it is concerned."""
        status = self._recorder.step_state(planned.id).status
        return status in FINISHED or (self._on_failure(planned) == "continue" and status in FAILURES)

    def _next(self) -> list[PlannedStep]:
        """The steps that are not over while all that they need is."""
        return Schedule(self._plan.forward, self._is_over).ready()

    async def _conclude(self, result: _Result) -> RunState:
        """From how the steps ended to how the run goes on."""
        if result.stuck:
            return self._end(RunStatus.STUCK, result.stuck)
        if not result.failed and self._stop.cause is Cause.INTERRUPTED:
            return self._end(RunStatus.INTERRUPTED, self._stop.reason)
        if self._stop.cause is Cause.ABORTED or (self._stop.cause is None and self._aborted()):
            return await self._after_abort(result)
        if not result.failed and self._stop.cause is None:
            return self._end(RunStatus.DONE)
        return await self._after_failure(result)

    def _aborted(self) -> bool:
        """Whether a person wants the run to stop; asked before the last word of anything that it could contradict."""
        self._recorder.refresh()
        return self._recorder.state.abort != ""

    async def _after_abort(self, result: _Result) -> RunState:
        """What a person asked for: back, or to stand where it is. What failed meanwhile is never left as it is."""
        wish, who = self._recorder.state.abort, self._recorder.state.aborted_by
        reason = "; ".join([f"aborted by {who}", *(f"{planned.id}: {why}" for planned, why in result.failed)])
        if wish == "hold" and result.failed:
            return await self._after_failure(result)
        if wish == "hold":
            return self._held(reason)
        self._refuse_untouched(result.stopped, reason)
        if not self._recorder.state.touched:
            return self._end(RunStatus.REFUSED, reason)
        if (returning := self._returning()) is not None:
            return await self._hold(returning, reason, then_back=False)
        return await self.undo(reason)

    def _returning(self) -> list[PlannedStep] | None:
        """The parts of a return that were set out for and are not done; None where no return is half-way.

        Traffic is on its way to where it was before the run. To undo everything would send the rest of it there at
        once; who aborts now sees that it does badly there.
        """
        state = self._recorder.state
        parts = [step for step in self._plan.forward if step.returns is not None]
        begun = [
            one for one in parts if state.step(one.id).changed and state.step(one.id).status is not StepStatus.UNDONE
        ]
        half = {one.step.id for one in begun} - {
            name
            for name in {one.step.id for one in parts}
            if all(state.step(one.id).status in FINISHED for one in parts if one.step.id == name)
        }
        if not half:
            return None
        return [one for one in begun if one.step.id in half and state.step(one.id).status not in FINISHED]

    async def _after_failure(self, result: _Result) -> RunState:
        """Undo or hold, as the steps say that failed; or that were stopped; or, between two steps, that come next."""
        failed = [planned for planned, _ in result.failed] or result.stopped or self._next()
        if not failed:  # a guard broke when nothing was left to do
            self._recorder.run_status(RunStatus.RUNNING)
            return self._end(RunStatus.DONE)
        reason = "; ".join(f"{planned.id}: {why}" for planned, why in result.failed) or self._stop.reason
        self._refuse_untouched(result.stopped, reason)
        if not self._recorder.state.touched:
            return self._end(RunStatus.REFUSED, reason)
        goes_back = self._recorder.state.abort == "undo"  # a person wants it back, whatever the runbook says
        if not goes_back and any(self._on_failure(planned) == "hold" for planned in failed):
            return await self._hold(failed, reason)
        return await self.undo(reason)

    def _refuse_untouched(self, stopped: Sequence[PlannedStep], reason: str) -> None:
        for planned in stopped:
            may_fail = self._on_failure(planned) == "continue"  # it has not failed: it is asked again, not passed over
            if not self._recorder.step_state(planned.id).changed and not may_fail:
                self._recorder.step_status(planned.id, StepStatus.REFUSED, reason)

    async def _hold(self, failed: list[PlannedStep], reason: str, *, then_back: bool = True) -> RunState:
        """Take back only what failed, and wait for a person; or go all the way back, where one wants that by then."""
        self._turn_round()
        try:
            async with self._on_the_way_back(paced=False):
                for planned in failed:
                    if self._recorder.step_state(planned.id).changed:
                        await self._take_back(planned, self._runner())
        except StepStuck as stuck:
            return self._end(RunStatus.STUCK, f"{stuck}; it failed because: {reason}")
        except Fenced:
            raise
        except Stop as stop:
            return self._end(RunStatus.INTERRUPTED, stop.reason)
        if then_back and self._aborted() and self._recorder.state.abort == "undo":
            return await self.undo(f"aborted by {self._recorder.state.aborted_by}; {reason}")
        return self._held(reason)

    def _held(self, reason: str) -> RunState:
        """Wait for a person; no wish of anybody is open then."""
        self._recorder.run_status(RunStatus.HELD, reason, answered=True)
        return self._recorder.state

    def _unanswered(self) -> _Result:
        """Failures after which the run neither went back nor was held: its owner was killed too early.

        In a run that is held, or stuck, a person has seen the failure; to resume it is to try again.
        """
        state = self._recorder.state
        seen = state.answered or state.status is RunStatus.STUCK
        statuses = {StepStatus.UNDOING} if seen else {StepStatus.UNDOING, *FAILURES}
        failed = [
            (planned, state.step(planned.id).reason or "it had failed, and was being taken back")
            for planned in self._plan.forward
            if state.step(planned.id).status in statuses and self._on_failure(planned) != "continue"
        ]
        return _Result(failed=failed)

    def _turn_round(self) -> None:
        """What stopped the way out must not stop the way back, but for a signal."""
        self._stop = StopRequest()
        self._waiting.steps.clear()
        if self._interrupted:
            self._stop.ask(Cause.INTERRUPTED, self._interrupted)

    def _on_failure(self, planned: PlannedStep) -> OnFailure:
        """What the runbook says; a return that fails leaves the site evacuated, which is safe, and asks a person."""
        return planned.step.on_failure or ("hold" if planned.returns else "undo")

    def _on_the_way_back(self, *, paced: bool) -> AbstractAsyncContextManager[None]:
        """Attentive to the guards; a wish to abort is not heard, as what it asks for is being done."""
        if paced:
            return self._attentive(self._breach_of_a_paced_undo, self._guards_ended, lambda: None)
        return self._attentive(self._breach_on_the_way_back, _no_guards, lambda: None)

    @asynccontextmanager
    async def _attentive(
        self,
        on_breach: Callable[[Verdict], None],
        on_end: Callable[[asyncio.Future[None]], None],
        heed: Callable[[], None],
    ) -> AsyncIterator[None]:
        """While the block lasts, the guards are watched, and what people say in other terminals is read and heeded."""
        watching = asyncio.ensure_future(self._guards.watch(on_breach))
        watching.add_done_callback(on_end)
        listening = asyncio.ensure_future(self._listen(heed))
        try:
            yield
        finally:
            for task in (watching, listening):
                task.cancel()
            await asyncio.gather(watching, listening, return_exceptions=True)

    async def _listen(self, heed: Callable[[], None]) -> None:
        """Read what people say; find out when somebody has taken the run over, also while nothing is written."""
        while True:
            await self._clock.sleep(LOOK_EVERY)
            self._recorder.look()
            heed()

    def _heed_abort(self) -> None:
        state = self._recorder.state
        if state.abort:
            self._stop.ask_gently(Cause.ABORTED, f"aborted by {state.aborted_by}")
        if state.aborts > 1:
            self._stop.ask(Cause.ABORTED, f"aborted by {state.aborted_by}")

    def _breach(self, verdict: Verdict) -> None:
        self._broken_guards.add(verdict.check)
        self._recorder.record("verdict", "", {**verdict.model_dump(mode="json"), "gate": "guard"})
        self._stop.ask(Cause.GUARD, f"guard {verdict.check}: {verdict.reason}")

    def _breach_on_the_way_back(self, verdict: Verdict) -> None:
        """Nothing is safer than to go on; people are told, once."""
        if verdict.check not in self._broken_guards:
            self._broken_guards.add(verdict.check)
            self._recorder.record("verdict", "", {**verdict.model_dump(mode="json"), "gate": "guard"})

    def _breach_of_a_paced_undo(self, verdict: Verdict) -> None:
        """It stops there, and a person decides; but what was broken before it began may be what it repairs."""
        if self._guards.has_held(verdict.check):
            self._breach(verdict)
        else:
            self._breach_on_the_way_back(verdict)

    def _guards_ended(self, watching: asyncio.Future[None]) -> None:
        """Nobody watches any more: that is as bad as a breach."""
        if not watching.cancelled() and (error := watching.exception()) is not None:
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self._stop.ask(Cause.GUARD, f"the guards cannot be watched: {error}")

    def _runner(self, *, paced: bool = False) -> StepRunner:
        return StepRunner(
            self._plan, self._actions, self._recorder, self._judge, self._clock, self._stop, self._waiting, paced
        )

    def _end(self, status: RunStatus, reason: str = "") -> RunState:
        self._recorder.run_status(status, reason)
        return self._recorder.state


def _no_guards(watching: asyncio.Future[None]) -> None:
    """On the way back nothing stops when they cannot be watched; only their error is taken note of."""
    if not watching.cancelled() and (error := watching.exception()) is not None:
        log.warning("guards.unwatched", error=f"{type(error).__name__}: {error}")
