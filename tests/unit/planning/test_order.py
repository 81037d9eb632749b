"""The units of the engine's work, and the order in which they can be done."""

from __future__ import annotations

from orchestrator.planning import in_order, ordered

from ..engine.scene import StepText, back, hold, manual, turn, verify
from .world import runbook_of

STEPS = (verify("escape", "path"), turn("shift"), turn("drain"), hold("window"), back("back", "drain", "shift"))


def needs(*steps: StepText) -> dict[str, tuple[str, ...]]:
    """What each unit of work waits for."""
    return {planned.id: planned.needs for planned in ordered(runbook_of(*steps))}


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
    assert {one.id: one.returns for one in ordered(runbook_of(*STEPS)) if one.returns} == {
        "back.drain": "drain",
        "back.shift": "shift",
    }


def test_a_plan_b_stands_beside_the_way() -> None:
    """Its steps follow each other, belong to their step, and no step of the way waits for them."""
    reboot = manual("reboot", plan_b=[turn("away"), verify("look", "path")])
    found = ordered(runbook_of(turn("first"), reboot, turn("last")))
    assert [(one.id, one.needs, one.instead_of) for one in found] == [
        ("first", (), None),
        ("reboot", ("first",), None),
        ("away", (), "reboot"),
        ("look", ("away",), "reboot"),
        ("last", ("reboot",), None),
    ]


def test_the_order_of_work() -> None:
    """Each step comes behind what it needs, otherwise as in the file; plans B are no part of it."""
    steps = (
        turn("late", needs=["other"]),
        turn("one", needs=[]),
        turn("other", needs=["one"], plan_b=[turn("instead")]),
        turn("two", needs=[]),
    )
    assert [one.id for one in in_order(ordered(runbook_of(*steps)))] == ["one", "other", "late", "two"]
