"""``failover plan``, and how a plan is made, saved and read for a run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import __version__
from orchestrator.cli.files import Loaded, load
from orchestrator.cli.options import (
    AsJson,
    InventoryOfRunbook,
    JournalFile,
    Overrides,
    Parameters,
    RunbookFile,
    WindowEnds,
)
from orchestrator.cli.output import REFUSED, answers_errors
from orchestrator.errors import InputError, PlanRefusedError, Problem

if TYPE_CHECKING:
    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.model.plan import Plan, PlanRule


class Format(StrEnum):
    """Who reads it."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"


@answers_errors
def plan(
    runbook: RunbookFile,
    inventory: InventoryOfRunbook = None,
    param: Parameters = None,
    override: Overrides = None,
    window_ends: WindowEnds = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Save the plan here, to be reviewed and run as it is.", metavar="FILE"),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="text; json; markdown: for a change ticket.")] = Format.TEXT,
    as_json: AsJson = False,
    journal: JournalFile = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there is something to do.")
    ] = False,
) -> None:
    """Observe, and show what a run would change, step by step, and how bad each could get. Reads only.

    A plan that is dangerous refuses itself, with every reason. A rule can be set aside with --override and a reason.

    Exit codes: 0 planned; 1 refused, or bad input; 2 with --detailed-exitcode, when there is something to do.
    """
    from orchestrator.report.plan_markdown import plan_markdown
    from orchestrator.report.plan_record import plan_record
    from orchestrator.report.plan_words import has_changes
    from orchestrator.report.records import json_line
    from orchestrator.wiring import find_journal

    with find_journal(journal) or nullcontext() as record:
        loaded, overrides, ends = load(runbook, inventory, param), overrides_of(override or []), end_of(window_ends)
        try:
            made = make_plan(loaded, overrides, record, ends)
        except PlanRefusedError as error:
            if as_json or form is Format.JSON:
                from orchestrator.report.refusal import refusal_record

                print(json_line(refusal_record(error)))
            raise
    if output is not None:
        _save(made, output)
    if as_json or form is Format.JSON:
        print(json_line(plan_record(made)))
    elif form is Format.MARKDOWN:
        print(plan_markdown(made, str(output or "plan.json")), end="")
    else:
        show_plan(made)
        if output is not None:
            print(f"saved: failover run {output}")
    if detailed_exitcode and has_changes(made):
        raise typer.Exit(2)


def show_plan(made: Plan) -> None:
    """Print a plan for people."""
    from orchestrator.report.plan_text import WIDTH, plan_text

    screen = sys.stdout.isatty()
    width = min(WIDTH, shutil.get_terminal_size().columns) if screen else WIDTH
    print(plan_text(made, colour=screen and "NO_COLOR" not in os.environ, width=width))


def make_plan(
    loaded: Loaded, overrides: Mapping[PlanRule, str], journal: SqliteJournal | None, window_ends: float | None = None
) -> Plan:
    """Observe and plan; ``window_ends`` is the Unix time by which all must be over. There may be no ``journal`` yet.

    Raises:
        PlanRefusedError: it must not be run.
    """
    import asyncio

    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import plan_runbook, runs_on_same_pools

    it = loaded.runbook
    in_use = runs_on_same_pools(it.runbook, loaded.inventory, journal, SystemClock())
    planning = plan_runbook(
        it.runbook,
        loaded.inventory,
        it.parameters,
        overrides=overrides,
        in_use=in_use,
        warnings=loaded.warnings,
        durations=journal.durations() if journal is not None else (),
        window_ends=window_ends,
    )
    return asyncio.run(planning)


def is_saved_plan(path: Path) -> bool:
    """Whether a file looks like one that ``failover plan -o`` wrote."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4096).lstrip()
    except (OSError, ValueError):
        return False  # whoever reads it as a runbook says why it cannot be read
    return head.startswith(b"{") and b'"failover_plan"' in head


def open_saved_plan(path: Path, journal: SqliteJournal) -> Plan:
    """The plan in a file, once the world is still as it was when the plan was made.

    Raises:
        InputError: the file cannot be used.
        RefusedError: the world has moved, or the plan must not be run any more.
    """
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.planning import read_saved, too_late
    from orchestrator.wiring import runs_on_same_pools

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError([Problem(f"cannot read the plan: {error}", "check its path", file=str(path))]) from error
    saved = read_saved(text, str(path))
    recheck(saved, runs_on_same_pools(saved.runbook, saved.inventory, journal, SystemClock()))
    if late := too_late(saved, SystemClock().now()):
        print(f"warning: {late}", file=sys.stderr)
    return saved  # as it was reviewed, under its checksum; anew it would differ in what always moves, as sessions


def recheck(plan: Plan, in_use: Sequence[str]) -> None:
    """Look whether the world is still as it was when the plan was made, and would allow it today.

    Raises:
        RefusedError: the plan must not be run any more.
        typer.Exit: the world has moved, which has been said.
    """
    import asyncio

    from orchestrator.report.refusal import world_moved
    from orchestrator.wiring import recheck_plan

    seen = asyncio.run(recheck_plan(plan, in_use=in_use))
    if seen.plan is None:
        print(world_moved(seen.moved), file=sys.stderr)
        raise typer.Exit(REFUSED)


def overrides_of(given: Sequence[str]) -> Mapping[PlanRule, str]:
    """The rules to set aside, from ``RULE=REASON``.

    Raises:
        InputError: one is not so, names no rule, or stands twice.
    """
    from orchestrator.load.problems import meant
    from orchestrator.model.plan import PLAN_RULES

    names = {str(rule): rule for rule in PLAN_RULES}
    found: dict[PlanRule, str] = {}
    problems = []
    for text in given:
        name, _, reason = text.partition("=")
        rule = names.get(name.strip())
        if rule is None:
            problems.append(Problem(f"cannot override {name}: there is no such rule", meant(name, names, "rules")))
        elif not reason.strip():
            problems.append(Problem(f"cannot override {name}: no reason is given", f'write {name}="why it is right"'))
        elif rule in found:
            problems.append(Problem(f"cannot override {name}: it is given twice", "leave one out"))
        else:
            found[rule] = reason.strip()
    if problems:
        raise InputError(problems)
    return found


def end_of(window: str | None) -> float | None:
    """Unix time at which the window ends that ``--window-ends`` names.

    Raises:
        InputError: it is no moment, or one that is over.
    """
    if window is None:
        return None
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.model.moment import parse_moment

    try:
        return parse_moment(window, SystemClock().now())
    except ValueError as error:
        why, _, remedy = str(error).partition(": ")
        raise InputError([Problem(f"cannot use --window-ends: {why}", remedy)]) from error


def _save(made: Plan, path: Path) -> None:
    """Write the file, whole or not at all."""
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.planning import save

    text = save(made, SystemClock().now(), __version__)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        problem = Problem(f"cannot save the plan: {error.strerror or error}", "name another file", file=str(path))
        raise InputError([problem]) from error
