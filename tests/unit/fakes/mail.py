"""A pool of mail hosts behind a switch, on virtual time: sessions, transactions, gates and queues with behaviour.

What the drain's rules rest on is simulated as it is measured on HAProxy and Postfix: a switch shows a session's age
in whole seconds and counts bytes as they pass; a session is cut some milliseconds after that was asked for; a gate
is asked at MAIL and at the end of the data, before the commit; a gate that is watched withholds the end of a message
until the second look after it. A message whose session is cut between its end of data and its 250 is in ``doubled``:
the host has it, and its client sends it again (RFC 1047).
"""

# ruff: noqa: D102 - the ports say what their methods mean

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.adapters.postfix_policy import GateStatus
from orchestrator.errors import UnfitError, UnreachableError
from orchestrator.model.traffic import (
    Admin,
    GateReading,
    Intake,
    MemberReading,
    QueueDepth,
    Session,
)

from .clock import EPOCH

CALL = 0.002
"""Seconds of one question to a gate or a switch."""

SMTPD_TIMEOUT = 60.0
"""Seconds of silence after which a member ends a session itself; Postfix has 300, and 10 under stress."""

HOLD = 0.45
"""Seconds for which a watched gate withholds the end of a message at most."""

Phase = Literal["between", "in transaction", "ended"]


def moment() -> float:
    """Virtual monotonic seconds."""
    return asyncio.get_running_loop().time()


@dataclass(eq=False)
class LiveSession:
    """One session as it really is."""

    client: str
    member: str
    opened: float
    phase: Phase = "between"
    bytes_to_client: int = 0
    bytes_to_member: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def open(self) -> bool:
        """Whether it is still there."""
        return not self.over.is_set()

    def command(self, size: int = 30) -> None:
        """The client says something."""
        self.bytes_to_member += size

    def reply(self, size: int = 20) -> None:
        """The member answers."""
        self.bytes_to_client += size


@dataclass
class Pool:
    """The sessions of a pool, and what became of their messages."""

    sessions: list[LiveSession] = field(default_factory=list)
    delivered: int = 0
    doubled: list[str] = field(default_factory=list)
    """Clients whose session was cut between the end of their data and the 250."""
    cut: list[str] = field(default_factory=list)
    """Clients whose session was cut inside a transaction, before the end of the data."""
    closed_idle: list[str] = field(default_factory=list)
    hung_up: list[str] = field(default_factory=list)
    """Clients that were told 421."""

    def connect(self, client: str, member: str, age: float = 0.0) -> LiveSession:
        """A client opens a session."""
        session = LiveSession(client, member, moment() - age)
        session.reply(50)
        self.sessions.append(session)
        return session

    def cut_off(self, session: LiveSession) -> None:
        """The switch cuts a session."""
        if not session.open:
            return
        ledger = {"between": self.closed_idle, "in transaction": self.cut, "ended": self.doubled}
        ledger[session.phase].append(session.client)
        session.over.set()

    def live(self, member: str) -> list[LiveSession]:
        """The sessions that are there."""
        return [session for session in self.sessions if session.open and session.member == member]


