"""Values that stand in for parameters that are not given, so that a runbook can be looked at without any.

They fit together as a person would choose them: one pool, sites of that pool, and hosts of the first of these sites.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.load.insert import Argument
from orchestrator.load.node import MappingNode, Node, Place, SequenceNode, name_at
from orchestrator.load.problems import Problems, quote
from orchestrator.model.inventory import Inventory, Pool
from orchestrator.model.runbook import ChoiceParameter, Parameter, ParameterType

_EXAMPLES: Final[dict[ParameterType, Argument]] = {
    "string": Argument("text", "text"),
    "number": Argument(1, "1"),
    "duration": Argument(60.0, "1m"),
    "percent": Argument(0.1, "10%"),
    "secret": Argument("env:SECRET", "env:SECRET"),
}

Taken = Mapping[ParameterType, Sequence[str]]
"""What the other parameters of each type are, as text."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A parameter that has neither a value nor a default."""

    name: str
    place: Place
    declaration: Parameter


def stand_ins(
    root: MappingNode, missing: Sequence[Missing], taken: Taken, inventory: Inventory, problems: Problems
) -> dict[str, Argument | None]:
    """A plausible value for each parameter of ``root`` that is missing; None where there is none: that is reported."""
    if not missing:
        return {}
    names = _names(root, missing, taken, inventory)
    found: dict[str, Argument | None] = {}
    for one in missing:
        kind = one.declaration.type
        if kind in names and not names[kind]:
            _report_none_left(one, problems)
            found[one.name] = None
            continue
        value = _EXAMPLES.get(kind) or _word(one.declaration, names)
        which = f"{quote(value.text)} stands in for parameter {quote(one.name)}: give it with -p"
        found[one.name] = Argument(value.value, value.text, which)
    return found


def _word(declaration: Parameter, names: Mapping[ParameterType, list[str]]) -> Argument:
    if isinstance(declaration, ChoiceParameter):
        return Argument(declaration.choices[0], declaration.choices[0])
    name = names[declaration.type].pop(0)
    return Argument(name, name)


def _report_none_left(one: Missing, problems: Problems) -> None:
    message = f"parameter {quote(one.name)[1:-1]}: no {one.declaration.type} is left to stand in for it"
    remedy = f"give it as -p {quote(one.name)[1:-1]}=VALUE, or name an inventory in which the pool has more of them"
    problems.add(one.place, message, remedy)


def _names(
    root: MappingNode, missing: Sequence[Missing], taken: Taken, inventory: Inventory
) -> dict[ParameterType, list[str]]:
    """The names for pools, sites and hosts, in the order in which they are to be used up."""
    count = {kind: sum(one.declaration.type == kind for one in missing) for kind in ("pool", "site", "host")}
    pools = _pools(root, taken, inventory)
    pool = inventory.pools[next((name for name in taken.get("pool", ()) if name in inventory.pools), pools[0])]
    sites = _sites(pool, taken, {inventory.control.site, pool.switch.site})
    home = next((name for name in (*taken.get("site", ()), *sites) if name in pool.sites), None)
    members = _members(pool, home)
    free = [name for name in members if name not in taken.get("host", ())]
    several = sites if len(pool.sites) < 2 else _enough(sites, list(pool.sites), count["site"])
    return {
        "pool": _enough([name for name in pools if name not in taken.get("pool", ())], pools, count["pool"]),
        "site": several,
        "host": _enough(free, members, count["host"]),
    }


def _enough(free: Sequence[str], known: Sequence[str], count: int) -> list[str]:
    """Names that are free; where there are fewer than parameters, each of them stands in for several."""
    names = list(free) or list(known)
    return [names[index % len(names)] for index in range(count)] if names else []


def _pools(root: MappingNode, taken: Taken, inventory: Inventory) -> list[str]:
    """All pools: first those that the runbook names itself, then those at the most sites."""
    named = {} if taken.get("pool") else dict.fromkeys(_named_pools(root))
    largest = sorted(inventory.pools, key=lambda name: -len(inventory.pools[name].sites))
    return list(dict.fromkeys([*(name for name in named if name in inventory.pools), *largest]))


def _named_pools(node: Node) -> Iterator[str]:
    name = name_at(node, "pool")
    if name is not None:
        yield name.text
    if isinstance(node, MappingNode):
        for pair in node.pairs:
            yield from _named_pools(pair.value)
    elif isinstance(node, SequenceNode):
        for item in node.items:
            yield from _named_pools(item)


def _sites(pool: Pool, taken: Taken, needed: Container[str | None]) -> list[str]:
    """Sites of the pool that no parameter is yet.

    First that of a host that is given, and last those that are ``needed``: nobody would empty them.
    """
    given = [site for host in taken.get("host", ()) if (site := pool.site_of(host)) is not None]
    others = sorted(pool.sites, key=lambda name: name in needed)
    return [name for name in dict.fromkeys([*given, *others]) if name not in taken.get("site", ())]


def _members(pool: Pool, home: str | None) -> list[str]:
    """The pool's hosts, those of its site ``home`` first."""
    sites = sorted(pool.sites, key=lambda name: name != home)
    return list(dict.fromkeys(member for site in sites for member in pool.members(site)))
