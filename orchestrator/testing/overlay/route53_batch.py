"""What Route 53 makes of a batch of changes: all of it or nothing, and what it refuses. Pure.

Source: Amazon Route 53 API Reference, ``ChangeResourceRecordSets`` and ``ResourceRecordSet``; Developer Guide, "Values
that you specify when you create or edit records" and "DNS constraints and behaviors".
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

RecordSet: TypeAlias = Mapping[str, Any]
"""As boto3 takes and gives it."""

_ROUTED_BY: Final = (
    *("Weight", "Region", "Failover", "GeoLocation"),
    *("MultiValueAnswer", "CidrRoutingConfig", "GeoProximityLocation"),
)
_LARGEST: Final = {"Weight": 255, "TTL": 2_147_483_647}
_MOST_RECORDS: Final = 1_000
_MOST_CHARACTERS: Final = 32_000
_APEX: Final = frozenset({"SOA", "NS"})


class InvalidBatchError(Exception):
    """Route 53 refuses the whole batch; ``said`` is why, one message for each change that it refuses."""

    def __init__(self, said: Sequence[str]) -> None:
        super().__init__("; ".join(said))
        self.said = tuple(said)


def written(name: str) -> str:
    """A name as Route 53 writes it: lower case, a final dot, and what is no letter, digit, - or _ as ``\\052``.

    Source: Developer Guide, "DNS domain name format". A name may be given with such codes already.
    """
    plain = name.rstrip(".").lower()
    return re.sub(r"[^a-z0-9_.\\-]", lambda other: f"\\{ord(other[0]):03o}", plain) + "."


def sort_key(record_set: RecordSet) -> tuple[tuple[str, ...], str, str]:
    """The order in which Route 53 lists: by the labels from the right, then by type, then by identifier."""
    labels = tuple(reversed(record_set["Name"].rstrip(".").split(".")))
    return labels, str(record_set["Type"]), record_set.get("SetIdentifier") or ""


def canonical(record_set: RecordSet) -> dict[str, Any]:
    """The record set in one spelling, so that two that Route 53 holds for the same are equal."""
    whole = {key: value for key, value in record_set.items() if value is not None and value != []}
    whole["Name"] = written(record_set["Name"])
    if "ResourceRecords" in whole:
        whole["ResourceRecords"] = [{"Value": value} for value in _values(whole)]
    if "AliasTarget" in whole:
        whole["AliasTarget"] = {**whole["AliasTarget"], "DNSName": written(whole["AliasTarget"]["DNSName"])}
    return whole


def changed(zone: str, now: Iterable[RecordSet], changes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The record sets of ``zone`` after the batch.

    Raises:
        InvalidBatchError: as Route 53 says InvalidChangeBatch. Nothing is changed then.
    """
    said = list(_too_much(changes))
    sets = [canonical(record_set) for record_set in now]
    for change in changes:
        record_set = canonical(change["ResourceRecordSet"])
        wrong = list(_wrong(zone, record_set)) or _ACTIONS[change["Action"]](sets, record_set)
        said += wrong
    said = said or list(_inconsistent(zone, sets, changes))
    if said:
        raise InvalidBatchError(said)
    return sets


def _create(sets: list[dict[str, Any]], record_set: dict[str, Any]) -> list[str]:
    if _find(sets, record_set) is not None:
        return [f"Tried to create resource record set {_called(record_set)} but it already exists"]
    sets.append(record_set)
    return []


def _upsert(sets: list[dict[str, Any]], record_set: dict[str, Any]) -> list[str]:
    index = _find(sets, record_set)
    if index is not None:
        del sets[index]
    sets.append(record_set)
    return []


def _delete(sets: list[dict[str, Any]], record_set: dict[str, Any]) -> list[str]:
    index = _find(sets, record_set)
    tried = f"Tried to delete resource record set {_called(record_set)} but"
    if index is None:
        return [f"{tried} it was not found"]
    if _comparable(sets[index]) != _comparable(record_set):
        return [f"{tried} the values provided do not match the current values"]
    del sets[index]
    return []


_ACTIONS: Final[Mapping[str, Callable[[list[dict[str, Any]], dict[str, Any]], list[str]]]] = {
    "CREATE": _create,
    "UPSERT": _upsert,
    "DELETE": _delete,
}


def _find(sets: Sequence[RecordSet], record_set: RecordSet) -> int | None:
    return next((i for i, one in enumerate(sets) if _key(one) == _key(record_set)), None)


def _key(record_set: RecordSet) -> tuple[str, str, str]:
    return record_set["Name"], record_set["Type"], record_set.get("SetIdentifier") or ""


