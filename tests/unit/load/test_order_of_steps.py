"""Whatever groups, includes and conditions a runbook has: each step waits for what it must, and for nothing more."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory

HEAD = """
parameters: {s: {type: choice, choices: [x, y]}}
checks: {m: {probe: smtp, at: {pool: smtp}, over: 1s, expect: {success_rate: ">= 50%"}}}
"""


@dataclass
class Entry:
    """One entry of ``steps``: a plain step, a group (``inside``), or an include (``file``)."""

    name: str
    conditional: bool
    needs: list[str] | None = None
    inside: list[Entry] = field(default_factory=list)
    file: File | None = None


@dataclass
class File:
    """One runbook."""

    name: str
    entries: list[Entry]


class Author:
    """Writes a runbook that nobody would, with all that it includes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.files: list[File] = []

    def file(self, depth: int = 0) -> File:
        """A file; its entries need only what stands above them, so that there is no circle."""
        self._names = 0
        file = File(f"f{len(self.files)}", [])
        self.files.append(file)
        file.entries = [self._entry(depth, in_group=False) for _ in range(self._random.randint(1, 5))]
        for entry in (one for top in file.entries for one in (top, *top.inside)):
            if entry.file is not None:
                entry.file = self.file(depth + 1)
        self._add_needs(file.entries, [])
        return file

    def _entry(self, depth: int, *, in_group: bool) -> Entry:
        self._names += 1
        entry = Entry(f"n{self._names}", conditional=self._random.random() < 0.25)
        kind = self._random.random()
        if kind < 0.25 and not in_group:
            entry.inside = [self._entry(depth, in_group=True) for _ in range(self._random.randint(1, 3))]
        elif kind < 0.45 and depth < 2:
            entry.file = File("", [])
        return entry

    def _add_needs(self, entries: Sequence[Entry], above: Sequence[str]) -> None:
        seen = list(above)
        for entry in entries:
            chance = self._random.random()
            if chance < 0.15:
                entry.needs = []
            elif chance < 0.5 and seen:
                entry.needs = self._random.sample(seen, min(len(seen), self._random.randint(1, 2)))
            self._add_needs(entry.inside, seen)
            seen += [*(one.name for one in entry.inside), entry.name]


def text(file: File) -> str:
    """The YAML of one file."""
    return f"runbook: {file.name}\n{HEAD}steps:\n" + "".join(_lines(entry, 2) for entry in file.entries)


def _lines(entry: Entry, indent: int) -> str:
    kind = "parallel" if entry.inside else "include" if entry.file else "verify"
    words = [f"- id: {entry.name}", f"  do: {kind}"]
    words += [f"  needs: [{', '.join(entry.needs)}]"] if entry.needs is not None else []
    words += ["  when: {param: s, is: y}"] if entry.conditional else []
    words += [f"  runbook: {entry.file.name}.yaml", '  with: {s: "${s}"}'] if entry.file else []
    words += ["  checks: [m]"] if kind == "verify" else []
    words += ["  steps:"] if entry.inside else []
    own = "".join(" " * indent + word + "\n" for word in words)
    return own + "".join(_lines(one, indent + 4) for one in entry.inside)


class Reference:
    """All that must be done before each step, found by the meaning of the words alone."""

    def __init__(self, root: File, *, leave_out: bool) -> None:
        self.before: dict[str, set[str]] = {}
        self._leave_out = leave_out
        self._file(root, "", set(), skipped=False)

    def _file(self, file: File, prefix: str, begin: set[str], *, skipped: bool) -> set[str]:
        ends: dict[str, set[str]] = {}
        above: Entry | None = None
        for entry in file.entries:
            self._entry(entry, above, begin, prefix, ends, skipped=skipped)
            above = entry
        return begin.union(*ends.values())

    def _entry(
        self,
        entry: Entry,
        above: Entry | None,
        begin: set[str],
        prefix: str,
        ends: dict[str, set[str]],
        *,
        skipped: bool,
    ) -> None:
        usual = [above.name] if above else []
        needed = begin.union(*(ends[name] for name in (usual if entry.needs is None else entry.needs)))
        skipped = skipped or (self._leave_out and entry.conditional)
        ends[entry.name] = set(needed)
        for one in entry.inside:
            self._entry(one, None, needed, prefix, ends, skipped=skipped)
            ends[entry.name] |= set() if skipped else ends[one.name]
        if entry.file is not None:
            end = self._file(entry.file, f"{prefix}{entry.name}.", needed, skipped=skipped)
            ends[entry.name] |= set() if skipped else end
        elif not entry.inside and not skipped:
            self.before[prefix + entry.name] = needed
            ends[entry.name].add(prefix + entry.name)


def ancestors(needs: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """All that is done before each step; steps stand after what they need."""
    found: dict[str, set[str]] = {}

    def of(step: str) -> set[str]:
        if step not in found:
            found[step] = {*needs[step]}.union(*(of(need) for need in needs[step]))
        return found[step]

    return {step: of(step) for step in needs}


@pytest.mark.parametrize("seed", range(40))
def test_no_step_begins_too_early_or_too_late(seed: int, tmp_path: Path, inventory: Inventory) -> None:
    """Each step has behind it what its words ask for, no more and no less, whichever steps are left out."""
    author = Author(seed)
    root = author.file()
    for file in author.files:
        (tmp_path / f"{file.name}.yaml").write_text(text(file))
    for choice in ("x", "y"):
        wanted = Reference(root, leave_out=choice == "x").before
        path = tmp_path / f"{root.name}.yaml"
        if not wanted:
            with pytest.raises(InputError, match="every step is left out"):
                load_runbook(path, inventory, {"s": choice})
            continue
        runbook = load_runbook(path, inventory, {"s": choice}).runbook
        assert ancestors({step.id: runbook.needs(step) for step in runbook.steps}) == wanted
