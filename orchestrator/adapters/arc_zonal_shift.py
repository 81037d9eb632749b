"""A zonal shift of Amazon Application Recovery Controller (ARC) as a traffic switch: one zone out at a time.

Source: ARC Developer Guide, "How a zonal shift works"; Zonal Shift API Reference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from orchestrator.adapters.aws import Aws, AwsRejectedError, Reply
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.switch import ArcZonalShiftSwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session
from orchestrator.model.units import format_duration
from orchestrator.ports import Clock

_SERVICE: Final = "arc-zonal-shift"
_SHORTEST: Final = 60.0
_LONGEST: Final = 72 * 3600.0
"""Seconds (API Reference, ``StartZonalShift``, ``expiresIn``)."""

_OURS: Final = "ZONAL_SHIFT"
"""The type of a shift that somebody has started, not AWS by itself."""

_LOAD_BALANCER: Final = ":elasticloadbalancing:"
_DNS_TTL: Final = 60.0
"""Seconds that clients may hold a load balancer's address in the zone (Elastic Load Balancing User Guide, "How Elastic
Load Balancing works": the entries have this TTL)."""


@dataclass(frozen=True, slots=True)
class _Shift:
    """A shift that somebody has started and that has not ended."""

    identifier: str
    zone: str
    expiry: float
    """Unix seconds."""
    comment: str

    def __str__(self) -> str:
        until = datetime.fromtimestamp(self.expiry, UTC).strftime("%Y-%m-%d %H:%M UTC")
        return f"{self.zone} is shifted away from until {until} ({self.identifier}, {self.comment!r})"


@dataclass(frozen=True, slots=True)
class _Resource:
    """What ARC says of the resource."""

    weights: Mapping[str, float]
    """By zone id: 0 takes no traffic, for whatever reason."""
    shift: _Shift | None
    by_aws: frozenset[str]
    """Zones that AWS itself shifts away from: an autoshift or a practice run."""

    def admin_of(self, zone: str) -> Admin:
        return "ready" if self.weights[zone] else "drain"


