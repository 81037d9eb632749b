"""The clock of a test's world."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import boto3
import pytest

from orchestrator.testing.overlay import WorldClock, aws_world
from tests.unit.testing.mail_front import REGION, mail_front


def test_time_stands_still() -> None:
    """Only advancing moves the clock, and both of its times go together."""
    clock = WorldClock()
    start = clock.now()
    assert (clock.now(), clock.monotonic()) == (start, 0.0)
    clock.advance(1.5)
    assert (clock.now(), clock.monotonic()) == (start + 1.5, 1.5)


@pytest.mark.parametrize("seconds", [-1.0, math.nan])
def test_time_does_not_go_back(seconds: float) -> None:
    """What is no time to come is refused."""
    with pytest.raises(ValueError, match="does not go back"):
        WorldClock().advance(seconds)


def test_what_is_due_happens_in_its_order() -> None:
    """Things happen at their moment, in the order of time and then of asking, also if asked for meanwhile."""
    clock = WorldClock()
    told: list[tuple[str, float]] = []

    def tell(name: str) -> None:
        told.append((name, clock.monotonic()))

    clock.call_later(5, lambda: tell("late"))
    clock.call_later(2, lambda: clock.call_later(1, lambda: tell("chained")))
    clock.call_later(3, lambda: tell("later asked"))
    clock.advance(4)
    assert told == [("later asked", 3.0), ("chained", 3.0)]
    clock.advance(1)
    assert told[-1] == ("late", 5.0)
    assert clock.monotonic() == 5.0


def test_sleeping_moves_time() -> None:
    """A task that sleeps moves time on by as much, without waiting."""
    clock = WorldClock()
    asyncio.run(clock.sleep(600))
    assert clock.monotonic() == 600


def test_threads_share_a_clock() -> None:
    """Nothing is lost of what many threads add to the time."""
    clock = WorldClock()
    happened: list[int] = []
    with ThreadPoolExecutor(8) as threads:
        for number in range(400):
            threads.submit(clock.call_later, number, partial(happened.append, number))
            threads.submit(clock.advance, 1.0)
    assert clock.monotonic() == 400
    clock.advance(1_000)
    assert sorted(happened) == list(range(400))


def test_threads_share_a_world() -> None:
    """Many clients at a time, while time moves: every registration is there, and each is healthy in the end."""
    with aws_world() as world:
        front = mail_front()
        clients = [boto3.client("elbv2", region_name=REGION) for _ in range(4)]

        def register(number: int) -> None:
            target = {"Id": f"10.0.{number // 200}.{number % 200}", "Port": 25}
            clients[number % 4].register_targets(TargetGroupArn=front.group, Targets=[target])
            world.clock.advance(0.1)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(register, range(200)))
        world.clock.advance(20)
        assert set(front.states().values()) == {"healthy"}
        assert len(front.states()) == 200
