"""``scale.out``: more capacity, healthy before anything rests on it, and back."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.actions.action import REACHED, Outcome
from orchestrator.actions.lost import PATIENCE
from orchestrator.actions.scale_out import LOOK_EVERY, Capacity, ScaleOut
from orchestrator.errors import Stop, UnreachableError
from orchestrator.model.runbook import ScaleOutArguments

from ..fakes.capacity import FakeGroup
from ..fakes.clock import run
from ..fakes.watch import FakeWatch


def scale_out(group: FakeGroup, **arguments: object) -> ScaleOut:
    """The action."""
    return ScaleOut(ScaleOutArguments.model_validate({"pool": "smtp", "site": "iad", **arguments}), group)


async def out(action: ScaleOut, watch: FakeWatch) -> Outcome:
    """The way out, from what is there."""
    return await action.converge(action.target(await action.observe()), watch)


def test_it_waits_until_all_are_healthy() -> None:
    """A group that has taken the number is not enough: the step ends when the last instance is healthy."""

    async def story() -> None:
        group, watch = FakeGroup(3, boots=60), FakeWatch()
        action = scale_out(group, add=2)
        start = await action.observe()
        assert await out(action, watch) == REACHED
        assert 60 <= watch.clock.monotonic() < 60 + 2 * LOOK_EVERY
        assert group.log == ["desired 5"]
        assert watch.texts[0] == "3 of 5 healthy; waits for i-3 Pending, i-4 Pending"
        assert (watch.texts[-1], watch.numbers[-1]) == ("5 of 5 healthy", {"healthy": 5, "desired": 5})
        assert action.reached(await action.observe(), action.target(start))

    run(story())


def test_there_and_back_is_where_one_was() -> None:
    """The undo asks for what was there before, and waits for nothing."""

    async def story() -> None:
        group, watch = FakeGroup(3), FakeWatch()
        action = scale_out(group, to=6)
        start = await action.observe()
        await out(action, watch)
        begun = watch.clock.monotonic()
        assert await action.converge(start, watch) == REACHED
        assert action.reached(await action.observe(), start)
        assert group.log == ["desired 6", "desired 3"]
        assert watch.clock.monotonic() - begun < 1

    run(story())


def test_nothing_is_added_twice() -> None:
    """Seen from the recorded start, as after a crash, the same number is asked for again, and written once."""

    async def story() -> None:
        group, watch = FakeGroup(3), FakeWatch(stop_at=2)
        action = scale_out(group, add=2)
        target = action.target(await action.observe())
        for _ in range(3):
            assert await action.converge(target, watch) == REACHED
        assert (group.desired, group.log) == (5, ["desired 5"])

    run(story())


def test_more_than_enough_stays() -> None:
    """``to`` is a least number: a larger group is left alone, on the way out and on the way back."""

    async def story() -> None:
        group, watch = FakeGroup(8), FakeWatch()
        action = scale_out(group, to=6)
        start = await action.observe()
        assert action.reached(start, action.target(start))
        assert action.describe(start, action.target(start)) == []
        group.resize(10)
        assert action.reached(await action.observe(), start)
        assert await action.converge(start, watch) == REACHED
        assert (group.desired, group.log) == (10, [])

    run(story())


def test_enough_that_are_not_healthy_are_waited_for() -> None:
    """A group of the right size with an instance that never comes up is no capacity: nothing is asked, it fails."""

    async def story() -> None:
        group, watch = FakeGroup(3, sick=1), FakeWatch()
        action = scale_out(group, to=3, deadline="2m")
        start = await action.observe()
        assert action.describe(start, action.target(start)) == ["capacity of smtp at iad: 2 → 3 healthy"]
        outcome = await out(action, watch)
        assert outcome == Outcome(reached=False, reason="after 2m 2 of 3 healthy; waits for i-0 Pending")
        assert 120 <= watch.clock.monotonic() < 120 + 2 * LOOK_EVERY
        assert group.log == []

    run(story())


def test_who_is_waited_for_is_named_shortly() -> None:
    """Of many that are not healthy the first are named, and the others counted."""

    async def story() -> None:
        watch = FakeWatch()
        await out(scale_out(FakeGroup(1), add=5), watch)
        assert watch.texts[0] == "1 of 6 healthy; waits for i-1 Pending, i-2 Pending, i-3 Pending and 2 more"

    run(story())


def test_a_group_that_is_scaled_in_meanwhile_is_not_fought_for() -> None:
    """Where somebody asks for less while it waits, the step fails and says so, and does not ask again."""

    async def story() -> None:
        group, watch = FakeGroup(3, boots=60), FakeWatch()
        asyncio.get_running_loop().call_later(20, group.resize, 4)
        outcome = await out(scale_out(group, add=2), watch)
        assert not outcome.reached
        assert "somebody else asked for 4 after we had asked for 5 — keep scaling policies from" in outcome.reason
        assert group.log == ["desired 5"]

    run(story())


def test_a_group_that_somebody_has_made_larger_since_is_theirs() -> None:
    """The way back does not take away what a scaling policy has added under load."""

    async def story() -> None:
        group, watch = FakeGroup(3), FakeWatch()
        action = scale_out(group, add=2)
        start = await action.observe()
        await out(action, watch)
        group.resize(9)
        assert await action.converge(start, watch) == REACHED
        assert action.reached(await action.observe(), start)
        assert watch.texts[-1] == "smtp at iad stays at 9: somebody else has asked for that since"
        assert group.log == ["desired 5"]

    run(story())


def test_a_larger_group_than_asked_for_is_enough_on_the_way_out() -> None:
    """A policy that adds more while it waits does not make it fail; nor is the group made smaller on a resume."""

    async def story() -> None:
        group, watch = FakeGroup(3, boots=60), FakeWatch()
        action = scale_out(group, add=2)
        target = action.target(await action.observe())
        asyncio.get_running_loop().call_later(20, group.resize, 7)
        assert await action.converge(target, watch) == REACHED
        assert watch.clock.monotonic() < 60 + 2 * LOOK_EVERY
        assert await action.converge(target, watch) == REACHED
        assert (group.desired, group.log) == (7, ["desired 5"])

    run(story())


def test_more_than_the_group_takes_is_refused_beforehand() -> None:
    """A number above the group's own limit is a sentence with a remedy in the plan, not a failure at night."""

    async def story() -> None:
        assert await scale_out(FakeGroup(3, most=5), add=2).preflight() == []
        assert await scale_out(FakeGroup(3), to=99).preflight() == []
        assert await scale_out(FakeGroup(3, most=5), to=6).preflight() == [
            "cannot scale smtp at iad to 6: its group takes 5 at most — raise the group's upper limit, or ask for less"
        ]

    run(story())


