"""Samples: how probes are made to yield them, and what they add up to."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from orchestrator.model.check import Sample
from orchestrator.model.units import Threshold
from orchestrator.ports import Clock

SHORTEST_GAP: Final = 0.02
"""Seconds between two starts of one worker at least, so that a fast target is measured, not flooded."""

GAP_AFTER_FAILURE: Final = 0.2
"""Seconds of rest after a failure: a refused connection takes no time, and a sick server needs no more load."""

_PERCENTILES: Final = {"p50": 50, "p95": 95, "p99": 99}
_REASONS_SHOWN: Final = 3


class Probe(Protocol):
    """Makes one measurement at a time; several may be under way at once."""

    async def sample(self) -> Sample:
        """Measure once. Trouble is in the sample: failed where the target is at fault, else broken."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How hard a probe works: workers, seconds of rest of each, and a rate that all together stay under."""

    concurrency: int
    pause: float = 0.0
    per_second: float = math.inf

    def rest(self, worked: float, ok: bool) -> float:
        """Seconds that a worker waits after a measurement that took ``worked`` seconds."""
        gap = max(SHORTEST_GAP, self.concurrency / self.per_second)
        return max(self.pause, gap - worked, 0.0 if ok else GAP_AFTER_FAILURE)


async def collect(
    probe: Probe,
    pace: Pace,
    clock: Clock,
    enough: Callable[[Sample], bool],
    *,
    seconds: float = math.inf,
    most: float = math.inf,
) -> list[Sample]:
    """Measure until ``enough`` says so, and begin no measurement after ``seconds`` or beyond ``most`` of them.

    Samples are handed to ``enough``, and returned, in the order in which they were *begun*. A fault that shows as
    a timeout comes back long after successes that were begun later; in the order of arrival a sequential test
    would see the successes of all workers first, and call a broken path good. For the same reason what is under
    way at the end of the time is waited for. When ``enough`` is satisfied, what was begun later is cancelled.
    """
    collection = _Collection(enough)
    end = clock.monotonic() + seconds
    numbers = itertools.count()

    async def work() -> None:
        while (began := clock.monotonic()) < end and (number := next(numbers)) < most:
            sample = await probe.sample()
            if collection.add(number, sample):
                for worker in workers:
                    worker.cancel()
                return
            now = clock.monotonic()
            rest = pace.rest(now - began, sample.ok)
            if now + rest >= end:
                return
            await clock.sleep(rest)

    try:
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(work()) for _ in range(pace.concurrency)]
    except BaseExceptionGroup as raised:
        raise raised.exceptions[0] from None  # what ``enough`` raises, the caller expects as it is
    return collection.in_order


class _Collection:
    """Samples that arrive in any order, and are released in the order of their numbers."""

    def __init__(self, enough: Callable[[Sample], bool]) -> None:
        self._enough = enough
        self._waiting: dict[int, Sample] = {}
        self._satisfied = False
        self.in_order: list[Sample] = []

    def add(self, number: int, sample: Sample) -> bool:
        """Take a sample; whether enough have been released."""
        self._waiting[number] = sample
        while not self._satisfied and (following := self._waiting.pop(len(self.in_order), None)) is not None:
            self.in_order.append(following)
            self._satisfied = self._enough(following)
        return self._satisfied


def measured(metric: str, threshold: Threshold, samples: Sequence[Sample]) -> float:
    """The number that ``metric`` stands for, over samples of which none is broken; NaN where there is none.

    * ``success_rate``: a fraction of one.
    * ``p50``, ``p95``, ``p99``: seconds over successful samples, by nearest rank, so never between two values seen.
    * ``certificate_days``: the least, since one server with an old certificate is enough for trouble.
    * ``sessions``: the first count that breaks ``threshold``, else the last one.
    """
    if metric == "success_rate":
        share = sum(sample.ok for sample in samples) / len(samples) if samples else math.nan
        # 999 of 1,000 is 99.9%, whichever way floats have rounded the one and the other.
        return threshold.bound if math.isclose(share, threshold.bound, rel_tol=1e-9) else share
    if metric in _PERCENTILES:
        return percentile(_PERCENTILES[metric], [sample.seconds for sample in samples if sample.ok])
    if metric == "certificate_days":
        days = [sample.certificate_days for sample in samples if sample.certificate_days is not None]
        return min(days, default=math.nan)
    if metric == "sessions":
        counts = [sample.value for sample in samples if sample.value is not None]
        return next((count for count in counts if not threshold.holds(count)), counts[-1] if counts else math.nan)
    raise ValueError(f"no probe measures {metric!r}")


def percentile(percent: int, numbers: Sequence[float]) -> float:
    """The nearest-rank percentile: the least number that ``percent`` percent of all do not exceed; NaN of none."""
    if not numbers:
        return math.nan
    rank = math.ceil(percent * len(numbers) / 100)
    return sorted(numbers)[max(rank, 1) - 1]


def reasons(samples: Sequence[Sample]) -> str:
    """The reasons of failed or broken samples with their counts, the most frequent first."""
    counts = Counter(sample.reason or "no reason given" for sample in samples)
    shown = [f"{reason} ({count})" for reason, count in counts.most_common(_REASONS_SHOWN)]
    rest = len(samples) - sum(count for _, count in counts.most_common(_REASONS_SHOWN))
    return ", ".join([*shown, f"others ({rest})"] if rest else shown)
