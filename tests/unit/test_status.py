"""The statuses' grammar: which way leads where, and that a run is the fold of its journal."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, TypeAdapter

from orchestrator.model.journal import Entry, EntryKind
from orchestrator.status import (
    RunState,
    RunStatus,
    StepState,
    StepStatus,
    fold,
    run_transition,
    step_transition,
)

STEP_WAYS = {
    "pending": "gating nothing stuck",
    "gating": "gating converging verifying done nothing refused failed undoing stuck",
    "converging": "gating converging verifying done failed undoing stuck",
    "verifying": "gating converging done failed undoing stuck",
    "done": "undoing gating stuck",
    "nothing": "undoing gating stuck",
    "refused": "gating stuck",
    "failed": "gating undoing stuck",
    "undoing": "undoing undone stuck",
    "undone": "gating undoing stuck",
    "stuck": "gating undoing stuck",
}
RUN_WAYS = {
    "planned": "running refused",
    "running": "running held done undoing refused interrupted stuck",
    "held": "running held undoing refused interrupted stuck",
    "interrupted": "running undoing interrupted",
    "undoing": "undoing undone stuck interrupted",
    "done": "undoing",
    "undone": "",
    "refused": "",
    "stuck": "running undoing",
}


def entry(
    kind: EntryKind, step: str = "", at: float = 1.0, epoch: int = 1, attempt: int = 0, **data: JsonValue
) -> Entry:
    """An entry of the run ``r1``."""
    return Entry(run="r1", at=at, epoch=epoch, kind=kind, step=step, attempt=attempt, data=data)


def life(*statuses: str, step: str = "shift") -> list[Entry]:
    """A step's life as entries, a second apart."""
    return [entry("step", step, at=float(second), status=status) for second, status in enumerate(statuses, 1)]


@pytest.mark.parametrize(("now", "then"), [*product(StepStatus, StepStatus)])
def test_a_step_goes_only_the_ways_that_are_drawn(now: StepStatus, then: StepStatus) -> None:
    """A step's every move is either one of the drawn ways or a ValueError that names both ends."""
    if then in STEP_WAYS[now].split():
        assert step_transition(now, then) is then
    else:
        with pytest.raises(ValueError, match=f"cannot go from {now} to {then}"):
            step_transition(now, then)


@pytest.mark.parametrize(("now", "then"), [*product(RunStatus, RunStatus)])
def test_a_run_goes_only_the_ways_that_are_drawn(now: RunStatus, then: RunStatus) -> None:
    """A run's every move is either one of the drawn ways or a ValueError that names both ends."""
    if then in RUN_WAYS[now].split():
        assert run_transition(now, then) is then
    else:
        with pytest.raises(ValueError, match=f"cannot go from {now} to {then}"):
            run_transition(now, then)


@pytest.mark.parametrize("now", [*StepStatus])
def test_a_person_can_be_asked_at_any_time(now: StepStatus) -> None:
    """From every status a step can become stuck."""
    assert step_transition(now, StepStatus.STUCK) is StepStatus.STUCK


@pytest.mark.parametrize("now", [*RunStatus])
def test_every_run_can_end(now: RunStatus) -> None:
    """From every status a run can reach one in which nothing is half-way."""
    reached = {now.value}
    while more := {then for status in reached for then in RUN_WAYS[status].split()} - reached:
        reached |= more
    assert reached & {"done", "undone", "refused"}


def test_nothing_converges_ungated() -> None:
    """Only a step that has been at its gate can converge or be done."""
    for now in set(StepStatus) - {StepStatus.GATING, StepStatus.CONVERGING, StepStatus.VERIFYING}:
        for then in (StepStatus.CONVERGING, StepStatus.VERIFYING, StepStatus.DONE):
            with pytest.raises(ValueError, match="cannot go"):
                step_transition(now, then)


def test_an_empty_journal_is_a_planned_run() -> None:
    """Before its first entry a run is planned, and a step that nobody has mentioned is pending."""
    assert fold([]) == RunState()
    assert fold([]).status is RunStatus.PLANNED
    assert fold([]).step("shift") == StepState(status=StepStatus.PENDING)


def test_a_step_is_folded_from_its_entries() -> None:
    """The first intent's start and time stay, and an intent is in doubt until its outcome is there."""
    state = fold(
        [
            entry("run", at=1.0, status="running"),
            entry("step", "shift", at=2.0, attempt=1, status="gating"),
            entry("step", "shift", at=3.0, attempt=1, status="converging"),
            entry("intent", "shift", at=4.0, start={"ord": 100}, to={"ord": 75}),
            entry("outcome", "shift", at=5.0, result="reached"),
            entry("intent", "shift", at=6.0, start={"ord": 75}, to={"ord": 0}),
            entry("progress", "shift", at=7.0, text="weight 0"),
        ]
    )
    assert state.status is RunStatus.RUNNING
    assert (state.began, state.at) == (1.0, 7.0)
    assert state.step("shift") == StepState(
        status=StepStatus.CONVERGING,
        attempt=1,
        start={"ord": 100},
        began=4.0,
        changed=True,
        in_doubt=True,
        loose=True,
        since=3.0,
        turn=3,
        entered=2.0,
        progress="weight 0",
    )
    assert not fold([entry("outcome", "shift", at=8.0, result="reached")], state).step("shift").in_doubt


