"""ARC routing controls and zonal shifts as switches: the contract in a world of AWS, and what they ask for besides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.adapters.arc_zonal_shift import ArcZonalShiftDriver
from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.traffic import Intake
from orchestrator.testing.overlay import AwsWorld, aws_world
from tests.adapters.arc_bench import ZONES, ControlsBench, ZonesBench
from tests.adapters.aws_cli import aws_cli, run
from tests.adapters.switch_contract import SwitchContract

DRAIN = Intake(weight=1, admin="drain")
READY = Intake(weight=1)


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
def controls(world: AwsWorld, shell: Mapping[str, str]) -> ControlsBench:
    """Routing controls."""
    return ControlsBench(world, shell)


@pytest.fixture
def zones(world: AwsWorld, shell: Mapping[str, str]) -> ZonesBench:
    """Zones of a load balancer."""
    return ZonesBench(world, shell)


class TestArcRouting(SwitchContract):
    """The contract, on routing controls."""

    @pytest.fixture
    def bench(self, controls: ControlsBench) -> ControlsBench:
        """Routing controls."""
        return controls


class TestArcZonalShift(SwitchContract):
    """The contract, on zones of a load balancer."""

    @pytest.fixture
    def bench(self, zones: ZonesBench) -> ZonesBench:
        """Zones of a load balancer."""
        return zones


def test_one_call_sets_all_controls(controls: ControlsBench) -> None:
    """Controls on several panels are set in one call, which never asks to override a safety rule."""
    asyncio.run(controls.driver().apply({**controls.start, **controls.shifted}))
    (call,) = controls.written
    assert list(call) == ["UpdateRoutingControlStateEntries"]
    assert len(call["UpdateRoutingControlStateEntries"]) == 2


def test_a_safety_rule_stands(controls: ControlsBench) -> None:
    """What a safety rule forbids is not done at all, and its name is said."""
    with pytest.raises(RejectedError, match="violates safety rule one-of-them"):
        asyncio.run(controls.driver().apply({name: Intake(weight=0) for name in controls.start}))
    assert controls.truth() == controls.start


def test_one_endpoint_is_enough(controls: ControlsBench) -> None:
    """With two endpoints cut and two in maintenance, reading and setting still work, whichever is asked first."""
    one, two, three, four, _ = controls.cluster.endpoints
    for region in (one, two):
        controls.cluster.cut(region)
    for region in (three, four):
        controls.cluster.be_unavailable(region)
    asyncio.run(controls.driver().apply(controls.shifted))
    assert controls.truth() == {**controls.start, **controls.shifted}


def test_no_endpoint_is_unreachable(controls: ControlsBench) -> None:
    """When none answers, each is named with its reason; one try each, nothing is waited for."""
    for region in controls.cluster.endpoints:
        controls.cluster.cut(region)
    with pytest.raises(UnreachableError) as told:
        asyncio.run(controls.driver().read())
    assert all(region in str(told.value) for region in controls.cluster.endpoints)
    assert controls.world.calls.waits == ()


def test_a_slow_endpoint_is_left(controls: ControlsBench) -> None:
    """An endpoint that does not answer costs seconds, not a whole call's patience, and the next one is asked."""
    controls.world.faults.inject("timeout", "route53-recovery-cluster", "ListRoutingControls", times=4)
    before = controls.world.clock.monotonic()
    asyncio.run(controls.driver().read())
    assert 0 < controls.world.clock.monotonic() - before <= 4 * 3.0


def test_reads_where_it_wrote(controls: ControlsBench) -> None:
    """After one endpoint has answered, the next calls go there first: an endpoint that is away costs once."""
    driver = controls.driver()
    first = driver._endpoints[0][0]
    controls.cluster.cut(first)
    asyncio.run(driver.read())
    controls.cluster.mend(first)
    assert driver._endpoints[0][0] != first


def test_clients_follow_a_control_later(controls: ControlsBench) -> None:
    """Records follow by a health check, and clients after the TTL: both are waited out, anew after a restart."""
    driver = controls.driver()
    asyncio.run(driver.apply(controls.shifted))
    assert asyncio.run(driver.settling()) == "clients may hold the old answer for 1m30s more"
    controls.pass_time(80)
    asyncio.run(driver.apply(controls.shifted))
    assert asyncio.run(driver.settling()) == "clients may hold the old answer for 10s more"
    assert asyncio.run(controls.driver().settling()) == "clients may hold the old answer for 1m30s more"
    controls.pass_time(10)
    assert asyncio.run(driver.settling()) == ""


def test_a_lost_reply_counts_from_the_first_question(controls: ControlsBench) -> None:
    """Where no endpoint says whether it was done, the time begins when it is asked for."""
    driver = controls.driver()
    asyncio.run(driver.apply(controls.shifted))
    controls.pass_time(90)
    controls.world.faults.inject("timeout", "route53-recovery-cluster", "UpdateRoutingControlStates", times=5)
    with pytest.raises(UnreachableError):
        asyncio.run(driver.apply(controls.start))
    assert asyncio.run(driver.settling()) == "clients may hold the old answer for 1m30s more"


