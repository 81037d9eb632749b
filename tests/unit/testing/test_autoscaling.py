"""Auto Scaling groups in the world of a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from orchestrator.testing.overlay import AwsWorld, aws_world
from tests.unit.testing.mail_fleet import LAUNCHING, NAME, TERMINATING, MailFleet, mail_fleet

BOOTS = 60.0


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """A new world."""
    with aws_world() as world:
        yield world


@pytest.fixture
def fleet(world: AwsWorld) -> MailFleet:
    """A fleet of two in service."""
    fleet = mail_fleet()
    world.clock.advance(BOOTS + 20)
    return fleet


def test_instances_take_time_to_come_into_service(world: AwsWorld) -> None:
    """New instances are Pending, then in service, then healthy at the load balancer, each after its time."""
    fleet = mail_fleet()
    world.clock.advance(BOOTS - 1)
    assert fleet.states() == {"Pending": 2}
    assert fleet.targets() == {}
    world.clock.advance(1)
    assert fleet.states() == {"InService": 2}
    assert set(fleet.targets().values()) == {"initial"}
    world.clock.advance(20)
    assert fleet.targets() == dict.fromkeys(fleet.instances(), "healthy")


def test_scaling_out_adds_what_is_missing(world: AwsWorld, fleet: MailFleet) -> None:
    """More are launched for a greater desired capacity, and the activity says how it goes."""
    fleet.want(3)
    assert fleet.states() == {"InService": 2, "Pending": 1}
    newest = fleet.activities()[0]
    assert (newest["StatusCode"], newest["Description"].split(":")[0]) == (
        "PreInService",
        "Launching a new EC2 instance",
    )
    world.clock.advance(BOOTS)
    assert fleet.states() == {"InService": 3}
    newest = fleet.activities()[0]
    assert newest["StatusCode"] == "Successful"
    assert (newest["EndTime"] - newest["StartTime"]).total_seconds() == BOOTS


def test_scaling_in_drains_first(world: AwsWorld, fleet: MailFleet) -> None:
    """An instance that is too much drains at the load balancer before it is terminated."""
    oldest, other = fleet.instances()
    fleet.want(1)
    assert fleet.states() == {"Terminating": 1, "InService": 1}
    assert fleet.targets() == {oldest: "draining", other: "healthy"}
    assert fleet.activities()[0]["StatusCode"] == "WaitingForELBConnectionDraining"
    world.clock.advance(299)
    assert fleet.states() == {"Terminating": 1, "InService": 1}
    world.clock.advance(1)
    assert fleet.instances() == [other]
    gone = fleet.ec2.describe_instances(InstanceIds=[oldest])["Reservations"][0]["Instances"][0]
    assert gone["State"]["Name"] == "terminated"


@pytest.mark.parametrize(("count", "said"), [(7, "above max value 6"), (0, "below min value 1")])
def test_a_group_keeps_to_its_limits(fleet: MailFleet, count: int, said: str) -> None:
    """A desired capacity beyond the group's own limits is refused, and nothing changes."""
    with pytest.raises(ClientError, match=said) as caught:
        fleet.want(count)
    assert caught.value.response["Error"]["Code"] == "ValidationError"
    assert fleet.describe()["DesiredCapacity"] == 2


def test_a_hook_holds_a_new_instance(world: AwsWorld, fleet: MailFleet) -> None:
    """A launching hook holds an instance in Pending:Wait until it is completed; it gets no traffic before."""
    fleet.hook(LAUNCHING)
    fleet.want(3)
    world.clock.advance(BOOTS)
    assert fleet.states() == {"InService": 2, "Pending:Wait": 1}
    (held,) = world.groups.held
    assert held.instance not in fleet.targets()
    assert fleet.activities()[0]["StatusCode"] == "MidLifecycleAction"
    fleet.complete("CONTINUE", LifecycleActionToken=held.token)
    assert fleet.states() == {"InService": 3}
    assert fleet.targets()[held.instance] == "initial"
    assert world.groups.held == ()


@pytest.mark.parametrize(("default", "states"), [("CONTINUE", {"InService": 3}), ("ABANDON", {"InService": 2})])
def test_a_hook_takes_its_default_when_its_time_is_over(
    world: AwsWorld, fleet: MailFleet, default: str, states: dict[str, int]
) -> None:
    """Without an answer within the heartbeat timeout the hook's default result is taken."""
    fleet.hook(LAUNCHING, timeout=90, default=default)
    fleet.want(3)
    world.clock.advance(BOOTS + 89)
    assert fleet.states() == {"InService": 2, "Pending:Wait": 1}
    world.clock.advance(1)
    assert {state: number for state, number in fleet.states().items() if state == "InService"} == states


