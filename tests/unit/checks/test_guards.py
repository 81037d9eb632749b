"""Guards: capacity that serves, sites that serve, and checks that hold, all through a run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.checks.gate import Gatekeeper
from orchestrator.checks.guards import GuardKeeper, WatchedGuard, balance, name_of, serves
from orchestrator.errors import Stop
from orchestrator.model.check import (
    BlastRadius,
    BlastRadiusGuard,
    Check,
    CheckGuard,
    Guard,
    Headroom,
    HeadroomGuard,
    Judgement,
    Serving,
    ServingGuard,
    Verdict,
)
from orchestrator.model.inventory import Inventory, Pool
from orchestrator.model.traffic import MemberReading
from orchestrator.model.units import Quantity

from .world import (
    INVENTORY,
    FakeMail,
    FakeOutside,
    FakeSwitch,
    LoopClock,
    accepted,
    reading,
    refused,
    run,
    sessions_check,
    smtp_check,
)

PASS, FAIL, UNKNOWN = Judgement.PASS, Judgement.FAIL, Judgement.UNKNOWN
POOL = INVENTORY.pools["smtp"]
HEADROOM = HeadroomGuard(headroom=Headroom(pool="smtp", at_least=1.3))
SERVING = ServingGuard(serving=Serving(pool="smtp", at_least=1))
FLOWS = CheckGuard(check="mail-flows")
CHECKS: dict[str, Check] = {"mail-flows": smtp_check(expect={"success_rate": ">= 99.9%"}, over="2s")}


def members(**changes: MemberReading) -> dict[str, MemberReading]:
    """Four members with 20 sessions each, changed as said."""
    return {**{name: reading(sessions=20) for name in ("mx1", "mx2", "mx3", "mx4")}, **changes}


def examined(guard: WatchedGuard, outside: FakeOutside, checks: Mapping[str, Check] = CHECKS) -> Verdict:
    """What one look at a guard finds."""
    keeper = GuardKeeper([guard], Gatekeeper(checks, outside, LoopClock()), outside, LoopClock())
    return run(keeper.examine(guard))


def with_readings(readings: dict[str, MemberReading] | None, inventory: Inventory = INVENTORY) -> FakeOutside:
    """A world whose switch always answers the same; None is no answer."""
    return FakeOutside(switch=FakeSwitch(lambda at: readings), inventory=inventory)


def with_demand(demand: Quantity) -> Inventory:
    """The inventory with a stated demand."""
    pool = POOL.model_copy(update={"demand": demand})
    return INVENTORY.model_copy(update={"pools": {"smtp": pool}})


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (reading(), True),
        (reading(1), True),
        (reading(0), False),
        (reading(100, "drain"), False),
        (reading(100, "maint"), False),
        (reading(up=False), False),
        (None, False),
    ],
)
def test_a_member_serves_when_it_is_up_ready_and_weighted(member: MemberReading | None, expected: bool) -> None:
    """Anything less takes no new traffic; a member that the switch does not know serves nobody."""
    assert serves(member) is expected


def test_headroom_is_capacity_that_serves_over_demand() -> None:
    """200 sessions of capacity against 80 carried; half of a site is half of its capacity."""
    whole = examined(HEADROOM, with_readings(members()))
    assert whole.passed
    assert whole.reason == "headroom 2.50 (expected >= 1.3): 200 sessions serve, demand 80 sessions"
    assert whole.metrics == {"headroom": 2.5, "capacity": 200.0, "demand": 80.0}
    three = examined(HEADROOM, with_readings(members(mx1=reading(up=False, sessions=20))))
    assert three.metrics["capacity"] == 150


def test_headroom_that_gets_too_small_fails() -> None:
    """With one site drained, its sessions still count as demand."""
    drained = members(mx1=reading(100, "drain", sessions=20), mx2=reading(0, sessions=20))
    verdict = examined(HEADROOM, with_readings(drained))
    assert verdict.judgement is FAIL
    assert verdict.reason == "headroom 1.25 (expected >= 1.3): 100 sessions serve, demand 80 sessions"


def test_a_member_that_is_half_healthy_carries_half() -> None:
    """A target group with one healthy target of two is up, and stands for half of its part of the capacity."""
    half = reading(sessions=20).model_copy(update={"healthy": 0.5})
    verdict = examined(HEADROOM, with_readings(members(mx1=half, mx2=half)))
    assert verdict.metrics["capacity"] == 150
    assert examined(SERVING, with_readings(members(mx1=half, mx2=half))).metrics["sites"] == 2


def test_no_demand_is_covered_by_any_capacity() -> None:
    """Nothing to serve breaks no guard."""
    idle = {name: reading() for name in members()}
    assert examined(HEADROOM, with_readings(idle)).reason == "200 sessions serve, nothing is asked for"
    assert examined(HEADROOM, with_readings(idle)).passed


def test_units_must_match() -> None:
    """Sessions against messages a second is no ratio, so it is unknown."""
    verdict = examined(HEADROOM, with_readings(members(), with_demand(Quantity(amount=400, unit="/s"))))
    assert verdict.judgement is UNKNOWN
    assert "state both in one unit" in verdict.reason


@given(
    st.lists(st.sampled_from([reading(), reading(0), reading(up=False), reading(9, "drain")]), min_size=4, max_size=4)
)
def test_capacity_never_exceeds_what_the_sites_state(states: list[MemberReading]) -> None:
    """Each of the four members stands for a quarter of the pool's capacity, if it serves."""
    readings = dict(zip(("mx1", "mx2", "mx3", "mx4"), states, strict=True))
    assert balance(POOL, readings).capacity.amount == pytest.approx(50 * sum(map(serves, states)))


