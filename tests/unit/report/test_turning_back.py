"""What reports say of a run that turns back, or stands still: who wanted it, how long it took, what can be typed."""

from __future__ import annotations

import json

from orchestrator.report.account import Account
from orchestrator.report.advice import advice, waits_for_approval
from orchestrator.report.lines import LineReport
from orchestrator.report.records import json_line, run_record, status_view
from orchestrator.report.sheet import plain
from orchestrator.report.summary import summary

from . import plans, story
from .story import RUN, HandClock, Story

WHY = "cannot set the weights of smtp: no answer — start HAProxy"


def closing(told: Story) -> str:
    """The summary."""
    return plain(summary(story.plan(), told.entries, RUN))


def commands(told: Story) -> list[str]:
    """What can be typed while somebody works on it."""
    return [order.command for order in advice(Account(story.plan(), told.entries))]


def tree(told: Story, wait: float = 0.0, *, left: bool = False) -> str:
    """The tree, so long after the last entry."""
    return plain(status_view(story.plan(), story.row("running"), told.entries, told.at + wait, left=left), 120)


def lines(told: Story) -> list[str]:
    """The plain lines without their times."""
    written: list[str] = []
    report = LineReport(story.plan(), written.append, HandClock())
    for entry in told.entries:
        report.entry(entry)
    return [line[10:] for line in written]


def aborted() -> Story:
    """Somebody aborts in the hold, and the run turns back."""
    return story.held().abort("ada@ops").run("undoing", "aborted by ada@ops")


def gone_back(told: Story, reason: str) -> Story:
    """The drain took 0.4 s to undo, the shift 1 s."""
    told.step("drain", "undoing").wait(0.4).step("drain", "undone", "is as it was before")
    story.taking_back(told).outcome("shift").step("shift", "undone", "is as it was before")
    return told.step("window", "undoing").step("window", "undone").run("undone", reason)


def stood_still() -> Story:
    """Somebody aborts in the hold, and wants it to stand there."""
    return story.held().abort("ada@ops", "hold").run("held", "aborted by ada@ops", answered=True)


def stuck_twice() -> Story:
    """A run that was done is undone by a person; that is stuck, and once more."""
    told = story.shifted().run("done").taken_over().run("undoing", "asked for by ada")
    story.taking_back(told).step("shift", "stuck", WHY).run("stuck", f"shift could not be undone: {WHY}")
    told.taken_over().run("undoing", "asked for by ada")
    return story.taking_back(told).step("shift", "stuck", WHY).run("stuck", f"shift could not be undone: {WHY}")


def test_on_the_way_back_the_hold_asks_nobody() -> None:
    """After an abort in a hold nobody is told to approve it, as nothing would go on."""
    assert commands(story.held()) == [f"failover approve {RUN} window", f"failover abort {RUN}"]
    assert waits_for_approval(story.plan(), Account(story.plan(), aborted().entries).state) == []
    assert commands(aborted()) == []
    assert not any("approve" in line for line in lines(aborted())[-2:])


def test_a_plan_b_asks_on_the_way_back() -> None:
    """A hold of a plan B does wait for people while the run goes back."""
    told = Story().run("running").step("reboot", "gating").towards("reboot", "").run("undoing", "it burns")
    told.step("reboot", "undoing").step("stay", "gating").towards("stay", "")
    made = plans.everything()
    assert waits_for_approval(made, Account(made, told.entries).state) == ["stay"]


def test_an_abort_is_no_failure() -> None:
    """A run that a person aborted says so in its first line, with who, and names no failure."""
    text = closing(gone_back(aborted(), "aborted by ada@ops"))
    assert text.startswith("Aborted and undone: the world is as before.\n  aborted by ada@ops\n\n")
    assert "run failed" not in text
    assert "shift failed" not in text


def test_an_abort_that_another_owner_answers_is_one_too() -> None:
    """Where nobody worked on the run, and the command took it back itself, it is an abort all the same."""
    told = story.held().abort("ada@ops").taken_over().run("running").run("undoing", "aborted by ada@ops")
    assert closing(gone_back(told, "aborted by ada@ops")).startswith("Aborted and undone: the world is as before.\n")


def test_an_abort_before_anything_was_touched() -> None:
    """Nothing is claimed to be wrong, and nobody is told to remove a reason."""
    told = story.escaped().step("shift", "gating").abort("ada@ops").step("shift", "refused", "aborted by ada@ops")
    text = closing(told.run("refused", "aborted by ada@ops"))
    assert text.startswith("Aborted: nothing was touched.\n  aborted by ada@ops\n\n")
    assert "remove the reason" not in text


def test_a_wish_to_hold_does_not_hide_a_failure() -> None:
    """Where a step fails while a person wants the run to stand still, it is the failure that turns it back."""
    told = story.broken().abort("ada@ops", "hold").run("undoing", f"shift: mail-flows failed: {story.LOSSY}")
    story.taking_back(told).outcome("shift").step("shift", "undone")
    assert closing(told.run("undone", "shift failed")).startswith("Failed and undone: the world is as before.\n")


