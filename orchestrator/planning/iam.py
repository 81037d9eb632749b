"""What each driver calls at AWS, and to which resources IAM can hold it.

IAM's action is the service's prefix and the API's operation. Where an action knows no resource, or none that an
inventory could name, its right says why it is so wide.
Source: Service Authorization Reference, "Actions, resources, and condition keys", a page for each service.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, assert_never

from orchestrator.model.access import AwsAccess
from orchestrator.model.capacity import AutoScaling
from orchestrator.model.switch import (
    ArcRoutingSwitch,
    ArcZonalShiftSwitch,
    Elbv2TargetsSwitch,
    Elbv2WeightsSwitch,
    GlobalAcceleratorSwitch,
    Route53FailoverSwitch,
    Route53WeightsSwitch,
)

AwsSwitch: TypeAlias = (
    Elbv2WeightsSwitch
    | Elbv2TargetsSwitch
    | Route53WeightsSwitch
    | Route53FailoverSwitch
    | GlobalAcceleratorSwitch
    | ArcRoutingSwitch
    | ArcZonalShiftSwitch
)
"""What is driven through AWS."""

Condition: TypeAlias = Mapping[str, Mapping[str, tuple[str, ...]]]
"""IAM's own shape: values by condition key, by operator."""


@dataclass(frozen=True, slots=True)
class Right:
    """Calls that are allowed on the same resources."""

    actions: tuple[str, ...]
    """As ``elasticloadbalancing:ModifyRule``."""
    resources: tuple[str, ...] = ("*",)
    """ARNs."""
    condition: Condition = field(default_factory=dict)
    writes: bool = False
    why: str = ""
    """Why it is no narrower; empty where it names the very resource."""


_TARGET_READS: Final = "DescribeTargetGroups", "DescribeTargetGroupAttributes", "DescribeTargetHealth"
_ELB_READS: Final = "Elastic Load Balancing's Describe calls name no resource"


def switch_rights(switch: AwsSwitch, members: Iterable[str], region: str | None) -> tuple[Right, ...]:
    """What the driver of a switch calls; ``region`` is that of its access, where one is stated."""
    match switch:
        case Elbv2WeightsSwitch():
            return _elbv2_weights(switch)
        case Elbv2TargetsSwitch():
            return _elbv2_targets(switch)
        case Route53WeightsSwitch() | Route53FailoverSwitch():
            return _route53(switch, _partition(region))
        case GlobalAcceleratorSwitch():
            return _global_accelerator(switch)
        case ArcRoutingSwitch():
            return _arc_routing(switch.name_of(member) for member in members)
        case ArcZonalShiftSwitch():
            return _arc_zonal_shift(switch)
        case _:
            assert_never(switch)


def scaling_rights(group: AutoScaling, region: str | None) -> tuple[Right, ...]:
    """What the driver of an Auto Scaling group calls."""
    arn = f"arn:{_partition(region)}:autoscaling:{region or '*'}:*"
    reads = "DescribeAutoScalingGroups", "DescribeScalingActivities"
    return (
        Right(_of("autoscaling", *reads), why="Amazon EC2 Auto Scaling's Describe calls name no resource"),
        Right(
            _of("autoscaling", "SetDesiredCapacity"),
            (f"{arn}:autoScalingGroup:*:autoScalingGroupName/{group.group}",),
            writes=True,
        ),
    )


def role_right(access: AwsAccess) -> Right:
    """What whoever starts failover must be allowed, to work as the role of ``access``."""
    return Right(("sts:AssumeRole",), (str(access.assume_role),))


def _elbv2_weights(switch: Elbv2WeightsSwitch) -> tuple[Right, ...]:
    is_rule = ":listener-rule/" in switch.forward
    read, write = ("DescribeRules", "ModifyRule") if is_rule else ("DescribeListeners", "ModifyListener")
    reads = read, "DescribeTargetHealth"
    return (
        Right(_of("elasticloadbalancing", *reads), why=_ELB_READS),
        Right(_of("elasticloadbalancing", write), (switch.forward,), writes=True),
    )


