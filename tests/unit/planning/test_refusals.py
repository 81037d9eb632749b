"""A dangerous plan refuses itself, with numbers; an override names the one rule that it sets aside."""

from __future__ import annotations

import pytest

from orchestrator.errors import PlanRefusedError
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import PLAN_RULES
from orchestrator.planning import watched_guards

from ..engine.scene import StepText, back, manual
from .world import World, drain, inventory_of, plan_of, shift


def small(demand: object = None) -> Inventory:
    """Two sites that carry 150 sessions each."""
    return inventory_of({"ord": 1, "iad": 1}, demand=demand)


def busy(sessions: float = 80.5, inventory: Inventory | None = None) -> World:
    """A world of two sites with so many sessions on each of them."""
    return World(inventory or small(), sessions=round(sessions))


def headroom(at_least: float) -> StepText:
    """A guard of the capacity."""
    return {"headroom": {"pool": "smtp", "at_least": at_least}}


def serving(at_least: int) -> StepText:
    """A guard of the sites."""
    return {"serving": {"pool": "smtp", "at_least": at_least}}


def at_most(share: str) -> StepText:
    """A guard of the pace."""
    return {"blast_radius": {"pool": "smtp", "at_most": share}}


def refused(world: World, *steps: StepText, **more: object) -> PlanRefusedError:
    """How the plan of these steps refuses itself."""
    with pytest.raises(PlanRefusedError) as error:
        plan_of(world, *steps, **more)  # type: ignore[arg-type]
    return error.value


def reasons(error: PlanRefusedError) -> list[str]:
    """Each refusal: its rule, and what it says."""
    return [f"{one.rule}: {one.step}: {one.reason}" for one in error.refusals]


def test_too_little_headroom_at_a_waypoint() -> None:
    """The first waypoint at which the guard would break is refused, with the numbers behind it."""
    world = busy(57)
    error = refused(world, shift("shift", by=["50%", "100%"]), guards=[headroom(1.5)])
    assert reasons(error) == [
        "headroom: shift: at 100% headroom of smtp is 1.31, 1.5 wanted: 150 sessions serve, demand 114 sessions"
    ]


def test_demand_that_is_not_covered_needs_no_guard() -> None:
    """Without a guard the capacity that serves must still cover the demand."""
    error = refused(busy(80), shift("shift"))
    assert reasons(error) == [
        "headroom: shift: at 100% headroom of smtp is 0.93, 1 wanted: 150 sessions serve, demand 160 sessions"
    ]


def test_a_stated_demand_counts_too() -> None:
    """What the inventory states is what is asked for, whatever the switch carries."""
    world = World(small(demand="120 sessions"), sessions=0)
    assert reasons(refused(world, shift("shift"), guards=[headroom(1.3)])) == [
        "headroom: shift: at 100% headroom of smtp is 1.25, 1.3 wanted: 150 sessions serve, demand 120 sessions"
    ]


def test_where_nothing_is_asked_for_everything_is_enough() -> None:
    """A pool without demand has all the headroom that there is."""
    assert plan_of(World(small(), sessions=0), shift("shift"), guards=[headroom(9)]).steps[0].milestones


def test_headroom_that_cannot_be_known() -> None:
    """Capacity and demand in two units refuse a guarded plan; without a guard nothing is said."""
    world = World(small(demand="100/s"))
    assert reasons(refused(world, shift("shift"), guards=[headroom(1.3)])) == [
        (
            "headroom: : headroom of smtp cannot be known: "
            "capacity of ord is 150 sessions, demand is 100/s: state both in one unit"
        )
    ]
    assert plan_of(world, shift("shift")).steps[0].milestones[0].pools[0].headroom is None


def test_what_is_broken_already_refuses_where_a_guard_says_so() -> None:
    """A guard that is broken before the first step would undo the run at once; a step answers for its own."""
    world = busy(200)
    error = refused(world, shift("shift"), drain("drain"), back("back", "drain", "shift"), guards=[headroom(1)])
    assert reasons(error) == [
        "headroom: : now headroom of smtp is 0.75, 1 wanted: 300 sessions serve, demand 400 sessions",
        "headroom: shift: at 100% headroom of smtp is 0.37, 1 wanted: 150 sessions serve, demand 400 sessions",
    ]


