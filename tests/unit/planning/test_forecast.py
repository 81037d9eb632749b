"""What a plan foresees: each step sees the world as the steps before it leave it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.actions.action import Effect
from orchestrator.errors import UnfitError
from orchestrator.model.plan import Plan, PlannedStep, PoolForecast
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session
from orchestrator.planning.forecast import ForecastOutside
from orchestrator.planning.snapshot import observe
from orchestrator.planning.standing import Surveyor

from ..engine.scene import back, hold, manual, verify
from ..fakes.clock import LoopClock, run
from .world import INVENTORY, World, drain, inventory_of, plan_of, runbook_of, shift

OUT_AND_BACK = (
    shift("shift", by=["50%", "100%"]),
    drain("drain"),
    hold("window"),
    back("back", "drain", "shift"),
)


def step(plan: Plan, name: str) -> PlannedStep:
    """The planned step called so."""
    return next(one for one in plan.steps if one.id == name)


def forecasts(planned: PlannedStep) -> list[PoolForecast]:
    """How its pool stands at each milestone."""
    return [pool for milestone in planned.milestones for pool in milestone.pools]


def test_a_step_finds_what_the_one_before_left() -> None:
    """The drain behind a shift finds no share left; the return finds both done, and undoes them."""
    plan = plan_of(World(inventory_of({"ord": 1, "iad": 1})), *OUT_AND_BACK)
    assert {one.id: one.diff for one in plan.steps} == {
        "shift": (
            "ord1: weight 100 → weight 0",
            "iad1: weight 100 → weight 200",
            "share of new traffic: ord 50% → 0%, iad 50% → 100%",
        ),
        "drain": ("ord1: ready → drain", "ord1 gate: open → closed", "sessions: 10 → 0"),
        "window": ("wait for an approval",),
        "back.drain": ("ord1: drain → ready", "ord1 gate: closed → open"),
        "back.shift": (
            "ord1: weight 0 → weight 100",
            "iad1: weight 200 → weight 100",
            "share of new traffic: ord 0% → 50%, iad 100% → 50%",
        ),
    }


def test_a_second_shift_starts_where_the_first_ends() -> None:
    """Of two shifts in a row the second moves what the first has brought."""
    plan = plan_of(World(inventory_of({"ord": 1, "iad": 1, "dfw": 1})), shift("one"), shift("two", "iad", "dfw"))
    assert step(plan, "two").diff == (
        "iad1: weight 200 → weight 0",
        "dfw1: weight 100 → weight 256",
        "share of new traffic: iad 66.667% → 0%, dfw 33.333% → 100%",
    )


def test_what_is_no_member_keeps_its_share() -> None:
    """The plan foresees the weights that the run will set: beside a stranger the sum stays as it is."""
    world = World(inventory_of({"ord": 1, "iad": 1}))
    world.elsewhere = 100
    assert step(plan_of(world, shift("shift")), "shift").diff == (
        "ord1: weight 100 → weight 0",
        "iad1: weight 100 → weight 200",
        "share of new traffic: ord 33.333% → 0%, iad 33.333% → 66.667%",
    )


def test_a_site_carries_as_much_as_is_healthy() -> None:
    """Of a member of which a quarter is healthy, a quarter of its part of the capacity is counted on."""
    readings = dict(run(World(INVENTORY).switch("smtp").read()))
    pool = INVENTORY.pools["smtp"]
    whole = Surveyor("smtp", pool, readings).stands(readings).carries["iad"]
    for name in pool.members("iad"):
        readings[name] = readings[name].model_copy(update={"healthy": 0.25})
    assert Surveyor("smtp", pool, readings).stands(readings).carries["iad"] == whole / 4


def test_what_is_done_twice_is_foreseen_as_nothing() -> None:
    """A second drain of a site finds it drained, with no session; a second shift finds nothing to move."""
    plan = plan_of(World(INVENTORY), shift("s1"), drain("d1"), shift("s2"), drain("d2"))
    assert [(one.id, one.diff, one.milestones, one.expected) for one in plan.steps[2:]] == [
        ("s2", (), (), 0.0),
        ("d2", (), (), 0.0),
    ]


def test_the_order_of_needs_counts_not_that_of_the_file() -> None:
    """A step that stands above what it needs is foreseen behind it; the plan keeps the file's order."""
    steps = (drain("drain", needs=["shift"]), shift("shift", needs=[]))
    plan = plan_of(World(INVENTORY), *steps)
    assert [one.id for one in plan.steps] == ["drain", "shift"]
    assert forecasts(step(plan, "drain"))[0].moved == 0.0


