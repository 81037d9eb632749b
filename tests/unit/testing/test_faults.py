"""Faults by name, met by botocore's own retries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from orchestrator.testing.overlay import AwsWorld, aws_world
from tests.unit.testing.mail_front import REGION, mail_front

ONE_TRY = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=5, read_timeout=20)
FIVE_TRIES = Config(retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=20)


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """A new world."""
    with aws_world() as world:
        yield world


def _client(service: str, config: Config = ONE_TRY) -> Any:
    return boto3.client(service, region_name=REGION, config=config)


def _code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


@pytest.mark.parametrize(
    ("service", "operation", "method", "throttled", "denied"),
    [
        ("elbv2", "DescribeLoadBalancers", "describe_load_balancers", "Throttling", "AccessDenied"),
        ("autoscaling", "DescribeAutoScalingGroups", "describe_auto_scaling_groups", "Throttling", "AccessDenied"),
        ("ec2", "DescribeVpcs", "describe_vpcs", "RequestLimitExceeded", "UnauthorizedOperation"),
        ("route53", "ListHostedZones", "list_hosted_zones", "Throttling", "AccessDenied"),
        ("health", "DescribeEvents", "describe_events", "ThrottlingException", "AccessDeniedException"),
        ("arc-zonal-shift", "ListZonalShifts", "list_zonal_shifts", "ThrottlingException", "AccessDeniedException"),
        ("globalaccelerator", "ListAccelerators", "list_accelerators", "ThrottlingException", "AccessDeniedException"),
    ],
)
def test_each_service_says_it_in_its_own_words(
    world: AwsWorld, service: str, operation: str, method: str, throttled: str, denied: str
) -> None:
    """Throttling and denial come with the code and in the protocol of the service that is called."""
    world.faults.inject("throttling", service, operation)
    world.faults.inject("access-denied", service, operation)
    call = getattr(_client(service), method)
    assert _code(call) == throttled
    assert _code(call) == denied


def test_retries_get_through_what_is_throttled(world: AwsWorld) -> None:
    """Botocore tries again after a back-off that takes the world's time and none of ours, and succeeds."""
    fault = world.faults.inject("throttling", "elbv2", "DescribeLoadBalancers", times=3)
    reply = _client("elbv2", FIVE_TRIES).describe_load_balancers()
    assert reply["ResponseMetadata"]["RetryAttempts"] == fault.hits == 3
    waits = [wait.seconds for wait in world.calls.waits]
    assert len(waits) == 3
    assert all(0 < wait <= 2**number for number, wait in enumerate(waits))
    assert world.clock.monotonic() == pytest.approx(sum(waits))


def test_retries_give_up(world: AwsWorld) -> None:
    """A call that is throttled for ever fails after as many tries as the client was given."""
    fault = world.faults.inject("throttling", "elbv2", "DescribeLoadBalancers", times=None)
    assert _code(_client("elbv2", FIVE_TRIES).describe_load_balancers) == "Throttling"
    assert fault.hits == 5


def test_what_is_denied_is_not_tried_again(world: AwsWorld) -> None:
    """A denial is final: there is one try."""
    fault = world.faults.inject("access-denied", "elbv2", "DescribeLoadBalancers", times=None)
    assert _code(_client("elbv2", FIVE_TRIES).describe_load_balancers) == "AccessDenied"
    assert fault.hits == 1


def test_a_refused_call_is_not_done(world: AwsWorld) -> None:
    """What AWS refuses has had no effect."""
    front = mail_front()
    world.faults.inject("access-denied", "elbv2", "RegisterTargets")
    with pytest.raises(ClientError):
        front.register(("10.0.1.11", 25))
    assert front.states() == {}


@pytest.mark.parametrize(
    ("name", "error", "seconds", "done"),
    [
        ("timeout", ReadTimeoutError, 20, False),
        ("reply-lost", ReadTimeoutError, 20, True),
        ("connect-timeout", ConnectTimeoutError, 5, False),
    ],
)
def test_timeouts_take_their_time(
    world: AwsWorld, name: str, error: type[Exception], seconds: float, done: bool
) -> None:
    """A timeout takes the client's own limit of the world's time; only a lost reply leaves the call done."""
    front = mail_front(config=ONE_TRY)
    world.faults.inject(name, "elbv2", "RegisterTargets")
    with pytest.raises(error):
        front.register(("10.0.1.11", 25))
    assert world.clock.monotonic() == seconds
    assert bool(front.states()) == done