def _comparable(record_set: RecordSet) -> dict[str, Any]:
    """Without the order of the values, which is none."""
    return {**record_set, "ResourceRecords": sorted(_values(record_set))}


def _called(record_set: RecordSet) -> str:
    name, type_, identifier = _key(record_set)
    return f"[name='{name}', type='{type_}'" + (f", set identifier='{identifier}']" if identifier else "]")


def _values(record_set: RecordSet) -> list[str]:
    return [record["Value"] for record in record_set.get("ResourceRecords") or ()]


def _too_much(changes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Quotas: what an UPSERT has counts twice."""
    counted = [(1 + (change["Action"] == "UPSERT"), _values(change["ResourceRecordSet"])) for change in changes]
    if sum(times * len(values) for times, values in counted) > _MOST_RECORDS:
        yield f"Number of records limit of {_MOST_RECORDS} exceeded."
    if sum(times * len(value) for times, values in counted for value in values) > _MOST_CHARACTERS:
        yield f"Number of characters limit of {_MOST_CHARACTERS} exceeded."


def _wrong(zone: str, record_set: RecordSet) -> Iterator[str]:
    """What is wrong with a record set by itself."""
    name, type_, identifier = _key(record_set)
    if not f".{name}".endswith(f".{written(zone)}"):
        yield f"RRSet with DNS name {name} is not permitted in zone {written(zone)}"
    if ("AliasTarget" in record_set) == bool("TTL" in record_set and _values(record_set)):
        yield (
            "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords], or "
            f"TrafficPolicyInstanceId] in Change with {_called(record_set)}"
        )
    policies = [policy for policy in _ROUTED_BY if policy in record_set]
    if len(policies) > 1 or bool(policies) != bool(identifier):
        yield (
            f"Invalid request: Expected exactly one of [{', '.join(_ROUTED_BY)}] with a SetIdentifier, or none without "
            f"one, in Change with {_called(record_set)}"
        )
    for key, largest in _LARGEST.items():
        if not 0 <= record_set.get(key, 0) <= largest:
            yield f"Invalid {key} {record_set[key]} in {_called(record_set)}: it must be between 0 and {largest}"
    yield from _wrong_values(type_, _values(record_set))


def _wrong_values(type_: str, values: Sequence[str]) -> Iterator[str]:
    yield from (f"Duplicate Resource Record: '{value}'" for value, times in Counter(values).items() if times > 1)
    if type_ == "CNAME" and len(values) > 1:
        yield f"Invalid Resource Record: FATAL problem: TooManyRecords (CNAME has {len(values)} values)"
    for value in values:
        if not _is_right(type_, value):
            yield f"Invalid Resource Record: FATAL problem: InvalidValue ({type_} cannot be '{value}')"


def _is_right(type_: str, value: str) -> bool:
    match type_:
        case "A" | "AAAA":
            try:
                return ipaddress.ip_address(value).version == (4 if type_ == "A" else 6)
            except ValueError:
                return False
        case "MX" | "SRV":
            *numbers, _ = value.split(" ")
            return len(numbers) == (1 if type_ == "MX" else 3) and all(number.isdecimal() for number in numbers)
        case "TXT":
            return value.startswith('"') and value.endswith('"')
        case _:
            return bool(value)


def _inconsistent(zone: str, sets: Sequence[RecordSet], changes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong between the record sets that there would be, at the names that the batch touches."""
    apex = written(zone)
    names = {written(change["ResourceRecordSet"]["Name"]) for change in changes}
    for name in sorted(names):
        here = [one for one in sets if one["Name"] == name]
        types = {one["Type"] for one in here}
        if name == apex and not types >= _APEX:
            yield f"A HostedZone must contain exactly one SOA record and at least one NS record for {apex}"
        if "CNAME" in types and (len(types) > 1 or name == apex):
            yield f"RRSet of type CNAME with DNS name {name} is not permitted as it conflicts with other records"
        for type_ in sorted(types):
            yield from _mixed(name, type_, [one for one in here if one["Type"] == type_])


def _mixed(name: str, type_: str, sets: Sequence[RecordSet]) -> Iterator[str]:
    policies = {next((policy for policy in _ROUTED_BY if policy in one), "simple") for one in sets}
    if len(policies) > 1:
        yield (
            f"RRSet with DNS name {name}, type {type_} cannot be created as other RRSets exist with the same name and "
            f"type and another routing policy ({', '.join(sorted(policies))})"
        )
    roles = Counter(one["Failover"] for one in sets if "Failover" in one)
    yield from (
        f"RRSet with DNS name {name}, type {type_} cannot be created: there can be one {role} only"
        for role, times in roles.items()
        if times > 1
    )
