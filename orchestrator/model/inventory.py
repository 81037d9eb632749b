"""What there is: sites, pools with their switch and members, hosts with their gate and queue, and groups of hosts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from orchestrator.model.access import AwsAccess, KubernetesAccess
from orchestrator.model.capacity import Node, Scaling
from orchestrator.model.driver import ByDriver
from orchestrator.model.secret import Login
from orchestrator.model.ssh import SshAddress
from orchestrator.model.switch import Switch
from orchestrator.model.units import Load
from orchestrator.model.value import Value


class Site(Value):
    """A datacenter, region or zone that can serve."""

    provider: str = Field(default="", description="Whose maintenance windows concern this site.")
    networks: tuple[str, ...] = Field(
        default=(), description="Its networks, as 10.1.0.0/16: what has an address in one of them stands at this site."
    )
    aws: AwsAccess | None = Field(default=None, description="As whom and where AWS is called for what is at this site.")
    kubernetes: KubernetesAccess | None = Field(default=None, description="The cluster at this site.")


class PolicyGate(Value):
    """The gate as a policy service that Postfix asks at MAIL FROM and at the end of the data.

    Source: Postfix SMTPD_POLICY_README.
    """

    driver: Literal["postfix-policy"]
    control: str = Field(description="The control socket of 'failover gate serve' on the host: a path, or host:port.")
    service: str = Field(
        default="",
        description="What Postfix calls the policy service in its restrictions, as inet:127.0.0.1:9998; "
        "found out from the gate itself when empty.",
    )
    config: str = Field(default="/etc/postfix", description="The Postfix configuration folder on the host.")


class MapGate(Value):
    """The gate as a lookup table that Postfix reads at MAIL FROM; no daemon in the mail's path.

    It cannot tell which sessions have a transaction open, so the drain waits longer before it closes one.
    Source: Postfix access(5), sqlite_table(5).
    """

    driver: Literal["postfix-map"]
    database: str = Field(description="The SQLite file that the table reads.")
    table: str = Field(
        default="",
        description="The sqlite_table(5) file; the database's name with .cf for .sqlite when empty.",
    )
    config: str = Field(default="/etc/postfix", description="The Postfix configuration folder on the host.")


Gate = Annotated[PolicyGate | MapGate, ByDriver()]
"""What answers 421 at MAIL FROM while a host is drained."""


class PostfixQueue(Value):
    """The mail queue of one Postfix instance, read with postqueue(1)."""

    driver: Literal["postfix"]
    config: str = Field(default="/etc/postfix", description="The Postfix configuration folder on the host.")


Queue = Annotated[PostfixQueue, ByDriver()]
"""What holds the mail that a host has accepted and not yet passed on."""


class Host(Value):
    """One mail server."""

    connect: Literal["local", "ssh"] = Field(default="ssh", description="How its programs are run.")
    ssh: SshAddress = Field(
        default="", description="What ssh(1) is to connect to: [user@]host[:port]; the host's name when empty."
    )
    gate: Gate | None = Field(default=None, description="What answers 421 at MAIL FROM while the host is drained.")
    queue: Queue | None = Field(default=None, description="Its mail queue.")
    node: Node | None = Field(default=None, description="The Kubernetes node that it is.")
    data: dict[str, JsonValue] = Field(default_factory=dict, description="For pyinfra: the host's data.")


class Group(Value):
    """Hosts under one name, which can stand wherever hosts are listed. Once loaded it names hosts only."""

    hosts: tuple[str, ...] = Field(min_length=1, description="Hosts, or other groups.")
    data: dict[str, JsonValue] = Field(default_factory=dict, description="For pyinfra: data of each of its hosts.")


class PoolSite(Value):
    """A pool's part at one site. Once loaded its members are hosts only."""

    members: tuple[str, ...] = Field(
        min_length=1,
        description="What its switch splits traffic between here, as it calls them: hosts or groups of hosts; or one "
        "target group, record, region or Service.",
    )
    capacity: Load = Field(description="What all its members carry together.")
    address: str = Field(description="host:port that leads to this site only, on the path that its traffic will take.")
    scaling: Scaling | None = Field(default=None, description="What makes it larger or smaller here.")