class FakeSwitch:
    """``ports.TrafficSwitch``. Every write is in ``log``; ``latency`` is how long one call takes."""

    max_weight = 256

    def __init__(self, members: Mapping[str, Intake], pool: Pool | None = None, latency: float = CALL) -> None:
        self.members = dict(members)
        self.pool = pool or Pool()
        self.latency = latency
        self.lost_until = float("-inf")
        """Until when it does not answer, in virtual seconds."""
        self.log: list[str] = []
        self.hidden = 0
        """Sessions that the switch counts and does not list yet, as it is only just setting them up."""
        self.strangers = 0
        """The weights of what takes traffic here and is no member of the pool."""
        self.settles_in = 0.0
        """Virtual seconds after a write in which clients still meet what was before."""
        self._written = float("-inf")

    async def read(self) -> Mapping[str, MemberReading]:
        await asyncio.sleep(self.latency)
        return {
            name: MemberReading(
                intake=intake, up=True, sessions=len(self.pool.live(name)) + (self.hidden if intake.weight else 0)
            )
            for name, intake in self.members.items()
        }

    async def elsewhere(self) -> int:
        return self.strangers

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        for name, intake in changes.items():
            assert intake.weight <= self.max_weight
            if name not in self.members:
                raise UnfitError(f"the switch has no {name}")
            self.members[name] = intake
        self._written = moment()
        for name, intake in changes.items():
            self.log.append(f"{name}: {intake}")
        await asyncio.sleep(self.latency)

    async def settling(self) -> str:
        if moment() < self.lost_until:
            raise UnreachableError("cannot reach the switch: connection refused")
        left = self._written + self.settles_in - moment()
        return f"resolvers may hold the old answer for {left:g}s more" if left > 0 else ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        await asyncio.sleep(self.latency)
        if moment() < self.lost_until:
            raise UnreachableError("cannot reach the switch: connection refused")
        now = moment()
        return [
            Session(
                id=f"0x{id(session):x}",
                client=session.client,
                member=session.member,
                age=float(int(now - session.opened)),
                bytes_to_client=session.bytes_to_client,
                bytes_to_member=session.bytes_to_member,
            )
            for member in members
            for session in self.pool.live(member)
        ]

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        lines = [f"weight {name} {weight}" for name, weight in weights.items()]
        return [*lines, *(f"state {name} {admin}" for name, admin in admins.items())]

    async def close(self, session: Session) -> None:
        await asyncio.sleep(self.latency)
        for live in self.pool.live(session.member):
            if f"0x{id(live):x}" == session.id:
                self.pool.cut_off(live)
        await asyncio.sleep(self.latency)


class FakeGate:
    """``ports.MailGate`` that Postfix asks; ``at_mail`` and ``at_end`` are its questions.

    ``sees`` false makes it a table: it knows whether it is closed, and nothing of sessions. Its host's clock is
    ``skew`` seconds ahead, and the driver makes the reading out of what it says.
    """

    def __init__(self, since: float = -1000.0, sees: bool = True, closed: bool = False, skew: float = 0.0) -> None:
        self.closed = closed
        self.skew = skew
        self.lost_until = float("-inf")
        self.since = since
        self.sees = sees
        self.trouble = ""
        self.log: list[str] = []
        self._seen: dict[str, tuple[Literal["open", "committing"], float, int]] = {}
        self._number = 0
        self._turned_away: set[str] = set()
        self._held: list[_Held] = []
        self._watched_until = float("-inf")

    def restart(self, seconds: float) -> None:
        """It goes down, comes back after so many seconds, and has forgotten everything but whether it is closed."""
        self.lost_until = moment() + seconds
        self.since = self.lost_until
        self._seen.clear()
        self._turned_away.clear()
        self._number = 0
        self._watched_until = float("-inf")
        for held in list(self._held):
            self._release(held)

    async def _call(self) -> None:
        await asyncio.sleep(CALL)
        if self._down:
            raise UnreachableError("cannot reach the gate: connection refused")

    @property
    def _down(self) -> bool:
        return moment() < self.lost_until

    async def read(self) -> GateReading:
        if self.trouble:
            raise UnfitError(self.trouble)
        await self._call()
        reading = self._reading()
        await asyncio.sleep(CALL)
        return reading

    async def look(self) -> GateReading:
        if not self.sees:
            return await self.read()
        await self._call()
        for held in [one for one in self._held if one.shown]:
            self._release(held)
        for held in self._held:
            held.shown = True
        self._watched_until = moment() + HOLD
        reading = self._reading()
        await asyncio.sleep(CALL)
        return reading

    async def set_closed(self, closed: bool) -> None:
        await self._call()
        self.log.append("closed" if closed else "open")
        self.closed = closed
        if not closed:
            self._turned_away.clear()

    def by_hand(self, closed: bool) -> Sequence[str]:
        return ["gate close" if closed else "gate open"]

    async def turn_away(self, client: str, number: int | None) -> bool:
        if not self.sees:
            return False
        await self._call()
        agreed = number is None or number == self._seen.get(client, ("", 0.0, 0))[2]
        if agreed:
            self._turned_away.add(client)
        return agreed or self.closed

    def at_mail(self, client: str) -> bool:
        """Whether MAIL FROM is taken; otherwise it is answered with 421. Without the gate it is taken."""
        if self._down:
            return True
        if self.closed or client in self._turned_away:
            self._turned_away.discard(client)
            return False
        self._note(client, "open")
        return True

    async def at_end(self, client: str) -> None:
        """Returns when the message may be committed."""
        if self._down:
            return
        self._note(client, "committing")
        if not self.sees or moment() >= self._watched_until:
            return
        held = _Held()
        self._held.append(held)
        asyncio.get_running_loop().call_later(HOLD, self._release, held)
        await held.released.wait()

    def _note(self, client: str, stage: Literal["open", "committing"]) -> None:
        if self.sees:
            self._number += 1
            self._seen[client] = (stage, moment(), self._number)

    def _release(self, held: _Held) -> None:
        if held in self._held:
            self._held.remove(held)
            held.released.set()

    def _reading(self) -> GateReading:
        now = moment()
        by_host = EPOCH + self.skew
        status = GateStatus(
            ok=True,
            closed=self.closed,
            spare=(),
            since=by_host + self.since,
            listen="",
            time=by_host + now,
            moment=now,
            transactions={
                client: (stage, by_host + at, at, number) for client, (stage, at, number) in self._seen.items()
            },
        )
        reading = status.reading(by_host + self.since, EPOCH + now)
        return reading.model_copy(update={"sees_transactions": self.sees})


