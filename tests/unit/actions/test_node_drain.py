"""``node.drain``: a node without pods, as their budgets allow, and back."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.actions.action import REACHED, Outcome
from orchestrator.actions.node_drain import ASK_AGAIN, AT_A_TIME, LOOK_EVERY, Emptied, NodeDrain
from orchestrator.errors import Stop, UnreachableError
from orchestrator.model.runbook import NodeDrainArguments

from ..fakes.capacity import Budget, FakeNode, LivePod
from ..fakes.clock import run
from ..fakes.watch import FakeWatch

DRAINED = Emptied(cordoned=True, pods=0)


def drain(node: FakeNode, **arguments: object) -> NodeDrain:
    """The action."""
    return NodeDrain(NodeDrainArguments.model_validate({"host": "n1", **arguments}), node)


def web(count: int) -> list[LivePod]:
    """Pods under the budget ``web``."""
    return [LivePod(f"web-{number}", budget="web") for number in range(count)]


def test_pods_go_as_their_budget_allows() -> None:
    """Cordoned first; one pod after the other where the budget has room for one, asked for again every 5 s."""

    async def story() -> None:
        node, watch = FakeNode(*web(3), budgets={"web": Budget(free=1, heals=12)}), FakeWatch()
        assert await drain(node).converge(DRAINED, watch) == REACHED
        assert node.log == ["cordon", "evict web-0", "evict web-1", "evict web-2"]
        assert node.left == []
        gaps = [later - sooner for sooner, later in zip(node.asked["web-2"], node.asked["web-2"][1:], strict=False)]
        assert all(ASK_AGAIN <= gap < ASK_AGAIN + 2 * LOOK_EVERY for gap in gaps)
        assert watch.texts[0] == "3 pods left; waits for PodDisruptionBudget shop/web"
        assert "2 pods left; waits for PodDisruptionBudget shop/web" in watch.texts
        assert (watch.texts[-1], watch.numbers[-1]) == ("no pod left", {"pods": 0})

    run(story())


def test_what_belongs_to_the_node_stays() -> None:
    """Pods of DaemonSets and mirror pods are neither counted nor evicted."""

    async def story() -> None:
        node = FakeNode(
            LivePod("agent", stays="of a DaemonSet"), LivePod("proxy", stays="a mirror pod"), LivePod("app")
        )
        action = drain(node)
        assert await action.observe() == Emptied(cordoned=False, pods=1)
        assert await action.converge(DRAINED, FakeWatch()) == REACHED
        assert node.left == ["agent", "proxy"]
        assert "agent" not in node.asked
        assert action.reached(await action.observe(), DRAINED)

    run(story())


def test_ending_is_not_gone() -> None:
    """A pod that was told to end is waited for, and not asked for again."""

    async def story() -> None:
        node, watch = FakeNode(LivePod("slow", grace=30)), FakeWatch()
        assert await drain(node).converge(DRAINED, watch) == REACHED
        assert 30 <= watch.clock.monotonic() < 30 + 2 * LOOK_EVERY
        assert len(node.asked["slow"]) == 1
        assert "1 pod left, 1 ending" in watch.texts

    run(story())


def test_at_the_deadline_nothing_is_killed() -> None:
    """What is left is named, each with its reason, and still runs; the node stays cordoned for the undo to open."""

    async def story() -> None:
        node = FakeNode(*web(2), LivePod("slow", grace=1e6), budgets={"web": Budget(free=0)})
        watch = FakeWatch()
        assert await drain(node, deadline="1m").converge(DRAINED, watch) == Outcome(
            reached=False,
            reason="after 1m 3 pods left, none was killed: shop/web-0 (PodDisruptionBudget shop/web), "
            "shop/web-1 (PodDisruptionBudget shop/web), shop/slow (ending)",
        )
        assert 60 <= watch.clock.monotonic() < 60 + 2 * LOOK_EVERY
        assert node.left == ["web-0", "web-1", "slow"]

    run(story())


def test_a_pod_that_nothing_would_start_again_is_left_alone() -> None:
    """It refuses the plan; one that comes later blocks the drain and is named; ``evict`` ends it."""

    async def story() -> None:
        node, watch = FakeNode(LivePod("app"), LivePod("job", alone="it has no owner")), FakeWatch()
        (problem,) = await drain(node).preflight()
        assert problem == (
            "cannot drain the node n1: nothing would start these pods again: shop/job (it has no owner) "
            "— end them yourself, or say 'alone: evict'"
        )
        outcome = await drain(node, deadline="30s").converge(DRAINED, watch)
        assert outcome.reason == "after 30s 1 pod left, none was killed: shop/job (nothing would start it again)"
        assert watch.texts[-1] == "1 pod left; waits for shop/job, which nothing would start again"
        assert (node.left, "job" in node.asked) == (["job"], False)
        willing = drain(node, alone="evict")
        assert await willing.preflight() == []
        assert await willing.converge(DRAINED, watch) == REACHED

    run(story())


def test_the_way_back() -> None:
    """A node that was open is opened again; one that was cordoned before the run stays so, and evicts nobody."""

    async def story() -> None:
        for cordoned, log in ((False, ["cordon", "uncordon"]), (True, [])):
            node, watch = FakeNode(LivePod("app"), cordoned=cordoned), FakeWatch()
            action = drain(node)
            start = await action.observe()
            await action.converge(DRAINED, watch)
            assert await action.converge(start, watch) == REACHED
            assert action.reached(await action.observe(), start)
            assert [line for line in node.log if "cordon" in line] == log
        later = FakeNode(LivePod("app"), cordoned=True)
        assert await drain(later).converge(Emptied(cordoned=True, pods=3), FakeWatch()) == REACHED
        assert later.log == []

    run(story())


def test_twice_is_once() -> None:
    """A drained node is asked for nothing."""

    async def story() -> None:
        node, watch = FakeNode(cordoned=True), FakeWatch(stop_at=1)
        action = drain(node)
        assert action.reached(await action.observe(), DRAINED)
        assert await action.converge(DRAINED, watch) == REACHED
        assert (node.log, node.asked) == ([], {})

    run(story())


def test_somebody_who_uncordons_it_is_not_fought_with() -> None:
    """Evicted pods would come back to a node that is open: the step fails and says so."""

    async def story() -> None:
        node = FakeNode(*web(2), budgets={"web": Budget(free=0)})
        asyncio.get_running_loop().call_later(10, setattr, node, "cordoned", False)
        outcome = await drain(node, deadline="1h").converge(DRAINED, FakeWatch())
        assert "somebody else has uncordoned it meanwhile — agree with them" in outcome.reason
        assert node.log == ["cordon"]

    run(story())


def test_only_some_are_asked_for_side_by_side() -> None:
    """A node of a hundred pods is no reason for a hundred requests at once."""

    async def story() -> None:
        node = FakeNode(*(LivePod(f"app-{number}") for number in range(100)))
        assert await drain(node).converge(DRAINED, FakeWatch()) == REACHED
        assert node.most_at_once == AT_A_TIME

    run(story())


def test_it_stops_between_evictions() -> None:
    """The fence stands before every write: the cordon, and each eviction."""

    async def story() -> None:
        node = FakeNode(*(LivePod(f"app-{number}") for number in range(40)))
        with pytest.raises(Stop):
            await drain(node).converge(DRAINED, FakeWatch(stop_at=21))
        assert len(node.asked) < 40
        with pytest.raises(Stop):
            await drain(node).converge(Emptied(cordoned=False, pods=1), FakeWatch(stop_at=1))
        assert "uncordon" not in node.log

    run(story())


def test_it_bears_with_an_api_server_that_is_away_for_a_while() -> None:
    """Who only waits looks again, for a minute; after that the step fails with the reason."""

    async def story() -> None:
        node, watch = FakeNode(*web(2), budgets={"web": Budget(free=1, heals=20)}), FakeWatch()
        asyncio.get_running_loop().call_later(10, setattr, node, "lost_until", 50)
        assert await drain(node).converge(DRAINED, watch) == REACHED
        assert "cannot look: cannot reach it: connection refused" in watch.texts
        gone = FakeNode(*web(1), cordoned=True, budgets={"web": Budget(free=0)})
        asyncio.get_running_loop().call_later(10, setattr, gone, "lost_until", float("inf"))
        with pytest.raises(UnreachableError):
            await drain(gone).converge(DRAINED, watch)

    run(story())


def test_what_people_are_told() -> None:
    """The plan says what becomes of the node and how many pods leave, and by hand it is the cluster's own command."""
    action, start = drain(FakeNode()), Emptied(cordoned=False, pods=12)
    assert action.describe(start, DRAINED) == ["node n1: open to new pods → cordoned", "pods on n1: 12 → 0"]
    assert action.describe(DRAINED, start) == ["node n1: cordoned → open to new pods"]
    assert action.describe(DRAINED, DRAINED) == []
    assert (action.by_hand(start).what, action.by_hand(start).commands) == ("uncordon the node n1", ["uncordon"])
    assert action.by_hand(DRAINED).what == "cordon the node n1, then see its pods evicted"
    assert action.route(DRAINED, DRAINED) == []
    assert action.effect(start).cordons == {"n1": False}
    assert not action.receivers(DRAINED, start)
