"""The life of one step: gates, converge, gates again; and its way back."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from orchestrator.actions.action import Action, Outcome, Waypoint
from orchestrator.engine.recorder import Recorder
from orchestrator.engine.remaining import stand_upon
from orchestrator.engine.stopping import Cause, StepWatch, StopRequest, Waiting
from orchestrator.errors import FailoverError, Fenced, JournalError, Stop, TimedOut
from orchestrator.model.check import Verdict
from orchestrator.model.plan import Plan, PlannedStep, State
from orchestrator.model.runbook import ReturnStep, ShiftStep, VerifyStep
from orchestrator.model.units import format_duration
from orchestrator.model.value import Value
from orchestrator.ports import Clock
from orchestrator.status import StepStatus

AnyAction = Action[Value]

UNDO_TRIES = 3
UNDO_WITHIN = 3600.0
"""Seconds for which an undo may wait, however short the step's own timeout is: clients may meet the old answer for as
long as a TTL."""

UNDO_PAUSE = 5.0
"""An undo that fails, or whose gate does not open, is tried so often, with so many seconds between."""

LOOK_EVERY = 0.25
"""Seconds between two looks for approvals that people give in other terminals."""

HARD_STOP = 10.0
"""Seconds that a converge has, after its step's timeout or an urgent stop, to end by itself before it is cancelled."""

log = structlog.get_logger(__name__)


class Judge(Protocol):
    """Who judges checks."""

    async def judge(self, name: str, progress: Callable[[str], None]) -> Verdict:
        """The verdict of the runbook's check ``name``; ``progress`` hears lines that name it."""

    async def healthy(self, pool: str, site: str) -> Verdict:
        """Whether every member of the pool at the site answers a whole transaction."""


