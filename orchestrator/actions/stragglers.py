"""Which sessions of a draining site may be closed: decided from looks, by rules that cannot cut a message.

A message is delivered twice when its session is cut after the server has taken it and before the client has
read its 250 (RFC 5321, 4.5.3.2.6; RFC 1047). So a session may be closed only when the answer to its last
message is known to be out, and no new message has begun:

* *no transaction ever*: the gate has seen every MAIL since before the session began, and none from it;
* *answered*: since the look that first showed the end of its last message, the switch has passed bytes
  to the client. A gate that is being watched withholds the end of each message until after that look
  (``MailGate.look``), and between the end of the data and its answer a server sends nothing else;
* *settled*: the end of its last message is longer ago than the slowest commit (the runbook's ``settle``).
  Only where the look came too late to be sure that the answer was not out yet: where it is sure, the answer
  is waited for, however long the commit takes.

Without a gate that sees transactions only silence is left: no byte in either direction for ``settle``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.model.traffic import GateReading, Session, Transaction

BUSY_AFTER = 8
"""A session in which so many messages ended without a moment to close it will not give one: tell it 421. One that
was given up counts too: a client whose recipients are all refused never ends any."""

WITHHELD = 0.4
"""Seconds for which a watched gate withholds the end of a message at least."""

AGE_ROUNDING = 1.0
"""HAProxy shows a session's age in whole seconds."""

NO_TRANSACTION = 0
"""What ``MailGate.turn_away`` takes for the number of a client that has had none."""

Standing = Literal["idle", "open", "unknown"]


@dataclass(frozen=True, slots=True)
class Assessment:
    """One session as the last look shows it."""

    session: Session
    standing: Standing
    number: int = NO_TRANSACTION
    """The gate's number of the transaction on which ``standing`` rests."""
    busy: bool = False
    ending: bool = False
    """Its message has ended and is not answered yet: its next pause begins in a moment."""
    unproved: bool = False
    """Its last message ended before anybody watched: it is most likely idle, which only ``settle`` or more shows."""
    idle_for: float = 0.0
    """Seconds since the first of the looks that have shown it idle without a break."""


@dataclass(slots=True)
class _Memory:
    """What earlier looks showed of one session."""

    bytes_seen: tuple[int, int]
    """To the client and to the member, at the last look."""
    silent_since: float
    number: int = NO_TRANSACTION
    at: float = 0.0
    """The gate's last event of it. A gate that is started again counts from one anew, so its time belongs to it."""
    stage: Literal["open", "committing"] | None = None
    base: int = 0
    """Bytes to the client at the first look that showed the end of its last message."""
    withheld: bool = False
    """The answer to that message was certainly not among those bytes."""
    turns: int = 0
    """Messages that ended, and transactions that were given up for the next one."""
    idle_since: float | None = None

    def note(self, transaction: Transaction, bytes_to_client: int, *, withheld: bool) -> None:
        """Take in an event that this look shows first."""
        if transaction.stage == "committing" or self.stage == "open":
            self.turns += 1
        if transaction.stage == "committing":
            self.base, self.withheld = bytes_to_client, withheld
        self.number, self.at, self.stage = transaction.number, transaction.at, transaction.stage


@dataclass(frozen=True, slots=True)
class _Look:
    """What one look at all sessions has in common; times as for ``Stragglers.look``."""

    now: float
    clock: float
    withheld: bool
    """A message whose end this look shows first was not answered yet when the sessions were read."""


@dataclass(slots=True)
class Stragglers:
    """Remembers the looks of one drain. ``settle`` is in seconds."""

    settle: float
    _began: float = float("-inf")
    _memory: dict[tuple[str, str], _Memory] = field(default_factory=dict)

    def look(
        self, began: float, now: float, clock: float, sessions: Sequence[Session], gates: Mapping[str, GateReading]
    ) -> list[Assessment]:
        """Judge each session.

        Args:
            began: monotonic seconds, before ``gates`` were read.
            now: monotonic seconds, after ``sessions`` were read.
            clock: unix time, to compare with the gates' ``since``.
            sessions: as the switch lists them, read after ``gates``.
            gates: each member's gate, read before ``sessions``.
        """
        present = {(session.member, session.client) for session in sessions}
        self._memory = {key: memory for key, memory in self._memory.items() if key in present}
        withheld = now - self._began < WITHHELD  # whatever is new since the last look then happened under watch
        self._began = began
        look = _Look(now, clock, withheld)
        return [self._assess(look, session, gates.get(session.member)) for session in sessions]

    def _assess(self, look: _Look, session: Session, gate: GateReading | None) -> Assessment:
        memory = self._recall(look.now, session)
        standing = self._standing(look, session, gate, memory)
        if standing != "idle":
            memory.idle_since = None
        elif memory.idle_since is None:
            memory.idle_since = look.now
        idle_for = 0.0 if memory.idle_since is None else look.now - memory.idle_since
        ended = standing == "open" and memory.stage == "committing"
        return Assessment(
            session,
            standing,
            memory.number,
            busy=memory.turns >= BUSY_AFTER,
            ending=ended and memory.withheld,
            unproved=ended and not memory.withheld,
            idle_for=idle_for,
        )

    def _standing(self, look: _Look, session: Session, gate: GateReading | None, memory: _Memory) -> Standing:
        if gate is None or not gate.sees_transactions:
            return "idle" if look.now - memory.silent_since >= self.settle else "unknown"
        transaction = gate.transactions.get(session.client)
        if transaction is None:
            memory.number = NO_TRANSACTION
            return "idle" if under_gate(session, gate, look.clock) else "unknown"
        if (transaction.number, transaction.at) != (memory.number, memory.at):
            memory.note(transaction, session.bytes_to_client, withheld=look.withheld)
        if transaction.stage == "open":
            return "open"
        settled = transaction.age >= self.settle and not memory.withheld
        return "idle" if settled or session.bytes_to_client > memory.base else "open"

    def _recall(self, now: float, session: Session) -> _Memory:
        key = (session.member, session.client)
        seen = (session.bytes_to_client, session.bytes_to_member)
        memory = self._memory.setdefault(key, _Memory(bytes_seen=seen, silent_since=now))
        if seen != memory.bytes_seen:
            memory.bytes_seen, memory.silent_since = seen, now
        return memory


def under_gate(session: Session, gate: GateReading, clock: float) -> bool:
    """Whether the session certainly began under the gate.

    Either the gate has been asked about it, or it is younger than the gate by more than the switch's
    whole seconds of age can hide.
    """
    return session.client in gate.transactions or clock - session.age - AGE_ROUNDING > gate.since