def test_an_abandoned_launch_is_replaced(world: AwsWorld, fleet: MailFleet) -> None:
    """An instance whose launch is abandoned is terminated, another is launched, and the activity says why."""
    fleet.hook(LAUNCHING)
    fleet.want(3)
    world.clock.advance(BOOTS)
    (held,) = world.groups.held
    fleet.complete("ABANDON", InstanceId=held.instance)
    world.clock.advance(0)
    assert held.instance not in fleet.instances()
    assert fleet.states() == {"InService": 2, "Pending": 1}
    cancelled = [one for one in fleet.activities() if one["StatusCode"] == "Cancelled"]
    assert [held.instance in one["Description"] for one in cancelled] == [True]
    assert "abandoned" in cancelled[0]["StatusMessage"]


def test_a_heartbeat_puts_the_end_off(world: AwsWorld, fleet: MailFleet) -> None:
    """Each heartbeat gives the hook its whole timeout again."""
    fleet.hook(LAUNCHING, timeout=100)
    fleet.want(3)
    world.clock.advance(BOOTS)
    for _ in range(3):
        world.clock.advance(90)
        (held,) = world.groups.held
        fleet.autoscaling.record_lifecycle_action_heartbeat(
            LifecycleHookName="warm", AutoScalingGroupName=NAME, InstanceId=held.instance
        )
    world.clock.advance(99)
    assert fleet.states() == {"InService": 2, "Pending:Wait": 1}
    world.clock.advance(1)
    assert held.instance not in [one.instance for one in world.groups.held]


def test_heartbeats_end_some_time(world: AwsWorld, fleet: MailFleet) -> None:
    """Heartbeats cannot hold longer than 100 times the timeout."""
    fleet.hook(LAUNCHING, timeout=30, default="CONTINUE")
    fleet.want(3)
    world.clock.advance(BOOTS)
    for _ in range(150):
        (held,) = world.groups.held
        fleet.autoscaling.record_lifecycle_action_heartbeat(
            LifecycleHookName="warm", AutoScalingGroupName=NAME, InstanceId=held.instance
        )
        world.clock.advance(20)
    assert fleet.states() == {"InService": 3}  # 3,000 s are over, and the last heartbeat is 20 s old


def test_a_hook_holds_an_instance_that_goes(world: AwsWorld, fleet: MailFleet) -> None:
    """A terminating hook holds an instance after it has drained, until it is completed with whatever result."""
    fleet.hook(TERMINATING)
    oldest, other = fleet.instances()
    fleet.want(1)
    world.clock.advance(300)
    assert fleet.states() == {"InService": 1, "Terminating:Wait": 1}
    assert fleet.targets() == {other: "healthy"}
    fleet.complete("ABANDON", InstanceId=oldest)
    assert fleet.instances() == [other]


def test_all_hooks_are_waited_for(world: AwsWorld, fleet: MailFleet) -> None:
    """With two hooks an instance comes into service when both have been completed."""
    fleet.hook(LAUNCHING, name="warm")
    fleet.hook(LAUNCHING, name="announce")
    fleet.want(3)
    world.clock.advance(BOOTS)
    instance = world.groups.held[0].instance
    fleet.complete("CONTINUE", "warm", InstanceId=instance)
    assert fleet.states() == {"InService": 2, "Pending:Wait": 1}
    fleet.complete("CONTINUE", "announce", InstanceId=instance)
    assert fleet.states() == {"InService": 3}


def test_completing_what_is_not_held_is_refused(fleet: MailFleet) -> None:
    """An action that does not wait, or waits no more, cannot be completed."""
    with pytest.raises(ClientError, match="No active Lifecycle Action found") as caught:
        fleet.complete("CONTINUE", InstanceId=fleet.instances()[0])
    assert caught.value.response["Error"]["Code"] == "ValidationError"


def test_hooks_of_a_new_group_hold_its_first_instances(world: AwsWorld) -> None:
    """Hooks that are given when the group is created hold the instances that it begins with."""
    hook = {"LifecycleHookName": "warm", "LifecycleTransition": LAUNCHING}
    fleet = mail_fleet(LifecycleHookSpecificationList=[hook])
    world.clock.advance(BOOTS)
    assert fleet.states() == {"Pending:Wait": 2}


def test_an_instance_that_somebody_terminates_is_replaced(world: AwsWorld, fleet: MailFleet) -> None:
    """The next health check finds that an instance is gone, and another is launched."""
    gone, stays = fleet.instances()
    fleet.ec2.terminate_instances(InstanceIds=[gone])
    world.clock.advance(30 + BOOTS + 300)
    assert fleet.states() == {"InService": 2}
    assert gone not in fleet.instances()
    assert stays in fleet.instances()


