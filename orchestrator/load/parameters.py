"""Parameters: what a runbook asks for, what is given, and the typed values that come of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, MutableSet, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import TypeAdapter

from orchestrator.errors import FailoverError
from orchestrator.load import schema
from orchestrator.load.insert import Argument, LookUp
from orchestrator.load.inventory import host_names
from orchestrator.load.node import MappingNode, Node, Pair, Place, ScalarNode, child
from orchestrator.load.problems import Problems, closest, listed, meant, quote
from orchestrator.load.stand_ins import Missing, stand_ins
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import ChoiceParameter, Parameter, ParameterType
from orchestrator.model.secret import parse_secret
from orchestrator.model.units import parse_duration, parse_fraction

_PARAMETER: Final[TypeAdapter[Parameter]] = TypeAdapter(Parameter)
_NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SECONDS: Final = re.compile(r"[0-9]{1,300}(?:\.[0-9]{1,300})?")


@dataclass(frozen=True, slots=True)
class WrongValueError(Exception):
    """A text that is no value of its parameter, and what to write instead."""

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
    hide_secrets(pairs, given, problems)
    mistyped: set[str | None] = set()
    for name in given.values:
        if name not in declared:
            mistyped.add(closest(name, declared))
            remedy = meant(name, declared, "parameters")
            problems.add(given.place(name), f"parameter {_name(name)}: the runbook has no such parameter", remedy)
    bound: dict[str, Argument | None] = {}
    missing: list[Missing] = []
    taken: dict[ParameterType, list[str]] = {}
    for pair in pairs:
        bound[pair.key] = None
        unknown = pair.key in given.unknown or (pair.key in mistyped and pair.key not in given.values)
        declaration = None if unknown else schema.part(_PARAMETER, pair.value)
        default = child(pair.value, "default")
        if declaration is None or (isinstance(default, ScalarNode) and default.unknown):
            continue  # which is reported
        text = _default(pair)
        if pair.key in given.values or text is not None:
            bound[pair.key] = value = _bound(pair, declaration, inventory, given, problems)
            taken.setdefault(declaration.type, []).extend([value.text] if value else ())
        elif given.stand_ins:
            missing.append(Missing(pair.key, pair.place, declaration))
        else:
            _report_missing(pair.key, declaration, _known(declaration, inventory), given, problems)
    return bound | stand_ins(root, missing, taken, inventory, problems)


def value_of(declaration: Parameter, text: str, inventory: Inventory) -> Argument:
    """The value that ``text`` is for such a parameter.

    Raises:
        WrongValueError: it is none.
    """
    return _read(declaration.type, text, _known(declaration, inventory))


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


def _default(pair: Pair) -> str | None:
    default = child(pair.value, "default")
    return default.text if isinstance(default, ScalarNode) and default.value is not None else None


def _bound(
    pair: Pair, declaration: Parameter, inventory: Inventory, given: Given, problems: Problems
) -> Argument | None:
    """What is given, else the default; one of them is there."""
    known = _known(declaration, inventory)
    text = _default(pair)
    if pair.key not in given.values:
        return _read_default(pair, declaration.type, text or "", known, problems)
    if text is not None:  # of a site that is not there a default may speak, as long as it is not used
        _read_default(pair, declaration.type, text, None, problems)
    return _read_given(pair.key, declaration.type, given, known, problems)


def _report_missing(
    name: str, declaration: Parameter, known: Collection[str] | None, given: Given, problems: Problems
) -> None:
    about = declaration.help or f"a {declaration.type}"
    choices = f", one of {listed(known)}" if known else ""
    problems.add(given.whole, f"parameter {_name(name)}: it is missing", f"{given.how(name)}: {about}{choices}")


def _read_given(
    name: str, kind: ParameterType, given: Given, known: Collection[str] | None, problems: Problems
) -> Argument | None:
    place = given.place(name)
    try:
        read = _read(kind, given.values[name], known)
    except WrongValueError as wrong:
        problems.add(place, f"parameter {_name(name)}: {wrong.why}", wrong.remedy)
        return None
    return replace(read, stands_in=problems.stand_ins().get(place, "") if place.line else "")


def _read_default(
    pair: Pair, kind: ParameterType, text: str, known: Collection[str] | None, problems: Problems
) -> Argument | None:
    try:
        return _read(kind, text, known)
    except WrongValueError as wrong:
        default = child(pair.value, "default")
        place = default.place if default else pair.place
        message = f"cannot read 'default' of parameter {quote(pair.key)}: {wrong.why}"
        problems.add(place, message, wrong.remedy)
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
        raise WrongValueError(f"there is no {kind} {quote(text)}", meant(text, known, f"{kind}s"))
    return Argument(text, text)


def _reference(text: str) -> Argument:
    try:
        return Argument(str(parse_secret(text)), text)
    except ValueError as error:
        why, _, remedy = str(error).rpartition(": ")
        raise WrongValueError(why, remedy) from None


def _parsed(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        why, separator, remedy = str(error).rpartition(": ")
        if not separator or len(why) > 200:
            raise WrongValueError(f"{quote(text)} cannot be used", "write a shorter value") from None
        raise WrongValueError(why, remedy) from None


def _number(text: str) -> float:
    number = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a number: write for example 3 or 1.5")
    return int(number) if number.is_integer() and text.strip().lstrip("+-").isdigit() else number


def _duration(text: str) -> float:
    """A plain number is seconds here too, where everything is text."""
    return parse_duration(float(text) if _SECONDS.fullmatch(text) else text)


_PARSERS: Final[dict[ParameterType, Callable[[str], float]]] = {
    "number": _number,
    "duration": _duration,
    "percent": parse_fraction,
}


def hide_secrets(pairs: Sequence[Pair], given: Given, problems: Problems) -> None:
    """Keep what may be a secret out of every message: what is declared, or given, as one and is no reference."""
    secret = [pair for pair in pairs if may_be_secret(pair.value)]
    for pair in secret:
        for value in _values(pair.value):
            problems.hide(value.place)
    names = [pair.key for pair in secret]
    for name, text in given.values.items():
        place = given.place(name)
        if place.line and closest(name, names) is not None and not is_reference(text):
            problems.hide(place)


def may_be_secret(declaration: Node | None) -> bool:
    """Whether a parameter is meant to be a secret, also where its declaration cannot be read."""
    texts = [pair.value.text for pair in _pairs(declaration) if isinstance(pair.value, ScalarNode)]
    return any(closest(text, ["secret"]) for text in texts)


def _values(declaration: Node) -> Iterator[Node]:
    """What may be the default of a parameter."""
    for pair in _pairs(declaration):
        other = closest(pair.key, [*ChoiceParameter.model_fields]) not in {None, "default"}
        if not other and not (isinstance(pair.value, ScalarNode) and is_reference(pair.value.text)):
            yield pair.value


def _pairs(node: Node | None) -> tuple[Pair, ...]:
    return node.pairs if isinstance(node, MappingNode) else ()


def is_reference(text: str) -> bool:
    """Whether it says where a secret is, so that it can be shown."""
    try:
        parse_secret(text)
    except ValueError:
        return False
    return True


def _name(name: str) -> str:
    return quote(name)[1:-1]
