"""Findings of lint that a runbook says are meant to be so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import TypeAdapter

from orchestrator.load import schema
from orchestrator.load.node import MappingNode, Place, SequenceNode, child
from orchestrator.model.written import Silence

_SILENCE = TypeAdapter(Silence)


@dataclass(frozen=True, slots=True)
class PlacedSilence:
    """One entry of ``silence``."""

    rule: str
    at: str
    """The bound name of the step, check or parameter; empty: everywhere in its file."""
    reason: str
    place: Place
    prefix: str = ""
    """Of the names in its file: that of the include, with a dot; empty in the runbook itself."""


def silences_in(root: MappingNode, prefix: str) -> Iterator[PlacedSilence]:
    """What ``root`` silences; entries that are wrong are passed over, as the schema reports them."""
    section = child(root, "silence")
    for node in section.items if isinstance(section, SequenceNode) else ():
        silence = schema.part(_SILENCE, node)
        if silence is not None:
            at = f"{prefix}{silence.at}" if silence.at else ""
            yield PlacedSilence(silence.rule, at, silence.reason, node.place, prefix)
