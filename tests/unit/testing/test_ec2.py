"""Images, status checks and scheduled maintenance in the world of a test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from orchestrator.testing.overlay import AwsWorld, aws_world
from tests.unit.testing.mail_fleet import mail_fleet

HERE, THERE = "us-east-1", "us-west-2"
DAY = 86_400.0


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """A new world."""
    with aws_world() as world:
        yield world


@pytest.fixture
def ec2(world: AwsWorld) -> Any:
    """A client of EC2 in it."""
    return boto3.client("ec2", region_name=HERE)


@pytest.fixture
def instance(ec2: Any) -> str:
    """An instance that runs."""
    image = ec2.register_image(Name="mx-1", RootDeviceName="/dev/sda1")["ImageId"]
    return _launch(ec2, image)


def _launch(ec2: Any, image: str) -> str:
    return str(ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"])


def _state(ec2: Any, image: str) -> str:
    return str(ec2.describe_images(ImageIds=[image])["Images"][0]["State"])


def _code(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    return str(caught.value.response["Error"]["Code"])


def _events(ec2: Any, **arguments: Any) -> list[dict[str, Any]]:
    found = ec2.describe_instance_status(IncludeAllInstances=True, **arguments)["InstanceStatuses"]
    return [event for status in found for event in status["Events"]]


def test_an_image_takes_its_time(world: AwsWorld, ec2: Any, instance: str) -> None:
    """A new image is pending and launches nothing until its time is over."""
    image = ec2.create_image(InstanceId=instance, Name="mx-2")["ImageId"]
    assert _state(ec2, image) == "pending"
    assert _code(_launch, ec2, image) == "InvalidAMIID.Unavailable"
    world.clock.advance(119)
    assert _state(ec2, image) == "pending"
    world.clock.advance(1)
    assert _state(ec2, image) == "available"
    _launch(ec2, image)


def test_the_waiter_for_an_image_takes_the_worlds_time(world: AwsWorld, ec2: Any, instance: str) -> None:
    """Botocore's own waiter comes to its end, and time has passed."""
    image = ec2.create_image(InstanceId=instance, Name="mx-2")["ImageId"]
    ec2.get_waiter("image_available").wait(ImageIds=[image])
    assert world.clock.monotonic() >= 120


def test_an_image_can_fail(world: AwsWorld, ec2: Any, instance: str) -> None:
    """An image that is to fail ends as failed, and launches nothing."""
    world.compute.fail_images(instance)
    image = ec2.create_image(InstanceId=instance, Name="mx-2")["ImageId"]
    world.clock.advance(120)
    assert _state(ec2, image) == "failed"
    assert _code(_launch, ec2, image) == "InvalidAMIID.Unavailable"


def test_what_is_deregistered_launches_nothing(ec2: Any, instance: str) -> None:
    """A deregistered image and one that never was are refused, each in AWS's words."""
    image = ec2.register_image(Name="mx-2", RootDeviceName="/dev/sda1")["ImageId"]
    ec2.deregister_image(ImageId=image)
    assert _code(_launch, ec2, image) == "InvalidAMIID.Unavailable"
    assert _code(_launch, ec2, "ami-0123456789abcdef0") == "InvalidAMIID.NotFound"


@pytest.mark.parametrize(("copied", "tags"), [(True, {"role": "mx", "copy": "yes"}), (False, {"copy": "yes"})])
def test_a_copy_has_the_tags_that_it_is_to_have(
    world: AwsWorld, ec2: Any, instance: str, copied: bool, tags: dict[str, str]
) -> None:
    """A copy in another region takes its time, and takes the user's tags only if it is told to."""
    image = ec2.create_image(InstanceId=instance, Name="mx-2")["ImageId"]
    ec2.create_tags(Resources=[image], Tags=[{"Key": "role", "Value": "mx"}])
    there = boto3.client("ec2", region_name=THERE)
    wanted = {
        "Name": "mx-2",
        "SourceImageId": image,
        "SourceRegion": HERE,
        "CopyImageTags": copied,
        "TagSpecifications": [{"ResourceType": "image", "Tags": [{"Key": "copy", "Value": "yes"}]}],
    }
    assert _code(there.copy_image, **wanted) == "InvalidAMIID.Unavailable"
    world.clock.advance(120)
    copy = there.copy_image(**wanted)["ImageId"]
    described = there.describe_images(ImageIds=[copy])["Images"][0]
    assert described["State"] == "pending"
    assert {tag["Key"]: tag["Value"] for tag in described["Tags"]} == tags
    world.clock.advance(120)
    assert _state(there, copy) == "available"


def test_a_group_cannot_launch_what_is_deregistered(world: AwsWorld) -> None:
    """A group whose image is gone launches nothing, and its activity says why."""
    fleet = mail_fleet()
    world.clock.advance(80)
    fleet.ec2.deregister_image(ImageId=fleet.old)
    fleet.want(3)
    assert fleet.states() == {"InService": 2}
    newest = fleet.activities()[0]
    assert newest["StatusCode"] == "Failed"
    assert fleet.old in newest["StatusMessage"]


