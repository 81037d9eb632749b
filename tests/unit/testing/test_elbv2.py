"""Targets of a load balancer in the world of a test."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from orchestrator.testing.overlay import AwsWorld, aws_world
from tests.unit.testing.mail_front import REGION, MailFront, listen, mail_front

MX1, MX2 = ("10.0.1.11", 25), ("10.0.1.12", 25)


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """A new world."""
    with aws_world() as world:
        yield world


@pytest.fixture
def front(world: AwsWorld) -> MailFront:
    """A mail front in it."""
    return mail_front()


def test_a_target_is_healthy_after_its_time(world: AwsWorld, front: MailFront) -> None:
    """A registered target is initial first, and healthy when the set time is over, not sooner."""
    front.register(MX1)
    world.clock.advance(19.9)
    assert front.states() == {MX1: "initial"}
    assert front.reason(MX1[0]) == "Elb.RegistrationInProgress"
    world.clock.advance(0.1)
    assert front.states() == {MX1: "healthy"}
    assert front.reason(MX1[0]) == ""


def test_the_groups_own_health_check_can_say_how_long(world: AwsWorld, front: MailFront) -> None:
    """Without a set time a target is healthy after the interval times the healthy threshold."""
    world.settings.target_healthy_after = None
    front.elbv2.modify_target_group(TargetGroupArn=front.group, HealthCheckIntervalSeconds=10, HealthyThresholdCount=3)
    front.register(MX1)
    world.clock.advance(29)
    assert front.states() == {MX1: "initial"}
    world.clock.advance(1)
    assert front.states() == {MX1: "healthy"}


def test_a_target_drains_for_the_delay_of_its_group(world: AwsWorld, front: MailFront) -> None:
    """A deregistered target is listed as draining for the delay; then it is gone, and says so when asked by its id."""
    front.drain_for(120)
    front.register(MX1, MX2)
    world.clock.advance(20)
    front.deregister(MX1)
    world.clock.advance(119)
    assert front.states() == {MX1: "draining", MX2: "healthy"}
    world.clock.advance(1)
    assert front.states() == {MX2: "healthy"}
    assert front.states(Targets=[{"Id": MX1[0]}]) == {MX1: "unused"}
    assert front.reason(MX1[0]) == "Target.NotRegistered"


def test_the_delay_is_that_of_the_moment_of_deregistration(world: AwsWorld, front: MailFront) -> None:
    """A delay that is changed while a target drains counts for the next one."""
    front.drain_for(60)
    front.register(MX1)
    world.clock.advance(20)
    front.deregister(MX1)
    front.drain_for(600)
    front.deregister(MX1)
    world.clock.advance(60)
    assert front.states() == {}


def test_a_draining_target_that_is_registered_starts_again(world: AwsWorld, front: MailFront) -> None:
    """Registering while it drains makes a target initial again, with the whole time before it."""
    front.register(MX1)
    world.clock.advance(20)
    front.deregister(MX1)
    world.clock.advance(5)
    front.register(MX1)
    assert front.states() == {MX1: "initial"}
    world.clock.advance(20)
    assert front.states() == {MX1: "healthy"}


def test_registering_a_healthy_target_again_changes_nothing(world: AwsWorld, front: MailFront) -> None:
    """A target that is registered already keeps its health."""
    front.register(MX1)
    world.clock.advance(20)
    front.register(MX1)
    assert front.states() == {MX1: "healthy"}


def test_ports_of_one_id_are_apart(world: AwsWorld, front: MailFront) -> None:
    """The same id on two ports is two targets: each drains for itself, and is unhealthy for itself."""
    smtp, submission = ("10.0.1.11", 25), ("10.0.1.11", 587)
    front.register(smtp, submission)
    world.clock.advance(20)
    front.deregister(submission)
    assert front.states() == {smtp: "healthy", submission: "draining"}
    world.clock.advance(300)
    assert front.states() == {smtp: "healthy"}
    front.register(submission)
    world.clock.advance(20)
    world.targets.set_unhealthy(front.group, "10.0.1.11", 587)
    assert front.states() == {smtp: "healthy", submission: "unhealthy"}


def test_an_id_without_a_port_is_the_one_at_the_groups_own(world: AwsWorld, front: MailFront) -> None:
    """Deregistered without a port, a target on another port of the same id stays; one at the group's own goes."""
    smtp, submission = ("10.0.1.11", 25), ("10.0.1.11", 587)
    front.register(smtp, submission)
    world.clock.advance(20)
    front.elbv2.deregister_targets(TargetGroupArn=front.group, Targets=[{"Id": "10.0.1.11"}])
    assert front.states() == {smtp: "draining", submission: "healthy"}
    world.clock.advance(300)
    front.elbv2.deregister_targets(TargetGroupArn=front.group, Targets=[{"Id": "10.0.1.11"}])
    assert front.states() == {submission: "healthy"}


