"""A run that nobody works on is called that, and what a decision rests on is read under the run's lock."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.cli.ownership import locked, owner_of, who
from orchestrator.model.inventory import Inventory
from orchestrator.status import RunStatus
from orchestrator.wiring import lock_folder, lock_names

from ..engine.scene import INVENTORY, turn
from .desk import RUN, Desk, plan_of

ABANDONED = f"nobody works on this run now: failover resume {RUN}"


@pytest.mark.parametrize("name", [(), (RUN,)], ids=["list", "one"])
def test_a_run_whose_owner_died_is_called_abandoned(desk: Desk, name: tuple[str, ...]) -> None:
    """Where a run is not over and nobody holds its lock, status says so and how to go on; with an owner it does not."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.HELD)
    assert ABANDONED in desk.failover("status", *name).stdout
    with locked(plan, RUN):
        assert "nobody" not in desk.failover("status", *name).stdout


def test_a_run_that_is_over_needs_nobody(desk: Desk) -> None:
    """A run that is done is not called abandoned."""
    desk.has_run(RunStatus.RUNNING, RunStatus.DONE)
    assert "nobody" not in desk.failover("status").stdout
    assert "nobody" not in desk.failover("status", RUN).stdout


def test_machines_are_told_the_owner(desk: Desk) -> None:
    """``owner`` is null, or says who works on the run and in which process."""
    plan = desk.has_run(RunStatus.RUNNING)
    assert json.loads(desk.failover("status", RUN, "--json").stdout)["owner"] is None
    with locked(plan, RUN):
        for command in (("status", RUN, "--json"), ("status", "--json")):
            owner = json.loads(desk.failover(*command).stdout)["owner"]
            assert owner == f"run {RUN} of {who()} (process {os.getpid()})"
    assert owner_of(RUN) is None


def test_an_approval_that_nobody_hears_says_so(desk: Desk) -> None:
    """Approving a hold of a run without an owner tells how to go on; with one it does not."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.HELD)
    with locked(plan, RUN):
        heard = desk.failover("approve", RUN, "window")
    assert (heard.exit_code, "nobody" in heard.stdout) == (0, False)
    assert ABANDONED in desk.failover("approve", RUN, "window").stdout


@pytest.mark.parametrize("command", ["resume", "undo"])
def test_the_status_counts_that_holds_under_the_lock(desk: Desk, command: str) -> None:
    """While another owner works, what the run's status allows is not judged: it may be another one by then."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.UNDOING, RunStatus.UNDONE)
    with locked(plan, RUN):
        assert "cannot take run" in desk.failover(command, RUN).stderr
    refused = desk.failover(command, RUN)
    assert (refused.exit_code, f"cannot {command} {RUN}: it is undone" in refused.stderr) == (1, True)
    assert owner_of(RUN) is None


def _nobody() -> str:
    raise KeyError("getpwuid(): uid not found: 54321")


def _nobody_newer() -> str:
    raise OSError("No username set in the environment")


def test_a_person_without_an_entry_in_passwd_has_a_number() -> None:
    """Where the system has no name for the uid, the uid is the name."""
    for user in (_nobody, _nobody_newer):
        assert who(user).startswith(f"uid {os.getuid()}@")


def test_a_pool_is_locked_by_its_switch(tmp_path: Path) -> None:
    """Two inventories that call one backend differently, or reach its socket by another path, share the lock."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    names = set()
    for pool, folder in (("smtp", "real"), ("mail", "link")):
        data = INVENTORY.model_dump(mode="json", by_alias=True)
        data["pools"] = {pool: data["pools"]["smtp"]}
        data["pools"][pool]["switch"]["socket"] = f"{tmp_path}/{folder}/admin.sock"
        step = {**turn("shift"), "with": {"pool": pool, "from": "ord", "to": "iad"}}
        names.add(tuple(lock_names(plan_of([step], Inventory.model_validate(data)))))
    assert names == {(f"pool at {tmp_path.resolve()}/real/admin.sock:smtp",)}


def test_root_locks_in_one_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Root's locks are in the machine's folder, unless a state folder is named or somebody else could write there."""
    shared, state = tmp_path / "shared", tmp_path / "state"
    monkeypatch.delenv("FAILOVER_STATE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    assert lock_folder(0, shared) == shared
    assert lock_folder(1000, shared) == state / "failover" / "locks"
    assert lock_folder(0, tmp_path / "no" / "parent") == state / "failover" / "locks"
    shared.chmod(0o777)
    assert lock_folder(0, shared) == state / "failover" / "locks"
    monkeypatch.setenv("FAILOVER_STATE", str(state))
    shared.chmod(0o755)
    assert lock_folder(0, shared) == state / "locks"