def test_what_no_step_makes_worse_is_a_warning() -> None:
    """What is amiss before the first step, and guarded by nothing, does not refuse a plan that worsens nothing."""
    world = busy(200, inventory_of({"ord": 1, "iad": 1, "dfw": 1}))
    world.set("dfw1", weight=0, sessions=0)
    assert plan_of(world, shift("shift", "ord", "dfw")).warnings == (
        "now: headroom of smtp is 0.75, 1 wanted: 300 sessions serve, demand 400 sessions",
    )
    assert plan_of(world, manual("note", undo="cross it out")).warnings == ()


def three(sessions: int, iad: str = "40 sessions") -> World:
    """Three sites, of which the third has weight 1; the second carries ``iad``."""
    text = inventory_of({"ord": 1, "iad": 1, "dfw": 1}, capacity="40 sessions").model_dump(mode="json", by_alias=True)
    text["pools"]["smtp"]["sites"]["iad"]["capacity"] = iad
    world = World(Inventory.model_validate(text), sessions=0)
    world.set("ord1", sessions=sessions)
    world.set("dfw1", weight=1, sessions=0)
    return world


def test_one_site_may_be_overloaded_while_others_have_room() -> None:
    """A site that gets more than it carries is refused, whatever the sites beside it could carry."""
    assert reasons(refused(three(50), shift("shift"))) == [
        "headroom: shift: at 100% iad gets 99.5% of smtp's demand of 50 sessions and carries 40 sessions"
    ]
    assert plan_of(three(50, iad="50 sessions"), shift("shift")).warnings == ()
    assert plan_of(three(40), shift("shift")).warnings == ()


def test_members_that_do_not_serve_carry_nothing() -> None:
    """A site carries as much as its members that serve."""
    world = World(inventory_of({"ord": 2, "iad": 2, "dfw": 2}, capacity="40 sessions"), sessions=8)
    world.set("iad2", up=False, sessions=8)
    assert reasons(refused(world, shift("shift"))) == [
        "headroom: shift: at 100% iad gets 50% of smtp's demand of 48 sessions and carries 20 sessions"
    ]


def test_a_site_that_is_overloaded_already() -> None:
    """It is a warning as long as no step sends it more."""
    world = three(50)
    world.set("ord1", weight=20, sessions=50)
    world.set("iad1", weight=200, sessions=0)
    world.set("dfw1", weight=20, sessions=0)
    assert plan_of(world, shift("shift", "ord", "dfw")).warnings == (
        "now: iad gets 83.3% of smtp's demand of 50 sessions and carries 40 sessions",
    )


def test_the_worst_waypoint_speaks_for_its_step() -> None:
    """A step that breaks a rule at several waypoints is refused once, at the worst."""
    world = World(inventory_of({"ord": 1, "iad": 1, "dfw": 1}))
    found = refused(world, shift("shift", by=["40%", "50%", "100%"]), guards=[at_most("5%")])
    assert reasons(found) == ["blast-radius: shift: at 100% 16.7% of smtp's new traffic moves at once, 5% allowed"]


def test_the_last_site_that_serves() -> None:
    """A drain of the only site that serves is refused."""
    world = World(small())
    world.set("iad1", up=False)
    assert reasons(refused(world, drain("drain"))) == [
        "headroom: drain: headroom of smtp is 0.00, 1 wanted: 0 sessions serve, demand 20 sessions",
        "serving: drain: smtp serves from 0 of 2 sites, 1 wanted",
    ]


def test_fewer_sites_than_the_guard_asks() -> None:
    """A guard may ask for more sites than one."""
    world = World(inventory_of({"ord": 1, "iad": 1, "dfw": 1}))
    assert reasons(refused(world, drain("drain"), guards=[serving(3)])) == [
        "serving: drain: smtp serves from 2 of 3 sites (iad, dfw), 3 wanted"
    ]


