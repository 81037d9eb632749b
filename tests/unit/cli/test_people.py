"""``failover abort``: said from another terminal, heard by whoever works on the run, done here where nobody does."""

from __future__ import annotations

import json
import subprocess
import threading
import time

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.filelock import FileLock
from orchestrator.cli.ownership import locked
from orchestrator.status import RunStatus

from ..engine.scene import hold, turn
from .desk import RUN, Desk


def wait_for(desk: Desk, status: RunStatus) -> None:
    """Until the run stands there."""
    for _ in range(400):
        if desk.stands().status is status:
            return
        time.sleep(0.05)
    raise AssertionError(f"it is {desk.stands().status}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How a command ended, and what it printed."""
    out, _ = process.communicate(timeout=30)
    return process.returncode, out


@pytest.mark.parametrize(("arguments", "status"), [((), RunStatus.UNDONE), (("--hold",), RunStatus.HELD)])
def test_the_owner_hears_it(desk: Desk, arguments: tuple[str, ...], status: RunStatus) -> None:
    """A run that waits in one terminal ends, or is held, when it is aborted in another."""
    desk.has_run(RunStatus.RUNNING, steps=[hold("window")])
    owner = desk.start("resume", RUN)
    try:
        wait_for(desk, RunStatus.HELD)
        said = desk.failover("abort", RUN, "--note", "the provider called", *arguments)
        assert (said.exit_code, f"failover status {RUN} --watch" in said.stdout) == (0, True), said.stderr
        code, out = ended(owner)
    finally:
        owner.kill()
    state = desk.stands()
    assert (state.status, "the provider called" in state.reason) == (status, True)
    assert (code, "the provider called" in out) == (3 if status is RunStatus.UNDONE else 5, True)


def test_a_machine_reads_what_came_of_it(desk: Desk) -> None:
    """With --json the answer is the run's record, also where somebody else does what is asked for."""
    desk.has_run(RunStatus.RUNNING, steps=[hold("window")])
    owner = desk.start("resume", RUN)
    try:
        wait_for(desk, RunStatus.HELD)
        said = desk.failover("abort", RUN, "--json")
        ended(owner)
    finally:
        owner.kill()
    assert (said.exit_code, json.loads(said.stdout)["run"]) == (0, RUN)


def test_where_nobody_works_it_is_done_here(desk: Desk) -> None:
    """A run whose owner is gone goes back by the command itself."""
    desk.has_run(RunStatus.RUNNING)
    said = desk.failover("abort", RUN)
    assert desk.stands().status is RunStatus.REFUSED, said.stderr
    assert desk.stands().reason.startswith("aborted by ")


@pytest.mark.parametrize(
    ("statuses", "why"),
    [
        ((), "it has not begun"),
        ((RunStatus.RUNNING, RunStatus.DONE), "it is done"),
        ((RunStatus.RUNNING, RunStatus.UNDOING), "it is going back already"),
        ((RunStatus.RUNNING, RunStatus.UNDOING, RunStatus.UNDONE), "it is undone"),
        ((RunStatus.RUNNING, RunStatus.STUCK), "it is stuck"),
        ((RunStatus.RUNNING, RunStatus.UNDOING, RunStatus.STUCK), "it is stuck"),
    ],
)
def test_what_has_nothing_to_stop_is_refused(desk: Desk, statuses: tuple[RunStatus, ...], why: str) -> None:
    """One clear error, nothing journalled."""
    desk.has_run(*statuses)
    before = desk.stands()
    said = desk.failover("abort", RUN)
    assert (said.exit_code, f"cannot abort {RUN}: {why}" in said.stderr) == (1, True)
    assert desk.stands() == before


def test_it_is_not_taken_back_beside_another_run(desk: Desk) -> None:
    """As undo, it is refused while another run works on the same pool, and nothing is journalled."""
    steps = [turn("shift"), hold("window")]
    desk.has_run(RunStatus.RUNNING, RunStatus.HELD, steps=steps)
    desk.has_run(RunStatus.RUNNING, RunStatus.HELD, run="other", steps=steps)
    said = desk.failover("abort", RUN)
    assert (said.exit_code, "run other" in said.stderr, desk.stands().abort) == (1, True, "")


def test_nobody_hears_it(desk: Desk) -> None:
    """Where the owner gives no sign of life, that is said, with the command that goes back in its place."""

    class Later(SystemClock):
        def monotonic(self) -> float:
            return super().monotonic() - 100

    plan = desk.has_run(RunStatus.RUNNING)
    lock = FileLock(desk.state / "locks", Later())
    lock.acquire([f"run {RUN}"], f"run {RUN} of ann@ops (process 7)")
    try:
        said = desk.failover("abort", RUN)
    finally:
        lock.release()
    assert (said.exit_code, f"failover undo {RUN} --take-over" in said.stderr) == (1, True)
    assert (desk.stands().abort, plan.forward[0].id) == ("", "window")


def test_an_owner_that_has_just_ended(desk: Desk) -> None:
    """Who holds the run and works no more is not waited for: the command does it itself once the lock is free."""
    plan = desk.has_run(RunStatus.RUNNING)
    with locked(plan, RUN) as lock:
        end = threading.Timer(1.0, lock.release)
        end.start()
        said = desk.failover("abort", RUN)
        end.join()
    assert desk.stands().status is RunStatus.REFUSED, said.stderr