def test_each_waypoint_has_its_milestone() -> None:
    """A milestone says which share of new traffic each site takes, how much has moved, who serves and the headroom."""
    world = World(inventory_of({"ord": 1, "iad": 1}, capacity="15 sessions"))
    plan = plan_of(world, shift("shift", by=["50%", "100%"]), overrides={"headroom": "it is night"})
    shifted = step(plan, "shift")
    assert [milestone.label for milestone in shifted.milestones] == ["50%", "100%"]
    assert forecasts(shifted) == [
        PoolForecast(pool="smtp", shares={"ord": 0.25, "iad": 0.75}, moved=0.25, serving=("ord", "iad"), headroom=1.5),
        PoolForecast(pool="smtp", shares={"ord": 0.0, "iad": 1.0}, moved=0.25, serving=("iad",), headroom=0.75),
    ]


def test_a_return_is_foreseen_at_the_pace_of_the_way_out() -> None:
    """The way back of a shift has the shift's own waypoints."""
    plan = plan_of(World(INVENTORY), *OUT_AND_BACK)
    assert [milestone.label for milestone in step(plan, "back.shift").milestones] == ["50%", "100%"]


def test_draining_is_no_falling_demand() -> None:
    """Sessions that a drain takes away come back elsewhere: the headroom is that of the demand of today."""
    world = World(inventory_of({"ord": 1, "iad": 1}, capacity="30 sessions"), sessions=10)
    plan = plan_of(world, shift("shift"), drain("drain"))
    assert [pool.headroom for one in plan.steps for pool in forecasts(one)] == [1.5, 1.5]


def test_members_that_are_down_have_no_share() -> None:
    """Shares count members that are up, ready and have a weight."""
    world = World(INVENTORY)
    world.set("iad2", up=False)
    plan = plan_of(world, shift("shift", "dfw", "ord"))
    assert forecasts(step(plan, "shift"))[0].shares == {"ord": 0.75, "iad": 0.25, "dfw": 0.0}


def test_sessions_are_counted_where_a_step_empties_members() -> None:
    """A drain says how many sessions it has to move, by today's count; other steps say nothing."""
    world = World(INVENTORY)
    world.set("ord1", sessions=23)
    plan = plan_of(world, *OUT_AND_BACK)
    assert {one.id: one.sessions for one in plan.steps} == {
        "shift": None,
        "drain": 33,
        "window": None,
        "back.drain": None,
        "back.shift": None,
    }


def test_a_drain_that_somebody_left_half_way() -> None:
    """Sessions behind a gate that was closed before are still to be moved: only a drain of ours has emptied it."""
    world = World(inventory_of({"ord": 1, "iad": 1}))
    world.set("ord1", admin="drain", sessions=5)
    world.gates["ord1"] = world.gates["ord1"].model_copy(update={"closed": True})
    assert plan_of(world, drain("drain")).steps[0].diff == ("sessions: 5 → 0",)


