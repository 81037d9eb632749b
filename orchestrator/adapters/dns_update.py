"""An RRset as a traffic switch: a member is in it, or is not (RFC 2136, "Dynamic Updates in the Domain Name System").

Every change is one message. Its prerequisites say what was read, so that the server refuses it as a whole when somebody
else has changed the RRset since (2.4.2 and 2.4.3). Records that are nobody's of the pool stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Final, NoReturn

import dns.exception
import dns.name
import dns.rdata

from orchestrator.adapters import resolvers
from orchestrator.adapters.dns_audience import Ask, Audience, Resolvers
from orchestrator.adapters.dns_primary import ANSWER_WITHIN, Primary, RecordSet
from orchestrator.adapters.resolvers import parse_place, parse_record, record_text
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.secret import Secret
from orchestrator.model.switch import DnsSwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session
from orchestrator.model.units import format_duration
from orchestrator.ports import Clock

_LARGEST_TTL: Final = 2**31 - 1
"""Seconds (RFC 2181, 8)."""

_ROUNDING: Final = 1.0
"""Seconds more than the TTL for which caches that count whole seconds give an answer: 6.0 at a TTL of 5, by unbound."""


@dataclass(slots=True)
class _Wave:
    """A change on its way: to the zone's name servers, then out of the memory of caches."""

    records: frozenset[dns.rdata.Rdata]
    ttl: float
    """Seconds that caches keep what was there before."""
    told: float | None = None
    """When the name servers had it, by the clock's ``monotonic``."""
    lost: str = ""
    """Which of them have not answered."""


