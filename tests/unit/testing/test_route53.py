"""Route 53 in a world with time: batches are whole or nothing, and changes take time to be everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from orchestrator.testing.overlay import AwsWorld, aws_world


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """AWS with time."""
    with aws_world() as world:
        yield world


class Zone:
    """A hosted zone called example.com."""

    def __init__(self) -> None:
        self.api = boto3.client("route53", region_name="us-east-1")
        made = self.api.create_hosted_zone(Name="example.com", CallerReference="1")
        self.id = made["HostedZone"]["Id"]
        self.made_by = made["ChangeInfo"]

    def change(self, *changes: tuple[str, Mapping[str, Any]]) -> Any:
        """Send a batch."""
        batch = {"Changes": [{"Action": action, "ResourceRecordSet": record_set} for action, record_set in changes]}
        return self.api.change_resource_record_sets(HostedZoneId=self.id, ChangeBatch=batch)["ChangeInfo"]

    def refused(self, *changes: tuple[str, Mapping[str, Any]]) -> str:
        """Send a batch that is to be refused; what is there before is there after. Returns the message."""
        before = self.listed()
        with pytest.raises(ClientError) as told:
            self.change(*changes)
        assert told.value.response["Error"]["Code"] == "InvalidChangeBatch"
        assert self.listed() == before
        return str(told.value)

    def listed(self, **start: str) -> list[dict[str, Any]]:
        """All record sets but the zone's own."""
        sets = self.api.list_resource_record_sets(HostedZoneId=self.id, **start)["ResourceRecordSets"]
        return [one for one in sets if one["Type"] not in ("NS", "SOA")]

    def status(self, change: Mapping[str, Any]) -> str:
        """How far a change is."""
        return str(self.api.get_change(Id=change["Id"])["ChangeInfo"]["Status"])


@pytest.fixture
def zone(world: AwsWorld) -> Zone:
    """An empty zone."""
    return Zone()


