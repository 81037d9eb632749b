"""Values that stand in for parameters, so that ``lint`` can look at a runbook without any."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.inventory import load_inventory
from orchestrator.load.lint import lint
from orchestrator.load.problems import with_stand_in
from orchestrator.load.runbook import LoadedRunbook, load_runbook
from orchestrator.model.inventory import Inventory

SHIPPED = sorted((Path(__file__).parents[3] / "runbooks").glob("*.yaml"))

POOLS = {
    "one pool": {"smtp": "abc"},
    "two pools": {"api": "ad", "smtp": "bcd"},
    "three pools": {"tiny": "z", "smtp": "xy", "api": "abcd"},
}

SHIFT = """
runbook: shift
parameters: {pool: {type: pool}, site: {type: site}, to: {type: site}, host: {type: host}}
checks:
  mail: {probe: smtp, at: {pool: "${pool}"}, over: 30s, expect: {success_rate: ">= 99.9%"}}
steps:
  - {id: move, do: traffic.shift, with: {pool: "${pool}", from: "${site}", to: "${to}"}, after: [mail]}
  - {id: empty, do: smtp.drain, with: {pool: "${pool}", host: "${host}", deadline: 10m}, after: [mail]}
"""


@pytest.fixture
def stock(tmp_path: Path) -> Callable[..., Inventory]:
    """Makes an inventory of pools, each at sites that are named by a letter, with two hosts at each."""

    def make(pools: Mapping[str, str], more: str = "") -> Inventory:
        sites = sorted({site for at in pools.values() for site in at})
        lines = [f"sites: {{{', '.join(f'{site}: {{}}' for site in sites)}}}", "pools:"]
        hosts = ["hosts:"]
        for pool, at in pools.items():
            lines += [
                f"  {pool}:",
                "    protocol: smtp",
                "    address: 192.0.2.1:25",
                "    switch: {driver: haproxy, socket: /run/s, backend: b}",
                "    test_mail: {sender: a@example.org, recipient: b@example.org, inbox: /var/mail/probe}",
                "    sites:",
            ]
            for site in at:
                members = [f"{pool}-{site}{number}" for number in (1, 2)]
                lines.append(
                    f"      {site}: {{members: [{', '.join(members)}], capacity: 9/s, address: '192.0.2.9:25'}}"
                )
                hosts += [f"  {member}: {{gate: {{driver: postfix-map, database: /db}}}}" for member in members]
            lines.append("    demand: 3/s")
        path = tmp_path / "inventory.yaml"
        path.write_text("\n".join([*lines, *hosts, more]) + "\n")
        return load_inventory([path], {})

    return make


def stood_in(path: Path, inventory: Inventory, **given: str) -> LoadedRunbook:
    """The runbook as lint without all parameters loads it."""
    return load_runbook(path, inventory, given, stand_ins=True)


def chosen(path: Path, inventory: Inventory, **given: str) -> tuple[str, ...]:
    """The values of its parameters, in their order."""
    loaded = stood_in(path, inventory, **given)
    return tuple(loaded.given.values())


@pytest.mark.parametrize("pools", POOLS)
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_runbooks_are_clean(path: Path, pools: str, stock: Callable[..., Inventory]) -> None:
    """Every shipped runbook is clean without a parameter, whatever other pools there are, and in whatever order."""
    inventory = stock(POOLS[pools])
    loaded = stood_in(path, inventory)
    assert list(lint(loaded, inventory)) == []


def test_they_fit_together(file: Callable[..., Path], stock: Callable[..., Inventory]) -> None:
    """The pool with the most sites, two different sites of it, and a host at the first of them."""
    assert chosen(file(SHIFT), stock({"api": "ad", "smtp": "bcd"})) == ("smtp", "b", "c", "smtp-b1")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"pool": "api"}, ("api", "a", "d", "api-a1")),
        ({"site": "c"}, ("smtp", "c", "b", "smtp-c1")),
        ({"to": "b"}, ("smtp", "c", "b", "smtp-b1")),
        ({"host": "smtp-d2"}, ("smtp", "d", "b", "smtp-d2")),
    ],
)
def test_they_fit_what_is_given(
    file: Callable[..., Path],
    stock: Callable[..., Inventory],
    given: Mapping[str, str],
    expected: tuple[str, ...],
) -> None:
    """What is given decides what stands in beside it: no site twice, the pool's sites, the host's site."""
    assert chosen(file(SHIFT), stock({"api": "ad", "smtp": "bcd"}), **given) == expected


def test_nobody_would_empty_where_failover_runs(file: Callable[..., Path], stock: Callable[..., Inventory]) -> None:
    """The site of failover itself stands in last."""
    inventory = stock({"smtp": "abc"}, "control: {site: a}")
    assert chosen(file(SHIFT), inventory)[1:3] == ("b", "c")


def test_one_site_is_too_few_for_two(file: Callable[..., Path], stock: Callable[..., Inventory]) -> None:
    """Where no site is left, that is the one thing that is said, and how to go on."""
    with pytest.raises(InputError) as caught:
        stood_in(file(SHIFT), stock({"smtp": "a"}))
    (problem,) = caught.value.problems
    assert (problem.message, problem.line) == ("parameter to: no site is left to stand in for it", 3)
    assert "-p to=VALUE" in problem.remedy


def test_a_stand_in_is_not_blamed_on_the_user(file: Callable[..., Path], stock: Callable[..., Inventory]) -> None:
    """A mistake at a value that nobody has given says what stands there, also in an included runbook."""
    inventory = stock({"smtp": "ab", "api": "cd"})
    text = SHIFT.replace("${pool}", "api")
    file("runbook: outer\nparameters: {at: {type: site}, on: {type: host}}\nsteps:\n"
         "  - {id: i, do: include, runbook: inner.yaml, with: {pool: smtp, site: '${at}', to: b, host: '${on}'}}\n",
         "outer.yaml")  # fmt: skip
    outer = file(text, "inner.yaml").with_name("outer.yaml")
    with pytest.raises(InputError) as caught:
        stood_in(outer, inventory)
    said = {problem.message: problem.remedy for problem in caught.value.problems}
    not_there = "cannot use step 'i.move': pool 'api' is not at site "
    assert said[f"{not_there}'a'"].endswith("('a' stands in for parameter 'at': give it with -p)")
    assert "stands in" not in said[f"{not_there}'b'"]


def test_findings_say_it_too(file: Callable[..., Path], stock: Callable[..., Inventory]) -> None:
    """A finding of lint at a value that nobody has given says so as well; at one that is given it does not."""
    inventory = stock({"smtp": "ab"}, "control: {site: a}")
    path, given = file(SHIFT), {"pool": "smtp", "site": "a", "to": "b"}
    remedies = {}
    for host in ({}, {"host": "smtp-a1"}):
        loaded = stood_in(path, inventory, **given, **host)
        found = [with_stand_in(one.problem, loaded.stand_ins) for one in lint(loaded, inventory)]
        remedies[bool(host)] = [one.remedy for one in found if "failover itself stands" in one.message]
    assert remedies[False] == [f"{remedies[True][0]} ('smtp-a1' stands in for parameter 'host': give it with -p)"]
