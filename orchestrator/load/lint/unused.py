"""Rules that look for what nobody asks for."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.load.lint.finding import Found
from orchestrator.load.lint.scene import Scene
from orchestrator.load.problems import quote
from orchestrator.model.check import CheckGuard
from orchestrator.model.runbook import Step, VerifyStep


def unused_check(scene: Scene) -> Iterator[Found]:
    """Checks that no step and no guard names.

    Where steps of the same file are left out by their ``when``, it cannot be known which checks they would name.
    """
    named = {name for one in scene.every_step for name in gates(one.step)}
    named |= {one.guard.check for one in scene.guards if isinstance(one.guard, CheckGuard)}
    left_out = {_file(step) for step in scene.runbook.skipped} | set(scene.runbook.skipped)
    for name, (place, _) in scene.checks.items():
        if name not in named and _file(name) not in left_out:
            message = f"check {quote(name)} is never asked: no step and no guard names it"
            yield Found(place, name, message, "name it where it must hold, or take it out")


def gates(step: Step) -> tuple[str, ...]:
    """Every check that a step asks."""
    return (*step.before, *step.after, *(step.checks if isinstance(step, VerifyStep) else ()))


def _file(name: str) -> str:
    """The include that a bound name came with; empty for the runbook itself."""
    return name.rpartition(".")[0]


def unused_parameter(scene: Scene) -> Iterator[Found]:
    """Parameters that are asked for and never inserted."""
    for name in scene.unused:
        message = f"parameter {quote(name.text)} is never used"
        yield Found(name.place, name.text, message, "insert it with ${…}, or take it out")
