"""The Protocols that actions, checks and the engine speak; ``adapters`` implement them for real systems.

Every method may raise ``OutsideError`` (see ``orchestrator.errors``); no SDK's or socket's own error leaves
an adapter. Reading methods touch nothing. Writing methods are idempotent and return only when the system has
confirmed the write by being read back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.model.capacity import NodeReading, Pod, ScalingReading
from orchestrator.model.inventory import Inventory
from orchestrator.model.journal import Entry
from orchestrator.model.secret import Login
from orchestrator.model.traffic import Admin, GateReading, Intake, MemberReading, QueueDepth, Session
from orchestrator.model.units import format_duration
from orchestrator.model.value import Value


class Clock(Protocol):
    """Time, so that a test or a rehearsal can bring its own."""

    def now(self) -> float:
        """Unix time in seconds."""

    def monotonic(self) -> float:
        """Seconds that never go backwards."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class TrafficSwitch(Protocol):
    """What splits a pool's new traffic between its members."""

    @property
    def max_weight(self) -> int:
        """The largest weight that a member can have."""

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member of the pool as it is now, by name."""

    async def elsewhere(self) -> int:
        """The weights together of what else takes new traffic at this switch and is no member of the pool.

        0 where the kind has no such thing. Who moves weights keeps the sum with it, or the others' share would change.
        """

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Bring these members to these intakes, and leave every other one alone.

        All changes are tried, then read back.

        Raises:
            RejectedError: at least one member is not as asked; the message names each.
        """

    async def settling(self) -> str:
        """What keeps clients from meeting the last ``apply``, in words; empty when nothing does.

        Where clients or other servers hold on to what was before, as with DNS, a write that has been read back is not
        the end. The caller asks again every second, later every five, until nothing is left. It gives up when nothing
        new has been said for a quarter of an hour: so what is sure to end counts down in its words, and what may never
        end keeps the same ones. A switch that was never written to by this object does not know, and says so as if it
        had been written to just now.
        """

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """The sessions that these members carry, also those that an old process of the switch still holds.

        Raises:
            UnfitError: the switch lists none, or an old process holds sessions that cannot be listed.
        """

    async def close(self, session: Session) -> None:
        """Cut one session now; nothing happens when it is gone already."""

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """The shell commands by which a person, without us, gives members these weights and admin states.

        Pure: nothing is asked and nothing is done. In this order there is no moment without a member that takes
        traffic, where the members that are to take it are named first.
        """


class MailGate(Protocol):
    """Of one mail host: whether it answers MAIL FROM, or 421 so that the client goes elsewhere."""

    async def read(self) -> GateReading:
        """The gate as it is.

        Raises:
            UnfitError: the host's Postfix does not ask this gate, or not in a way that fails open.
        """

    async def set_closed(self, closed: bool) -> None:
        """Close or open it, for sessions that are open already too."""

    async def look(self) -> GateReading:
        """As ``read``, while the caller watches: between two looks no message whose end was seen is committed.

        So what the switch reports between two looks about a session that is ``committing`` was true before the
        message's 250 went out. The gate holds such a message back for 0.4 to 0.5 seconds at most, and only while
        somebody looks again and again. A gate that sees no transactions just reads.
        """

    async def turn_away(self, client: str, number: int | None) -> bool:
        """Close the gate for one client (ip:port) only, unless its last transaction is not ``number`` any more.

        A client that has had none has the number 0. With ``number`` None it is turned away at its next MAIL
        whatever it does now. Returns whether the gate
        is closed for it; a gate that sees no transactions says False.
        """

    def by_hand(self, closed: bool) -> Sequence[str]:
        """The shell commands by which a person, without us, closes or opens it. Pure."""


class MailQueue(Protocol):
    """Of one mail host: the messages that it has accepted and not yet passed on."""

    async def depth(self) -> QueueDepth:
        """How many messages lie in it."""

    async def flush(self) -> None:
        """Try every deferred message now."""


class ScalingGroup(Protocol):
    """What makes a pool larger or smaller at one site."""

    async def read(self) -> ScalingReading:
        """The group as it is."""

    async def set_desired(self, count: int) -> None:
        """Ask for so many instances or pods; returns when the group has taken it, not when they serve.

        Raises:
            RejectedError: the group does not take it, as beyond its own limits.
        """

    def by_hand(self, count: int) -> Sequence[str]:
        """The shell commands by which a person, without us, asks for so many. Pure."""


class Node(Protocol):
    """What runs pods on one host."""

    async def read(self) -> NodeReading:
        """Whether it takes new pods, and those that it runs."""

    async def cordon(self, cordoned: bool) -> None:
        """Let it take no new pods, or take them again."""

    async def evict(self, pod: Pod) -> str:
        """Ask for the pod's end; empty when it was granted or the pod is gone, else what stands against it now.

        A PodDisruptionBudget that would be violated is no error: the caller asks again.
        """

    def by_hand(self, cordoned: bool) -> Sequence[str]:
        """The shell commands by which a person, without us, cordons or uncordons it. Pure."""


