"""The switches of Amazon Web Services; see ``orchestrator.model.switch``."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from pydantic import Field

from orchestrator.model.access import AwsAccess
from orchestrator.model.switch_kind import ALL_OR_NOTHING, RESOLVERS, NamedSwitch
from orchestrator.model.traffic import Admin
from orchestrator.model.units import Duration, PositiveDuration

_AWS: Final = "As whom and where AWS is called; what its 'site' says when left out."


class _AwsSwitch(NamedSwitch):
    aws: AwsAccess | None = Field(default=None, description=_AWS)


class Elbv2WeightsSwitch(_AwsSwitch):
    """The weighted target groups of an Application or Network Load Balancer: the members are target groups.

    Source: Elastic Load Balancing API, ``ForwardActionConfig`` and ``ModifyListener``, ``ModifyRule``.
    """

    max_weight: ClassVar[int] = 999

    driver: Literal["elbv2-weights"]
    forward: str = Field(
        description="The ARN of the listener, or of the listener rule, whose forward action splits the traffic. "
        "'names' gives each member's target group, by its name or ARN."
    )

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        return self.forward

    @classmethod
    def plain(cls, name: str) -> str:
        """See ``NamedSwitch.plain``: of an ARN the name of the target group."""
        return name.partition(":targetgroup/")[2].partition("/")[0] or name


class Elbv2TargetsSwitch(_AwsSwitch):
    """The targets of one target group, which are deregistered with their draining and registered again.

    Source: Elastic Load Balancing API, ``DeregisterTargets`` and ``TargetHealth``.
    """

    weighs: ClassVar[bool] = False
    max_weight: ClassVar[int] = ALL_OR_NOTHING
    admins: ClassVar[frozenset[Admin]] = frozenset({"ready", "drain"})
    drains_in: ClassVar[float | None] = 300.0  # TargetGroupAttribute, deregistration_delay.timeout_seconds: the default

    driver: Literal["elbv2-targets"]
    target_group: str = Field(
        description="The ARN of the target group. 'names' gives each member's target: an instance id or an IP "
        "address, with :port where it is not the group's own port, and @all or its zone behind it for an address "
        "outside the VPC."
    )

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        return self.target_group

    @property
    def settles_in(self) -> float:
        """A target that is registered must pass one health check; their default interval (``CreateTargetGroup``)."""
        return 30.0


class _Route53Switch(_AwsSwitch):
    # Five requests a second for an account (Route 53 Developer Guide, "Quotas"): a look is one for the records and two
    # for each health check, and others ask too. Faster than its clients' TTL nobody needs to know.
    read_every: ClassVar[float] = 5.0

    zone: str = Field(description="The id of the hosted zone, as Z0123456789ABCDEFGHIJ.")
    name: str = Field(description="The name of the records, as mx.example.com.")
    type: Literal["A", "AAAA", "CNAME", "MX", "SRV", "TXT"] = Field(default="A", description="Their type.")
    resolvers: tuple[str, ...] = Field(default=(), description=RESOLVERS)

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        return f"{self.zone.rpartition('/')[2]}:{self.name.rstrip('.').lower()}:{self.type}"

    @property
    def paths(self) -> tuple[tuple[str, str], ...]:
        """See ``SwitchKind.paths``."""
        return tuple(("its resolver", place) for place in self.resolvers)

    @property
    def settles_in(self) -> float:
        """All its servers have a change within 60 s (Route 53 FAQs), and a usual TTL of 60 s after that caches do."""
        return 120.0


class Route53WeightsSwitch(_Route53Switch):
    """Weighted records of one name and type; ``names`` gives each member's set identifier.

    Source: Amazon Route 53 Developer Guide, "Weighted routing".
    """

    max_weight: ClassVar[int] = 255

    driver: Literal["route53-weights"]


class Route53FailoverSwitch(_Route53Switch):
    """The failover records of one name and type: the PRIMARY has weight 1, the SECONDARY 0, and a shift swaps them.

    Source: Amazon Route 53 Developer Guide, "Failover routing".
    """

    max_weight: ClassVar[int] = ALL_OR_NOTHING

    driver: Literal["route53-failover"]


class GlobalAcceleratorSwitch(_AwsSwitch):
    """The traffic dials of a listener's endpoint groups: the members are regions.

    Source: AWS Global Accelerator API, ``UpdateEndpointGroup``, ``TrafficDialPercentage``.
    """

    max_weight: ClassVar[int] = 100
    dials: ClassVar[bool] = True

    driver: Literal["global-accelerator"]
    listener: str = Field(description="The ARN of the listener. 'names' gives each member's region, as us-east-1.")

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        return self.listener

    @property
    def settles_in(self) -> float:
        """Until its status is DEPLOYED: AWS states no time, and a minute is a rule of thumb."""
        return 60.0


FOLLOWED_WITHIN: Final = 30.0
"""Seconds until the records have followed a routing control: no page states a time, and this is a rule of thumb."""


class ArcRoutingSwitch(_AwsSwitch):
    """Routing controls of Amazon Application Recovery Controller: On is weight 1, Off is 0.

    Source: ARC Developer Guide, "Best practices for routing control": the cluster has five endpoints in five regions,
    kept at hand and tried in turn, as any of them may be gone.
    """

    max_weight: ClassVar[int] = ALL_OR_NOTHING

    driver: Literal["arc-routing"]
    cluster: dict[str, str] = Field(
        min_length=1,
        description="The cluster's endpoints: URLs by region. 'names' gives each member's control, an ARN.",
    )
    ttl: Duration = Field(
        default=60.0,
        description="The longest TTL of the records that follow the controls: for so long clients may hold the old "
        "answer. 0s where no records do.",
    )

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        return ",".join(sorted(self.cluster.values()))

    @property
    def settles_in(self) -> float:
        """Route 53 has to see the control by a health check, for which no page states a time, and then the TTL."""
        return self.ttl + FOLLOWED_WITHIN if self.ttl else 0.0


class ArcZonalShiftSwitch(_AwsSwitch):
    """A zonal shift, which takes one Availability Zone of a load balancer out of service until it expires.

    Source: ARC Developer Guide, "Zonal shift": at most 72 hours at a time, one shift per resource.
    """

    weighs: ClassVar[bool] = False
    max_weight: ClassVar[int] = ALL_OR_NOTHING
    admins: ClassVar[frozenset[Admin]] = frozenset({"ready", "drain"})

    driver: Literal["arc-zonal-shift"]
    resource: str = Field(
        description="The ARN of the load balancer or Auto Scaling group. 'names' gives each member's zone id, as "
        "use1-az1."
    )
    expires: PositiveDuration = Field(
        default=12 * 3600.0, description="When AWS ends the shift by itself if nobody has before: 1m to 72h."
    )

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        return self.resource

    @property
    def settles_in(self) -> float:
        """The TTL of a load balancer's addresses (ELB User Guide, "How Elastic Load Balancing works")."""
        return 60.0 if ":elasticloadbalancing:" in self.resource else 0.0
