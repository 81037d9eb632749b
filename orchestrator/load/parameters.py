"""Parameters: what a runbook asks for, what is given, and the typed values that come of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter

from orchestrator.errors import FailoverError
from orchestrator.load import schema
from orchestrator.load.insert import Argument, LookUp
from orchestrator.load.inventory import host_names
from orchestrator.load.node import MappingNode, Pair, Place, ScalarNode, child
from orchestrator.load.problems import Problems, closest, listed, meant, quote
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import Parameter, ParameterType
from orchestrator.model.units import parse_duration, parse_fraction

_PARAMETER: Final = TypeAdapter(Parameter)


@dataclass(frozen=True, slots=True)
class _WrongError(Exception):
    why: str
    remedy: str


def bind(
    root: MappingNode, inventory: Inventory, given: Mapping[str, str], problems: Problems
) -> dict[str, Argument | None]:
    """What each parameter that ``root`` declares stands for; None where that cannot be known, which is reported."""
    section = child(root, "parameters")
    if section is None and schema.is_mistyped(root, "parameters"):
        return {}
    pairs = section.pairs if isinstance(section, MappingNode) else ()
    declared = [pair.key for pair in pairs]
    mistyped: set[str | None] = set()
    for name in given:
        if name not in declared:
            mistyped.add(closest(name, declared))
            remedy = meant(name, declared, "parameters")
            problems.add(Place(), f"parameter {_name(name)}: the runbook has no such parameter", remedy)
    return {
        pair.key: None if pair.key in mistyped and pair.key not in given else _bound(pair, inventory, given, problems)
        for pair in pairs
    }


def look_up(root: MappingNode, bound: Mapping[str, Argument | None]) -> LookUp:
    """Looks a parameter up by its name."""
    undeclared = child(root, "parameters") is None and schema.is_mistyped(root, "parameters")

    def find(name: str) -> Argument | None:
        if name in bound or undeclared:
            return bound.get(name)
        shown = quote("${" + name + "}")
        if ":" in name:
            remedy = "references belong in the inventory; declare a parameter here"
            raise FailoverError(f"cannot insert {shown}: a runbook takes only parameters", remedy=remedy)
        remedy = meant(name, bound, "parameters") + " (a plain '${' is written '$${')"
        raise FailoverError(f"cannot insert {shown}: there is no such parameter", remedy=remedy)

    return find


def _bound(pair: Pair, inventory: Inventory, given: Mapping[str, str], problems: Problems) -> Argument | None:
    declaration = schema.part(_PARAMETER, pair.value)
    if declaration is None:
        return None  # the schema reports why
    known = _known(declaration.type, inventory)
    default = child(pair.value, "default")
    text = default.text if isinstance(default, ScalarNode) and default.value is not None else None
    if pair.key in given:
        if text is not None:  # of a site that is not there a default may speak, as long as it is not used
            _read_default(pair, declaration.type, text, None, problems)
        return _read_given(pair.key, declaration.type, given[pair.key], known, problems)
    if text is not None:
        return _read_default(pair, declaration.type, text, known, problems)
    about = declaration.help or f"a {declaration.type}"
    choices = f", one of {listed(known)}" if known else ""
    remedy = f"give it as -p {_name(pair.key)}=VALUE: {about}{choices}"
    problems.add(Place(), f"parameter {_name(pair.key)}: it is missing", remedy)
    return None


def _read_given(
    name: str, kind: ParameterType, text: str, known: Collection[str] | None, problems: Problems
) -> Argument | None:
    try:
        return _read(kind, text, known)
    except _WrongError as wrong:
        problems.add(Place(), f"parameter {_name(name)}: {wrong.why}", wrong.remedy)
        return None


def _read_default(
    pair: Pair, kind: ParameterType, text: str, known: Collection[str] | None, problems: Problems
) -> Argument | None:
    try:
        return _read(kind, text, known)
    except _WrongError as wrong:
        default = child(pair.value, "default")
        place = default.place if default else pair.place
        problems.add(place, f"cannot read 'default' of parameter {quote(pair.key)}: {wrong.why}", wrong.remedy)
        return None


def _known(kind: ParameterType, inventory: Inventory) -> Collection[str] | None:
    """The names that a parameter of this type can have; None where any text will do."""
    if kind == "site":
        return list(inventory.sites)
    if kind == "pool":
        return list(inventory.pools)
    return host_names(inventory) if kind == "host" else None


def _read(kind: ParameterType, text: str, known: Collection[str] | None) -> Argument:
    parse = _PARSERS.get(kind)
    if parse is not None:
        return Argument(_parsed(parse, text), text)
    if known is not None and text not in known:
        raise _WrongError(f"there is no {kind} {quote(text)}", meant(text, known, f"{kind}s"))
    return Argument(text, text)


def _parsed(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        why, separator, remedy = str(error).rpartition(": ")
        if not separator or len(why) > 200:
            raise _WrongError(f"{quote(text)} cannot be used", "write a shorter value") from None
        raise _WrongError(why, remedy) from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a number: write for example 3 or 1.5")
    return int(number) if number.is_integer() and text.strip().lstrip("+-").isdigit() else number


def _duration(text: str) -> float:
    """A plain number is seconds here too, where everything is text."""
    try:
        return parse_duration(float(text))
    except ValueError:
        return parse_duration(text)


_PARSERS: Final[dict[ParameterType, Callable[[str], float]]] = {
    "number": _number,
    "duration": _duration,
    "percent": parse_fraction,
}


def _name(name: str) -> str:
    return quote(name)[1:-1]
