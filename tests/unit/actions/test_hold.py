"""``hold``: waiting, for a time or for a person."""

from __future__ import annotations

from orchestrator.actions.action import REACHED
from orchestrator.actions.hold import LOOK_EVERY, Hold, Released
from orchestrator.model.runbook import HoldArguments

from ..fakes.clock import run
from ..fakes.watch import FakeWatch

WAITING, RELEASED = Released(released=False), Released(released=True)


def hold(until: str) -> Hold:
    """The action."""
    return Hold(HoldArguments.model_validate({"until": until}))


def test_it_waits_for_its_time() -> None:
    """A hold for a time is over when the time is, and says how much is left."""

    async def story() -> None:
        watch, action = FakeWatch(), hold("10s")
        assert await action.converge(RELEASED, watch) == REACHED
        assert 10 <= watch.clock.monotonic() < 10 + LOOK_EVERY
        assert watch.held == ["for 10s"]
        assert (watch.texts[0], watch.texts[-1]) == ("10s left", "10s are over")
        assert watch.numbers[0] == {"left": 10}
        assert await action.observe() == RELEASED

    run(story())


def test_time_that_has_passed_already_counts() -> None:
    """The time counts from the first start of the step, whatever became of the process since."""

    async def story() -> None:
        watch = FakeWatch()
        watch.began = -3600.0
        await hold("30m").converge(RELEASED, watch)
        assert watch.clock.monotonic() == 0

    run(story())


def test_it_waits_for_an_approval() -> None:
    """A hold for an approval ends soon after somebody has given it, and says who."""

    async def story() -> None:
        watch = FakeWatch()
        watch.approved = lambda: "ada" if watch.clock.monotonic() >= 3600 else None
        await hold("approval").converge(RELEASED, watch)
        assert 3600 <= watch.clock.monotonic() <= 3600 + LOOK_EVERY
        assert (watch.held, watch.texts) == (["for an approval"], ["approved by ada"])

    run(story())


def test_an_approval_ends_a_wait_for_time() -> None:
    """A person may say that the window is over before its time."""

    async def story() -> None:
        watch = FakeWatch()
        watch.approved = lambda: "ada" if watch.clock.monotonic() >= 5 else None
        await hold("1h").converge(RELEASED, watch)
        assert watch.clock.monotonic() <= 5 + LOOK_EVERY

    run(story())


def test_to_undo_it_is_to_do_nothing() -> None:
    """The way back of a wait waits for nothing and gives nobody traffic."""

    async def story() -> None:
        watch, action = FakeWatch(), hold("approval")
        assert await action.observe() == WAITING
        assert await action.converge(WAITING, watch) == REACHED
        assert (watch.held, watch.clock.monotonic()) == ([], 0)
        assert not action.receivers(WAITING, RELEASED)
        assert await action.preflight() == []

    run(story())


def test_its_diff() -> None:
    """The plan says for what it will wait."""
    assert hold("approval").describe(WAITING, RELEASED) == ["wait for an approval"]
    assert hold("90s").describe(WAITING, RELEASED) == ["wait 1m30s"]
    assert hold("90s").describe(RELEASED, RELEASED) == []
    assert hold("90s").route(RELEASED, RELEASED) == []
