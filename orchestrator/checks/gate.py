"""The gate: takes the samples that a check asks for, and has them judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from orchestrator.checks.delivery import DeliveryProbe
from orchestrator.checks.samples import Pace, Probe, collect
from orchestrator.checks.sessions import SessionsProbe
from orchestrator.checks.smtp import SmtpProbe
from orchestrator.checks.verdicts import MINIMUM_SAMPLES, Detection, all_hold, judge, judge_health
from orchestrator.errors import OutsideError
from orchestrator.model.check import (
    Aim,
    Check,
    Detect,
    Judgement,
    Sample,
    SessionsCheck,
    SmtpArguments,
    SmtpCheck,
    Verdict,
)
from orchestrator.model.inventory import Pool
from orchestrator.model.traffic import MemberReading
from orchestrator.model.units import Threshold, format_duration
from orchestrator.ports import Clock, Outside

__all__ = ["Gatekeeper", "Progress", "judge", "silent"]

DEFAULT_WINDOW: Final = 10.0
"""Seconds that a check without ``over`` measures."""

HOPELESS_FAILURES: Final = 5
HOPELESS_FACTOR: Final = 10
"""A window is given up early at 5 failures *and* ten times the failing share that is allowed.

At a failing share that is just allowed this happens in fewer than 1 of 1,000 windows; it saves the rest of the
window, and the target the load, where nothing works.
"""

HEALTH_TRANSACTIONS: Final = 4
"""Transactions for each member of a site that ``healthy`` makes: a switch that takes turns reaches each one."""

_LOOK_GAP: Final = 0.1
_SHORTEST_WAIT: Final = 0.001
_TICK: Final = 1.0

Progress = Callable[[str], None]


def silent(_: str) -> None:
    """For those who do not watch."""


class _Hopeless:
    """Whether a window can as well be given up: see ``HOPELESS_FACTOR``."""

    def __init__(self, expect: Mapping[str, Threshold]) -> None:
        threshold = expect.get("success_rate")
        rising = threshold is not None and threshold.compare in {">=", ">"}
        self._allowed = 1 - threshold.bound if threshold is not None and rising else math.inf
        self._samples = self._failures = 0

    def add(self, sample: Sample) -> bool:
        """Take a sample; whether enough is seen."""
        if sample.broken:
            return False
        self._samples += 1
        self._failures += not sample.ok
        far = self._failures >= HOPELESS_FACTOR * self._allowed * self._samples
        return self._failures >= HOPELESS_FAILURES and far


class _Ticker:
    """Passes progress on, at most once a second."""

    def __init__(self, name: str, clock: Clock, progress: Progress) -> None:
        self._name = name
        self._clock = clock
        self._progress = progress
        self._began = self._last = clock.monotonic()
        self._samples = self._failures = 0

    def count(self, sample: Sample) -> None:
        self._samples += 1
        self._failures += not sample.ok

    def window(self, seconds: float) -> str:
        elapsed = format_duration(min(seconds, self._clock.monotonic() - self._began))
        return f"{elapsed} of {format_duration(seconds)}, {self._samples} probes, {self._failures} failed"

    def tell(self, text: Callable[[], str]) -> None:
        now = self._clock.monotonic()
        if now - self._last >= _TICK:
            self._last = now
            self._progress(f"{self._name}: {text()}")


class Gatekeeper:
    """Takes the samples that a check asks for, and judges them."""

    def __init__(self, checks: Mapping[str, Check], outside: Outside, clock: Clock) -> None:
        self._checks = checks
        self._outside = outside
        self._clock = clock

    async def judge(self, name: str, progress: Progress = silent) -> Verdict:
        """Measure and judge the check called ``name``; ``progress`` hears about it at most once a second."""
        check = self._checks[name]
        return await self._measure(name, check, _pace(check), progress)

    async def judge_lightly(self, name: str, per_second: float) -> Verdict:
        """As ``judge``, but with at most so many measurements a second, for as long as the claim then needs."""
        check = self._checks[name]
        pace = _pace(check)
        light = Pace(min(pace.concurrency, 4), pause=pace.pause, per_second=per_second)
        if check.expect and check.for_ is None:
            long_enough = 2 * MINIMUM_SAMPLES / per_second
            check = check.model_copy(update={"over": max(check.over or DEFAULT_WINDOW, long_enough)})
        return await self._measure(name, check, light, silent)

    async def healthy(self, pool: str, site: str) -> Verdict:
        """Whether a site can be sent traffic: the switch finds no member down, and every transaction succeeds.

        The transactions take the site's own path (``address``), ``HEALTH_TRANSACTIONS`` for each member, with
        STARTTLS where the inventory says how certificates are verified.
        """
        name = f"{pool}@{site} healthy"
        try:
            readings = await self._outside.switch(pool).read()
        except OutsideError as error:
            return Verdict(check=name, judgement=Judgement.UNKNOWN, reason=f"the switch cannot be read: {error}")
        unfit = _unfit_members(self._outside.inventory.pools[pool], site, readings)
        if unfit:
            return Verdict(check=name, judgement=Judgement.FAIL, reason=unfit)
        return judge_health(name, await self._health_samples(Aim(pool=pool, site=site)))

    async def _health_samples(self, aim: Aim) -> list[Sample]:
        pool = self._outside.inventory.pools[aim.pool]
        arguments = SmtpArguments(starttls=pool.test_mail.ca_file is not None)
        most = HEALTH_TRANSACTIONS * (len(pool.members(aim.site)) if aim.site else 1)
        probe = SmtpProbe(aim, arguments, self._outside)
        return await collect(probe, Pace(min(most, 8)), self._clock, lambda sample: not sample.ok, most=most)

    async def _measure(self, name: str, check: Check, pace: Pace, progress: Progress) -> Verdict:
        ticker = _Ticker(name, self._clock, progress)
        probe = self._probe(check)
        if check.detect is not None:
            samples = await self._detect(check.detect, probe, pace, ticker, check.over or math.inf)
        elif check.for_ is not None:
            samples = await self._look(check, check.for_, probe, pace, ticker)
        else:
            samples = await self._over(check, probe, pace, ticker)
        return judge(name, check, samples)

    async def _detect(self, detect: Detect, probe: Probe, pace: Pace, ticker: _Ticker, seconds: float) -> list[Sample]:
        try:
            detection = Detection(detect)
        except ValueError:
            return []  # ``judge`` says why

        def enough(sample: Sample) -> bool:
            ticker.tell(lambda: detection.progress)
            return detection.add(sample)

        return await collect(probe, pace, self._clock, enough, seconds=seconds)

    async def _over(self, check: Check, probe: Probe, pace: Pace, ticker: _Ticker) -> list[Sample]:
        seconds = DEFAULT_WINDOW if check.over is None else check.over
        hopeless = _Hopeless(check.expect)

        def enough(sample: Sample) -> bool:
            ticker.count(sample)
            ticker.tell(lambda: ticker.window(seconds))
            return hopeless.add(sample)

        return await collect(probe, pace, self._clock, enough, seconds=seconds)

    async def _look(self, check: Check, seconds: float, probe: Probe, pace: Pace, ticker: _Ticker) -> list[Sample]:
        """One look after the other; the last one begins when the time is over, not before."""
        end = self._clock.monotonic() + seconds
        gap = max(pace.pause, _LOOK_GAP, 1 / pace.per_second)
        samples: list[Sample] = []
        while True:
            left = end - self._clock.monotonic()
            samples.append(await probe.sample())
            ticker.count(samples[-1])
            ticker.tell(lambda: ticker.window(seconds))
            if left <= 0 or not all_hold(check.expect, samples[-1]):
                return samples
            await self._clock.sleep(min(gap, max(end - self._clock.monotonic(), _SHORTEST_WAIT)))

    def _probe(self, check: Check) -> Probe:
        if isinstance(check, SmtpCheck):
            return SmtpProbe(check.at, check.with_, self._outside)
        if isinstance(check, SessionsCheck):
            return SessionsProbe(check.at, self._outside)
        return DeliveryProbe(check.at, check.with_, self._outside, self._clock)


def _pace(check: Check) -> Pace:
    if isinstance(check, SmtpCheck):
        return Pace(check.with_.concurrency, pause=check.with_.pause)
    if isinstance(check, SessionsCheck):
        return Pace(1, pause=check.with_.interval)
    return Pace(check.with_.concurrency)


def _unfit_members(pool: Pool, site: str, readings: Mapping[str, MemberReading]) -> str:
    """What the switch has against the members of a site; empty where it has nothing.

    A member in maintenance is not checked by its switch, so what the switch thinks of it is no news.
    """
    missing = [member for member in pool.members(site) if member not in readings]
    if missing:
        return f"the switch has no {', '.join(missing)}"
    found = ((member, readings[member]) for member in pool.members(site))
    down = [member for member, reading in found if not reading.up and reading.intake.admin != "maint"]
    return f"the switch finds {', '.join(down)} down" if down else ""