@pytest.mark.parametrize(("checked", "replaced"), [("ELB", True), ("EC2", False)])
def test_what_the_load_balancer_says_counts_if_asked_for(world: AwsWorld, checked: str, replaced: bool) -> None:
    """An unhealthy target is replaced after the grace period, if the group's health check is that of the ELB."""
    fleet = mail_fleet(HealthCheckType=checked)
    world.clock.advance(BOOTS)
    first = fleet.instances()[0]
    world.targets.set_unhealthy(fleet.front.group, first)
    world.clock.advance(119)
    assert fleet.states() == {"InService": 2}
    world.clock.advance(31)
    assert (fleet.states() == {"InService": 1, "Terminating": 1, "Pending": 1}) == replaced


def test_a_report_of_ill_health_is_heard(world: AwsWorld, fleet: MailFleet) -> None:
    """An instance that is reported as unhealthy, whatever the grace period, is replaced at the next look."""
    first = fleet.instances()[0]
    fleet.autoscaling.set_instance_health(InstanceId=first, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
    world.clock.advance(30)
    assert fleet.states() == {"InService": 1, "Terminating": 1, "Pending": 1}


def test_capacity_that_never_gets_healthy(world: AwsWorld, fleet: MailFleet) -> None:
    """With the fault new instances serve, but are never healthy, neither for the group nor for the load balancer."""
    world.faults.inject("never-healthy")
    fleet.want(3)
    for _ in range(40):
        world.clock.advance(30)
        healthy = [one for one in fleet.describe()["Instances"] if one["HealthStatus"] == "Healthy"]
        assert len([one for one in healthy if one["LifecycleState"] == "InService"]) == 2
        assert list(fleet.targets().values()).count("healthy") == 2
    assert len({one["Description"] for one in fleet.activities() if "Launching" in one["Description"]}) > 4


def test_capacity_that_there_is_not(world: AwsWorld, fleet: MailFleet) -> None:
    """With the fault nothing is launched, each try fails with AWS's reason, and later tries succeed when it is over."""
    world.faults.inject("no-capacity", operation="SetDesiredCapacity", matching={"DesiredCapacity": 4})
    fleet.want(4)
    assert fleet.states() == {"InService": 2}
    newest = fleet.activities()[0]
    assert newest["StatusCode"] == "Failed"
    assert "do not have sufficient t3.micro capacity" in newest["StatusMessage"]
    world.clock.advance(300)
    assert len([one for one in fleet.activities() if one["StatusCode"] == "Failed"]) == 11
    world.groups.set_launches(NAME, "healthy")
    world.clock.advance(30 + BOOTS)
    assert fleet.states() == {"InService": 4}


def test_standby_takes_no_traffic(world: AwsWorld, fleet: MailFleet) -> None:
    """An instance in standby drains and is not replaced; it comes back through Pending."""
    first, second = fleet.instances()
    fleet.autoscaling.enter_standby(AutoScalingGroupName=NAME, InstanceIds=[first], ShouldDecrementDesiredCapacity=True)
    assert fleet.states() == {"InService": 1, "Standby": 1}
    assert fleet.targets() == {first: "draining", second: "healthy"}
    world.clock.advance(600)
    assert fleet.states() == {"InService": 1, "Standby": 1}
    fleet.autoscaling.exit_standby(AutoScalingGroupName=NAME, InstanceIds=[first])
    assert fleet.states() == {"InService": 1, "Pending": 1}
    world.clock.advance(BOOTS + 20)
    assert fleet.targets() == {first: "healthy", second: "healthy"}


def test_activities_come_in_pages(world: AwsWorld, fleet: MailFleet) -> None:
    """The newest activities come first, and the token leads to the others."""
    fleet.want(4)
    paginator = fleet.autoscaling.get_paginator("describe_scaling_activities")
    pages = list(paginator.paginate(AutoScalingGroupName=NAME, PaginationConfig={"PageSize": 3}))
    assert [len(page["Activities"]) for page in pages] == [3, 1]
    found = [one["ActivityId"] for page in pages for one in page["Activities"]]
    assert found == [one["ActivityId"] for one in fleet.activities()]


def test_a_group_with_instances_is_deleted_by_force_only(world: AwsWorld, fleet: MailFleet) -> None:
    """Deleting a group that has instances is refused; with force they are terminated."""
    ids = fleet.instances()
    with pytest.raises(ClientError, match="instances") as caught:
        fleet.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=NAME)
    assert caught.value.response["Error"]["Code"] == "ResourceInUse"
    fleet.autoscaling.delete_auto_scaling_group(AutoScalingGroupName=NAME, ForceDelete=True)
    found = fleet.ec2.describe_instances(InstanceIds=ids)["Reservations"]
    assert {one["State"]["Name"] for each in found for one in each["Instances"]} == {"terminated"}
    world.clock.advance(3_600)
    assert fleet.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"] == []