def test_a_plan_b_is_foreseen_and_forgotten() -> None:
    """A plan B starts from where its step leaves the world, and the way goes on as if it were not there."""
    reboot = manual("reboot", plan_b=[shift("away"), drain("empty")])
    plan = plan_of(World(INVENTORY), reboot, shift("after"))
    away, after = step(plan, "away"), step(plan, "after")
    assert (away.instead_of, away.diff) == ("reboot", after.diff)
    assert away.diff
    assert step(plan, "empty").diff[0] == "ord1: ready → drain"
    assert plan.point_of_no_return == "reboot"


def test_what_an_undo_does() -> None:
    """What changes something says how it is taken back; a wait and a return leave nothing to take back."""
    steps = (
        verify("look", "path"),
        *OUT_AND_BACK,
        manual("note", undo="cross it out"),
        manual("reboot", plan_b=[shift("away"), hold("ask")]),
    )
    checks = {"path": {"probe": "smtp", "at": {"pool": "smtp"}, "over": "10s", "expect": {"success_rate": ">= 99%"}}}
    plan = plan_of(World(inventory_of({"ord": 1, "iad": 1})), *steps, checks=checks)
    assert {one.id: one.undo for one in plan.forward if one.undo} == {
        "shift": (
            "ord1: weight 0 → weight 100",
            "iad1: weight 200 → weight 100",
            "share of new traffic: ord 0% → 50%, iad 100% → 50%",
        ),
        "drain": ("ord1: drain → ready", "ord1 gate: closed → open"),
        "note": ("a person: cross it out",),
        "reboot": ("plan B: away, ask",),
    }
    assert step(plan, "look").diff == ("check path",)


def test_the_same_world_gives_the_same_plan() -> None:
    """A plan is named by its content: once and again the same checksum, in another world another one."""
    changed = World(INVENTORY)
    changed.set("dfw1", weight=99)
    once, again, other = (plan_of(one, *OUT_AND_BACK) for one in (World(INVENTORY), World(INVENTORY), changed))
    assert once.checksum == again.checksum != other.checksum


def test_a_plan_survives_the_journal() -> None:
    """A plan read back from its JSON is the same plan."""
    plan = plan_of(World(INVENTORY), *OUT_AND_BACK, manual("reboot", plan_b=[shift("away")]))
    again = Plan.model_validate_json(plan.model_dump_json(by_alias=True))
    assert (again, again.checksum) == (plan, plan.checksum)


@pytest.mark.alone
def test_a_thousand_steps_are_planned_soon() -> None:
    """The time to plan grows with the steps, not with their square: a thousand take a few seconds at most."""
    steps = [
        one
        for number in range(250)
        for one in (
            shift(f"out{number}", by=["50%", "100%"]),
            drain(f"drain{number}"),
            back(f"back{number}", f"drain{number}", f"out{number}"),
        )
    ]
    began = time.process_time()
    plan = plan_of(World(inventory_of({"ord": 10, "iad": 10, "dfw": 10}), sessions=1), *steps)
    assert len(plan.steps) == 1000
    assert time.process_time() - began < 5


def test_no_mail_flows_in_a_forecast() -> None:
    """What would send or await mail over a forecast says so."""
    world = World(INVENTORY)
    outside = ForecastOutside(run(observe(runbook_of(shift("shift")), world, LoopClock())), world)
    with pytest.raises(UnfitError):
        outside.mail_client()
    with pytest.raises(UnfitError):
        outside.inbox("smtp")


def test_what_is_written_to_a_forecast_stays_in_it() -> None:
    """Its ports take writes and show them; the world behind is asked for a queue at most."""

    async def story() -> tuple[object, ...]:
        outside = ForecastOutside(await observe(runbook_of(drain("drain")), world, LoopClock()), world)
        switch, gate, queue = outside.switch("smtp"), outside.gate("ord1"), outside.queue("ord1")
        before = await switch.sessions(["ord1"])
        await switch.apply({"ord1": Intake(weight=7, admin="drain"), "nobody": Intake(weight=1)})
        await gate.set_closed(True)
        await queue.flush()
        await switch.close(before[0])
        readings = await switch.read()
        after = await switch.sessions(["ord1"])
        return len(before), readings["ord1"], len(after), (await gate.look()).closed, (await queue.depth()).moving

    world = World(INVENTORY)
    world.listed = [Session(id="0x1", client="192.0.2.7:1", member="ord1", age=6)]
    emptied = MemberReading(intake=Intake(weight=7, admin="drain"), up=True, sessions=0)
    assert run(story()) == (1, emptied, 0, True, 0)
    assert {call.split()[0] for call in world.calls} == {"read", "sessions", "depth"}


