"""How a run is asked to stop, and what a step hears of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from orchestrator.engine.recorder import Recorder
from orchestrator.errors import Fenced, Stop, TimedOut
from orchestrator.model.units import format_duration
from orchestrator.ports import Clock
from orchestrator.status import RunStatus

T = TypeVar("T")


class Cause(Enum):
    """Why a run stops; it decides what comes after."""

    INTERRUPTED = "interrupted"
    """A signal: leave the run resumable."""
    GUARD = "guard"
    """A guard is broken: the failure path."""
    SIBLING = "sibling"
    """A parallel step has failed: the failure path."""
    ABORTED = "aborted"
    """A person wishes it: undo or hold, as they said."""


@dataclass(slots=True)
class StopRequest:
    """Set once, heard by every step of the run at its next safe point.

    A *gentle* request lets a waypoint that is under way be reached first; an urgent one may follow it.
    """

    cause: Cause | None = None
    reason: str = ""
    urgent: bool = False
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _hurried: asyncio.Event = field(default_factory=asyncio.Event)
    _limits: dict[asyncio.Timeout, float] = field(default_factory=dict)

    def ask(self, cause: Cause, reason: str) -> None:
        """Ask the run to stop at its next safe point; the first such reason stands."""
        if not self.urgent:
            self.cause, self.reason, self.urgent = cause, reason, True
            self._asked.set()
            self._hurried.set()
            self._hurry()

    def ask_gently(self, cause: Cause, reason: str) -> None:
        """Ask the run to stop once the waypoints that are under way are reached."""
        if self.cause is None:
            self.cause, self.reason = cause, reason
            self._asked.set()

    def check(self, *, underway: bool = False) -> None:
        """Raise ``Stop`` when the run was asked to; between two waypoints, or ``underway`` to one."""
        if self.cause is not None and (self.urgent or not underway):
            raise Stop(self.reason)

    async def unless_stopped(self, work: Awaitable[T], *, underway: bool = False) -> T:
        """Await ``work``; when the run is asked to stop first, cancel it and raise ``Stop``."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future((self._hurried if underway else self._asked).wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Stop(self.reason)
        finally:
            for one in (task, stopped):
                one.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    @asynccontextmanager
    async def limited(self, seconds: float | None, patience: float) -> AsyncIterator[asyncio.Timeout]:
        """Cancel the block after ``seconds``, or ``patience`` seconds after an urgent request that it does not hear."""
        async with asyncio.timeout(seconds) as limit:
            self._limits[limit] = patience
            self._hurry()
            try:
                yield limit
            finally:
                del self._limits[limit]

    def _hurry(self) -> None:
        for limit, patience in self._limits.items():
            when = asyncio.get_running_loop().time() + patience
            if self.urgent and not limit.expired() and when < (limit.when() or math.inf):
                limit.reschedule(when)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The steps that wait for time or for people; the run is held while there is one."""

    recorder: Recorder
    steps: dict[str, str] = field(default_factory=dict)
    """Each with what it waits for."""

    def begin(self, step: str, reason: str) -> None:
        """``step`` waits. A run that is being undone stays so: it says what it waits for as progress."""
        self.steps[step] = reason
        if self.recorder.state.undoing:
            self.recorder.progress(step, f"waits {reason}", {})
        else:
            self.recorder.run_status(RunStatus.HELD, f"{step} waits {reason}")

    def end(self, step: str) -> None:
        """``step`` waits no longer."""
        ended = self.steps.pop(step, None)
        if ended is None or self.recorder.state.status is not RunStatus.HELD:
            return
        for other, reason in self.steps.items():
            self.recorder.run_status(RunStatus.HELD, f"{other} waits {reason}")
            return
        self.recorder.run_status(RunStatus.RUNNING)


class StepWatch:
    """The ``Watch`` of one step's attempt. ``timeout`` is in seconds; ``people`` must approve, where it waits."""

    def __init__(
        self,
        step: str,
        recorder: Recorder,
        stop: StopRequest,
        clock: Clock,
        waiting: Waiting,
        *,
        timeout: float | None = None,
        people: int = 1,
    ) -> None:
        self._step = step
        self._recorder = recorder
        self._stop = stop
        self._clock = clock
        self._waiting = waiting
        self._timeout = timeout
        self._people = people
        self._began = clock.monotonic()
        self._underway = False

    @contextmanager
    def underway(self) -> Iterator[None]:
        """While the step moves to a waypoint, a gentle request to stop is not for it, unless it only waits."""
        self._underway = True
        try:
            yield
        finally:
            self._underway = False

    @property
    def clock(self) -> Clock:
        """The run's clock."""
        return self._clock

    def fence(self) -> None:
        """See ``Watch.fence``."""
        self.check()
        if not self._recorder.is_owner():
            raise Fenced(f"another orchestrator has taken over run {self._recorder.run}")

    async def pause(self, seconds: float) -> None:
        """See ``Watch.pause``."""
        self.check()
        await self._stop.unless_stopped(self._clock.sleep(seconds), underway=self._underway)
        self.check()

    async def bounded(self, work: Awaitable[T]) -> T:
        """Await ``work``; when the run is asked to stop or the step's timeout is over, cancel it and raise that."""
        left = None if self._timeout is None else self._timeout - (self._clock.monotonic() - self._began)
        try:
            async with asyncio.timeout(left) as limit:
                return await self._stop.unless_stopped(work, underway=self._underway)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._timed_out() from error

    def progress(self, text: str, **numbers: float) -> None:
        """See ``Watch.progress``."""
        self._recorder.progress(self._step, text, numbers)

    def hold(self, reason: str) -> None:
        """See ``Watch.hold``. There is no waypoint that waiting would reach."""
        self._underway = False
        self._waiting.begin(self._step, reason)

    def approval(self) -> str | None:
        """See ``Watch.approval``; None while fewer have approved than must."""
        self._recorder.refresh()
        approvers = self._recorder.step_state(self._step).approvers
        return ", ".join(approvers) if len(approvers) >= self._people else None

    def elapsed(self) -> float:
        """See ``Watch.elapsed``."""
        began = self._recorder.step_state(self._step).began
        return self._clock.now() - began if began is not None else 0.0

    def check(self) -> None:
        """Raise ``Stop`` when the run must stop, or ``TimedOut``."""
        self._stop.check(underway=self._underway)
        if self._timeout is not None and self._clock.monotonic() - self._began > self._timeout:
            raise self._timed_out()

    def _timed_out(self) -> TimedOut:
        return TimedOut(f"not done after its timeout of {format_duration(self._timeout or 0.0)}")