def test_an_undone_step_took_as_long_as_its_undo() -> None:
    """Lines, tree and summary give the time of the undo alone; the record has both."""
    told = gone_back(aborted(), "aborted by ada@ops")
    assert "drain       undone       is as it was before (undo took 0.4s)" in lines(told)
    drain = next(line for line in tree(told).splitlines() if " drain " in line)
    assert drain.split(maxsplit=5)[3:] == ["undone", "0.4s", "is as it was before"]
    assert "  drain       undone   0.4s" in closing(told)
    record = json.loads(json_line(run_record(story.plan(), story.row("undone"), told.entries)))
    step = record["steps"][2]
    assert (step["undo_took"], step["seconds"]) == (0.4, 18 + 600 + 0.4)
    assert record["steps"][0]["undo_took"] is None


def test_a_step_that_begins_anew_has_no_undo() -> None:
    """What was taken back and is done again takes the time of that."""
    told = story.draining().outcome("drain", "failed").step("drain", "failed", "no").step("drain", "undoing").wait(5)
    told.step("drain", "undone").run("held", "drain: no", answered=True).taken_over().run("running")
    account = Account(story.plan(), told.step("drain", "gating").entries)
    assert (account.took("drain", told.at + 3), account.undo_took("drain", told.at + 3)) == (3.0, None)


def test_who_has_stopped_a_hold_is_told() -> None:
    """After 'abort --hold' the run waits for no approval; who stopped it is said, with what can be typed now."""
    text = closing(stood_still())
    assert text.startswith("Held: it can be resumed or undone.\n  aborted by ada@ops\n\n")
    ways = [f"failover resume {RUN}", f"failover undo {RUN}"]
    assert commands(stood_still()) == ways
    assert "approve" not in text + tree(stood_still())


def test_status_and_summary_tell_the_same_commands() -> None:
    """Once nobody works on a run, its tree ends with the commands of the summary."""
    for told in (story.held(), stood_still(), story.draining(), aborted(), story.stuck()):
        wanted = closing(told).split("\nnext\n")[1]
        assert tree(told, left=True).endswith(wanted)


def test_steps_that_nobody_works_on_stand_still() -> None:
    """The time of a step whose owner has gone does not go on."""
    told = story.drained().step("window", "gating").wait(3).progress("window", "site-healthy: 1s of 3s")
    assert [line.split()[4] for line in tree(told, 60, left=True).splitlines() if " gating " in line] == ["3s"]
    assert [line.split()[4] for line in tree(told, 60).splitlines() if " gating " in line] == ["1m03s"]
    parked = story.drained().step("window", "gating").run("held", "aborted by ada@ops", answered=True)
    assert [line.split()[4] for line in tree(parked, 60).splitlines() if " gating " in line] == ["0s"]


def test_a_way_back_does_not_show_the_way_out() -> None:
    """Before the first move of an undo nothing is said to be reached."""
    told = story.shifted().run("undoing", "asked for by ada").step("shift", "undoing")
    assert "100% reached" in tree(story.shifted().step("shift", "gating"))
    assert "reached" not in tree(told)


def test_a_reason_of_being_stuck_is_said_once() -> None:
    """A second try that is stuck at the same is told once; once the run is undone it is no trouble any more."""
    assert closing(stuck_twice()).count("no answer") == 1
    told = stuck_twice().taken_over().run("undoing", "asked for by ada")
    story.taking_back(told).outcome("shift").step("shift", "undone").run("undone", "asked for by ada")
    assert closing(told).startswith("Undone as asked: the world is as before.\n  asked for by ada\n\n")


def test_a_failure_before_the_undo_is_told_as_earlier() -> None:
    """Of a run that was held by a failure, and is undone by a person, the failure is history."""
    told = story.broken().run("held", f"shift: mail-flows failed: {story.LOSSY}", answered=True)
    story.taking_back(told.taken_over().run("undoing", "asked for by ada")).outcome("shift").step("shift", "undone")
    text = closing(told.run("undone", "asked for by ada"))
    assert text.startswith(
        "Undone as asked: the world is as before.\n  asked for by ada\n  earlier: shift failed: mail"
    )


def test_a_repaired_failure_is_told_as_earlier() -> None:
    """A run that was resumed after a failure, and is done, does not end in red."""
    told = story.broken().run("held", "shift: mail-flows failed", answered=True).taken_over().run("running")
    told.step("shift", "gating").waypoint("shift", "100%", "weight ord 0").step("shift", "done").run("done")
    account = Account(story.plan(), told.entries)
    assert (account.troubles, [one.step for one in account.earlier]) == ([], ["shift"])
    assert "  earlier: shift failed: mail-flows failed" in closing(told)


def test_interrupted_is_said_once() -> None:
    """The reason of an interruption does not repeat the status."""
    told = story.draining().run("interrupted", "interrupted by SIGINT")
    assert "\ninterrupted by SIGINT\n" in tree(told)
    assert "run         interrupted  by SIGINT" in lines(told)
