"""An Auto Scaling group as what makes a pool larger, in a world of AWS."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from orchestrator.adapters.autoscaling import AutoScalingDriver
from orchestrator.adapters.aws import Aws
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.access import AwsAccess
from orchestrator.model.capacity import AutoScaling, ScalingReading
from orchestrator.testing.overlay import AwsWorld, aws_world
from tests.adapters.aws_shell import obey

REGION = "us-east-1"


class Group:
    """A group of 1 to 6 instances that has the 2 it wants; the test can put words into AWS's mouth."""

    def __init__(self, world: AwsWorld, name: str) -> None:
        self.world = world
        self.name = name
        self.api = boto3.client("autoscaling", region_name=REGION)
        self.api.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchConfigurationName="mx",
            MinSize=1,
            MaxSize=6,
            DesiredCapacity=2,
            AvailabilityZones=[f"{REGION}a"],
        )
        self.serve()
        self.instances: list[dict[str, Any]] = []
        """What AWS says otherwise, instance by instance."""
        self.late: list[dict[str, Any]] = []
        """What AWS says otherwise of the group, look by look, once it has been written to."""
        self.written: list[dict[str, Any]] = []
        self.aws = Aws(AwsAccess(region=REGION))
        events = self.aws._open_session().events
        events.register("after-call.auto-scaling.DescribeAutoScalingGroups", self._describe)
        events.register("provide-client-params.auto-scaling.SetDesiredCapacity", self._note)

    def driver(self) -> AutoScalingDriver:
        """A driver for it."""
        return AutoScalingDriver(AutoScaling(driver="autoscaling", group=self.name), self.aws, pause=0.0)

    def read(self) -> ScalingReading:
        """What the driver reads."""
        return asyncio.run(self.driver().read())

    def desired(self) -> int:
        """What AWS has been asked for."""
        found = self.api.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"]
        return int(found[0]["DesiredCapacity"])

    def serve(self) -> None:
        """Let time pass until what was launched is in service."""
        self.world.clock.advance(self.world.settings.instance_in_service_after)

    def _describe(self, parsed: dict[str, Any], **_: Any) -> None:
        for group in parsed["AutoScalingGroups"]:
            for number, said in enumerate(self.instances):
                group["Instances"][number].update(said)
            if self.written and self.late:
                group.update(self.late.pop(0))

    def _note(self, params: dict[str, Any], **_: Any) -> None:
        self.written.append(params)


@pytest.fixture(scope="module")
def world() -> Iterator[AwsWorld]:
    """AWS with time."""
    with aws_world() as world:
        ec2 = boto3.client("ec2", region_name=REGION)
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        boto3.client("autoscaling", region_name=REGION).create_launch_configuration(
            LaunchConfigurationName="mx", ImageId=image, InstanceType="t3.micro"
        )
        yield world


@pytest.fixture
def group(world: AwsWorld, request: pytest.FixtureRequest) -> Group:
    """A group of 1 to 6 instances that has the 2 it wants."""
    return Group(world, f"mx-{request.node.name}")


def test_reads_wish_health_and_limits(group: Group) -> None:
    """A group that has what it wants waits for nothing."""
    reading = group.read()
    assert (reading.desired, reading.healthy, reading.least, reading.most, reading.waits_for) == (2, 2, 1, 6, ())


def test_what_is_launched_counts_when_it_is_in_service(group: Group) -> None:
    """Until then it is named with the state that it is in, also while a lifecycle hook holds it."""
    group.api.put_lifecycle_hook(
        AutoScalingGroupName=group.name,
        LifecycleHookName="warm",
        LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
        HeartbeatTimeout=300,
        DefaultResult="CONTINUE",
    )
    asyncio.run(group.driver().set_desired(3))
    for state in ("Pending", "Pending:Wait"):
        reading = group.read()
        assert (reading.desired, reading.healthy) == (3, 2)
        (waits,) = reading.waits_for
        assert waits.startswith("i-")
        assert waits.endswith(f" is {state}")
        group.serve()
    group.world.clock.advance(300.0)
    reading = group.read()
    assert (reading.healthy, reading.waits_for) == (3, ())


def test_an_unhealthy_instance_does_not_count(group: Group) -> None:
    """It is in service, and is named with what its health check says."""
    group.instances = [{"HealthStatus": "Unhealthy"}]
    reading = group.read()
    assert reading.healthy == 1
    assert [waits.partition(" ")[2] for waits in reading.waits_for] == ["is Unhealthy"]


def test_says_why_the_last_launch_failed(group: Group) -> None:
    """AWS's own message; and no more of it once a launch has worked."""
    group.world.groups.set_launches(group.name, "refused")
    asyncio.run(group.driver().set_desired(3))
    group.serve()
    (why,) = group.read().waits_for
    assert why.startswith("the last activity failed: ")
    assert "capacity" in why
    group.world.groups.set_launches(group.name, "healthy")
    for _ in range(20):
        group.serve()
    assert group.read().waits_for == ()


def test_says_that_nothing_is_launched(group: Group) -> None:
    """With the process Launch suspended an instance would never come."""
    group.api.suspend_processes(AutoScalingGroupName=group.name, ScalingProcesses=["Launch", "AZRebalance"])
    asyncio.run(group.driver().set_desired(3))
    assert next(waits for waits in group.read().waits_for if "suspended" in waits).startswith("the process Launch is")


def test_weights_of_instances_count(group: Group) -> None:
    """In a mixed group an instance counts as much as its weight, as the group's wish does."""
    group.instances = [{"WeightedCapacity": "4"}, {"LifecycleState": "Pending", "WeightedCapacity": "2"}]
    assert group.read().healthy == 4


def test_sets_the_wish_at_once(group: Group) -> None:
    """No cooldown is honoured, and AWS has the number afterwards."""
    asyncio.run(group.driver().set_desired(5))
    assert group.desired() == 5
    assert group.written[0]["HonorCooldown"] is False
    assert group.read().desired == 5


def test_asking_again_writes_nothing(group: Group) -> None:
    """What is wished already is not asked for again."""
    asyncio.run(group.driver().set_desired(2))
    assert group.written == []


@pytest.mark.parametrize("count", [0, 7])
def test_refuses_what_is_beyond_the_groups_limits(group: Group, count: int) -> None:
    """The limits are told, and AWS is not asked."""
    with pytest.raises(RejectedError, match=f"to {count}: its limits are 1 to 6"):
        asyncio.run(group.driver().set_desired(count))
    assert group.written == []


def test_a_late_answer_is_waited_for(group: Group) -> None:
    """Two old answers after the write are no error."""
    group.late = [{"DesiredCapacity": 2}] * 2
    asyncio.run(group.driver().set_desired(4))
    assert group.late == []


def test_somebody_elses_wish_is_said(group: Group) -> None:
    """Where a policy sets another number at once, that number is told."""
    group.late = [{"DesiredCapacity": 3}] * 9
    with pytest.raises(RejectedError, match="to 4: it wants 3"):
        asyncio.run(group.driver().set_desired(4))


def test_a_group_that_is_not_there_is_named(group: Group) -> None:
    """Reading and writing say the same."""
    driver = AutoScalingDriver(AutoScaling(driver="autoscaling", group="mx-old"), group.aws)
    for work in (driver.read(), driver.set_desired(2)):
        with pytest.raises(UnfitError, match="mx-old"):
            asyncio.run(work)


def test_a_person_does_the_same_by_hand(group: Group) -> None:
    """The command is the one that AWS's own command line takes."""
    (line,) = group.driver().by_hand(3)
    obey(line)
    assert group.desired() == 3