ADMINS: Sequence[Admin] = ("ready", "drain", "maint")
MEMBERS = ("ord1", "ord2", "iad1", "iad2", "dfw1")
intakes = st.builds(Intake, weight=st.integers(0, 256), admin=st.sampled_from(ADMINS))
readings_ = st.builds(MemberReading, intake=intakes, up=st.booleans(), sessions=st.integers(0, 300))
effects = st.builds(
    Effect,
    pool=st.just("smtp"),
    weights=st.dictionaries(st.sampled_from(MEMBERS), st.integers(0, 256)),
    admins=st.dictionaries(st.sampled_from(MEMBERS), st.sampled_from(ADMINS)),
    gates=st.dictionaries(st.sampled_from(("ord1", "ord2")), st.booleans()),
)


def forecast_of(readings: Sequence[MemberReading]) -> ForecastOutside:
    """A forecast that begins with these members."""
    world = World(INVENTORY)
    world.readings["smtp"] = dict(zip(MEMBERS, readings, strict=True))
    return ForecastOutside(run(observe(runbook_of(drain("drain")), world, LoopClock())), world)


five = st.lists(readings_, min_size=5, max_size=5)


@settings(max_examples=60)
@given(five, st.lists(effects, max_size=5))
def test_shares_are_of_one_whole(readings: Sequence[MemberReading], found: Sequence[Effect]) -> None:
    """Whatever is foreseen, the sites' shares sum to 1, or to 0 where nobody serves; and no more than all moves."""
    forecast = forecast_of(readings)
    surveyor = Surveyor("smtp", INVENTORY.pools["smtp"], forecast.readings("smtp"))
    before = surveyor.stands(forecast.readings("smtp"))
    for effect in found:
        forecast.foresee(effect)
        after = surveyor.stands(forecast.readings("smtp"))
        total = sum(after.shares.values())
        assert total == pytest.approx(1.0 if after.serving else 0.0)
        assert 0 <= after.moved_from(before) <= 1 + 1e-9
        assert after.moved_from(before) == pytest.approx(before.moved_from(after))
        before = after


@settings(max_examples=60)
@given(five, st.lists(effects, max_size=5))
def test_what_is_foreseen_aside_is_forgotten(readings: Sequence[MemberReading], found: Sequence[Effect]) -> None:
    """After a look aside the forecast is as it was before."""
    forecast = forecast_of(readings)
    before = forecast.readings("smtp")
    with forecast.aside():
        for effect in found:
            forecast.foresee(effect)
    assert forecast.readings("smtp") == before


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(50, 80), min_size=5, max_size=5), st.sampled_from(["ord", "dfw"]))
def test_out_and_back_ends_as_it_began(weights: Sequence[int], site: str) -> None:
    """A shift, a drain and their return end with every weight, admin state and share as they were."""
    world = World(INVENTORY)
    for member, weight in zip(MEMBERS, weights, strict=True):
        world.set(member, weight=weight)
    plan = plan_of(
        world,
        shift("shift", site, "iad"),
        drain("drain", site),
        back("back", "drain", "shift"),
        shift("again", site, "iad"),
        drain("again-drain", site),
    )
    once, again = (step(plan, name) for name in ("shift", "again"))
    assert (again.observed, again.diff, again.milestones) == (once.observed, once.diff, once.milestones)
    assert step(plan, "again-drain").observed == step(plan, "drain").observed