def test_sites_are_counted_before_the_first_step() -> None:
    """A pool that a guard watches is judged as it is found, also where no step moves it."""
    world = World(small())
    world.set("iad1", admin="maint")
    step = manual("note", undo="cross it out")
    assert reasons(refused(world, step, guards=[serving(2)])) == [
        "serving: : now smtp serves from 1 of 2 sites (ord), 2 wanted"
    ]


def test_more_at_once_than_is_allowed() -> None:
    """Each waypoint may move so much of the pool's new traffic, on the way back too."""
    world = World(small())
    found = refused(world, shift("shift", by=["40%", "100%"]), back("back", "shift"), guards=[at_most("25%")])
    assert reasons(found) == [
        "blast-radius: shift: at 100% 30% of smtp's new traffic moves at once, 25% allowed",
        "blast-radius: back.shift: at 100% 30% of smtp's new traffic moves at once, 25% allowed",
    ]


def test_rounded_weights_are_no_haste() -> None:
    """Weights are whole numbers: what they round a waypoint by is not held against it."""
    world = World(small())
    world.set("ord1", weight=101)
    assert plan_of(world, shift("shift", by=["49.9%", "100%"]), guards=[at_most("25%")]).steps[0].milestones


def test_the_strictest_guard_counts() -> None:
    """Of several guards of one pool the strictest is kept."""
    found = refused(World(small()), shift("shift"), guards=[at_most("50%"), at_most("10%"), at_most("90%")])
    assert [one.reason for one in found.refusals] == ["at 100% 50% of smtp's new traffic moves at once, 10% allowed"]


def test_a_plan_b_is_judged_too() -> None:
    """What would be done instead of an undo must not be dangerous either."""
    world = World(small())
    world.set("iad1", up=False)
    found = refused(world, manual("reboot", plan_b=[drain("empty")]))
    assert {(one.rule, one.step) for one in found.refusals} == {("headroom", "empty"), ("serving", "empty")}


def test_another_run_on_the_same_pool() -> None:
    """Who else works on the pool is told as it is given, one refusal each."""
    lines = ["run a works on pool smtp — failover undo a", "run b works on pool smtp — failover undo b"]
    assert reasons(refused(World(small()), shift("shift"), in_use=lines)) == [f"in-use: : {line}" for line in lines]


def test_a_refusal_says_how_to_override_it() -> None:
    """The text has each reason with its rule, and how each rule is set aside."""
    error = refused(busy(80), shift("shift"), guards=[at_most("25%")])
    assert str(error).splitlines() == [
        (
            "shift: at 100% headroom of smtp is 0.93, 1 wanted: 150 sessions serve, demand 160 sessions "
            "— move less, add capacity, or wait until less is asked for [headroom]"
        ),
        (
            "shift: at 100% 50% of smtp's new traffic moves at once, 25% allowed — go there by more waypoints "
            "[blast-radius]"
        ),
        'to set a rule aside: --override headroom="why it is right" --override blast-radius="why it is right"',
    ]


def test_an_override_sets_one_rule_aside() -> None:
    """What is overridden does not refuse; every other rule still does."""
    guards = [at_most("25%")]
    error = refused(busy(80), shift("shift"), guards=guards, overrides={"headroom": "it is night"})
    assert [one.rule for one in error.refusals] == ["blast-radius"]
    both = {"headroom": "it is night", "blast-radius": "all of it is ours"}
    plan = plan_of(busy(80), shift("shift"), guards=guards, overrides=both)  # type: ignore[arg-type]
    assert plan.overrides == both


def test_an_override_must_be_needed_and_explained() -> None:
    """One that the plan does not need, or that gives no reason, is a mistake that nothing sets aside."""
    error = refused(busy(80), shift("shift"), overrides={"headroom": " ", "serving": "why not"})
    assert error.problems == (
        "cannot override serving: the plan does not break it — leave --override serving out",
        'cannot override headroom: no reason is given — write --override headroom="why it is right"',
    )


