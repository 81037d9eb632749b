"""Plans of steps that bring up capacity and empty nodes: foreseen one after the other, and written nowhere."""

from __future__ import annotations

import pytest

from orchestrator.errors import PlanRefusedError
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan
from orchestrator.planning import ordered
from orchestrator.planning.overlap import overlaps
from orchestrator.planning.planner import recheck
from orchestrator.ports import Node, ScalingGroup
from orchestrator.wiring import lock_names

from ..engine.scene import StepText, back, hold, manual
from ..fakes.capacity import FakeGroup, FakeNode, LivePod
from ..fakes.clock import LoopClock, run
from .world import World, inventory_of, plan_of, runbook_of, shift


def with_capacity(group: str = "smtp-iad", region: str = "us-east-1") -> Inventory:
    """Two sites; iad has an Auto Scaling group, and iad1 is a node."""
    text = inventory_of({"ord": 1, "iad": 1}).model_dump(mode="json", by_alias=True)
    scaling = {"driver": "autoscaling", "group": group, "aws": {"region": region}}
    text["pools"]["smtp"]["sites"]["iad"]["scaling"] = scaling
    text["hosts"]["iad1"]["node"] = {"driver": "kubernetes", "name": "ip-10-0-0-7"}
    return Inventory.model_validate(text)


class CapacityWorld(World):
    """A world with a group of three at iad, six at most, and a node of two pods and an agent."""

    def __init__(self, inventory: Inventory | None = None) -> None:
        super().__init__(inventory or with_capacity())
        self.group = FakeGroup(3, most=6)
        self.cluster_node = FakeNode(LivePod("a"), LivePod("b"), LivePod("agent", stays="of a DaemonSet"))

    def scaling(self, pool: str, site: str) -> ScalingGroup:
        """See ``Outside.scaling``."""
        return self.group

    def node(self, host: str) -> Node:
        """See ``Outside.node``."""
        return self.cluster_node


def more(name: str = "more", **arguments: object) -> StepText:
    """More capacity: two more, unless it is said otherwise."""
    needs = {"needs": arguments.pop("needs")} if "needs" in arguments else {}
    with_ = {"pool": "smtp", "site": "iad", **(arguments or {"add": 2})}
    return {"id": name, "do": "scale.out", "with": with_, **needs}


def empty(name: str = "empty", deadline: str | None = "10m", **more: object) -> StepText:
    """A drained node."""
    limit = {} if deadline is None else {"deadline": deadline}
    return {"id": name, "do": "node.drain", "with": {"host": "iad1", **limit}, **more}


def diffs(plan: Plan) -> dict[str, tuple[str, ...]]:
    """What each step changes, as foreseen."""
    return {planned.id: planned.diff for planned in plan.steps}


def test_each_step_sees_what_those_before_it_will_have_done() -> None:
    """Two that add build on each other, a return goes back to what its step will find, and nothing is written."""
    world = CapacityWorld()
    plan = plan_of(world, more("a"), more("b", add=1), back("back", "b", "a"), more("c", to=4))
    assert diffs(plan) == {
        "a": ("capacity of smtp at iad: 3 → 5",),
        "b": ("capacity of smtp at iad: 5 → 6",),
        "back.b": ("capacity of smtp at iad: 6 → 5",),
        "back.a": ("capacity of smtp at iad: 5 → 3",),
        "c": ("capacity of smtp at iad: 3 → 4",),
    }
    assert plan.steps[0].undo == ("capacity of smtp at iad: 5 → 3",)
    assert world.group.log == []


def test_a_node_is_foreseen_as_emptied() -> None:
    """A second drain finds nothing to do; after its return the node is open, and its pods are elsewhere."""
    world = CapacityWorld()
    plan = plan_of(world, empty("a"), empty("b"), back("back", "a"), empty("c"))
    assert diffs(plan) == {
        "a": ("node iad1: open to new pods → cordoned", "pods on iad1: 2 → 0"),
        "b": (),
        "back.a": ("node iad1: cordoned → open to new pods",),
        "c": ("node iad1: open to new pods → cordoned",),
    }
    assert (world.cluster_node.log, world.cluster_node.asked) == ([], {})


def test_a_plan_b_is_forgotten() -> None:
    """What is done instead of an undo is no part of the way out."""
    plan = plan_of(CapacityWorld(), manual("reboot", plan_b=[more("a"), empty("n")]), more("b"), empty("m"))
    assert diffs(plan)["b"] == ("capacity of smtp at iad: 3 → 5",)
    assert diffs(plan)["m"] == diffs(plan)["n"]


