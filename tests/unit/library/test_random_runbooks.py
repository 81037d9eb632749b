"""Undo equals identity: whatever a runbook does, and whatever happens to it, an undo leaves the world as it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from orchestrator.errors import InputError, PlanRefusedError
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import DrainStep

from .lives import DEATHS, ENDS, Life, Lives, Moody, Work
from .random_runbooks import NOW_AND_THEN, Draft, StepText, load, runbooks
from .shelf import lab_inventory
from .stage import Ended

INVENTORY = lab_inventory()

LIVES = st.lists(
    st.builds(
        Life,
        work=st.sampled_from(["run", "run", "undo"]),
        death=st.sampled_from(DEATHS),
        number=st.integers(1, 120),
    ),
    min_size=1,
    max_size=4,
)
NUMBERS = st.sets(st.integers(1, 10), max_size=2)
"""Of judgements that fail. Health that is asked three times for one undo is found at least once."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runbooks are written."""
    return tmp_path_factory.mktemp("random")


def staged(draft: Draft, folder: Path, judge: Moody | None = None, breach_at: float | None = None) -> Lives:
    """A stage for the draft."""
    return Lives(load(draft, INVENTORY, folder), draft.start, judge=judge or Moody(()), breach_at=breach_at)


def lived(stage: Lives, lives: Sequence[Life] = (), last: Work = "run") -> Ended | None:
    """Let a random run live, and see that nothing is left of it; None where the planner refuses it."""
    try:
        ended = stage.live(lives, last)
    except PlanRefusedError:
        event("refused by the planner")
        return None
    event(f"{ended.first_status}, then {ended.status}")
    assert_nothing_left(stage, ended)
    return ended


def assert_nothing_left(stage: Lives, ended: Ended) -> None:
    """The run is over, the world is as before it, and so is the mail."""
    how = f"{ended.first_status}, then {ended.status}: {ended.state.reason}"
    assert ended.status in ENDS, how
    assert ended.after == ended.before, how
    assert not ended.left_over, f"{how}: {ended.tasks}"
    assert not [one for one in stage.entries if "a bug in" in str(one.data.get("reason"))]
    if not may_cut(ended.plan):
        assert (ended.pool.cut, ended.pool.doubled) == ([], []), how


def shift(name: str, giver: str, taker: str) -> StepText:
    """A shift of everything."""
    return {"id": name, "do": "traffic.shift", "with": {"pool": "smtp", "from": giver, "to": taker}}


def drain(name: str, **what: JsonValue) -> StepText:
    """A drain of a site or a host."""
    return {"id": name, "do": "smtp.drain", "with": {"pool": "smtp", "settle": "1s", **what}}


def back(name: str, *steps: str, **more: JsonValue) -> StepText:
    """A return."""
    return {"id": name, "do": "return", "steps": list(steps), **more}


SHIFTS = [shift("first", "ord", "iad"), shift("second", "iad", "dfw")]
DRAINS = [shift("away", "ord", "iad"), drain("host", host="ord-mx1"), drain("site", site="ord")]
MAY_FAIL: StepText = {"before": ["flows"], "on_failure": "continue"}

OUT_OF_ORDER: dict[str, list[StepText]] = {
    "a shift under a shift": [*SHIFTS, back("one", "first")],
    "two shifts, the first one first": [*SHIFTS, back("one", "first"), back("two", "second")],
    "a host under its site": [*DRAINS, back("one", "host")],
    "a host and its site, the host first": [*DRAINS, back("one", "host"), back("two", "site")],
}
"""Each returns a step while a later one stands that moved the same members, from where the first one had put them."""

PASSED_OVER: dict[str, list[StepText]] = {
    "a shift under a shift, in one return": [*SHIFTS, back("both", "second", "first", **MAY_FAIL)],
    "a shift under a shift": [*SHIFTS, back("one", "second", **MAY_FAIL), back("two", "first")],
    "a host under its site": [*DRAINS, back("one", "site", **MAY_FAIL), back("two", "host")],
}
"""The same, where the return of the later one fails."""


def may_cut(plan: Plan) -> bool:
    """Whether a drain may cut transactions at its deadline."""
    drains = (one.step.with_ for one in plan.steps if isinstance(one.step, DrainStep))
    return any(drain.at_deadline == "cut" for drain in drains)


def cuts_counted(stage: Lives) -> int:
    """How many transactions the drains say that they have cut: the last count of each try."""
    counts: dict[tuple[str, int], int] = {}
    for one in stage.entries:
        cut = one.data.get("cut") if one.kind == "progress" else None
        if isinstance(cut, int | float):
            counts[one.step, one.attempt] = int(cut)
    return sum(counts.values())


