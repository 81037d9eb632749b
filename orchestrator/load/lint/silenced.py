"""Findings that a runbook says are meant to be so, and what it says so of without need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.load.lint.finding import Finding, Found, Rule
from orchestrator.load.lint.scene import Scene
from orchestrator.load.node import Place
from orchestrator.load.problems import meant, quote
from orchestrator.load.silences import PlacedSilence

SILENCE_UNUSED: Final = "silence-unused"


@dataclass(frozen=True, slots=True)
class Silenced:
    """A finding that is meant to be so, and why."""

    finding: Finding
    reason: str


class Silences:
    """What a runbook silences; it remembers what was of use."""

    def __init__(self, silences: Sequence[PlacedSilence], rules: Mapping[str, Rule]) -> None:
        self._silences = silences
        self._rules = rules
        self._by_rule: dict[str, list[PlacedSilence]] = {}
        for silence in silences:
            self._by_rule.setdefault(silence.rule, []).append(silence)
        self._used: set[Place] = set()

    def reason(self, finding: Finding) -> str | None:
        """Why a finding is meant to be so; None where nobody says that it is, or may say so."""
        if self._rules[finding.rule].stands:
            return None
        for silence in self._by_rule.get(finding.rule, ()):
            if _covers(silence, finding):
                self._used.add(silence.place)  # a file that is included twice has used it when one of the two has
                return silence.reason
        return None

    def unused(self, scene: Scene, names: frozenset[str]) -> Iterator[Found]:
        """Silences that silence nothing. ``names`` is everything that a finding can be at."""
        for silence in sorted(self._silences, key=lambda one: one.rule == SILENCE_UNUSED):  # which look at the others
            rule = self._rules.get(silence.rule)
            stands = rule.stands if rule else ""
            if silence.place in self._used or (not stands and _is_left_out(silence, scene)):
                continue
            about = f"the silence of {quote(silence.rule)}"
            if rule is None:
                message = f"{about} is of no use: there is no such rule"
                remedy = meant(silence.rule, self._rules, "rules")
            elif stands:
                message, remedy = f"{about} is of no use: {stands}", "take it out, and do what the rule asks for"
            elif silence.at and not _is_there(silence, names):
                known = [name.removeprefix(silence.prefix) for name in names if name.startswith(silence.prefix)]
                message = f"{about} is of no use: there is no {quote(_written(silence))}"
                remedy = meant(_written(silence), sorted(known), "names")
            else:
                where = f" at {quote(_written(silence))}" if silence.at else ""
                message, remedy = f"{about}{where} is of no use: the rule finds nothing there", "take it out"
            yield Found(silence.place, silence.at, message, remedy)


def _covers(silence: PlacedSilence, finding: Finding) -> bool:
    """A silence is about names as its file has them, without one about all of its file, and never about itself."""
    if finding.place == silence.place:
        return False
    if not silence.at:
        in_scope = finding.at.startswith(silence.prefix) or "." not in finding.at
        return in_scope and finding.problem.file == silence.place.file
    if finding.at == silence.at or finding.at.startswith(f"{silence.at}."):
        return True
    # Guards but those of checks are called by their pool, in every file alike.
    return finding.at == _written(silence) and finding.problem.file == silence.place.file


def _written(silence: PlacedSilence) -> str:
    return silence.at.removeprefix(silence.prefix)


def _is_there(silence: PlacedSilence, names: frozenset[str]) -> bool:
    return silence.at in names or _written(silence) in names


def _is_left_out(silence: PlacedSilence, scene: Scene) -> bool:
    """What ``when`` leaves out of this run breaks no rule; without a name it may be about just that."""
    skipped = scene.runbook.skipped
    if not silence.at:
        return any(name.startswith(silence.prefix) for name in skipped) or _is_under(silence.prefix, skipped)
    return _is_under(silence.at, skipped)


def _is_under(name: str, skipped: Mapping[str, str]) -> bool:
    """Whether a step is left out, or the include that it comes with."""
    parts = name.rstrip(".").split(".")
    return any(".".join(parts[:length]) in skipped for length in range(1, len(parts) + 1))
