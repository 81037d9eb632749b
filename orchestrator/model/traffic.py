"""How a switch splits new traffic, and the sessions that it carries."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.model.value import Value

Admin = Literal["ready", "drain", "maint"]
"""HAProxy's own words: takes new traffic; only traffic that it has; nothing, not even health checks."""


class Intake(Value):
    """How one member stands in its switch: the new traffic that it takes by its weight, if at all."""

    weight: int = Field(ge=0)
    admin: Admin = "ready"

    @property
    def share_weight(self) -> int:
        """The weight that counts: none where the member takes no new traffic."""
        return self.weight if self.admin == "ready" else 0

    def __str__(self) -> str:
        return f"weight {self.weight}" if self.admin == "ready" else f"weight {self.weight}, {self.admin}"


class MemberReading(Value):
    """One member, as the switch reports it now."""

    intake: Intake
    up: bool = Field(description="What the switch's own health check says; true where it does not check.")
    healthy: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Of a member that stands for many, as a target group: the share of them that is healthy.",
    )
    sessions: int | None = Field(
        ge=0, description="Sessions that it carries now, from any process of the switch; None: the switch counts none."
    )
    draining: bool = Field(
        default=False,
        description="It takes nothing new, and what it had is still being served, by the switch's account.",
    )
    lapses: str = Field(
        default="",
        description="It is out of service, but not for as long as our own word would keep it out: why, in words.",
    )
    objection: str = Field(
        default="", description="Why it must not be taken out of service, by the switch's account, and the remedy."
    )


class Session(Value):
    """One client connection that the switch carries."""

    id: str = Field(description="What the switch calls it.")
    client: str = Field(description="ip:port of the client, as the member sees it too.")
    member: str
    age: float = Field(ge=0, description="Seconds since it was opened.")
    bytes_to_client: int = Field(default=0, ge=0)
    bytes_to_member: int = Field(default=0, ge=0)


class Transaction(Value):
    """The last mail transaction that a gate saw of one client."""

    stage: Literal["open", "committing"] = Field(
        description="open from MAIL on; committing from the end of the data on (its 250 may be out or not)."
    )
    at: float = Field(description="Unix time of the gate's host at which this stage began.")
    age: float = Field(ge=0, description="Seconds since then, by that host's own clock.")
    number: int = Field(description="Counts this gate's events, so that two looks can tell whether one came between.")


class GateReading(Value):
    """The gate of one host, and what it knows of the transactions there."""

    closed: bool = Field(description="Closed: MAIL FROM is answered with 421 (RFC 5321, 3.8) and the session ends.")
    since: float = Field(description="Unix time. A session that was opened later is certainly under the gate.")
    sees_transactions: bool = Field(description="Whether ``transactions`` is kept at all.")
    transactions: dict[str, Transaction] = Field(
        default_factory=dict,
        description="The last one of each client (ip:port) whose connection is still known.",
    )


class QueueDepth(Value):
    """Messages in a mail queue (Postfix QSHAPE_README)."""

    incoming: int = 0
    active: int = 0
    deferred: int = 0
    hold: int = 0

    @property
    def moving(self) -> int:
        """What is on its way: all but what an operator holds."""
        return self.incoming + self.active + self.deferred
