"""Builds in a test's world what an inventory names of AWS, and says how the inventory must read there.

AWS makes up ids and ARNs by itself, so what was built has others than the inventory: everything else of it stays. All
members take the same share when the world begins, every target is healthy, and each group of instances has two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final

from orchestrator.model.access import AwsAccess
from orchestrator.model.capacity import AutoScaling
from orchestrator.model.inventory import Inventory, Pool
from orchestrator.model.switch import (
    AnySwitch,
    ArcRoutingSwitch,
    ArcZonalShiftSwitch,
    Elbv2TargetsSwitch,
    Elbv2WeightsSwitch,
    GlobalAcceleratorSwitch,
    Route53FailoverSwitch,
    Route53WeightsSwitch,
)
from orchestrator.testing.overlay import AwsWorld

REGION: Final = "us-east-1"
"""Where things are built of which the inventory names no region."""

ACCOUNT: Final = "123456789012"
"""The account that moto is."""

WEIGHT: Final = 100
TARGETS: Final = 2
"""Of each target group that is split by weight."""

IMAGE: Final = "ami-12c6146b"
"""One of the images that moto has from the start; to have them all listed takes seconds."""

INSTANCES: Final = 2
MOST_INSTANCES: Final = 20
PORT: Final = 25
TTL: Final = 60
"""Of each record, in seconds, until a test says otherwise."""


def in_aws(switch: AnySwitch) -> bool:
    """Whether a switch is AWS's, so that its real driver works in the world."""
    return hasattr(switch, "aws")


def build(inventory: Inventory, world: AwsWorld) -> Inventory:
    """Build it all in the world that is open; the inventory as it reads there, as nobody's profile."""
    builder = _Builder(inventory, world)
    pools = {name: builder.pool(pool) for name, pool in inventory.pools.items()}
    sites = {
        name: site.model_copy(update={"aws": _access(site.aws) if site.aws else None})
        for name, site in inventory.sites.items()
    }
    return inventory.model_copy(update={"pools": pools, "sites": sites})


def _access(access: AwsAccess) -> AwsAccess:
    """The same in a world: its roles, all in the one account that a world has, its regions, and no way out of it."""
    role = access.assume_role and re.sub(r"^(arn:[^:]*:iam::)\d+:", rf"\g<1>{ACCOUNT}:", access.assume_role)
    return access.model_copy(update={"profile": None, "assume_role": role, "endpoint": None, "endpoints": {}})