def test_it_bears_with_an_api_that_is_away_for_a_while() -> None:
    """Who only waits looks again, for a minute; after that the step fails with the reason."""

    async def story() -> None:
        group, watch = FakeGroup(3), FakeWatch()
        action = scale_out(group, add=1)
        target = action.target(await action.observe())
        group.resize(4)
        group.ready_at[-1] = 150.0
        asyncio.get_running_loop().call_later(10, setattr, group, "lost_until", 10 + PATIENCE - 2 * LOOK_EVERY)
        assert await action.converge(target, watch) == REACHED
        assert "cannot look: cannot reach it: connection refused" in watch.texts
        group.ready_at[-1] = group.lost_until = float("inf")
        with pytest.raises(UnreachableError):
            await action.converge(target, watch)

    run(story())


def test_it_asks_for_nothing_when_it_must_stop() -> None:
    """The fence stands before the only write, out and back."""

    async def story() -> None:
        group = FakeGroup(3)
        action = scale_out(group, add=2)
        start = await action.observe()
        for to in (action.target(start), start):
            with pytest.raises(Stop):
                await action.converge(to, FakeWatch(stop_at=1))
            group.resize(5)
        assert group.log == []

    run(story())


def test_what_people_are_told() -> None:
    """The plan says from how many to how many, and by hand it is the group's own command."""
    action = scale_out(FakeGroup(3), add=2)
    start = Capacity(desired=3, healthy=3)
    assert action.describe(start, action.target(start)) == ["capacity of smtp at iad: 3 → 5"]
    assert action.describe(action.target(start), start) == ["capacity of smtp at iad: 5 → 3"]
    assert action.by_hand(start).what == "scale smtp at iad to 3"
    assert action.by_hand(start).commands == ["scale 3"]
    assert action.route(start, start) == []
    assert action.effect(start).desired == {"iad": 3}
    assert not action.receivers(start, action.target(start))