class DnsDriver:
    """``ports.TrafficSwitch`` on one RRset of a primary server that takes dynamic updates."""

    def __init__(
        self,
        switch: DnsSwitch,
        members: Sequence[str],
        clock: Clock,
        within: float = ANSWER_WITHIN,
        ask: Ask = resolvers.ask,
    ) -> None:
        self._switch = switch
        self._clock = clock
        self._what = f"{switch.name} {switch.type} at {switch.server}"
        _check_names(switch)
        parse_place(switch.server)
        self._records = _records(switch, members)
        self._primary = Primary(switch, within)
        self._name_servers = Audience("name server", clock, ask)
        self._resolvers = Resolvers(switch.resolvers, clock, ask)
        self._servers: tuple[str, ...] | None = None
        """The zone's name servers; None before the primary was asked for them."""
        self._longest_ttl = 0
        """Seconds; the longest of all that this object has seen."""
        self._wave: _Wave | None = None

    @property
    def max_weight(self) -> int:
        """1: plain DNS has no weights."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member, from the primary itself; ``up`` is true, as nothing is checked.

        Raises:
            UnfitError: the server is none of the zone, or does not know the key.
        """
        found = await self._primary.read()
        return {
            name: MemberReading(intake=self._intake(name, found.records), up=True, sessions=None)
            for name in self._records
        }

    async def elsewhere(self) -> int:
        """The records of the RRset that are no member's: each is given out as often as any other."""
        found = await self._primary.read()
        return len(found.records.difference(self._records.values()))

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Put members in and take them out, all in one message. The RRset keeps its TTL.

        Raises:
            RejectedError: somebody else has changed the RRset meanwhile; or what is asked cannot be: a weight above
                1, another admin state than ready, an RRset without any record, an alias with two.
            UnfitError: a member has no record, or the server does not let us.
        """
        self._check(changes)
        found = await self._primary.read()
        wanted = self._with(found.records, changes)
        if wanted == found.records:
            if self._wave is None or self._wave.records != wanted:
                self._begin(found)
            return
        self._check_set(wanted)
        await self._find_servers()  # now, as nobody knows whether the primary is there after the write
        self._longest_ttl = max(self._longest_ttl, found.ttl)
        self._wave = None  # without an answer nobody knows what caches may have seen
        await self._primary.replace(found, wanted, found.ttl if found.records else self._ttl)
        now = await self._primary.read()
        self._compare(now.records, changes)
        self._begin(now)

    async def settling(self) -> str:
        """First the zone's name servers, then the TTL, then what each of ``resolvers`` answers.

        Caches may take the old answer from a secondary for as long as that one has it.

        Raises:
            UnreachableError: this object has written nothing yet, and the primary does not answer.
        """
        if self._wave is None:
            self._begin(await self._primary.read())
        assert self._wave is not None
        wave, told = self._wave, self._wave.told
        if told is None:
            behind = await self._untold(wave)
            if behind:
                return behind
            told = wave.told = self._clock.monotonic()
        left = told + wave.ttl + _ROUNDING - self._clock.monotonic()
        if left > 0:
            lost = f" ({wave.lost})" if wave.lost else ""
            return f"resolvers may hold the old answer for {format_duration(math.ceil(left))} more{lost}"
        return await self._resolvers.behind(self._switch.name, self._switch.type, lambda given: self._lag(wave, given))

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """None can be listed.

        Raises:
            UnfitError: always.
        """
        self._has_no_sessions("list sessions")

    async def close(self, session: Session) -> None:
        """None can be closed.

        Raises:
            UnfitError: always.
        """
        self._has_no_sessions(f"close the session of {session.client} on {session.member}")

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: one line for nsupdate(1), which takes the secret from where it lies."""
        if not weights:
            return []
        host, port = parse_place(self._switch.server)
        zone, name = (dns.name.from_text(text).to_text() for text in (self._switch.zone, self._switch.name))
        said = [quote(f"server {host} {port}"), quote(f"zone {zone}")]
        if self._switch.key is not None:
            key = self._switch.key
            said.append(f'"key {key.algorithm}:{key.name} {_in_shell(key.secret)}"')
        for member, weight in weights.items():
            data = f"{self._switch.type} {record_text(self._record(member))}"
            said.append(quote(f"update add {name} {self._ttl} {data}" if weight else f"update delete {name} {data}"))
        return [f"printf '%s\\n' {' '.join(said)} send | nsupdate -v"]

    @property
    def _ttl(self) -> int:
        return min(max(1, round(self._switch.ttl)), _LARGEST_TTL)

    def _intake(self, member: str, records: frozenset[dns.rdata.Rdata]) -> Intake:
        return Intake(weight=int(self._record(member) in records))

    def _record(self, member: str) -> dns.rdata.Rdata:
        if member not in self._records:
            raise UnfitError(
                f"cannot find {member} in {self._what}: the members are {', '.join(self._records)}",
                remedy="add it to a site of the pool, and its record data to switch.names",
            )
        return self._records[member]

    def _check(self, changes: Mapping[str, Intake]) -> None:
        for name, to in changes.items():
            self._record(name)
            if to.weight > self.max_weight:
                raise RejectedError(
                    f"cannot give {name} weight {to.weight}: DNS has no weights, a record is in {self._what} or is not",
                    remedy="use weight 0 or 1",
                )
            if to.admin not in self._switch.admins:
                raise RejectedError(
                    f"cannot bring {name} to {to.admin}: DNS has no such state",
                    remedy="give it weight 0 to take it out",
                )

    def _with(self, records: frozenset[dns.rdata.Rdata], changes: Mapping[str, Intake]) -> frozenset[dns.rdata.Rdata]:
        gone = {self._records[name] for name, to in changes.items() if not to.weight}
        come = {self._records[name] for name, to in changes.items() if to.weight}
        return (records - gone) | come

    def _check_set(self, records: frozenset[dns.rdata.Rdata]) -> None:
        if not records:
            raise RejectedError(
                f"cannot empty {self._what}: no member would be left", remedy="put another member in first"
            )
        if self._switch.type == "CNAME" and len(records) > 1:
            raise RejectedError(
                f"cannot put {_listed(records)} into {self._what}: a name has one alias at most (RFC 1034, 3.6.2)",
                remedy="take the one out in the same step that puts the other in",
            )

    def _compare(self, records: frozenset[dns.rdata.Rdata], asked: Mapping[str, Intake]) -> None:
        now = {name: self._intake(name, records) for name in asked}
        wrong = [f"{name} has {now[name]} instead of {to}" for name, to in asked.items() if now[name] != to]
        if wrong:
            raise RejectedError(
                f"cannot change {self._what}: {'; '.join(wrong)}",
                remedy="look who else changes it, and whether this server is the primary",
            )

    def _begin(self, now: RecordSet) -> None:
        self._longest_ttl = max(self._longest_ttl, now.ttl)
        self._wave = _Wave(now.records, self._longest_ttl)

    async def _find_servers(self) -> tuple[str, ...]:
        if self._servers is None:
            self._servers = self._switch.name_servers or await self._primary.name_servers()
        return self._servers

    async def _untold(self, wave: _Wave) -> str:
        """Which of the zone's name servers has not got the change, in words; empty when those that answer have.

        Where none answers, clients are thought to be served by others: the primary has the change.
        """
        servers = await self._find_servers()
        name, type_ = self._switch.name, self._switch.type
        heard = await self._name_servers.hear(servers, name, type_, lambda given: self._lag(wave, given))
        wave.lost = heard.lost
        return heard.behind

    def _lag(self, wave: _Wave, given: frozenset[str]) -> str:
        """How an answer differs from the RRset in members; empty where it does not."""
        ours = {record_text(record): record in wave.records for record in self._records.values()}
        old = [text for text, inside in ours.items() if text in given and not inside]
        missing = [text for text, inside in ours.items() if text not in given and inside]
        if old:
            return f"still gives {', '.join(old)}"
        return f"does not give {', '.join(missing)} yet" if missing else ""

    def _has_no_sessions(self, verb: str) -> NoReturn:
        raise UnfitError(
            f"cannot {verb}: {self._what} is DNS, which knows no sessions",
            remedy="drain at a load balancer, or wait for the sessions to end",
        )


