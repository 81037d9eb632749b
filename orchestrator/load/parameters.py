"""Parameters: what a runbook asks for, what is given, and the typed values that come of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, MutableSet
from dataclasses import dataclass, field
from typing import Final

from pydantic import TypeAdapter

from orchestrator.errors import FailoverError
from orchestrator.load import schema
from orchestrator.load.insert import Argument, LookUp
from orchestrator.load.inventory import host_names
from orchestrator.load.node import MappingNode, Pair, Place, ScalarNode, child
from orchestrator.load.problems import Problems, closest, listed, meant, quote
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import ChoiceParameter, Parameter, ParameterType
from orchestrator.model.secret import parse_secret
from orchestrator.model.units import parse_duration, parse_fraction

_PARAMETER: Final[TypeAdapter[Parameter]] = TypeAdapter(Parameter)


@dataclass(frozen=True, slots=True)
class _WrongError(Exception):
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Given:
    """What is given for parameters, as text, and where: on a command line, or by a step that includes a runbook."""

    values: Mapping[str, str]
    places: Mapping[str, Place] = field(default_factory=dict)
    whole: Place = field(default_factory=Place)
    """Of the including step; the command line has no place."""
    unknown: frozenset[str] = frozenset()
    """Given, but nobody can know as what; that has been reported."""
    stand_ins: bool = False
    """Let a value stand for each parameter that is missing, so that a file can be looked at without any."""

    def place(self, name: str) -> Place:
        """Where the value of ``name`` stands."""
        return self.places.get(name, self.whole)

    def how(self, name: str) -> str:
        """How a parameter is given."""
        return f"give it in 'with' as {_name(name)}: VALUE" if self.whole.line else f"give it as -p {_name(name)}=VALUE"


def bind(root: MappingNode, inventory: Inventory, given: Given, problems: Problems) -> dict[str, Argument | None]:
    """What each parameter that ``root`` declares stands for; None where that cannot be known, which is reported."""
    section = child(root, "parameters")
    if section is None and schema.is_mistyped(root, "parameters"):
        return {}
    pairs = section.pairs if isinstance(section, MappingNode) else ()
    declared = [pair.key for pair in pairs]
    mistyped: set[str | None] = set()
    for name in given.values:
        if name not in declared:
            mistyped.add(closest(name, declared))
            remedy = meant(name, declared, "parameters")
            problems.add(given.place(name), f"parameter {_name(name)}: the runbook has no such parameter", remedy)
    bound: dict[str, Argument | None] = {}
    for pair in pairs:
        unknown = pair.key in given.unknown or (pair.key in mistyped and pair.key not in given.values)
        taken = {one.text for one in bound.values() if one is not None}
        bound[pair.key] = None if unknown else _bound(pair, inventory, given, taken, problems)
    return bound


def value_of(declaration: Parameter, text: str, inventory: Inventory) -> Argument | str:
    """The value that ``text`` is for such a parameter; or, where it is none, why not."""
    try:
        return _read(declaration.type, text, _known(declaration, inventory))
    except _WrongError as wrong:
        return wrong.why


def declaration(root: MappingNode, name: str) -> Parameter | None:
    """How ``root`` declares a parameter; None where it does not, or not so that it can be read."""
    section = child(root, "parameters")
    node = child(section, name) if section else None
    return schema.part(_PARAMETER, node) if node else None


def look_up(root: MappingNode, bound: Mapping[str, Argument | None], used: MutableSet[str]) -> LookUp:
    """Looks a parameter up by its name, and notes in ``used`` that somebody asked for it."""
    undeclared = child(root, "parameters") is None and schema.is_mistyped(root, "parameters")

    def find(name: str) -> Argument | None:
        used.add(name)
        if name in bound or undeclared:
            return bound.get(name)
        shown = quote("${" + name + "}")
        if ":" in name:
            remedy = "references belong in the inventory; declare a parameter here"
            raise FailoverError(f"cannot insert {shown}: a runbook takes only parameters", remedy=remedy)
        remedy = meant(name, bound, "parameters") + " (a plain '${' is written '$${')"
        raise FailoverError(f"cannot insert {shown}: there is no such parameter", remedy=remedy)

    return find


def _bound(
    pair: Pair, inventory: Inventory, given: Given, taken: Collection[str], problems: Problems
) -> Argument | None:
    declaration = schema.part(_PARAMETER, pair.value)
    if declaration is None:
        return None  # the schema reports why
    known = _known(declaration, inventory)
    default = child(pair.value, "default")
    text = default.text if isinstance(default, ScalarNode) and default.value is not None else None
    if pair.key in given.values:
        if text is not None:  # of a site that is not there a default may speak, as long as it is not used
            _read_default(pair, declaration.type, text, None, problems)
        return _read_given(pair.key, declaration.type, given, known, problems)
    if text is not None:
        return _read_default(pair, declaration.type, text, known, problems)
    if given.stand_ins:
        return _stand_in(declaration, inventory, taken)
    about = declaration.help or f"a {declaration.type}"
    choices = f", one of {listed(known)}" if known else ""
    problems.add(given.whole, f"parameter {_name(pair.key)}: it is missing", f"{given.how(pair.key)}: {about}{choices}")
    return None


_EXAMPLES: Final = {"string": "text", "number": "1", "duration": "1m", "percent": "10%", "secret": "env:SECRET"}


def _stand_in(declaration: Parameter, inventory: Inventory, taken: Collection[str]) -> Argument | None:
    """A value that a parameter of this type may well have, and that no other one has where names are asked for."""
    known = _known(declaration, inventory)
    if declaration.type == "site":  # one that serves, of the pool with the most of them
        known = max((list(pool.sites) for pool in inventory.pools.values()), key=len)
    if known is None:
        return _read(declaration.type, _EXAMPLES[declaration.type], None)
    free = [name for name in known if name not in taken] or list(known)
    return Argument(free[0], free[0]) if free else None


def _read_given(
    name: str, kind: ParameterType, given: Given, known: Collection[str] | None, problems: Problems
) -> Argument | None:
    try:
        return _read(kind, given.values[name], known)
    except _WrongError as wrong:
        problems.add(given.place(name), f"parameter {_name(name)}: {wrong.why}", wrong.remedy)
        return None


def _read_default(
    pair: Pair, kind: ParameterType, text: str, known: Collection[str] | None, problems: Problems
) -> Argument | None:
    try:
        return _read(kind, text, known)
    except _WrongError as wrong:
        default = child(pair.value, "default")
        place = default.place if default else pair.place
        message = f"cannot read 'default' of parameter {quote(pair.key)}: {wrong.why}"
        problems.add(place, message, wrong.remedy, hidden=place.column if kind == "secret" else 0)
        return None


def _known(declaration: Parameter, inventory: Inventory) -> Collection[str] | None:
    """The words that such a parameter can be; None where any text will do."""
    if isinstance(declaration, ChoiceParameter):
        return declaration.choices
    kind = declaration.type
    if kind == "site":
        return list(inventory.sites)
    if kind == "pool":
        return list(inventory.pools)
    return host_names(inventory) if kind == "host" else None


def _read(kind: ParameterType, text: str, known: Collection[str] | None) -> Argument:
    parse = _PARSERS.get(kind)
    if parse is not None:
        return Argument(_parsed(parse, text), text)
    if kind == "secret":
        return _reference(text)
    if known is not None and text not in known:
        raise _WrongError(f"there is no {kind} {quote(text)}", meant(text, known, f"{kind}s"))
    return Argument(text, text)


def _reference(text: str) -> Argument:
    try:
        return Argument(str(parse_secret(text)), text)
    except ValueError as error:
        why, _, remedy = str(error).rpartition(": ")
        raise _WrongError(why, remedy) from None


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
