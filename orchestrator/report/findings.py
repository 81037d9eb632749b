"""What is wrong with files, in every form in which lint says it: for eyes, scripts, GitHub's checks and scanners."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, Protocol, Self

from pydantic import JsonValue

from orchestrator.errors import InputError, Problem
from orchestrator.load.problems import render

Severity = Literal["error", "warning"]

CANNOT_LOAD: Final = "cannot-load"
"""The rule of what makes a file unusable: its syntax, an unknown name, a wrong type or value."""


class Mistake(Protocol):
    """What a report asks of a mistake; a finding of lint is one, and ``Found``."""

    @property
    def rule(self) -> str:
        """The rule that it breaks."""

    @property
    def severity(self) -> Severity:
        """How bad that is."""

    @property
    def problem(self) -> Problem:
        """What is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Found:
    """A mistake by itself."""

    rule: str
    severity: Severity
    problem: Problem

    @classmethod
    def unloadable(cls, error: InputError) -> tuple[Self, ...]:
        """What keeps a file from being loaded; all of it is an error."""
        return tuple(cls(CANNOT_LOAD, "error", problem) for problem in error.problems)


def findings_text(found: Sequence[Mistake], sources: Mapping[str, Sequence[str]], *, colour: bool = False) -> str:
    """As people read it: place, sentence and rule, the line with a caret; at the end how many there are.

    ``sources`` are the lines of each file, as ``orchestrator.load.problems.read_sources`` reads them.
    """
    shown = [_with_rule(one) for one in found]
    lines = {relative(file): text for file, text in sources.items()}
    blocks = [render(shown, lines, colour)] if shown else []
    return "\n".join([*blocks, count_text(found)]) + "\n"


def count_text(found: Sequence[Mistake]) -> str:
    """How many errors and warnings there are: ``2 errors, 1 warning``."""
    counts = {kind: sum(one.severity == kind for one in found) for kind in ("error", "warning")}
    said = [f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items() if count]
    return ", ".join(said) or "no problems"


def _with_rule(one: Mistake) -> Problem:
    """The problem with its rule at the end of its sentence, and what is only a warning called so."""
    problem = replace(one.problem, file=relative(one.problem.file))
    message = problem.message if one.severity == "error" else f"warning: {problem.message}"
    if problem.remedy:
        return replace(problem, message=message, remedy=f"{problem.remedy} [{one.rule}]")
    return replace(problem, message=f"{message} [{one.rule}]")


def findings_record(found: Sequence[Mistake], files: Iterable[str]) -> dict[str, JsonValue]:
    """For scripts: ``files`` that were read, how many ``errors`` and ``warnings``, and the ``problems``.

    Each problem has file, line and column (from 1; null where it is about the whole file, and the file null where
    it is about none), rule, severity, message and remedy. Files are relative to the working folder.
    """
    return {
        "files": [relative(file) for file in files],
        "errors": sum(one.severity == "error" for one in found),
        "warnings": sum(one.severity == "warning" for one in found),
        "problems": [_record(one) for one in found],
    }


def _record(one: Mistake) -> dict[str, JsonValue]:
    problem = one.problem
    return {
        "file": relative(problem.file) or None,
        "line": problem.line or None,
        "column": problem.column or None,
        "rule": one.rule,
        "severity": one.severity,
        "message": problem.message,
        "remedy": problem.remedy,
    }


def findings_json(found: Sequence[Mistake], files: Iterable[str]) -> str:
    """``findings_record`` as one indented JSON text."""
    return json.dumps(findings_record(found, files), indent=2, ensure_ascii=False) + "\n"


def github_annotations(found: Sequence[Mistake]) -> str:
    """For a GitHub workflow: a command for each problem, which becomes an annotation at its line.

    https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    return "".join(f"{_command(one)}\n" for one in found)


def _command(one: Mistake) -> str:
    problem = one.problem
    properties: dict[str, str | int] = {"file": relative(problem.file), "line": problem.line, "col": problem.column}
    known = {name: value for name, value in properties.items() if value} | {"title": f"failover: {one.rule}"}
    said = ",".join(f"{name}={_property(str(value))}" for name, value in known.items())
    return f"::{one.severity} {said}::{_data(sentence(one))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def sentence(one: Mistake) -> str:
    """What is wrong and what to do, without the place."""
    problem = one.problem
    return f"{problem.message} — {problem.remedy}" if problem.remedy else problem.message


def relative(file: str) -> str:
    """``file`` as seen from the working folder, with forward slashes; as it is where it lies elsewhere."""
    if not file or not Path(file).is_absolute():
        return Path(file).as_posix() if file else ""
    inside = Path(os.path.relpath(file))
    return file if ".." in inside.parts else inside.as_posix()
