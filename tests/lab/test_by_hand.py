"""The commands for a person's hands, run as they are printed, bring the real world back; then undo closes the run."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest

from orchestrator.lab.client import Lab
from tests.lab.command import PROJECT, Command, Ended, failover, maintenance
from tests.lab.test_main_path import assert_nothing_lost, world

pytestmark = pytest.mark.lab

StartLab = Callable[..., Lab]


@pytest.fixture
def begin() -> Iterator[Callable[..., Command]]:
    """Starts commands that are ended with the test."""
    begun: list[Command] = []

    def start(*arguments: str) -> Command:
        begun.append(Command(*arguments))
        return begun[-1]

    yield start
    for command in begun:
        command.close()


def killed(run: Command) -> str:
    """The name of a run whose orchestrator has just been killed."""
    run.process.send_signal(signal.SIGKILL)
    return str(run.end().events[0]["run"])


def said(*arguments: str) -> tuple[int, str]:
    """The exit code and the text that a person reads, on a terminal too narrow for any command."""
    command = [sys.executable, "-m", "orchestrator", *arguments]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout


def do(commands: Sequence[str]) -> None:
    """A person copies each command into a shell; HAProxy is silent when it has obeyed."""
    assert commands
    for command in commands:
        done = subprocess.run(["bash", "-c", command], cwd="/", capture_output=True, text=True, check=True)
        assert done.stdout.strip() in {"", "memory"} or '"ok": true' in done.stdout, (command, done.stdout)


def steps(record: Ended) -> list[str]:
    """The steps that are left for a person, in order."""
    return [work["step"] for work in record.record["by_hand"]]


def assert_undo_finds_all_as_before(name: str) -> None:
    """The run ends as undone, and nothing was written for that."""
    undone = failover("undo", name, "--json")
    assert (undone.code, undone.record["status"]) == (0, "undone"), undone.errors
    assert not [event for event in undone.events if event.get("event") == "intent"]
    assert undone.record["by_hand"] == []


def test_a_person_takes_back_what_a_killed_orchestrator_left(
    start_lab: StartLab, begin: Callable[..., Command]
) -> None:
    """After kill -9 in the hold the printed commands alone restore weights, states and gates, under live mail."""
    lab = start_lab(profile="steady")
    before = world()
    run = begin(*maintenance())
    run.until("step", "window", status="converging")
    name = killed(run)
    assert world() != before
    left = failover("status", name, "--json")
    assert steps(left) == ["drain", "shift"]
    do([command for work in left.record["by_hand"] for command in work["commands"]])
    assert world() == before
    assert_undo_finds_all_as_before(name)
    assert world() == before
    assert_nothing_lost(lab.settle())


def test_a_person_takes_back_half_a_shift(start_lab: StartLab, begin: Callable[..., Command]) -> None:
    """After kill -9 between two waypoints only the shift is left, and its commands restore every weight."""
    lab = start_lab(profile="steady")
    before = world()
    run = begin(*maintenance())
    run.until("outcome", "shift")
    name = killed(run)
    assert world() != before
    left = failover("status", name, "--json")
    assert steps(left) == ["shift"]
    do([command for work in left.record["by_hand"] for command in work["commands"]])
    assert world() == before
    assert_undo_finds_all_as_before(name)
    assert_nothing_lost(lab.settle())


def test_a_stuck_run_prints_what_a_person_must_do(start_lab: StartLab, begin: Callable[..., Command]) -> None:
    """An undo that cannot reach a site is stuck, and says the commands; once the site is well they do it."""
    lab = start_lab(profile="steady")
    before = world()
    run = begin(*maintenance())
    run.until("step", "window", status="converging")
    name = killed(run)
    lab.kill_host("ord-mx1")
    code, text = said("undo", name)
    assert code == 4, text
    assert "first see that ord takes mail at" in text
    again, status = said("status", name)
    assert again == 0
    printed = [[line.strip() for line in said.splitlines() if "| socat" in line] for said in (text, status)]
    assert printed[0] == printed[1]
    lab.revive_host("ord-mx1")
    do(printed[0])
    assert world() == before
    assert_undo_finds_all_as_before(name)
