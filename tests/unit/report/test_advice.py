"""What a person is told to type while a return asks for the undo of a person's work."""

from __future__ import annotations

from orchestrator.model.plan import Plan
from orchestrator.model.runbook import Runbook
from orchestrator.planning.order import ordered
from orchestrator.report.account import Account
from orchestrator.report.advice import advice
from orchestrator.report.sheet import plain
from orchestrator.report.summary import summary

from . import story
from .story import Story

RUNBOOK = Runbook.model_validate(
    {
        "runbook": "queued-maintenance",
        "steps": [
            {"id": "defer", "do": "manual", "with": {"task": "Queue all mail.", "undo": "Let mail flow."}},
            {"id": "work", "do": "hold", "with": {"until": "1h"}},
            {"id": "open", "do": "return", "steps": ["work", "defer"], "approval": {"people": 2}},
        ],
    }
)
PLAN = Plan(runbook=RUNBOOK, inventory=story.INVENTORY, parameters={}, steps=ordered(RUNBOOK))


def commands(told: Story) -> list[str]:
    """What can be typed."""
    return [order.command for order in advice(Account(PLAN, told.entries))]


def deferred() -> Story:
    """Mail is queued, and the work is done."""
    told = Story().run("running").step("defer", "gating").towards("defer", "").approve("defer", "ada").outcome("defer")
    told.step("defer", "verifying").step("defer", "done").step("work", "gating").towards("work", "").outcome("work")
    return told.step("work", "verifying").step("work", "done")


def opening() -> Story:
    """The return has been approved, and asks for the undo of the person's work."""
    told = deferred().step("open.work", "gating").approve("open.work", "ada").approve("open.work", "bob")
    told.towards("open.work", "", "back").outcome("open.work").step("open.work", "verifying").step("open.work", "done")
    told.step("open.defer", "gating").towards("open.defer", "", "back")
    return told.run("held", "open.defer waits for a person: Let mail flow.")


def closing_again() -> Story:
    """The return has failed, and is taken back: the work is to be done again."""
    told = opening().approve("open.defer", "ada").approve("open.defer", "bob").run("running").outcome("open.defer")
    told.step("open.defer", "verifying").step("open.defer", "failed", "accepts failed").step("open.defer", "undoing")
    told.towards("open.defer", "as before", "undo")
    return told.run("held", "open.defer waits for a person: Queue all mail.")


def test_a_return_of_a_persons_work_is_approved_by_the_name_of_its_part() -> None:
    """While the undo of a manual step is asked for as a return, the command that says it is done is told."""
    assert commands(opening()) == [f"failover approve {story.RUN} open.defer", f"failover abort {story.RUN}"]
    assert "Held: open.defer waits for approval." in plain(summary(PLAN, opening().entries, story.RUN))


def test_a_return_of_a_persons_work_waits_for_as_many_people_as_the_return() -> None:
    """With one of two approvals it still waits; with both nothing more is asked of a person."""
    one = opening().approve("open.defer", "ada")
    assert commands(one)[:-1] == [f"failover approve {story.RUN} open.defer"]
    both = one.approve("open.defer", "bob")
    assert not any("approve" in command for command in commands(both))


def test_a_return_that_is_taken_back_asks_for_the_work_again() -> None:
    """When a return of a manual step goes back itself, the command that says so is told, too."""
    assert commands(closing_again())[:-1] == [f"failover approve {story.RUN} open.defer"]


def test_other_parts_of_a_return_ask_nobody_while_they_work() -> None:
    """A part that takes back no person's work asks before it begins, where it is the first, and never after."""
    gating = deferred().step("open.work", "gating").run("held", "open.work waits for the approval of 2 people")
    assert commands(gating)[:-1] == [f"failover approve {story.RUN} open.work"]
    working = gating.approve("open.work", "ada").approve("open.work", "bob").run("running")
    assert commands(working.towards("open.work", "", "back").run("held", "a gate")) == [
        f"failover resume {story.RUN}",
        f"failover undo {story.RUN}",
    ]