def test_most_of_them_are_accepted(folder: Path) -> None:
    """Loader and planner take most random runbooks, so that the other tests here are about runs."""
    seen: Counter[str] = Counter()

    @settings(max_examples=60, deadline=None)
    @given(draft=runbooks())
    def plan(draft: Draft) -> None:
        try:
            staged(draft, folder).plan()
            seen["accepted"] += 1
            seen.update(draft.kinds())
        except (InputError, PlanRefusedError):
            seen["refused"] += 1

    plan()
    assert seen["accepted"] >= 3 * seen["refused"], seen
    assert seen.keys() >= {"traffic.shift", "smtp.drain", "return", "manual", "hold", "verify", "parallel"}


@settings(max_examples=50, deadline=None)
@given(draft=runbooks())
def test_do_then_undo(folder: Path, draft: Draft) -> None:
    """What is done and then undone leaves weights, gates and a person's work as before; what was cut is counted."""
    stage = staged(draft, folder)
    ended = lived(stage)
    if ended:
        assert len(ended.pool.cut) + len(ended.pool.doubled) <= cuts_counted(stage)


@pytest.mark.parametrize("steps", OUT_OF_ORDER.values(), ids=OUT_OF_ORDER.keys())
def test_a_return_out_of_order(folder: Path, steps: list[StepText]) -> None:
    """A step is not returned from under one that stands: it is refused at load."""
    with pytest.raises(InputError, match=r"was done after it and .* too — return .* first"):
        staged(Draft(entries=steps), folder)


@pytest.mark.parametrize("steps", PASSED_OVER.values(), ids=PASSED_OVER.keys())
def test_a_return_that_is_passed_over(folder: Path, steps: list[StepText]) -> None:
    """What stands because its return has failed keeps what it stands upon, which is told; an undo takes all back."""
    stage = staged(Draft(entries=steps), folder, Moody({1}))
    assert_nothing_left(stage, stage.live([]))
    refused = {str(one.data["reason"]) for one in stage.entries if one.data.get("status") == "refused"}
    assert any("was done after it, moved the same and stands" in reason for reason in refused), refused


@settings(max_examples=60, deadline=None)
@given(draft=runbooks(NOW_AND_THEN))
def test_the_loader_finds_each_return_out_of_order(folder: Path, draft: Draft) -> None:
    """A runbook that takes a step from under one that stands is refused for that alone, and no other runbook is."""
    event("refused" if draft.mistaken else "accepted")
    if not draft.mistaken:
        load(draft, INVENTORY, folder)
        return
    with pytest.raises(InputError) as refused:
        load(draft, INVENTORY, folder)
    assert all("was done after it" in problem.message for problem in refused.value.problems)


@settings(max_examples=50, deadline=None)
@given(draft=runbooks(), fails=NUMBERS, unhealthy=NUMBERS)
def test_whatever_fails(folder: Path, draft: Draft, fails: set[int], unhealthy: set[int]) -> None:
    """Whichever judgements fail, of checks or of a site's health, the run can be undone, and nothing is left of it."""
    lived(staged(draft, folder, Moody(fails, unhealthy)))


@settings(max_examples=40, deadline=None)
@given(draft=runbooks(), breach_at=st.floats(0.1, 30.0))
def test_whenever_a_guard_breaks(folder: Path, draft: Draft, breach_at: float) -> None:
    """Whenever a guard finds a breach, the run can be undone, and nothing is left of it."""
    lived(staged(draft, folder, breach_at=breach_at))


@settings(max_examples=60, deadline=None)
@given(draft=runbooks(), lives=LIVES, last=st.sampled_from(["run", "undo"]), fails=NUMBERS)
def test_however_often_it_dies(folder: Path, draft: Draft, lives: list[Life], last: Work, fails: set[int]) -> None:
    """Killed around any entry or at any instant, interrupted or aborted, out or back: an undo ends it as before."""
    lived(staged(draft, folder, Moody(fails)), lives, last)


@settings(max_examples=40, deadline=None)
@given(draft=runbooks(), lives=st.just([]) | LIVES, fails=NUMBERS)
def test_a_run_is_the_fold_of_its_journal(folder: Path, draft: Draft, lives: list[Life], fails: set[int]) -> None:
    """After each entry, over any number of owners, the journal up to it gives the state that its writer had."""
    stage = staged(draft, folder, Moody(fails))
    if lived(stage, lives):
        assert stage.compared > 0
        assert stage.astray == []
