"""``${name}`` inserts a value, and ``$${`` is a plain ``${``. There is nothing more to it: no expressions, no code."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from orchestrator.errors import FailoverError
from orchestrator.load.node import MappingNode, Node, Pair, Place, Plain, ScalarNode, SequenceNode
from orchestrator.load.problems import Problems, quote

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")

LONGEST: Final = 4096
"""Characters of a text with something inserted; else a file could grow without end while it is read."""


@dataclass(frozen=True, slots=True)
class Argument:
    """What a name stands for: as a value of its type, and as text inside other text."""

    value: Plain
    text: str
    stands_in: str = ""
    """Where nobody has given it: what it stands in for, in a sentence."""


LookUp: TypeAlias = Callable[[str], Argument | None]
"""Finds what a name stands for. None: that is not known, and has been reported.

It raises FailoverError where the name itself is wrong; the mistake is then reported where the name stands.
"""


def insert(node: Node, look_up: LookUp, problems: Problems) -> Node:
    """The tree with everything inserted. What cannot be found is reported and left as an unknown scalar."""
    if isinstance(node, SequenceNode):
        return replace(node, items=tuple(insert(item, look_up, problems) for item in node.items))
    if isinstance(node, MappingNode):
        return replace(node, pairs=tuple(_inserted_pair(pair, look_up, problems) for pair in node.pairs))
    if not isinstance(node.value, str) or "${" not in node.value:
        return node
    return _inserted(node, node.value, look_up, problems)


def _inserted_pair(pair: Pair, look_up: LookUp, problems: Problems) -> Pair:
    if "${" in pair.key:
        problems.add(pair.place, f"cannot insert into the key {quote(pair.key)}: keys are fixed", "write the name out")
    return replace(pair, value=insert(pair.value, look_up, problems))


def _inserted(node: ScalarNode, text: str, look_up: LookUp, problems: Problems) -> ScalarNode:
    whole = _REFERENCE.fullmatch(text)
    if whole is not None and whole[1] is not None:
        argument = _found(whole[1], node.place, look_up, problems)
        return replace(node, unknown=True) if argument is None else _filled(node, argument.value, argument.text)
    pieces: list[str] = []
    end, length, unknown = 0, len(text), False
    for match in _REFERENCE.finditer(text):
        piece = _piece(match, node.place, look_up, problems)
        unknown |= piece is None
        pieces += text[end : match.start()], piece or ""
        end = match.end()
        length += len(piece or "")
        if length > LONGEST:
            message = f"cannot insert here: the text would be longer than {LONGEST} characters"
            problems.add(node.place, message, "insert shorter texts, or fewer of them")
            return replace(node, unknown=True)
    if unknown:
        return replace(node, unknown=True)
    inserted = "".join([*pieces, text[end:]])
    return _filled(node, inserted, inserted)


def _filled(node: ScalarNode, value: Plain, text: str) -> ScalarNode:
    return replace(node, value=value, text=text, inserted=True)


def _piece(match: re.Match[str], place: Place, look_up: LookUp, problems: Problems) -> str | None:
    if match[0] == "$${":
        return "${"
    if match[1] is None:
        problems.add(place, "cannot insert here: a '${' has no '}'", "close it, or write '$${' for a plain '${'")
        return None
    argument = _found(match[1], place, look_up, problems)
    return argument.text if argument else None


def _found(name: str, place: Place, look_up: LookUp, problems: Problems) -> Argument | None:
    try:
        argument = look_up(name)
    except FailoverError as error:
        problems.add(place, error.message, error.remedy)
        return None
    if argument is not None and argument.stands_in:
        problems.note_stand_in(place, argument.stands_in)
    return argument
