"""The ledger: what was accepted, what arrived, and what clients met on the way.

A message is *accepted* once its client has seen 250 after the final dot (RFC 5321, 4.2.5: from then on the server
answers for it). It is *lost* only when it was accepted, lies in no queue any more and has not arrived, for longer than
a grace: before that it is *in flight*. It is *duplicated* when it arrives again.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from orchestrator.model.value import Value

_RATE_WINDOW: Final = 5.0
_LATENCIES: Final = 5_000
_TRANSACTIONS: Final = 300_000
"""How many ended transactions are remembered: twenty minutes at the greatest rate."""


class Ledger(Value):
    """The counts since the start or the last reset."""

    accepted: int = Field(description="Messages whose client saw 250 after the final dot.")
    delivered: int = Field(description="Messages that arrived at least once.")
    in_flight: int = Field(description="Accepted, not arrived, and not lost.")
    lost: int = Field(description="Accepted, in no queue any more, never arrived.")
    duplicated: int = Field(description="Arrivals beyond the first of a message.")
    transactions_cut: int = Field(description="Ended between the 250 to MAIL and the final reply without a 421.")
    replies_421: int = Field(description="Sessions that a server ended politely (RFC 5321, 3.8).")
    idle_closes: int = Field(description="Sessions that ended between two messages, without a word.")
    hard_errors: int = Field(
        description="Sessions that ended in a command without a 421, and bad replies other than 421."
    )
    failed_connects: int = Field(description="Attempts to connect that met no server.")
    deferred: int = Field(description="Put off by the client's own queue; only a real Postfix as client has one.")
    latency_p50: float | None = Field(description="Seconds from MAIL to its 250; None when there was none.")
    latency_p99: float | None = Field(description="As latency_p50.")
    sessions: int = Field(description="Client sessions that are open now.")
    rate: float = Field(description="Accepted messages a second, over the last five seconds.")

    @property
    def clean(self) -> bool:
        """Whether no message was lost or duplicated and no transaction cut; an idle session may have been closed."""
        return not (self.lost or self.duplicated or self.transactions_cut)


@dataclass(slots=True)
class TransactionRecord:
    """One mail transaction as its client saw it. Unix times; ``end`` is None while it is open."""

    site: str
    start: float
    end: float | None = None
    begun: bool = False
    """Whether the server has accepted MAIL: only then there is a transaction to cut (RFC 5321, 3.3)."""

    @property
    def seconds(self) -> float:
        """How long an ended one took."""
        assert self.end is not None
        return self.end - self.start


class Book:
    """Where a ledger is kept."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._edition = secrets.token_hex(4)
        self._issued = 0
        self._arrivals: dict[str, int] = {}
        self._waiting: dict[str, str] = {}
        self._lost: set[str] = set()
        self._accepted = self._delivered = self._duplicated = 0
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._accepted_at: deque[float] = deque()
        self._open: dict[int, TransactionRecord] = {}
        self._ended: deque[TransactionRecord] = deque(maxlen=_TRANSACTIONS)
        self.transactions_cut = 0
        self.replies_421 = 0
        self.idle_closes = 0
        self.hard_errors = 0
        self.failed_connects = 0
        self.deferred = 0

    def issue(self) -> str:
        """The id of a new message. Ids of another book are unknown to this one."""
        self._issued += 1
        message = f"{self._edition}-{self._issued}"
        self._arrivals[message] = 0
        return message

    def accept(self, message: str, queue_id: str, seconds: float) -> None:
        """A client has seen 250, ``seconds`` after its MAIL; ``queue_id`` is what the server calls the message."""
        self._accepted += 1
        self._latencies.append(seconds)
        self._accepted_at.append(self._clock())
        self._forget_old_times()
        if not self._arrivals[message]:
            self._waiting[message] = queue_id

    def arrive(self, message: str) -> None:
        """The message is at the sink; one of another book is none of ours."""
        seen = self._arrivals.get(message)
        if seen is None:
            return
        self._arrivals[message] = seen + 1
        self._waiting.pop(message, None)
        self._lost.discard(message)
        if seen:
            self._duplicated += 1
        else:
            self._delivered += 1

    def give_up(self, messages: Iterable[str]) -> None:
        """These were accepted and are nowhere any more."""
        for message in messages:
            if self._waiting.pop(message, None) is not None:
                self._lost.add(message)

    @property
    def waiting(self) -> dict[str, str]:
        """Accepted messages that have not arrived, with the queue id of each."""
        return dict(self._waiting)

    def begin(self, site: str) -> TransactionRecord:
        """A client sends MAIL to ``site``."""
        record = TransactionRecord(site, self._clock())
        self._open[id(record)] = record
        return record

    def end(self, record: TransactionRecord) -> None:
        """The transaction is over, however it went."""
        record.end = self._clock()
        del self._open[id(record)]
        self._ended.append(record)

    def longest_in_flight(self, site: str, at: float) -> float:
        """Seconds that the transactions which ``site`` had open at unix time ``at`` still took, the longest of them.

        No drain can be faster. An open one counts up to now.
        """
        now = self._clock()
        ends = (
            record.end if record.end is not None else now
            for record in (*self._ended, *self._open.values())
            if record.site == site and record.start <= at and (record.end is None or record.end > at)
        )
        return max(0.0, max(ends, default=at) - at)

    def ledger(self, sessions: int) -> Ledger:
        """The counts now."""
        self._forget_old_times()
        return Ledger(
            accepted=self._accepted,
            delivered=self._delivered,
            in_flight=len(self._waiting),
            lost=len(self._lost),
            duplicated=self._duplicated,
            transactions_cut=self.transactions_cut,
            replies_421=self.replies_421,
            idle_closes=self.idle_closes,
            hard_errors=self.hard_errors,
            failed_connects=self.failed_connects,
            deferred=self.deferred,
            latency_p50=percentile(self._latencies, 0.50),
            latency_p99=percentile(self._latencies, 0.99),
            sessions=sessions,
            rate=len(self._accepted_at) / _RATE_WINDOW,
        )

    def _forget_old_times(self) -> None:
        oldest = self._clock() - _RATE_WINDOW
        while self._accepted_at and self._accepted_at[0] < oldest:
            self._accepted_at.popleft()


def percentile(values: Collection[float], share: float) -> float | None:
    """The smallest of ``values`` that ``share`` of them do not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
