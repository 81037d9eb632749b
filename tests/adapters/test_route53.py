"""Route 53 as a switch: the contract in a world of AWS with time, and what DNS asks for besides."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.traffic import Intake, Session
from orchestrator.testing.overlay import AwsWorld, aws_world
from tests.adapters.aws_cli import aws_cli
from tests.adapters.route53_bench import ADDRESSES, NAMES, FailoverBench, WeightsBench
from tests.adapters.switch_contract import SwitchContract


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """AWS with time."""
    with aws_world() as world:
        yield world


@pytest.fixture
def shell(world: AwsWorld, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """A shell with an ``aws`` that works on the world."""
    with aws_cli(tmp_path) as environment:
        yield environment


@pytest.fixture
def weights(world: AwsWorld, shell: Mapping[str, str]) -> WeightsBench:
    """Weighted records."""
    return WeightsBench(world, shell)


@pytest.fixture
def failover(world: AwsWorld, shell: Mapping[str, str]) -> FailoverBench:
    """Failover records."""
    return FailoverBench(world, shell)


class TestRoute53Weights(SwitchContract):
    """The contract, on weighted records."""

    @pytest.fixture
    def bench(self, world: AwsWorld, shell: Mapping[str, str]) -> WeightsBench:
        """Weighted records, with less to wait for."""
        world.settings.insync_after = 3.0
        return WeightsBench(world, shell, ttl=5)


class TestRoute53Failover(SwitchContract):
    """The contract, on failover records."""

    @pytest.fixture
    def bench(self, world: AwsWorld, shell: Mapping[str, str]) -> FailoverBench:
        """Failover records, with less to wait for."""
        world.settings.insync_after = 3.0
        return FailoverBench(world, shell, ttl=5)


class Resolver:
    """A resolver that clients use."""

    def __init__(self, *answers: str) -> None:
        self.answers = frozenset(answers)
        self.is_there = True

    async def ask(self, resolver: str, name: str, type_: str) -> frozenset[str]:
        """What it answers now."""
        if not self.is_there:
            raise UnreachableError(f"cannot ask {resolver}: it does not answer")
        return self.answers


def test_changes_nothing_but_the_weight(weights: WeightsBench) -> None:
    """TTL, values and health check of a record stay, and so does every other record set of the zone."""
    config = {"Type": "TCP", "IPAddress": "192.0.2.1", "Port": 25}
    check = weights.api.create_health_check(CallerReference="1", HealthCheckConfig=config)["HealthCheck"]["Id"]
    weights.change("UPSERT", weights.record("mx1", 100, TTL=77, HealthCheckId=check))
    before = weights.listed()
    asyncio.run(weights.driver().apply({"mx1": Intake(weight=9)}))
    after = [{**one, "Weight": 9} if one.get("SetIdentifier") == NAMES["mx1"] else one for one in before]
    assert weights.listed() == after


def test_one_batch_replaces_what_differs(weights: WeightsBench) -> None:
    """All records that differ are deleted exactly and created anew in one batch; those that do not are not in it."""
    asyncio.run(weights.driver().apply({**weights.start, **weights.shifted}))
    (batch,) = weights.written
    said = [(one["Action"], one["ResourceRecordSet"]["Weight"]) for one in batch["ChangeBatch"]["Changes"]]
    assert said == [("DELETE", 100), ("DELETE", 50), ("CREATE", 0), ("CREATE", 200)]


def test_a_concurrent_change_of_the_same_record_is_refused(weights: WeightsBench) -> None:
    """Whoever changed a record between our look and our write keeps what they wrote, and we say so."""
    with weights.racing({"mx1": Intake(weight=7)}), pytest.raises(RejectedError, match="somebody else changed it"):
        asyncio.run(weights.driver().apply(weights.shifted))
    assert weights.truth() == {**weights.start, "mx1": Intake(weight=7)}


def test_a_concurrent_change_of_the_ttl_is_refused(weights: WeightsBench) -> None:
    """What is compared is the whole record, not the weight alone."""

    def change(*_: object) -> None:
        weights.change("UPSERT", weights.record("mx1", 100, TTL=300))

    with weights.meeting(change), pytest.raises(RejectedError, match="somebody else changed it"):
        asyncio.run(weights.driver().apply(weights.shifted))


def test_a_lost_reply_is_no_concurrent_change(weights: WeightsBench) -> None:
    """The batch is done, its answer is lost, and Route 53 refuses the second try: what is there is as asked.

    Its id is lost as well: all servers have it in a minute, and the TTL begins then.
    """
    weights.world.faults.inject("reply-lost", "route53", "ChangeResourceRecordSets")
    driver = weights.driver()
    asyncio.run(driver.apply(weights.shifted))
    assert weights.truth() == {**weights.start, **weights.shifted}
    assert asyncio.run(driver.settling()) == "Route 53 may tell its servers for 1m more"
    weights.pass_time(59)
    assert asyncio.run(driver.settling()) == "Route 53 may tell its servers for 1s more"
    weights.pass_time(1)
    assert asyncio.run(driver.settling()) == "resolvers may hold the old answer for 1m more"


def test_refuses_to_give_nobody_a_weight(weights: WeightsBench) -> None:
    """All at 0 is refused: Route 53 would use all of them equally. One that is no member's counts too."""
    nobody = {name: Intake(weight=0) for name in weights.start}
    with pytest.raises(RejectedError, match="would then use all of them equally"):
        asyncio.run(weights.driver().apply(nobody))
    assert weights.truth() == weights.start
    values = [{"Value": "192.0.2.8"}]
    weights.change("CREATE", {**weights.record("mx1", 1), "SetIdentifier": "other", "ResourceRecords": values})
    asyncio.run(weights.driver().apply(nobody))
    assert weights.truth() == nobody


