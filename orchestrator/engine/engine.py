"""Runs a plan: the order of its steps, its guards, and what happens when something fails.

The engine knows actions, a journal and a clock. A real run, a resumed run and a test are this same code with
other objects; where a run stands comes from the journal alone, so that a killed process loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.engine.recorder import Recorder
from orchestrator.engine.steps import AnyAction, Judge, StepFailed, StepRunner, StepStuck
from orchestrator.engine.stopping import Cause, StopRequest, Waiting
from orchestrator.errors import Fenced, Stop
from orchestrator.model.check import Verdict
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import OnFailure
from orchestrator.ports import Clock
from orchestrator.status import RunState, RunStatus, StepStatus

FINISHED = frozenset({StepStatus.DONE, StepStatus.NOTHING})
FAILURES = frozenset({StepStatus.FAILED, StepStatus.REFUSED})


class Guards(Protocol):
    """Who watches what must hold during the whole run."""

    async def watch(self, on_breach: Callable[[Verdict], None]) -> None:
        """Watch until cancelled; call ``on_breach`` with what a broken guard found; its ``check`` names the guard."""


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

    def interrupt(self, reason: str) -> None:
        """Stop at the next safe point and leave the run resumable; for signals."""
        self._interrupted = self._interrupted or reason
        self._stop.ask(Cause.INTERRUPTED, reason)

    async def run(self) -> RunState:
        """Start the run, or go on from where its journal ends; return where it stands then."""
        if self._recorder.state.undoing:
            return await self.undo(self._recorder.state.undoing_because)
        unanswered = self._unanswered()
        self._recorder.run_status(RunStatus.RUNNING)
        if unanswered.failed:
            return await self._after_failure(unanswered)
        watching = asyncio.ensure_future(self._guards.watch(self._breach))
        watching.add_done_callback(self._guards_ended)
        try:
            result = await self._go_forward()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        return await self._conclude(result)

    def close(self, reason: str) -> RunState:
        """End a run that has not begun: nothing was touched, and nothing will be."""
        return self._end(RunStatus.REFUSED, reason)

    async def undo(self, reason: str) -> RunState:
        """Take back everything that was done and not returned yet, the last first; return where the run stands."""
        self._turn_round()
        self._recorder.run_status(RunStatus.UNDOING, reason)
        runner = self._runner()
        for planned in self._to_undo():
            try:
                await self._take_back(planned, runner)
            except StepStuck as stuck:
                return self._end(RunStatus.STUCK, f"{stuck}; the run was to be undone because: {reason}")
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
        instead = self._plan.plan_b(planned.id)
        try:
            if not instead:
                raise StepFailed("it cannot be undone, and has no plan B")
            for step in instead:
                if not self._done_since(step.id, planned.id):
                    await runner.forward(step)
        except StepFailed as failure:
            self._recorder.step_status(planned.id, StepStatus.STUCK, failure.reason)
            raise StepStuck(f"{planned.id} cannot be undone, and its plan B failed: {failure.reason}") from failure
        self._recorder.step_status(planned.id, StepStatus.UNDONE, "plan B is done instead")

    def _done_since(self, step: str, undoing: str) -> bool:
        """Whether a step of a plan B is done since the undo of ``undoing`` began; one before that was another one's."""
        now, since = self._recorder.step_state(step), self._recorder.step_state(undoing).turn
        return now.status in FINISHED and now.turn > since

    async def _go_forward(self) -> _Result:
        """Run every step whose needs are met, side by side where they allow it, until none is left or one fails."""
        runner, result = self._runner(), _Result()
        running: dict[asyncio.Task[None], PlannedStep] = {}
        try:
            while True:
                for planned in self._ready(result, {step.id for step in running.values()}):
                    running[asyncio.create_task(runner.forward(planned), name=planned.id)] = planned
                if not running:
                    return result
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    await self._note(task, running[task], result)
                    self._go_on_after_wait(running.pop(task))
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

    def _ready(self, result: _Result, running: set[str]) -> list[PlannedStep]:
        """The steps that may start now."""
        if result.failed or result.stuck or self._stop.cause is not None:
            return []
        return [step for step in self._next() if step.id not in running]

    def _next(self) -> list[PlannedStep]:
        """The steps that are not over while all that they need is."""
        state = self._recorder.state
        over = {
            step.id
            for step in self._plan.forward
            if state.step(step.id).status in FINISHED
            or (self._on_failure(step) == "continue" and state.step(step.id).status in FAILURES)
        }
        return [step for step in self._plan.forward if step.id not in over and set(step.needs) <= over]

    async def _conclude(self, result: _Result) -> RunState:
        """From how the steps ended to how the run goes on."""
        if result.stuck:
            return self._end(RunStatus.STUCK, result.stuck)
        if not result.failed and self._stop.cause is None:
            return self._end(RunStatus.DONE)
        if not result.failed and self._stop.cause is Cause.INTERRUPTED:
            return self._end(RunStatus.INTERRUPTED, self._stop.reason)
        return await self._after_failure(result)

    async def _after_failure(self, result: _Result) -> RunState:
        """Undo or hold, as the steps say that failed; or that were stopped; or, between two steps, that come next."""
        failed = [planned for planned, _ in result.failed] or result.stopped or self._next()
        if not failed:  # a guard broke when nothing was left to do
            self._recorder.run_status(RunStatus.RUNNING)
            return self._end(RunStatus.DONE)
        reason = "; ".join(f"{planned.id}: {why}" for planned, why in result.failed) or self._stop.reason
        for planned in result.stopped:
            may_fail = self._on_failure(planned) == "continue"  # it has not failed: it is asked again, not passed over
            if not self._recorder.step_state(planned.id).changed and not may_fail:
                self._recorder.step_status(planned.id, StepStatus.REFUSED, reason)
        if not self._recorder.state.touched:
            return self._end(RunStatus.REFUSED, reason)
        if any(self._on_failure(planned) == "hold" for planned in failed):
            return await self._hold(failed, reason)
        return await self.undo(reason)

    async def _hold(self, failed: list[PlannedStep], reason: str) -> RunState:
        """Take back only what failed, and wait for a person."""
        self._turn_round()
        runner = self._runner()
        for planned in failed:
            if not self._recorder.step_state(planned.id).changed:
                continue
            try:
                await self._take_back(planned, runner)
            except StepStuck as stuck:
                return self._end(RunStatus.STUCK, f"{stuck}; it failed because: {reason}")
            except Stop as stop:
                return self._end(RunStatus.INTERRUPTED, stop.reason)
        self._recorder.run_status(RunStatus.HELD, reason, answered=True)
        return self._recorder.state

    def _to_undo(self) -> list[PlannedStep]:
        """What was done and not returned, the last first. The parts of a return undo nothing of their own."""
        state = self._recorder.state
        returned = {
            step.returns for step in self._plan.steps if step.returns and state.step(step.id).status in FINISHED
        }
        done = {
            step.id: step
            for step in self._plan.forward
            if step.returns is None and step.id not in returned and state.step(step.id).status is not StepStatus.UNDONE
        }
        return [done[name] for name in reversed(state.touched) if name in done]

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

    def _breach(self, verdict: Verdict) -> None:
        self._recorder.record("verdict", "", {**verdict.model_dump(mode="json"), "gate": "guard"})
        self._stop.ask(Cause.GUARD, f"guard {verdict.check}: {verdict.reason}")

    def _guards_ended(self, watching: asyncio.Future[None]) -> None:
        """Nobody watches any more: that is as bad as a breach."""
        if not watching.cancelled() and (error := watching.exception()) is not None:
            while isinstance(error, BaseExceptionGroup):
                error = error.exceptions[0]
            self._stop.ask(Cause.GUARD, f"the guards cannot be watched: {error}")

    def _runner(self) -> StepRunner:
        return StepRunner(self._actions, self._recorder, self._judge, self._clock, self._stop, self._waiting)

    def _end(self, status: RunStatus, reason: str = "") -> RunState:
        self._recorder.run_status(status, reason)
        return self._recorder.state
