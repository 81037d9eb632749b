"""How runbooks and inventories are read for every command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.references import read_inventory
from orchestrator.errors import InputError, Problem

if TYPE_CHECKING:
    from orchestrator.load.lint import Finding
    from orchestrator.load.runbook import LoadedRunbook
    from orchestrator.model.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Loaded:
    """A runbook and the inventory that it is bound to, fit to be planned."""

    runbook: LoadedRunbook
    inventory: Inventory
    in_lab: bool
    """Whether a file of the inventory refers to the running lab."""
    warnings: tuple[str, ...]
    """What lint says, a line each; nothing that must stop a run."""


def load(runbook: Path, inventories: Sequence[Path] | None, parameters: Sequence[str] | None) -> Loaded:
    """Read both, and what lint says of them.

    Raises:
        InputError: with every problem of the inventory, or else of the runbook and its parameters, or else with
            what lint finds that must not be run.
    """
    from orchestrator.load.lint import examine
    from orchestrator.load.runbook import load_runbook

    given = parameters_of(parameters or [])
    inventory, in_lab = read_inventory(inventories or [])
    loaded = load_runbook(runbook, inventory, given)
    examined = examine(loaded, inventory)
    errors = [with_rule(finding) for finding in examined.findings if finding.severity == "error"]
    if errors:
        raise InputError(errors)
    warnings = [str(with_rule(finding)) for finding in examined.findings]
    warnings += [f"silenced, {one.reason}: {with_rule(one.finding)}" for one in examined.silenced]
    return Loaded(loaded, inventory, in_lab, tuple(warnings))


def with_rule(finding: Finding) -> Problem:
    """The finding's problem, with the name of its rule."""
    problem = finding.problem
    return replace(problem, remedy=f"{problem.remedy} [{finding.rule}]")


def parameters_of(given: Sequence[str]) -> Mapping[str, str]:
    """The parameters of the command line.

    Raises:
        InputError: one is not name=value, or stands twice.
    """
    from orchestrator.load.problems import is_text

    values: dict[str, str] = {}
    problems = []
    for number, text in enumerate(given, 1):  # no value is shown: it may be a secret
        name, equals, value = text.partition("=")
        shown = name if len(name) <= 60 else f"{name[:59]}…"
        if not equals or not name:
            message = f"cannot use -p number {number}: it is not name=value"
            problems.append(Problem(message, "write for example -p site=ord"))
        elif not is_text(text):
            problems.append(Problem(f"cannot use -p {shown}=…: it is not UTF-8", "write it anew"))
        elif name in values:
            problems.append(Problem(f"cannot use -p {shown}=…: {shown} is given twice", "leave one out"))
        values[name] = value
    if problems:
        raise InputError(problems)
    return values