def _check_names(switch: DnsSwitch) -> None:
    try:
        zone, name = dns.name.from_text(switch.zone), dns.name.from_text(switch.name)
        if switch.key is not None:
            dns.name.from_text(switch.key.name)
    except dns.exception.DNSException as error:
        remedy = "correct 'zone', 'name' and 'key' in the inventory"
        raise UnfitError(f"cannot use {switch.name} in {switch.zone}: {error}", remedy=remedy) from error
    if not name.is_subdomain(zone):
        raise UnfitError(
            f"cannot change {switch.name} in the zone {switch.zone}: the name is not in it",
            remedy="write 'name' in full, as mx.example.com, and the zone that holds it",
        )


def _records(switch: DnsSwitch, members: Sequence[str]) -> dict[str, dns.rdata.Rdata]:
    """The record of each member."""
    records: dict[str, dns.rdata.Rdata] = {}
    for member in members:
        try:
            record = parse_record(switch.type, switch.name_of(member))
        except ValueError as error:
            raise UnfitError(
                f"cannot use {member} as a member of {switch.name} {switch.type}: {error}",
                remedy="write its record data into switch.names",
            ) from error
        twin = next((name for name, other in records.items() if other == record), None)
        if twin is not None:
            raise UnfitError(
                f"cannot tell {twin} and {member} apart: both are {record_text(record)}",
                remedy="correct switch.names in the inventory",
            )
        records[member] = record
    return records


def _in_shell(secret: Secret) -> str:
    """What a shell puts in place of this between double quotes; the secret is in no command line that ps shows."""
    return f"${{{secret.env}}}" if secret.env is not None else f"$(cat {quote(str(secret.file))})"


def _listed(records: Iterable[dns.rdata.Rdata]) -> str:
    return ", ".join(sorted(record_text(record) for record in records))
