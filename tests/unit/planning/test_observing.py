"""What planning asks of the world: reads only, once each, a few at a time; and every answer that it does not get."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.errors import PlanRefusedError
from orchestrator.load.inventory import load_inventory
from orchestrator.load.runbook import load_runbook
from orchestrator.model.traffic import GateReading, Session
from orchestrator.planning import make_plan

from ..engine.scene import back, verify
from ..fakes.clock import EPOCH, LoopClock, run
from .world import INVENTORY, READS, World, drain, inventory_of, plan_of, shift

PROJECT = Path(__file__).parents[3]
RUNBOOKS = sorted((PROJECT / "runbooks").glob("*.yaml"))


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_plan_changes_nothing(path: Path) -> None:
    """Whatever a runbook that ships would do, its plan only reads, and reads each switch and gate once."""
    inventory = load_inventory([PROJECT / "inventories" / "lab.yaml"], {"lab": lambda key: "127.0.0.1:1"})
    loaded = load_runbook(path, inventory, {}, stand_ins=True)
    world = World(inventory)
    with suppress(PlanRefusedError):  # a stand-in is not always a sensible choice
        run(make_plan(loaded.runbook, loaded.parameters, world, LoopClock()))
    assert world.calls
    assert {call.split()[0] for call in world.calls} <= READS
    assert len(world.calls) == len(set(world.calls))


def test_few_questions_at_a_time() -> None:
    """Forty pools with two sites are read at most eight at a time, each switch once, each drained host once."""
    pools = [f"pool{number}" for number in range(40)]
    world = World(inventory_of({"ord": 1, "iad": 1}, pools=pools))
    steps = [step for pool in pools for step in (shift(f"s-{pool}", pool=pool), drain(f"d-{pool}", pool=pool))]
    plan_of(world, *steps)
    assert world.most_at_once == 8
    assert sum(call.startswith("read switch") for call in world.calls) == 40
    assert sum(call.startswith("read gate") for call in world.calls) == 40
    assert len(world.calls) == len(set(world.calls))


def test_only_what_the_runbook_rests_on_is_asked() -> None:
    """Pools that no step, guard or count names stay unasked; so do sessions where nothing is drained."""
    world = World(inventory_of({"ord": 1, "iad": 1}, pools=["smtp", "submission", "relay", "spare"]))
    plan_of(
        world,
        shift("shift"),
        verify("look", "silent"),
        guards=[{"serving": {"pool": "submission", "at_least": 1}}],
        checks={"silent": {"probe": "sessions", "at": {"pool": "relay"}, "for": "3s", "expect": {"sessions": "== 0"}}},
    )
    assert sorted(world.calls) == ["read switch relay", "read switch smtp", "read switch submission"]


def test_every_reason_is_given_at_once() -> None:
    """A switch that cannot be read, a gate that gives no answer and a step that cannot be done are told together."""
    world = World(inventory_of({"ord": 2, "iad": 1}, pools=["smtp", "relay"]))
    world.trouble = {
        "switch relay": "cannot reach relay's switch: no answer",
        "gate ord2": "cannot ask ord2: no answer",
    }
    world.set("iad1", admin="maint")
    with pytest.raises(PlanRefusedError) as refused:
        plan_of(world, shift("shift"), drain("drain"), shift("other", pool="relay"))
    assert refused.value.problems == (
        "pool relay: cannot reach relay's switch: no answer",
        "cannot ask ord2: no answer",
        "cannot shift to iad: every member of iad is out of service in the switch — set one to ready",
    )
    assert str(refused.value).splitlines() == list(refused.value.problems)


def test_the_same_reason_is_given_once() -> None:
    """Two steps that fail for one reason give it once."""
    world = World(INVENTORY)
    world.trouble = {"switch smtp": "cannot reach the switch: no answer"}
    with pytest.raises(PlanRefusedError) as refused:
        plan_of(world, shift("one"), drain("two"), back("back", "two", "one"))
    assert refused.value.problems == ("pool smtp: cannot reach the switch: no answer",)


def test_a_host_without_a_gate_is_a_reason() -> None:
    """What the inventory does not give at all is told like what gives no answer."""
    world = World(INVENTORY)
    del world.gates["ord1"]
    with pytest.raises(PlanRefusedError, match="cannot drain ord1: the inventory gives it no gate"):
        plan_of(world, drain("drain"))


def test_sessions_are_no_younger_than_they_were_seen() -> None:
    """A session that began before its gate refuses the drain, however long the other answers took."""
    world = World(INVENTORY)
    world.gates["ord1"] = GateReading(closed=False, since=EPOCH - 5, sees_transactions=True)
    world.listed = [Session(id="0x1", client="192.0.2.7:1", member="ord1", age=6)]
    with pytest.raises(PlanRefusedError, match="1 sessions are older than the gate"):
        plan_of(world, drain("drain"))
