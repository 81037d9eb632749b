"""Groups of hosts: wherever an inventory lists hosts, a group's name stands for its hosts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from orchestrator.load.change import ANY, Trail, changed
from orchestrator.load.node import MappingNode, Node, Place, ScalarNode, SequenceNode, child, names_at
from orchestrator.load.problems import Problems, meant, quote

LIMIT: Final = 100_000
"""Names after all expansion: groups of groups can multiply, and nobody has so many hosts."""

_EXPLAINED: Final = 20
"""So many unknown names get a suggestion, each of which takes a look at every name that there is."""

_SHOWN: Final = 6

_LISTS: Final = (("groups", ANY, "hosts"), ("pools", ANY, "sites", ANY, "members"))
"""Where hosts are listed; a group may name one host by several ways, a pool may not."""


def expand(root: MappingNode, problems: Problems) -> MappingNode:
    """The inventory with hosts only in its lists of hosts; groups that stand for nothing are reported."""
    section = child(root, "groups")
    if not isinstance(section, MappingNode):
        return root
    groups = {pair.key: pair.value for pair in section.pairs}
    _check_names(section, child(root, "hosts"), problems)
    holds = {name: tuple(host.text for host in names_at(group, "hosts")) for name, group in groups.items()}
    blocked = _report_circles(holds, groups, problems)
    _check_hosts(root, groups, problems)
    expanded = _expanded(holds, blocked)
    if expanded is None or _size(root, expanded) > LIMIT:
        message = f"cannot expand the groups: they stand for more than {LIMIT:,} hosts in all"
        problems.add(section.place, message, "make them smaller, or name fewer of them")
        return _filled(root, {}, frozenset(groups))
    return _filled(root, expanded, blocked)


def _check_names(groups: MappingNode, hosts: Node | None, problems: Problems) -> None:
    taken = set(hosts.keys()) if isinstance(hosts, MappingNode) else set()
    for pair in groups.pairs:
        if pair.key in taken:
            message = f"cannot call a group {quote(pair.key)}: a host is called so"
            problems.add(pair.place, message, "give the group another name")


def _check_hosts(root: MappingNode, groups: Mapping[str, Node], problems: Problems) -> None:
    """A host is known by its entry or as a member of a pool; a group alone makes none, so that none is mistyped."""
    described = child(root, "hosts")
    known = dict.fromkeys(described.keys() if isinstance(described, MappingNode) else ())
    known |= dict.fromkeys(name for name in _members(root) if name not in groups)
    known |= dict.fromkeys(groups)
    unknown = ((group, name) for group, node in groups.items() for name in names_at(node, "hosts"))
    for number, (group, name) in enumerate(pair for pair in unknown if pair[1].text not in known):
        message = f"cannot put {quote(name.text)} into group {quote(group)}: there is no such host or group"
        explained = number < _EXPLAINED
        remedy = meant(name.text, known, "hosts and groups") if explained else "name it under 'hosts'"
        problems.add(name.place, message, remedy)


def _members(root: MappingNode) -> Iterator[str]:
    for pool in _values(child(root, "pools")):
        for site in _values(child(pool, "sites")):
            yield from (name.text for name in names_at(site, "members"))


def _values(node: Node | None) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        yield from (pair.value for pair in node.pairs)


def _report_circles(
    holds: Mapping[str, tuple[str, ...]], groups: Mapping[str, Node], problems: Problems
) -> frozenset[str]:
    """The groups that have no end: those in a circle, each of which is reported, and those that lead to one."""
    blocked = _blocked(holds)
    onward = {name: next(inner for inner in holds[name] if inner in blocked) for name in blocked}
    seen: set[str] = set()
    for start in (name for name in holds if name in blocked):
        way: dict[str, None] = {}
        name = start
        while name not in seen:
            seen.add(name)
            way[name] = None
            name = onward[name]
        if name in way:
            circle = list(way)[list(way).index(name) :]
            message = f"cannot expand group {quote(name)}: {_told([*circle, name])}"
            problems.add(_place(groups[name], onward[name]), message, "take one of them out")
    return frozenset(blocked)


def _blocked(holds: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Kahn's algorithm leaves over what is in a circle or leads to one."""
    waits = {name: {inner for inner in hosts if inner in holds} for name, hosts in holds.items()}
    held_by: dict[str, list[str]] = {}
    for name, inner_groups in waits.items():
        for inner in inner_groups:
            held_by.setdefault(inner, []).append(name)
    free = [name for name, inner_groups in waits.items() if not inner_groups]
    while free:
        done = free.pop()
        del waits[done]
        for name in held_by.get(done, ()):
            waits[name].discard(done)
            if not waits[name]:
                free.append(name)
    return set(waits)


def _told(circle: list[str]) -> str:
    names = [quote(name) for name in circle]
    if len(names) > _SHOWN:
        names[_SHOWN - 1 : -1] = ["…"]
    return " holds ".join(names)


def _place(group: Node, inner: str) -> Place:
    return next((name.place for name in names_at(group, "hosts") if name.text == inner), group.place)


def _expanded(holds: Mapping[str, tuple[str, ...]], blocked: frozenset[str]) -> dict[str, tuple[str, ...]] | None:
    """The hosts of each group that has an end, each host once; None where they are too many."""
    done: dict[str, tuple[str, ...]] = {}
    size = 0
    for name in _inner_first(holds, blocked):
        entries = dict.fromkeys(holds[name])
        hosts = dict.fromkeys(host for entry in entries for host in done.get(entry, (entry,)))
        size += len(hosts)
        if size > LIMIT:
            return None
        done[name] = tuple(hosts)
    return done


def _inner_first(holds: Mapping[str, tuple[str, ...]], blocked: frozenset[str]) -> Iterable[str]:
    order: dict[str, None] = {}
    waiting = [name for name in holds if name not in blocked]
    while waiting:
        name = waiting[-1]
        inner = [] if name in order else [entry for entry in holds[name] if entry in holds and entry not in order]
        waiting += inner
        if not inner:
            order[waiting.pop()] = None
    return order


def _size(root: MappingNode, expanded: Mapping[str, tuple[str, ...]]) -> int:
    return sum(len(expanded.get(name, (name,))) for name in _members(root))


def _filled(root: MappingNode, expanded: Mapping[str, tuple[str, ...]], blocked: frozenset[str]) -> MappingNode:
    def fill(node: Node, trail: Trail) -> Node:
        if not isinstance(node, SequenceNode):
            return node
        items = _each_once(node.items) if trail[0] == "groups" else node.items
        stand = (host for item in items for host in _stands_for(item, expanded, blocked))
        return replace(node, items=_each_once(stand) if trail[0] == "groups" else tuple(stand))

    tree: Node = root
    for path in _LISTS:
        tree = changed(tree, path, fill)
    assert isinstance(tree, MappingNode), "only lists are changed"
    return tree


def _each_once(items: Iterable[Node]) -> tuple[Node, ...]:
    return tuple({item.text if isinstance(item, ScalarNode) else id(item): item for item in items}.values())


def _stands_for(item: Node, expanded: Mapping[str, tuple[str, ...]], blocked: frozenset[str]) -> list[Node]:
    """What stands for an entry of a list: the hosts of a group, each at the place of the group's name.

    The name of a blocked one is left unknown, as it is reported.
    """
    if not isinstance(item, ScalarNode) or item.unknown or not isinstance(item.value, str):
        return [item]
    if item.value in blocked:
        return [replace(item, unknown=True)]
    hosts = expanded.get(item.value)
    return [item] if hosts is None else [replace(item, value=host, text=host) for host in hosts]
