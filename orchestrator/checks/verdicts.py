"""The rules by which samples become pass, fail or unknown. Pure: nothing here measures.

* A number that misses its threshold fails, however few samples there are.
* A number that meets it passes only on enough samples to support it; no number (NaN) is unknown.
* A broken probe says nothing: only that passes which would hold whatever the broken probes might have seen.
* Unknown never passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.checks.samples import measured, reasons
from orchestrator.checks.sequential import SequentialTest
from orchestrator.model.check import Check, Detect, Judgement, Sample, Verdict
from orchestrator.model.units import Threshold, format_duration, format_fraction

MINIMUM_SAMPLES: Final = 20
"""Samples that a rate or a percentile needs to pass.

With 20 of 20 good, the failing share is below 14% with 95% confidence (1 - 0.05 ** (1/20)): enough to tell a
working path from a broken one, and no more. A check for a small fault states ``detect`` instead.
"""

MINIMUM_COUNTS: Final = 2
"""Readings that a count needs to pass: one at the start and one at the end."""


def judge(name: str, check: Check, samples: Sequence[Sample]) -> Verdict:
    """What ``samples``, in the order in which they were begun, say about ``check``."""
    if check.detect is not None:
        return _judge_detection(name, check.detect, samples)
    if check.for_ is not None:
        return _judge_looks(name, check, samples)
    return _judge_window(name, check, samples)


@dataclass(frozen=True, slots=True)
class _Finding:
    judgement: Judgement
    text: str


def _judge_window(name: str, check: Check, samples: Sequence[Sample]) -> Verdict:
    findings = [_find(metric, threshold, samples) for metric, threshold in check.expect.items()]
    worst = _worst(findings)
    telling = [finding.text for finding in findings if worst is Judgement.PASS or finding.judgement is worst]
    return _verdict(name, worst, ", ".join(telling) or "the check expects nothing", samples, check.expect)


def _judge_looks(name: str, check: Check, samples: Sequence[Sample]) -> Verdict:
    for number, sample in enumerate(samples, start=1):
        findings = [_look(metric, threshold, sample) for metric, threshold in check.expect.items()]
        worst = _worst(findings)
        if worst is not Judgement.PASS:
            telling = ", ".join(finding.text for finding in findings if finding.judgement is worst)
            seen = samples[:number]
            return _verdict(name, worst, f"{telling or 'nothing expected'} at look {number}", seen, check.expect)
    if len(samples) < MINIMUM_COUNTS:
        return _verdict(name, Judgement.UNKNOWN, f"only {len(samples)} looks, 2 are needed", samples, check.expect)
    held = ", ".join(_look(metric, threshold, samples[-1]).text for metric, threshold in check.expect.items())
    lasted = format_duration(check.for_ or 0.0)
    return _verdict(name, Judgement.PASS, f"{held} at all {len(samples)} looks for {lasted}", samples, check.expect)


def _judge_detection(name: str, detect: Detect, samples: Sequence[Sample]) -> Verdict:
    try:
        detection = Detection(detect)
    except ValueError as error:
        return _verdict(name, Judgement.UNKNOWN, str(error), samples, {})
    for sample in samples:
        detection.add(sample)
    return _verdict(name, detection.judgement, detection.text, samples, {"success_rate": None})


class Detection:
    """A sequential test that stays honest when probes break.

    It fails when the test says bad without the broken ones, and passes when it says good even if every broken one
    had failed. In between it cannot pass any more, and stops as unknown.
    """

    def __init__(self, detect: Detect) -> None:
        """Set up the test.

        Raises:
            ValueError: no number of probes can tell what ``detect`` asks for.
        """
        self._detect = detect
        self._without_broken = SequentialTest(detect)
        self._broken_failed = SequentialTest(detect)

    def add(self, sample: Sample) -> bool:
        """Take a sample; whether the answer is known, or cannot be had any more."""
        if not sample.broken:
            self._without_broken.add(sample.ok)
        self._broken_failed.add(sample.ok and not sample.broken)
        return self.over

    @property
    def over(self) -> bool:
        """Whether more samples would change nothing."""
        return self._broken_failed.decision is not None or self._broken_failed.exhausted

    @property
    def judgement(self) -> Judgement:
        """What is known so far."""
        if self._without_broken.decision == "bad":
            return Judgement.FAIL
        return Judgement.PASS if self._broken_failed.decision == "good" else Judgement.UNKNOWN

    @property
    def text(self) -> str:
        """The numbers in words."""
        test, rate = self._without_broken, format_fraction(self._detect.failure_rate)
        counted = f"{test.failures} of {test.samples} failed"
        if self.judgement is Judgement.PASS:
            return (
                f"{counted}: a fault of {rate} is ruled out with {format_fraction(self._detect.confidence)} confidence"
            )
        if self.judgement is Judgement.FAIL:
            return f"{counted}: a fault of {rate} or more, not the usual {format_fraction(self._detect.baseline)}"
        return f"{counted}: too little to tell whether there is a fault of {rate}"

    @property
    def progress(self) -> str:
        """How far the test is: against the expected number, then against the limit."""
        test = self._broken_failed
        aim = f"about {_rounded(test.expected_good)}" if test.samples <= test.expected_good else f"at most {test.limit}"
        return f"{test.samples} of {aim} probes, {test.failures} failed"


def _find(metric: str, threshold: Threshold, samples: Sequence[Sample]) -> _Finding:
    """Judge one metric over a window."""
    whole = [sample for sample in samples if not sample.broken]
    number = measured(metric, threshold, whole)
    text = _number_text(metric, threshold, number, whole)
    if math.isnan(number):
        return _Finding(Judgement.UNKNOWN, text)
    if not threshold.holds(number):
        return _Finding(Judgement.FAIL, text)
    needed = MINIMUM_COUNTS if metric == "sessions" else MINIMUM_SAMPLES
    support = len(whole) if metric in {"success_rate", "sessions"} else sum(sample.ok for sample in whole)
    if support < needed:
        return _Finding(
            Judgement.UNKNOWN,
            f"{text}, but only {support} samples of {needed} needed: measure longer, or more at a time",
        )
    if not _holds_whatever_broke(metric, threshold, samples):
        return _Finding(Judgement.UNKNOWN, f"{text}, but {len(samples) - len(whole)} probes broke")
    return _Finding(Judgement.PASS, text)


def _holds_whatever_broke(metric: str, threshold: Threshold, samples: Sequence[Sample]) -> bool:
    """Whether the threshold holds however the broken probes would have ended: at once, never, or badly."""
    if not any(sample.broken for sample in samples):
        return True
    if metric not in {"success_rate", "p50", "p95", "p99"}:
        return False
    endings = (Sample(ok=True), Sample(ok=True, seconds=math.inf), Sample(ok=False))
    completed = ([ending if sample.broken else sample for sample in samples] for ending in endings)
    return all(threshold.holds(measured(metric, threshold, each)) for each in completed)


def _look(metric: str, threshold: Threshold, sample: Sample) -> _Finding:
    """Judge one metric at one look."""
    seen = [] if sample.broken else [sample]
    number = measured(metric, threshold, seen)
    text = _number_text(metric, threshold, number, seen)
    if math.isnan(number):
        return _Finding(Judgement.UNKNOWN, text)
    return _Finding(Judgement.PASS if threshold.holds(number) else Judgement.FAIL, text)


def _worst(findings: Sequence[_Finding]) -> Judgement:
    judgements = {finding.judgement for finding in findings}
    if Judgement.FAIL in judgements:
        return Judgement.FAIL
    return Judgement.PASS if judgements == {Judgement.PASS} else Judgement.UNKNOWN


def _number_text(metric: str, threshold: Threshold, number: float, samples: Sequence[Sample]) -> str:
    label = {"success_rate": "success", "certificate_days": "certificate"}.get(metric, metric)
    if math.isnan(number):
        why = {"certificate_days": "no certificate was seen", "sessions": "no reading"}
        return f"{label} unknown, {why.get(metric, 'no probe succeeded' if samples else 'no probe was made')}"
    if metric == "success_rate":
        shown = f"{_share_text(number)} of {len(samples)}"
    elif metric == "certificate_days":
        shown = f"{number:.1f} days"
    elif metric == "sessions":
        shown = f"{number:g}"
    else:
        shown = f"{number * 1000:.0f}ms" if number < 1 else format_duration(number)
    return f"{label} {shown} (expected {threshold})"


def _share_text(share: float) -> str:
    """A percentage that is cut, not rounded: 99.96% never reads as 100%."""
    scale = 10 if share < 0.99 else 1000
    return f"{math.floor(share * 100 * scale + 1e-6) / scale:g}%"


def _rounded(number: int) -> int:
    return max(10, round(number, -1))


def _verdict(
    name: str, judgement: Judgement, text: str, samples: Sequence[Sample], metrics: Mapping[str, Threshold | None]
) -> Verdict:
    whole = [sample for sample in samples if not sample.broken]
    failed = [sample for sample in whole if not sample.ok]
    broken = [sample for sample in samples if sample.broken]
    trouble = [f"{len(failed)} failed: {reasons(failed)}"] if failed else []
    trouble += [f"{len(broken)} probes broke: {reasons(broken)}"] if broken else []
    anything = Threshold(compare=">=", bound=-math.inf, text="")
    numbers = {metric: measured(metric, threshold or anything, whole) for metric, threshold in metrics.items()}
    return Verdict(
        check=name,
        judgement=judgement,
        reason="; ".join([text, *trouble]),
        samples=len(whole),
        metrics={metric: number for metric, number in numbers.items() if math.isfinite(number)},
    )


def all_hold(expect: Mapping[str, Threshold], sample: Sample) -> bool:
    """Whether one look meets every expectation."""
    return _worst([_look(metric, threshold, sample) for metric, threshold in expect.items()]) is Judgement.PASS


def judge_health(name: str, samples: Sequence[Sample]) -> Verdict:
    """Whether every one of some transactions succeeded; for a site that is about to get traffic."""
    good = sum(sample.ok for sample in samples)
    if any(not sample.ok and not sample.broken for sample in samples):
        judgement = Judgement.FAIL
    else:
        judgement = Judgement.PASS if samples and good == len(samples) else Judgement.UNKNOWN
    return _verdict(name, judgement, f"{good} of {len(samples)} transactions succeeded", samples, {})
