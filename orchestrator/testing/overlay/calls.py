"""How calls go in a test's world: one at a time, and without waiting in real time between tries.

botocore waits with ``time.sleep`` before it tries again, and in its waiters. In a world these waits move the world's
clock instead, by just as much: a retry takes its time, and what would have happened meanwhile has happened. The jitter
of a back-off comes from the world's seed, the operation and the number of the try, so that it is the same every time,
whatever other threads do. (The client-side rate limit of the retry mode "adaptive" still waits in real time.)
"""

from __future__ import annotations

from copy import copy
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.testing.overlay.patches import Patches

if TYPE_CHECKING:
    from orchestrator.testing.overlay.world import AwsWorld


class Wait(NamedTuple):
    """A wait of botocore's, between two tries or two looks of a waiter."""

    at: float
    """The clock's ``monotonic`` when it began."""
    seconds: float


class Calls:
    """The serial order of calls, and their waits."""

    def __init__(self) -> None:
        self._patches = Patches()
        self._waits: list[Wait] = []

    @property
    def waits(self) -> tuple[Wait, ...]:
        """Every wait of botocore's until now, in order."""
        return tuple(self._waits)

    def install(self, world: AwsWorld) -> None:
        """Take the place of ``time`` where botocore waits, and let one call at a time into moto."""
        import botocore.endpoint
        import botocore.retryhandler
        import botocore.waiter
        from botocore.retries.standard import ExponentialBackoff
        from moto.core.responses import BaseResponse

        self._clock, self._seed = world.clock, world.seed
        for module in (botocore.endpoint, botocore.waiter):
            self._patches.replace(module, "time", _Time(module.time, self._wait))
        self._patches.wrap(ExponentialBackoff, "delay_amount", self._delay)
        self._patches.replace(botocore.retryhandler, "random", Random(self._seed))  # of the mode "legacy"
        # Behind the HTTP of a server just as in the client's own thread: moto's backends know no locks.
        self._patches.wrap(BaseResponse, "_dispatch", self._dispatch)

    def remove(self) -> None:
        """Let calls wait in real time again."""
        self._patches.remove()

    def _wait(self, seconds: float) -> None:
        with self._clock.lock:
            self._waits.append(Wait(self._clock.monotonic(), seconds))
            self._clock.advance(seconds)

    def _delay(self, original: Any, backoff: Any, context: Any) -> float:
        draw = Random(f"{self._seed} {context.operation_model.name} {context.attempt_number}")
        backoff = copy(backoff)  # other threads wait by the same one
        backoff._random = draw.random
        return float(original(backoff, context))

    def _dispatch(self, original: Any, response: Any, *arguments: Any, **named: Any) -> Any:
        with self._clock.lock:
            return original(response, *arguments, **named)


class _Time:
    """The module ``time`` as one module of botocore sees it: as always, but for ``sleep``."""

    def __init__(self, real: Any, sleep: Any) -> None:
        self._real = real
        self.sleep = sleep

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
