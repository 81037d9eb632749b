"""A world of fakes: mail paths, a switch and an inbox with behaviour, and a clock that leaps from event to event."""

# ruff: noqa: D102 - the ports say what their methods mean

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TypeVar

from orchestrator.errors import UnfitError, UnreachableError
from orchestrator.model.check import DeliveryCheck, SessionsCheck, SmtpCheck
from orchestrator.model.inventory import Inventory
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session
from orchestrator.ports import Inbox, MailAttempt, MailClient, MailGate, MailQueue, MailResult, TrafficSwitch

from ..fakes.no_capacity import NoCapacity

T = TypeVar("T")

INVENTORY = Inventory.model_validate(
    {
        "sites": {"ord": {}, "iad": {}},
        "pools": {
            "smtp": {
                "protocol": "smtp",
                "address": "vip:25",
                "switch": {"driver": "haproxy", "socket": "s", "backend": "smtp"},
                "test_mail": {"sender": "probe@lab.example", "recipient": "probe@lab.example"},
                "sites": {
                    "ord": {"capacity": "100 sessions", "members": ["mx1", "mx2"], "address": "ord:25"},
                    "iad": {"capacity": "100 sessions", "members": ["mx3", "mx4"], "address": "iad:25"},
                },
            }
        },
    }
)


class _LeapingSelector(selectors.DefaultSelector):
    """Where a loop would wait, the clock leaps instead."""

    elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for ever")
        self.elapsed += max(timeout, 0)
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        return ready


class _LeapingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._leaping = _LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.elapsed


def run(work: Coroutine[object, object, T]) -> T:
    """``asyncio.run`` in which an hour of waiting takes no time."""
    with asyncio.Runner(loop_factory=_LeapingLoop) as runner:
        return runner.run(work)


class LoopClock:
    """The running loop's time."""

    def now(self) -> float:
        return 1_700_000_000 + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def accepted(seconds: float = 0.05, certificate_days: float | None = None) -> MailResult:
    """A transaction that went well."""
    return MailResult(ok=True, seconds=seconds, stage="quit", certificate_days=certificate_days)


def refused(reason: str = "421 at MAIL FROM", seconds: float = 0.01) -> MailResult:
    """A transaction that the target did not let through."""
    return MailResult(ok=False, seconds=seconds, stage="mail", reason=reason)


def hung(seconds: float = 5.0) -> MailResult:
    """A transaction on a path that swallows packets."""
    return MailResult(ok=False, seconds=seconds, stage="banner", reason="no banner within 5s")


def no_port() -> MailResult:
    """A transaction that this machine could not even begin."""
    return MailResult(ok=False, seconds=0.0, stage="connect", reason="cannot assign requested address", broken=True)


Fate = Callable[[int, MailAttempt], MailResult]


class FakeMail:
    """A mail path whose ``fate`` decides over each transaction; what it accepts arrives in its inbox."""

    def __init__(self, fate: Fate = lambda number, attempt: accepted(), arrives_after: float | None = 0.0) -> None:
        self.fate = fate
        self.attempts: list[MailAttempt] = []
        self.begun_at: list[float] = []
        self.under_way = 0
        self.most_under_way = 0
        self.cancelled = 0
        self.inbox: dict[str, float] = {}
        self.arrives_after = arrives_after

    async def deliver(self, attempt: MailAttempt) -> MailResult:
        number = len(self.attempts)
        self.attempts.append(attempt)
        self.begun_at.append(asyncio.get_running_loop().time())
        result = self.fate(number, attempt)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(result.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        if result.ok and self.arrives_after is not None:
            self.inbox[attempt.message_id] = asyncio.get_running_loop().time() + self.arrives_after
        return result

    async def take(self, message_id: str) -> bool:
        if self.inbox.get(message_id, float("inf")) > asyncio.get_running_loop().time():
            return False
        del self.inbox[message_id]
        return True


def reading(weight: int = 100, admin: Admin = "ready", *, up: bool = True, sessions: int = 0) -> MemberReading:
    """One member as a switch reports it."""
    return MemberReading(intake=Intake(weight=weight, admin=admin), up=up, sessions=sessions)


class FakeSwitch:
    """A switch that answers what ``readings`` says for the time of the question; None is no answer."""

    max_weight = 256

    def __init__(self, readings: Callable[[float], Mapping[str, MemberReading] | None] | None = None) -> None:
        everything = {name: reading() for name in ("mx1", "mx2", "mx3", "mx4")}
        self.readings = readings or (lambda at: everything)

    async def read(self) -> Mapping[str, MemberReading]:
        found = self.readings(asyncio.get_running_loop().time())
        if found is None:
            raise UnreachableError("cannot ask the switch: no answer within 2s")
        return found

    async def elsewhere(self) -> int:
        return 0

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        raise AssertionError("a check must not write")

    async def settling(self) -> str:
        raise AssertionError("a check must not write, and so waits for nothing")

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        raise AssertionError("no check asks for single sessions")

    async def close(self, session: Session) -> None:
        raise AssertionError("a check must not write")

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        raise AssertionError("a check tells nobody what to type")


class FakeOutside(NoCapacity):
    """Every port that a check may use."""

    def __init__(
        self,
        mail: FakeMail | None = None,
        switch: FakeSwitch | None = None,
        inventory: Inventory = INVENTORY,
        *,
        has_inbox: bool = True,
    ) -> None:
        self.inventory = inventory
        self.mail = mail or FakeMail()
        self._switch = switch or FakeSwitch()
        self._has_inbox = has_inbox

    def switch(self, pool: str) -> TrafficSwitch:
        return self._switch

    def mail_client(self) -> MailClient:
        return self.mail

    def inbox(self, pool: str) -> Inbox:
        if not self._has_inbox:
            raise UnfitError(f"the pool {pool} has no inbox")
        return self.mail

    def gate(self, host: str) -> MailGate:
        raise AssertionError("no check asks for a gate")

    def queue(self, host: str) -> MailQueue:
        raise AssertionError("no check asks for a queue")


def smtp_check(**words: object) -> SmtpCheck:
    """A check as the runbook writes it."""
    return SmtpCheck.model_validate({"probe": "smtp", "at": {"pool": "smtp"}, **words})


def delivery_check(**words: object) -> DeliveryCheck:
    """A check as the runbook writes it."""
    return DeliveryCheck.model_validate({"probe": "delivery", "at": {"pool": "smtp"}, **words})


def sessions_check(**words: object) -> SessionsCheck:
    """A check as the runbook writes it."""
    return SessionsCheck.model_validate({"probe": "sessions", "at": {"pool": "smtp", "site": "ord"}, **words})
