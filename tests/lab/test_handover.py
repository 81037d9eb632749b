"""A run leaves the machine that it was begun on: another journal goes on with it, on real parts under live mail."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.lab.command import Command, failover, maintenance

from .conftest import StartLab
from .test_main_path import assert_nothing_lost, world

pytestmark = pytest.mark.lab


@pytest.fixture
def begin() -> Iterator[Callable[[], Command]]:
    """Starts the shipped runbook; it is ended with the test."""
    with ExitStack() as begun:
        yield lambda: begun.enter_context(closing(Command(*maintenance())))


@pytest.fixture
def elsewhere(tmp_path: Path) -> tuple[str, str]:
    """The arguments that mean the other machine's journal."""
    return ("--journal", str(tmp_path / "elsewhere.sqlite"))


def carried(run: str, to: Path, elsewhere: tuple[str, str]) -> None:
    """Export here, import there."""
    assert failover("journal", "export", run, "-o", str(to)).code == 0
    taken = failover("journal", "import", str(to), *elsewhere)
    assert taken.code == 0, taken.errors


def test_a_held_run_is_finished_from_another_journal(
    start_lab: StartLab, elsewhere: tuple[str, str], tmp_path: Path, begin: Callable[[], Command]
) -> None:
    """Stopped in its hold, carried over, approved and resumed there: the site is back, nothing is lost or cut."""
    lab = start_lab(profile="steady")
    before = world()
    command = begin()
    command.until("step", "window", status="converging")
    command.process.send_signal(signal.SIGTERM)
    run = command.end().record["run"]
    carried(run, tmp_path / "run.jsonl", elsewhere)
    assert failover("approve", run, "window", *elsewhere).code == 0
    resumed = failover("resume", run, "--json", *elsewhere)
    assert (resumed.code, resumed.record["status"]) == (0, "done"), resumed.errors
    assert_nothing_lost(lab.settle())
    assert world() == before
    assert failover("journal", "export", run, "-o", str(tmp_path / "run.jsonl"), *elsewhere).code == 0
    assert failover("journal", "import", str(tmp_path / "run.jsonl")).code == 0
    here, there = failover("status", run, "--json"), failover("status", run, "--json", *elsewhere)
    assert (here.record["status"], here.record) == ("done", there.record)


def test_a_killed_run_is_undone_from_another_journal(
    start_lab: StartLab, elsewhere: tuple[str, str], tmp_path: Path, begin: Callable[[], Command]
) -> None:
    """After kill -9 in the middle of the drain, the copy of the dead owner's journal is enough to take all back."""
    lab = start_lab(profile="mixed")
    before = world()
    command = begin()
    command.until("intent", "drain")
    command.process.send_signal(signal.SIGKILL)
    run = command.end().events[0]["run"]
    assert world() != before
    carried(run, tmp_path / "run.jsonl", elsewhere)
    undone = failover("undo", run, "--json", *elsewhere)
    assert (undone.code, undone.record["status"]) == (0, "undone"), undone.errors
    assert world() == before
    assert_nothing_lost(lab.settle())