@pytest.mark.parametrize("both", [0, 1])
def test_one_failover_record_is_primary(failover: FailoverBench, both: int) -> None:
    """Two primaries or two secondaries are refused, and so is a change of one alone."""
    for wanted in ({"mx1": Intake(weight=both), "mx2": Intake(weight=both)}, {"mx1": Intake(weight=0)}):
        with pytest.raises(RejectedError, match="one must be PRIMARY"):
            asyncio.run(failover.driver().apply(wanted))
    assert failover.truth() == failover.start
    assert not failover.written


def test_another_routing_policy_is_unfit(weights: WeightsBench) -> None:
    """Records that are not weighted are no members of a weighted switch; the message says what there is."""
    with pytest.raises(UnfitError, match=r"mx1.*none with this routing policy"):
        asyncio.run(weights.driver(name="a.example.com").read())
    with pytest.raises(UnfitError, match=r"mx3.*there are it's `iad`, lon, ord"):
        asyncio.run(weights.driver(names={**NAMES, "mx3": "par"}).read())


def test_counts_the_records_that_are_no_members(weights: WeightsBench, failover: FailoverBench) -> None:
    """Other weighted records of the same name and type take their share too."""
    theirs = {**weights.record("mx1", 9), "SetIdentifier": "theirs"}
    assert asyncio.run(weights.driver().elsewhere()) == 0
    weights.change("CREATE", theirs)
    assert asyncio.run(weights.driver().elsewhere()) == 9
    assert asyncio.run(failover.driver().elsewhere()) == 0


def test_a_wildcard_is_found_however_it_is_written(weights: WeightsBench) -> None:
    """Route 53 lists an asterisk as a code; the inventory may write it as people do. A zone may be given as a path."""
    weights.change("CREATE", *(weights.record(name, 5, Name="*.example.com") for name in weights.start))
    driver = weights.driver(name="*.Example.com.", zone=f"/hostedzone/{weights.zone}")
    asyncio.run(driver.apply({"mx1": Intake(weight=6)}))
    for line in driver.by_hand({"mx2": 7}, {}):
        weights.obey(line)
    assert [one.intake.weight for one in asyncio.run(driver.read()).values()] == [6, 7, 5]
    assert weights.truth() == weights.start


def test_reads_all_pages(weights: WeightsBench) -> None:
    """A member that comes after the 300 record sets of the first page is found."""
    for start in (0, 150):
        more = [
            {**weights.record("mx1", 0), "SetIdentifier": f"b{i:03d}", "ResourceRecords": [{"Value": f"10.0.0.{i}"}]}
            for i in range(start, start + 150)
        ]
        weights.change("CREATE", *(one | {"ResourceRecords": [{"Value": "192.0.2.8"}]} for one in more))
    assert {name: one.intake for name, one in asyncio.run(weights.driver().read()).items()} == weights.start


