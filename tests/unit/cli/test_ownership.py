"""A run that nobody works on is called that, and what a decision rests on is read under the run's lock."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.filelock import LEASE, FileLock
from orchestrator.cli import runs
from orchestrator.cli.ownership import locked, owner_of, person, who
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.inventory import Inventory
from orchestrator.model.journal import Entry
from orchestrator.status import RunStatus
from orchestrator.wiring import lock_folder, lock_names

from ..engine.scene import INVENTORY, turn
from .desk import RUN, Desk, plan_of

NOBODY = "nobody works on this run now"
ABANDONED = f"{NOBODY}: failover resume {RUN}"
SILENT = f"ann@mx (process 7) gives no sign of life: failover resume {RUN} --take-over"


class SlowClock(SystemClock):
    """A clock of long enough ago."""

    def monotonic(self) -> float:
        """Seconds; a lease that is renewed by them has run out."""
        return super().monotonic() - LEASE - 5


@contextmanager
def held_in_silence(desk: Desk) -> Iterator[None]:
    """Ann has the run while the block lasts, and gives no sign of life."""
    lock = FileLock(desk.state / "locks", SlowClock())
    lock.acquire([f"run {RUN}"], f"run {RUN} of ann@mx (process 7)")
    try:
        yield
    finally:
        lock.release()


@pytest.mark.parametrize("name", [(), (RUN,)], ids=["list", "one"])
def test_who_works_on_a_run_is_said(desk: Desk, name: tuple[str, ...]) -> None:
    """Status says who works on a run, that whoever has it is silent, or that nobody has; and then what to type."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.HELD)
    abandoned = desk.failover("status", *name).stdout
    assert (NOBODY in abandoned, abandoned.count(f"failover resume {RUN}")) == (True, 1)
    with locked(plan, RUN):
        assert f"{who()} (process {os.getpid()}) works on it\n" in desk.failover("status", *name).stdout
    with held_in_silence(desk):
        assert f"{SILENT}\n" in desk.failover("status", *name).stdout


@pytest.mark.parametrize("way", [(RunStatus.UNDOING,), (RunStatus.UNDOING, RunStatus.STUCK)])
def test_one_way_on_is_told(desk: Desk, way: tuple[RunStatus, ...]) -> None:
    """A run that goes back, or is stuck there, is gone on with by undo: no other command stands beside it."""
    desk.has_run(RunStatus.RUNNING, *way)
    for name in ((), (RUN,)):
        told = desk.failover("status", *name).stdout
        assert (NOBODY in told, f"failover undo {RUN}" in told, "failover resume" in told) == (True, True, False)


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
            assert owner == f"{who()} (process {os.getpid()})"
    assert owner_of(RUN) is None


def test_an_approval_that_nobody_hears_says_so(desk: Desk) -> None:
    """Approving a hold of a run without an owner, or with a silent one, tells how to go on; with another not."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.HELD)
    with locked(plan, RUN):
        heard = desk.failover("approve", RUN, "window", "--ahead")
    assert (heard.exit_code, "nobody" in heard.stdout) == (0, False)
    assert ABANDONED in desk.failover("approve", RUN, "window", "--ahead").stdout
    with held_in_silence(desk):
        assert f"nobody hears it now: {SILENT}\n" in desk.failover("approve", RUN, "window", "--ahead").stdout


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
def test_what_is_over_is_told_whoever_has_its_pool(desk: Desk, command: str) -> None:
    """A run that is undone is refused for that, also while another run works on the pool."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.UNDOING, RunStatus.UNDONE, steps=[turn("shift")])
    with locked(plan, "other"):
        refused = desk.failover(command, RUN)
    assert (refused.exit_code, f"cannot {command} {RUN}: it is undone" in refused.stderr) == (1, True)
    assert owner_of(RUN) is None


@pytest.mark.parametrize("command", ["resume", "undo"])
def test_a_run_that_somebody_works_on_is_refused_in_its_own_words(desk: Desk, command: str) -> None:
    """Who works on it and since when, how to stop and to follow it; a silent one can be taken over."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.HELD, steps=[turn("shift")])
    with locked(plan, RUN):
        refused = desk.failover(command, RUN)
    assert (refused.exit_code, desk.stands().status) == (1, RunStatus.HELD)
    assert re.fullmatch(
        rf"cannot work on {RUN}: {re.escape(who())} \(process {os.getpid()}\) works on it, since .* UTC — "
        rf"to go back: failover abort {RUN}; to follow: failover status {RUN} --watch\n",
        refused.stderr,
    )
    with held_in_silence(desk):
        silent = desk.failover(command, RUN).stderr
    assert silent.startswith(f"cannot work on {RUN}: ann@mx (process 7), without a sign of life for 25s has it since ")
    assert f"failover resume {RUN} --take-over; to go back: failover undo {RUN} --take-over" in silent


class Finishing(SqliteJournal):
    """Another owner brings the run to its end between the first look at it and the lock."""

    def entries(self, run: str, after: int = 0) -> Sequence[Entry]:
        """The run's entries; then it is undone."""
        found = super().entries(run, after)
        for status in (RunStatus.UNDOING, RunStatus.UNDONE):
            if found[-1].data["status"] == RunStatus.RUNNING:
                data = {"status": status.value, "reason": ""}
                self.append(Entry(run=run, at=1_700_000_001.0, epoch=self.epoch(run), kind="run", data=dict(data)))
        return found


@pytest.mark.parametrize("command", ["resume", "undo"])
def test_the_status_counts_that_holds_under_the_lock(desk: Desk, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run's status allows is asked again once nobody else can change it."""
    desk.has_run(RunStatus.RUNNING)
    monkeypatch.setattr(runs, "open_record", lambda _: Finishing(desk.state / "journal.sqlite"))
    refused = desk.failover(command, RUN)
    assert (refused.exit_code, f"cannot {command} {RUN}: it is undone" in refused.stderr) == (1, True)


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
