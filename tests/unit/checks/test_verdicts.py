"""How samples are judged: fail and pass need numbers, and unknown never passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.checks.gate import judge
from orchestrator.checks.samples import percentile
from orchestrator.model.check import Judgement, Sample

from .world import sessions_check, smtp_check

GOOD = Sample(ok=True, seconds=0.1)
HUNG = Sample(ok=False, seconds=5, reason="no banner within 5s")
TOLD = Sample(ok=False, seconds=0.01, reason="421 at MAIL FROM")
BROKEN = Sample(ok=False, reason="too many open files", broken=True)
RATE = smtp_check(expect={"success_rate": ">= 99.9%"})
PASS, FAIL, UNKNOWN = Judgement.PASS, Judgement.FAIL, Judgement.UNKNOWN


def test_a_failing_window_reads_as_one_line() -> None:
    """The reason gives the share, the expectation, and the reasons of failures with their counts."""
    verdict = judge("mail-flows", RATE, [GOOD] * 207 + [HUNG] * 4 + [TOLD])
    assert verdict.judgement is FAIL
    assert verdict.reason == (
        "success 97.6% of 212 (expected >= 99.9%); 5 failed: no banner within 5s (4), 421 at MAIL FROM (1)"
    )
    assert verdict.samples == 212
    assert verdict.metrics == {"success_rate": pytest.approx(207 / 212)}


def test_a_good_window_passes_and_says_its_numbers() -> None:
    """All expectations are in the line of a pass."""
    check = smtp_check(expect={"success_rate": ">= 99.9%", "p99": "<= 500ms"})
    verdict = judge("mail-flows", check, [GOOD] * 50)
    assert verdict.passed
    assert verdict.reason == "success 100% of 50 (expected >= 99.9%), p99 100ms (expected <= 500ms)"


@pytest.mark.parametrize(
    ("samples", "judgement"),
    [
        ([], UNKNOWN),
        ([GOOD] * 19, UNKNOWN),
        ([GOOD] * 20, PASS),
        ([GOOD] * 999 + [TOLD], PASS),
        ([GOOD] * 998 + [TOLD], FAIL),
        ([TOLD], FAIL),
        ([BROKEN] * 30, UNKNOWN),
        ([GOOD] * 30 + [BROKEN], UNKNOWN),
        ([GOOD] * 2000 + [BROKEN], PASS),
        ([GOOD] * 30 + [BROKEN, TOLD], FAIL),
    ],
)
def test_a_rate_needs_samples_and_whole_probes(samples: list[Sample], judgement: Judgement) -> None:
    """Too few or broken samples make it unknown, unless even the worst about the broken ones would pass."""
    assert judge("c", RATE, samples).judgement is judgement


@given(st.lists(st.sampled_from([GOOD, HUNG, TOLD, BROKEN]), max_size=60))
def test_what_broken_probes_hide_never_passes(samples: list[Sample]) -> None:
    """A window passes only if it also passes with every broken probe counted as a failure."""
    if judge("c", RATE, samples).passed:
        assert judge("c", RATE, [TOLD if sample.broken else sample for sample in samples]).passed


def test_a_share_just_below_one_never_reads_as_one() -> None:
    """Shares are cut, not rounded, in what people read."""
    check = smtp_check(expect={"success_rate": "== 100%"})
    verdict = judge("c", check, [GOOD] * 99_999 + [TOLD])
    assert verdict.judgement is FAIL
    assert verdict.reason.startswith("success 99.999% of 100000")


def test_percentiles_look_at_successes_and_are_unknown_without_any() -> None:
    """Times of failures do not count; no success at all is no number, which does not pass."""
    check = smtp_check(expect={"p99": "<= 500ms"})
    assert judge("c", check, [GOOD] * 20 + [HUNG]).passed
    assert judge("c", check, [GOOD] * 19 + [HUNG] * 9).judgement is UNKNOWN
    nothing = judge("c", check, [HUNG] * 30)
    assert nothing.judgement is UNKNOWN
    assert nothing.reason == "p99 unknown, no probe succeeded; 30 failed: no banner within 5s (30)"
    assert nothing.metrics == {}


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100)])
def test_a_percentile_is_a_value_that_was_seen(percent: int, expected: int) -> None:
    """Nearest rank: of 1 to 100, the p-th percentile is p."""
    assert percentile(percent, range(100, 0, -1)) == expected


def test_the_certificate_that_ends_first_counts() -> None:
    """One server of the pool with an old certificate fails the check, and a check without TLS cannot pass it."""
    check = smtp_check(expect={"certificate_days": ">= 14"})
    fresh = [Sample(ok=True, seconds=0.1, certificate_days=80)] * 20
    old = Sample(ok=True, seconds=0.1, certificate_days=3)
    assert judge("c", check, fresh).passed
    assert judge("c", check, [*fresh, old]).reason == "certificate 3.0 days (expected >= 14)"
    assert judge("c", check, [*fresh, old]).judgement is FAIL
    assert judge("c", check, [GOOD] * 30).judgement is UNKNOWN


def test_a_count_over_a_window_must_hold_in_every_reading() -> None:
    """The reading that breaks the threshold is the one that is shown."""
    check = sessions_check(over="3s", expect={"sessions": "<= 10"})
    readings = [Sample(ok=True, value=value) for value in (3.0, 11.0, 4.0)]
    verdict = judge("c", check, readings)
    assert (verdict.judgement, verdict.reason) == (FAIL, "sessions 11 (expected <= 10)")
    assert judge("c", check, readings[::2]).passed
    assert judge("c", check, readings[:1]).judgement is UNKNOWN
    assert judge("c", check, [*readings[::2], BROKEN]).judgement is UNKNOWN


def test_for_needs_every_look_to_hold() -> None:
    """The first look that does not hold decides, also one that could not be made."""
    check = sessions_check(**{"for": "3s"}, expect={"sessions": "== 0"})
    zero, four = Sample(ok=True, value=0), Sample(ok=True, value=4)
    assert judge("silent", check, [zero] * 7).reason == "sessions 0 (expected == 0) at all 7 looks for 3s"
    assert judge("silent", check, [zero] * 7).passed
    failed = judge("silent", check, [zero, zero, four, zero])
    assert (failed.judgement, failed.reason) == (FAIL, "sessions 4 (expected == 0) at look 3")
    blind = judge("silent", check, [zero, BROKEN])
    assert blind.judgement is UNKNOWN
    assert blind.reason == "sessions unknown, no reading at look 2; 1 probes broke: too many open files (1)"
    assert judge("silent", check, [zero]).judgement is UNKNOWN
    assert judge("silent", check, []).judgement is UNKNOWN


def test_a_check_that_expects_nothing_does_not_pass() -> None:
    """An empty expectation is no evidence."""
    assert judge("c", smtp_check(), [GOOD] * 100).judgement is UNKNOWN
    assert judge("c", smtp_check(**{"for": "1s"}), [GOOD] * 100).judgement is UNKNOWN


def test_a_detection_is_judged_by_the_sequential_test() -> None:
    """360 successes rule out 2%; three failures show it; what broke can only take a pass away."""
    check = smtp_check(detect={"failure_rate": "2%", "confidence": "99.9%", "false_alarms": "0.1%"})
    passed = judge("escape", check, [GOOD] * 360)
    assert passed.passed
    assert passed.reason == "0 of 360 failed: a fault of 2% is ruled out with 99.9% confidence"
    assert judge("escape", check, [GOOD] * 359).judgement is UNKNOWN
    failed = judge("escape", check, [GOOD] * 10 + [HUNG] * 3)
    assert failed.judgement is FAIL
    assert failed.reason.startswith("3 of 13 failed: a fault of 2% or more, not the usual 0.1%; 3 failed: no banner")
    assert judge("escape", check, [GOOD] * 360 + [BROKEN] * 3).passed  # decided before anything broke
    assert judge("escape", check, [BROKEN] * 3 + [GOOD] * 400).judgement is UNKNOWN
    assert judge("escape", check, [BROKEN] + [GOOD] * 600).passed  # even as a failure it would be ruled out


def test_a_detection_that_cannot_be_made_is_unknown() -> None:
    """A claim without a test never passes, and says why."""
    verdict = judge("escape", smtp_check(detect={"failure_rate": "0.1%"}), [GOOD] * 9999)
    assert verdict.judgement is UNKNOWN
    assert "above the baseline" in verdict.reason
