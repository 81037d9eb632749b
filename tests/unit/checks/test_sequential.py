"""The sequential test keeps the error rates that it promises, and is as quick as Wald says."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.checks.sequential import SequentialTest
from orchestrator.model.check import Detect

TWO_PERCENT = Detect(failure_rate=0.02, baseline=0.001, confidence=0.999, false_alarms=0.001)


def exact(detect: Detect, rate: float) -> tuple[float, float, float]:
    """The probabilities of good, bad and undecided where probes fail at ``rate``, summed over all paths."""
    by_failures: dict[int, tuple[float, SequentialTest]] = {0: (1.0, SequentialTest(detect))}
    good = bad = undecided = 0.0
    while by_failures:
        following: dict[int, tuple[float, SequentialTest]] = {}
        for failures, (chance, test) in by_failures.items():
            for ok, step in ((True, 1 - rate), (False, rate)):
                after = SequentialTest(detect)
                after.__dict__.update(test.__dict__)
                decision = after.add(ok)
                if decision == "good":
                    good += chance * step
                elif decision == "bad":
                    bad += chance * step
                elif after.exhausted:
                    undecided += chance * step
                else:
                    key = failures + (not ok)
                    before = following[key][0] if key in following else 0.0
                    following[key] = (before + chance * step, after)
        by_failures = following
    return good, bad, undecided


def test_it_needs_about_168_probes_when_bad_and_426_when_good() -> None:
    """The expected numbers of probes for 2% against 0.1%, 99.9% sure, are those of Wald's formula."""
    test = SequentialTest(TWO_PERCENT)
    assert test.expected_bad == 168
    assert test.expected_good == 426


def test_a_fault_of_2_percent_is_missed_and_invented_no_more_often_than_stated() -> None:
    """By exact summation over all paths, the risks are within Wald's bounds, and hardly any test stays undecided."""
    missed, _, _ = exact(TWO_PERCENT, 0.02)
    passed, alarm, undecided = exact(TWO_PERCENT, 0.001)
    assert missed <= 0.001 / (1 - 0.001)
    assert alarm <= 0.001 / (1 - 0.001)
    assert undecided < 0.01
    assert passed == pytest.approx(1 - alarm - undecided)


@settings(max_examples=15, deadline=None)
@given(
    fault=st.floats(0.05, 0.5),
    factor=st.floats(3, 30),
    miss=st.floats(0.001, 0.1),
    alarm=st.floats(0.001, 0.1),
)
def test_the_risks_are_kept_for_any_claim(fault: float, factor: float, miss: float, alarm: float) -> None:
    """Whatever is to be detected, the exact risks stay within Wald's bounds alpha/(1-beta) and beta/(1-alpha)."""
    detect = Detect(failure_rate=fault, baseline=fault / factor, confidence=1 - miss, false_alarms=alarm)
    missed, _, _ = exact(detect, detect.failure_rate)
    _, invented, _ = exact(detect, detect.baseline)
    assert missed <= miss / (1 - alarm) + 1e-9
    assert invented <= alarm / (1 - miss) + 1e-9


@pytest.mark.parametrize(("rate", "wrong"), [(0.02, "good"), (0.001, "bad")])
def test_two_thousand_simulated_paths_go_wrong_hardly_ever(rate: float, wrong: str) -> None:
    """Drawn at random, wrong decisions are as rare as promised, and the mean length is what is expected."""
    dice = random.Random(20140401)
    decisions, lengths = [], []
    for _ in range(2000):
        test = SequentialTest(TWO_PERCENT)
        while test.decision is None and not test.exhausted:
            test.add(dice.random() >= rate)
        decisions.append(test.decision)
        lengths.append(test.samples)
    assert decisions.count("good" if wrong == "good" else "bad") <= 8  # mean 2, and 8 is past four sigma
    expected = SequentialTest(TWO_PERCENT).expected_bad if rate == 0.02 else SequentialTest(TWO_PERCENT).expected_good
    assert sum(lengths) / len(lengths) == pytest.approx(expected, rel=0.25)


def test_successes_alone_need_as_many_as_make_a_miss_unlikely() -> None:
    """Without one failure the answer is good after 360 probes: 0.98**360 is below one in a thousand."""
    test = SequentialTest(TWO_PERCENT)
    while test.add(True) is None:
        pass
    assert (test.decision, test.samples) == ("good", 360)
    assert 0.98**test.samples < 0.001


def test_a_dead_path_is_known_after_three_probes() -> None:
    """Three failures in a row are enough, and the decision then stays."""
    test = SequentialTest(TWO_PERCENT)
    assert [test.add(False), test.add(False), test.add(False)] == [None, None, "bad"]
    assert test.add(True) == "bad"
    assert test.samples == 3


def test_between_the_two_rates_it_gives_up_undecided() -> None:
    """Failures that keep the score between the boundaries end at the limit, without any decision."""
    test = SequentialTest(TWO_PERCENT)
    while not test.exhausted:
        test.add(test.samples % 157 != 0)
    assert test.decision is None
    assert test.samples == test.limit == 3 * 426


def test_with_a_baseline_of_zero_one_failure_is_bad() -> None:
    """Where no failure is normal, the first one decides; none makes it good."""
    detect = Detect(failure_rate=0.02, baseline=0.0)
    test = SequentialTest(detect)
    assert test.add(True) is None
    assert test.add(False) == "bad"
    assert math.isfinite(test.limit)


@pytest.mark.parametrize(
    "detect",
    [
        Detect(failure_rate=0.001, baseline=0.001),
        Detect(failure_rate=0.02, confidence=1.0),
        Detect(failure_rate=0.02, false_alarms=0.0),
        Detect(failure_rate=0.02, confidence=0.3),
    ],
)
def test_what_no_number_of_probes_can_tell_is_refused(detect: Detect) -> None:
    """A claim without a finite test is an error at once, not a test without end."""
    with pytest.raises(ValueError, match="cannot"):
        SequentialTest(detect)
