"""ARC zonal shifts: one Availability Zone of a resource taken out of service, until it expires or is cancelled.

A resource takes one zonal shift at a time; a shift that somebody has started comes before an autoshift or a practice
run, which are by the test's word only.
Source: Zonal Shift API Reference, ``StartZonalShift``, ``GetManagedResource``; ARC Developer Guide, "How a zonal shift
works" and "Precedence for zonal shifts".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from orchestrator.testing.overlay.clock import WorldClock
from orchestrator.testing.overlay.missing import NotInOverlayError, ServiceError

_SECONDS: Final = {"m": 60.0, "h": 3600.0}
_LONGEST: Final = 72 * 3600.0
_PAGE: Final = 50


@dataclass(slots=True)
class _Shift:
    identifier: str
    resource: str
    zone: str
    comment: str
    start: float
    expiry: float
    kind: str = "ZONAL_SHIFT"
    cancelled: bool = False

    def status(self, now: float) -> str:
        if self.cancelled:
            return "CANCELED"
        return "ACTIVE" if now < self.expiry else "EXPIRED"


@dataclass(slots=True)
class _Resource:
    arn: str
    zones: tuple[str, ...]
    autoshifts: dict[str, float] = field(default_factory=dict)


class ZonalShifts:
    """The resources that are managed, and what is shifted away from where."""

    name = "arc-zonal-shift"

    def __init__(self) -> None:
        self._clock = WorldClock()
        self._resources: dict[str, _Resource] = {}
        self._shifts: dict[str, _Shift] = {}

    def use(self, clock: WorldClock) -> None:
        """Take the time of shifts from ``clock``."""
        self._clock = clock

    def add_resource(self, arn: str, *zones: str) -> None:
        """Register a load balancer or an Auto Scaling group in these zones, as use1-az1."""
        self._resources[arn] = _Resource(arn, zones)

    def start_autoshift(self, arn: str, zone: str) -> None:
        """Have AWS shift away from a zone."""
        self._resources[arn].autoshifts[zone] = self._clock.now()

    def end_autoshift(self, arn: str, zone: str) -> None:
        """Have AWS end its autoshift."""
        del self._resources[arn].autoshifts[zone]

    def start_practice_run(self, arn: str, zone: str) -> str:
        """Have AWS start a practice run, of 30 minutes as theirs; returns its id."""
        return self._add(
            _Shift("", arn, zone, "Practice run", self._clock.now(), self._clock.now() + 1800.0, "PRACTICE_RUN")
        )

    def weights(self, arn: str) -> Mapping[str, float]:
        """Which zones of a resource take traffic, 1, and which none, 0."""
        resource = self._resources[arn]
        applied = self._applied(resource)
        return {zone: 0.0 if zone == applied else 1.0 for zone in resource.zones}

    def answer(self, operation: str, arguments: Mapping[str, Any], region: str) -> Mapping[str, Any]:
        """See ``missing.Service``."""
        with self._clock.lock:
            match operation:
                case "GetManagedResource":
                    return self._get(arguments["resourceIdentifier"])
                case "ListZonalShifts":
                    return self._list(arguments)
                case "StartZonalShift":
                    return self._start(arguments)
                case "UpdateZonalShift":
                    return self._update(arguments)
                case "CancelZonalShift":
                    shift = self._active(arguments["zonalShiftId"])
                    shift.cancelled = True
                    return self._described(shift)
                case _:
                    raise NotInOverlayError(self.name, operation)

    def _add(self, shift: _Shift) -> str:
        shift.identifier = f"00000000-0000-4000-8000-{len(self._shifts) + 1:012x}"
        self._shifts[shift.identifier] = shift
        return shift.identifier

    def _resource(self, arn: str) -> _Resource:
        if arn not in self._resources:
            raise ServiceError("ResourceNotFoundException", f"no managed resource {arn}")
        return self._resources[arn]

    def _on(self, arn: str, kind: str) -> _Shift | None:
        now = self._clock.now()
        own = (shift for shift in self._shifts.values() if shift.resource == arn and shift.kind == kind)
        return next((shift for shift in own if shift.status(now) == "ACTIVE"), None)

    def _applied(self, resource: _Resource) -> str | None:
        """The zone that takes no traffic: a person's shift comes first, then AWS's own, then a practice run."""
        for shift in (
            self._on(resource.arn, "ZONAL_SHIFT"),
            *resource.autoshifts,
            self._on(resource.arn, "PRACTICE_RUN"),
        ):
            if shift is not None:
                return shift.zone if isinstance(shift, _Shift) else shift
        return None

    def _get(self, arn: str) -> Mapping[str, Any]:
        resource = self._resource(arn)
        applied = self._applied(resource)
        own = [shift for kind in ("ZONAL_SHIFT", "PRACTICE_RUN") if (shift := self._on(arn, kind)) is not None]
        first = own[0] if own and own[0].kind == "ZONAL_SHIFT" else None
        taken = [_status(shift is first or (first is None and not resource.autoshifts)) for shift in own]
        return {
            "arn": arn,
            "name": arn.rpartition("/")[2] or arn,
            "appliedWeights": {zone: 0.0 if zone == applied else 1.0 for zone in resource.zones},
            "zonalShifts": [
                {**{key: value for key, value in self._described(shift).items() if key != "status"}, **one}
                | {"shiftType": shift.kind}
                for shift, one in zip(own, taken, strict=True)
            ],
            "autoshifts": [
                {"awayFrom": zone, "startTime": _time(start), **_status(first is None)}
                for zone, start in resource.autoshifts.items()
            ],
        }

    def _list(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        now = self._clock.now()
        own = [
            {**self._described(shift), "shiftType": shift.kind}
            for shift in self._shifts.values()
            if given.get("status") in (None, shift.status(now))
            and given.get("resourceIdentifier") in (None, shift.resource)
        ]
        start, most = int(given.get("nextToken", "0")), given.get("maxResults", _PAGE)
        following = {"nextToken": str(start + most)} if start + most < len(own) else {}
        return {"items": own[start : start + most], **following}

    def _start(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        resource, zone = self._resource(given["resourceIdentifier"]), given["awayFrom"]
        if zone not in resource.zones:
            raise ServiceError("ValidationException", f"{zone} is no zone of {resource.arn}", reason="InvalidAz")
        active = self._on(resource.arn, "ZONAL_SHIFT")
        if active is not None:
            said = f"there is an active zonal shift away from {active.zone} already"
            raise ServiceError(
                "ConflictException", said, reason="ZonalShiftAlreadyExists", zonalShiftId=active.identifier
            )
        now = self._clock.now()
        shift = _Shift("", resource.arn, zone, given["comment"], now, now + _lasting(given["expiresIn"]))
        self._add(shift)
        return self._described(shift)

    def _update(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        shift = self._active(given["zonalShiftId"])
        if "expiresIn" in given:
            shift.expiry = self._clock.now() + _lasting(given["expiresIn"])
        shift.comment = given.get("comment", shift.comment)
        return self._described(shift)

    def _active(self, identifier: str) -> _Shift:
        shift = self._shifts.get(identifier)
        if shift is None or shift.kind != "ZONAL_SHIFT":
            raise ServiceError("ResourceNotFoundException", f"no zonal shift {identifier}")
        status = shift.status(self._clock.now())
        if status != "ACTIVE":
            said = f"the zonal shift is {status}"
            raise ServiceError("ConflictException", said, reason="ZonalShiftStatusNotActive", zonalShiftId=identifier)
        return shift

    def _described(self, shift: _Shift) -> dict[str, Any]:
        return {
            "zonalShiftId": shift.identifier,
            "resourceIdentifier": shift.resource,
            "awayFrom": shift.zone,
            "expiryTime": _time(shift.expiry),
            "startTime": _time(shift.start),
            "status": shift.status(self._clock.now()),
            "comment": shift.comment,
        }


def _lasting(text: str) -> float:
    """Seconds of ``90m`` or ``12h``."""
    number, unit = text[:-1], text[-1:]
    seconds = int(number) * _SECONDS[unit] if number.isdecimal() and unit in _SECONDS else 0.0
    if not 0 < seconds <= _LONGEST:
        raise ServiceError("ValidationException", f"{text} is not between 1m and 72h", reason="InvalidExpiresIn")
    return seconds


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _status(applied: bool) -> dict[str, str]:
    return {"appliedStatus": "APPLIED" if applied else "NOT_APPLIED"}