class _Builder:
    def __init__(self, inventory: Inventory, world: AwsWorld) -> None:
        self._inventory = inventory
        self._world = world
        self._clients: dict[tuple[str, str], Any] = {}
        self._numbers = count(1)
        self._subnets: dict[str, tuple[str, list[str]]] = {}

    def pool(self, pool: Pool) -> Pool:
        """The pool as it is in this world."""
        sites = {
            name: part.model_copy(update={"scaling": self._group(part.scaling, name)})
            if isinstance(part.scaling, AutoScaling)
            else part
            for name, part in pool.sites.items()
        }
        members = [name for part in pool.sites.values() for name in part.members]
        return pool.model_copy(update={"sites": sites, "switch": self._switch(pool.switch, members)})

    def _switch(self, switch: AnySwitch, members: Sequence[str]) -> AnySwitch:
        update: dict[str, Any]
        match switch:
            case Elbv2WeightsSwitch():
                update = self._weighted_groups(switch, members)
            case Elbv2TargetsSwitch():
                update = self._targets(switch, members)
            case Route53WeightsSwitch() | Route53FailoverSwitch():
                update = self._records(switch, members)
            case GlobalAcceleratorSwitch():
                update = self._accelerator(switch, members)
            case ArcRoutingSwitch():
                update = self._routing_controls(members)
            case ArcZonalShiftSwitch():
                update = self._zones(switch, members)
            case _:
                return switch
        return switch.model_copy(update={"aws": _access(switch.aws) if switch.aws else None, **update})

    def _client(self, service: str, region: str) -> Any:
        import boto3

        if (service, region) not in self._clients:
            self._clients[service, region] = boto3.client(service, region_name=region)
        return self._clients[service, region]

    def _region(self, own: AwsAccess | None, site: str | None, arn: str = "") -> str:
        parts = arn.split(":")
        named = parts[3] if len(parts) > 3 else ""
        return named or self._inventory.aws_of(own, site).region or REGION

    def _network(self, region: str) -> tuple[str, list[str]]:
        """A network of two zones, one in each region."""
        if region not in self._subnets:
            ec2 = self._client("ec2", region)
            vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
            subnets = [
                ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{region}{zone}")
                for n, zone in enumerate("ab")
            ]
            self._subnets[region] = vpc, [subnet["Subnet"]["SubnetId"] for subnet in subnets]
        return self._subnets[region]

    def _balancer(self, region: str, kind: str) -> str:
        name = f"world-{next(self._numbers)}"
        elbv2 = self._client("elbv2", region)
        made = elbv2.create_load_balancer(Name=name, Type=kind, Subnets=self._network(region)[1])
        return str(made["LoadBalancers"][0]["LoadBalancerArn"])

    def _target_group(self, region: str, name: str, protocol: str, target_type: str) -> str:
        elbv2 = self._client("elbv2", region)
        made = elbv2.create_target_group(
            Name=name, Protocol=protocol, Port=PORT, VpcId=self._network(region)[0], TargetType=target_type
        )
        return str(made["TargetGroups"][0]["TargetGroupArn"])

    def _weighted_groups(self, switch: Elbv2WeightsSwitch, members: Sequence[str]) -> dict[str, Any]:
        region = self._region(switch.aws, switch.site, switch.forward)
        is_network = "/net/" in switch.forward
        protocol = "TCP" if is_network else "HTTP"
        elbv2 = self._client("elbv2", region)
        groups = {
            name: self._target_group(region, _group_name(switch.name_of(name)), protocol, "ip") for name in members
        }
        for place, group in enumerate(groups.values()):
            targets = [{"Id": f"10.0.{n}.{10 + place}", "Port": PORT} for n in range(TARGETS)]
            elbv2.register_targets(TargetGroupArn=group, Targets=targets)
        action = {
            "Type": "forward",
            "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": arn, "Weight": WEIGHT} for arn in groups.values()]},
        }
        listener = elbv2.create_listener(
            LoadBalancerArn=self._balancer(region, "network" if is_network else "application"),
            Protocol=protocol,
            Port=PORT,
            DefaultActions=[action],
        )["Listeners"][0]["ListenerArn"]
        forward = listener
        if "listener-rule/" in switch.forward:
            condition = {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}}
            rule = elbv2.create_rule(ListenerArn=listener, Conditions=[condition], Priority=1, Actions=[action])
            forward = rule["Rules"][0]["RuleArn"]
        return {"forward": forward, "names": groups}

    def _targets(self, switch: Elbv2TargetsSwitch, members: Sequence[str]) -> dict[str, Any]:
        region = self._region(switch.aws, switch.site, switch.target_group)
        names = [switch.name_of(member).partition(":") for member in members]
        by_address = all(re.fullmatch(r"[\d.]+", name) for name, _, _ in names)
        elbv2 = self._client("elbv2", region)
        kind = "ip" if by_address else "instance"
        group = self._target_group(region, _group_name(switch.target_group), "TCP", kind)
        attribute = {"Key": "deregistration_delay.connection_termination.enabled", "Value": "true"}
        elbv2.modify_target_group_attributes(TargetGroupArn=group, Attributes=[attribute])  # as traffic.drain wants it
        ids = dict(zip(members, names, strict=True))
        if not by_address:
            ids = {member: (self._instance(region), colon, port) for member, (_, colon, port) in ids.items()}
        targets = [{"Id": name, **({"Port": int(port)} if port else {})} for name, _, port in ids.values()]
        elbv2.create_listener(
            LoadBalancerArn=self._balancer(region, "network"),
            Protocol="TCP",
            Port=PORT,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )
        elbv2.register_targets(TargetGroupArn=group, Targets=targets)
        return {"target_group": group, "names": {member: "".join(parts) for member, parts in ids.items()}}

    def _instance(self, region: str) -> str:
        ec2 = self._client("ec2", region)
        made = ec2.run_instances(
            ImageId=IMAGE, MinCount=1, MaxCount=1, InstanceType="t3.micro", SubnetId=self._network(region)[1][0]
        )
        return str(made["Instances"][0]["InstanceId"])

    def _records(self, switch: Route53WeightsSwitch | Route53FailoverSwitch, members: Sequence[str]) -> dict[str, Any]:
        route53 = self._client("route53", REGION)
        zone_name = switch.name.rstrip(".").partition(".")[2] or switch.name
        zone = route53.create_hosted_zone(Name=zone_name, CallerReference=f"world-{next(self._numbers)}")
        changes = []
        for place, member in enumerate(members):
            record: dict[str, Any] = {
                "Name": switch.name,
                "Type": switch.type,
                "SetIdentifier": switch.name_of(member),
                "TTL": TTL,
                "ResourceRecords": [{"Value": _record_data(switch.type, place)}],
            }
            if isinstance(switch, Route53FailoverSwitch):
                record["Failover"] = "PRIMARY" if place == 0 else "SECONDARY"
            else:
                record["Weight"] = WEIGHT
            changes.append({"Action": "CREATE", "ResourceRecordSet": record})
        identifier = zone["HostedZone"]["Id"].rpartition("/")[2]
        route53.change_resource_record_sets(HostedZoneId=identifier, ChangeBatch={"Changes": changes})
        return {"zone": identifier, "resolvers": ()}  # no resolver answers from within

    def _accelerator(self, switch: GlobalAcceleratorSwitch, members: Sequence[str]) -> dict[str, Any]:
        accelerators = self._client("globalaccelerator", "us-west-2")
        token = f"world-{next(self._numbers)}"
        made = accelerators.create_accelerator(Name=token, IdempotencyToken=token)["Accelerator"]
        listener = accelerators.create_listener(
            AcceleratorArn=made["AcceleratorArn"],
            PortRanges=[{"FromPort": PORT, "ToPort": PORT}],
            Protocol="TCP",
            IdempotencyToken=token,
        )["Listener"]["ListenerArn"]
        for member in members:
            accelerators.create_endpoint_group(
                ListenerArn=listener,
                EndpointGroupRegion=switch.name_of(member),
                EndpointConfigurations=[{"EndpointId": f"eipalloc-{next(self._numbers):08x}", "Weight": 128}],
                TrafficDialPercentage=100.0,
                IdempotencyToken=f"{token}-{member}",
            )
        return {"listener": listener}

    def _routing_controls(self, members: Sequence[str]) -> dict[str, Any]:
        routing = self._world.arc.routing
        controls = {member: routing.add_control(member, on=place == 0) for place, member in enumerate(members)}
        return {"cluster": dict(routing.endpoints), "names": controls}

    def _zones(self, switch: ArcZonalShiftSwitch, members: Sequence[str]) -> dict[str, Any]:
        self._world.arc.shifts.add_resource(switch.resource, *(switch.name_of(member) for member in members))
        return {}

    def _group(self, scaling: AutoScaling, site: str) -> AutoScaling:
        region = self._region(scaling.aws, site)
        autoscaling = self._client("autoscaling", region)
        name = f"world-{next(self._numbers)}"
        autoscaling.create_launch_configuration(LaunchConfigurationName=name, ImageId=IMAGE, InstanceType="t3.micro")
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=scaling.group,
            LaunchConfigurationName=name,
            MinSize=0,
            MaxSize=MOST_INSTANCES,
            DesiredCapacity=INSTANCES,
            VPCZoneIdentifier=",".join(self._network(region)[1]),
        )
        return scaling.model_copy(update={"aws": _access(scaling.aws) if scaling.aws else None})


