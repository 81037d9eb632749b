"""``failover status`` and the end of a stuck run say what a person must do, with the inventory's own sockets."""

from __future__ import annotations

import json

import pytest
from pydantic import JsonValue

from orchestrator.model.journal import Entry, EntryKind

from ..engine.scene import hold, turn
from .desk import RUN, Desk

WEIGHTS: dict[str, JsonValue] = {
    "members": {"mx1": {"weight": 100, "admin": "ready"}, "mx2": {"weight": 50, "admin": "ready"}}
}
COMMANDS = [
    "echo 'set server smtp/mx1 weight 100' | socat -t5 stdio UNIX-CONNECT:s",
    "echo 'set server smtp/mx2 weight 50' | socat -t5 stdio UNIX-CONNECT:s",
]


def shifted(desk: Desk, *statuses: str, start: JsonValue = None) -> None:
    """A run whose shift was begun, and which then went through these statuses."""
    desk.has_run(steps=[turn("shift"), hold("window")])
    with desk.journal() as journal:
        epoch = journal.epoch(RUN)

        def tell(kind: EntryKind, step: str = "", **data: JsonValue) -> None:
            journal.append(Entry(run=RUN, at=1_700_000_000.0, epoch=epoch, kind=kind, step=step, data=data))

        tell("run", status="running", reason="")
        tell("step", "shift", status="gating", reason="")
        tell("intent", "shift", start=WEIGHTS if start is None else start, to=WEIGHTS, waypoint="100%", direction="out")
        tell("step", "shift", status="converging", reason="")
        for status in statuses:
            tell("run", status=status, reason="the switch is gone")


def printed(text: str) -> list[str]:
    """The commands in a text."""
    return [line.strip() for line in text.splitlines() if "socat" in line]


def test_a_stuck_run_says_the_commands_unasked(desk: Desk) -> None:
    """Its status ends with them, whole, and with the command that closes the run afterwards."""
    shifted(desk, "undoing", "stuck")
    said = desk.failover("status", RUN)
    assert (said.exit_code, printed(said.output)) == (0, COMMANDS)
    assert "     first see that ord takes mail at ord:25: it gets new traffic\n" in said.output
    assert said.output.endswith(f"then, to look that all is as it was and to end the run: failover undo {RUN}\n")


@pytest.mark.parametrize("statuses", [(), ("interrupted",), ("undoing",)])
def test_others_say_them_when_they_are_asked(desk: Desk, statuses: tuple[str, ...]) -> None:
    """A run that nobody works on any more has them too, with --by-hand."""
    shifted(desk, *statuses)
    assert printed(desk.failover("status", RUN).output) == []
    assert printed(desk.failover("status", RUN, "--by-hand").output) == COMMANDS


def test_the_record_always_has_them(desk: Desk) -> None:
    """Machines get the steps that are left of every run, in the list of all runs too."""
    shifted(desk)
    for arguments in (("status", RUN, "--json"), ("status", "--json")):
        (work,) = json.loads(desk.failover(*arguments).output)["by_hand"]
        assert (work["step"], work["commands"]) == ("shift", COMMANDS)


def test_a_run_that_has_left_nothing_says_so(desk: Desk) -> None:
    """Before anything is touched there is nothing to do by hand."""
    desk.has_run()
    assert "nothing: the run has left nothing to take back" in desk.failover("status", RUN, "--by-hand").output
    assert json.loads(desk.failover("status", RUN, "--json").output)["by_hand"] == []


def test_what_another_version_recorded_is_not_guessed(desk: Desk) -> None:
    """A start that cannot be read leaves the status readable: it is said, and null for machines."""
    shifted(desk, "stuck", start={"weights": {"mx1": 100}})
    said = desk.failover("status", RUN)
    assert said.exit_code == 0
    assert "cannot say what is left to do by hand: another version of failover recorded" in said.output
    assert json.loads(desk.failover("status", RUN, "--json").output)["by_hand"] is None


def test_by_hand_is_for_one_run(desk: Desk) -> None:
    """Without a run the option is refused, with what to type."""
    desk.has_run()
    refused = desk.failover("status", "--by-hand")
    assert refused.exit_code == 1
    assert "write: failover status RUN --by-hand" in refused.output