class ArcZonalShiftDriver:
    """``ports.TrafficSwitch`` on the zones of one load balancer or Auto Scaling group: drain is a zonal shift.

    A zone that takes no traffic reads as drained whoever is behind it; it ``lapses`` where that is not this object's
    shift and ends before one of ours would. Shifts that people have started are ended and renewed when asked for, also
    those of others; AWS's own autoshifts and practice runs are not touched. A drain ends by itself when its time is
    over: to apply it again gives it the whole time anew.
    """

    def __init__(self, switch: ArcZonalShiftSwitch, members: Sequence[str], aws: Aws, clock: Clock) -> None:
        self._switch = switch
        self._members = tuple(members)
        self._aws = aws
        self._clock = clock
        self._region = _region_of(switch.resource)
        self._changed: float | None = None
        """When a shift was last started or ended, by the clock's ``monotonic``; None: not by us."""
        self._ours: _Shift | None = None
        """The shift that was last started or renewed here, or found to last as long as that."""
        if not _SHORTEST <= switch.expires <= _LONGEST:
            raise UnfitError(
                f"cannot shift for {format_duration(switch.expires)}: a zonal shift lasts 1m to 72h",
                remedy="correct 'expires' in the inventory",
            )

    @property
    def max_weight(self) -> int:
        """A zone takes its part of the traffic or none."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member's zone now; ``up`` is always true, as ARC checks nothing.

        Raises:
            UnfitError: a member's zone is none of the resource's.
        """
        resource = await self._resource()
        return {
            name: MemberReading(
                intake=self._intake(resource, zone), up=True, sessions=None, lapses=self._lapses(resource, zone)
            )
            for name, zone in self._zones(resource, self._members).items()
        }

    async def elsewhere(self) -> int:
        """None: zones have no weights."""
        return 0

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """End the shift away from a member that is to be ready; start or renew the one that is to be drained.

        Raises:
            RejectedError: a state cannot be, a second zone would be drained, AWS itself shifts away from a zone that
                is to be ready, somebody else has changed the shift meanwhile, or a zone is not as asked.
            UnfitError: as ``read``.
        """
        resource = await self._resource()
        zones = self._zones(resource, changes)
        self._check(resource, zones, changes)
        drained = [zones[name] for name, to in changes.items() if to.admin == "drain"]
        ready = {zones[name] for name, to in changes.items() if to.admin == "ready"}
        shift = resource.shift
        if shift is not None and shift.zone in ready:
            await self._write("cancel_zonal_shift", zonalShiftId=shift.identifier)
            self._changed = self._clock.monotonic()
            shift = None
        for zone in drained:
            await self._drain(zone, shift)
        if changes:
            self._compare(await self._resource(), zones, changes)

    async def settling(self) -> str:
        """The TTL of a load balancer's addresses: so long clients may still come to the zone's.

        Open connections are not ended by a shift and can last longer; neither ARC nor the load balancer counts them.
        """
        if _LOAD_BALANCER not in self._switch.resource:
            return ""
        if self._changed is None:
            self._changed = self._clock.monotonic()
        left = self._changed + _DNS_TTL - self._clock.monotonic()
        return f"clients may hold the zone's address for {format_duration(math.ceil(left))} more" if left > 0 else ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """None can be listed.

        Raises:
            UnfitError: always.
        """
        raise self._no_sessions("list")

    async def close(self, session: Session) -> None:
        """None can be closed.

        Raises:
            UnfitError: always.
        """
        raise self._no_sessions("close")

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: first ends shifts, as there can be one only, then starts one."""
        ended = [self._cancel_by_hand(self._switch.name_of(name)) for name, to in admins.items() if to == "ready"]
        started = [
            self._aws.by_hand(
                _SERVICE,
                "start-zonal-shift",
                *("--resource-identifier", self._switch.resource, "--away-from", self._switch.name_of(name)),
                *("--expires-in", self._expires, "--comment", "failover, by hand"),
                region=self._region,
            )
            for name, to in admins.items()
            if to != "ready"
        ]
        return ended + started

    def _cancel_by_hand(self, zone: str) -> str:
        query = f"items[?awayFrom == '{zone}' && shiftType == '{_OURS}'].zonalShiftId"
        of = ("--resource-identifier", self._switch.resource, "--status", "ACTIVE", "--query", query)
        found = self._aws.by_hand(_SERVICE, "list-zonal-shifts", *of, "--output", "text", region=self._region)
        return f'{self._aws.by_hand(_SERVICE, "cancel-zonal-shift", region=self._region)} --zonal-shift-id "$({found})"'

    @property
    def _expires(self) -> str:
        return f"{math.ceil(self._switch.expires / 60)}m"

    async def _resource(self) -> _Resource:
        return _parse(await self._call("get_managed_resource", resourceIdentifier=self._switch.resource))

    def _zones(self, resource: _Resource, names: Iterable[str]) -> dict[str, str]:
        """The zone of each member.

        Raises:
            UnfitError: the resource has it not.
        """
        zones = {name: self._switch.name_of(name) for name in names}
        missing = [name for name, zone in zones.items() if zone not in resource.weights]
        if missing:
            raise UnfitError(
                f"cannot find {', '.join(missing)} among the zones of {self._switch.resource}: it is in "
                f"{', '.join(resource.weights) or 'none that ARC knows'}",
                remedy="give the id of each member's zone under 'names' in the inventory, as use1-az1",
            )
        return zones

    def _intake(self, resource: _Resource, zone: str) -> Intake:
        return Intake(weight=self.max_weight, admin=resource.admin_of(zone))

    def _lapses(self, resource: _Resource, zone: str) -> str:
        """Why the zone will take traffic again before our own shift would end; empty where it will not."""
        if resource.weights[zone]:
            return ""
        shift, ours = resource.shift, self._ours
        if shift is None or shift.zone != zone:
            return f"AWS itself shifts away from {zone}, until it ends that"
        if ours is not None and shift.identifier == ours.identifier and shift.expiry >= ours.expiry:
            return ""
        return str(shift) if shift.expiry < self._clock.now() + self._switch.expires else ""

    def _check(self, resource: _Resource, zones: Mapping[str, str], changes: Mapping[str, Intake]) -> None:
        """Refuse what cannot be, before anything is touched."""
        for name, to in changes.items():
            if to.weight != self.max_weight or to.admin not in self._switch.admins:
                raise RejectedError(
                    f"cannot set {name} to {to}: a zone has no weights, it is ready or drained",
                    remedy=f"keep weight {self.max_weight}, and drain it to take it out",
                )
            if to.admin == "ready" and zones[name] in resource.by_aws and not resource.weights[zones[name]]:
                self._refuse_to_end_autoshift(name, zones[name])
        self._keep_to_one(resource, zones, changes)

    def _refuse_to_end_autoshift(self, name: str, zone: str) -> None:
        raise RejectedError(
            f"cannot bring {name} back: AWS itself shifts away from {zone}, in an autoshift or a practice run",
            remedy="wait for its end, or end it in the ARC console",
        )

    def _keep_to_one(self, resource: _Resource, zones: Mapping[str, str], changes: Mapping[str, Intake]) -> None:
        drained = [name for name, to in changes.items() if to.admin == "drain"]
        if len({zones[name] for name in drained}) > 1:
            raise RejectedError(
                f"cannot drain {', '.join(drained)}: ARC shifts away from one zone at a time",
                remedy="drain one, and bring it back before the next",
            )
        shift = resource.shift
        if not drained or shift is None or shift.zone in {zones[name] for name in drained}:
            return
        if not any(zones[name] == shift.zone and to.admin == "ready" for name, to in changes.items()):
            raise RejectedError(
                f"cannot drain {drained[0]}: ARC shifts away from one zone at a time, and {shift}",
                remedy="bring that zone back first",
            )

    async def _drain(self, zone: str, shift: _Shift | None) -> None:
        """Start a shift, or give the one that there is the whole time anew; one that lasts longer stays as it is."""
        if shift is None:
            self._ours = await self._write(
                "start_zonal_shift",
                resourceIdentifier=self._switch.resource,
                awayFrom=zone,
                expiresIn=self._expires,
                comment="failover",
            )
            self._changed = self._clock.monotonic()
        elif shift.expiry < self._clock.now() + self._switch.expires:
            self._ours = await self._write("update_zonal_shift", zonalShiftId=shift.identifier, expiresIn=self._expires)
        else:
            self._ours = shift

    async def _write(self, operation: str, **arguments: Any) -> _Shift:
        """The shift as it is then. Raises ``RejectedError`` where it is not any more what it was when we looked."""
        try:
            return _shift(await self._call(operation, **arguments))
        except AwsRejectedError as error:
            if error.code not in {"ConflictException", "ResourceNotFoundException"}:
                raise
            raise RejectedError(
                f"cannot change the zonal shift of {self._switch.resource}: somebody else changed it meanwhile "
                f"({error.message})",
                remedy="look what it is now, then try again",
            ) from error

    def _compare(self, resource: _Resource, zones: Mapping[str, str], asked: Mapping[str, Intake]) -> None:
        now = {name: self._intake(resource, zones[name]) for name in asked}
        wrong = [f"{name} has {now[name]} instead of {to}" for name, to in asked.items() if now[name] != to]
        if wrong:
            raise RejectedError(
                f"cannot shift {self._switch.resource}: {'; '.join(wrong)}",
                remedy="look who else shifts it: AWS's autoshifts and practice runs do too",
            )

    async def _call(self, operation: str, **arguments: Any) -> Reply:
        return await self._aws.call(_SERVICE, operation, region=self._region, **arguments)

    def _no_sessions(self, what: str) -> UnfitError:
        return UnfitError(
            f"cannot {what} sessions of {self._switch.resource}: ARC knows none",
            remedy="drain them at the load balancer or the hosts behind it",
        )


def _parse(said: Mapping[str, Any]) -> _Resource:
    shifts = said.get("zonalShifts", ())
    own = [_shift(one) for one in shifts if one.get("shiftType", _OURS) == _OURS]
    others = [one["awayFrom"] for one in shifts if one.get("shiftType", _OURS) != _OURS]
    auto = [one["awayFrom"] for one in said.get("autoshifts", ())]
    return _Resource(dict(said["appliedWeights"]), own[0] if own else None, frozenset([*others, *auto]))


def _shift(said: Mapping[str, Any]) -> _Shift:
    return _Shift(said["zonalShiftId"], said["awayFrom"], said["expiryTime"].timestamp(), said["comment"])


def _region_of(arn: str) -> str | None:
    """The region that an ARN names (AWS General Reference, "Amazon Resource Names"); None for what is no ARN."""
    parts = arn.split(":")
    return parts[3] if len(parts) > 5 and parts[3] else None