def set_ttl(switch: Route53WeightsSwitch | Route53FailoverSwitch, seconds: int) -> None:
    """Give the records that were built for a switch another TTL."""
    import boto3

    route53 = boto3.client("route53", region_name=REGION)
    name = f"{switch.name.rstrip('.').lower()}."
    listed = route53.list_resource_record_sets(HostedZoneId=switch.zone)["ResourceRecordSets"]
    changes = [
        {"Action": "UPSERT", "ResourceRecordSet": {**record, "TTL": seconds}}
        for record in listed
        if record["Name"] == name and record["Type"] == switch.type
    ]
    route53.change_resource_record_sets(HostedZoneId=switch.zone, ChangeBatch={"Changes": changes})


def _group_name(name: str) -> str:
    """The name of a target group that is given by its name or ARN."""
    match = re.search(r":targetgroup/([^/]+)/", name)
    return match[1] if match else name


def _record_data(type_: str, place: int) -> str:
    address, host = f"192.0.2.{place + 1}", f"mx{place + 1}.example.net."
    data: Mapping[str, str] = {
        "A": address,
        "AAAA": f"2001:db8::{place + 1}",
        "CNAME": host,
        "MX": f"10 {host}",
        "SRV": f"10 10 {PORT} {host}",
        "TXT": f'"site {place + 1}"',
    }
    return data[type_]
