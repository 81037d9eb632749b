"""Amazon Route 53: changes that take time to reach its servers, and batches that are made whole or not at all.

    change_resource_record_sets ──▶ PENDING ──▶ INSYNC, after ``settings.insync_after`` of the world's clock

A record set that is to be deleted must be given exactly as it is; a change that nobody has made is ``NoSuchChange``;
record sets are listed from StartRecordIdentifier on; health checks fail by the test's word.
Source: Amazon Route 53 API Reference, ``ChangeResourceRecordSets``, ``GetChange``, ``ListResourceRecordSets``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from orchestrator.testing.overlay.patches import Patches
from orchestrator.testing.overlay.route53_batch import InvalidBatchError, canonical, changed, sort_key, written

if TYPE_CHECKING:
    from moto.core.responses import ActionResult
    from moto.route53.models import FakeZone, RecordSet
    from moto.route53.responses import Route53

    from orchestrator.testing.overlay.world import AwsWorld

_PAGE: Final = 300
_ZONE_CALLS: Final = (
    *("create_hosted_zone", "delete_hosted_zone"),
    *("associate_vpc_with_hosted_zone", "disassociate_vpc_from_hosted_zone"),
)
_CHECKERS: Final = {
    "us-east-1": "192.0.2.1",
    "us-west-1": "192.0.2.2",
    "us-west-2": "192.0.2.3",
    "eu-west-1": "192.0.2.4",
    "ap-southeast-1": "192.0.2.5",
    "ap-southeast-2": "192.0.2.6",
    "ap-northeast-1": "192.0.2.7",
    "sa-east-1": "192.0.2.8",
}
"""One in each region from which Route 53 checks, at addresses for documentation (RFC 5737)."""


@dataclass(slots=True)
class _Change:
    at: float
    """The clock's ``monotonic``."""
    submitted: datetime
    stuck: bool = False


class Zones:
    """The changes of all hosted zones, and the test's word on them and on health checks."""

    def __init__(self) -> None:
        self._patches = Patches()
        self._changes: dict[str, _Change] = {}
        self._failing: dict[str, float] = {}

    def install(self, world: AwsWorld) -> None:
        """Take the place of moto's batches, changes and listing."""
        from moto.route53.responses import Route53

        self._clock, self._settings = world.clock, world.settings
        replace = self._patches.replace
        replace(Route53, "change_resource_record_sets", lambda handler: self._change(handler))
        replace(Route53, "list_resource_record_sets", lambda handler: self._list(handler))
        replace(Route53, "get_change", lambda handler: self._get_change(handler))
        replace(Route53, "get_health_check_status", lambda handler: self._status(handler))
        for name in _ZONE_CALLS:
            self._patches.wrap(Route53, name, self._count_change)

    def remove(self) -> None:
        """Leave moto's Route 53 as it was."""
        self._patches.remove()

    def set_never_in_sync(self, change: str) -> None:
        """Have a change, by its id, stay PENDING for ever."""
        self._changes[change.removeprefix("/change/")].stuck = True

    def set_unhealthy(self, health_check: str, share: float = 1.0) -> None:
        """Have this share of the checkers say that a health check fails, from now on."""
        self._failing[health_check] = share

    def set_healthy(self, health_check: str) -> None:
        """Take ``set_unhealthy`` back."""
        self._failing.pop(health_check, None)

    def _new_change(self) -> dict[str, Any]:
        with self._clock.lock:
            identifier = f"C{len(self._changes) + 1:013d}"
            now = datetime.fromtimestamp(self._clock.now(), UTC)
            self._changes[identifier] = _Change(self._clock.monotonic(), now)
            return self._info(identifier)

    def _info(self, identifier: str) -> dict[str, Any]:
        change = self._changes[identifier]
        done = not change.stuck and self._clock.monotonic() >= change.at + self._settings.insync_after
        status = "INSYNC" if done else "PENDING"
        return {"Id": f"/change/{identifier}", "Status": status, "SubmittedAt": change.submitted}

    def _count_change(self, original: Any, handler: Route53) -> ActionResult:
        reply: ActionResult = original(handler)
        if isinstance(reply.result, dict):
            reply.result["ChangeInfo"] = self._new_change()
        return reply

    def _get_change(self, handler: Route53) -> ActionResult:
        from moto.core.responses import ActionResult
        from moto.route53.exceptions import Route53ClientError

        identifier = str(handler._get_param("Id")).removeprefix("/change/")
        if identifier not in self._changes:
            said = f"Could not find resource with ID: {identifier}"
            raise Route53ClientError("NoSuchChange", said)
        return ActionResult({"ChangeInfo": self._info(identifier)})

    def _change(self, handler: Route53) -> ActionResult:
        from moto.core.responses import ActionResult
        from moto.route53.exceptions import NoSuchHealthCheck, Route53ClientError

        zone = handler.backend.get_hosted_zone(handler._get_param("HostedZoneId"))
        changes = handler._get_param("ChangeBatch.Changes")
        for change in changes:
            check = change["ResourceRecordSet"].get("HealthCheckId")
            if change["Action"] != "DELETE" and check and check not in handler.backend.health_checks:
                raise NoSuchHealthCheck(check)
        with self._clock.lock:
            try:
                after = changed(zone.name, map(_described, zone.rrsets), changes)
            except InvalidBatchError as error:
                raise Route53ClientError("InvalidChangeBatch", f"[{', '.join(error.said)}]") from error
            _store(zone, after)
        return ActionResult({"ChangeInfo": self._new_change()})

    def _list(self, handler: Route53) -> ActionResult:
        from moto.core.responses import ActionResult
        from moto.route53.exceptions import InvalidInput

        name, type_, identifier = (handler._get_param(f"StartRecord{word}") for word in ("Name", "Type", "Identifier"))
        if (type_ and not name) or (identifier and not type_):
            raise InvalidInput("The input is not valid")
        zone = handler.backend.get_hosted_zone(handler._get_param("HostedZoneId"))
        most = min(handler._get_int_param("MaxItems", _PAGE), _PAGE)
        sets = sorted(map(_described, zone.rrsets), key=sort_key)
        if name:
            start = sort_key({"Name": written(name), "Type": type_ or "", "SetIdentifier": identifier})
            sets = [one for one in sets if sort_key(one) >= start]
        reply = {"ResourceRecordSets": sets[:most], "IsTruncated": len(sets) > most, "MaxItems": most}
        return ActionResult({**reply, **(_next(sets[most]) if len(sets) > most else {})})

    def _status(self, handler: Route53) -> ActionResult:
        from moto.core.responses import ActionResult

        check = handler.backend.get_health_check(handler._get_param("HealthCheckId")).id
        failing = round(self._failing.get(check, 0.0) * len(_CHECKERS))
        at = datetime.fromtimestamp(self._clock.now(), UTC)
        observations = [
            {"Region": region, "IPAddress": address, "StatusReport": {"Status": _said(i < failing), "CheckedTime": at}}
            for i, (region, address) in enumerate(_CHECKERS.items())
        ]
        return ActionResult({"HealthCheckObservations": observations})


