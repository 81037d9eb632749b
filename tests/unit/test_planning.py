"""Planning: the order of the engine's work, the observed difference, and every reason to refuse."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import pytest

from orchestrator.actions.action import Action
from orchestrator.errors import RefusedError
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import Runbook
from orchestrator.model.value import Value
from orchestrator.planning import make_plan, ordered

from .engine.scene import INVENTORY, StepText, back, hold, turn, verify
from .fakes.clock import run
from .fakes.dials import Dial, Dials

STEPS = (verify("escape", "path"), turn("shift"), turn("drain"), hold("window"), back("back", "drain", "shift"))


def runbook(*steps: StepText) -> Runbook:
    """A runbook of these steps."""
    return Runbook.model_validate({"runbook": "scene", "steps": steps})


def plan(world: Dials, *steps: StepText) -> Plan:
    """The plan of these steps, whose dials are the world's."""
    actions = {name: Dial(name, world) for name in world.levels}
    bound = cast("Mapping[str, Action[Value]]", actions)
    return run(make_plan(runbook(*steps), INVENTORY, {"site": "ord"}, bound))


def world(**levels: int) -> Dials:
    """A world of dials that nobody may turn."""

    def refuse(event: str) -> None:
        raise AssertionError(f"planning wrote {event}")

    found = Dials(refuse)
    found.levels.update(levels)
    return found


def needs(*steps: StepText) -> dict[str, tuple[str, ...]]:
    """What each unit of work waits for."""
    return {planned.id: planned.needs for planned in ordered(runbook(*steps))}


def test_each_step_waits_for_the_one_above() -> None:
    """Without ``needs`` a runbook is done from top to bottom; the parts of a return are units of their own."""
    assert needs(*STEPS) == {
        "escape": (),
        "shift": ("escape",),
        "drain": ("shift",),
        "window": ("drain",),
        "back.drain": ("window",),
        "back.shift": ("back.drain",),
    }


def test_branches() -> None:
    """A step with ``needs`` waits for these only."""
    assert needs(turn("one"), turn("two", needs=[]), turn("three", needs=["one", "two"])) == {
        "one": (),
        "two": (),
        "three": ("one", "two"),
    }


def test_who_needs_a_return_needs_its_last_part() -> None:
    """A return is over when its last part is, for the step below it and for one that names it."""
    after = (verify("end", "path"), verify("other", "path", needs=["back", "one"]))
    found = needs(turn("one"), turn("two"), back("back", "two", "one"), *after)
    assert (found["end"], found["other"]) == (("back.one",), ("back.one", "one"))


def test_parts_of_a_return_know_what_they_return() -> None:
    """Each part carries the step that it returns; no other unit does."""
    assert {one.id: one.returns for one in ordered(runbook(*STEPS)) if one.returns} == {
        "back.drain": "drain",
        "back.shift": "shift",
    }


def test_a_plan_says_what_each_step_changes() -> None:
    """The plan has the observed state, and the way from it to the target, a line each; nothing is written."""
    found = plan(world(shift=30, drain=100), verify("escape", "path", "mail"), *STEPS[1:3], back("back", "shift"))
    assert {one.id: (one.diff, one.observed) for one in found.steps} == {
        "escape": (("check path", "check mail"), None),
        "shift": (("shift: 30 → 100",), {"level": 30}),
        "drain": ((), {"level": 100}),
        "back.shift": (("undo shift: back to what is recorded before it",), None),
    }


def test_a_plan_carries_what_it_was_made_of() -> None:
    """Runbook, inventory and parameters are part of the plan, and it survives the journal."""
    found = plan(world(shift=0), turn("shift"))
    assert (found.inventory, found.parameters, found.runbook.steps[0].id) == (INVENTORY, {"site": "ord"}, "shift")
    again = Plan.model_validate_json(found.model_dump_json(by_alias=True))
    assert (again, again.checksum) == (found, found.checksum)


def test_a_plan_is_named_by_its_content() -> None:
    """The same world gives the same checksum, another one another."""
    once, again, other = (plan(world(shift=level), turn("shift")).checksum for level in (0, 0, 1))
    assert once == again != other


def test_every_reason_to_refuse_is_given_at_once() -> None:
    """A step that cannot be done, and one whose world cannot be read, refuse the plan together."""
    broken = world(shift=0, drain=0, other=0)
    broken.trouble = {"shift": "blocked", "drain": "gone"}
    with pytest.raises(RefusedError) as refused:
        plan(broken, turn("shift"), turn("drain"), turn("other"))
    assert str(refused.value).splitlines() == ["cannot turn shift: it is blocked", "cannot read drain: no answer"]


def test_the_same_reason_is_given_once() -> None:
    """Two steps that fail for one reason give it once."""
    broken = world(shift=0)
    broken.trouble = {"shift": "blocked"}
    actions = dict.fromkeys(("one", "two"), cast("Action[Value]", Dial("shift", broken)))
    with pytest.raises(RefusedError) as refused:
        run(make_plan(runbook(turn("one"), turn("two")), INVENTORY, {}, actions))
    assert str(refused.value) == "cannot turn shift: it is blocked"