class StepFailed(Exception):  # noqa: N818 - control flow inside the engine
    """The step has failed; ``refused`` when it had touched nothing."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


class StepStuck(Exception):  # noqa: N818 - control flow inside the engine
    """Only a person can tell how to go on."""


@dataclass(frozen=True, slots=True)
class StepRunner:
    """Runs steps of one run, forward and back."""

    plan: Plan
    actions: Mapping[str, AnyAction]
    """By step id; ``verify`` steps have none."""
    recorder: Recorder
    judge: Judge
    clock: Clock
    stop: StopRequest
    waiting: Waiting
    paced: bool = False
    """Whether the way back has the waypoints of the way out, with their pauses."""

    async def forward(self, planned: PlannedStep) -> None:
        """Take the step to ``done``, in as many tries as the runbook allows.

        Raises:
            StepFailed: a gate stayed shut or the action failed; the step's status says so.
            StepStuck: after a crash the world cannot be read.
            Stop: the run was asked to stop; the step is resumable.
        """
        retries = planned.step.retries
        for pause in (*(retries.pauses() if retries else ()), None):
            try:
                await self._try(planned)
                return
            except StepFailed as failure:
                if pause is None:
                    self._failed(planned, failure)
                    raise
                failed = failure
                text = f"{failure.reason}; tries again in {format_duration(pause)}"
            self.recorder.progress(planned.id, text, {})
            await self._before_the_next_try(planned, pause, failed)

    async def _before_the_next_try(self, planned: PlannedStep, pause: float, failure: StepFailed) -> None:
        """Wait. A person who aborts in between does not want another try, so that the last one has failed."""
        try:
            await self._watch(planned).pause(pause)
        except Stop as stop:
            if self.stop.cause is not Cause.ABORTED:
                raise
            self._failed(planned, failure)
            raise failure from stop

    def _failed(self, planned: PlannedStep, failure: StepFailed) -> None:
        self._status(planned, StepStatus.REFUSED if failure.refused else StepStatus.FAILED, failure.reason)

    async def _try(self, planned: PlannedStep) -> None:
        attempt = self.recorder.step_state(planned.id).attempt + 1
        self._status(planned, StepStatus.GATING, attempt=attempt)
        in_one_go = not self.recorder.step_state(planned.id).changed
        try:
            await self._approved(planned)
            began = self.clock.monotonic()
            watch = self._watch(planned, timeout=planned.step.timeout)
            if isinstance(planned.step, VerifyStep):
                await self._gates(planned, planned.step.checks, "checks", watch)
                self._status(planned, StepStatus.DONE)
            else:
                await self._converge_along_route(planned, watch)
            if in_one_go:
                self._took(planned, "back" if planned.returns else "out", began)
        except (JournalError, StepStuck, StepFailed):
            raise
        except (FailoverError, TimedOut) as error:
            raise StepFailed(str(error)) from error
        except Stop:
            raise
        except Exception as error:
            raise StepFailed(_bug(planned, error)) from error

    async def _approved(self, planned: PlannedStep) -> None:
        """Wait until people have approved the step, where they must. A wait for people has no timeout.

        What asks for itself, as a hold or a manual step, does not ask twice; of a return only its first part asks.
        """
        wanted = planned.step.approval
        if wanted is None or (not isinstance(planned.step, VerifyStep) and self._action(planned).asks):
            return
        if isinstance(planned.step, ReturnStep) and planned.returns != planned.step.steps[0]:
            return
        watch = self._watch(planned)
        if not watch.approval():
            people = "an approval" if wanted.people == 1 else f"the approval of {wanted.people} people"
            watch.hold(f"for {people}" + (f": {wanted.ask}" if wanted.ask else ""))
        while not watch.approval():
            await watch.pause(LOOK_EVERY)
        self.waiting.end(planned.id)

    def _watch(self, planned: PlannedStep, *, timeout: float | None = None) -> StepWatch:
        wanted = planned.step.approval
        people = wanted.people if wanted else 1
        return StepWatch(planned.id, self.recorder, self.stop, self.clock, self.waiting, timeout=timeout, people=people)

    async def _converge_along_route(self, planned: PlannedStep, watch: StepWatch) -> None:
        self._refuse_from_under(planned)
        action = self._action(planned)
        state = self.recorder.step_state(planned.id)
        now = await self._observe(planned, action)
        start = (
            action.state.model_validate(state.start) if state.start is not None else self._start(planned, action, now)
        )
        target = self._target(planned, action, start)
        if action.reached(now, target):
            await self._confirm(planned, action, start, target, watch)
            return
        await self._gates(planned, planned.step.before, "before", watch)
        await self._receivers_healthy(planned, action, now, target, watch)
        await self._still_fit(planned, action, watch)
        for waypoint in action.route(now, target):
            watch.check()
            await self._go(planned, action, start, waypoint, "back" if planned.returns else "out", watch)
            if waypoint.pause:
                await watch.pause(waypoint.pause)
            self._status(planned, StepStatus.VERIFYING, waypoint.label)
            await self._gates(planned, planned.step.after, "after", watch)
        self._status(planned, StepStatus.DONE)

    def _refuse_from_under(self, planned: PlannedStep) -> None:
        """Nothing is returned from under a step that stands; nor where nothing is to do, as it counted as back."""
        name = planned.returns
        if name is None or not (standing := stand_upon(self.plan, self.recorder.state, name, self.actions)):
            return
        later = standing[0].id
        why = f"cannot return {name}: {later} was done after it, moved the same and stands"
        remedy = f"return {later} first, or undo the run"
        raise StepFailed(f"{why} — {remedy}", refused=not self.recorder.step_state(planned.id).changed)

    async def _confirm(
        self, planned: PlannedStep, action: AnyAction, start: Value, target: Value, watch: StepWatch
    ) -> None:
        """The world is as wanted. Where this run had a part in that, the rest of it may not have been done.

        What can be observed is not all that a converge does: a drain waits for its queues, too. So it is done again,
        which changes nothing where nothing is left, and then the gates after it are asked.
        """
        state = self.recorder.step_state(planned.id)
        if not state.changed:
            self._status(planned, StepStatus.NOTHING, "already as wanted")
            return
        direction = "back" if planned.returns else "out"
        await self._go(planned, action, start, Waypoint(target, label="as wanted"), direction, watch)
        self._status(planned, StepStatus.VERIFYING, "already as wanted")
        await self._gates(planned, planned.step.after, "after", watch)
        self._status(planned, StepStatus.DONE, "already as wanted")

    def _start(self, planned: PlannedStep, action: AnyAction, now: Value) -> Value:
        """What is there before the step: of what only people know, that the step to be returned was done."""
        recorded = self.recorder.step_state(planned.returns).start if planned.returns else None
        return action.target(action.state.model_validate(recorded)) if recorded and action.asks else now

    def _target(self, planned: PlannedStep, action: AnyAction, start: Value) -> Value:
        """What the step wants: for a return, what was recorded before the step that it returns."""
        if planned.returns is None:
            return action.target(start)
        recorded = self.recorder.step_state(planned.returns).start
        return action.state.model_validate(recorded) if recorded is not None else start

    async def take_back(self, planned: PlannedStep) -> None:
        """Bring the step's part of the world back to what was recorded before it.

        Raises:
            StepStuck: it cannot be brought back, after several tries.
            Stop: the run was asked to stop; resuming goes on with the undo.
        """
        for attempt in range(1, UNDO_TRIES + 1):
            self._status(planned, StepStatus.UNDOING, "" if attempt == 1 else f"try {attempt} of {UNDO_TRIES}")
            try:
                await self._take_back_once(planned)
                return
            except JournalError:
                raise
            except (FailoverError, StepFailed, TimedOut) as error:
                reason = str(error)
            except Stop:
                raise
            except Exception as error:
                reason = _bug(planned, error)
            if attempt < UNDO_TRIES:
                await self._watch(planned).pause(self._undo_pause(planned))
        self._status(planned, StepStatus.STUCK, reason)
        raise StepStuck(f"{planned.id} could not be undone: {reason}")

    def _undo_pause(self, planned: PlannedStep) -> float:
        """Who goes back by waypoints has the time to wait as long as between two of them."""
        if self.paced and isinstance(planned.step, ShiftStep):
            return max(UNDO_PAUSE, planned.step.with_.pause)
        return UNDO_PAUSE

    async def _take_back_once(self, planned: PlannedStep) -> None:
        began = self.clock.monotonic()
        action, recorded = self._action(planned), self.recorder.step_state(planned.id).start
        if recorded is None:
            self._status(planned, StepStatus.UNDONE, "had touched nothing")
            return
        start, now = action.state.model_validate(recorded), await action.observe()
        watch, there = self._watch(planned), action.reached(now, start)
        if there and (action.effect(start) is None or not self._is_loose(planned)):
            self._status(planned, StepStatus.UNDONE, "is as it was before")
            return
        # After a converge that did not end well, what can be observed is not all: a write may not have taken hold yet.
        for waypoint in [Waypoint(start, label="as before")] if there else self._way_back(action, now, start):
            await self._receivers_healthy(planned, action, now, waypoint.state, watch)
            await self._go(planned, action, start, waypoint, "undo", watch)
            if waypoint.pause:
                await watch.pause(waypoint.pause)
            now = waypoint.state
        self._status(planned, StepStatus.UNDONE, "is as it was before")
        if not self.paced:
            self._took(planned, "undo", began)

    def _is_loose(self, planned: PlannedStep) -> bool:
        """Whether somebody was killed or stopped while they did it or returned it, or failed at that."""
        names = [planned.id, *(step.id for step in self.plan.steps if step.returns == planned.id)]
        return any(self.recorder.step_state(name).loose for name in names)

    def _way_back(self, action: AnyAction, now: Value, start: Value) -> Sequence[Waypoint[Value]]:
        """As the way out, or in one move: after a failure the site that loses the traffic is in trouble."""
        return action.route(now, start) if self.paced else [Waypoint(start, label="as before")]

    async def _go(
        self,
        planned: PlannedStep,
        action: AnyAction,
        start: Value,
        waypoint: Waypoint[Value],
        direction: str,
        watch: StepWatch,
    ) -> None:
        """Intent, converge, outcome; then look whether the world agrees."""
        intent: State = {
            "start": _json(start),
            "to": _json(waypoint.state),
            "waypoint": waypoint.label,
            "direction": direction,
        }
        if direction == "undo":
            self.recorder.intent(planned.id, intent, StepStatus.UNDOING, self.recorder.step_state(planned.id).reason)
        else:
            self.recorder.intent(planned.id, intent, StepStatus.CONVERGING, waypoint.label)
        try:
            with watch.underway():
                outcome = await self._bounded(action, waypoint.state, watch, _limit(planned.step.timeout, direction))
        except (Fenced, JournalError):
            raise
        except Stop as stop:
            self._outcome(planned, "stopped", stop.reason)
            raise
        except Exception as error:
            self._outcome(planned, "failed", str(error))
            raise
        if not outcome.reached:
            self._outcome(planned, "failed", outcome.reason)
            raise StepFailed(outcome.reason)
        now = await action.observe()
        if not action.reached(now, waypoint.state):
            differs = "; ".join(action.describe(now, waypoint.state)) or "the observed state differs"
            self._outcome(planned, "failed", f"did not hold: {differs}")
            raise StepFailed(f"the change did not hold, still to do: {differs}")
        self._outcome(planned, "reached", "")

    async def _bounded(self, action: AnyAction, to: Value, watch: StepWatch, timeout: float | None) -> Outcome:
        """Converge; when it does not stop by itself, at its step's timeout or when it must, cancel it."""
        try:
            async with self.stop.limited(None if timeout is None else timeout + HARD_STOP, HARD_STOP) as limit:
                return await action.converge(to, watch)
        except TimeoutError as error:
            if not limit.expired():
                raise
            if self.stop.urgent:
                raise Stop(f"{self.stop.reason}; it did not stop by itself and was cancelled") from error
            raise TimedOut("it did not stop at its timeout and was cancelled") from error

    async def _observe(self, planned: PlannedStep, action: AnyAction) -> Value:
        state = self.recorder.step_state(planned.id)
        try:
            return await action.observe()
        except FailoverError as error:
            if state.in_doubt:
                raise StepStuck(
                    f"it is not known how far the step had come, and the world cannot be read: {error}"
                ) from error
            raise StepFailed(str(error), refused=not state.changed) from error

    async def _still_fit(self, planned: PlannedStep, action: AnyAction, watch: StepWatch) -> None:
        """Ask again, before the first write, what the plan asked: the world may have moved since, also during gates.

        Not on the way back: a return goes to what was there before, and is gated by the health of who gets traffic.
        """
        if planned.returns is not None or self.recorder.step_state(planned.id).changed:
            return
        try:
            problems = await action.preflight()
        except FailoverError as error:
            raise StepFailed(str(error), refused=True) from error
        watch.check()
        if problems:
            raise StepFailed("; ".join(problems), refused=True)

    async def _gates(self, planned: PlannedStep, checks: Sequence[str], gate: str, watch: StepWatch) -> None:
        for name in checks:
            self.recorder.progress(planned.id, f"{name} …", {})

            def tell(text: str) -> None:
                self.recorder.progress(planned.id, text, {})

            verdict = await watch.bounded(self.judge.judge(name, tell))
            self._verdict(planned, verdict, gate)
            watch.check()
            if not verdict.passed:
                refused = gate != "after" and not self.recorder.step_state(planned.id).changed
                raise StepFailed(f"{name} {_found(verdict)}: {verdict.reason}", refused=refused)

    async def _receivers_healthy(
        self, planned: PlannedStep, action: AnyAction, start: Value, end: Value, watch: StepWatch
    ) -> None:
        """Never send traffic to a site that does not answer."""
        for pool, site in action.receivers(start, end):
            verdict = await watch.bounded(self.judge.healthy(pool, site))
            self._verdict(planned, verdict, "health")
            if not verdict.passed:
                refused = not self.recorder.step_state(planned.id).changed
                raise StepFailed(f"{site} must not get traffic, {verdict.reason}", refused=refused)

    def _action(self, planned: PlannedStep) -> AnyAction:
        return self.actions[planned.returns or planned.id]

    def _status(
        self, planned: PlannedStep, status: StepStatus, reason: str = "", *, attempt: int | None = None
    ) -> None:
        self.recorder.step_status(planned.id, status, reason, attempt=attempt)

    def _outcome(self, planned: PlannedStep, result: str, reason: str) -> None:
        self.recorder.record("outcome", planned.id, {"result": result, "reason": reason})

    def _took(self, planned: PlannedStep, direction: str, began: float) -> None:
        """Keep how long the try took that has just ended well; of what people decide that tells nothing."""
        if planned.timed is None or self.recorder.step_state(planned.id).status is StepStatus.NOTHING:
            return
        seconds = round(self.clock.monotonic() - began, 3)
        data: State = {**planned.timed.model_dump(mode="json"), "direction": direction, "seconds": seconds}
        self.recorder.record("duration", planned.id, data)

    def _verdict(self, planned: PlannedStep, verdict: Verdict, gate: str) -> None:
        self.recorder.record("verdict", planned.id, {**verdict.model_dump(mode="json"), "gate": gate})


def _limit(timeout: float | None, direction: str) -> float | None:
    """How long one converge may take; the timeout of the way out is not that of the way back, which must be gone."""
    return timeout if timeout is None or direction != "undo" else max(timeout, UNDO_WITHIN)


def _found(verdict: Verdict) -> str:
    return "failed" if verdict.judgement == "fail" else "could not be judged"


def _bug(planned: PlannedStep, error: Exception) -> str:
    """A bug of ours is a failure that gets undone, not a crash half-way; the log has the traceback."""
    with suppress(Exception):  # a log that cannot be written is no reason to stop half-way
        log.error("step.bug", step=planned.id, traceback=traceback.format_exc())
    return f"a bug in {planned.step.do}: {type(error).__name__}: {error}"


def _json(state: Value) -> State:
    return state.model_dump(mode="json", by_alias=True)
