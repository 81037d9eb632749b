"""A fleet of mail exchangers as AWS keeps it: an Auto Scaling group behind a network load balancer."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import boto3

from tests.unit.testing.mail_front import REGION, MailFront, mail_front

LAUNCHING, TERMINATING = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"
NAME = "mx-fleet"


class MailFleet(NamedTuple):
    """Its clients and its front."""

    autoscaling: Any
    ec2: Any
    front: MailFront
    old: str
    new: str
    """The images of the two versions of the launch template."""

    def describe(self) -> dict[str, Any]:
        """The group, as describe-auto-scaling-groups says."""
        groups = self.autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])["AutoScalingGroups"]
        found: dict[str, Any] = groups[0]
        return found

    def states(self) -> dict[str, int]:
        """How many instances are in which lifecycle state."""
        return dict(Counter(one["LifecycleState"] for one in self.describe()["Instances"]))

    def instances(self) -> list[str]:
        """The ids of all instances, in the group's order."""
        return [one["InstanceId"] for one in self.describe()["Instances"]]

    def targets(self) -> dict[str, str]:
        """Each target's state at the load balancer, by instance."""
        return {identity: state for (identity, _), state in self.front.states().items()}

    def want(self, count: int) -> None:
        """Set the desired capacity."""
        self.autoscaling.set_desired_capacity(AutoScalingGroupName=NAME, DesiredCapacity=count)

    def hook(self, transition: str, timeout: int = 600, default: str = "ABANDON", name: str = "warm") -> None:
        """Put a lifecycle hook."""
        self.autoscaling.put_lifecycle_hook(
            LifecycleHookName=name,
            AutoScalingGroupName=NAME,
            LifecycleTransition=transition,
            HeartbeatTimeout=timeout,
            DefaultResult=default,
        )

    def complete(self, result: str, name: str = "warm", **whose: str) -> None:
        """Complete a lifecycle action."""
        self.autoscaling.complete_lifecycle_action(
            LifecycleHookName=name, AutoScalingGroupName=NAME, LifecycleActionResult=result, **whose
        )

    def activities(self) -> list[dict[str, Any]]:
        """The scaling activities, the newest first."""
        found: list[dict[str, Any]] = self.autoscaling.describe_scaling_activities(AutoScalingGroupName=NAME)[
            "Activities"
        ]
        return found

    def refresh(self, **preferences: Any) -> str:
        """Start an instance refresh to the newest version of the launch template."""
        wanted = {"LaunchTemplate": {"LaunchTemplateName": NAME, "Version": "2"}}
        reply = self.autoscaling.start_instance_refresh(
            AutoScalingGroupName=NAME, DesiredConfiguration=wanted, Preferences=preferences
        )
        return str(reply["InstanceRefreshId"])

    def progress(self) -> tuple[str, int]:
        """The newest refresh: its status and percentage."""
        newest = self.autoscaling.describe_instance_refreshes(AutoScalingGroupName=NAME)["InstanceRefreshes"][0]
        return newest["Status"], newest["PercentageComplete"]

    def images(self) -> list[str]:
        """What each instance that lives runs, sorted."""
        found = self.ec2.describe_instances(InstanceIds=self.instances())["Reservations"]
        return sorted(one["ImageId"] for reservation in found for one in reservation["Instances"])


def mail_fleet(desired: int = 2, **group: Any) -> MailFleet:
    """Make one of 1 to 6 instances, with a launch template of two versions, of which it uses the first."""
    front = mail_front(target_type="instance")
    autoscaling, ec2 = (boto3.client(service, region_name=REGION) for service in ("autoscaling", "ec2"))
    old, new = (ec2.register_image(Name=name, RootDeviceName="/dev/sda1")["ImageId"] for name in ("mx-1", "mx-2"))
    data = {"ImageId": old, "InstanceType": "t3.micro"}
    ec2.create_launch_template(LaunchTemplateName=NAME, LaunchTemplateData=data)
    ec2.create_launch_template_version(LaunchTemplateName=NAME, LaunchTemplateData={**data, "ImageId": new})
    autoscaling.create_auto_scaling_group(
        **{
            "AutoScalingGroupName": NAME,
            "LaunchTemplate": {"LaunchTemplateName": NAME, "Version": "1"},
            "MinSize": 1,
            "MaxSize": 6,
            "DesiredCapacity": desired,
            "VPCZoneIdentifier": ec2.describe_subnets(Filters=[{"Name": "cidr-block", "Values": ["10.0.1.0/24"]}])[
                "Subnets"
            ][0]["SubnetId"],
            "TargetGroupARNs": [front.group],
            "HealthCheckGracePeriod": 120,
            **group,
        }
    )
    return MailFleet(autoscaling, ec2, front, old, new)
