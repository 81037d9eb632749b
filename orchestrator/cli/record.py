"""The journal as commands use it: opened, asked for one run, and given what a person has said."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.model.plan import Plan
    from orchestrator.status import RunState


def open_record(path: Path | None) -> SqliteJournal:
    """The journal that the option names, or this machine's own; it is there already.

    Raises:
        JournalError: it is not, or it cannot be opened.
    """
    from orchestrator.wiring import open_journal

    return open_journal(path)


def make_record(path: Path | None) -> SqliteJournal:
    """As ``open_record``, but made where it is missing."""
    from orchestrator.wiring import make_journal

    return make_journal(path)


def known(record: SqliteJournal, run: str) -> tuple[Plan, str]:
    """The plan and the whole name of a run; neither ever changes."""
    from orchestrator.wiring import read_plan

    row = record.run(run)
    return read_plan(row.plan, row.run), row.run


def as_typed(record: SqliteJournal, run: str) -> str:
    """The run as it is typed behind a command: with its journal where that is not this machine's own."""
    from orchestrator.wiring import typed_run

    return typed_run(record, run)


def state_of(record: SqliteJournal, run: str) -> RunState:
    """Where it stands now; what a decision rests on is read while the run is locked."""
    from orchestrator.status import fold

    return fold(record.entries(run))


def say(record: SqliteJournal, run: str, kind: str, data: dict[str, object], step: str = "") -> None:
    """Write what a person has said."""
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.model.journal import Entry

    entry = {"run": run, "at": SystemClock().now(), "epoch": 0, "kind": kind, "step": step, "data": data}
    record.append(Entry.model_validate(entry))


def approve_step(
    record: SqliteJournal, run: str, step: str, by: str, *, note: str, ahead: bool, back: bool = False
) -> None:
    """Write that a person says yes to a step; ``back`` when they have undone it."""
    direction = "undo" if back else "out"
    say(record, run, "approval", {"by": by, "note": note, "ahead": ahead, "direction": direction}, step)
