"""``failover lint``: every mistake of runbooks, with its place, in the form that the reader wants."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import __version__
from orchestrator.cli.files import parameters_of
from orchestrator.cli.options import InventoryOfRunbook, Parameters
from orchestrator.cli.output import REFUSED, answers_errors
from orchestrator.cli.references import read_inventory
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from orchestrator.load.runbook import LoadedRunbook
    from orchestrator.model.inventory import Inventory
    from orchestrator.report.findings import Found


class Format(StrEnum):
    """Who reads it."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


@answers_errors
def lint(
    runbooks: Annotated[list[Path], typer.Argument(help="Runbooks, YAML files.", metavar="RUNBOOK...", readable=False)],
    inventory: InventoryOfRunbook = None,
    param: Parameters = None,
    form: Annotated[
        Format, typer.Option("--format", help="text; json; github: annotations in a workflow; sarif: for scanners.")
    ] = Format.TEXT,
) -> None:
    """Read runbooks against an inventory and name every mistake, with its place. Nothing is contacted.

    A plausible value stands in for each parameter that is not given. Beyond mistakes it finds what is legal and
    unwise: docs/lint.md has a section for each rule, and says how to silence one in the file, with a reason.

    Exit codes: 0 nothing found; 1 something found.
    """
    found: list[Found] = []
    loaded: list[LoadedRunbook] = []
    try:
        read, _ = read_inventory(inventory or [])
        given = parameters_of(param or [])
    except InputError as error:
        found += _unloadable(error)
    else:
        for path in runbooks:
            found += _look(path, read, given, loaded)
    files = [str(path) for path in (*(inventory or []), *runbooks)]
    sys.stdout.write(_text(list(dict.fromkeys(found)), files, form))
    if form is Format.TEXT:
        for one in loaded:
            print(_about(one))
    if found:
        raise typer.Exit(REFUSED)


def _look(path: Path, inventory: Inventory, given: Mapping[str, str], loaded: list[LoadedRunbook]) -> Sequence[Found]:
    """What is wrong with one runbook; it joins ``loaded`` when it can be used."""
    from orchestrator.load import lint as rules
    from orchestrator.load.problems import with_stand_in
    from orchestrator.load.runbook import load_runbook
    from orchestrator.report.findings import Found

    try:
        one = load_runbook(path, inventory, given, stand_ins=True)
    except InputError as error:
        return _unloadable(error)
    loaded.append(one)
    return [Found(it.rule, it.severity, with_stand_in(it.problem, one.stand_ins)) for it in rules.lint(one, inventory)]


def _unloadable(error: InputError) -> Sequence[Found]:
    from orchestrator.report.findings import Found

    return Found.unloadable(error)


def _text(found: Sequence[Found], files: Sequence[str], form: Format) -> str:
    from orchestrator.load.problems import read_sources
    from orchestrator.report import findings

    match form:
        case Format.TEXT:
            colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
            return findings.findings_text(found, read_sources([one.problem for one in found]), colour=colour)
        case Format.JSON:
            return findings.findings_json(found, files)
        case Format.GITHUB:
            return findings.github_annotations(found)
        case Format.SARIF:
            from orchestrator.load.lint import RULES
            from orchestrator.report.sarif import sarif

            return sarif(found, {name: rule.summary for name, rule in RULES.items()}, __version__)


def _about(loaded: LoadedRunbook) -> str:
    """How much there was to look at, and with which values."""
    from orchestrator.load.problems import quote

    runbook = loaded.runbook
    plain = re.compile(r"[\w.:/%@+,-]{1,60}")
    typed = {name: text if plain.fullmatch(text) else quote(text) for name, text in loaded.given.items()}
    values = " ".join(f"{name}={text}" for name, text in typed.items())
    return f"{runbook.runbook}: {len(runbook.steps)} steps, {len(runbook.checks)} checks" + (
        f", with {values}" if values else ""
    )
