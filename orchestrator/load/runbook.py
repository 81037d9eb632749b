"""Runbooks: a file with its parameters inserted, read, and checked against the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.load import document, schema
from orchestrator.load.insert import Argument, insert
from orchestrator.load.node import MappingNode
from orchestrator.load.parameters import bind, look_up
from orchestrator.load.problems import Problems
from orchestrator.load.rules import check_rules
from orchestrator.load.version import check_version
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import Runbook


@dataclass(frozen=True, slots=True)
class LoadedRunbook:
    """A runbook that can be planned."""

    runbook: Runbook
    """With its parameters inserted."""

    parameters: dict[str, str | int | float]
    """What was inserted: durations in seconds, percentages as fractions of one."""


def load_runbook(path: Path, inventory: Inventory, given: Mapping[str, str]) -> LoadedRunbook:
    """The runbook in the file at ``path``, for this inventory and with these parameters, as text.

    Raises:
        InputError: with every problem of the file and of ``given``; those of ``given`` have no file.
    """
    problems = Problems()
    root = document.read(path, problems)
    if root is not None and not isinstance(root, MappingNode):
        problems.add(root.place, "cannot read this as a runbook: it must be a mapping", "write 'runbook:' and 'steps:'")
    if not isinstance(root, MappingNode) or not check_version(root, problems):
        problems.raise_any()
        raise AssertionError("a file that cannot be read is a problem")
    arguments = bind(root, inventory, given, problems)
    filled = _filled(root, arguments, problems)
    runbook = schema.build(Runbook, filled, problems)
    check_rules(filled, inventory, problems)
    problems.raise_any()
    assert runbook is not None, "the schema says why it makes no model"
    return LoadedRunbook(runbook, _values(arguments))


def _filled(root: MappingNode, arguments: Mapping[str, Argument | None], problems: Problems) -> MappingNode:
    """The runbook with its parameters inserted everywhere but in their own declarations."""
    declarations = tuple(pair for pair in root.pairs if pair.key == "parameters")
    others = tuple(pair for pair in root.pairs if pair.key != "parameters")
    inserted = insert(replace(root, pairs=others), look_up(root, arguments), problems)
    assert isinstance(inserted, MappingNode), "inserting changes scalars only"
    return replace(root, pairs=declarations + inserted.pairs)


def _values(arguments: Mapping[str, Argument | None]) -> dict[str, str | int | float]:
    return {
        name: argument.value
        for name, argument in arguments.items()
        if argument is not None and argument.value is not None
    }
