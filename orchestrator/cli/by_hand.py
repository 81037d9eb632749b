"""What the command line adds to the report of a run: who works on it, and the steps that are left for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import FailoverError

if TYPE_CHECKING:
    from orchestrator.model.journal import Entry
    from orchestrator.model.plan import Plan
    from orchestrator.ports import RunRow
    from orchestrator.report.records import Record


def whole_record(plan: Plan, row: RunRow, entries: Sequence[Entry], owner: str | None, typed: str) -> Record:
    """The run for machines, ``typed`` so in its commands; ``by_hand`` is null where it cannot be said."""
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.by_hand import by_hand_record
    from orchestrator.report.records import run_record
    from orchestrator.status import fold
    from orchestrator.wiring import by_hand

    told = run_record(plan, row, entries, SystemClock().now(), typed)
    record: Record = {**told, "owner": owner, "by_hand": None}
    try:
        record["by_hand"] = by_hand_record(by_hand(plan, fold(entries)))
    except FailoverError:
        return record
    return record


def show_by_hand(plan: Plan, typed: str, entries: Sequence[Entry], owner: str | None, *, unasked: bool = False) -> None:
    """Print what a person would do to take back what is left of the run; ``unasked`` only where it is stuck.

    ``typed`` is the run as it is typed in a command. It is no part of the page above it: a command is never cut to the
    width of the terminal.
    """
    from orchestrator.report.by_hand import by_hand_text
    from orchestrator.status import RunStatus, fold
    from orchestrator.wiring import by_hand

    state = fold(entries)
    if unasked and state.status is not RunStatus.STUCK:
        return
    try:
        text = by_hand_text(by_hand(plan, state), typed, owner)
    except FailoverError as error:
        text = str(error)
    print(f"\n{text}")
