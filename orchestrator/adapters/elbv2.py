"""What the drivers of Elastic Load Balancing share: ARNs, and the health of targets as AWS reports it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from orchestrator.adapters.aws import Aws, Reply
from orchestrator.errors import UnfitError

_ARN: Final = re.compile(r"arn:[a-z-]+:elasticloadbalancing:([a-z0-9-]+):\d*:([a-z-]+)/(.+)")
"""Region, kind of resource, and the rest (IAM User Guide, "Amazon Resource Names")."""

_DRAINING: Final = frozenset({"draining", "unhealthy.draining"})


class Arn(NamedTuple):
    """What the ARN of a listener, rule or target group says by itself."""

    region: str
    kind: str
    name: str
    """The first word behind the kind: a target group's name; of a listener the kind of its load balancer."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target as its group lists it (``TargetHealthDescription``)."""

    id: str
    port: int | None
    """None for a Lambda function."""
    state: str
    reason: str
    """AWS's own code; empty where it is healthy."""

    @property
    def draining(self) -> bool:
        """Deregistered, while what it had is still being served."""
        return self.state in _DRAINING

    @property
    def registered(self) -> bool:
        """Whether it is the group's to send traffic to."""
        return not self.draining and self.reason != "Target.NotRegistered"

    @property
    def up(self) -> bool:
        """Healthy; also where health checks are off, as then nobody says otherwise."""
        return self.registered and (self.state == "healthy" or self.reason == "Target.HealthCheckDisabled")

    @property
    def description(self) -> dict[str, Any]:
        """As the API takes it to mean this one, and no other port of the same id."""
        return {"Id": self.id} if self.port is None else {"Id": self.id, "Port": self.port}

    @property
    def name(self) -> str:
        """As the inventory would name it."""
        return self.id if self.port is None else f"{self.id}:{self.port}"

    def __str__(self) -> str:
        return f"{self.state}: {self.reason}" if self.reason else self.state


def parse_arn(text: str, *kinds: str) -> Arn:
    """Take an ARN apart.

    Raises:
        UnfitError: it is not the ARN of one of these ``kinds``.
    """
    match = _ARN.fullmatch(text)
    if match is None or match[2] not in kinds:
        raise UnfitError(
            f"cannot use {text!r}: it is not the ARN of a {' or '.join(kinds)}",
            remedy="copy the ARN that the EC2 console or 'aws elbv2 describe-…' shows",
        )
    return Arn(match[1], match[2], match[3].partition("/")[0])


async def targets_of(aws: Aws, group: str) -> Sequence[Target]:
    """Every target of the group with this ARN: those that are registered, and those that drain. AWS has no pages here.

    Source: Elastic Load Balancing API, ``DescribeTargetHealth`` and ``TargetHealth``.
    """
    region = parse_arn(group, "targetgroup").region
    reply = await aws.call("elbv2", "describe_target_health", region=region, TargetGroupArn=group)
    return [_target(item) for item in reply["TargetHealthDescriptions"]]


def refuse_unknown(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Refuse members that the pool does not have.

    Raises:
        UnfitError: it names them, and those that there are.
    """
    there = tuple(known)
    if unknown := [name for name in names if name not in there]:
        raise UnfitError(
            f"cannot find {', '.join(unknown)} in {where}: its members are {', '.join(there)}",
            remedy="correct the members in the inventory",
        )


def _target(item: Reply) -> Target:
    health = item.get("TargetHealth", {})
    target = item["Target"]
    return Target(target["Id"], target.get("Port"), health.get("State", ""), health.get("Reason") or "")
