"""ARC and Global Accelerator in a world with time: what tests of runbooks can say and see there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError

from orchestrator.testing.overlay import AwsWorld, aws_world

RESOURCE = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/edge/0123456789abcdef"


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """AWS with time."""
    with aws_world() as world:
        yield world


def cluster(world: AwsWorld, region: str = "us-east-1", url: str = "") -> Any:
    """A client of one of the cluster's endpoints."""
    return boto3.client(
        "route53-recovery-cluster",
        region_name=region,
        endpoint_url=url or world.arc.routing.endpoints[region],
        config=Config(retries={"total_max_attempts": 1}),
    )


def test_controls_are_set_all_or_none(world: AwsWorld) -> None:
    """One that is not there, or a safety rule, and no control of the call is set; an override does it."""
    one, two = (world.arc.routing.add_control(name, on=True) for name in ("one", "two"))
    rule = world.arc.routing.add_rule("at-least-one", [one, two])
    off = [{"RoutingControlArn": arn, "RoutingControlState": "Off"} for arn in (one, two)]
    unknown = {"RoutingControlArn": f"{one}0", "RoutingControlState": "Off"}
    api = cluster(world)
    for entries, code in (([*off[:1], unknown], "ResourceNotFoundException"), (off, "ConflictException")):
        with pytest.raises(ClientError, match=code):
            api.update_routing_control_states(UpdateRoutingControlStateEntries=entries)
        assert world.arc.routing.states() == {one: True, two: True}
    api.update_routing_control_states(UpdateRoutingControlStateEntries=off, SafetyRulesToOverride=[rule])
    assert api.get_routing_control_state(RoutingControlArn=one)["RoutingControlState"] == "Off"


def test_only_the_clusters_endpoints_answer(world: AwsWorld) -> None:
    """Another address, another region's, or one that is cut cannot be reached; one in maintenance says so."""
    routing = world.arc.routing
    elsewhere = [
        cluster(world, url="https://other.example.com"),
        cluster(world, "eu-west-1", routing.endpoints["us-east-1"]),
    ]
    routing.cut("us-west-2")
    for api in (*elsewhere, cluster(world, "us-west-2")):
        with pytest.raises(EndpointConnectionError):
            api.list_routing_controls()
    routing.be_unavailable("us-east-1")
    with pytest.raises(ClientError, match="EndpointTemporarilyUnavailableException"):
        cluster(world).list_routing_controls()
    routing.mend("us-east-1")
    assert cluster(world).list_routing_controls()["RoutingControls"] == []


def test_lists_controls_in_pages(world: AwsWorld) -> None:
    """Of one panel or of all, so many at a time."""
    for number in range(5):
        world.arc.routing.add_control(f"c{number}", panel="near" if number else "far")
    near = world.arc.routing.add_control("c5", panel="near").partition("/routingcontrol/")[0]
    pages = cluster(world).get_paginator("list_routing_controls").paginate(ControlPanelArn=near, MaxResults=2)
    assert [[one["RoutingControlName"] for one in page["RoutingControls"]] for page in pages] == [
        ["c1", "c2"],
        ["c3", "c4"],
        ["c5"],
    ]


def start(api: Any, zone: str = "use1-az1", lasts: str = "1h") -> str:
    """Start a zonal shift; returns its id."""
    given = {"resourceIdentifier": RESOURCE, "awayFrom": zone, "expiresIn": lasts, "comment": ""}
    return str(api.start_zonal_shift(**given)["zonalShiftId"])


def test_a_shift_lasts_until_it_expires(world: AwsWorld) -> None:
    """Its zone weighs 0 for its time and no second longer; then it cannot be cancelled any more."""
    world.arc.shifts.add_resource(RESOURCE, "use1-az1", "use1-az2")
    api = boto3.client("arc-zonal-shift", region_name="us-east-1")
    shift = start(api)
    world.clock.advance(3599)
    assert api.get_managed_resource(resourceIdentifier=RESOURCE)["appliedWeights"] == {"use1-az1": 0, "use1-az2": 1}
    world.clock.advance(1)
    assert api.get_managed_resource(resourceIdentifier=RESOURCE)["appliedWeights"] == {"use1-az1": 1, "use1-az2": 1}
    with pytest.raises(ClientError, match="ConflictException"):
        api.cancel_zonal_shift(zonalShiftId=shift)
    listed = api.list_zonal_shifts(resourceIdentifier=RESOURCE, status="EXPIRED")["items"]
    assert [one["zonalShiftId"] for one in listed] == [shift]