def test_controls_without_records_are_met_at_once(controls: ControlsBench) -> None:
    """A TTL of 0s says that no record follows: nothing is waited for."""
    controls.switch = controls.switch.model_copy(update={"ttl": 0.0})
    driver = controls.driver()
    asyncio.run(driver.apply(controls.shifted))
    assert asyncio.run(driver.settling()) == ""


def test_the_line_by_hand_goes_on_to_the_next_endpoint(controls: ControlsBench) -> None:
    """Pasted while the first two endpoints are away, it does it at the third; when all are, it fails."""
    (line,) = controls.driver().by_hand({"mx1": 0}, {})
    for region in list(controls.cluster.endpoints)[:2]:
        controls.cluster.cut(region)
    run(line, controls.shell)
    assert controls.truth()["mx1"] == Intake(weight=0)
    for region in controls.cluster.endpoints:
        controls.cluster.cut(region)
    with pytest.raises(AssertionError, match="Could not connect"):
        run(line, controls.shell)


def test_what_is_no_routing_control_is_unfit(controls: ControlsBench) -> None:
    """A member whose ARN is wrong is named with those that there are."""
    controls.switch = controls.switch.model_copy(update={"names": {**controls.names, "mx1": "arn:aws:other"}})
    with pytest.raises(UnfitError, match=r"mx1 among the routing controls.*routingcontrol/0000000000000002"):
        asyncio.run(controls.driver().read())


def test_a_second_zone_is_refused_with_the_first_ones_reason(zones: ZonesBench) -> None:
    """ARC takes one shift at a time: the refusal says which there is, until when and why; nothing is touched."""
    zones.shift("mx2")
    with pytest.raises(RejectedError, match=r"cannot drain mx1: .*use1-az2 .*until .*we try something"):
        asyncio.run(zones.driver().apply({"mx1": DRAIN}))
    with pytest.raises(RejectedError, match="cannot drain mx1, mx3"):
        asyncio.run(zones.driver().apply({"mx1": DRAIN, "mx2": READY, "mx3": DRAIN}))
    assert zones.truth() == {**zones.start, "mx2": DRAIN}


def test_goes_from_one_zone_to_another(zones: ZonesBench) -> None:
    """Asked in one step, the first shift is ended and the second begun, in this order."""
    zones.shift("mx2")
    asyncio.run(zones.driver().apply({"mx1": DRAIN, "mx2": READY}))
    assert zones.truth() == {**zones.start, "mx1": DRAIN}


def test_applying_again_renews_the_time(zones: ZonesBench) -> None:
    """A shift gets its whole time anew; one that somebody gave more time to is not shortened."""
    driver = zones.driver()
    asyncio.run(driver.apply(zones.shifted))
    zones.pass_time(3600)
    assert zones.left() == 11 * 3600
    asyncio.run(driver.apply(zones.shifted))
    assert zones.left() == 12 * 3600
    zones.api.update_zonal_shift(zonalShiftId=zones.active()["zonalShiftId"], expiresIn="72h")
    asyncio.run(driver.apply(zones.shifted))
    assert zones.left() == 72 * 3600


def test_a_shift_of_ours_lasts(zones: ZonesBench) -> None:
    """What this driver has started or renewed is as good as asked for, also an hour later."""
    driver = zones.driver()
    asyncio.run(driver.apply(zones.shifted))
    assert lapses(driver) == {}
    zones.pass_time(3600)
    assert lapses(driver) == {}


def test_a_shift_of_before_is_renewed(zones: ZonesBench) -> None:
    """A resumed run, as a new driver, does not trust the rest of an older shift's time, and gives it the whole anew."""
    asyncio.run(zones.driver().apply(zones.shifted))
    zones.pass_time(3600)
    driver = zones.driver()
    assert set(lapses(driver)) == {"mx1"}
    asyncio.run(driver.apply(zones.shifted))
    assert zones.left() == 12 * 3600
    zones.pass_time(60)
    assert lapses(driver) == {}


def test_somebody_elses_short_shift_lapses(zones: ZonesBench) -> None:
    """It would end before ours: the reading says until when, whose it is, and nothing of it once it was renewed."""
    zones.shift("mx1", "30m")
    driver = zones.driver()
    assert "use1-az1 is shifted away from until" in lapses(driver)["mx1"]
    assert "'we try something'" in lapses(driver)["mx1"]
    asyncio.run(driver.apply(zones.shifted))
    assert zones.left() == 12 * 3600
    assert lapses(driver) == {}