def test_scheduled_maintenance_is_shown(world: AwsWorld, ec2: Any, instance: str) -> None:
    """An announced event is in describe-instance-status with its times, and nobody else has it."""
    other = _launch(ec2, ec2.register_image(Name="mx-2", RootDeviceName="/dev/sda1")["ImageId"])
    event = world.compute.schedule_event(instance, "system-reboot", after=3 * DAY, lasts=7_200, deadline=10 * DAY)
    (shown,) = _events(ec2)
    begins = datetime.fromtimestamp(world.clock.now() + 3 * DAY, UTC)
    assert (shown["InstanceEventId"], shown["Code"], shown["NotBefore"]) == (event, "system-reboot", begins)
    assert (shown["NotAfter"] - begins).total_seconds() == 7_200
    assert _events(ec2, InstanceIds=[other]) == []
    by_code = [{"Name": "event.code", "Values": ["system-reboot"]}]
    assert len(ec2.describe_instance_status(Filters=by_code)["InstanceStatuses"]) == 1
    by_code = [{"Name": "event.code", "Values": ["instance-stop"]}]
    assert ec2.describe_instance_status(Filters=by_code)["InstanceStatuses"] == []


@pytest.mark.parametrize(("code", "state"), [("instance-stop", "stopped"), ("system-reboot", "running")])
def test_scheduled_maintenance_happens(world: AwsWorld, ec2: Any, instance: str, code: Any, state: str) -> None:
    """At its time an event does what it says; afterwards it is shown as completed for a week."""
    world.compute.schedule_event(instance, code, after=DAY)
    world.clock.advance(DAY - 1)
    assert not _events(ec2)[0]["Description"].startswith("[")
    world.clock.advance(1)
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] == state
    assert _events(ec2)[0]["Description"].startswith("[Completed] ")
    world.clock.advance(8 * DAY)
    assert _events(ec2) == []


def test_scheduled_maintenance_can_be_put_off(world: AwsWorld, ec2: Any, instance: str) -> None:
    """An event begins later when it is moved within its deadline; beyond that, or without one, it cannot be moved."""
    event = world.compute.schedule_event(instance, "instance-stop", after=DAY, deadline=4 * DAY)
    later = datetime.fromtimestamp(world.clock.now() + 3 * DAY, UTC)
    move = {"InstanceId": instance, "InstanceEventId": event}
    assert ec2.modify_instance_event_start_time(**move, NotBefore=later)["Event"]["NotBefore"] == later
    world.clock.advance(3 * DAY - 1)
    assert not _events(ec2)[0]["Description"].startswith("[")
    too_late = datetime.fromtimestamp(world.clock.now() + 9 * DAY, UTC)
    assert _code(ec2.modify_instance_event_start_time, **move, NotBefore=too_late) == "InvalidParameterValue"
    world.clock.advance(1)
    assert _events(ec2)[0]["Description"].startswith("[Completed] ")


def test_scheduled_maintenance_can_be_canceled(world: AwsWorld, ec2: Any, instance: str) -> None:
    """A canceled event is shown as such, and nothing happens at its time."""
    event = world.compute.schedule_event(instance, "instance-stop", after=DAY)
    world.compute.cancel_event(event)
    world.clock.advance(2 * DAY)
    assert _events(ec2)[0]["Description"].startswith("[Canceled] ")
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert found["State"]["Name"] == "running"


def test_status_checks_fail_by_the_tests_word(world: AwsWorld, ec2: Any, instance: str) -> None:
    """An impaired instance shows which check fails, until the test takes it back."""

    def statuses() -> tuple[str, str]:
        found = ec2.describe_instance_status(InstanceIds=[instance])["InstanceStatuses"][0]
        return found["InstanceStatus"]["Status"], found["SystemStatus"]["Status"]

    assert statuses() == ("ok", "ok")
    world.compute.set_impaired(instance, "system")
    assert statuses() == ("ok", "impaired")
    world.compute.set_ok(instance)
    assert statuses() == ("ok", "ok")


def test_a_group_replaces_what_is_impaired(world: AwsWorld) -> None:
    """An instance that fails its status checks after its grace period is replaced."""
    fleet = mail_fleet()
    world.clock.advance(200)
    first = fleet.instances()[0]
    world.compute.set_impaired(first)
    world.clock.advance(30)
    assert fleet.states() == {"Terminating": 1, "InService": 1, "Pending": 1}


def test_launches_have_the_worlds_time(world: AwsWorld, ec2: Any) -> None:
    """An instance says that it was launched at the time of the world's clock."""
    world.clock.advance(DAY)
    instance = _launch(ec2, ec2.register_image(Name="mx-1", RootDeviceName="/dev/sda1")["ImageId"])
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    assert found["LaunchTime"] == datetime.fromtimestamp(world.clock.now(), UTC)
