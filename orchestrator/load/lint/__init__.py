"""What is allowed and yet not wise: rules that look at a whole runbook, bound to its inventory.

::

    loaded runbook ─ scene ─▶ finders ─▶ findings ─ silences ─▶ findings that count, sorted by place
                     steps and guards       │                        └─ silenced ones, with their reasons
                     with place and order   └─ a rule each, in ``catalogue``

The loader has refused what makes no sense before; here everything is sound and can be run. Nothing is contacted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.load.lint.catalogue import FINDERS, RULES
from orchestrator.load.lint.finding import Finding, Rule, Severity
from orchestrator.load.lint.scene import Scene
from orchestrator.load.lint.silenced import SILENCE_UNUSED, Silenced, Silences
from orchestrator.load.runbook import LoadedRunbook
from orchestrator.model.inventory import Inventory

__all__ = ["RULES", "Examined", "Finding", "Rule", "Severity", "Silenced", "examine", "lint"]


@dataclass(frozen=True, slots=True)
class Examined:
    """What lint has found, sorted by place."""

    findings: tuple[Finding, ...]
    silenced: tuple[Silenced, ...]
    """Findings that the runbook says are meant to be so; a plan shows them with the reasons."""


def lint(loaded: LoadedRunbook, inventory: Inventory) -> Sequence[Finding]:
    """Every rule that the runbook breaks, without those that it silences."""
    return examine(loaded, inventory).findings


def examine(loaded: LoadedRunbook, inventory: Inventory) -> Examined:
    """Every rule that the runbook breaks, and what of that is silenced."""
    scene = Scene(loaded, inventory)
    silences = Silences(loaded.silences, RULES)
    findings: list[Finding] = []
    silenced: list[Silenced] = []
    for found in (_broken(scene), _of_no_use(scene, silences)):  # the second looks at what the first has left
        for finding in found:
            reason = silences.reason(finding)
            if reason is None:
                findings.append(finding)
            else:
                silenced.append(Silenced(finding, reason))
    return Examined(
        tuple(sorted(findings, key=_by_place)), tuple(sorted(silenced, key=lambda one: _by_place(one.finding)))
    )


def _broken(scene: Scene) -> Iterator[Finding]:
    for name, find in FINDERS.items():
        for found in find(scene):
            yield found.under(name, RULES[name])


def _of_no_use(scene: Scene, silences: Silences) -> Iterable[Finding]:
    names = frozenset(
        (
            *(one.step.id for one in scene.every_step),
            *(one.name for one in scene.guards),
            *scene.checks,
            *scene.runbook.parameters,
            *(name.text for name in scene.unused),
            *scene.runbook.includes,
        )
    )
    for found in silences.unused(scene, names):
        yield found.under(SILENCE_UNUSED, RULES[SILENCE_UNUSED])


def _by_place(finding: Finding) -> tuple[object, ...]:
    return (finding.place, finding.rule, finding.at)