def test_serving_counts_sites_with_a_member_that_serves() -> None:
    """One good member makes a site serve; none at any site is a breach."""
    one = members(mx1=reading(0), mx2=reading(up=False), mx3=reading(0, "drain"))
    assert examined(SERVING, with_readings(one)).reason == "1 of 2 sites serve (expected >= 1): iad"
    assert examined(SERVING, with_readings(one)).passed
    none = examined(SERVING, with_readings({name: reading(0) for name in members()}))
    assert (none.judgement, none.reason) == (FAIL, "0 of 2 sites serve (expected >= 1): none")


@pytest.mark.parametrize("guard", [HEADROOM, SERVING])
def test_a_switch_that_cannot_be_read_is_unknown(guard: WatchedGuard) -> None:
    """Blindness is neither good nor bad."""
    assert examined(guard, with_readings(None)).judgement is UNKNOWN


def test_guards_have_names_for_people() -> None:
    """A check guard is called as its check."""
    assert [name_of(guard) for guard in (FLOWS, HEADROOM, SERVING)] == [
        "mail-flows",
        "headroom smtp >= 1.3",
        "serving smtp >= 1 site",
    ]


def test_a_check_guard_probes_lightly_and_still_long_enough() -> None:
    """At most 5 transactions a second, and a window that has samples enough to pass."""
    mail = FakeMail()
    verdict = examined(FLOWS, FakeOutside(mail))
    assert verdict.passed
    assert verdict.check == "mail-flows"
    assert len(mail.attempts) <= 5 * 10 + 4


def watched(
    outside: FakeOutside, seconds: float, *guards: Guard, checks: Mapping[str, Check] = CHECKS
) -> list[Verdict]:
    """The breaches of some time on watch."""
    breaches: list[Verdict] = []

    async def work() -> None:
        keeper = GuardKeeper(guards, Gatekeeper(checks, outside, LoopClock()), outside, LoopClock())
        task = asyncio.create_task(keeper.watch(breaches.append))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(work())
    return breaches


def test_a_world_that_is_well_has_no_breach_and_little_load() -> None:
    """An hour on watch: no breach, and never more than 5 transactions a second."""
    mail = FakeMail()
    assert watched(FakeOutside(mail), 3600, FLOWS, HEADROOM, SERVING) == []
    assert len(mail.attempts) <= 3600 * 5


def test_a_breach_of_capacity_is_told_while_a_check_is_still_measuring() -> None:
    """Guards are watched side by side: the look at the switch does not wait for the window of a check."""
    switch = FakeSwitch(lambda at: members() if at < 3 else {name: reading(0) for name in members()})
    breaches = watched(FakeOutside(switch=switch), 5, FLOWS, SERVING)
    assert {breach.check for breach in breaches} == {"serving smtp >= 1 site"}