def test_an_overridden_guard_is_watched_at_what_was_foreseen() -> None:
    """A guard as stated would undo the run at once; a tenth below what was set aside it stands, and others stay."""
    guards = [headroom(1.3), serving(1), at_most("90%"), {"check": "mail"}]
    checks = {"mail": {"probe": "smtp", "at": {"pool": "smtp"}, "over": "10s", "expect": {"success_rate": ">= 90%"}}}
    plan = plan_of(busy(80), shift("shift"), guards=guards, checks=checks, overrides={"headroom": "it is night"})
    assert [f"{one.rule} {one.step} {one.pool}" for one in plan.set_aside] == ["headroom shift smtp"]
    first, *others = watched_guards(plan)
    assert first.model_dump() == headroom(0.84)  # 150 / 160 * 0.9
    assert tuple(others) == plan.runbook.guards[1:]


def test_guards_of_other_pools_stay() -> None:
    """An override sets aside what the plan breaks, and leaves pools that break nothing guarded as they are."""
    world = World(inventory_of({"ord": 1, "iad": 1}, pools=("smtp", "relay")), sessions=10)
    world.set("iad1", sessions=180)
    guards = [headroom(1.3), {"headroom": {"pool": "relay", "at_least": 1.3}}]
    plan = plan_of(world, shift("shift"), shift("r", pool="relay"), guards=guards, overrides={"headroom": "why"})
    assert watched_guards(plan)[1] == plan.runbook.guards[1]
    assert watched_guards(plan)[0] != plan.runbook.guards[0]


def test_a_site_that_is_overloaded_on_purpose_leaves_the_guard_of_the_pool() -> None:
    """Where only one site's load is set aside all sites together are watched as the guard says."""
    plan = plan_of(three(50), shift("shift"), guards=[headroom(1.3)], overrides={"headroom": "iad grows"})
    assert watched_guards(plan) == plan.runbook.guards


def test_a_guard_of_what_will_not_be_is_dropped() -> None:
    """Where no site is foreseen to serve there is nothing left to watch; fewer sites are watched as foreseen."""
    world = World(inventory_of({"ord": 1, "iad": 1, "dfw": 1}))
    why = {"serving": "planned outage", "headroom": "planned outage"}
    fewer = plan_of(world, drain("drain"), guards=[serving(3)], overrides={"serving": "one is enough"})
    assert [one.model_dump() for one in watched_guards(fewer)] == [serving(2)]
    dark = [drain("drain"), drain("more", "iad"), drain("all", "dfw")]
    none = plan_of(world, *dark, guards=[serving(3), headroom(1)], overrides=why)  # type: ignore[arg-type]
    assert watched_guards(none) == ()


def test_what_cannot_be_undone_needs_a_plan_b() -> None:
    """A step without a way back and without a plan B is refused by its name, and no rule sets that aside."""
    error = refused(World(small()), manual("reboot"))
    assert error.problems == ("cannot plan step reboot: it cannot be undone — say in its plan_b what to do instead",)
    assert plan_of(World(small()), manual("reboot", plan_b=[manual("call")])).point_of_no_return == "reboot"


def test_nothing_is_foreseen_behind_a_problem() -> None:
    """Steps behind one that cannot be done are asked for problems, and not held against a world that will not be."""
    world = World(inventory_of({"ord": 1, "iad": 1, "dfw": 1}, capacity="20 sessions"))
    world.set("iad1", admin="maint")
    error = refused(world, shift("shift"), drain("drain"), shift("other", "dfw", "iad"))
    assert [line.split(":")[0] for line in error.problems] == ["cannot shift to iad"]
    assert not error.refusals


def test_every_rule_has_its_words() -> None:
    """Each rule can be broken, and is explained."""
    assert set(PLAN_RULES) == {"blast-radius", "headroom", "in-use", "serving"}
