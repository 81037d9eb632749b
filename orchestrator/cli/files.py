"""``failover lint`` and ``failover plan``, and how a runbook and an inventory are read for every command."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import AsJson, InventoryFiles, Parameters, RunbookFile
from orchestrator.cli.output import answers_errors
from orchestrator.errors import InputError, Problem, RefusedError

if TYPE_CHECKING:
    from orchestrator.load.runbook import LoadedRunbook
    from orchestrator.model.inventory import Inventory
    from orchestrator.model.plan import Plan


@dataclass(frozen=True, slots=True)
class Loaded:
    """A runbook and the inventory that it is bound to."""

    runbook: LoadedRunbook
    inventory: Inventory
    in_lab: bool
    """Whether an inventory file refers to the running lab."""


def load(runbook: Path, inventories: Sequence[Path], parameters: Sequence[str] | None) -> Loaded:
    """Read both.

    Raises:
        InputError: with every problem of the inventory, or else of the runbook and its parameters.
    """
    from orchestrator.load.inventory import load_inventory
    from orchestrator.load.runbook import load_runbook

    lab = _LabReferences()
    given = _given(parameters or [])
    inventory = load_inventory(inventories, {"env": _environment, "lab": lab})
    return Loaded(load_runbook(runbook, inventory, given), inventory, lab.used)


def make_plan(loaded: Loaded) -> Plan:
    """Observe and plan.

    Raises:
        RefusedError: something that can be seen now would stop the run.
    """
    import asyncio

    from orchestrator.wiring import plan_runbook

    return asyncio.run(plan_runbook(loaded.runbook.runbook, loaded.inventory, loaded.runbook.parameters))


@answers_errors
def lint(
    runbook: RunbookFile,
    inventory: InventoryFiles,
    param: Parameters = None,
) -> None:
    """Read a runbook against an inventory and name every mistake, with its place. Nothing is contacted."""
    loaded = load(runbook, inventory, param)
    steps = len(loaded.runbook.runbook.steps)
    print(f"{runbook}: no problems ({steps} steps, {len(loaded.runbook.runbook.checks)} checks)")


@answers_errors
def plan(
    runbook: RunbookFile,
    inventory: InventoryFiles,
    param: Parameters = None,
    as_json: AsJson = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there is something to do.")
    ] = False,
) -> None:
    """Observe, and show what a run would change, step by step. Reads only."""
    from orchestrator.report.diff import has_changes, plan_record, plan_text
    from orchestrator.report.records import json_line

    made = make_plan(load(runbook, inventory, param))
    print(json_line(plan_record(made)) if as_json else plan_text(made))
    if detailed_exitcode and has_changes(made):
        raise typer.Exit(2)


def _given(parameters: Sequence[str]) -> Mapping[str, str]:
    """The parameters of the command line.

    Raises:
        InputError: one is not name=value, or stands twice.
    """
    given: dict[str, str] = {}
    problems = []
    for text in parameters:
        name, equals, value = text.partition("=")
        if not equals or not name:
            problems.append(Problem(f"cannot use -p {text}: it is not name=value", "write for example -p site=ord"))
        elif name in given:
            problems.append(Problem(f"cannot use -p {text}: {name} is given twice", "leave one out"))
        given[name] = value
    if problems:
        raise InputError(problems)
    return given


def _environment(name: str) -> str:
    """What ``${env:NAME}`` stands for."""
    if name not in os.environ:
        raise RefusedError(f"cannot insert ${{env:{name}}}: it is not set", remedy=f"export {name}=…")
    return os.environ[name]


class _LabReferences:
    """What ``${lab:KEY}`` stands for: the addresses of the running lab, read once."""

    def __init__(self) -> None:
        self.used = False
        self._addresses: Mapping[str, str] | None = None

    def __call__(self, key: str) -> str:
        from orchestrator.lab.addresses import lab_addresses

        self.used = True
        if self._addresses is None:
            self._addresses = lab_addresses()
        if key not in self._addresses:
            known = ", ".join(sorted(self._addresses))
            raise RefusedError(f"cannot insert ${{lab:{key}}}: the lab has no such address", remedy=f"it has {known}")
        return self._addresses[key]
