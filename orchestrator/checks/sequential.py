r"""Wald's sequential probability ratio test: as many probes as the answer needs, and no more.

Each probe succeeds or fails. The test weighs *p1*, the failing share that must be found, against *p0*, the share
that is still normal, by the logarithm of their likelihood ratio, and stops at the first boundary it meets::

      ln((1 - beta) / alpha) ───────────────────────────  bad     beta:  the chance to miss p1 (1 - confidence)
                               /\      each failure: + ln(p1 / p0)
                        /\    /  \     each success: + ln((1 - p1) / (1 - p0)), which is negative
      0 ──────────────\/──\/\/────\──
      ln(beta / (1 - alpha)) ───────────────────────────  good    alpha: the chance to cry wolf at p0

Source: A. Wald, "Sequential Tests of Statistical Hypotheses", Annals of Mathematical Statistics 16 (1945).
Probes must be independent: one connection looked at many times is one probe.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from orchestrator.model.check import Detect

Decision = Literal["bad", "good"]

LIMIT_FACTOR: Final = 3
"""Undecided after so many times the expected number of probes, the test gives up.

Wald's own advice for truncation: past three times the expectation the error rates hardly change. Giving up is
never a pass here, so that a fault of size p1 is missed no more often than without a limit.
"""


class SequentialTest:
    """One test; feed it outcomes in the order in which the probes were begun."""

    def __init__(self, detect: Detect) -> None:
        """Compute the boundaries.

        Raises:
            ValueError: no number of probes can tell what ``detect`` asks for.
        """
        p1, p0 = detect.failure_rate, detect.baseline
        alpha, beta = detect.false_alarms, 1.0 - detect.confidence
        if p1 <= p0:
            raise ValueError("cannot detect a failure_rate that is not above the baseline")
        if not (0 < alpha < 0.5 and 0 < beta < 0.5):
            raise ValueError(
                "cannot be so sure: confidence must lie between 50% and 100%, false_alarms between 0% and 50%"
            )
        self._upper = math.log((1 - beta) / alpha)
        self._lower = math.log(beta / (1 - alpha))
        self._failure = _log(p1) - _log(p0)
        self._success = _log(1 - p1) - _log(1 - p0)
        self._score = 0.0
        self.samples = 0
        self.failures = 0
        self.decision: Decision | None = None
        at_normal = (1 - alpha) * self._lower + alpha * self._upper
        at_fault = beta * self._lower + (1 - beta) * self._upper
        self.expected_good: Final = self._expected(p0, at_normal)
        """Probes until 'good' on average, where the failing share is the baseline."""
        self.expected_bad: Final = self._expected(p1, at_fault)
        """Probes until 'bad' on average, where the failing share is the one to be found."""
        self.limit: Final = LIMIT_FACTOR * max(self.expected_good, self.expected_bad)
        """Probes after which an undecided test gives up."""

    @property
    def exhausted(self) -> bool:
        """Whether the limit is reached without a decision."""
        return self.decision is None and self.samples >= self.limit

    def add(self, ok: bool) -> Decision | None:
        """Take one more outcome; the decision as soon as there is one, which then stays."""
        if self.decision is not None or self.exhausted:
            return self.decision
        self.samples += 1
        self.failures += not ok
        self._score += self._success if ok else self._failure
        if self._score >= self._upper:
            self.decision = "bad"
        elif self._score <= self._lower:
            self.decision = "good"
        return self.decision

    def _expected(self, rate: float, at_end: float) -> int:
        """Wald's approximation E(n) = E(score at the end) / E(step), rounded; at least one probe."""
        drift = _weighed(rate, self._failure) + _weighed(1 - rate, self._success)
        return max(1, round(at_end / drift)) if math.isfinite(drift) else 1


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _weighed(weight: float, step: float) -> float:
    """``weight * step``, where a step that never happens weighs nothing, even an infinite one."""
    return weight * step if weight > 0 else 0.0
