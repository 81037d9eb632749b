"""Amazon Route 53 as a traffic switch: weighted and failover records (Developer Guide, "Choosing a routing policy")."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.adapters import resolvers
from orchestrator.adapters.aws import Aws, AwsRejectedError
from orchestrator.adapters.dns_audience import Ask, Resolvers
from orchestrator.adapters.route53_records import Record, batch, batch_query, written
from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.switch import Route53FailoverSwitch, Route53WeightsSwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session
from orchestrator.model.units import format_duration
from orchestrator.ports import Clock

_HEALTHY_SHARE: Final = 0.18
"""An endpoint is healthy when more than this share of the checkers say so (Developer Guide, "How Amazon Route 53
determines whether a health check is healthy")."""

_TOLD_WITHIN: Final = 60.0
"""Seconds in which all servers have a change (Route 53 FAQs, "How quickly will changes I make to my DNS settings on
Amazon Route 53 propagate globally?"): counted where nobody can ask, as the change's id is not known."""


@dataclass(slots=True)
class _Wave:
    """A change on its way: to Route 53's servers, then out of the memory of resolvers."""

    ttl: float
    change: str = ""
    """Its id; empty where nobody knows of one."""
    asked: float | None = None
    """When it was first looked at, by the clock's ``monotonic``."""
    in_sync: float | None = None
    """When all servers had it, likewise."""


class Route53Driver:
    """``ports.TrafficSwitch`` on the weighted or failover records of one name and type.

    Records are replaced by DELETE and CREATE in one batch, not by UPSERT: Route 53 makes all of a batch or nothing,
    and a DELETE must give the record exactly as it is. So the pair is a compare-and-swap, and what somebody else has
    changed since we looked is never overwritten. TTL, values, health check and alias target stay as they are.
    """

    def __init__(
        self,
        switch: Route53WeightsSwitch | Route53FailoverSwitch,
        members: Sequence[str],
        aws: Aws,
        clock: Clock,
        ask: Ask = resolvers.ask,
    ) -> None:
        self._switch = switch
        self._zone = switch.zone.rpartition("/")[2]
        """Without the /hostedzone/ that some of AWS's commands print before it."""
        self._members = tuple(members)
        self._aws = aws
        self._clock = clock
        self._resolvers = Resolvers(switch.resolvers, clock, ask)
        self._wave: _Wave | None = None
        self._where = f"the {switch.type} records of {switch.name} in hosted zone {switch.zone}"

    @property
    def max_weight(self) -> int:
        """255 for weighted records; failover records are PRIMARY, 1, or SECONDARY, 0."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member as its record says now; ``up`` is what its health check says, true without one.

        Raises:
            UnfitError: a member has no record, or one with another routing policy.
        """
        found = self._find(await self._records(), self._members)
        up = await self._health({record.health_check for record in found.values()} - {""})
        return {
            name: MemberReading(
                intake=Intake(weight=_weight(record)), up=up.get(record.health_check, True), sessions=None
            )
            for name, record in found.items()
        }

    async def elsewhere(self) -> int:
        """The weights of the other records of the name, type and routing policy."""
        ours = {self._switch.name_of(name) for name in self._members}
        return sum(_weight(one) for one in await self._records() if self._fits(one) and one.identifier not in ours)

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Bring these members to these weights, all in one batch that Route 53 makes whole or not at all.

        Raises:
            RejectedError: a weight cannot be, or all would be 0 (Route 53 would then use all of them equally,
                "Weighted routing"), or somebody else has changed a record meanwhile.
            UnfitError: as ``read``.
        """
        records = await self._records()
        found = self._find(records, changes)
        self._check(records, found, changes)
        before = {name: found[name] for name, to in changes.items() if _weight(found[name]) != to.weight}
        if not before:
            return
        after = {name: record.with_weight(changes[name].weight) for name, record in before.items()}
        ttl = await self._ttl(records)
        try:
            self._wave = _Wave(ttl, await self._replace(before, after))
        except UnreachableError:
            self._wave = _Wave(ttl)  # it may have been done
            raise
        self._compare(self._find(await self._records(), changes), changes)

    async def settling(self) -> str:
        """First Route 53's own servers, then the TTL, then what each of ``resolvers`` answers.

        Resolvers may give the old answer for its TTL after the last server has had it (RFC 1035, 3.2.1). Where the
        change's id is not known, as after a restart or a reply that got lost, the servers have a minute from now.

        Raises:
            RejectedError: Route 53 does not know the change any more.
        """
        if self._wave is None:
            self._wave = _Wave(await self._ttl(await self._records()))
        wave = self._wave
        if wave.in_sync is None:
            untold = await self._untold(wave)
            if untold:
                return untold
            wave.in_sync = self._clock.monotonic()
        left = wave.in_sync + wave.ttl - self._clock.monotonic()
        if left > 0:
            return f"resolvers may hold the old answer for {format_duration(math.ceil(left))} more"
        return await self._old_answers() if self._switch.resolvers else ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """None can be listed.

        Raises:
            UnfitError: always; DNS carries no sessions.
        """
        raise self._no_sessions("list")

    async def close(self, session: Session) -> None:
        """None can be closed.

        Raises:
            UnfitError: always; DNS carries no sessions.
        """
        raise self._no_sessions("close")

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: one line that reads the records and replaces them in one batch."""
        if not weights:
            return []
        zone = ("--hosted-zone-id", self._zone)
        query = batch_query(self._switch, {self._switch.name_of(name): weight for name, weight in weights.items()})
        read = self._aws.by_hand("route53", "list-resource-record-sets", *zone, "--query", query, "--output", "json")
        change = ("--change-batch", "file:///dev/stdin")
        return [f"{read} | {self._aws.by_hand('route53', 'change-resource-record-sets', *zone, *change)}"]

    async def _records(self, name: str = "") -> list[Record]:
        """All records of the name and type, whatever their routing policy."""
        wanted = (written(name or self._switch.name), self._switch.type)
        start: dict[str, Any] = {"StartRecordName": wanted[0], "StartRecordType": wanted[1]}
        records: list[Record] = []
        while start:
            reply = await self._aws.call("route53", "list_resource_record_sets", HostedZoneId=self._zone, **start)
            page = [one for one in reply["ResourceRecordSets"] if (one["Name"].lower(), one["Type"]) == wanted]
            records += map(Record, page)
            start = _following(reply) if len(page) == len(reply["ResourceRecordSets"]) else {}
        return records

    def _find(self, records: Iterable[Record], names: Iterable[str]) -> dict[str, Record]:
        """The record of each member.

        Raises:
            UnfitError: a member has none, or not with this routing policy.
        """
        by_identifier = {record.identifier: record for record in records if self._fits(record)}
        identifiers = {name: self._switch.name_of(name) for name in names}
        missing = [name for name, identifier in identifiers.items() if identifier not in by_identifier]
        if missing:
            there = ", ".join(sorted(by_identifier)) or "none with this routing policy"
            raise UnfitError(
                f"cannot find {', '.join(missing)} among {self._where}: the set identifiers there are {there}",
                remedy="give each member's set identifier under 'names' in the inventory",
            )
        return {name: by_identifier[identifier] for name, identifier in identifiers.items()}

    def _fits(self, record: Record) -> bool:
        return ("Failover" if isinstance(self._switch, Route53FailoverSwitch) else "Weight") in record.whole

    def _check(self, records: Iterable[Record], found: Mapping[str, Record], changes: Mapping[str, Intake]) -> None:
        """Refuse what cannot be, before anything is touched."""
        for name, to in changes.items():
            if to.weight > self.max_weight or to.admin != "ready":
                raise RejectedError(
                    f"cannot set {name} to {to}: {self._where} have weights from 0 to {self.max_weight} and no other "
                    "state",
                    remedy="give it weight 0 to take it out",
                )
        wanted = {found[name].identifier: to.weight for name, to in changes.items()}
        now = {record.identifier: _weight(record) for record in records if self._fits(record)}
        if {**now, **wanted} == now:
            return
        total = sum({**now, **wanted}.values())
        if isinstance(self._switch, Route53FailoverSwitch):
            if total != 1:
                raise RejectedError(
                    f"cannot set {', '.join(changes)}: of {self._where} one must be PRIMARY (1) and one SECONDARY (0)",
                    remedy="change both in one step",
                )
        elif total == 0:
            raise RejectedError(
                f"cannot set {', '.join(changes)} to weight 0: no other of {self._where} would have more, and Route 53 "
                "would then use all of them equally",
                remedy="give another member a weight first",
            )

    async def _replace(self, before: Mapping[str, Record], after: Mapping[str, Record]) -> str:
        """Make the batch; returns the change's id, empty where it was made but its id is not known."""
        changes = batch(before.values(), after.values())
        try:
            reply = await self._aws.call(
                "route53", "change_resource_record_sets", HostedZoneId=self._zone, ChangeBatch=changes
            )
        except AwsRejectedError as error:
            if error.code != "InvalidChangeBatch":
                raise
            now = self._find(await self._records(), before)
            if _same(now, after):  # a reply got lost, and the batch was sent again
                return ""
            if _same(now, before):
                raise
            raise RejectedError(
                f"cannot change {', '.join(before)} among {self._where}: somebody else changed it meanwhile",
                remedy="look what it is now, then try again",
            ) from error
        return str(reply["ChangeInfo"]["Id"]).removeprefix("/change/")

    def _compare(self, found: Mapping[str, Record], asked: Mapping[str, Intake]) -> None:
        wrong = [
            f"{name} has weight {found[name].weight} instead of {to.weight}"
            for name, to in asked.items()
            if found[name].weight != to.weight
        ]
        if wrong:
            raise RejectedError(f"cannot set {self._where}: {'; '.join(wrong)}", remedy="look who else changes them")

    async def _ttl(self, records: Iterable[Record]) -> float:
        """Seconds that the longest of the answers is held; an alias to a record of the zone has that record's."""
        aliases = {name for zone, name in (record.alias_of for record in records) if zone == self._zone}
        targets = [record for name in sorted(aliases) for record in await self._records(name)]
        return max((record.ttl for record in [*records, *targets]), default=0.0)

    async def _untold(self, wave: _Wave) -> str:
        """Whether Route 53's own servers may lag, in words; empty when all have the change."""
        if wave.change:
            if await self._is_in_sync(wave.change):
                return ""
            return f"Route 53 has not yet told all its servers (change {wave.change})"
        now = self._clock.monotonic()
        wave.asked = now if wave.asked is None else wave.asked
        left = wave.asked + _TOLD_WITHIN - now
        return f"Route 53 may tell its servers for {format_duration(math.ceil(left))} more" if left > 0 else ""

    async def _is_in_sync(self, change: str) -> bool:
        reply = await self._aws.call("route53", "get_change", Id=change)
        return bool(reply["ChangeInfo"]["Status"] == "INSYNC")

    async def _health(self, checks: Iterable[str]) -> dict[str, bool]:
        names = sorted(checks)
        return dict(zip(names, await asyncio.gather(*map(self._is_healthy, names)), strict=True))

    async def _is_healthy(self, check: str) -> bool:
        """As Route 53 counts its checkers; one that is disabled, or was never checked, passes there too."""
        asked = await self._aws.call("route53", "get_health_check", HealthCheckId=check)
        config = asked["HealthCheck"]["HealthCheckConfig"]
        if config.get("Disabled"):
            return True
        reply = await self._aws.call("route53", "get_health_check_status", HealthCheckId=check)
        said = [str(one.get("StatusReport", {}).get("Status", "")) for one in reply["HealthCheckObservations"]]
        if not said:
            return True
        healthy = sum(text.startswith("Success") for text in said) / len(said) > _HEALTHY_SHARE
        return healthy != bool(config.get("Inverted"))

    async def _old_answers(self) -> str:
        """Which resolver still gives what only members without traffic have; empty when none does."""
        found = self._find(await self._records(), self._members)
        serving = frozenset().union(*(record.answers for record in found.values() if record.weight))
        old = {name: record.answers - serving for name, record in found.items() if not record.weight}

        def judge(given: frozenset[str]) -> str:
            still = [name for name, answers in old.items() if answers & given]
            return f"still gives {', '.join(still)}" if still else ""

        return await self._resolvers.behind(self._switch.name, self._switch.type, judge)

    def _no_sessions(self, what: str) -> UnfitError:
        return UnfitError(
            f"cannot {what} sessions of {self._where}: DNS carries none",
            remedy="drain them at the load balancer or the hosts behind it",
        )


def _weight(record: Record) -> int:
    return record.weight or 0


def _same(some: Mapping[str, Record], others: Mapping[str, Record]) -> bool:
    return all(record.whole == others[name].whole for name, record in some.items())


def _following(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Where the next page begins; empty after the last one."""
    if not reply.get("IsTruncated"):
        return {}
    words = ("Name", "Type", "Identifier")
    return {f"StartRecord{word}": reply[f"NextRecord{word}"] for word in words if f"NextRecord{word}" in reply}
