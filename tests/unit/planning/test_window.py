"""The moment by which all must be over: what a plan says of it."""

from __future__ import annotations

from orchestrator.model.plan import Plan
from orchestrator.planning import begin_by, make_plan, recheck, too_late

from ..engine.scene import hold
from ..fakes.clock import EPOCH, LoopClock, run
from .world import World, inventory_of, runbook_of, shift

INVENTORY = inventory_of({"ord": 1, "iad": 1})


def plan(window: float | None) -> Plan:
    """Ten minutes and two seconds, and a person who is said to take five; the window ends so long after the epoch."""
    steps = (shift("shift"), hold("wait", "10m"), hold("ask", estimate="5m"))
    ends = None if window is None else EPOCH + window
    return run(make_plan(runbook_of(*steps), {}, World(INVENTORY), LoopClock(), window_ends=ends))


def test_when_a_run_must_begin() -> None:
    """It must begin as long before the end as it takes, with what the runbook says of people."""
    assert begin_by(plan(3600)) == EPOCH + 3600 - 902
    assert begin_by(plan(None)) is None


def test_a_plan_that_fits_says_nothing() -> None:
    """No warning where there is time, or no window."""
    assert (plan(902 + 1).warnings, plan(None).warnings) == ((), ())


def test_a_plan_that_does_not_fit_is_warned_of() -> None:
    """It is not refused: who runs it may know better."""
    (warning,) = plan(600).warnings
    assert warning.startswith("now: it does not fit: the window ends at ")
    assert warning.endswith(", in 10m, and all this takes ~15m02s")


def test_a_window_that_is_over() -> None:
    """A plan that waited too long says so; to look at it again keeps its window, and warns anew."""
    made = plan(902 + 1)
    assert too_late(made, EPOCH) == ""
    assert too_late(made, EPOCH + 5).startswith("it does not fit")
    assert too_late(made, EPOCH + 1000).startswith("the window is over since ")
    again = run(recheck(made, World(INVENTORY), LoopClock(later=5.0))).plan
    assert again is not None
    assert again.window_ends == made.window_ends
    assert [line.partition(":")[0] for line in again.warnings] == ["now"]
