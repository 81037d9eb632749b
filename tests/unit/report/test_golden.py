"""Whole reports of whole runs: the lines, the tree and the summary, as they look at 80 columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.model.plan import Plan
from orchestrator.report.diff import plan_markdown, plan_text
from orchestrator.report.lines import LineReport
from orchestrator.report.records import status_view
from orchestrator.report.sheet import plain
from orchestrator.report.summary import summary

from . import plans, story
from .story import HandClock, Story

GOLDEN = Path(__file__).parent / "golden"
RUNS: dict[str, Callable[[], Story]] = {
    "done": story.done,
    "refused": story.refused,
    "undone": story.undone,
    "breached": story.breached,
    "stuck": story.stuck,
    "held": story.held,
    "draining": story.draining,
}
PLANS: dict[str, Callable[[], Plan]] = {
    "plan": plans.maintenance,
    "plan-unforeseen": story.plan,
    "plan-usual": plans.usual,
    "plan-everything": plans.everything,
}


def lines(told: Story) -> str:
    """What the line report writes while the story goes."""
    written: list[str] = []
    clock = HandClock()
    report = LineReport(story.plan(), written.append, clock)
    for entry in told.entries:
        clock.set(entry.at)
        report.entry(entry)
    return "".join(f"{line}\n" for line in written)


def report(told: Story) -> str:
    """All three reports of a story, one below the other."""
    tree = plain(status_view(story.plan(), story.row("running"), told.entries, told.at + 3))
    closing = plain(summary(story.plan(), told.entries, story.RUN))
    return f"{lines(told)}{'-' * 80}\n{tree}{'-' * 80}\n{closing}"


@pytest.mark.parametrize("name", RUNS)
def test_a_run_reads_as_agreed(name: str) -> None:
    """The three reports of this run say exactly this."""
    assert report(RUNS[name]()) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_reads_as_agreed(name: str) -> None:
    """The plan's text says exactly this."""
    plan = PLANS[name]()
    agreed = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert plan_text(plan).replace(plan.checksum, "CHECKSUM") == agreed


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_makes_the_agreed_ticket(name: str) -> None:
    """The plan's change ticket says exactly this."""
    plan = PLANS[name]()
    agreed = (GOLDEN / f"{name}.md").read_text(encoding="utf-8")
    assert plan_markdown(plan).replace(plan.checksum, "CHECKSUM") == agreed


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    """Tree and summary fit 40, 80 and 120 columns, and carry no control characters when it is no terminal."""
    told = RUNS[name]()
    for page in (
        status_view(story.plan(), story.row("running"), told.entries, told.at),
        summary(story.plan(), told.entries, story.RUN),
    ):
        text = plain(page, width)
        assert max(map(len, text.splitlines())) <= width
        assert "\x1b" not in text
