"""A mail front as AWS keeps it: a network load balancer that forwards to one group of targets."""

from __future__ import annotations

from typing import Any, NamedTuple

import boto3

REGION = "us-east-1"


class MailFront(NamedTuple):
    """Its parts, by ARN."""

    elbv2: Any
    balancer: str
    listener: str
    group: str
    vpc: str

    def states(self, **arguments: Any) -> dict[tuple[str, int], str]:
        """Each target's state, as describe-target-health lists it."""
        reply = self.elbv2.describe_target_health(TargetGroupArn=self.group, **arguments)
        found = reply["TargetHealthDescriptions"]
        return {(one["Target"]["Id"], one["Target"]["Port"]): one["TargetHealth"]["State"] for one in found}

    def reason(self, target: str) -> str:
        """Why one target is as it is."""
        reply = self.elbv2.describe_target_health(TargetGroupArn=self.group, Targets=[{"Id": target}])
        return str(reply["TargetHealthDescriptions"][0]["TargetHealth"].get("Reason", ""))

    def register(self, *targets: tuple[str, int]) -> None:
        """Register ids on ports."""
        self.elbv2.register_targets(TargetGroupArn=self.group, Targets=_targets(targets))

    def deregister(self, *targets: tuple[str, int]) -> None:
        """Deregister ids on ports."""
        self.elbv2.deregister_targets(TargetGroupArn=self.group, Targets=_targets(targets))

    def drain_for(self, seconds: int) -> None:
        """Set the group's deregistration delay."""
        attribute = {"Key": "deregistration_delay.timeout_seconds", "Value": str(seconds)}
        self.elbv2.modify_target_group_attributes(TargetGroupArn=self.group, Attributes=[attribute])


def _targets(targets: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
    return [{"Id": name, "Port": port} for name, port in targets]


def mail_front(listening: bool = True, target_type: str = "ip", **client: Any) -> MailFront:
    """Make one with an empty group; without a listener nothing forwards to the group."""
    ec2 = boto3.client("ec2", region_name=REGION, **client)
    elbv2 = boto3.client("elbv2", region_name=REGION, **client)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    balancer = elbv2.create_load_balancer(Name="mail", Subnets=[subnet], Type="network")["LoadBalancers"][0]
    group = elbv2.create_target_group(Name="mx", Protocol="TCP", Port=25, VpcId=vpc, TargetType=target_type)[
        "TargetGroups"
    ][0]
    front = MailFront(elbv2, balancer["LoadBalancerArn"], "", group["TargetGroupArn"], vpc)
    return front._replace(listener=listen(front)) if listening else front


def listen(front: MailFront) -> str:
    """Forward a new listener to the group; its ARN."""
    reply = front.elbv2.create_listener(
        LoadBalancerArn=front.balancer,
        Protocol="TCP",
        Port=25,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": front.group}],
    )
    return str(reply["Listeners"][0]["ListenerArn"])
