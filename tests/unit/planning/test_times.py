"""How long steps take, and how long the way back is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.model.check import Check
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import Runbook
from orchestrator.model.traffic import GateReading
from orchestrator.planning import back_from, critical_path
from orchestrator.planning.times import check_times, paced_undo_takes, undo_overdue_after

from ..engine.scene import StepText, back, hold, manual, verify
from ..fakes.clock import EPOCH
from ..fakes.elsewhere import pool_behind
from .world import INVENTORY, World, drain, plan_of, shift

CHECKS = {
    "mail": {"probe": "smtp", "at": {"pool": "smtp"}, "over": "10s", "expect": {"success_rate": ">= 99%"}},
    "silent": {"probe": "sessions", "at": {"pool": "smtp"}, "for": "3s", "expect": {"sessions": "== 0"}},
}


def planned(*steps: StepText, world: World | None = None) -> Plan:
    """The plan of these steps, with two checks to use."""
    return plan_of(world or World(INVENTORY), *steps, checks=CHECKS)


def times(*steps: StepText, world: World | None = None) -> dict[str, tuple[float | None, float | None]]:
    """What each step takes: expected, and at most."""
    return {one.id: (one.expected, one.at_most) for one in planned(*steps, world=world).steps}


def behind(driver: str, **settings: object) -> World:
    """Two sites of one member behind that kind of switch."""
    pool = pool_behind(driver, {"ord": ["mx1"], "iad": ["mx2"]})
    pool = pool.model_copy(update={"switch": pool.switch.model_copy(update=settings)})
    world = World(Inventory.model_validate({"sites": {"ord": {}, "iad": {}}, "pools": {"smtp": pool.model_dump()}}))
    for member in ("mx1", "mx2"):
        world.set(member, weight=min(100, pool.switch.max_weight))
    return world


def take_out(deadline: str | None = "10m", **more: object) -> StepText:
    """The switch is told to let a site go."""
    limit = {} if deadline is None else {"deadline": deadline}
    return {"id": "out", "do": "traffic.drain", "with": {"pool": "smtp", "site": "ord", **limit}, **more}


def check(**words: object) -> Check:
    """A check of the pool."""
    found = Runbook.model_validate(
        {"runbook": "r", "checks": {"c": {"at": {"pool": "smtp"}, **words}}, "steps": [verify("look", "c")]}
    )
    return found.checks["c"]


def test_a_check_measures_as_long_as_it_says() -> None:
    """A window is as long as it says, and what is under way at its end may take its timeout more."""
    assert check_times(check(probe="smtp", over="30s", expect={"success_rate": ">= 99%"})) == (30, 35)
    assert check_times(check(probe="smtp", expect={"success_rate": ">= 99%"})) == (10, 15)
    assert check_times(check(probe="sessions", **{"for": "3s"}, expect={"sessions": "== 0"})) == (3, 3)


def test_a_detection_takes_as_many_probes_as_it_needs() -> None:
    """The sequential test says how many probes it expects; a stated window ends it."""
    detect = {"failure_rate": "2%"}
    rounds = check_times(check(probe="smtp", detect=detect, **{"with": {"concurrency": 8}}))
    assert rounds.expected == pytest.approx(2.8, abs=0.5)
    slow = check_times(check(probe="smtp", detect=detect, **{"with": {"concurrency": 8, "pause": "1s"}}))
    assert slow.expected == pytest.approx(21 * (rounds.expected or 0))
    assert check_times(check(probe="smtp", detect=detect, over="1s")) == (1, 6)
    assert check_times(check(probe="delivery", detect=detect, over="20s")) == (20, 50)
    assert check_times(check(probe="delivery", detect=detect)).expected is None


def test_a_look_takes_the_time_of_its_checks() -> None:
    """A verify step is the sum of its checks."""
    assert times(verify("look", "mail", "silent")) == {"look": (13, 18)}


def test_a_shift_takes_its_pauses_and_checks() -> None:
    """At each waypoint: the write, the pause and the checks behind; before all the health of who gets traffic."""
    step = shift("shift", by=["50%", "100%"], pause="20s", after=["silent"], before=["mail"])
    assert times(step) == {"shift": (10 + 1 + 2 * (1 + 20 + 3), 15 + 30 + 2 * (30 + 20 + 3))}


def test_a_shift_takes_what_clients_need_to_meet_it() -> None:
    """Behind DNS each waypoint waits out the TTL, at most for as long as a step waits for it, out and back alike."""
    assert times(shift("s"), back("b", "s"), world=behind("dns", ttl=300.0)) == {
        "s": (1 + 1 + 301, 30 + 30 + 301 + 900),
        "b.s": (1 + 1 + 301, 30 + 30 + 301 + 900),
    }
    ramp = shift("s", by=["50%", "100%"], pause="5s")
    assert times(ramp, world=behind("route53-weights"))["s"] == (1 + 2 * (1 + 120 + 5), 30 + 2 * (30 + 120 + 900 + 5))
    assert times(ramp, world=behind("f5"))["s"] == times(ramp)["s"]


def test_a_switch_that_lets_go_takes_its_own_time() -> None:
    """Targets drain for their delay once the other site is found healthy, and pass a health check on their return."""
    world = behind("elbv2-targets")
    assert times(take_out(), back("b", "out"), world=world) == {
        "out": (1 + 1 + 300, 30 + 30 + 900),
        "b.out": (1 + 1 + 30, 30 + 30 + 30 + 900),
    }
    assert times(take_out("20m"), world=world)["out"] == (302, 1230)
    assert times(take_out(None), world=world)["out"] == (302, None)
    assert times(take_out("2m"), world=world)["out"] == (121, 960)
    assert times(take_out(), world=behind("f5"))["out"] == (None, 630)


def test_an_undo_takes_what_clients_need_to_meet_it() -> None:
    """Once in a single move, at every waypoint of a paced one; and it is not late while that is waited for."""
    plan = planned(shift("s", by=["50%", "100%"], pause="5s"), world=behind("route53-weights"))
    (step,) = plan.steps
    assert back_from(plan.steps, "s") == 2 + 120
    assert paced_undo_takes(step, plan.steps) == 2 * (2 + 120 + 5)
    assert undo_overdue_after(step) == 60 + 120 + 900
    (near,) = planned(shift("s")).steps
    assert undo_overdue_after(near) == 60
    assert undo_overdue_after(near.model_copy(update={"undo_overdue": 7.0})) == 7


def test_a_drain_takes_its_silence_and_at_most_its_deadlines() -> None:
    """Sessions must be silent for a while; they have the deadline, and the queues as long again."""
    assert times(drain("drain", settle="20s", after=["silent"])) == {"drain": (28, 1203)}
    assert times(drain("drain", at_deadline="cut")) == {"drain": (15, 1205)}
    assert times(drain("drain", deadline=None)) == {"drain": (15, None)}


def test_a_drain_behind_a_blind_gate_takes_longer() -> None:
    """Where a gate sees no transactions the silence is thirty seconds at least."""
    world = World(INVENTORY)
    world.gates["ord2"] = GateReading(closed=False, since=EPOCH - 1e6, sees_transactions=False)
    assert times(drain("drain"), world=world)["drain"][0] == 35


def test_the_time_of_people_is_apart() -> None:
    """A step that waits for people has the time of what is done beside; theirs is its estimate."""
    plan = planned(
        hold("for-time", "1h"),
        hold("for-people"),
        hold("for-an-hour", timeout="1h", estimate="10m"),
        manual("task", undo="undo it", estimate="5m", after=["silent"]),
        shift("asked", approval={"people": 2}, timeout="5m"),
    )
    assert {one.id: (one.expected, one.at_most) for one in plan.steps} == {
        "for-time": (3600, 3600),
        "for-people": (0, 0),
        "for-an-hour": (0, 0),
        "task": (3, 3),
        "asked": (2, 60),
    }
    path = critical_path(plan.steps)
    assert path.people == {"for-people": None, "for-an-hour": 600, "task": 300, "asked": None}
    assert (path.expected, path.with_people) == (3605, 3605 + 600 + 300)


def test_only_the_first_part_of_a_return_asks() -> None:
    """A return is approved once; its parts share its estimate."""
    steps = (shift("shift"), drain("drain"))
    asked = planned(*steps, back("back", "drain", "shift", approval={}))
    assert critical_path(asked.steps).people == {"back.drain": None}
    estimated = times(*steps, back("back", "drain", "shift", estimate="1m"))
    assert (estimated["back.drain"], estimated["back.shift"]) == ((30, 60), (30, 60))


def test_an_estimate_and_a_limit_agree() -> None:
    """A longer estimate moves a limit that is a rule of thumb; one that is stated ends what is expected."""
    assert times(verify("look", "mail", estimate="10m")) == {"look": (600, 600)}
    assert times(verify("look", "mail", estimate="10m", timeout="20s")) == {"look": (15, 15)}
    assert times(shift("shift", by=["50%", "100%"], pause="10m", timeout="1m")) == {"shift": (60, 60)}


SECONDS = st.none() | st.integers(min_value=1, max_value=10_000).map(lambda seconds: f"{seconds}s")


@settings(max_examples=60, deadline=None)
@given(SECONDS, SECONDS, st.booleans(), st.integers(min_value=0, max_value=5))
def test_nothing_is_expected_to_outlast_its_limit(
    estimate: str | None, timeout: str | None, asked: bool, kind: int
) -> None:
    """Whatever a step states, its limit is not less than what is expected; and so for the whole plan."""
    more: dict[str, object] = {"estimate": estimate, "timeout": timeout, "approval": {} if asked else None}
    stated = {key: value for key, value in more.items() if value is not None}
    steps: tuple[StepText, ...] = (
        verify("one", "mail"),
        shift("one", pause="30s", after=["mail"]),
        drain("one"),
        manual("one", undo="undo it", before=["mail"]),
        hold("one", "1m"),
        hold("one"),
    )
    path = critical_path(planned({**steps[kind], **stated}, hold("end", "1s")).steps)
    assert path.at_most is not None
    assert path.expected <= path.at_most
    assert path.expected <= path.with_people


def test_a_timeout_is_for_each_try() -> None:
    """A step is over after its timeout, so many times as it is tried, and the pauses between."""
    retries = {"times": 2, "pause": "5s"}
    assert times(drain("drain", timeout="1m", retries=retries))["drain"] == (15, 3 * 60 + 5 + 10)


def test_a_person_who_must_return_a_task_is_waited_for() -> None:
    """The way back of a manual step takes as long as the person needs."""
    plan = planned(manual("task", undo="undo it", estimate="5m"), back("back", "task"))
    assert critical_path(plan.steps).people == {"task": 300, "back.task": None}


def test_the_longest_way_counts() -> None:
    """Independent steps run side by side; people are named, and leave the limit of all else."""
    plan = planned(
        hold("one", "10s", needs=[]),
        hold("long", "60s", needs=[]),
        hold("end", "5s", needs=["one", "long"]),
    )
    assert critical_path(plan.steps) == (65, 65, (), {}, 65)
    ask = planned(hold("wait", "10s"), hold("ask"), manual("reboot", estimate="7s", plan_b=[hold("b", "9h")]))
    assert critical_path(ask.steps) == (10, 10, (), {"ask": None, "reboot": 7}, 17)
    assert critical_path(()) == (0, 0, (), {}, 0)


def test_what_nobody_can_say_is_named() -> None:
    """A step without a time is named, and one without a limit leaves the whole without."""
    plan = planned(hold("wait", "10s"), drain("drain", deadline=None))
    steps = [one.model_copy(update={"expected": None}) for one in plan.steps]
    assert critical_path(plan.steps)[:3] == (25, None, ())
    assert critical_path(steps)[:3] == (0, None, ("wait", "drain"))


def test_how_long_an_undo_takes() -> None:
    """From each step: what was done and not returned, in single moves; a plan B as long as it takes."""
    plan = planned(
        verify("look", "mail"),
        shift("shift"),
        drain("drain"),
        hold("window"),
        back("back", "drain", "shift"),
        manual("reboot", plan_b=[hold("b", "9s"), hold("c", "1s")]),
        manual("note", undo="cross it out", estimate="40s"),
    )
    assert {one.id: back_from(plan.steps, one.id) for one in plan.forward} == {
        "look": 0,
        "shift": 2,
        "drain": 4,
        "window": 4,
        "back.drain": 2,
        "back.shift": 0,
        "reboot": 10,
        "note": 50,
    }


def test_an_undo_by_people_is_unknown() -> None:
    """Where a person has to undo something nobody knows how long that takes."""
    plan = planned(shift("shift"), manual("task", undo="undo it"), manual("end", plan_b=[hold("ask")]))
    assert [back_from(plan.steps, name) for name in ("shift", "task", "end")] == [2, None, None]
    with pytest.raises(ValueError, match="ask"):
        back_from(plan.steps, "ask")