def _elbv2_targets(switch: Elbv2TargetsSwitch) -> tuple[Right, ...]:
    return (
        Right(_of("elasticloadbalancing", *_TARGET_READS), why=_ELB_READS),
        Right(_of("elasticloadbalancing", "RegisterTargets", "DeregisterTargets"), (switch.target_group,), writes=True),
    )


def _route53(switch: Route53WeightsSwitch | Route53FailoverSwitch, partition: str) -> tuple[Right, ...]:
    zone = f"arn:{partition}:route53:::hostedzone/{switch.zone.rpartition('/')[2]}"
    only = {
        "route53:ChangeResourceRecordSetsNormalizedRecordNames": (_normalized(switch.name),),
        "route53:ChangeResourceRecordSetsRecordTypes": (switch.type,),
        "route53:ChangeResourceRecordSetsActions": ("CREATE", "DELETE"),
    }
    given = {"Null": dict.fromkeys(only, ("false",))}  # ForAllValues alone is also true of what is not there
    return (
        Right(_of("route53", "ListResourceRecordSets"), (zone,)),
        Right(
            _of("route53", "GetHealthCheck", "GetHealthCheckStatus"),
            (f"arn:{partition}:route53:::healthcheck/*",),
            why="which health checks the records have stands in Route 53 only",
        ),
        Right(
            _of("route53", "GetChange"),
            (f"arn:{partition}:route53:::change/*",),
            why="a change has an id only once it is made",
        ),
        Right(
            _of("route53", "ChangeResourceRecordSets"),
            (zone,),
            {"ForAllValues:StringEquals": only, **given},
            writes=True,
        ),
    )


def _normalized(name: str) -> str:
    r"""A record's name as IAM compares it: in lower case, without the last dot, and the rest as ``\052``.

    Source: Amazon Route 53 Developer Guide, "Using IAM policy conditions for fine-grained access control".
    """
    plain = name.rstrip(".").lower()
    return re.sub(r"[^a-z0-9_.-]", lambda other: f"\\{ord(other[0]):03o}", plain)


def _global_accelerator(switch: GlobalAcceleratorSwitch) -> tuple[Right, ...]:
    accelerator = switch.listener.partition("/listener/")[0]
    return (
        Right(_of("globalaccelerator", "DescribeAccelerator"), (accelerator,)),
        Right(_of("globalaccelerator", "ListEndpointGroups"), (switch.listener,)),
        Right(
            _of("globalaccelerator", "UpdateEndpointGroup"),
            (f"{switch.listener}/endpoint-group/*",),
            writes=True,
            why="the inventory knows endpoint groups by their region; all are of this one listener",
        ),
    )


def _arc_routing(controls: Iterable[str]) -> tuple[Right, ...]:
    """Never with the right to override a safety rule (ARC Developer Guide, "Overriding safety rules")."""
    arns = tuple(controls)
    never = {"Bool": {"route53-recovery-cluster:AllowSafetyRulesOverrides": ("false",)}}
    return (
        Right(_of("route53-recovery-cluster", "ListRoutingControls"), why="a cluster's list names no resource"),
        Right(_of("route53-recovery-cluster", "UpdateRoutingControlStates"), arns, never, writes=True),
    )


def _arc_zonal_shift(switch: ArcZonalShiftSwitch) -> tuple[Right, ...]:
    """Held to one resource by a condition (ARC Developer Guide, "IAM and permissions for zonal shift")."""
    only = {"StringEquals": {"arc-zonal-shift:ResourceIdentifier": (switch.resource,)}}
    why = "zonal shift names its resource in the condition"
    writes = "StartZonalShift", "UpdateZonalShift", "CancelZonalShift"
    return (
        Right(_of("arc-zonal-shift", "GetManagedResource"), condition=only, why=why),
        Right(_of("arc-zonal-shift", *writes), condition=only, writes=True, why=why),
    )


def _of(service: str, *operations: str) -> tuple[str, ...]:
    return tuple(f"{service}:{operation}" for operation in operations)


def _partition(region: str | None) -> str:
    """The first part of ARNs there (AWS General Reference, "Amazon Resource Names")."""
    if region is not None and region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region is not None and region.startswith("us-gov-") else "aws"
