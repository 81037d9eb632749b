"""``failover journal``: a run goes on at another desk, and nobody can do that by mistake."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.cli.ownership import locked, owner_of, who
from orchestrator.errors import RefusedError
from orchestrator.status import RunStatus

from ..engine.scene import turn
from .desk import RUN, Desk, plan_of

HOST = os.uname().nodename

Sit = Callable[[Desk], Desk]


@pytest.fixture
def sit(monkeypatch: pytest.MonkeyPatch) -> Sit:
    """Commands are given at this desk from now on."""

    def move(desk: Desk) -> Desk:
        monkeypatch.setenv("FAILOVER_STATE", str(desk.state))
        return desk

    return move


@pytest.fixture
def other(tmp_path: Path) -> Desk:
    """The desk on another machine."""
    return Desk(tmp_path / "other")


def exported(desk: Desk, to: Path) -> Path:
    """The desk's run in a file."""
    done = desk.failover("journal", "export", RUN, "-o", str(to))
    assert done.exit_code == 0, done.output
    return to


def test_a_run_goes_on_at_another_desk_and_comes_back(desk: Desk, other: Desk, sit: Sit, tmp_path: Path) -> None:
    """Interrupted here, exported, imported there: approved, resumed and done there; and here it is known to be."""
    desk.has_run(RunStatus.RUNNING, RunStatus.INTERRUPTED)
    file = exported(desk, tmp_path / "run.jsonl")
    sit(other)
    taken = other.failover("journal", "import", str(file))
    first, *warning = taken.stdout.splitlines()
    assert taken.exit_code == 0, taken.output
    assert first.startswith(f"{RUN}: imported, 2 entries (interrupted), as {who()} exported it at 20")
    assert warning == [
        f"resume it here only when nothing works on it at {HOST} any more:",
        f"  failover resume {RUN}",
    ]
    assert other.stands() == desk.stands()
    assert other.failover("approve", RUN, "window", "--ahead").exit_code == 0
    resumed = other.failover("resume", RUN)
    assert (resumed.exit_code, other.stands().status) == (0, RunStatus.DONE), resumed.output
    file = exported(other, tmp_path / "run.jsonl")
    sit(desk)
    back = desk.failover("journal", "import", str(file))
    assert (back.exit_code, desk.stands()) == (0, other.stands())
    assert f"{RUN}: brought up to date, " in back.stdout
    assert "resume it" not in back.stdout, "a run that is done needs nobody"
    again = desk.failover("journal", "import", str(file))
    assert (again.exit_code, again.stdout) == (
        0,
        f"{RUN}: nothing to import, this journal has all of it (done)\n",
    )


def test_a_run_is_undone_at_another_desk(desk: Desk, other: Desk, sit: Sit, tmp_path: Path) -> None:
    """An imported run can be taken back there as well as gone on with."""
    desk.has_run(RunStatus.RUNNING, RunStatus.INTERRUPTED)
    file = exported(desk, tmp_path / "run.jsonl")
    sit(other)
    assert other.failover("journal", "import", str(file)).exit_code == 0
    undone = other.failover("undo", RUN)
    assert (undone.exit_code, other.stands().status) == (0, RunStatus.UNDONE), undone.output


def test_the_resume_that_is_told_names_the_journal(desk: Desk, tmp_path: Path) -> None:
    """Imported into a journal of its own, the next command is for that journal, in a shell's words."""
    desk.has_run(RunStatus.RUNNING)
    file, journal = exported(desk, tmp_path / "run.jsonl"), tmp_path / "at hand.sqlite"
    told = desk.failover("journal", "import", str(file), "--journal", str(journal)).stdout
    assert f"failover resume {RUN} --journal '{journal}'" in told
    assert desk.failover("status", RUN, "--journal", str(journal)).exit_code == 0


def test_a_run_goes_down_a_pipe(desk: Desk, other: Desk, tmp_path: Path) -> None:
    """Without -o the copy is all that standard output has, and - takes it in."""
    desk.has_run(RunStatus.RUNNING, RunStatus.INTERRUPTED)
    out = desk.start("journal", "export", RUN[:6])
    taken = subprocess.run(
        [sys.executable, "-m", "orchestrator", "journal", "import", "-"],
        stdin=out.stdout,
        capture_output=True,
        text=True,
        env={**os.environ, "FAILOVER_STATE": str(other.state)},
        check=False,
    )
    _, errors = out.communicate()
    assert (out.returncode, errors, taken.returncode) == (0, "", 0), taken.stderr
    assert other.stands() == desk.stands()


def test_a_copy_of_a_run_that_somebody_works_on_says_so(desk: Desk, other: Desk, sit: Sit, tmp_path: Path) -> None:
    """It is made with a warning, and whoever takes it in is told who worked on it, and that more may have happened."""
    plan = desk.has_run(RunStatus.RUNNING)
    with locked(plan, RUN):
        copied = desk.failover("journal", "export", RUN, "-o", str(tmp_path / "run.jsonl"))
        assert (copied.exit_code, "works on it now: this copy lacks what comes" in copied.stderr) == (0, True)
        refused = desk.failover("journal", "import", str(tmp_path / "run.jsonl"), "--journal", str(tmp_path / "j"))
        assert refused.exit_code == 1
        assert f"cannot import run {RUN}: {who()} (process {os.getpid()}) works on it here" in refused.stderr
        assert not (tmp_path / "j").exists()
    header = json.loads((tmp_path / "run.jsonl").read_text().splitlines()[0])
    assert f"(process {os.getpid()})" in header["exported"]["owner"]
    sit(other)
    told = other.failover("journal", "import", str(tmp_path / "run.jsonl")).stdout
    assert f"it was worked on when this copy was made, by {who()} (process {os.getpid()})" in told