class DemandFromSwitch(Value):
    """Demand as the switch measures it: the sessions that it carries now."""

    from_: Literal["switch"] = Field(alias="from", description="Measured at the pool's switch.")


class TestMail(Value):
    """The probe's envelope: a mailbox made for probes, which no person reads."""

    __test__ = False  # not a test class, whatever its name says to pytest

    sender: str = Field(description="MAIL FROM of the probes.")
    recipient: str = Field(description="RCPT TO of the probes: delivered, and thrown away or kept in the inbox.")
    inbox: str | None = Field(default=None, description="The Maildir in which the probes arrive, for 'delivery'.")
    ca_file: str | None = Field(default=None, description="PEM file to verify the servers' certificates with.")
    server_name: str | None = Field(default=None, description="The name that the certificates must carry.")
    login: Login | None = Field(
        default=None, description="For servers that take mail only after AUTH, as submission services do; over TLS."
    )


class Pool(Value):
    """One service with its members per site."""

    protocol: Literal["smtp"] = Field(description="What its members speak.")
    address: str = Field(description="host:port that its clients connect to.")
    switch: Switch = Field(description="What splits its new traffic between the sites.")
    demand: Load | DemandFromSwitch = Field(
        default=DemandFromSwitch.model_validate({"from": "switch"}),
        description="What its clients ask for: a stated load, or {from: switch}.",
    )
    test_mail: TestMail = Field(description="The mail that probes send.")
    sites: dict[str, PoolSite] = Field(min_length=1, description="Its part at each site, by the site's name.")

    def members(self, site: str) -> tuple[str, ...]:
        """The pool's hosts at ``site``."""
        return self.sites[site].members

    def site_of(self, member: str) -> str | None:
        """The site that ``member`` stands at; None where the pool has no such member."""
        return next((name for name, site in self.sites.items() if member in site.members), None)


class Control(Value):
    """Where failover itself runs, with its journal and the source of its probes."""

    site: str | None = Field(
        default=None, description="The site; a runbook that empties it must be run from another place."
    )


class Inventory(Value):
    """Everything that runbooks can name."""

    version: Literal[1] = Field(default=1, description="The version of this language.")
    sites: dict[str, Site] = Field(min_length=1, description="Datacenters, regions or zones that can serve, by name.")
    pools: dict[str, Pool] = Field(min_length=1, description="Services with their members at each site, by name.")
    hosts: dict[str, Host] = Field(default_factory=dict, description="How the members are reached, by name.")
    groups: dict[str, Group] = Field(default_factory=dict, description="Names for several hosts at once.")
    control: Control = Field(default=Control(), description="Where failover itself runs.")

    def host_names(self) -> list[str]:
        """Every host that it describes or has as a member, in the order of the alphabet."""
        members = (member for pool in self.pools.values() for site in pool.sites.values() for member in site.members)
        return sorted({*self.hosts, *members})

    def host(self, name: str) -> Host:
        """What is said of a host; a member of which nothing is said has the defaults."""
        return self.hosts.get(name, Host())

    def aws_of(self, own: AwsAccess | None, site: str | None) -> AwsAccess:
        """As whom and where AWS is called for something: what it says itself, and in all else what its site says."""
        at_site = self.sites[site].aws if site is not None else None
        if own is None or at_site is None:
            return own or at_site or AwsAccess()
        return at_site.model_copy(update=own.model_dump(exclude_defaults=True))

    def cluster_of(self, own: KubernetesAccess | None, site: str | None) -> KubernetesAccess:
        """The cluster of something: what it says itself, and in all else that of its site.

        A context is one of its kubeconfig: that of the site does not go with a file of one's own.
        """
        at_site = self.sites[site].kubernetes if site is not None else None
        if own is None or at_site is None or own.kubeconfig is not None:
            return own or at_site or KubernetesAccess()
        return at_site.model_copy(update=own.model_dump(exclude_defaults=True))

    def hosts_at(self, site: str) -> list[str]:
        """The members of all pools at ``site``."""
        parts = (pool.sites[site] for pool in self.pools.values() if site in pool.sites)
        return list(dict.fromkeys(member for part in parts for member in part.members))
