"""What lint finds, and what its rules are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from orchestrator.errors import Problem
from orchestrator.load.lint.scene import Scene
from orchestrator.load.node import Place

Severity: TypeAlias = Literal["error", "warning"]
"""An error stops plan and run; a warning is shown with the plan."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that a sound runbook does not have."""

    severity: Severity
    summary: str
    stands: str = ""
    """Why it cannot be silenced; empty where it can."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that the runbook breaks, and where."""

    rule: str
    severity: Severity
    problem: Problem
    at: str
    """The bound name of the step, check, guard or parameter, as ``silence`` names it; empty: the whole runbook."""

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.problem.file, self.problem.line, self.problem.column)


@dataclass(frozen=True, slots=True)
class Found:
    """What one rule has found."""

    place: Place
    at: str
    message: str
    remedy: str

    def under(self, name: str, rule: Rule) -> Finding:
        """The finding of the rule called ``name``."""
        place = self.place
        problem = Problem(self.message, self.remedy, place.file, place.line, place.column)
        return Finding(name, rule.severity, problem, self.at)


Finder: TypeAlias = Callable[[Scene], Iterable[Found]]
"""Looks for what breaks one rule."""
