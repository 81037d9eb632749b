"""A plan as text: what it must say, and what it must never do to a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from orchestrator.model.plan import Milestone, Plan, PoolForecast
from orchestrator.model.runbook import Runbook
from orchestrator.report.plan_text import WIDTH, plan_text
from orchestrator.report.plan_words import ratio_text, table_of

from . import plans, story

PLANS = [plans.maintenance, plans.everything, story.plan]


@pytest.mark.parametrize("made", PLANS)
def test_no_line_is_too_wide(made: Callable[[], Plan]) -> None:
    """A plan is 100 columns wide at most; only the line of the checksum, which nobody reads, is longer."""
    *lines, checksum = plan_text(made()).splitlines()
    assert max(map(len, lines)) <= WIDTH == 100
    assert checksum.endswith(made().checksum)


@pytest.mark.parametrize("made", PLANS)
def test_a_narrow_terminal_is_kept_to(made: Callable[[], Plan]) -> None:
    """At 60 columns what is prose fits, hangs below its title, and says the same; tables stay whole."""
    wide, narrow = plan_text(made()), plan_text(made(), width=60)
    *lines, _ = narrow.splitlines()
    assert [line for line in lines if len(line) > 60 and line not in wide.splitlines()] == []
    assert narrow.split() == wide.split()
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("made", PLANS)
def test_colours_are_put_on_a_text_that_stays_the_same(made: Callable[[], Plan]) -> None:
    """Without colour there is no control character; with it the text is the same, and each line ends plain."""
    text, coloured = plan_text(made()), plan_text(made(), colour=True)
    assert "\x1b" not in text
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured) == text
    assert "\x1b[33m~ " in coloured
    assert all(line.endswith("\x1b[0m") for line in coloured.splitlines() if "\x1b" in line)


def test_a_plan_fits_on_two_screens() -> None:
    """The plan of a provider's maintenance is read without paging for long."""
    assert len(plan_text(plans.maintenance()).splitlines()) <= 80


def test_what_a_file_says_cannot_reach_the_terminal() -> None:
    """Control characters in texts of a runbook, an override or a diff are not written."""
    plan = plans.everything()
    evil = "a\x1b[2Jb\rc\nd\u202e"
    runbook = Runbook.model_validate(
        {**plan.runbook.model_dump(by_alias=True), "summary": evil, "skipped": {"warm-up": evil}}
    )
    shift = plan.steps[0].model_copy(update={"diff": (evil,), "undo": (evil,)})
    update = {
        "runbook": runbook,
        "steps": (shift, *plan.steps[1:]),
        "overrides": {"serving": evil},
        "warnings": (evil,),
    }
    text = plan_text(plan.model_copy(update=update))
    assert not set("\x1b\r\u202e") & set(text)
    assert text.count("a [2Jb c d") == 6


def test_a_headroom_is_rounded_down() -> None:
    """What is below a bound never reads as if it met it; without demand there is no number."""
    assert [ratio_text(ratio) for ratio in (1.2999, 1.3, 0.9999, None)] == ["1.29", "1.30", "0.99", "–"]  # noqa: RUF001


def test_many_sites_come_together() -> None:
    """Of more sites than fit, those whose share changes most are shown, and the others as one."""
    before = {f"site{number}": 0.1 for number in range(10)}
    after = {**before, "site3": 0.0, "site7": 0.2}
    marks = [
        Milestone(label=label, pools=(PoolForecast(pool="smtp", shares=shares, serving=tuple(shares)),))
        for label, shares in (("50%", before), ("100%", after))
    ]
    head, _, last = table_of("smtp", marks)
    assert (head[0], head[-4:]) == ("smtp", ["others", "moved", "headroom", "serving"])
    assert {"site3", "site7"} <= set(head)
    assert len(head) == len(last) == 10
    assert last[-1] == "10 sites"
    assert last[head.index("others")] == "50%"


def test_a_part_of_a_return_asks_nobody_anew() -> None:
    """An approval of a return stands at its first part, which is the one that asks."""
    plan = story.plan()
    back = plan.steps[-1].step.model_copy(update={"approval": plans.RUNBOOK.steps[2].approval})
    parts = tuple(step.model_copy(update={"step": back}) for step in plan.steps[-2:])
    text = plan_text(plan.model_copy(update={"steps": (*plan.steps[:4], *parts)}))
    assert text.count("2 people must approve") == 1
    assert text.index("back.drain") < text.index("2 people must approve") < text.index("back.shift")


def test_steps_of_a_plan_b_do_not_count() -> None:
    """The count at the end is of the steps that will be run, not of those that may stand for an undo."""
    assert "\n2 of 4 steps change something now; checksum " in plan_text(plans.everything())
