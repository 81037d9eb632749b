"""Runbooks: a file with its parameters inserted and what it includes, read, and checked against the inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from orchestrator.errors import FailoverError
from orchestrator.load import document, schema
from orchestrator.load.flatten import flatten
from orchestrator.load.insert import Argument, insert
from orchestrator.load.node import MappingNode, Name, Place, ScalarNode, child, name_at
from orchestrator.load.parameters import Given, bind, look_up
from orchestrator.load.part import Part
from orchestrator.load.problems import Problems, quote
from orchestrator.load.rules import check_rules
from orchestrator.load.silences import PlacedSilence
from orchestrator.load.version import check_version
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import Runbook
from orchestrator.model.written import RunbookFile

MAX_DEPTH: Final = 5
MAX_INCLUDES: Final = 50
MAX_STEPS: Final = 5000


@dataclass(frozen=True, slots=True)
class LoadedRunbook:
    """A runbook that can be planned."""

    runbook: Runbook
    """With its parameters inserted, and what it includes."""

    parameters: dict[str, str | int | float]
    """What was inserted: durations in seconds, percentages as fractions of one, secrets as references."""

    given: dict[str, str]
    """The same as one would type it."""

    root: MappingNode
    """The same as ``runbook`` with the place of everything, for lint."""

    unused: tuple[Name, ...] = ()
    """Parameters that are declared and never inserted or asked for; in an included runbook INCLUDE.NAME."""

    silences: tuple[PlacedSilence, ...] = field(default=())
    """Findings of lint that are meant to be so."""

    stand_ins: Mapping[Place, str] = field(default_factory=dict)
    """Where a value stands in for a parameter that is not given, and for which."""


def load_runbook(
    path: Path, inventory: Inventory, given: Mapping[str, str], *, stand_ins: bool = False
) -> LoadedRunbook:
    """The runbook in the file at ``path``, for this inventory and with these parameters, as text.

    With ``stand_ins`` a plausible value stands for each parameter that is missing, for a look without a plan.

    Raises:
        InputError: with every problem of the files and of ``given``; those of ``given`` have no file.
    """
    problems = Problems()
    reader = _Reader(inventory, problems)
    part = reader.read(path, Given(given, stand_ins=stand_ins))
    if part is None:
        problems.raise_any()
        raise AssertionError("a file that cannot be read is a problem")
    flat = flatten(part, reader.include, problems)
    if flat.steps > MAX_STEPS:
        problems.add(part.root.place, f"cannot use this runbook: it has more than {MAX_STEPS} steps", "split it")
        problems.raise_any()
    check_rules(flat.root, inventory, problems)
    problems.raise_any()
    runbook = schema.build(Runbook, flat.root, problems)
    problems.raise_any()
    assert runbook is not None, "the schema says why it makes no model"
    values, texts = part.values(), part.texts()
    return LoadedRunbook(runbook, values, texts, flat.root, flat.unused, flat.silences, problems.stand_ins())


class _Reader:
    """Reads runbooks, and those that they include."""

    def __init__(self, inventory: Inventory, problems: Problems) -> None:
        self._inventory = inventory
        self._problems = problems
        self._included = 0

    def read(self, path: Path, given: Given, above: tuple[Path, ...] = ()) -> Part | None:
        """One file with its parameters inserted; None where it cannot be read as a runbook, which is reported."""
        root = document.read(path, self._problems)
        if root is not None and not isinstance(root, MappingNode):
            message = "cannot read this as a runbook: it must be a mapping"
            self._problems.add(root.place, message, "write 'runbook:' and 'steps:'")
        if not isinstance(root, MappingNode) or not check_version(root, self._problems):
            return None
        arguments = bind(root, self._inventory, given, self._problems)
        used: set[str] = set()
        filled = self._filled(root, arguments, used)
        schema.build(RunbookFile, filled, self._problems)
        return Part(filled, arguments, used, path, (*above, path.resolve()), self._inventory)

    def include(self, part: Part, step: MappingNode) -> Part | None:
        """The runbook that a step of ``part`` includes; None where there is none, which is reported."""
        name = name_at(step, "runbook")
        if name is None or not name.text:
            return None  # which the schema reports
        try:
            path = self._path(part, name.text)
        except FailoverError as error:
            called = name_at(step, "id")
            what = f"cannot include {quote(name.text)}" + (f" in step {quote(called.text)}" if called else "")
            self._problems.add(name.place, f"{what}: {error.message}", error.remedy)
            return None
        self._included += 1
        return self.read(path, _given(step), part.above)

    def _path(self, part: Part, text: str) -> Path:
        """The file that is meant, as seen from the including one.

        Raises:
            FailoverError: it must not be included, or is not there.
        """
        path = part.path.parent / text
        if self._included >= MAX_INCLUDES:
            raise FailoverError(f"more than {MAX_INCLUDES} runbooks are included", remedy="make it simpler")
        if len(part.above) > MAX_DEPTH:
            raise FailoverError(f"includes are nested deeper than {MAX_DEPTH} levels", remedy="make it simpler")
        try:
            resolved = path.resolve()
            there = resolved.is_file()
        except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, a circle of links
            resolved, there = path, False
        if resolved in part.above:
            raise FailoverError("it would include itself", remedy="break the circle")
        if not there:
            raise FailoverError("there is no such file", remedy="name a file as seen from this one")
        return path

    def _filled(self, root: MappingNode, arguments: Mapping[str, Argument | None], used: set[str]) -> MappingNode:
        """The runbook with its parameters inserted everywhere but in their own declarations."""
        declarations = tuple(pair for pair in root.pairs if pair.key == "parameters")
        others = tuple(pair for pair in root.pairs if pair.key != "parameters")
        inserted = insert(replace(root, pairs=others), look_up(root, arguments, used), self._problems)
        assert isinstance(inserted, MappingNode), "inserting changes scalars only"
        return replace(root, pairs=declarations + inserted.pairs)


def _given(step: MappingNode) -> Given:
    section = child(step, "with")
    pairs = section.pairs if isinstance(section, MappingNode) else ()
    scalars = {pair.key: pair.value for pair in pairs if isinstance(pair.value, ScalarNode)}
    return Given(
        {name: node.text for name, node in scalars.items() if not node.unknown},
        {name: node.place for name, node in scalars.items()},
        whole=step.place,
        unknown=frozenset(pair.key for pair in pairs) - {name for name, node in scalars.items() if not node.unknown},
    )
