"""Several terminals on one run of the lab: whoever watches sees what the owner sees, over a change of owners too."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from orchestrator.lab.client import Lab
from tests.lab.command import Command, failover, maintenance

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


def journalled(command: Command) -> list[dict[str, object]]:
    """Of what a command has written, the entries of the journal."""
    return [event for event in command.events if event.get("seq") is not None]


def owners(command: Command) -> list[bool]:
    """Whether somebody worked on the run, each time that this changed."""
    return [event["data"]["owner"] is not None for event in command.events if event.get("event") == "owner"]


def test_three_terminals_on_one_run(start_lab: StartLab, begin: Callable[..., Command]) -> None:
    """The owner is killed while a run is held, another resumes, a third approves: a watcher tells all, to the end."""
    lab = start_lab(profile="steady")
    run = begin(*maintenance())
    run.until("intent", "shift")
    name = str(run.events[0]["run"])
    watcher = begin("status", "--watch", "--json")
    run.until("step", "window", status="converging")
    watcher.until("step", "window", status="converging")
    run.process.send_signal(signal.SIGKILL)
    run.end()
    next(event for event in watcher.lines() if event.get("event") == "owner" and event["data"]["owner"] is None)
    resumed = begin("resume", name, "--json")
    resumed.until("step", "window", status="converging")
    assert failover("approve", name, "window", "--note", "the provider is done").code == 0
    ended, watched = resumed.end(), watcher.end()
    assert (ended.code, watched.code, watched.errors) == (0, 0, "")
    assert owners(watcher) == [True, False, True]
    seen = [event["seq"] for event in journalled(watcher)]
    assert seen == list(range(1, len(seen) + 1))
    assert watched.record == ended.record
    ledger = lab.settle()
    assert (ledger.lost, ledger.duplicated, ledger.transactions_cut) == (0, 0, 0)
