"""Runs with a person's work, approvals, included runbooks and a plan B, as their reports tell of them."""

from __future__ import annotations

from orchestrator.report.account import Account
from orchestrator.report.advice import advice, waits_for_approval
from orchestrator.report.records import run_record
from orchestrator.report.sheet import plain
from orchestrator.report.summary import summary
from orchestrator.report.tree import run_tree

from . import plans, story
from .story import Story


def tree(told: Story) -> str:
    """The tree of a story of the plan that has everything."""
    return plain(run_tree(Account(plans.everything(), told.entries), told.at), 100)


def closing(told: Story) -> str:
    """Its summary."""
    return plain(summary(plans.everything(), told.entries, story.RUN), 100)


def shifted() -> Story:
    """The included part is done."""
    told = Story().run("running")
    told.step("leave.drain", "gating").step("leave.drain", "nothing", "already so")
    told.step("leave.shift", "gating").waypoint("leave.shift", "100%", "weight ord 0, iad 200")
    return told.step("leave.shift", "done")


def asking() -> Story:
    """Two people must approve; one has."""
    told = shifted().step("reboot", "gating").towards("reboot", "")
    told.run("held", "reboot waits for a person: Reboot ord-1")
    return told.approve("reboot", "alice")


def at_work() -> Story:
    """Both have approved, and somebody reboots."""
    told = asking().approve("reboot", "bob").run("running")
    return told.progress("reboot", "a person must: Reboot ord-1")


def turned_back() -> Story:
    """The reboot failed; its plan B asks for a call."""
    told = at_work().outcome("reboot", "failed", "it burns").step("reboot", "failed", "it burns")
    told.run("undoing", "reboot: it burns").step("reboot", "undoing", "it cannot be undone: plan B")
    told.step("call", "gating").towards("call", "")
    return told.progress("call", "waits for a person: Call the provider.")


def replaced() -> Story:
    """Plan B is done, and the rest is undone."""
    told = turned_back().approve("call", "bob", "they come").outcome("call").step("call", "verifying")
    told.step("call", "done").step("stay", "gating").towards("stay", "").approve("stay", "bob")
    told.outcome("stay").step("stay", "verifying").step("stay", "done")
    told.step("reboot", "undone", "plan B is done instead")
    told.step("leave.shift", "undoing").towards("leave.shift", "as before", "undo").outcome("leave.shift")
    return told.step("leave.shift", "undone", "is as it was before").run("undone", "reboot: it burns")


def test_a_plan_b_is_not_told_before_it_begins() -> None:
    """Tree, summary and record leave out the steps of a plan B that no undo has come to."""
    told = at_work()
    for text in (tree(told), closing(told)):
        assert "reboot" in text
        assert "call" not in text
        assert "stay" not in text
    record = run_record(plans.everything(), story.row("running"), told.entries)["steps"]
    assert isinstance(record, list)
    assert len(record) == 4


def test_a_plan_b_that_has_begun_is_told_below_its_step() -> None:
    """The tree shows the step of a plan B below the step that it stands for, with what it waits for."""
    assert tree(turned_back()).splitlines()[6:10] == [
        " ✓ leave.shift  traffic.shift   done           31s  weight ord 0, iad 200",
        " = leave.drain  smtp.drain      nothing             already so",
        " ◀ reboot       manual          undoing         0s  it cannot be undone: plan B",
        "   ● call       plan B: manual  converging      0s  waits for a person: Call the provider.",
    ]


def test_who_has_approved_and_who_is_missing() -> None:
    """A step that waits for two people is named as waiting until the second has approved."""
    plan = plans.everything()
    assert waits_for_approval(plan, Account(plan, asking().entries).state) == ["reboot"]
    assert waits_for_approval(plan, Account(plan, asking().approve("reboot", "bob").entries).state) == []
    assert waits_for_approval(plan, Account(plan, asking().approve("reboot", "alice").entries).state) == ["reboot"]


def test_how_many_have_approved_is_counted() -> None:
    """As long as people are missing, the tree says how many of them have approved."""
    assert "approved by alice (1 of 2)" in tree(asking())
    assert "approved by alice, bob" in tree(asking().approve("reboot", "bob"))


def test_persons_work_is_asked_for_on_the_way_back_too() -> None:
    """While a run is being undone, what a person must answer is named with its command."""
    account = Account(plans.everything(), turned_back().entries)
    assert [order.command for order in advice(account)] == [f"failover approve {story.RUN} call"]


def test_while_its_plan_b_waits_the_step_itself_is_not_offered() -> None:
    """A run that is held, and not undone, at the plan B of a step that failed asks for the plan B alone."""
    told = at_work().outcome("reboot", "failed", "it burns").step("reboot", "failed", "it burns")
    told.step("reboot", "undoing", "it cannot be undone: plan B").step("call", "gating").towards("call", "")
    account = Account(plans.everything(), told.run("held", "call waits for a person: Call the provider.").entries)
    assert [order.command for order in advice(account)][:-1] == [f"failover approve {story.RUN} call"]


def test_a_plan_b_that_is_done_is_no_world_as_before() -> None:
    """The summary of a run whose plan B was done says so, and does not claim that the world is as before."""
    assert closing(replaced()).startswith(
        "Failed and undone, with plan B for reboot: the world is as the runbook's plan B leaves it.\n"
    )


def test_included_steps_stand_under_their_whole_names() -> None:
    """Steps of an included runbook are rows of their own, and no return."""
    assert "return" not in tree(shifted())


def test_a_return_within_an_include_is_one_group() -> None:
    """The parts of a return of an included runbook come together under its name."""
    plan = story.plan()
    back = plan.steps[-1].step.model_copy(update={"id": "leave.back"})
    parts = tuple(step.model_copy(update={"id": f"leave.{step.id}", "step": back}) for step in plan.steps[-2:])
    told = Story().run("running")
    text = plain(run_tree(Account(plan.model_copy(update={"steps": (*plan.steps[:4], *parts)}), told.entries), told.at))
    assert [line.split()[1] for line in text.splitlines()[-3:]] == ["leave.back", "drain", "shift"]