def test_nobody_begins_to_work_on_a_run_that_is_taken_in(desk: Desk, tmp_path: Path) -> None:
    """Until the import is over a resume is refused and told by whom; so none is fenced in the middle of a change."""
    plan = desk.has_run(RunStatus.RUNNING, RunStatus.INTERRUPTED)
    file = exported(desk, tmp_path / "run.jsonl")
    with closing(sqlite3.connect(desk.state / "journal.sqlite")) as other_writer:
        other_writer.execute("BEGIN IMMEDIATE")  # the import has to wait for it
        importing = desk.start("journal", "import", str(file))
        end = time.monotonic() + 10
        while owner_of(RUN) is None and importing.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        told = f"the import of run {RUN} by {who()}"
        with pytest.raises(RefusedError, match=f"{told} .*has held it"), locked(plan, RUN):
            pass
        other_writer.rollback()
    _, errors = importing.communicate(timeout=20)
    assert (importing.returncode, owner_of(RUN)) == (0, None), errors


def test_a_run_that_went_two_ways_is_not_joined(desk: Desk, other: Desk, sit: Sit, tmp_path: Path) -> None:
    """When the run went on at both desks, neither takes the other's copy in: exit code 1, and why."""
    desk.has_run(RunStatus.RUNNING, RunStatus.INTERRUPTED)
    file = exported(desk, tmp_path / "run.jsonl")
    assert desk.failover("undo", RUN).exit_code == 0
    sit(other)
    assert other.failover("journal", "import", str(file)).exit_code == 0
    assert other.failover("approve", RUN, "window", "--ahead").exit_code == 0
    exported(other, file)
    sit(desk)
    refused = desk.failover("journal", "import", str(file))
    assert (refused.exit_code, desk.stands().status) == (1, RunStatus.UNDONE)
    assert "in different ways, from entry 3 of 3 on (line 4 of the file)" in refused.stderr


def test_what_is_no_copy_is_told_in_one_line(desk: Desk, tmp_path: Path) -> None:
    """A file that is not there, is a folder or something else is one error at its place, and nothing is imported."""
    (tmp_path / "run.yaml").write_text("runbook: out\n")
    told = {name: desk.failover("journal", "import", str(tmp_path / name)) for name in ("nope", ".", "run.yaml")}
    assert {name: one.exit_code for name, one in told.items()} == {"nope": 1, ".": 1, "run.yaml": 1}
    assert "nope: cannot read this file: No such file or directory" in told["nope"].stderr
    assert "cannot read this file: Is a directory" in told["."].stderr
    (line,) = told["run.yaml"].stderr.splitlines()
    assert line == (
        f"{tmp_path}/run.yaml:1: cannot import this: it is no exported run — "
        "name a file that 'failover journal export' wrote"
    )
    assert not (tmp_path / "journal.sqlite").exists()


def test_a_plan_of_another_version_is_not_taken_in(desk: Desk, tmp_path: Path) -> None:
    """A run that could not be gone on with here is refused before the journal is touched."""
    with desk.journal() as journal:
        journal.create(RUN, '{"shape": "of tomorrow"}', "wait", 1_700_000_000.0)
    file = exported(desk, tmp_path / "run.jsonl")
    refused = desk.failover("journal", "import", str(file), "--journal", str(tmp_path / "j"))
    assert (refused.exit_code, (tmp_path / "j").exists()) == (1, False)
    assert "it was written by another version of failover" in refused.stderr


def test_a_copy_is_private_and_replaces_only_a_copy(desk: Desk, tmp_path: Path) -> None:
    """A copy is for its owner alone; an earlier copy is replaced, but no other file, and not the journal."""
    desk.has_run(RunStatus.RUNNING)
    file = exported(desk, tmp_path / "run.jsonl")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    exported(desk, file)
    (tmp_path / "notes").write_text("mine\n")
    (tmp_path / "link").symlink_to("nowhere")
    before = {one.name for one in tmp_path.iterdir()}
    for name in ("notes", "journal.sqlite", ".", "link", "no/folder"):
        refused = desk.failover("journal", "export", RUN, "-o", str(tmp_path / name))
        assert (refused.exit_code, "cannot write" in refused.stderr) == (1, True), name
    assert {one.name for one in tmp_path.iterdir()} == before
    assert (tmp_path / "notes").read_text() == "mine\n"
    assert desk.stands().status is RunStatus.RUNNING


def test_an_answer_that_cannot_be_written_is_told(desk: Desk) -> None:
    """Where standard output takes nothing, the copy that is not there is not called made."""
    desk.has_run(RunStatus.RUNNING)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", "journal", "export", RUN],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, "cannot write the answer: No space left" in done.stderr) == (1, True)


def test_no_secret_is_in_a_copy(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan names where its secrets are; what they are goes to no other machine."""
    monkeypatch.setenv("PROBE_PASSWORD", "correct horse")
    data = plan_of([turn("shift")]).model_dump(mode="json", by_alias=True)
    login = {"user": "probe", "password": "env:PROBE_PASSWORD"}
    data["inventory"]["pools"]["smtp"]["test_mail"]["login"] = login
    with desk.journal() as journal:
        journal.create(RUN, json.dumps(data), "wait", 1_700_000_000.0)
    text = exported(desk, tmp_path / "run.jsonl").read_text()
    assert ("env:PROBE_PASSWORD" in text, "correct horse" in text) == (True, False)
    assert desk.failover("journal", "import", str(tmp_path / "run.jsonl")).exit_code == 0
