"""A run in another journal than this machine's own: what is told to be typed names it; only a run makes a journal."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from orchestrator.cli.ownership import locked
from orchestrator.cli.work import closing, work
from orchestrator.engine.engine import Engine
from orchestrator.errors import Fenced, JournalError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.plan import Plan
from orchestrator.status import RunState, RunStatus

from ..engine.scene import turn
from .desk import RUN, Desk
from .test_work import INVENTORY, RUNBOOK

_COMMAND = re.compile(r"failover (?:status|approve|abort|resume|undo) [^—;(]*")


class Elsewhere(Desk):
    """A desk whose runs are in a journal that no command finds by itself, with a blank in its name."""

    @property
    def file(self) -> Path:
        """That journal."""
        return self.state / "at hand.sqlite"

    def journal(self) -> SqliteJournal:
        """The same; close it."""
        return SqliteJournal(self.file)

    def told(self, *arguments: str) -> str:
        """All that a command prints about the run there."""
        done = self.failover(*arguments, "--journal", str(self.file))
        return done.stdout + done.stderr

    def commands(self, text: str) -> list[list[str]]:
        """The commands in a text, as a shell takes them apart."""
        return [shlex.split(found) for found in _COMMAND.findall(text.replace("\\\n", " "))]

    def names_it(self, text: str) -> bool:
        """Whether the text has commands, and all that name a run name its journal too."""
        runs = [command for command in self.commands(text) if RUN in command]
        return bool(runs) and all(("--journal", str(self.file)) in pairwise(it) for it in runs)


@pytest.fixture
def elsewhere(desk: Desk) -> Elsewhere:
    """A desk with a journal of its own choice."""
    return Elsewhere(desk.state)


@contextmanager
def watching(desk: Elsewhere) -> Iterator[subprocess.Popen[str]]:
    """A watcher of the run in a process of its own, which ends with the block."""
    with desk.start("status", RUN, "--watch", "--journal", str(desk.file)) as process:
        try:
            yield process
        finally:
            process.kill()


_RUNNING, _HELD, _UNDOING, _STUCK = RunStatus.RUNNING, RunStatus.HELD, RunStatus.UNDOING, RunStatus.STUCK


@pytest.mark.parametrize(
    ("way", "arguments"),
    [
        ([_RUNNING], ["status", RUN]),
        ([_RUNNING], ["status"]),
        ([_RUNNING, _HELD], ["status", RUN]),
        ([_RUNNING, _UNDOING], ["status", RUN]),
        ([_RUNNING, _STUCK], ["status", RUN]),
        ([_RUNNING, _STUCK], ["status", RUN, "--watch"]),
        ([_RUNNING], ["approve", RUN, "window"]),
        ([_RUNNING], ["approve", RUN, "window", "--ahead"]),
        ([], ["abort", RUN]),
        ([_RUNNING, RunStatus.DONE], ["abort", RUN]),
        ([_RUNNING, _STUCK], ["abort", RUN]),
    ],
    ids=lambda it: "-".join(it) or "planned",
)
def test_what_is_told_to_be_typed_names_the_journal(
    elsewhere: Elsewhere, way: list[RunStatus], arguments: list[str]
) -> None:
    """Every command that is printed of such a run can be copied as it is, however long the journal's name."""
    elsewhere.has_run(*way)
    text = elsewhere.told(*arguments)
    assert elsewhere.names_it(text), text


def test_machines_are_told_the_journal(elsewhere: Elsewhere) -> None:
    """The commands of ``next`` name it too."""
    elsewhere.has_run(_RUNNING)
    record = json.loads(elsewhere.told("status", RUN, "--json"))
    where = f"--journal '{elsewhere.file}'"
    assert record["next"] == [f"failover resume {RUN} {where}", f"failover undo {RUN} {where}"]


def test_a_watcher_is_told_the_journal(elsewhere: Elsewhere) -> None:
    """When nobody works on the run that is watched, how it goes on is whole."""
    elsewhere.has_run(_RUNNING)
    with watching(elsewhere) as watcher:
        assert watcher.stdout is not None
        line = next(line for line in watcher.stdout if "nobody works on this run now" in line)
    assert elsewhere.names_it(line), line


@pytest.mark.parametrize("command", ["resume", "undo"])
def test_who_is_refused_is_told_the_journal(elsewhere: Elsewhere, command: str) -> None:
    """While somebody works on the run, or another one on its pool, the ways out name the journal."""
    plan = elsewhere.has_run(_RUNNING, _HELD, steps=[turn("shift")])
    with locked(plan, RUN):
        refused = elsewhere.told(command, RUN)
    assert elsewhere.names_it(refused), refused
    elsewhere.has_run(_RUNNING, _HELD, steps=[turn("shift")], run="other")
    assert f"failover undo other --journal '{elsewhere.file}'" in elsewhere.told(command, RUN)


