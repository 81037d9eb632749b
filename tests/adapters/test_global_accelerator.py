"""Global Accelerator as a switch: the contract in a world of AWS with time, and what dials ask for besides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.traffic import Intake
from orchestrator.testing.overlay import AwsWorld, aws_world
from tests.adapters.aws_cli import aws_cli
from tests.adapters.global_accelerator_bench import DialsBench
from tests.adapters.switch_contract import SwitchContract


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """AWS with time."""
    with aws_world() as world:
        yield world


@pytest.fixture
def shell(world: AwsWorld, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """A shell with an ``aws`` that works on the world."""
    with aws_cli(tmp_path) as environment:
        yield environment


@pytest.fixture
def bench(world: AwsWorld, shell: Mapping[str, str]) -> DialsBench:
    """A listener with three endpoint groups."""
    return DialsBench(world, shell)


class TestGlobalAccelerator(SwitchContract):
    """The contract, on the dials of endpoint groups."""

    @pytest.fixture
    def bench(self, world: AwsWorld, shell: Mapping[str, str]) -> DialsBench:
        """A listener with three endpoint groups."""
        return DialsBench(world, shell)


def test_writes_the_dial_and_nothing_else(bench: DialsBench) -> None:
    """Endpoints, their weights and the health check stay as they are: they are not in the call."""
    asyncio.run(bench.driver().apply(bench.shifted))
    assert [sorted(one) for one in bench.written] == [["EndpointGroupArn", "TrafficDialPercentage"]] * 2
    group = bench.api.describe_endpoint_group(EndpointGroupArn=bench.groups["mx1"])["EndpointGroup"]
    assert (group["HealthCheckPort"], group["EndpointDescriptions"][0]["Weight"]) == (2525, 7)


def test_opens_before_it_closes(bench: DialsBench) -> None:
    """Whatever the order asked for, first a dial goes up, then the other goes down."""
    asyncio.run(bench.driver().apply({"mx1": Intake(weight=20), "mx3": Intake(weight=100)}))
    assert [one["TrafficDialPercentage"] for one in bench.written] == [100.0, 20.0]


def test_closes_nothing_when_nothing_could_be_opened(bench: DialsBench) -> None:
    """Where the taker's dial cannot be turned up, the giver's stays, and the error names both."""
    with bench.failing("mx3"), pytest.raises(RejectedError, match=r"mx1 .*mx3|mx3 .*mx1"):
        asyncio.run(bench.driver().apply(bench.shifted))
    assert bench.truth() == bench.start


def test_settles_when_the_accelerator_is_deployed(bench: DialsBench) -> None:
    """While it is IN_PROGRESS some edge locations still send clients by the old dials."""
    driver = bench.driver()
    asyncio.run(driver.apply(bench.shifted))
    bench.pass_time(29)
    assert "has not yet told all its edge locations" in asyncio.run(driver.settling())
    bench.pass_time(1)
    assert asyncio.run(driver.settling()) == ""


def test_up_while_any_endpoint_is_healthy(bench: DialsBench) -> None:
    """A region of which no endpoint is healthy is not up; its dial is read all the same."""
    bench.world.accelerators.set_unhealthy("nlb-mx1")
    readings = asyncio.run(bench.driver().read())
    assert {name: reading.up for name, reading in readings.items()} == {"mx1": False, "mx2": True, "mx3": True}
    assert {name: reading.healthy for name, reading in readings.items()} == {"mx1": 0.0, "mx2": 1.0, "mx3": 1.0}


def test_healthy_is_the_share_of_a_regions_endpoints(bench: DialsBench) -> None:
    """One healthy endpoint of two is half of what the region stands for."""
    both = [{"EndpointId": name, "Weight": 7} for name in ("nlb-mx1", "nlb-mx1b")]
    bench.api.update_endpoint_group(EndpointGroupArn=bench.groups["mx1"], EndpointConfigurations=both)
    bench.world.clock.advance(60)
    bench.world.accelerators.set_unhealthy("nlb-mx1b")
    reading = asyncio.run(bench.driver().read())["mx1"]
    assert (reading.up, reading.healthy) == (True, 0.5)


def test_a_dial_between_two_percents_is_unfit(bench: DialsBench) -> None:
    """What cannot be put back exactly is not recorded: it is said, with the region."""
    bench.turn("mx2", 12.5)
    with pytest.raises(UnfitError, match=r"mx2: the traffic dial of eu-west-1 is 12\.5%"):
        asyncio.run(bench.driver().read())


def test_a_dial_that_turns_back_is_told(bench: DialsBench) -> None:
    """AWS takes the call, and then the dial is not as asked: an error names the member and both dials."""

    class Stubborn(DialsBench):
        def _note(self, params: Mapping[str, object], **_: object) -> None:
            super()._note(params)
            if isinstance(params, dict):
                params["TrafficDialPercentage"] = 55.0

    stubborn = Stubborn(bench.world, bench.shell)
    with pytest.raises(RejectedError, match="mx3 has a dial of 55 instead of 100"):
        asyncio.run(stubborn.driver().apply({"mx3": Intake(weight=100)}))
