"""Inventories: references, several files, and what must fit together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import FailoverError, InputError
from orchestrator.load.inventory import host_names, load_inventory
from orchestrator.model.inventory import Inventory
from orchestrator.model.switch import HaproxySwitch

SITES = "sites: {ord: {}, iad: {}}\n"
POOL = """
pools:
  smtp:
    protocol: smtp
    address: "${lab:address}"
    switch: {driver: haproxy, socket: "/run/${env:NAME}.sock", backend: smtp}
    test_mail: {sender: probe@example.org, recipient: probe@example.org}
    sites:
      ord: {members: [mx1], capacity: "${env:CAPACITY}", address: "127.0.0.1:2526"}
"""
HOSTS = "hosts: {mx2: {connect: local}}\n"


def lab(name: str) -> str:
    """A lab that runs."""
    return {"address": "127.0.0.1:2525"}[name]


def environment(name: str) -> str:
    """An environment."""
    return {"NAME": "haproxy", "CAPACITY": "100 sessions"}[name]


REFERENCES = {"lab": lab, "env": environment}


def test_references_are_inserted(file: Callable[..., Path]) -> None:
    """References stand for their text, alone and inside other text, and are then read as if written."""
    pool = load_inventory([file(SITES + POOL + HOSTS)], REFERENCES).pools["smtp"]
    assert pool.address == "127.0.0.1:2525"
    assert isinstance(pool.switch, HaproxySwitch)
    assert pool.switch.socket == "/run/haproxy.sock"
    assert str(pool.sites["ord"].capacity) == "100 sessions"


def test_files_are_merged(file: Callable[..., Path]) -> None:
    """Sites, pools and hosts can come from different files, and one section from several."""
    paths = [file("version: 1\n" + SITES, "a.yaml"), file("version: 1\n" + POOL, "b.yaml")]
    paths += [file(HOSTS, "c.yaml"), file("hosts: {mx1: {}}\nsites: {fra: {}}\n", "d.yaml")]
    inventory = load_inventory(paths, REFERENCES)
    assert list(inventory.sites) == ["ord", "iad", "fra"]
    assert set(inventory.hosts) == {"mx1", "mx2"}


def test_the_same_name_in_two_files_names_both_places(file: Callable[..., Path]) -> None:
    """One name cannot mean two things; the message leads to both."""
    first, second = file(SITES + POOL + HOSTS, "a.yaml"), file("hosts:\n  mx2: {}\n", "b.yaml")
    with pytest.raises(InputError) as caught:
        load_inventory([first, second], REFERENCES)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column) == (str(second), 2, 3)
    assert f"{first}:11:9" in problem.message


def test_problems_of_all_files_come_at_once(file: Callable[..., Path]) -> None:
    """A mistake in one file does not hide those of the others."""
    first, second = file(SITES.replace("{}", "{x: 1}", 1) + POOL, "a.yaml"), file("hosts: {mx1: {y: 1}}\n", "b.yaml")
    with pytest.raises(InputError) as caught:
        load_inventory([first, second], REFERENCES)
    assert [problem.file for problem in caught.value.problems] == [str(first), str(second)]


def test_a_missing_file_is_all_that_is_said(file: Callable[..., Path], tmp_path: Path) -> None:
    """What the missing file would have brought is not missed in the others."""
    with pytest.raises(InputError) as caught:
        load_inventory([file(SITES), tmp_path / "pools.yaml"], REFERENCES)
    assert [problem.file for problem in caught.value.problems] == [str(tmp_path / "pools.yaml")]


def test_no_file_at_all() -> None:
    """Without a file there is one message, with its remedy."""
    with pytest.raises(InputError, match="without an inventory"):
        load_inventory([], {})


def test_one_cause_is_one_problem(file: Callable[..., Path]) -> None:
    """A lab that does not run is said once, not at each of the many references to it."""

    def no_lab(name: str) -> str:
        raise FailoverError("cannot ask the lab: no lab is running", remedy="start one")

    hosts = "hosts:\n" + "".join(f"  h{n}: {{ssh: '${{lab:h{n}}}'}}\n" for n in range(30))
    with pytest.raises(InputError) as caught:
        load_inventory([file(SITES + POOL + hosts)], {"env": environment, "lab": no_lab})
    assert [problem.message for problem in caught.value.problems] == ["cannot ask the lab: no lab is running"]


def test_a_member_may_have_no_host(file: Callable[..., Path]) -> None:
    """A host needs an entry only where somebody must reach it; it can be named all the same."""
    inventory = load_inventory([file(SITES + POOL)], REFERENCES)
    assert inventory.hosts == {}
    assert host_names(inventory) == ["mx1"]


def test_shared_inventory(inventory: Inventory) -> None:
    """The inventory of these tests is sound itself."""
    assert inventory.pools["smtp"].site_of("mx3") == "iad"
    assert inventory.pools["smtp"].site_of("mx9") is None