def broken_off(desk: Elsewhere, plan: Plan, trouble: BaseException) -> None:
    """Work on the run that ends so."""

    async def broken(engine: Engine) -> RunState:
        raise trouble

    with desk.journal() as journal, locked(plan, RUN) as lock, pytest.raises(typer.Exit):
        work(plan, RUN, journal, broken, lock, as_json=True)


@pytest.mark.parametrize(
    "trouble", [KeyboardInterrupt(), Fenced("newer"), JournalError("full"), ZeroDivisionError()], ids=repr
)
def test_work_that_breaks_off_tells_the_journal(
    elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str], trouble: BaseException
) -> None:
    """Whatever ends the work before the run, what is said last can be copied."""
    broken_off(elsewhere, elsewhere.has_run(_RUNNING), trouble)
    told = capsys.readouterr().err
    assert elsewhere.names_it(told), told


@pytest.mark.parametrize("status", [_HELD, RunStatus.INTERRUPTED, _STUCK])
def test_the_summary_tells_the_journal(
    elsewhere: Elsewhere, capsys: pytest.CaptureFixture[str], status: RunStatus
) -> None:
    """The next commands below a run that has not ended, and behind those for a person's hands."""
    plan = elsewhere.has_run(_RUNNING, status)
    with elsewhere.journal() as journal:
        closing(plan, RUN, journal, as_json=False)
    told = capsys.readouterr().out
    assert elsewhere.names_it(told), told


def test_the_own_journal_is_not_named(desk: Desk) -> None:
    """Where a command finds the run by itself nothing more is to be typed, also when somebody has named it."""
    desk.has_run(_RUNNING)
    own = desk.state / "." / "journal.sqlite"
    for arguments in (["status", RUN], ["status", RUN, "--journal", str(own)]):
        assert "--journal" not in desk.failover(*arguments).stdout


READERS = [
    ["status"],
    ["status", RUN],
    ["status", "--watch"],
    ["status", RUN, "--watch"],
    ["journal", "export", RUN],
    ["approve", RUN, "window"],
    ["abort", RUN],
    ["resume", RUN],
    ["undo", RUN],
]


@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_a_journal_that_is_not_there_is_not_made(desk: Desk, tmp_path: Path, arguments: list[str]) -> None:
    """What only reads, or goes on with a run, says that the journal does not exist, and leaves no folder behind."""
    missing = tmp_path / "no" / "journal.sqlite"
    refused = desk.failover(*arguments, "--journal", str(missing))
    assert (refused.exit_code, missing.parent.exists()) == (1, False)
    why = f"cannot read the journal {missing}: it does not exist — check --journal or FAILOVER_STATE\n"
    assert refused.stderr == why


def test_before_the_first_run_there_is_nothing_to_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a journal of this machine there are no runs yet; that is said with its name, and none is made."""
    state = tmp_path / "state"
    monkeypatch.setenv("FAILOVER_STATE", str(state))
    desk = Desk(state)
    listed = desk.failover("status")
    assert (listed.exit_code, listed.stdout) == (0, f"no runs yet ({state}/journal.sqlite)\n")
    assert (desk.failover("status", "--json").exit_code, desk.failover("status", "--json").stdout) == (0, "")
    assert desk.failover("status", RUN).exit_code == 1
    assert not state.exists()


def test_an_empty_journal_has_no_runs_yet(desk: Desk) -> None:
    """A journal without a run is named, too."""
    desk.journal().close()
    assert desk.failover("status").stdout == f"no runs yet ({desk.state}/journal.sqlite)\n"


def test_a_run_makes_its_journal(desk: Desk, tmp_path: Path) -> None:
    """Planning makes none; the run does, wherever it is to be."""
    runbook, journal = tmp_path / "wait.yaml", tmp_path / "new" / "journal.sqlite"
    runbook.write_text(RUNBOOK)
    what = [str(runbook), "-i", str(INVENTORY)]
    planned = desk.failover("plan", *what)
    assert (planned.exit_code, (desk.state / "journal.sqlite").exists()) == (0, False), planned.stderr
    run = desk.failover("run", *what, "--approve", "window", "--journal", str(journal))
    assert (run.exit_code, journal.exists()) == (0, True), run.stderr


def test_the_journal_that_lacks_a_run_is_named(desk: Desk) -> None:
    """Who looks in the wrong file is told which one it was."""
    desk.has_run()
    refused = desk.failover("status", "20990101")
    assert f"the journal {desk.state}/journal.sqlite has no run '20990101' — the newest are {RUN}" in refused.stderr


def test_a_log_without_its_journal_is_no_missing_journal(desk: Desk) -> None:
    """Where the journal has gone and its log is left, that is damage, and not the time before the first run."""
    (desk.state / "journal.sqlite-wal").write_bytes(b"entries")
    refused = desk.failover("status")
    assert (refused.exit_code, "it is missing, but its log" in refused.stderr) == (1, True)
