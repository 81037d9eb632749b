"""Groups of hosts: what a group's name stands for, wherever hosts are listed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.inventory import load_inventory
from orchestrator.model.inventory import Inventory

SITES = """
sites: {ord: {}, iad: {}}
pools:
  smtp:
    protocol: smtp
    address: 192.0.2.1:25
    switch: {driver: haproxy, socket: /run/haproxy.sock, backend: smtp}
    test_mail: {sender: probe@example.org, recipient: probe@example.org}
    sites:
      ord: {members: MEMBERS, capacity: 100 sessions, address: "192.0.2.2:25"}
"""


def loaded(file: Callable[..., Path], members: str, rest: str) -> Inventory:
    """An inventory with one pool."""
    return load_inventory([file(SITES.replace("MEMBERS", members) + rest)], {})


def wrong(file: Callable[..., Path], members: str, rest: str) -> list[str]:
    """What is wrong with it."""
    with pytest.raises(InputError) as caught:
        loaded(file, members, rest)
    return [problem.message for problem in caught.value.problems]


def test_a_group_stands_for_its_hosts(file: Callable[..., Path]) -> None:
    """In a pool and in other groups, in its place among others; a host that a group has twice is there once."""
    rest = "hosts: {a: {}, b: {}, c: {}}\ngroups: {outer: {hosts: [c, inner, a]}, inner: {hosts: [a, b], data: {x: 1}}}"
    inventory = loaded(file, "[z, outer]", rest)
    assert inventory.pools["smtp"].members("ord") == ("z", "c", "a", "b")
    assert inventory.groups["outer"].hosts == ("c", "a", "b")
    assert inventory.groups["inner"].data == {"x": 1}


def test_what_was_expanded_is_the_same_after_json(file: Callable[..., Path]) -> None:
    """A plan holds hosts only, and reads them back as they are."""
    inventory = loaded(file, "[g]", "hosts: {a: {}}\ngroups: {g: {hosts: [a]}}")
    assert Inventory.model_validate_json(inventory.model_dump_json(by_alias=True)) == inventory


def test_groups_come_from_any_file(file: Callable[..., Path]) -> None:
    """A group in one file can hold hosts of another, and stand in the pools of a third."""
    pools = file(SITES.replace("MEMBERS", "[g]"), "pools.yaml")
    paths = [pools, file("groups: {g: {hosts: [a, h]}}", "a.yaml")]
    paths.append(file("hosts: {a: {}, b: {}}\ngroups: {h: {hosts: [b]}}", "b.yaml"))
    assert load_inventory(paths, {}).pools["smtp"].members("ord") == ("a", "b")


def test_a_group_in_two_files_names_both_places(file: Callable[..., Path]) -> None:
    """One name means one thing."""
    first = file(SITES.replace("MEMBERS", "[a]") + "groups: {g: {hosts: [a]}}", "a.yaml")
    second = file("groups: {g: {hosts: [a]}}", "b.yaml")
    with pytest.raises(InputError, match=r"cannot merge 'groups.g': it stands in .*a.yaml:11:10 already"):
        load_inventory([first, second], {})


def test_a_member_is_a_host_that_a_group_can_name(file: Callable[..., Path]) -> None:
    """A host needs no entry where it is a member itself; as part of a group alone it may be mistyped."""
    assert loaded(file, "[mx1]", "groups: {g: {hosts: [mx1]}}").groups["g"].hosts == ("mx1",)
    (message,) = wrong(file, "[g]", "groups: {g: {hosts: [mx1]}}")
    assert message == "cannot put 'mx1' into group 'g': there is no such host or group"


def test_a_circle_is_told_once_and_hides_nothing_else(file: Callable[..., Path]) -> None:
    """Every circle is shown, and what is wrong beside it."""
    rest = "groups: {a: {hosts: [b]}, b: {hosts: [a]}, c: {hosts: [c, nobody]}, d: {hosts: [a, c]}}"
    assert wrong(file, "[mx1, d]", rest) == [
        "cannot expand group 'a': 'a' holds 'b' holds 'a'",
        "cannot expand group 'c': 'c' holds 'c'",
        "cannot put 'nobody' into group 'c': there is no such host or group",
    ]


def test_a_long_circle_is_told_in_short(file: Callable[..., Path]) -> None:
    """A message is read by people."""
    links = ", ".join(f"g{n}: {{hosts: [g{(n + 1) % 900}]}}" for n in range(900))
    (message,) = wrong(file, "[mx1]", f"groups: {{{links}}}")
    assert message.startswith("cannot expand group 'g0': 'g0' holds 'g1' holds")
    assert message.endswith("holds … holds 'g0'")
    assert len(message) < 120


@pytest.mark.alone
def test_groups_that_multiply_are_refused_at_once(file: Callable[..., Path]) -> None:
    """A file that stands for billions of hosts costs no more time or memory than one that stands for few."""
    hosts = ", ".join(f"h{n}" for n in range(900))
    groups = ", ".join(f"g{n}: {{hosts: [g{n - 1}]}}" if n else f"g0: {{hosts: [{hosts}]}}" for n in range(500))
    described = ", ".join(f"h{n}: {{}}" for n in range(900))
    began = time.process_time()
    (message,) = wrong(file, "[mx1]", f"hosts: {{{described}}}\ngroups: {{{groups}}}")
    assert message == "cannot expand the groups: they stand for more than 100,000 hosts in all"
    (again,) = wrong(file, "[" + "g, " * 5_000 + "g]", f"groups: {{g: {{hosts: [{hosts}]}}}}\nhosts: {{{described}}}")
    assert again == message
    assert time.process_time() - began < 10
