"""A plan in a file: what it rests on, how that is looked at again, and how a file can be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256

import pytest
from pydantic import JsonValue

from orchestrator.errors import InputError, PlanRefusedError
from orchestrator.model.plan import Fact, Plan
from orchestrator.planning import Recheck, moved, read_saved, recheck, save

from ..engine.scene import back, hold, manual
from ..fakes.clock import LoopClock, run
from .world import World, drain, inventory_of, plan_of, shift

INVENTORY = inventory_of({"ord": 1, "iad": 1})
STEPS = (shift("shift"), drain("drain"), hold("window"), back("back", "drain", "shift"))


def plan(world: World | None = None) -> Plan:
    """A plan with a bit of everything."""
    return plan_of(world or World(INVENTORY), *STEPS, manual("reboot", plan_b=[shift("away")]))


def again(made: Plan, world: World, *in_use: str) -> Recheck:
    """The plan looked at again."""
    return run(recheck(made, world, LoopClock(), in_use=in_use))


def test_a_plan_says_what_it_rests_on() -> None:
    """Each member of a switch and each gate is a fact; sessions are none."""
    world = World(INVENTORY)
    world.set("iad1", weight=7, up=False, sessions=99)
    world.set("ord1", admin="drain")
    assert [f"{fact.subject} = {fact.value}" for fact in plan_of(world, drain("drain")).world] == [
        "pool smtp: ord1 = weight 100, drain",
        "pool smtp: iad1 = weight 7, down",
        "host ord1: gate = open",
    ]


def test_a_world_that_has_not_moved() -> None:
    """Where nothing has changed the plan is made anew, and is the same; sessions may come and go."""
    made = plan()
    assert again(made, World(INVENTORY)) == (made, ())
    busier = again(made, World(INVENTORY, sessions=11))
    assert busier.moved == ()
    assert busier.plan is not None
    assert busier.plan.steps[1].sessions == 11


def test_one_weight_changed_by_hand_is_one_line() -> None:
    """What somebody changed since is told in one line, and no plan is made."""
    world = World(INVENTORY)
    world.set("ord1", weight=50)
    assert again(plan(), world) == (None, ("pool smtp: ord1: was weight 100, is weight 50",))


def test_members_that_come_and_go_are_told() -> None:
    """A member that is gone, and a new one, are differences too; so is a gate."""
    made = plan()
    world = [
        Fact(subject="pool smtp: ord1", value="weight 100"),
        Fact(subject="pool smtp: ord9", value="weight 1"),
        Fact(subject="host ord1: gate", value="closed"),
    ]
    assert moved(made, world) == (
        "host ord1: gate: was open, is closed",
        "pool smtp: iad1: was weight 100, is gone",
        "pool smtp: ord9: was not there, is weight 1",
    )


def test_what_cannot_be_read_again_refuses() -> None:
    """Nobody can say whether the world has moved when it gives no answer."""
    world = World(INVENTORY)
    world.trouble = {"gate ord1": "cannot ask the gate of ord1: no answer"}
    with pytest.raises(PlanRefusedError, match="cannot ask the gate of ord1: no answer"):
        again(plan(), world)


def test_a_plan_that_has_become_dangerous_refuses() -> None:
    """More demand, or another run on the pool, refuse a plan that was fine when it was made."""
    made = plan()
    with pytest.raises(PlanRefusedError, match=r"\[headroom\]"):
        again(made, World(INVENTORY, sessions=100))
    with pytest.raises(PlanRefusedError, match=r"run a works on pool smtp \[in-use\]"):
        again(made, World(INVENTORY), "run a works on pool smtp")


def test_overrides_stay_with_a_plan() -> None:
    """What was set aside stays so, needed now or not, with the numbers that were reviewed."""
    made = plan_of(World(INVENTORY, sessions=100), shift("shift"), overrides={"headroom": "it is night"})
    for sessions in (1, 100, 110):
        found = again(made, World(INVENTORY, sessions=sessions)).plan
        assert found is not None
        assert found.overrides == {"headroom": "it is night"}
        assert found.set_aside == made.set_aside


def test_an_override_is_for_what_was_reviewed() -> None:
    """Another step that breaks the same rule later refuses, and so does one that breaks it far more."""
    world = World(inventory_of({"ord": 1, "iad": 1, "dfw": 1}), sessions=60)
    made = plan_of(world, drain("drain"), drain("more", "dfw"), overrides={"headroom": "it is night"})
    assert [one.step for one in made.set_aside] == ["more"]
    with pytest.raises(PlanRefusedError) as error:
        again(made, World(world.inventory, sessions=101))
    assert [one.step for one in error.value.refusals] == ["drain", "more"]
    with pytest.raises(PlanRefusedError) as error:
        again(made, World(world.inventory, sessions=70))
    assert [one.step for one in error.value.refusals] == ["more"]


def test_what_is_amiss_is_told_as_it_is_now() -> None:
    """A warning of the state before the first step is made anew; those of lint stay."""
    world = World(inventory_of({"ord": 1, "iad": 1, "dfw": 1}), sessions=150)
    world.set("dfw1", weight=0, sessions=150)
    made = plan_of(world, shift("shift", "ord", "dfw"))
    assert [line.partition(" of ")[0] for line in made.warnings] == ["now: headroom"]
    made = made.model_copy(update={"warnings": ("r.yaml:1:1: lint", *made.warnings)})
    world.set("dfw1", weight=0, sessions=0)
    found = again(made, world).plan
    assert found is not None
    assert found.warnings == ("r.yaml:1:1: lint",)


def test_a_saved_plan_is_read_as_it_was() -> None:
    """The file has the format, the checksum, the time and the version; the plan in it is the same plan."""
    made = plan()
    text = save(made, 1_789_398_720.5, "0.1.0")
    assert {key: value for key, value in json.loads(text).items() if key != "plan"} == {
        "failover_plan": 1,
        "checksum": made.checksum,
        "made": "2026-09-14T15:12:00+00:00",
        "version": "0.1.0",
    }
    assert read_saved(text, "plan.json") == made


def wrong(text: str) -> str:
    """What is said of a file that holds this."""
    with pytest.raises(InputError) as error:
        read_saved(text, "plan.json")
    return str(error.value)


@pytest.mark.parametrize("text", ["", "shift: ord", "{", "[" * 100_000, "\ud800"])
def test_a_file_that_is_no_json(text: str) -> None:
    """Whatever cannot be read as JSON is said to be none."""
    assert wrong(text) == (
        "plan.json: cannot use this plan: it is not JSON — name a file that 'failover plan -o FILE' wrote"
    )


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"failover_plan": "1"}', '{"failover_plan": true}'])
def test_a_file_that_is_no_plan(text: str) -> None:
    """JSON of another kind is no plan."""
    assert "it is not a saved plan — name a file" in wrong(text)


def changed(change: Callable[[dict[str, JsonValue]], object]) -> str:
    """The text of a saved plan in which something is changed."""
    content = json.loads(save(plan(), 0.0, "0.1.0"))
    change(content)
    return json.dumps(content)


def test_a_newer_format() -> None:
    """A file of a format that is not known yet needs the program that made it."""
    assert wrong(changed(lambda content: content.update(failover_plan=2))) == (
        "plan.json: cannot use this plan: its format is 2, newer than 1 — use the failover that made it"
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["plan"]["steps"][0].update(diff=[]),
        lambda content: content["plan"].update(more=1),
        lambda content: content.update(plan=None),
        lambda content: content.pop("plan"),
        lambda content: content.pop("checksum"),
        lambda content: content.update(checksum="0" * 64),
    ],
)
def test_a_plan_that_was_changed(change: Callable[[dict[str, JsonValue]], object]) -> None:
    """What differs from what was reviewed is not run, however small."""
    assert "it was changed after it was made — make the plan again, and have it reviewed" in wrong(changed(change))


def test_a_plan_of_another_version() -> None:
    """A plan that is whole, and that this version cannot read as it was meant, names the version that made it."""

    def foreign(change: Callable[[dict[str, JsonValue]], object]) -> str:
        content = json.loads(save(plan(), 0.0, "9.9.0"))
        change(content["plan"])
        canonical = json.dumps(content["plan"], sort_keys=True, separators=(",", ":"))
        content["checksum"] = sha256(canonical.encode()).hexdigest()
        return wrong(json.dumps(content))

    said = "failover 9.9.0 made it, and this is another version — make the plan again"
    assert said in foreign(lambda made: made.update(colour="red"))
    assert said in foreign(lambda made: made.pop("warnings"))
