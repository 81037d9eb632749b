"""The commands for a person's hands, to be read at 3 a.m. and copied into a shell."""

from __future__ import annotations

from orchestrator.engine.remaining import ManualWork
from orchestrator.report.by_hand import by_hand_record, by_hand_text

OPEN = """echo '{"do": "open"}' | socat -t5 stdio UNIX-CONNECT:/run/failover-gate/control.sock"""
READY = "echo 'set server smtp/mx1 state ready' | socat -t5 stdio UNIX-CONNECT:/run/haproxy/admin.sock"
WORKS = [
    ManualWork("drain", "gates: mx1 open; then in the switch: mx1 ready", ("see that ord takes mail",), (OPEN, READY)),
    ManualWork("reboot", "a person: boot the old kernel"),
]
AGREED = f"""\
by hand, in this order, to go back to how it was before the run
  1. drain: gates: mx1 open; then in the switch: mx1 ready
     first see that ord takes mail
       {OPEN}
       {READY}
  2. reboot: a person: boot the old kernel
  then, to look that all is as it was and to end the run: failover undo 0610-k3f"""


def test_the_steps_read_as_agreed() -> None:
    """Each step is numbered, with what it comes to, what to see first, and whole commands, however wide."""
    assert by_hand_text(WORKS, "0610-k3f") == AGREED


def test_nobody_works_against_a_living_owner() -> None:
    """While somebody works on the run, that is said above all steps."""
    text = by_hand_text(WORKS, "0610-k3f", owner="ada@edge (process 7)")
    assert text.splitlines()[1] == "  not while ada@edge (process 7) works on it"


def test_nothing_left_is_said() -> None:
    """A run that has left nothing says so, and claims no step."""
    assert by_hand_text([], "0610-k3f") == "by hand\n  nothing: the run has left nothing to take back"


def test_no_text_works_on_the_terminal() -> None:
    """Control characters of a runbook or a path are shown as something else, in commands too."""
    text = by_hand_text([ManualWork("a\x1b[2J", "b\nc", ("d\re",), ("echo \x1b]0;x\x07",))], "r")
    assert text.splitlines()[1:4] == ["  1. a [2J: b c", "     first d e", "       echo ?]0;x?"]


def test_machines_get_the_same() -> None:
    """The record has the same steps with the commands as they are to be run."""
    assert by_hand_record(WORKS) == [
        {"step": "drain", "why": WORKS[0].why, "first": ["see that ord takes mail"], "commands": [OPEN, READY]},
        {"step": "reboot", "why": "a person: boot the old kernel", "first": [], "commands": []},
    ]