def test_mail_that_stops_flowing_is_told_within_seconds() -> None:
    """A check guard that cannot pass any more does not wait for the end of its window."""
    dead_from = 100
    mail = FakeMail(lambda number, attempt: refused() if number >= dead_from else accepted())
    breaches = watched(FakeOutside(mail), 32, FLOWS)
    died = mail.begun_at[dead_from]
    assert breaches
    assert died < 25
    assert breaches[0].judgement is FAIL


def test_one_unknown_is_no_breach_two_in_a_row_are() -> None:
    """A switch that misses one look is forgiven; one that misses two is not."""
    once = FakeSwitch(lambda at: None if 4.5 < at < 5.5 else members())
    assert watched(FakeOutside(switch=once), 20, HEADROOM) == []
    twice = FakeSwitch(lambda at: None if 4.5 < at < 6.5 else members())
    assert [breach.judgement for breach in watched(FakeOutside(switch=twice), 20, HEADROOM)] == [UNKNOWN]


@pytest.mark.parametrize(
    ("switch", "most"),
    [
        ({"driver": "haproxy", "socket": "s", "backend": "smtp"}, 61),
        ({"driver": "route53-weights", "zone": "Z1", "name": "mx.example.com"}, 13),
    ],
)
def test_all_guards_of_a_pool_share_each_look(switch: dict[str, str], most: int) -> None:
    """Two guards look no more often than one: once a second, and where the API takes few requests every 5 s."""
    looks: list[float] = []

    def look(at: float) -> Mapping[str, MemberReading]:
        looks.append(at)
        return members()

    pool = Pool.model_validate({**POOL.model_dump(by_alias=True), "switch": switch})
    inventory = INVENTORY.model_copy(update={"pools": {"smtp": pool}})
    assert watched(FakeOutside(switch=FakeSwitch(look), inventory=inventory), 60.5, HEADROOM, SERVING) == []
    assert len(looks) == most


def test_each_guard_counts_for_itself_how_long_it_is_blind() -> None:
    """Two looks without an answer are told for every guard of the pool, and no look counts twice for one."""
    blind = FakeSwitch(lambda at: None if 4.5 < at < 5.5 else members())
    assert watched(FakeOutside(switch=blind), 20, HEADROOM, SERVING) == []
    gone = FakeSwitch(lambda at: None if 4.5 < at < 6.5 else members())
    breaches = watched(FakeOutside(switch=gone), 20, HEADROOM, SERVING)
    assert [breach.check for breach in breaches] == ["headroom smtp >= 1.3", "serving smtp >= 1 site"]


def test_what_the_listener_raises_ends_the_watch() -> None:
    """A breach that stops the run stops the watch with the same words, not wrapped in anything."""
    outside = with_readings({name: reading(0) for name in members()})

    def stop(verdict: Verdict) -> None:
        raise Stop(verdict.reason)

    keeper = GuardKeeper([SERVING, HEADROOM], Gatekeeper({}, outside, LoopClock()), outside, LoopClock())
    with pytest.raises(Stop, match="0 of 2 sites serve"):
        run(keeper.watch(stop))


def test_a_count_can_be_a_guard_too() -> None:
    """Any check of the runbook can be watched."""
    quiet: dict[str, Check] = {"mail-flows": sessions_check(expect={"sessions": "<= 50"})}
    assert watched(FakeOutside(switch=FakeSwitch(lambda at: members())), 60, FLOWS, checks=quiet) == []
    loud = members(mx1=reading(sessions=60))
    assert watched(FakeOutside(switch=FakeSwitch(lambda at: loud)), 60, FLOWS, checks=quiet)


def test_the_pace_is_the_plan_s_to_keep() -> None:
    """A blast radius is no state that could break: in a run nobody asks the switch for it."""
    guard = BlastRadiusGuard(blast_radius=BlastRadius(pool="smtp", at_most=0.25))
    assert name_of(guard) == "blast_radius smtp <= 25%"
    assert watched(FakeOutside(FakeMail()), 10.0, guard, SERVING) == []
