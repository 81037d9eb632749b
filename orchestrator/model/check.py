"""Checks: what is measured, where, and what it must be; and the verdict in its three values."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.model.secret import Login
from orchestrator.model.units import Bound, Duration, Fraction, PositiveDuration, Size
from orchestrator.model.value import Value


class Aim(Value):
    """Where a probe looks: a whole pool as its clients see it, or the pool's part at one site."""

    pool: str = Field(description="A pool of the inventory.")
    site: str | None = Field(default=None, description="Only the pool's part at this site.")

    def __str__(self) -> str:
        return f"{self.pool}@{self.site}" if self.site else self.pool


class Detect(Value):
    """What a check must be able to detect; the number of probes follows (Wald's sequential test)."""

    failure_rate: Fraction = Field(description="The failing share of probes that must be found.")
    baseline: Fraction = Field(default=0.001, description="The failing share that is still normal.")
    confidence: Fraction = Field(default=0.999, description="The chance to find it where it is there.")
    false_alarms: Fraction = Field(default=0.001, description="The chance to cry wolf at the baseline.")


class SmtpArguments(Value):
    """One SMTP transaction, whole: banner, EHLO, STARTTLS, MAIL, RCPT, DATA, QUIT (RFC 5321)."""

    starttls: bool = Field(default=False, description="Switch to TLS and verify the certificate (RFC 3207).")
    message_size: Size = Field(default=1024, description="Bytes of message; 64KiB finds loss of large packets.")
    timeout: PositiveDuration = Field(default=5.0, description="A transaction that takes longer has failed.")
    concurrency: int = Field(default=8, strict=True, ge=1, le=64, description="Transactions at a time.")
    pause: Duration = Field(default=0.0, description="Between two transactions of one worker.")
    sources: tuple[str, ...] = Field(
        default=(), description="Local addresses to connect from in turn; the system's choice when empty."
    )
    login: Login | None = Field(default=None, description="Log in with this, not with what the inventory says.")


class SessionsArguments(Value):
    """How often to count sessions."""

    interval: Duration = Field(default=0.5, description="Between two readings.")


class DeliveryArguments(Value):
    """One message through the pool, until it lies in the inbox."""

    timeout: PositiveDuration = Field(default=30.0, description="A message that needs longer has failed.")
    concurrency: int = Field(default=4, strict=True, ge=1, le=64, description="Messages under way at a time.")


class _Check(Value):
    at: Aim
    over: PositiveDuration | None = Field(default=None, description="Measure for so long, then judge all samples.")
    for_: PositiveDuration | None = Field(
        default=None, alias="for", description="It must hold at every look for so long."
    )
    expect: dict[str, Bound] = Field(default_factory=dict, description="What the measured numbers must be.")
    detect: Detect | None = Field(default=None, description="What the check must be able to detect.")


class SmtpCheck(_Check):
    """Whole SMTP transactions; measures success_rate, p50, p95, p99 (seconds) and certificate_days."""

    probe: Literal["smtp"]
    with_: SmtpArguments = Field(default=SmtpArguments(), alias="with")


class SessionsCheck(_Check):
    """Client sessions that the switch carries; measures sessions."""

    probe: Literal["sessions"]
    with_: SessionsArguments = Field(default=SessionsArguments(), alias="with")


class DeliveryCheck(_Check):
    """Messages from acceptance to the inbox; measures success_rate, p50, p95, p99 (seconds)."""

    probe: Literal["delivery"]
    with_: DeliveryArguments = Field(default=DeliveryArguments(), alias="with")


Check = Annotated[SmtpCheck | SessionsCheck | DeliveryCheck, Field(discriminator="probe")]

METRICS: dict[str, frozenset[str]] = {
    "smtp": frozenset({"success_rate", "p50", "p95", "p99", "certificate_days"}),
    "sessions": frozenset({"sessions"}),
    "delivery": frozenset({"success_rate", "p50", "p95", "p99"}),
}
"""What each probe measures, and so what ``expect`` may name."""


class CheckGuard(Value):
    """A check that must hold during the whole run."""

    check: str


class Headroom(Value):
    """Capacity that serves, divided by demand, must stay at least so large."""

    pool: str = Field(description="The pool.")
    at_least: float = Field(strict=True, gt=0, description="So many times the demand: 1.3 leaves room for 30% more.")


class HeadroomGuard(Value):
    """Capacity guard: ``headroom: {pool: smtp, at_least: 1.3}``."""

    headroom: Headroom


class Serving(Value):
    """So many sites with a healthy member that takes new traffic."""

    pool: str = Field(description="The pool.")
    at_least: int = Field(strict=True, ge=1, description="Sites.")


class ServingGuard(Value):
    """Site guard: ``serving: {pool: smtp, at_least: 1}``."""

    serving: Serving


class BlastRadius(Value):
    """No waypoint moves more than this share of the pool's new traffic."""

    pool: str = Field(description="The pool.")
    at_most: Fraction = Field(gt=0, description="A share of the pool's new traffic.")


class BlastRadiusGuard(Value):
    """Pace guard: ``blast_radius: {pool: smtp, at_most: 25%}``; the plan keeps it."""

    blast_radius: BlastRadius


Guard = CheckGuard | HeadroomGuard | ServingGuard | BlastRadiusGuard


class Sample(Value):
    """One measurement of a probe."""

    ok: bool
    seconds: float = 0.0
    value: float | None = Field(default=None, description="What was counted, where the probe counts.")
    where: str = Field(default="", description="The address or member that was measured.")
    reason: str = Field(default="", description="Why it failed, in few words.")
    certificate_days: float | None = None
    broken: bool = Field(default=False, description="The probe itself broke: this says nothing about the target.")


class Judgement(StrEnum):
    """The three values; ``unknown`` never passes."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    UNKNOWN = "unknown"


class Verdict(Value):
    """What a check found."""

    check: str
    judgement: Judgement
    reason: str = Field(description="One line for a person: the numbers, and the first reasons of failures.")
    samples: int = 0
    metrics: dict[str, float] = Field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether a gate may open on it."""
        return self.judgement is Judgement.PASS