def test_what_cannot_be_is_refused() -> None:
    """More than the group takes, pods that nothing starts again, and what cannot be read: all in one refusal."""
    world = CapacityWorld()
    world.cluster_node = FakeNode(LivePod("job", alone="it has no owner"))
    with pytest.raises(PlanRefusedError) as error:
        plan_of(world, more(to=7), empty())
    assert [problem.partition(" — ")[0] for problem in error.value.problems] == [
        "cannot scale smtp at iad to 7: its group takes 6 at most",
        "cannot drain the node iad1: nothing would start these pods again: shop/job (it has no owner)",
    ]
    world.group.lost_until = float("inf")
    with pytest.raises(PlanRefusedError, match="cannot reach it: connection refused"):
        plan_of(world, more())


def test_it_is_no_matter_of_who_takes_traffic() -> None:
    """Capacity is no waypoint of traffic: it moves none, and rules about the pool are not asked of it."""
    plan = plan_of(CapacityWorld(), more(), shift("s"))
    first, second = plan.steps
    assert (first.milestones, len(second.milestones)) == ((), 1)


def test_how_long_it_takes() -> None:
    """Nobody knows how long machines take until it has been seen; a deadline bounds it, and the way back is quick."""
    plan = plan_of(CapacityWorld(), more(), empty(deadline=None), back("back", "empty", "more"))
    times = {planned.id: (planned.expected, planned.at_most) for planned in plan.steps}
    assert times == {"more": (None, 900), "empty": (None, None), "back.empty": (1, 30), "back.more": (1, 30)}
    assert [(step.timed.action, step.timed.target) for step in plan.steps[:2] if step.timed] == [
        ("scale.out", "smtp iad"),
        ("node.drain", "iad1"),
    ]


def test_its_times_are_those_of_the_same_machines() -> None:
    """Under the same names in an inventory another group has another past."""
    shapes = {
        step.timed.shape
        for name in ("smtp-iad", "smtp-iad", "other")
        for step in plan_of(CapacityWorld(with_capacity(group=name)), more()).steps
        if step.timed
    }
    assert len(shapes) == 2


def test_a_saved_plan_notices_that_somebody_has_scaled_or_cordoned() -> None:
    """The size of a group and the standing of a node are facts that a plan rests on; pods come and go."""
    world = CapacityWorld()
    plan = plan_of(world, more(), empty())
    assert [f"{fact.subject} = {fact.value}" for fact in plan.world] == [
        "pool smtp: capacity at iad = 3",
        "host iad1: node = open to new pods",
    ]
    world.cluster_node = FakeNode(cordoned=True)
    world.group = FakeGroup(4, most=9)
    assert run(recheck(plan, world, LoopClock())).moved == (
        "pool smtp: capacity at iad: was 3, is 4",
        "host iad1: node: was open to new pods, is cordoned",
    )


def test_side_by_side() -> None:
    """Two steps may not scale one group or drain one node at the same time; a shift beside them is another matter."""
    (line,) = overlaps(ordered(runbook_of(more("a"), more("b", add=1, needs=[]))))
    assert line.startswith("steps 'a' and 'b' may move the capacity of pool smtp at iad at the same time: a plan can")
    assert len(overlaps(ordered(runbook_of(empty("a"), empty("b", needs=[]))))) == 1
    assert overlaps(ordered(runbook_of(more("a"), empty("b", needs=[]), shift("c", needs=[])))) == ()


def locks(*steps: StepText, inventory: Inventory) -> set[str]:
    """What a run of these steps must have for itself."""
    runbook = runbook_of(*steps)
    return set(lock_names(Plan(runbook=runbook, inventory=inventory, parameters={}, steps=ordered(runbook))))


def test_two_runs_do_not_scale_one_group() -> None:
    """Groups and nodes are locked by what the outside knows them as, in plans B too; others of that name are others."""
    here, elsewhere = with_capacity(), with_capacity(region="eu-west-1")
    assert locks(more(), inventory=here) == {"capacity at us-east-1:smtp-iad"}
    assert locks(manual("m", plan_b=[more()]), inventory=here) >= locks(more(), inventory=here)
    assert locks(more(), inventory=here).isdisjoint(locks(more(), inventory=elsewhere))
    assert locks(empty(), hold("h"), inventory=here) == {"node at ::ip-10-0-0-7"}
