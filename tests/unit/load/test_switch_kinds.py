"""What an inventory says of its switches is held against the kind of each, and so is what a runbook asks of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.inventory import load_inventory
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory

INVENTORY = """
sites: {ord: {}, iad: {}}
pools:
  smtp:
    protocol: smtp
    address: "mx.example.com:25"
    switch: SWITCH
    DEMAND
    test_mail: {sender: probe@example.org, recipient: probe@example.org}
    sites:
      ord: {members: [mx1], capacity: 400/s, address: "192.0.2.1:25"}
      iad: {members: [mx2], capacity: 400/s, address: "192.0.2.2:25"}
hosts: {mx1: {gate: {driver: postfix-map, database: /g}}, mx2: {gate: {driver: postfix-map, database: /g}}}
"""
DNS = (
    "{driver: dns, server: 192.0.2.53, zone: example.com, name: mx.example.com, "
    "names: {mx1: 192.0.2.1, mx2: 192.0.2.2}}"
)
WEIGHTS = "{driver: elbv2-weights, forward: arn:l}"
TARGETS = "{driver: elbv2-targets, target_group: arn:tg}"
F5 = "{driver: f5, url: https://192.0.2.5, pool: /Common/smtp, user: u, password: env:F5}"
STEPS = {
    "traffic.shift": "{id: go, do: traffic.shift, with: {pool: smtp, from: ord, to: iad}}",
    "traffic.drain": "{id: go, do: traffic.drain, with: {pool: smtp, site: ord, deadline: 5m}}",
    "smtp.drain": "{id: go, do: smtp.drain, with: {pool: smtp, site: ord, deadline: 5m}}",
}


@pytest.fixture
def inventory_with(file: Callable[..., Path]) -> Callable[..., Inventory]:
    """Loads an inventory of one pool with this switch."""

    def load(switch: str, demand: str = "demand: 400/s") -> Inventory:
        text = INVENTORY.replace("SWITCH", switch).replace("DEMAND", demand)
        return load_inventory([file(text, "inventory.yaml")], {})

    return load


@pytest.mark.parametrize(
    ("switch", "verb", "why"),
    [
        (DNS, "smtp.drain", "'dns' lists no sessions"),
        (DNS, "traffic.drain", "'dns' have weights only"),
        (TARGETS, "traffic.shift", "'elbv2-targets' have no weights — take the site out of service"),
        (F5, "smtp.drain", "'f5' lists no sessions"),
    ],
)
def test_a_verb_that_the_kind_cannot_do_is_refused(
    inventory_with: Callable[..., Inventory], file: Callable[..., Path], switch: str, verb: str, why: str
) -> None:
    """A runbook that asks of a switch what its kind cannot do is refused at its place, with what to write instead."""
    runbook = file(f"runbook: r\nsteps:\n  - {STEPS[verb]}\n", "runbook.yaml")
    with pytest.raises(InputError) as caught:
        load_runbook(runbook, inventory_with(switch), {})
    (problem,) = caught.value.problems
    assert why in str(problem)
    assert (problem.line, problem.column) == (3, 18)


@pytest.mark.parametrize(
    ("switch", "verb"),
    [(DNS, "traffic.shift"), (TARGETS, "traffic.drain"), (F5, "traffic.shift"), (F5, "traffic.drain")],
)
def test_a_verb_that_the_kind_can_do_is_taken(
    inventory_with: Callable[..., Inventory], file: Callable[..., Path], switch: str, verb: str
) -> None:
    """The same runbook moves traffic whatever splits it."""
    runbook = file(f"runbook: r\nsteps:\n  - {STEPS[verb]}\n", "runbook.yaml")
    assert load_runbook(runbook, inventory_with(switch), {}).runbook.steps[0].do == verb


def test_demand_must_be_stated_where_nobody_counts_it(inventory_with: Callable[..., Inventory]) -> None:
    """A switch that counts no sessions measures no demand; one that does may."""
    for demand in ("", "demand: {from: switch}"):
        with pytest.raises(InputError, match="its switch counts no sessions — state it beside the switch"):
            inventory_with(DNS, demand)
    inventory_with(DNS, "demand: 400/s")


def test_names_belong_to_members(inventory_with: Callable[..., Inventory]) -> None:
    """A name for nobody is a misspelling, and two members cannot be one thing in the switch."""
    with pytest.raises(InputError, match="cannot name 'mx3' in the switch of pool 'smtp': it is no member"):
        inventory_with(DNS.replace("mx2:", "mx3:"))
    with pytest.raises(InputError, match=r"cannot call 'mx2' and 'mx1' '192\.0\.2\.1' in one switch"):
        inventory_with(DNS.replace("192.0.2.2}", "192.0.2.1}"))


@pytest.mark.parametrize(
    ("switch", "names"),
    [
        (DNS, "{mx1: mx2}"),
        (DNS, "{mx2: mx1}"),
        (DNS.replace("zone:", "type: MX, zone:"), "{mx1: 10 a.example.com, mx2: '10 A.example.com.'}"),
        (WEIGHTS, "{mx1: tg-a, mx2: 'arn:aws:elasticloadbalancing:us-east-1:111111111111:targetgroup/tg-a/0f'}"),
        (F5, "{mx1: 'mx1:25', mx2: '/Common/mx1:25'}"),
    ],
)
def test_two_members_are_two_things(inventory_with: Callable[..., Inventory], switch: str, names: str) -> None:
    """A member without a name is called by its own, and one thing has several spellings: no two members are one."""
    with pytest.raises(
        InputError, match=r"cannot call 'mx2' and 'mx1' '.*' in one switch — name what the switch calls"
    ):
        inventory_with(re.sub(r", names: {[^}]*}", "", switch)[:-1] + f", names: {names}}}")


def test_members_may_change_names(inventory_with: Callable[..., Inventory]) -> None:
    """What is called by the other's name is no longer that one."""
    inventory_with(re.sub(r", names: {[^}]*}", "", DNS)[:-1] + ", names: {mx1: mx2, mx2: mx1}}")


def test_a_secret_is_given_by_reference(inventory_with: Callable[..., Inventory]) -> None:
    """A password in an inventory is refused without being repeated."""
    with pytest.raises(InputError) as caught:
        inventory_with(F5.replace("env:F5", "hunter2"))
    assert "a secret is never written into a file" in str(caught.value)
    assert "hunter2" not in str(caught.value)
