"""What past runs say of how long a step takes, and how a plan uses it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from orchestrator.model.inventory import Inventory
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan, PlannedStep, TimedAs
from orchestrator.planning import History, back_from, make_plan, recheck
from orchestrator.planning.history import Direction, Past, percentile

from ..engine.scene import StepText, back, hold, manual, verify
from ..fakes.clock import LoopClock, run
from .world import World, drain, inventory_of, runbook_of, shift

INVENTORY = inventory_of({"ord": 2, "iad": 2})
CHECKS = {
    "mail": {"probe": "smtp", "at": {"pool": "smtp"}, "over": "10s", "expect": {"success_rate": ">= 99%"}},
    "silent": {"probe": "sessions", "at": {"pool": "smtp"}, "for": "3s", "expect": {"sessions": "== 0"}},
}
SLOWER = {**CHECKS, "mail": {**CHECKS["mail"], "over": "20s"}}


def planned(
    *steps: StepText,
    history: History | None = None,
    checks: object = CHECKS,
    world: World | None = None,
    inventory: Inventory = INVENTORY,
) -> Plan:
    """The plan of these steps, with what is known of the past."""
    runbook = runbook_of(*steps, checks=checks)
    return run(make_plan(runbook, {}, world or World(inventory), LoopClock(), history=history or History({})))


def first(plan: Plan) -> PlannedStep:
    """The first step."""
    return plan.steps[0]


def timed(*steps: StepText, checks: object = CHECKS, inventory: Inventory = INVENTORY) -> TimedAs:
    """As what the first step's durations are kept."""
    found = first(planned(*steps, checks=checks, inventory=inventory)).timed
    assert found is not None
    return found


def took(what: TimedAs | None, direction: Direction, *seconds: float) -> list[Entry]:
    """Durations as the engine journals them."""
    assert what is not None
    data: dict[str, JsonValue] = {**what.model_dump(mode="json"), "direction": direction}
    return [
        Entry(run="r", at=0.0, epoch=1, kind="duration", step="s", data={**data, "seconds": one}) for one in seconds
    ]


def test_a_percentile_is_one_of_the_values() -> None:
    """Nearest rank: of four values p75 is the third, of few p95 is the largest."""
    assert [percentile([4, 1, 3, 2], share) for share in (0, 0.5, 0.75, 0.76, 0.95, 1)] == [1, 2, 3, 4, 4, 4]
    assert percentile(list(range(1, 101)), 0.95) == 95
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1), st.floats(min_value=0, max_value=1))
def test_so_many_values_are_not_above_their_percentile(values: list[float], share: float) -> None:
    """At least the share that was asked for lies at or below, and nothing smaller would do."""
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert found == min(values) or sum(value < found for value in values) < share * len(values)


def test_a_past_is_three_durations() -> None:
    """Two runs are no custom; from three on p75 and p95 are told, each direction by itself."""
    what = TimedAs(action="traffic.shift", target="smtp ord→iad", shape="a")
    history = History.of([*took(what, "out", 10, 20), *took(what, "back", 30, 10, 20), *took(what, "undo", 1)])
    assert history.past(what, "out") is None
    assert history.past(what, "back") == Past(expected=30, overdue=30, runs=3)
    assert history.past(None, "back") is None


@pytest.mark.parametrize(
    "data",
    [
        {"seconds": None},
        {"seconds": "4"},
        {"seconds": True},
        {"seconds": -1},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"direction": "sideways"},
        {"target": None},
        {"shape": 3},
    ],
)
def test_what_is_no_duration_is_passed_over(data: dict[str, JsonValue]) -> None:
    """An entry that another version wrote, or that says no time, keeps no plan from being made."""
    what = TimedAs(action="verify", target="mail", shape="a")
    good = took(what, "out", 1, 2, 3)
    strange = good[0].model_copy(update={"data": {**good[0].data, **data}})
    assert History.of([strange, *good]).past(what, "out") == Past(3, 3, 3)


def test_steps_are_named_for_people() -> None:
    """A duration says what was done to what: sites for a shift, a site or a host for a drain, checks for a look."""
    plan = planned(
        verify("look", "mail", "silent"),
        shift("shift"),
        drain("drain"),
        hold("window", "1m"),
        back("back", "drain", "shift"),
        manual("task", undo="undo it"),
    )
    assert {one.id: one.timed and f"{one.timed.action} {one.timed.target}" for one in plan.steps} == {
        "look": "verify mail, silent",
        "shift": "traffic.shift smtp ord→iad",
        "drain": "smtp.drain smtp ord",
        "window": None,
        "back.drain": "smtp.drain smtp ord",
        "back.shift": "traffic.shift smtp ord→iad",
        "task": None,
    }
    one_host = drain("drain")
    one_host = {**one_host, "with": {"pool": "smtp", "host": "ord1"}}
    assert timed(one_host).target == "ord1"


