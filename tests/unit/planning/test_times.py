"""How long steps take, and how long the way back is."""

from __future__ import annotations

import pytest

from orchestrator.model.check import Check
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import Runbook
from orchestrator.model.traffic import GateReading
from orchestrator.planning import back_from, critical_path
from orchestrator.planning.times import check_times

from ..engine.scene import StepText, back, hold, manual, verify
from ..fakes.clock import EPOCH
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


def test_what_people_need_is_unknown() -> None:
    """A wait for people has no time, unless the runbook estimates it; only its own timeout ends one."""
    found = times(
        hold("for-time", "1h"),
        hold("for-people"),
        hold("for-an-hour", timeout="1h", estimate="10m"),
        manual("task", undo="undo it", estimate="5m"),
        shift("asked", approval={"people": 2}, timeout="5m"),
    )
    assert found == {
        "for-time": (3600, 3600),
        "for-people": (None, None),
        "for-an-hour": (600, 3600),
        "task": (300, None),
        "asked": (None, None),
    }


def test_only_the_first_part_of_a_return_asks() -> None:
    """A return is approved once; its parts share its estimate."""
    steps = (shift("shift"), drain("drain"))
    asked = times(*steps, back("back", "drain", "shift", approval={}))
    assert (asked["back.drain"], asked["back.shift"]) == ((None, None), (2, 60))
    estimated = times(*steps, back("back", "drain", "shift", estimate="1m"))
    assert (estimated["back.drain"], estimated["back.shift"]) == ((30, 60), (30, 60))


def test_a_timeout_is_for_each_try() -> None:
    """A step is over after its timeout, so many times as it is tried, and the pauses between."""
    retries = {"times": 2, "pause": "5s"}
    assert times(drain("drain", timeout="1m", retries=retries))["drain"] == (15, 3 * 60 + 5 + 10)


def test_a_person_who_must_return_a_task_is_waited_for() -> None:
    """The way back of a manual step takes as long as the person needs."""
    assert times(manual("task", undo="undo it"), back("back", "task"))["back.task"] == (None, None)


def test_the_longest_way_counts() -> None:
    """Independent steps run side by side; what is unknown is named, and leaves the whole without a limit."""
    plan = planned(
        hold("one", "10s", needs=[]),
        hold("long", "60s", needs=[]),
        hold("end", "5s", needs=["one", "long"]),
    )
    assert critical_path(plan.steps) == (65, 65, ())
    ask = planned(hold("wait", "10s"), hold("ask"), manual("reboot", estimate="7s", plan_b=[hold("b", "9h")]))
    assert critical_path(ask.steps) == (17, None, ("ask",))
    assert critical_path(()) == (0, 0, ())


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
