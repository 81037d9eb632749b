"""What people call a place in a file: ``'with.by' of step 'shift'``."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.load.node import Node, name_at
from orchestrator.load.problems import quote

_ONE_OF = {
    "checks": "check",
    "guards": "guard",
    "parameters": "parameter",
    "steps": "step",
    "groups": "group",
    "hosts": "host",
    "pools": "pool",
    "sites": "site",
}


def subject(root: Node, trail: Sequence[str | int]) -> str:
    """The thing at the end of ``trail``, and what it belongs to."""
    if not trail:
        return "this file"
    if len(trail) == 1 or trail[0] not in _ONE_OF:
        return quote(_dotted(trail))
    thing, rest = f"{_ONE_OF[str(trail[0])]} {_called(root, trail)}", trail[2:]
    if trail[0] == "pools" and len(rest) > 1 and rest[0] == "sites":
        thing, rest = f"site {quote(str(rest[1]))} of {thing}", rest[2:]
    return f"{quote(_dotted(rest))} of {thing}" if rest else thing


def _called(root: Node, trail: Sequence[str | int]) -> str:
    key = trail[1]
    if isinstance(key, str):
        return quote(key)
    name = name_at(root, *trail[:2], "id")
    return quote(name.text) if name else str(key + 1)


def _dotted(trail: Sequence[str | int]) -> str:
    """The keys on the way; the place says which entry of a list it is."""
    return ".".join(str(part) for part in trail if isinstance(part, str))
