"""A run that nobody works on is called that, and what a decision rests on is read under the run's lock."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator.cli.ownership import locked, owner_of, person, who
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
        heard = desk.failover("approve", RUN, "window", "--ahead")
    assert (heard.exit_code, "nobody" in heard.stdout) == (0, False)
    assert ABANDONED in desk.failover("approve", RUN, "window", "--ahead").stdout


def test_what_has_not_begun_is_approved_ahead_or_not_at_all(desk: Desk) -> None:
    """A yes to a step that does not wait yet is refused, and says how it is meant; so no slip is taken for a deed."""
    desk.has_run(RunStatus.RUNNING)
    refused = desk.failover("approve", RUN, "window")
    assert (refused.exit_code, desk.stands().step("window").approvers) == (1, ())
    assert f"failover approve {RUN} window --ahead" in refused.stderr
    assert desk.failover("approve", RUN, "window", "--ahead").exit_code == 0
    assert desk.stands().step("window").approvers == (who(),)


def test_a_run_that_never_began_is_closed_by_undo(desk: Desk) -> None:
    """A run whose owner died before its first entry does not block its pool for ever."""
    desk.has_run()
    assert desk.stands().status is RunStatus.PLANNED
    closed = desk.failover("undo", RUN)
    assert (closed.exit_code, desk.stands().status) == (0, RunStatus.REFUSED)
    assert f"{RUN} is closed" in closed.stdout


@pytest.mark.parametrize("command", ["resume", "undo"])
def test_nobody_goes_on_beside_another_run(desk: Desk, command: str) -> None:
    """While another run is not over on the same pool, resume and undo are refused; with a reason that is kept, not."""
    desk.has_run(RunStatus.RUNNING, RunStatus.HELD, steps=[turn("shift")])
    desk.has_run(RunStatus.RUNNING, RunStatus.HELD, steps=[turn("shift")], run="other")
    refused = desk.failover(command, RUN)
    assert (refused.exit_code, desk.stands().status) == (1, RunStatus.HELD)
    assert "run other (wait, held) works on pool smtp" in refused.stderr
    assert '--override in-use="' in refused.stderr
    assert "cannot override anything but in-use" in desk.failover(command, RUN, "--override", "serving=x").stderr
    desk.failover(command, RUN, "--override", "in-use=other is mine, and idle")
    with desk.journal() as journal:
        reasons = [entry.data["reason"] for entry in journal.entries(RUN) if entry.kind == "override"]
    assert reasons == ["other is mine, and idle"]


@pytest.mark.parametrize("command", ["resume", "undo"])
def test_the_status_counts_that_holds_under_the_lock(desk: Desk, command: str) -> None:
    """While another owner works, what the run's status allows is not judged: it may be another one by then."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.UNDOING, RunStatus.UNDONE)
    with locked(plan, RUN):
        assert "cannot take run" in desk.failover(command, RUN).stderr
    refused = desk.failover(command, RUN)
    assert (refused.exit_code, f"cannot {command} {RUN}: it is undone" in refused.stderr) == (1, True)
    assert owner_of(RUN) is None


def test_a_person_without_an_entry_in_passwd_has_a_number() -> None:
    """Where the system has no name for the uid, the uid is the name."""
    assert who(lambda: 54321).startswith("uid 54321@")


@pytest.mark.parametrize(
    ("uid", "environment", "login", "expected"),
    [
        (1000, {"SUDO_UID": "7", "LOGNAME": "mallory"}, "8", 1000),
        (0, {"SUDO_UID": "7"}, "8", 7),
        (0, {"SUDO_UID": "x"}, "8", 8),
        (0, {}, "8\n", 8),
        (0, {}, "4294967295", 0),
        (0, {}, "", 0),
    ],
)
def test_root_is_who_became_it(
    uid: int, environment: dict[str, str], login: str, expected: int, tmp_path: Path
) -> None:
    """Two people who both work as root are two; nobody but root is anybody else than the kernel says."""
    (tmp_path / "loginuid").write_text(login)
    assert person(uid, environment, tmp_path / "loginuid") == expected
    assert person(uid, {}, tmp_path / "nothing") == uid


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