def test_the_tests_word_makes_unhealthy_and_healthy(world: AwsWorld, front: MailFront) -> None:
    """A target is unhealthy with a reason from the test's word on, on every port, until it is taken back."""
    front.register(MX1, MX2)
    world.clock.advance(20)
    world.targets.set_unhealthy(front.group, MX1[0], reason="Target.Timeout")
    assert front.states() == {MX1: "unhealthy", MX2: "healthy"}
    assert front.reason(MX1[0]) == "Target.Timeout"
    world.targets.set_healthy(front.group, MX1[0])
    assert front.states() == {MX1: "healthy", MX2: "healthy"}


def test_a_group_that_nothing_forwards_to_is_unused(world: AwsWorld) -> None:
    """Without a listener targets are unused for ever; checks begin when one forwards, and end when it is deleted."""
    front = mail_front(listening=False)
    front.register(MX1)
    world.clock.advance(500)
    assert front.states() == {MX1: "unused"}
    assert front.reason(MX1[0]) == "Target.NotInUse"
    listener = listen(front)
    assert front.states() == {MX1: "initial"}
    world.clock.advance(20)
    assert front.states() == {MX1: "healthy"}
    front.elbv2.delete_listener(ListenerArn=listener)
    assert front.states() == {MX1: "unused"}


def test_deregistering_what_is_not_there_is_no_error(front: MailFront) -> None:
    """AWS answers a deregistration of an unknown target with success."""
    front.deregister(MX1)
    assert front.states() == {}


def test_a_stopped_instance_is_unused(world: AwsWorld) -> None:
    """A target whose instance is stopped gets nothing, and says why; a terminated one drains away."""
    front = mail_front()
    ec2 = boto3.client("ec2", region_name=REGION)
    image = ec2.register_image(Name="mx-1", RootDeviceName="/dev/sda1")["ImageId"]
    run = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    instance = run["Instances"][0]["InstanceId"]
    front.register((instance, 25))
    world.clock.advance(20)
    assert front.states() == {(instance, 25): "healthy"}
    ec2.stop_instances(InstanceIds=[instance])
    assert front.reason(instance) == "Target.InvalidState"
    ec2.start_instances(InstanceIds=[instance])
    ec2.terminate_instances(InstanceIds=[instance])
    assert front.states() == {(instance, 25): "draining"}


def test_a_group_with_weight_nothing_is_still_in_use(world: AwsWorld, front: MailFront) -> None:
    """Forwarding with weight 0 keeps a group's health checks going; forwarding elsewhere ends them."""
    front.register(MX1)
    world.clock.advance(20)
    spare = front.elbv2.create_target_group(Name="spare", Protocol="TCP", Port=25, TargetType="ip", VpcId=front.vpc)[
        "TargetGroups"
    ][0]["TargetGroupArn"]

    def forward(**weights: int) -> None:
        arns = {"group": front.group, "spare": spare}
        groups = [{"TargetGroupArn": arns[name], "Weight": weight} for name, weight in weights.items()]
        actions = [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]
        front.elbv2.modify_listener(ListenerArn=front.listener, DefaultActions=actions)

    forward(group=0, spare=1)
    assert front.states() == {MX1: "healthy"}
    forward(spare=1)
    assert front.states() == {MX1: "unused"}
    forward(group=1)
    assert front.states() == {MX1: "initial"}