def test_a_fault_meets_only_what_matches(world: AwsWorld) -> None:
    """A fault for one target leaves the calls for others alone, also in the same group."""
    front = mail_front(config=ONE_TRY)
    world.faults.inject("access-denied", "elbv2", "RegisterTargets", matching={"Targets": [{"Id": "10.0.1.12"}]})
    front.register(("10.0.1.11", 25))
    with pytest.raises(ClientError):
        front.register(("10.0.1.11", 25), ("10.0.1.12", 25))
    assert front.states() == {("10.0.1.11", 25): "initial"}


def test_every_operation_of_a_service_can_fail(world: AwsWorld) -> None:
    """A star stands for all operations of the service, and for no other service."""
    world.faults.inject("throttling", "elbv2", "*", times=2)
    assert _code(_client("elbv2").describe_load_balancers) == "Throttling"
    assert _code(_client("elbv2").describe_target_groups) == "Throttling"
    _client("ec2").describe_vpcs()


def test_an_unhealthy_target_stays_so(world: AwsWorld) -> None:
    """What a matched registration registers never becomes healthy; other targets do."""
    front = mail_front()
    world.faults.inject("unhealthy-target", matching={"Targets": [{"Id": "10.0.1.11"}]})
    front.register(("10.0.1.11", 25))
    front.register(("10.0.1.12", 25))
    world.clock.advance(3_600)
    assert front.states() == {("10.0.1.11", 25): "unhealthy", ("10.0.1.12", 25): "healthy"}


def test_faults_of_one_call_come_one_after_the_other(world: AwsWorld) -> None:
    """Of several faults for a call each try meets one, in the order in which they were injected."""
    world.faults.inject("throttling", "elbv2", "DescribeLoadBalancers", times=2)
    world.faults.inject("timeout", "elbv2", "DescribeLoadBalancers")
    reply = _client("elbv2", FIVE_TRIES).describe_load_balancers()
    assert reply["ResponseMetadata"]["RetryAttempts"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trottling", "elbv2", "ModifyListener"), "no such fault"),
        (("throttling", "elb2", "ModifyListener"), "no service"),
        (("throttling", "elbv2", "ModifyListeners"), "no operation ModifyListeners"),
        (("throttling", "elbv2"), "needs a service and an operation"),
        (("never-in-sync", "elbv2", "ModifyListener"), "belongs to route53 ChangeResourceRecordSets"),
        (("throttling", "elbv2", "ModifyListener", 1, {"Listener": "x"}), "no argument Listener"),
    ],
)
def test_a_fault_that_nothing_could_meet_is_refused(world: AwsWorld, arguments: tuple[Any, ...], said: str) -> None:
    """A name, service, operation or argument that is not there is an error, not a test that tests nothing."""
    with pytest.raises(ValueError, match=said):
        world.faults.inject(*arguments)


def test_faults_that_nothing_has_met_are_known(world: AwsWorld) -> None:
    """A test can see which of its faults no call has met."""
    met = world.faults.inject("throttling", "elbv2", "DescribeLoadBalancers")
    unmet = world.faults.inject("throttling", "elbv2", "ModifyListener")
    assert _code(_client("elbv2").describe_load_balancers) == "Throttling"
    assert met.hits == 1
    assert world.faults.unmet() == (unmet,)
    world.faults.clear()
    assert world.faults.unmet() == ()


def test_jitter_is_the_same_with_the_same_seed() -> None:
    """Two worlds of one seed wait alike and invent the same ids; another seed does not."""

    def tell(seed: int) -> tuple[Any, ...]:
        with aws_world(seed) as world:
            world.faults.inject("throttling", "ec2", "CreateVpc", times=3)
            vpc = _client("ec2", FIVE_TRIES).create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
            return vpc, *world.calls.waits

    assert tell(1) == tell(1) != tell(2)


def test_a_change_that_never_gets_in_sync(world: AwsWorld) -> None:
    """The change that a matched call makes stays PENDING for ever; the next one gets in sync."""
    route53 = _client("route53")
    zone = route53.create_hosted_zone(Name="example.com.", CallerReference="1")["HostedZone"]["Id"]

    def change(value: str) -> str:
        record = {"Name": "mx.example.com.", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": value}]}
        batch = {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": record}]}
        reply = route53.change_resource_record_sets(HostedZoneId=zone, ChangeBatch=batch)
        return str(reply["ChangeInfo"]["Id"])

    world.faults.inject("never-in-sync")
    stuck, fine = change("192.0.2.1"), change("192.0.2.2")
    world.clock.advance(86_400)
    assert route53.get_change(Id=stuck)["ChangeInfo"]["Status"] == "PENDING"
    assert route53.get_change(Id=fine)["ChangeInfo"]["Status"] == "INSYNC"