def test_what_takes_another_time_is_another_work() -> None:
    """Other pauses, waypoints, gates, checks, hosts or another switch are not mixed in with each other."""
    usual = shift("shift", by=["50%", "100%"], pause="10s", after=["mail"])
    other_switch = INVENTORY.model_dump(mode="json", by_alias=True)
    other_switch["pools"]["smtp"]["switch"]["socket"] = "/run/lab.sock"
    found = [
        timed(usual),
        timed({**usual, "with": {**dict(usual["with"]), "pause": "1s"}}),  # type: ignore[call-overload]
        timed({**usual, "with": {**dict(usual["with"]), "by": ["100%"]}}),  # type: ignore[call-overload]
        timed({**usual, "after": []}),
        timed({**usual, "before": ["mail"]}),
        timed(usual, checks=SLOWER),
        timed(usual, inventory=inventory_of({"ord": 3, "iad": 2})),
        timed(usual, inventory=Inventory.model_validate(other_switch)),
    ]
    assert len(set(found)) == len(found)


def test_what_takes_the_same_time_is_the_same_work() -> None:
    """Names, estimates, limits and the wait for people are nothing that the work's own time depends on."""
    usual = shift("shift", after=["mail"])
    more = {
        "id": "other",
        "estimate": "1h",
        "timeout": "2h",
        "approval": {},
        "on_failure": "hold",
        "retries": {"times": 2},
    }
    assert timed({**usual, **more}) == timed(usual)


def test_a_plan_tells_what_is_usual() -> None:
    """With a past a step is expected to take its p75 and is overdue past its p95; the way back has its own."""
    steps = (shift("shift", after=["mail"]), drain("drain"), back("back", "shift"))
    rules = planned(*steps)
    out, back_part = rules.steps[0].timed, rules.steps[2].timed
    entries = [*took(out, "out", 10, 11, 12, 13), *took(out, "undo", 7, 8, 9), *took(back_part, "back", 21, 22, 23)]
    shifted, drained, returned = planned(*steps, history=History.of(entries)).steps
    assert (shifted.expected, shifted.overdue, shifted.past) == (12, 13, 4)
    assert (shifted.undo_expected, shifted.undo_overdue) == (9, 9)
    assert (returned.expected, returned.overdue, returned.past) == (23, 23, 3)
    assert (drained.expected, drained.past) == (rules.steps[1].expected, 0)
    assert drained.overdue == drained.at_most, "by the rules it is overdue past its limit"
    assert (returned.undo_expected, drained.undo_expected) == (None, None)


def test_an_undo_takes_what_it_took() -> None:
    """The way back after a failure is as long as undos before were, where they are known."""
    steps = (shift("shift"), drain("drain"))
    rules = planned(*steps)
    known = planned(*steps, history=History.of(took(rules.steps[0].timed, "undo", 40, 40, 40)))
    assert (back_from(rules.steps, "drain"), back_from(known.steps, "drain")) == (4, 42)


def test_the_past_goes_before_estimates_and_rules() -> None:
    """What was measured beats what the runbook estimates; a limit by the rules gives way, a stated timeout does not."""
    slow = verify("look", "silent", estimate="1m")
    history = History.of(took(timed(slow), "out", 100, 200, 300, 400))
    assert first(planned(slow)).expected == 60
    known = first(planned(slow, history=history))
    assert (known.expected, known.overdue, known.at_most) == (300, 400, 400)
    limited = first(planned({**slow, "timeout": "250s"}, history=history))
    assert (limited.expected, limited.overdue, limited.at_most) == (250, 250, 250)


def test_where_people_are_asked_the_estimate_stays_theirs() -> None:
    """An approval does not keep a step's own time from being known."""
    asked = shift("shift", approval={}, estimate="1h")
    known = first(planned(asked, history=History.of(took(timed(asked), "out", 5, 6, 7))))
    assert (known.expected, known.past) == (7, 3)


def test_nothing_to_do_takes_no_time() -> None:
    """A step that finds all as it wants it takes no time, whatever it took before."""
    world = World(INVENTORY)
    world.set("ord1", weight=0)
    world.set("ord2", weight=0)
    steps = (shift("shift"),)
    history = History.of(took(timed(*steps), "out", 5, 6, 7))
    found = first(planned(*steps, history=history, world=world))
    assert (found.expected, found.past, found.overdue) == (0, 0, None)


def test_times_are_no_facts() -> None:
    """A plan that is looked at again has the times that were reviewed, and so the same checksum."""
    steps = (verify("look", "mail"), shift("shift"), back("back", "shift"))
    rules = planned(*steps)
    entries = [*took(rules.steps[0].timed, "out", 5, 60, 61), *took(rules.steps[1].timed, "undo", 4, 5, 6)]
    made = planned(*steps, history=History.of(entries))
    assert made.checksum != rules.checksum
    again = run(recheck(made, World(INVENTORY), LoopClock()))
    assert again.plan == made
