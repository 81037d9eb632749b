"""AWS Health: what AWS tells an account about its maintenance and its trouble.

    upcoming ──▶ open ──▶ closed, by the world's clock

Source: AWS Health API Reference, ``DescribeEvents``, ``DescribeEventDetails``, ``DescribeAffectedEntities``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from orchestrator.testing.overlay.missing import NotInOverlayError, ServiceError

if TYPE_CHECKING:
    from orchestrator.testing.overlay.world import AwsWorld

Category: TypeAlias = Literal["issue", "accountNotification", "scheduledChange", "investigation"]

_ACCOUNT: Final = "123456789012"
_FILTERS: Final[Mapping[str, str]] = {
    "eventArns": "arn",
    "eventTypeCodes": "eventTypeCode",
    "services": "service",
    "regions": "region",
    "availabilityZones": "availabilityZone",
    "eventTypeCategories": "eventTypeCategory",
    "eventStatusCodes": "statusCode",
}
_TIMES: Final[Mapping[str, str]] = {
    "startTimes": "startTime",
    "endTimes": "endTime",
    "lastUpdatedTimes": "lastUpdatedTime",
}
_NOT_PLAYED: Final = ("actionabilities", "personas", "tags", "entityArns")


@dataclass(slots=True)
class _Event:
    arn: str
    service: str
    code: str
    category: Category
    region: str
    zone: str
    starts: float
    ends: float | None
    updated: float
    description: str
    entities: tuple[str, ...]


class Health:
    """The account's events; ``missing.Service`` for ``health``."""

    name = "health"

    def __init__(self) -> None:
        self._events: dict[str, _Event] = {}
        self._calls: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "DescribeEvents": self._describe_events,
            "DescribeEventDetails": self._describe_details,
            "DescribeAffectedEntities": self._describe_entities,
        }

    def install(self, world: AwsWorld) -> None:
        """Answer the service's calls."""
        self._clock = world.clock
        world.missing.add(self)

    def remove(self) -> None:
        """Nothing: the calls go with ``world.missing``."""

    def announce(
        self,
        service: str,
        code: str,
        category: Category = "scheduledChange",
        *,
        region: str = "us-east-1",
        zone: str = "",
        after: float = 0.0,
        lasts: float | None = None,
        description: str = "",
        entities: Sequence[str] = (),
    ) -> str:
        """Tell the account of an event; its ARN.

        Args:
            service: as Health writes it, like ``EC2``.
            code: like ``AWS_EC2_INSTANCE_STOP_SCHEDULED``.
            category: what kind of event it is.
            region: where.
            zone: the Availability Zone, where it is in one.
            after: seconds from now until it begins; it is ``upcoming`` until then.
            lasts: seconds until it is ``closed``; None: it stays ``open`` until ``close``.
            description: what AWS writes.
            entities: what is affected, as instance ids.
        """
        with self._clock.lock:
            now = self._clock.now()
            arn = f"arn:aws:health:{region}::event/{service}/{code}/{code}_{len(self._events) + 1:08d}"
            ends = None if lasts is None else now + after + lasts
            self._events[arn] = _Event(
                *(arn, service, code, category, region, zone, now + after, ends, now, description, tuple(entities))
            )
        return arn

    def close(self, arn: str) -> None:
        """End an event now."""
        with self._clock.lock:
            event = self._events[arn]
            event.ends = event.updated = self._clock.now()
            event.starts = min(event.starts, event.ends)

    def answer(self, operation: str, arguments: Mapping[str, Any], region: str) -> Mapping[str, Any]:
        """See ``missing.Service``."""
        call = self._calls.get(operation)
        if call is None:
            raise NotInOverlayError(self.name, operation)
        with self._clock.lock:
            return call(arguments)

    def _describe_events(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted = arguments.get("filter", {})
        if unknown := [name for name in _NOT_PLAYED if wanted.get(name)]:
            raise NotInOverlayError(self.name, f"DescribeEvents with {', '.join(unknown)}")
        found = []
        for event in sorted(self._events.values(), key=lambda it: -it.updated):
            said = self._described(event)
            values = wanted.get("entityValues")
            if _passes(said, wanted) and (not values or set(values) & set(event.entities)):
                found.append(said)
        return _paged(arguments, "events", found)

    def _describe_details(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        known, unknown = [], []
        for arn in arguments["eventArns"]:
            event = self._events.get(arn)
            if event is None:
                failed = {"eventArn": arn, "errorName": "InvalidEventArn", "errorMessage": "There is no such event."}
                unknown.append(failed)
                continue
            description = {"latestDescription": event.description}
            known.append({"event": self._described(event), "eventDescription": description, "eventMetadata": {}})
        return {"successfulSet": known, "failedSet": unknown}

    def _describe_entities(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted = arguments["filter"]
        if unknown := [name for name in ("entityArns", "tags", "lastUpdatedTimes") if wanted.get(name)]:
            raise NotInOverlayError(self.name, f"DescribeAffectedEntities with {', '.join(unknown)}")
        found = []
        for arn in wanted["eventArns"]:
            event = self._events.get(arn)
            for value in event.entities if event else ():
                entity = self._entity(arn, value)
                if value in (wanted.get("entityValues") or [value]) and entity["statusCode"] in (
                    wanted.get("statusCodes") or [entity["statusCode"]]
                ):
                    found.append(entity)
        return _paged(arguments, "entities", found)

    def _entity(self, arn: str, value: str) -> dict[str, Any]:
        event = self._events[arn]
        resolved = self._status(event) == "closed"
        identity = f"arn:aws:health:{event.region}:{_ACCOUNT}:entity/{value}"
        return {
            "entityArn": identity,
            "eventArn": arn,
            "entityValue": value,
            "awsAccountId": _ACCOUNT,
            "lastUpdatedTime": _at(event.updated),
            "statusCode": "RESOLVED" if resolved else "IMPAIRED" if event.category == "issue" else "PENDING",
        }

    def _status(self, event: _Event) -> str:
        now = self._clock.now()
        if event.ends is not None and now >= event.ends:
            return "closed"
        return "open" if now >= event.starts else "upcoming"

    def _described(self, event: _Event) -> dict[str, Any]:
        said = {
            "arn": event.arn,
            "service": event.service,
            "eventTypeCode": event.code,
            "eventTypeCategory": event.category,
            "region": event.region,
            "startTime": _at(event.starts),
            "lastUpdatedTime": _at(event.updated),
            "statusCode": self._status(event),
            "eventScopeCode": "ACCOUNT_SPECIFIC" if event.entities else "PUBLIC",
        }
        more = {"availabilityZone": event.zone, "endTime": None if event.ends is None else _at(event.ends)}
        return {**said, **{key: value for key, value in more.items() if value}}


def _passes(said: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for name, key in _FILTERS.items():
        if wanted.get(name) and said.get(key) not in wanted[name]:
            return False
    return all(
        any(_within(said.get(key), span) for span in wanted[name]) for name, key in _TIMES.items() if wanted.get(name)
    )


def _within(moment: datetime | None, span: Mapping[str, Any]) -> bool:
    if moment is None:
        return False
    begins, ends = (_aware(span.get(end)) for end in ("from", "to"))
    return (begins is None or begins <= moment) and (ends is None or moment <= ends)


def _aware(moment: Any) -> datetime | None:
    """As botocore reads what it is given; without a zone it is UTC."""
    from botocore.utils import parse_to_aware_datetime

    if moment is None:
        return None
    parsed: datetime = parse_to_aware_datetime(moment)
    return parsed


def _paged(arguments: Mapping[str, Any], key: str, found: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The page that is asked for; a token is the number of the first on it."""
    token = str(arguments.get("nextToken") or "page0")
    if not token.removeprefix("page").isdigit():
        raise ServiceError("InvalidPaginationToken", "The pagination token is not valid.")
    start = int(token.removeprefix("page"))
    end = start + int(arguments.get("maxResults", 100))
    return {key: list(found[start:end]), **({"nextToken": f"page{end}"} if end < len(found) else {})}


def _at(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)
