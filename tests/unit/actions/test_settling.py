"""The wait until clients meet a change: as long as there is progress, and no longer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import pytest

from orchestrator.actions.action import Outcome
from orchestrator.actions.settling import LOOK_LATER, SETTLES_WITHIN, settle
from orchestrator.model.units import format_duration

from ..fakes.clock import run
from ..fakes.elsewhere import DistantSwitch, pool_behind
from ..fakes.mail import moment
from ..fakes.watch import FakeWatch

HOUR = 3600.0


class Slow(DistantSwitch):
    """A switch that says what a test wants."""

    def __init__(self, words: Callable[[], str]) -> None:
        super().__init__(pool_behind("dns", {"ord": ["o"]}).switch, {})
        self._words = words

    async def settling(self) -> str:
        """See ``TrafficSwitch.settling``."""
        return self._words()


def wait(words: Callable[[], str]) -> tuple[Outcome, float]:
    """How it ended, and after how many seconds."""

    async def go() -> tuple[Outcome, float]:
        began = moment()
        return await settle(Slow(words), FakeWatch()), moment() - began

    return run(go())


def counting_down(seconds: float) -> Callable[[], str]:
    """What a TTL says."""
    return lambda: f"for {format_duration(round(seconds - moment()))} more" if moment() < seconds else ""


@pytest.mark.parametrize("ttl", [SETTLES_WITHIN + 60, HOUR, 24 * HOUR])
def test_a_countdown_ends_by_itself(ttl: float) -> None:
    """A TTL of an hour or a day is waited out: it is known to end."""
    outcome, seconds = wait(counting_down(ttl))
    assert outcome.reached
    assert ttl <= seconds <= ttl + LOOK_LATER


def test_what_does_not_move_has_failed() -> None:
    """The same words for a quarter of an hour, and the change has failed by them."""
    outcome, seconds = wait(lambda: "PENDING")
    assert (outcome.reached, outcome.reason) == (False, "without progress for 15m: PENDING")
    assert SETTLES_WITHIN <= seconds <= SETTLES_WITHIN + LOOK_LATER


def test_words_in_turns_are_no_progress() -> None:
    """A resolver that gives now this and now that comes no nearer."""
    turns = cycle(["a still gives mx1", "b still gives mx1"])
    outcome, seconds = wait(lambda: next(turns))
    assert not outcome.reached
    assert seconds <= SETTLES_WITHIN + 2 * LOOK_LATER


def test_the_patience_begins_anew_with_each_stage() -> None:
    """After a long countdown what comes next has its own quarter of an hour."""
    ttl = counting_down(HOUR)
    outcome, seconds = wait(lambda: ttl() or "a still gives mx1")
    assert outcome.reason == "without progress for 15m: a still gives mx1"
    assert HOUR + SETTLES_WITHIN <= seconds <= HOUR + SETTLES_WITHIN + 2 * LOOK_LATER