def a(value: str = "192.0.2.1", **more: Any) -> dict[str, Any]:
    """A record set of mx.example.com."""
    return {"Name": "mx.example.com", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": value}], **more}


def weighted(identifier: str, weight: int = 1, **more: Any) -> dict[str, Any]:
    """One of several."""
    return a(SetIdentifier=identifier, Weight=weight, **more)


def test_a_change_takes_its_time(world: AwsWorld, zone: Zone) -> None:
    """It is PENDING until the time of the settings is over, also the one that made the zone."""
    change = zone.change(("CREATE", a()))
    assert (change["Status"], zone.status(change)) == ("PENDING", "PENDING")
    world.clock.advance(29.5)
    assert zone.status(change) == "PENDING"
    world.clock.advance(0.5)
    assert [zone.status(one) for one in (change, zone.made_by)] == ["INSYNC", "INSYNC"]


def test_a_change_can_stay_pending(world: AwsWorld, zone: Zone) -> None:
    """By the test's word a change never gets in sync; others do."""
    stuck, other = zone.change(("CREATE", a())), zone.change(("UPSERT", a("192.0.2.2")))
    world.zones.set_never_in_sync(stuck["Id"])
    world.clock.advance(86_400)
    assert [zone.status(one) for one in (stuck, other)] == ["PENDING", "INSYNC"]


def test_an_unknown_change_is_no_change(zone: Zone) -> None:
    """What nobody has submitted is NoSuchChange."""
    with pytest.raises(ClientError, match="NoSuchChange"):
        zone.api.get_change(Id="C2682N5HXP0BZ4")


def test_a_batch_is_whole_or_nothing(zone: Zone) -> None:
    """One bad change in it, and none of the good ones is made; each bad one is named."""
    zone.change(("CREATE", weighted("one")))
    said = zone.refused(("CREATE", weighted("two")), ("CREATE", weighted("one")), ("DELETE", weighted("three")))
    assert "set identifier='one'] but it already exists" in said
    assert "set identifier='three'] but it was not found" in said


@pytest.mark.parametrize(
    "other",
    [
        {"Weight": 2},
        {"TTL": 61},
        {"ResourceRecords": [{"Value": "192.0.2.7"}]},
        {"HealthCheckId": "abcdef11-2222-3333-4444-555555fedcba"},
    ],
)
def test_a_delete_must_be_exact(zone: Zone, other: Mapping[str, Any]) -> None:
    """Weight, TTL, values, health check: what is not as it is deletes nothing."""
    zone.change(("CREATE", weighted("one")))
    said = zone.refused(("DELETE", {**weighted("one"), **other}))
    assert "the values provided do not match the current values" in said


def test_a_delete_deletes_one(zone: Zone) -> None:
    """The same set identifier under another name or type stays."""
    other = {**weighted("one"), "Name": "other.example.com"}
    six = {**weighted("one"), "Type": "AAAA", "ResourceRecords": [{"Value": "2001:db8::1"}]}
    zone.change(("CREATE", weighted("one")), ("CREATE", other), ("CREATE", six))
    zone.change(("DELETE", {**weighted("one"), "Name": "MX.example.com."}))
    assert [(one["Name"], one["Type"]) for one in zone.listed()] == [
        ("mx.example.com.", "AAAA"),
        ("other.example.com.", "A"),
    ]


def test_delete_and_create_in_one_batch_replace(zone: Zone) -> None:
    """In the order of the batch; the values of a record have none."""
    two = [{"Value": "192.0.2.1"}, {"Value": "192.0.2.2"}]
    zone.change(("CREATE", a(ResourceRecords=two)))
    zone.change(("DELETE", a(ResourceRecords=two[::-1])), ("CREATE", a("192.0.2.3")))
    assert [one["ResourceRecords"] for one in zone.listed()] == [[{"Value": "192.0.2.3"}]]


@pytest.mark.parametrize(
    ("record_set", "said"),
    [
        (a(Weight=1), "Expected exactly one of"),
        (a(SetIdentifier="one"), "Expected exactly one of"),
        (weighted("one", Failover="PRIMARY"), "Expected exactly one of"),
        (weighted("one", 256), "must be between 0 and 255"),
        ({"Name": "mx.example.com", "Type": "A", "TTL": 60}, "Expected exactly one of"),
        (a(ResourceRecords=[{"Value": "192.0.2.1"}] * 2), "Duplicate Resource Record: '192.0.2.1'"),
        (a("2001:db8::1"), "A cannot be '2001:db8::1'"),
        (a("mx1.example.com", Type="MX"), "MX cannot be"),
        (a("v=spf1", Type="TXT"), "TXT cannot be"),
        (a(Name="mx.notexample.com"), "is not permitted in zone example.com."),
        (a("a.example.net", Type="CNAME", Name="example.com"), "CNAME with DNS name example.com."),
    ],
)
def test_what_aws_refuses_is_refused(zone: Zone, record_set: Mapping[str, Any], said: str) -> None:
    """Routing policies that do not fit, numbers and values that cannot be, names of other zones."""
    assert said in zone.refused(("CREATE", record_set))


def test_one_name_and_type_has_one_routing_policy(zone: Zone) -> None:
    """Weighted records beside a simple one are refused, and so is anything beside a CNAME."""
    zone.change(("CREATE", a()))
    assert "another routing policy" in zone.refused(("CREATE", weighted("one")))
    assert "CNAME" in zone.refused(("CREATE", a("a.example.net", Type="CNAME")))


def test_there_is_one_primary(zone: Zone) -> None:
    """A second PRIMARY is refused; in one batch the two can swap."""
    one, two = a(SetIdentifier="one", Failover="PRIMARY"), a(SetIdentifier="two", Failover="SECONDARY")
    zone.change(("CREATE", one), ("CREATE", two))
    assert "one PRIMARY only" in zone.refused(("UPSERT", {**two, "Failover": "PRIMARY"}))
    zone.change(("UPSERT", {**two, "Failover": "PRIMARY"}), ("UPSERT", {**one, "Failover": "SECONDARY"}))


def test_a_health_check_must_be_there(zone: Zone) -> None:
    """A record set with a health check that is not there is NoSuchHealthCheck."""
    with pytest.raises(ClientError, match="NoSuchHealthCheck"):
        zone.change(("CREATE", a(HealthCheckId="abcdef11-2222-3333-4444-555555fedcba")))


def test_the_zone_keeps_its_own_records(zone: Zone) -> None:
    """SOA and NS of the zone cannot be deleted."""
    own = zone.api.list_resource_record_sets(HostedZoneId=zone.id)["ResourceRecordSets"]
    for record_set in own:
        assert "exactly one SOA record" in zone.refused(("DELETE", record_set))


def test_lists_from_an_identifier_on(zone: Zone) -> None:
    """Pages go on where the last one ended, also between records of one name and type."""
    zone.change(*(("CREATE", weighted(identifier)) for identifier in "cab"))
    start = {"StartRecordName": "mx.example.com", "StartRecordType": "A", "StartRecordIdentifier": "b"}
    assert [one["SetIdentifier"] for one in zone.listed(**start)] == ["b", "c"]
    page = zone.api.list_resource_record_sets(HostedZoneId=zone.id, MaxItems="1", **start)
    assert (page["IsTruncated"], page["NextRecordIdentifier"]) == (True, "c")


def test_more_than_a_thousand_records_are_too_much(zone: Zone) -> None:
    """An UPSERT counts twice."""
    some = [
        ("UPSERT", weighted(f"{i}", ResourceRecords=[{"Value": f"10.0.{i}.{j}"} for j in range(251)])) for i in (1, 2)
    ]
    assert "limit of 1000 exceeded" in zone.refused(*some)
    zone.change(*(("CREATE", record_set) for _, record_set in some))


def test_plain_moto_is_as_before(world: AwsWorld, zone: Zone) -> None:
    """What stands in moto's place is gone with ``remove``."""
    change = zone.change(("CREATE", a()))
    world.zones.remove()
    assert zone.status(change) == "INSYNC"