@dataclass(eq=False)
class _Held:
    """An end of message that waits for the looks of an operator."""

    released: asyncio.Event = field(default_factory=asyncio.Event)
    shown: bool = False


class FakeQueue:
    """``ports.MailQueue`` that passes on one message each ``seconds`` once it is flushed."""

    def __init__(self, moving: int = 0, deferred: int = 0, held: int = 0, seconds: float = 0.2) -> None:
        self._moving = moving
        self._deferred = deferred
        self._held = held
        self._seconds = seconds
        self._flushed_at: float | None = None

    @property
    def flushed(self) -> bool:
        """Whether anybody asked for it."""
        return self._flushed_at is not None

    async def depth(self) -> QueueDepth:
        await asyncio.sleep(CALL)
        gone = 0 if self._flushed_at is None else int((moment() - self._flushed_at) / self._seconds)
        return QueueDepth(active=max(0, self._moving - gone), deferred=self._deferred, hold=self._held)

    async def flush(self) -> None:
        await asyncio.sleep(CALL)
        self._flushed_at = moment()


@dataclass(frozen=True, slots=True)
class Habit:
    """How a client sends: seconds between two messages, of its DATA, and that its member needs to commit."""

    gap: float = 0.01
    data: float = 0.03
    commit: float = 0.01
    messages: int = 1_000_000
    noop: bool = False
    """Sends NOOP where others send a message."""
    refused: bool = False
    """All its recipients are refused: no transaction comes to its end."""


async def client(name: str, habit: Habit, member: str, pool: Pool, gate: FakeGate, age: float = 0.0) -> None:
    """One persistent client, until its session is over."""
    session = pool.connect(name, member, age)
    work = asyncio.ensure_future(_talk(session, habit, pool, gate))
    over = asyncio.ensure_future(session.over.wait())
    try:
        await asyncio.wait({work, over}, return_when=asyncio.FIRST_COMPLETED)
        session.over.set()
    finally:
        for one in (work, over):
            one.cancel()
        await asyncio.gather(work, over, return_exceptions=True)


async def _talk(session: LiveSession, habit: Habit, pool: Pool, gate: FakeGate) -> None:
    for _ in range(habit.messages):
        await asyncio.sleep(habit.gap)
        session.command()
        if habit.noop:
            session.reply()
            continue
        if not await _transaction(session, habit, gate):
            pool.hung_up.append(session.client)
            return
        pool.delivered += not habit.refused
    await asyncio.sleep(SMTPD_TIMEOUT)  # it keeps its session, and says nothing any more


async def _transaction(session: LiveSession, habit: Habit, gate: FakeGate) -> bool:
    """Whether the member took the MAIL."""
    if not gate.at_mail(session.client):
        return False
    session.phase = "in transaction"
    session.reply()
    await asyncio.sleep(0.001)
    session.command()
    session.reply()
    if habit.refused:
        session.phase = "between"
        return True
    session.command(4)
    session.reply()
    for _ in range(4):
        await asyncio.sleep(habit.data / 4)
        session.command(500)
    session.phase = "ended"
    await gate.at_end(session.client)
    await asyncio.sleep(habit.commit)
    session.reply(40)
    session.phase = "between"
    return True