@pytest.mark.parametrize(
    ("share", "inverted", "up"), [(0, False, True), (0.75, False, True), (1, False, False), (1, True, True)]
)
def test_up_is_what_the_health_check_says(weights: WeightsBench, share: float, inverted: bool, up: bool) -> None:
    """More than 18 % of the checkers must reach it; an inverted check says the opposite."""
    config = {"Type": "TCP", "IPAddress": "192.0.2.1", "Port": 25, "Inverted": inverted}
    check = weights.api.create_health_check(CallerReference="1", HealthCheckConfig=config)["HealthCheck"]["Id"]
    weights.change("UPSERT", weights.record("mx1", 100, HealthCheckId=check))
    weights.world.zones.set_unhealthy(check, share)
    readings = asyncio.run(weights.driver().read())
    assert (readings["mx1"].up, readings["mx2"].up) == (up, True)


def test_waits_for_the_servers_then_the_ttl_then_the_resolvers(weights: WeightsBench) -> None:
    """In this order, each in words: change pending, TTL left, a resolver that still answers with the old address."""
    resolver = Resolver(ADDRESSES["mx1"])
    driver = weights.driver(resolver.ask, resolvers=("192.0.2.53",))
    asyncio.run(driver.apply(weights.shifted))
    assert "has not yet told all its servers" in asyncio.run(driver.settling())
    weights.pass_time(31)
    assert asyncio.run(driver.settling()) == "resolvers may hold the old answer for 1m more"
    weights.pass_time(23)
    assert asyncio.run(driver.settling()) == "resolvers may hold the old answer for 37s more"
    weights.pass_time(37)
    assert asyncio.run(driver.settling()) == "resolver 192.0.2.53 still gives mx1"
    resolver.is_there = False
    assert "no word from resolver 192.0.2.53: cannot ask" in asyncio.run(driver.settling())
    resolver.is_there, resolver.answers = True, frozenset({ADDRESSES["mx2"]})
    assert asyncio.run(driver.settling()) == ""


def test_a_change_that_never_gets_in_sync_never_settles(weights: WeightsBench) -> None:
    """While Route 53 says PENDING, no time is enough."""
    weights.world.faults.inject("never-in-sync", "route53", "ChangeResourceRecordSets")
    driver = weights.driver()
    asyncio.run(driver.apply(weights.shifted))
    weights.pass_time(86_400)
    assert "has not yet told all its servers" in asyncio.run(driver.settling())


def test_a_driver_that_has_not_written_counts_from_its_first_question(weights: WeightsBench) -> None:
    """After a restart nobody knows the change, so a minute for the servers and the whole TTL are waited for, once."""
    driver = weights.driver()
    asyncio.run(driver.apply(weights.start))
    weights.pass_time(600)
    assert asyncio.run(driver.settling()) == "Route 53 may tell its servers for 1m more"
    weights.pass_time(60)
    assert asyncio.run(driver.settling()) == "resolvers may hold the old answer for 1m more"
    weights.pass_time(60)
    asyncio.run(driver.apply({}))
    assert asyncio.run(driver.settling()) == ""


def test_a_refused_write_forgets_no_change_under_way(weights: WeightsBench) -> None:
    """What was written before and is still pending is waited for all the same."""
    driver = weights.driver()
    asyncio.run(driver.apply(weights.shifted))
    with weights.failing("mx3"), pytest.raises(RejectedError):
        asyncio.run(driver.apply({"mx3": Intake(weight=1)}))
    assert "has not yet told all its servers" in asyncio.run(driver.settling())


def test_an_alias_has_the_ttl_of_its_target(weights: WeightsBench) -> None:
    """An alias to a record of the zone is held as long as that one; its target stays what it was."""
    values = [{"Value": "192.0.2.1"}]
    weights.change("CREATE", {"Name": "ord.example.com", "Type": "A", "TTL": 500, "ResourceRecords": values})
    record = weights.record("mx1", 100)
    target = {"HostedZoneId": weights.zone, "DNSName": "ord.example.com", "EvaluateTargetHealth": False}
    weights.change("DELETE", record)
    weights.change(
        "CREATE", {key: record[key] for key in ("Name", "Type", "SetIdentifier", "Weight")} | {"AliasTarget": target}
    )
    driver = weights.driver()
    asyncio.run(driver.apply(weights.shifted))
    weights.pass_time(30)
    assert asyncio.run(driver.settling()) == "resolvers may hold the old answer for 8m20s more"
    alias = next(one for one in weights.listed() if one.get("SetIdentifier") == NAMES["mx1"])
    assert alias["AliasTarget"]["DNSName"] == "ord.example.com."


def test_dns_carries_no_sessions(weights: WeightsBench) -> None:
    """A session cannot be closed, and it is said why."""
    with pytest.raises(UnfitError, match="DNS carries none"):
        asyncio.run(weights.driver().close(Session(id="1", client="192.0.2.7:1", member="mx1", age=1)))
