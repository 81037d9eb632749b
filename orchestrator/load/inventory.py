"""Inventories: files with ``${env:NAME}`` and other references, merged, read and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, get_args

from pydantic import TypeAdapter

from orchestrator.errors import FailoverError, RefusedError
from orchestrator.load import document, groups, schema
from orchestrator.load.insert import Argument, LookUp, insert
from orchestrator.load.locations import check_locations
from orchestrator.load.node import MappingNode, Node, Pair, Place, child, descend, name_at, names_at
from orchestrator.load.problems import Problems, is_text, meant, quote
from orchestrator.load.secrets import refuse_inserted
from orchestrator.load.version import check_version
from orchestrator.model.driver import KEY
from orchestrator.model.inventory import DemandFromSwitch, Inventory
from orchestrator.model.switch import AnySwitch
from orchestrator.model.switch_kind import NamedSwitch
from orchestrator.model.units import Load

_SECTIONS: Final = ("sites", "pools", "hosts", "groups")
_ADDRESS: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):([0-9]{1,5})")
_CAPACITY: Final = TypeAdapter(Load)
_MEASURED: Final = "the demand, which the switch measures in sessions"
_SWITCHES: Final = {
    driver: kind for kind in get_args(AnySwitch) for driver in get_args(kind.model_fields[KEY].annotation)
}
_DEMAND: Final[TypeAdapter[DemandFromSwitch]] = TypeAdapter(DemandFromSwitch)


def load_inventory(paths: Sequence[Path], references: Mapping[str, Callable[[str], str]]) -> Inventory:
    """The inventory that the files make together.

    ``references`` says how ``${kind:name}`` is looked up, by kind; such a function raises FailoverError where it
    has no answer, which becomes a problem at the place.

    Raises:
        InputError: with every problem of every file.
    """
    problems = Problems()
    if not paths:
        problems.add(Place(), "cannot do anything without an inventory: no file is named", "name one with -i")
        problems.raise_any()
    look_up = _references(references)
    roots = [root for path in paths if (root := _read(path, look_up, problems)) is not None]
    if len(roots) < len(paths):
        problems.raise_any()  # what stands in the unreadable file cannot be missed in the others
    merged = groups.expand(_merge(roots, problems), problems)
    inventory = schema.build(Inventory, merged, problems)
    for pool in _pairs(merged, "pools"):
        _check_pool(merged, pool, problems)
    check_locations(merged, problems)
    problems.raise_any()
    assert inventory is not None, "the schema says why it makes no model"
    return inventory


def _read(path: Path, look_up: LookUp, problems: Problems) -> MappingNode | None:
    root = document.read(path, problems)
    if root is None:
        return None
    if not isinstance(root, MappingNode):
        problems.add(
            root.place, "cannot read this as an inventory: it must be a mapping", "write 'sites:' and 'pools:'"
        )
        return None
    if not check_version(root, problems):
        return None
    inserted = insert(refuse_inserted(Inventory, root, problems), look_up, problems)
    assert isinstance(inserted, MappingNode), "inserting changes scalars only"
    return inserted


def _references(references: Mapping[str, Callable[[str], str]]) -> LookUp:
    """Looks references up, and reports one and the same failure ("no lab is running") once, not at each place."""
    reported: set[str] = set()

    def look_up(reference: str) -> Argument | None:
        kind, colon, name = reference.partition(":")
        if not colon or kind not in references:
            what = f"reference {quote(kind)}" if colon else "parameter"
            known = ", ".join(f"${{{kind}:NAME}}" for kind in references) or "none"
            remedy = meant(kind, references, "kinds of reference") if colon else f"inventories know only: {known}"
            raise FailoverError(f"cannot insert {quote('${' + reference + '}')}: there is no {what}", remedy=remedy)
        try:
            value = references[kind](name)
        except FailoverError as error:
            if str(error) in reported:
                return None
            reported.add(str(error))
            raise
        return Argument(value, value)

    return look_up


def _merge(roots: Sequence[MappingNode], problems: Problems) -> MappingNode:
    """All files as one: their sections together, each name in one place only."""
    merged: dict[str, Pair] = {}
    for pair in (pair for root in roots for pair in root.pairs):
        first = merged.get(pair.key)
        if first is None or pair.key == "version":
            merged[pair.key] = pair
        elif pair.key in _SECTIONS and isinstance(first.value, MappingNode) and isinstance(pair.value, MappingNode):
            merged[pair.key] = Pair(first.key, first.place, _merge_section(pair.key, first.value, pair.value, problems))
        else:
            _report_twice(pair.key, first, pair, problems)
    return MappingNode(roots[0].place, tuple(merged.values())) if roots else MappingNode(Place(), ())


def _merge_section(section: str, first: MappingNode, second: MappingNode, problems: Problems) -> MappingNode:
    pairs = {pair.key: pair for pair in first.pairs}
    for pair in second.pairs:
        if pair.key in pairs:
            _report_twice(f"{section}.{pair.key}", pairs[pair.key], pair, problems)
        else:
            pairs[pair.key] = pair
    return MappingNode(first.place, tuple(pairs.values()))


def _report_twice(name: str, first: Pair, second: Pair, problems: Problems) -> None:
    where = f"{first.place.file}:{first.place.line}:{first.place.column}"
    message = f"cannot merge {quote(name)}: it stands in {where} already"
    problems.add(second.place, message, "keep one of them, or give this one another name")


def _pairs(node: Node | None, *path: str) -> Iterator[Pair]:
    found = descend(node, *path)
    if isinstance(found, MappingNode):
        yield from found.pairs


def _check_pool(root: MappingNode, pool: Pair, problems: Problems) -> None:
    _check_address(pool.value, f"pool {quote(pool.key)}", problems)
    section = child(root, "sites")
    sites = section.keys() if isinstance(section, MappingNode) else None
    seen: dict[str, str] = {}
    for site in _pairs(pool.value, "sites"):
        what = f"site {quote(site.key)} of pool {quote(pool.key)}"
        if sites is not None and site.key not in sites:
            message = f"cannot place pool {quote(pool.key)} at {quote(site.key)}: there is no such site"
            problems.add(site.place, message, meant(site.key, sites, "sites"))
        _check_address(site.value, what, problems)
        _check_members(site, pool.key, seen, problems)
    _check_names(pool, seen, problems)
    _check_units(pool, problems)


def _check_names(pool: Pair, members: Mapping[str, str], problems: Problems) -> None:
    """What the switch calls a member belongs to a member, and every member to something else there."""
    for pair in _pairs(pool.value, "switch", "names"):
        if pair.key not in members:
            message = f"cannot name {quote(pair.key)} in the switch of pool {quote(pool.key)}: it is no member"
            problems.add(pair.place, message, meant(pair.key, members, "members"))
    driver = name_at(pool.value, "switch", "driver")
    kind = _SWITCHES.get(driver.text) if driver is not None else None
    plain = kind.plain if kind is not None and issubclass(kind, NamedSwitch) else str
    owners: dict[str, str] = {}
    for member in members:
        name = name_at(pool.value, "switch", "names", member)
        called = name.text if name is not None else member
        owner = owners.setdefault(plain(called), member)
        if owner != member:
            place = name or name_at(pool.value, "switch", "names", owner) or pool
            message = f"cannot call {quote(member)} and {quote(owner)} {quote(called)} in one switch"
            problems.add(place.place, message, "name what the switch calls each of them")


def _check_address(node: Node, what: str, problems: Problems) -> None:
    address = name_at(node, "address")
    if address is None:
        return
    match = _ADDRESS.fullmatch(address.text)
    if match is None or not 0 < int(match[1]) < 65536:
        message = f"cannot read 'address' of {what}: {quote(address.text)} is not host:port"
        problems.add(address.place, message, "write for example 192.0.2.10:25 or [2001:db8::10]:25")


def _check_members(site: Pair, pool: str, seen: dict[str, str], problems: Problems) -> None:
    for member in names_at(site.value, "members"):
        if member.text in seen:
            message = f"cannot count {quote(member.text)} twice in pool {quote(pool)}"
            problems.add(member.place, f"{message}: it is a member at {quote(seen[member.text])} already", "remove one")
        seen.setdefault(member.text, site.key)


def _check_units(pool: Pair, problems: Problems) -> None:
    """Headroom is capacity divided by demand, so that both must be of one unit in all of the pool."""
    unit, source = _demand_unit(pool.value)
    driver = name_at(pool.value, "switch", "driver")
    kind = _SWITCHES.get(driver.text) if driver is not None else None
    if driver is not None and kind is not None and not kind.counts_sessions and source == _MEASURED:
        message = f"cannot measure the demand of pool {quote(pool.key)}: its switch counts no sessions"
        problems.add(driver.place, message, "state it beside the switch, as 'demand: 400/s'")
        return
    for site in _pairs(pool.value, "sites"):
        node = child(site.value, "capacity")
        capacity = schema.part(_CAPACITY, node) if node else None
        if node is None or capacity is None:
            continue
        if unit is not None and capacity.unit != unit:
            message = f"cannot compare 'capacity' of site {quote(site.key)} of pool {quote(pool.key)} with {source}"
            remedy = f"write it as {'150 sessions' if unit == 'sessions' else '400/s'}, or state the demand in its unit"
            problems.add(node.place, f"{message}: {capacity} is not in {_unit_words(unit)}", remedy)
        elif unit is None:
            unit, source = capacity.unit, f"that of site {quote(site.key)}"


def _demand_unit(pool: Node) -> tuple[str | None, str]:
    node = child(pool, "demand")
    if node is None or schema.part(_DEMAND, node) is not None:
        return "sessions", _MEASURED
    stated = schema.part(_CAPACITY, node)
    return (stated.unit, f"the demand of {stated}") if stated else (None, "")


def _unit_words(unit: str) -> str:
    return "sessions" if unit == "sessions" else "units a second"


def from_environment(name: str) -> str:
    """What ``${env:NAME}`` stands for.

    Raises:
        RefusedError: it is not set, or is no text.
    """
    if name not in os.environ:
        raise RefusedError(f"cannot insert ${{env:{name}}}: it is not set", remedy=f"export {name}=…")
    value = os.environ[name]
    if not is_text(value):
        raise RefusedError(f"cannot insert ${{env:{name}}}: it is not UTF-8", remedy=f"export {name}=…, as UTF-8")
    return value


def host_names(inventory: Inventory) -> list[str]:
    """Every host that the inventory describes or has as a member."""
    return inventory.host_names()