def _said(failing: bool) -> str:
    return "Failure: Connection timed out." if failing else "Success: TCP connection established."


def _next(record_set: Mapping[str, Any]) -> dict[str, Any]:
    following = {"NextRecordName": record_set["Name"], "NextRecordType": record_set["Type"]}
    if record_set.get("SetIdentifier"):
        following["NextRecordIdentifier"] = record_set["SetIdentifier"]
    return following


_ATTRIBUTES: Final = {
    "Name": "name",
    "Type": "type",
    "SetIdentifier": "set_identifier",
    "Weight": "weight",
    "Region": "region",
    "GeoLocation": "geo_location",
    "Failover": "failover",
    "MultiValueAnswer": "multi_value_answer",
    "AliasTarget": "alias_target",
    "HealthCheckId": "health_check_id",
}
"""By Route 53's name for it: moto's."""

_WHOLE: Final = "overlay_record_set"
"""Where a record set of moto's keeps what moto has no attribute for."""


def _described(record_set: RecordSet) -> dict[str, Any]:
    """As boto3 gives it; those that moto has made by itself have numbers as text."""
    known: dict[str, Any] | None = getattr(record_set, _WHOLE, None)
    if known is not None:
        return dict(known)
    whole = {key: getattr(record_set, attribute) for key, attribute in _ATTRIBUTES.items()}
    ttl = None if record_set.ttl is None else int(record_set.ttl)
    values = [value["Value"] if isinstance(value, dict) else value for value in record_set.records or ()]
    return canonical({**whole, "TTL": ttl, "ResourceRecords": [{"Value": value} for value in values]})


def _store(zone: FakeZone, sets: list[dict[str, Any]]) -> None:
    from moto.route53.models import RecordSet

    make: Any = RecordSet  # abstract to a type checker, by what moto's CloudFormation asks of it
    zone.rrsets = []
    for one in sets:
        stored = make({**one, "ResourceRecords": [record["Value"] for record in one.get("ResourceRecords", ())]})
        setattr(stored, _WHOLE, one)
        zone.rrsets.append(stored)
