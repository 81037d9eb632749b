"""``failover journal``: a run leaves this machine as a file, and goes on from it on another."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.cli.options import JournalFile, RunName
from orchestrator.cli.output import answers_errors
from orchestrator.cli.ownership import OVER, owner_of, who
from orchestrator.errors import InputError, Problem, RefusedError

if TYPE_CHECKING:
    from orchestrator.journal.portable import Copy
    from orchestrator.journal.sqlite import Restored, SqliteJournal

app = typer.Typer(
    help="Carry a run to another machine, or keep a copy of it.", rich_markup_mode=None, no_args_is_help=True
)

_STANDARD: Final = Path("-")
"""Standard input or output."""


@app.command("export")
@answers_errors
def export_run(
    run: RunName,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Where to write it; standard output when left out.",
            metavar="FILE",
            show_default=False,
        ),
    ] = _STANDARD,
    journal: JournalFile = None,
) -> None:
    """Write a run and all that its journal says, as JSON Lines. The run is left as it is.

    To carry it to another machine, stop it here first (Ctrl-C or SIGTERM end it at a safe point):

      failover journal export RUN | ssh OTHER failover journal import -

    A copy of a run that somebody works on is made too. It says only what had been done by then.
    """
    from orchestrator.wiring import open_journal

    with open_journal(journal) as record:
        name = record.run(run).run
        owner = owner_of(name)
        lines = _lines(record, name, owner)
    if output == _STANDARD:
        sys.stdout.writelines(lines)
    else:
        _write(output, lines)
        print(f"{output}: {name}, {len(lines) - 1} entries; on the other machine: failover journal import FILE")
    if owner:
        print(f"{owner} works on it now: this copy lacks what comes, so it is one to read or to keep", file=sys.stderr)


@app.command("import")
@answers_errors
def import_run(
    file: Annotated[
        Path, typer.Argument(help="What export wrote; - is standard input.", metavar="FILE", readable=False)
    ],
    journal: JournalFile = None,
) -> None:
    """Take a run from another machine into this journal.

    All of it or nothing; nothing is run or contacted. The copy is checked line by line. A run that is here already is
    brought up to date, so the same file can be taken in twice; one that went on here and there in different ways is
    refused. The run can then be resumed or undone here, once nothing works on it there any more.
    """
    from orchestrator.wiring import make_journal, read_plan, typed_run

    copy = _read(file)
    run = copy.header.run
    read_plan(copy.header.plan, run)  # what could not be gone on with is better not taken in
    with _kept_from_others(run), make_journal(journal) as record:
        done = record.restore(copy)
        typed = typed_run(record, run)
    print(_taken_in(copy, done))
    if copy.status not in OVER:
        _warn(copy, typed)


def _lines(record: SqliteJournal, run: str, owner: str | None) -> list[str]:
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.journal.portable import Origin, export_lines

    origin = Origin(at=SystemClock().now(), by=who(), host=os.uname().nodename, owner=owner)
    entries = record.entries(run)
    # In this order: an owner who comes in between has taken a newer epoch than any of the entries.
    return list(export_lines(record.run(run), entries, record.epoch(run), origin))


def _read(file: Path) -> Copy:
    from orchestrator.journal.portable import read_export

    if file == _STANDARD:
        return read_export(sys.stdin.buffer, "standard input")
    try:
        with file.open("rb") as stream:
            return read_export(stream, str(file))
    except (OSError, ValueError) as error:
        why = f"cannot read this file: {error.strerror if isinstance(error, OSError) else error}"
        raise InputError([Problem(why, "check its path", file=str(file))]) from error


@contextmanager
def _kept_from_others(run: str) -> Iterator[None]:
    """Nobody can begin to work on the run while the block lasts: the new epoch would fence them in mid-change.

    Raises:
        RefusedError: somebody works on it.
    """
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import open_lock

    if owner := owner_of(run):
        raise RefusedError(f"cannot import run {run}: {owner} works on it here", remedy="wait until it is over")
    lock = open_lock(SystemClock())
    lock.acquire([f"run {run}"], f"the import of run {run} by {who()} (process {os.getpid()})")
    try:
        yield
    finally:
        lock.release()


def _taken_in(copy: Copy, done: Restored) -> str:
    from datetime import UTC, datetime

    it = copy.header
    if not done.new and not done.entries:
        return f"{it.run}: nothing to import, this journal has all of it ({copy.status})"
    what = "imported" if done.new else "brought up to date"
    amount = f"{done.entries} entries" if done.new else f"{done.entries} more entries"
    at = f"{datetime.fromtimestamp(it.exported.at, tz=UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"{it.run}: {what}, {amount} ({copy.status}), as {it.exported.by} exported it at {at}"


def _warn(copy: Copy, typed: str) -> None:
    """Say what two orchestrators on one run would be, of which no lock of one machine can keep the other away.

    ``typed`` is the run here as it is typed in a command.
    """
    it = copy.header
    if it.exported.owner:
        print(f"it was worked on when this copy was made, by {it.exported.owner}: what was done since is not in it")
    print(f"resume it here only when nothing works on it at {it.exported.host} any more:")
    print(f"  failover resume {typed}")


def _write(target: Path, lines: Iterable[str]) -> None:
    """All of it or nothing, for its owner alone, as a journal is.

    Raises:
        RefusedError: there is no room or no right for it, or what is there is no earlier copy.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _check_replaceable(target)
        try:
            handle = os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with open(handle, "w", encoding="ascii") as stream:  # noqa: PTH123 - a handle
                stream.writelines(lines)
                stream.flush()
                os.fsync(handle)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        remedy = "name a file in a folder that is there and is yours"
        raise RefusedError(f"cannot write {target}: {error.strerror or error}", remedy=remedy) from error


def _check_replaceable(target: Path) -> None:
    """An earlier copy is replaced; anything else is not, least of all the journal itself."""
    from orchestrator.journal.portable import BEGINNING

    if not os.path.lexists(target):
        return
    if not target.is_file():
        raise RefusedError(f"cannot write {target}: it is no plain file", remedy="name another, or use a pipe")
    with target.open("rb") as stream:
        beginning = stream.read(len(BEGINNING))
    if beginning not in (b"", BEGINNING):
        raise RefusedError(f"cannot write {target}: it is there already, and no exported run", remedy="name another")