def test_a_resource_takes_one_shift(world: AwsWorld) -> None:
    """A second one is a conflict that names the first; a zone or a time that cannot be is no shift at all."""
    world.arc.shifts.add_resource(RESOURCE, "use1-az1", "use1-az2")
    api = boto3.client("arc-zonal-shift", region_name="us-east-1")
    for zone, lasts in (("use1-az9", "1h"), ("use1-az1", "73h")):
        with pytest.raises(ClientError, match="ValidationException"):
            start(api, zone, lasts)
    first = start(api)
    with pytest.raises(ClientError) as told:
        start(api, "use1-az2")
    assert (told.value.response["reason"], told.value.response["zonalShiftId"]) == ("ZonalShiftAlreadyExists", first)


def test_a_persons_shift_comes_before_awss(world: AwsWorld) -> None:
    """An autoshift takes traffic from its zone until somebody shifts away from another, and again after that."""
    shifts = world.arc.shifts
    shifts.add_resource(RESOURCE, "use1-az1", "use1-az2", "use1-az3")
    shifts.start_practice_run(RESOURCE, "use1-az3")
    shifts.start_autoshift(RESOURCE, "use1-az2")
    api = boto3.client("arc-zonal-shift", region_name="us-east-1")
    assert shifts.weights(RESOURCE) == {"use1-az1": 1, "use1-az2": 0, "use1-az3": 1}
    shift = start(api)
    said = api.get_managed_resource(resourceIdentifier=RESOURCE)
    assert said["appliedWeights"] == {"use1-az1": 0, "use1-az2": 1, "use1-az3": 1}
    assert [one["appliedStatus"] for one in (*said["zonalShifts"], *said["autoshifts"])] == [
        "APPLIED",
        "NOT_APPLIED",
        "NOT_APPLIED",
    ]
    api.cancel_zonal_shift(zonalShiftId=shift)
    assert shifts.weights(RESOURCE)["use1-az2"] == 0


def test_an_accelerator_is_deployed_in_time(world: AwsWorld) -> None:
    """After each change it is IN_PROGRESS, then DEPLOYED; its endpoints are INITIAL, then healthy or not."""
    api = boto3.client("globalaccelerator", region_name="us-west-2")
    arn = api.create_accelerator(Name="edge", IdempotencyToken="1")["Accelerator"]["AcceleratorArn"]
    ports = [{"FromPort": 25, "ToPort": 25}]
    listener = api.create_listener(AcceleratorArn=arn, Protocol="TCP", PortRanges=ports, IdempotencyToken="1")
    given = {"ListenerArn": listener["Listener"]["ListenerArn"], "EndpointGroupRegion": "us-east-1"}
    endpoints = [{"EndpointId": "nlb-1"}, {"EndpointId": "nlb-2"}]
    made = api.create_endpoint_group(**given, EndpointConfigurations=endpoints, IdempotencyToken="1")
    group = made["EndpointGroup"]["EndpointGroupArn"]
    with pytest.raises(ClientError, match="EndpointGroupAlreadyExistsException"):
        api.create_endpoint_group(**given, IdempotencyToken="2")
    world.accelerators.set_unhealthy("nlb-2")

    def seen() -> tuple[str, list[str]]:
        described = api.describe_endpoint_group(EndpointGroupArn=group)["EndpointGroup"]["EndpointDescriptions"]
        status = api.describe_accelerator(AcceleratorArn=arn)["Accelerator"]["Status"]
        return status, [one["HealthState"] for one in described]

    assert seen() == ("IN_PROGRESS", ["INITIAL", "UNHEALTHY"])
    world.clock.advance(30)
    assert seen() == ("DEPLOYED", ["HEALTHY", "UNHEALTHY"])
    api.update_endpoint_group(EndpointGroupArn=group, TrafficDialPercentage=0.0)
    assert seen() == ("IN_PROGRESS", ["HEALTHY", "UNHEALTHY"])
