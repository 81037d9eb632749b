"""What there is: sites, pools with their switch and members, and hosts with their gate and queue."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.model.units import Load
from orchestrator.model.value import Value


class Site(Value):
    """A datacenter, region or zone that can serve."""

    provider: str = Field(default="", description="Whose maintenance windows concern this site.")


class HaproxySwitch(Value):
    """A backend of a HAProxy in TCP mode, driven by its Runtime API.

    Source: HAProxy Management Guide, "Unix Socket commands"; the socket needs ``level admin``.
    """

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


Switch = HaproxySwitch
"""What splits a pool's new traffic; becomes a union, told apart by ``driver``, with the second driver."""


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


Gate = Annotated[PolicyGate | MapGate, Field(discriminator="driver")]


class PostfixQueue(Value):
    """The mail queue of one Postfix instance, read with postqueue(1)."""

    driver: Literal["postfix"]
    config: str = Field(default="/etc/postfix", description="The Postfix configuration folder on the host.")


class Host(Value):
    """One mail server."""

    connect: Literal["local", "ssh"] = Field(default="ssh", description="How its programs are run.")
    ssh: str = Field(default="", description="What ssh(1) is to connect to; the host's name when empty.")
    gate: Gate | None = Field(default=None, description="What answers 421 at MAIL FROM while the host is drained.")
    queue: PostfixQueue | None = Field(default=None, description="Its mail queue.")


class PoolSite(Value):
    """A pool's part at one site."""

    members: tuple[str, ...] = Field(min_length=1, description="Hosts, named as the switch names its servers.")
    capacity: Load = Field(description="What all its members carry together.")
    address: str = Field(description="host:port that leads to this site only, on the path that its traffic will take.")


class DemandFromSwitch(Value):
    """Demand as the switch measures it: the sessions that it carries now."""

    from_: Literal["switch"] = Field(alias="from")


class TestMail(Value):
    """The probe's envelope: a mailbox made for probes, which no person reads."""

    __test__ = False  # not a test class, whatever its name says to pytest

    sender: str = Field(description="MAIL FROM of the probes.")
    recipient: str = Field(description="RCPT TO of the probes: delivered, and thrown away or kept in the inbox.")
    inbox: str | None = Field(default=None, description="The Maildir in which the probes arrive, for 'delivery'.")
    ca_file: str | None = Field(default=None, description="PEM file to verify the servers' certificates with.")
    server_name: str | None = Field(default=None, description="The name that the certificates must carry.")


class Pool(Value):
    """One service with its members per site."""

    protocol: Literal["smtp"]
    address: str = Field(description="host:port that its clients connect to.")
    switch: Switch
    demand: Load | DemandFromSwitch = Field(
        default=DemandFromSwitch.model_validate({"from": "switch"}),
        description="What its clients ask for: a stated load, or {from: switch}.",
    )
    test_mail: TestMail = Field(description="The mail that probes send.")
    sites: dict[str, PoolSite] = Field(min_length=1)

    def members(self, site: str) -> tuple[str, ...]:
        """The pool's hosts at ``site``."""
        return self.sites[site].members

    def site_of(self, member: str) -> str | None:
        """The site that ``member`` stands at; None where the pool has no such member."""
        return next((name for name, site in self.sites.items() if member in site.members), None)


class Inventory(Value):
    """Everything that runbooks can name."""

    version: Literal[1] = 1
    sites: dict[str, Site] = Field(min_length=1)
    pools: dict[str, Pool] = Field(min_length=1)
    hosts: dict[str, Host] = Field(default_factory=dict)