def test_a_refresh_replaces_everything_a_few_at_a_time(world: AwsWorld) -> None:
    """A refresh keeps its share healthy, warms each new instance up, counts its progress, and ends."""
    fleet = mail_fleet(4)
    world.clock.advance(BOOTS + 20)
    fleet.refresh(MinHealthyPercentage=75, InstanceWarmup=100)
    begun = world.clock.monotonic()
    seen: dict[tuple[str, int], float] = {}
    for _ in range(200):
        world.clock.advance(5)
        assert fleet.states()["InService"] >= 3
        seen.setdefault(fleet.progress(), world.clock.monotonic() - begun)
    each = BOOTS + 100
    progress = {("InProgress", part): max(each * part / 25, 5) for part in (0, 25, 50, 75)}
    assert seen == {**progress, ("Successful", 100): 4 * each}
    world.clock.advance(300)
    assert fleet.images() == [fleet.new] * 4


def test_a_refresh_that_is_cancelled_stops(world: AwsWorld) -> None:
    """A cancelled refresh waits for what comes, and leaves the rest as it is; the group launches the old again."""
    fleet = mail_fleet(4)
    world.clock.advance(BOOTS + 20)
    old, new = fleet.old, fleet.new
    fleet.refresh(MinHealthyPercentage=75, InstanceWarmup=0)
    world.clock.advance(10)
    fleet.autoscaling.cancel_instance_refresh(AutoScalingGroupName=NAME)
    assert fleet.progress()[0] == "Cancelling"
    world.clock.advance(600)
    assert fleet.progress() == ("Cancelled", 25)
    assert fleet.images() == sorted([old, old, old, new])
    fleet.want(5)
    world.clock.advance(BOOTS)
    assert fleet.images() == sorted([old, old, old, old, new])


def test_a_refresh_can_be_rolled_back(world: AwsWorld) -> None:
    """A rollback replaces the new instances by old ones again, and says so."""
    fleet = mail_fleet(4)
    world.clock.advance(BOOTS + 20)
    fleet.refresh(MinHealthyPercentage=50, InstanceWarmup=0)
    world.clock.advance(BOOTS + 10)
    assert fleet.progress() == ("InProgress", 50)
    fleet.autoscaling.rollback_instance_refresh(AutoScalingGroupName=NAME)
    assert fleet.progress()[0] == "RollbackInProgress"
    world.clock.advance(900)
    assert fleet.progress() == ("RollbackSuccessful", 100)
    assert fleet.images() == [fleet.old] * 4


@pytest.mark.parametrize(("automatic", "end"), [(False, "Failed"), (True, "RollbackInProgress")])
def test_a_refresh_without_progress_fails(world: AwsWorld, automatic: bool, end: str) -> None:
    """When new instances never get healthy a refresh fails after an hour, or rolls back if it is to."""
    fleet = mail_fleet(4)
    world.clock.advance(BOOTS + 20)
    world.faults.inject("never-healthy", operation="StartInstanceRefresh")
    fleet.refresh(MinHealthyPercentage=75, InstanceWarmup=0, AutoRollback=automatic)
    world.clock.advance(3_590)
    assert fleet.progress() == ("InProgress", 0)
    world.clock.advance(20)
    assert fleet.progress()[0] == end
    world.groups.set_launches(NAME, "healthy")
    world.clock.advance(900)
    assert fleet.progress() == (("RollbackSuccessful", 100) if automatic else ("Failed", 0))
    assert fleet.states() == {"InService": 4}
    assert fleet.images() == [fleet.old] * 4


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("cancel_instance_refresh", "ActiveInstanceRefreshNotFound"),
        ("rollback_instance_refresh", "ActiveInstanceRefreshNotFound"),
    ],
)
def test_there_must_be_a_refresh(fleet: MailFleet, call: str, code: str) -> None:
    """Without an active refresh there is nothing to cancel or roll back."""
    with pytest.raises(ClientError) as caught:
        getattr(fleet.autoscaling, call)(AutoScalingGroupName=NAME)
    assert caught.value.response["Error"]["Code"] == code


def test_there_is_one_refresh_at_a_time(fleet: MailFleet) -> None:
    """A second refresh is refused while one is active."""
    fleet.refresh()
    with pytest.raises(ClientError) as caught:
        fleet.refresh()
    assert caught.value.response["Error"]["Code"] == "InstanceRefreshInProgress"


@pytest.mark.parametrize("preferences", [{"CheckpointPercentages": [50]}, {"MaxHealthyPercentage": 150}])
def test_what_is_not_played_is_not_ignored(fleet: MailFleet, preferences: dict[str, Any]) -> None:
    """A preference of a refresh that the overlay does not know is an error, not a test that passes for nothing."""
    with pytest.raises(NotImplementedError, match="StartInstanceRefresh"):
        fleet.refresh(**preferences)