def test_a_shift_of_ours_that_somebody_shortens_lapses(zones: ZonesBench) -> None:
    """What ends earlier than we have asked for is not as we have asked for."""
    driver = zones.driver()
    asyncio.run(driver.apply(zones.shifted))
    zones.api.update_zonal_shift(zonalShiftId=zones.active()["zonalShiftId"], expiresIn="30m")
    assert set(lapses(driver)) == {"mx1"}


def test_a_longer_shift_of_somebody_else_will_do(zones: ZonesBench) -> None:
    """It lasts as long as ours would; once it was asked for, it counts for as long as it has."""
    zones.shift("mx1", "24h")
    driver = zones.driver()
    assert lapses(driver) == {}
    asyncio.run(driver.apply(zones.shifted))
    zones.pass_time(13 * 3600)
    assert lapses(driver) == {}


@pytest.mark.parametrize("kind", ["start_autoshift", "start_practice_run"])
def test_what_aws_shifts_by_itself_lapses(zones: ZonesBench, kind: str) -> None:
    """AWS ends it when it likes; with our own shift beside it the zone stays drained."""
    getattr(zones.shifts, kind)(zones.resource, ZONES["mx1"])
    driver = zones.driver()
    assert lapses(driver) == {"mx1": "AWS itself shifts away from use1-az1, until it ends that"}
    asyncio.run(driver.apply({"mx1": DRAIN}))
    assert lapses(driver) == {}


def test_an_expired_shift_is_over(zones: ZonesBench) -> None:
    """When its time is over the zone is ready again, and reading says so."""
    driver = zones.driver()
    asyncio.run(driver.apply(zones.shifted))
    zones.pass_time(12 * 3600)
    assert {name: one.intake for name, one in asyncio.run(driver.read()).items()} == zones.start


def test_an_autoshift_is_seen_and_left_alone(zones: ZonesBench) -> None:
    """AWS's own shift reads as drain; it is not ended, but a shift of ours can be put under it, and stays after it."""
    zones.shifts.start_autoshift(zones.resource, ZONES["mx1"])
    driver = zones.driver()
    assert asyncio.run(driver.read())["mx1"].intake == DRAIN
    with pytest.raises(RejectedError, match=r"cannot bring mx1 back: AWS itself"):
        asyncio.run(driver.apply({"mx1": READY}))
    asyncio.run(driver.apply({"mx1": DRAIN}))
    zones.shifts.end_autoshift(zones.resource, ZONES["mx1"])
    assert zones.truth() == {**zones.start, "mx1": DRAIN}


def test_a_practice_run_gives_way(zones: ZonesBench) -> None:
    """A practice run reads as drain, and ends nothing: our shift away from another zone comes before it."""
    zones.shifts.start_practice_run(zones.resource, ZONES["mx2"])
    driver = zones.driver()
    assert asyncio.run(driver.read())["mx2"].intake == DRAIN
    asyncio.run(driver.apply({"mx1": DRAIN}))
    assert zones.truth() == {**zones.start, "mx1": DRAIN}


def test_somebody_who_shifts_first_is_told(zones: ZonesBench) -> None:
    """A shift that another hand starts between our look and our write is left to it, and we say so."""
    with zones.racing({"mx3": DRAIN}), pytest.raises(RejectedError, match="somebody else changed it meanwhile"):
        asyncio.run(zones.driver().apply(zones.shifted))
    assert zones.truth() == {**zones.start, "mx3": DRAIN}


def test_a_zone_has_no_weight(zones: ZonesBench) -> None:
    """A changed weight is refused with the member's name."""
    with pytest.raises(RejectedError, match=r"mx2 .*no weights"):
        asyncio.run(zones.driver().apply({"mx2": Intake(weight=0)}))


def test_clients_hold_a_load_balancers_address(world: AwsWorld, shell: Mapping[str, str], zones: ZonesBench) -> None:
    """A load balancer's name has a TTL of 60 seconds; an Auto Scaling group has no name to be held."""
    driver = zones.driver()
    asyncio.run(driver.apply(zones.shifted))
    zones.pass_time(20)
    assert asyncio.run(driver.settling()) == "clients may hold the zone's address for 40s more"
    zones.pass_time(40)
    assert asyncio.run(driver.settling()) == ""
    group = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:1:autoScalingGroupName/mx"
    assert asyncio.run(ZonesBench(world, shell, group).driver().settling()) == ""


def test_a_shift_lasts_a_minute_to_three_days(zones: ZonesBench) -> None:
    """What ARC would refuse in the middle of a run is refused when the driver is made."""
    zones.switch = zones.switch.model_copy(update={"expires": 73 * 3600.0})
    with pytest.raises(UnfitError, match="1m to 72h"):
        zones.driver()


def lapses(driver: ArcZonalShiftDriver) -> dict[str, str]:
    """Why members are out for a while only, of those that are."""
    return {name: one.lapses for name, one in asyncio.run(driver.read()).items() if one.lapses}