def test_an_approval_may_come_ahead() -> None:
    """An approval is kept for a step that has not begun, and the step is still pending."""
    step = fold([entry("approval", "window", epoch=0, by="ada", note="window is over")]).step("window")
    assert (step.status, step.approved_by, step.approved_note) == (StepStatus.PENDING, "ada", "window is over")


def test_verdicts_change_no_status() -> None:
    """A verdict, of a step or of a guard, moves neither the step nor the run."""
    before = fold([entry("run", status="running"), *life("gating")])
    after = fold([entry("verdict", "shift", check="c", judgement="fail"), entry("verdict", check="c")], before)
    assert replace(after, at=before.at, entries=before.entries) == before


def test_steps_are_told_apart() -> None:
    """An entry changes the step that it names and no other."""
    state = fold([*life("gating", "done"), *life("gating", step="drain")])
    assert state.step("shift").status is StepStatus.DONE
    assert state.step("drain").status is StepStatus.GATING


def test_the_epoch_never_falls() -> None:
    """A person's entry, which has epoch 0, leaves the owner's epoch as it was."""
    assert fold([entry("run", epoch=3, status="running"), entry("approval", "w", epoch=0, by="ada")]).epoch == 3


@pytest.mark.parametrize(
    ("statuses", "undoing"),
    [
        (["running"], False),
        (["running", "undoing"], True),
        (["running", "undoing", "interrupted"], True),
        (["running", "undoing", "stuck", "running"], False),
        (["running", "undoing", "undone"], True),
    ],
)
def test_an_interrupted_way_back_stays_one(statuses: list[str], undoing: bool) -> None:
    """A run that was undoing when it was interrupted is known to be on its way back, until it runs again."""
    assert fold(entry("run", status=status) for status in statuses).undoing is undoing


@pytest.mark.parametrize(
    "impossible",
    [
        [entry("run", status="done")],
        [entry("run", status="no such status")],
        life("gating", "done", "converging"),
        life("done"),
        life("no such status"),
    ],
    ids=["run", "unknown run status", "done step", "ungated step", "unknown step status"],
)
def test_an_impossible_journal_is_not_guessed_around(impossible: list[Entry]) -> None:
    """A journal with a move that does not exist raises ValueError."""
    with pytest.raises(ValueError, match=r"cannot go|not a valid"):
        fold(impossible)


@st.composite
def journals(draw: st.DrawFn) -> list[Entry]:
    """Any journal whose moves are all allowed: two steps and a run, with everything else in between."""
    entries: list[Entry] = []
    run, steps = "planned", {"shift": "pending", "drain": "pending"}
    for second in range(draw(st.integers(0, 25))):
        kind: EntryKind = draw(st.sampled_from(["run", "step", "intent", "outcome", "verdict", "approval", "progress"]))
        step = draw(st.sampled_from(sorted(steps)))
        data: dict[str, JsonValue] = {"text": str(second), "start": {"n": second}, "by": "ada"}
        if kind == "run":
            if not RUN_WAYS[run]:
                continue
            run = draw(st.sampled_from(RUN_WAYS[run].split()))
            data["status"] = run
        elif kind == "step":
            steps[step] = draw(st.sampled_from(STEP_WAYS[steps[step]].split()))
            data["status"] = steps[step]
        place = "" if kind == "run" else step
        epoch = draw(st.integers(0, 3))
        entries.append(Entry(run="r1", at=float(second), epoch=epoch, kind=kind, step=place, data=data))
    return entries


@given(entries=journals(), data=st.data())
def test_a_fold_can_be_cut_anywhere(entries: list[Entry], data: st.DataObject) -> None:
    """Folding any beginning of a journal and then the rest is folding all of it."""
    cut = data.draw(st.integers(0, len(entries)))
    assert fold(entries[cut:], fold(entries[:cut])) == fold(entries)


@given(entries=journals())
def test_a_state_survives_json(entries: list[Entry]) -> None:
    """A run's state, and each entry, is the same after a way through JSON."""
    state = fold(entries)
    told = TypeAdapter(RunState)
    assert told.validate_json(told.dump_json(state)) == state
    assert fold(Entry.model_validate_json(one.model_dump_json()) for one in entries) == state
