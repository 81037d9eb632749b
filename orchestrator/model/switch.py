"""What can split a pool's new traffic: a load balancer, weighted DNS, an HTTPRoute… one model for each driver.

A pool's members are what its switch tells apart: the servers of a HAProxy backend, and for a switch between sites the
target groups, records, regions or Services, of which each site has one. ``names`` says what the switch calls a member
where that is no good name in an inventory, as an ARN or an address.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from orchestrator.model.access import KubernetesAccess
from orchestrator.model.driver import ByDriver
from orchestrator.model.place import plain_place, plain_url
from orchestrator.model.secret import SecretReference
from orchestrator.model.switch_aws import (
    ArcRoutingSwitch,
    ArcZonalShiftSwitch,
    Elbv2TargetsSwitch,
    Elbv2WeightsSwitch,
    GlobalAcceleratorSwitch,
    Route53FailoverSwitch,
    Route53WeightsSwitch,
)
from orchestrator.model.switch_kind import ALL_OR_NOTHING, RESOLVERS, NamedSwitch, SwitchKind
from orchestrator.model.traffic import Admin
from orchestrator.model.units import PositiveDuration
from orchestrator.model.value import Value

__all__ = [
    "ALL_OR_NOTHING",
    "AnySwitch",
    "ArcRoutingSwitch",
    "ArcZonalShiftSwitch",
    "DnsSwitch",
    "Elbv2TargetsSwitch",
    "Elbv2WeightsSwitch",
    "EnvoySwitch",
    "F5Switch",
    "GlobalAcceleratorSwitch",
    "HaproxySwitch",
    "HttpRouteSwitch",
    "Route53FailoverSwitch",
    "Route53WeightsSwitch",
    "ServiceSelectorSwitch",
    "Switch",
    "TsigKey",
]

_CLUSTER: Final = "The cluster; what its 'site' says when left out."


class HaproxySwitch(SwitchKind):
    """A backend of a HAProxy in TCP mode, driven by its Runtime API.

    Source: HAProxy Management Guide, "Unix Socket commands"; the socket needs ``level admin``.
    """

    max_weight: ClassVar[int] = 256
    admins: ClassVar[frozenset[Admin]] = frozenset({"ready", "drain", "maint"})
    counts_sessions: ClassVar[bool] = True
    lists_sessions: ClassVar[bool] = True
    drains_in: ClassVar[float | None] = None

    driver: Literal["haproxy"]
    socket: str = Field(description="The stats socket: a path, or host:port.")
    backend: str = Field(description="The backend whose servers are the pool's members, by the same names.")
    master: str | None = Field(
        default=None,
        description="The master CLI socket (haproxy -S): shows the sessions of old processes after a reload.",
    )
    state_file: str | None = Field(
        default=None,
        description="Where to save the servers' state after each change, so that a reload forgets nothing: "
        "the file that 'server-state-file' names.",
    )

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        return f"{self.socket}:{self.backend}"

    @property
    def paths(self) -> tuple[tuple[str, str], ...]:
        """See ``SwitchKind.paths``."""
        return ("its socket", self.socket), ("its master socket", self.master or "")


class TsigKey(Value):
    """The key that signs updates (RFC 8945)."""

    name: str = Field(description="Its name, as the server knows it.")
    algorithm: Literal["hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"] = Field(
        default="hmac-sha256", description="Its algorithm."
    )
    secret: SecretReference = Field(description="The secret in base64, by reference: env:NAME or file:/PATH.")


class DnsSwitch(NamedSwitch):
    """An RRset whose records are the members that take traffic, changed by dynamic update.

    Plain DNS has no weights: a member is in the set, or is not. Source: RFC 2136; its prerequisites keep two writers
    from overwriting each other.
    """

    max_weight: ClassVar[int] = ALL_OR_NOTHING

    driver: Literal["dns"]
    server: str = Field(description="The zone's primary server, host or host:port.")
    zone: str = Field(description="The zone, as example.com.")
    name: str = Field(description="The name of the RRset, as mx.example.com.")
    type: Literal["A", "AAAA", "MX", "CNAME", "SRV"] = Field(
        default="A",
        description="Its type. 'names' gives each member's record data, as 192.0.2.10 or '10 mx1.example.com.'.",
    )
    ttl: PositiveDuration = Field(default=60.0, description="The TTL of the RRset where it must be made anew.")
    key: TsigKey | None = Field(default=None, description="The key that signs updates.")
    resolvers: tuple[str, ...] = Field(default=(), description=RESOLVERS)
    name_servers: tuple[str, ...] = Field(
        default=(),
        description="The zone's name servers, as host or host:port, all of which must have a change before its TTL "
        "counts; those of its NS records when left out.",
    )

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        return f"{plain_place(self.server, 53)}:{self.name.rstrip('.').lower()}:{self.type}"

    @classmethod
    def plain(cls, name: str) -> str:
        """See ``NamedSwitch.plain``: names of DNS are the same in capitals, and end with a dot or not."""
        return " ".join(name.rstrip(".").lower().split())

    @property
    def paths(self) -> tuple[tuple[str, str], ...]:
        """See ``SwitchKind.paths``."""
        return ("its server", self.server), *(("its resolver", place) for place in self.resolvers)

    @property
    def settles_in(self) -> float:
        """The TTL: for so long resolvers may hold the old answer (RFC 1035, 3.2.1); and a look at them."""
        return self.ttl + 1


class _KubernetesSwitch(NamedSwitch):
    cluster: KubernetesAccess | None = Field(default=None, description=_CLUSTER)
    namespace: str = Field(default="default", description="The namespace.")
    name: str = Field(description="The object's name.")

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        of = self.cluster or KubernetesAccess()
        return f"{of.kubeconfig or ''}:{of.context or ''}:{self.namespace}:{self.name}"

    @property
    def settles_in(self) -> float:
        """Until controllers have taken a change up: no page states a time, and this is a rule of thumb."""
        return 3.0


class HttpRouteSwitch(_KubernetesSwitch):
    """The weighted backends of a rule of a Gateway API route: the members are Services.

    Source: Gateway API reference, ``HTTPBackendRef.weight``: 0 to 1,000,000.
    """

    max_weight: ClassVar[int] = 1_000_000

    driver: Literal["kubernetes-route"]
    kind: Literal["HTTPRoute", "TCPRoute", "TLSRoute"] = Field(default="HTTPRoute", description="The route's kind.")
    rule: int = Field(default=0, ge=0, description="Which of the route's rules, counted from 0.")


class ServiceSelectorSwitch(_KubernetesSwitch):
    """The selector of a Service, one label of which says whose pods get all of the traffic.

    Source: Kubernetes API reference, ``ServiceSpec.selector``.
    """

    max_weight: ClassVar[int] = ALL_OR_NOTHING

    driver: Literal["kubernetes-selector"]
    label: str = Field(description="The label's key; 'names' gives each member's value of it.")


class F5Switch(NamedSwitch):
    """A pool of an F5 BIG-IP, driven by iControl REST.

    Source: F5 iControl REST API reference, ``/mgmt/tm/ltm/pool/~Common~POOL/members``.
    """

    max_weight: ClassVar[int] = 65_535
    admins: ClassVar[frozenset[Admin]] = frozenset({"ready", "drain"})
    counts_sessions: ClassVar[bool] = True
    drains_in: ClassVar[float | None] = None

    driver: Literal["f5"]
    url: str = Field(description="The management address, as https://192.0.2.5.")
    pool: str = Field(description="The pool's full path, as /Common/smtp. 'names' gives members, as /Common/mx1:25.")
    user: str = Field(description="Who logs in.")
    password: SecretReference = Field(description="The password, by reference: env:NAME or file:/PATH.")
    ca_file: str | None = Field(default=None, description="PEM file to verify the certificate with.")

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        return f"{plain_url(self.url)}:{self.plain(self.pool)}"

    @classmethod
    def plain(cls, name: str) -> str:
        """See ``NamedSwitch.plain``: what names no partition is in Common."""
        return name if name.startswith("/") else f"/Common/{name}"

    @property
    def paths(self) -> tuple[tuple[str, str], ...]:
        """See ``SwitchKind.paths``."""
        return (("its management address", self.url.partition("://")[2]),)


class EnvoySwitch(NamedSwitch):
    """A cluster of an Envoy whose endpoints come from a file (EDS), and are read back from its admin interface.

    Source: Envoy documentation, "Endpoint discovery service", ``ClusterLoadAssignment`` and ``PathConfigSource``.
    """

    max_weight: ClassVar[int] = 1_000
    admins: ClassVar[frozenset[Admin]] = frozenset({"ready", "drain"})
    counts_sessions: ClassVar[bool] = True
    drains_in: ClassVar[float | None] = None

    driver: Literal["envoy"]
    admin: str = Field(description="The admin interface, host:port.")
    cluster: str = Field(description="The cluster. 'names' gives each member's endpoint, as 192.0.2.10:25.")
    endpoints: str = Field(description="The file on this machine that Envoy reads the cluster's endpoints from.")

    @property
    def known_as(self) -> str:
        """See ``SwitchKind.known_as``."""
        return f"{self.endpoints}:{self.cluster}"

    @property
    def paths(self) -> tuple[tuple[str, str], ...]:
        """See ``SwitchKind.paths``."""
        return (("its admin interface", self.admin),)


AnySwitch = (
    HaproxySwitch
    | Elbv2WeightsSwitch
    | Elbv2TargetsSwitch
    | Route53WeightsSwitch
    | Route53FailoverSwitch
    | GlobalAcceleratorSwitch
    | ArcRoutingSwitch
    | ArcZonalShiftSwitch
    | DnsSwitch
    | HttpRouteSwitch
    | ServiceSelectorSwitch
    | F5Switch
    | EnvoySwitch
)
"""The model of any driver."""

Switch = Annotated[AnySwitch, ByDriver()]
"""What splits a pool's new traffic."""