class MailAttempt(Value):
    """One probe's SMTP transaction."""

    address: str
    sender: str
    recipient: str
    message_id: str
    size: int
    timeout: float
    starttls: bool = False
    ca_file: str | None = None
    server_name: str | None = None
    source_address: str | None = None
    login: Login | None = None
    """Sent after STARTTLS only, unless the server is on this machine (RFC 4954, 4)."""


class MailResult(Value):
    """How a transaction went."""

    ok: bool
    seconds: float
    stage: str = ""
    reason: str = ""
    certificate_days: float | None = None
    broken: bool = False
    """The probe could not be made at all on our side: no source port left, CA file missing."""


class MailClient(Protocol):
    """Makes one SMTP connection, one transaction, and says how it went. It never raises for the target's sake."""

    async def deliver(self, attempt: MailAttempt) -> MailResult:
        """Connect from a fresh source port, send one message, quit."""


class Inbox(Protocol):
    """The mailbox in which probe messages arrive."""

    async def take(self, message_id: str) -> bool:
        """Whether that message has arrived; it is removed when it has."""


class Outside(Protocol):
    """Every port of one inventory, by name. Nothing is connected before it is used."""

    @property
    def inventory(self) -> Inventory:
        """What the names mean."""

    def switch(self, pool: str) -> TrafficSwitch:
        """The switch of a pool."""

    def gate(self, host: str) -> MailGate:
        """The gate of a host.

        Raises:
            UnfitError: the inventory gives it none.
        """

    def queue(self, host: str) -> MailQueue:
        """The mail queue of a host.

        Raises:
            UnfitError: the inventory gives it none.
        """

    def scaling(self, pool: str, site: str) -> ScalingGroup:
        """What makes a pool larger at a site.

        Raises:
            UnfitError: the inventory gives it none.
        """

    def node(self, host: str) -> Node:
        """The node that a host is.

        Raises:
            UnfitError: the inventory says of none.
        """

    def mail_client(self) -> MailClient:
        """What probes send mail with."""

    def inbox(self, pool: str) -> Inbox:
        """Where the pool's probe messages arrive.

        Raises:
            UnfitError: the inventory gives it none.
        """


class RunRow(Value):
    """One run in the journal's list."""

    run: str
    created: float
    runbook: str
    status: str
    plan: str
    """The plan's JSON."""


class Holder(Value):
    """Who holds a lock now."""

    owner: str
    """What it said of itself."""
    silent: float | None = None
    """Seconds since its last sign of life, once its lease is over; None while it lives."""
    since: float | None = None
    """Unix time at which it took it; None where that cannot be said."""

    def __str__(self) -> str:
        if self.silent is None:
            return self.owner
        return f"{self.owner}, without a sign of life for {format_duration(round(self.silent))}"


class Journal(Protocol):
    """The append-only record of all runs. An entry is on disk when ``append`` returns.

    Every method may raise ``JournalError``.
    """

    def create(self, run: str, plan: str, runbook: str, at: float) -> None:
        """Record a new run with its plan's JSON."""

    def take(self, run: str) -> int:
        """Become the owner of the run: a new epoch, greater than every one before. Older epochs are fenced."""

    def epoch(self, run: str) -> int:
        """The epoch of the run's owner."""

    def append(self, entry: Entry) -> Entry:
        """Write an entry, and return it with its ``seq``.

        Raises:
            Fenced: the entry's epoch is not the run's any more (0, a person's, always passes).
        """

    def append_all(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Write entries of one run, all or none, and return them with their ``seq``.

        Raises:
            Fenced: as ``append``.
        """

    def entries(self, run: str, after: int = 0) -> Sequence[Entry]:
        """The run's entries with a ``seq`` above ``after``, in order."""

    def durations(self, newest: int = 2_000) -> Sequence[Entry]:
        """So many entries of the kind ``duration``, of all runs, the newest first: for estimates, never for more."""

    def runs(self) -> Sequence[RunRow]:
        """All runs, the newest first."""

    def run(self, run: str) -> RunRow:
        """One run, by its name or an unambiguous beginning of it.

        Raises:
            InputError: there is none, or several.
        """


class Lock(Protocol):
    """Keeps two orchestrators off the same run or pool; it goes with its owner, however that ends."""

    def acquire(self, names: Sequence[str], owner: str) -> None:
        """Take all of them or none.

        Raises:
            RefusedError: somebody holds one; the message says which, who and since when.
        """

    def renew(self) -> None:
        """Give a sign of life. An owner without one for the time of its lease may be ended by ``take_over``."""

    def take_over(self, name: str) -> str | None:
        """End the process that holds ``name`` and gives no sign of life; what it said of itself; None when nobody does.

        Raises:
            RefusedError: it lives, or cannot be ended.
        """

    def release(self) -> None:
        """Let go of all."""

    def holder(self, name: str) -> Holder | None:
        """Who holds it now; None when nobody does. Never waits."""
