"""Steps that may move one pool at the same time are refused: no forecast holds for them."""

from __future__ import annotations

import time

import pytest

from orchestrator.errors import PlanRefusedError
from orchestrator.model.plan import PlannedStep
from orchestrator.planning import ordered
from orchestrator.planning.overlap import overlaps

from ..engine.scene import StepText, back, hold, manual
from .world import World, drain, inventory_of, plan_of, runbook_of, shift


def pairs(*steps: StepText) -> list[str]:
    """The pairs that overlap, as ``one other pool``."""
    found = []
    for line in overlaps(ordered(runbook_of(*steps))):
        words = line.replace("'", "").split()
        found.append(f"{words[1]} {words[3]} {words[7]}")
    return found


def test_two_branches_that_drain_both_sites() -> None:
    """What reads as harmless one after the other is an outage side by side; no override lets it through."""
    world = World(inventory_of({"ord": 1, "iad": 1, "dfw": 1}))
    steps = (drain("a", needs=[]), back("b", "a"), drain("c", "iad", needs=[]))
    with pytest.raises(PlanRefusedError) as error:
        plan_of(world, *steps, overrides={"serving": "never mind"})
    why = "may move pool smtp at the same time: a plan can foresee one at a time — let one need the other"
    assert error.value.problems == (f"steps 'a' and 'c' {why}", f"steps 'b.a' and 'c' {why}")


def test_one_after_the_other_is_fine() -> None:
    """Steps with any step between them, or of two pools, or that move nothing, may stand beside each other."""
    assert pairs(shift("a"), hold("h"), drain("b"), back("c", "b", "a")) == []
    assert pairs(shift("a", needs=[]), shift("b", pool="relay", needs=[])) == []
    assert pairs(shift("a", needs=[]), manual("b", needs=[]), hold("c", needs=[])) == []


def test_branches_count_and_not_the_order_in_the_file() -> None:
    """Two ways that meet only later overlap; a return overlaps with its parts."""
    assert pairs(
        hold("h"),
        shift("a", needs=["h"]),
        drain("b", needs=["h"]),
        hold("end", needs=["a", "b"]),
        back("c", "b", "a"),
        shift("d", needs=["end"]),
    ) == ["a b smtp", "c.b d smtp", "c.a d smtp"]


def test_a_plan_b_overlaps_with_nothing() -> None:
    """An undo goes over one step at a time."""
    assert pairs(shift("a"), manual("reboot", plan_b=[shift("away")])) == []


@pytest.mark.alone
def test_a_thousand_steps_are_looked_through_at_once() -> None:
    """Five pairs are told of however many, and many steps in a row are no matter."""
    assert len(pairs(*(shift(f"s{number}", needs=[]) for number in range(10)))) == 5
    one = ordered(runbook_of(shift("s")))[0]

    def step(number: int) -> PlannedStep:
        return one.model_copy(update={"id": f"s{number}", "needs": (f"s{number - 1}",) if number else ()})

    begun = time.process_time()
    assert overlaps([step(number) for number in range(1000)]) == ()
    assert time.process_time() - begun < 1
