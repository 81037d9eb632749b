"""One thing has one lock, whatever two inventories call it and however they reach it; two things have two."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan
from orchestrator.planning import ordered
from orchestrator.wiring import lock_names

from .world import inventory_of, runbook_of, shift

Text = dict[str, object]

ZONE: Text = {"driver": "route53-weights", "zone": "Z1", "name": "mx.example.com"}
DNS: Text = {"driver": "dns", "server": "ns1.example.com", "zone": "example.com", "name": "mx.example.com"}
F5: Text = {"driver": "f5", "url": "https://192.0.2.5", "pool": "/Common/smtp", "user": "u", "password": "env:F5"}
ARC: Text = {"driver": "arc-routing", "cluster": {"us-east-1": "https://a", "us-west-2": "https://b"}}
ENVOY: Text = {"driver": "envoy", "admin": "127.0.0.1:9901", "cluster": "smtp", "endpoints": "/etc/envoy/eds.yaml"}
ROUTE: Text = {"driver": "kubernetes-route", "name": "smtp"}


def locks(switch: Text, sites: Text | None = None) -> set[str]:
    """What a run has for itself that shifts the traffic of this switch."""
    text = inventory_of({"ord": 1, "iad": 1}, pools=["smtp"]).model_dump(mode="json", by_alias=True)
    text["pools"]["smtp"] |= {"switch": switch, "demand": "1/s"}
    text["sites"] |= sites or {}
    runbook, inventory = runbook_of(shift("s")), Inventory.model_validate(text)
    return set(lock_names(Plan(runbook=runbook, inventory=inventory, parameters={}, steps=ordered(runbook))))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ZONE, ZONE | {"zone": "/hostedzone/Z1"}),
        (ZONE, ZONE | {"driver": "route53-failover", "name": "MX.example.com."}),
        (DNS, DNS | {"server": "NS1.example.com.:53"}),
        (DNS | {"server": "2001:db8::53"}, DNS | {"server": "[2001:db8::53]:53"}),
        (F5, F5 | {"url": "https://192.0.2.5:443/", "pool": "smtp"}),
        (ARC, ARC | {"cluster": {"us-west-2": "https://b"}}),
        (ENVOY, ENVOY | {"endpoints": "/etc/envoy/../envoy/./eds.yaml"}),
    ],
)
def test_one_thing_has_one_lock(one: Text, other: Text) -> None:
    """However an inventory spells it, and by whichever of its addresses it is reached."""
    assert locks(one) == locks(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ZONE, ZONE | {"type": "AAAA"}),
        (DNS, DNS | {"server": "ns1.example.com:5353"}),
        (F5, F5 | {"url": "https://192.0.2.5:8443"}),
        (F5, F5 | {"pool": "/Edge/smtp"}),
        (ARC, ARC | {"names": {"ord1": "arn:x", "iad1": "arn:y"}}),
    ],
)
def test_two_things_have_two(one: Text, other: Text) -> None:
    """What differs for the outside is kept apart, so that nobody waits for nothing."""
    assert locks(one).isdisjoint(locks(other))


def test_runs_that_share_one_control_share_its_lock() -> None:
    """Each routing control is a thing of its own: pools may have one of two in common."""
    shared = locks(ARC | {"names": {"ord1": "arn:x"}}) & locks(ARC | {"names": {"ord1": "arn:y"}})
    assert shared == {"pool at arc-routing iad1"}


KUBECONFIG = """
current-context: mail
clusters:
  - {name: one, cluster: {server: "https://k8s.example.com:443"}}
  - {name: two, cluster: {server: "https://other.example.com:6443"}}
contexts:
  - {name: mail, context: {cluster: one, user: ops}}
  - {name: admin, context: {cluster: one, user: root}}
  - {name: edge, context: {cluster: two, user: ops}}
"""


def test_a_cluster_is_its_api_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whichever file and context it is reached, and whether the switch names it or its site does."""
    first, second = tmp_path / "config", tmp_path / "again.yaml"
    first.write_text(KUBECONFIG)
    second.write_text(KUBECONFIG.replace("name: one", "name: K").replace("cluster: one", "cluster: K"))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'none'}:{first}")
    expected = {"pool at kubernetes-route https://k8s.example.com:default:smtp"}
    assert locks(ROUTE) == expected
    assert locks(ROUTE | {"cluster": {"context": "admin"}}) == expected
    assert locks(ROUTE | {"cluster": {"kubeconfig": str(second)}}) == expected
    at_site: Text = {"ord": {"kubernetes": {"kubeconfig": str(second), "context": "admin"}}}
    assert locks(ROUTE | {"site": "ord"}, at_site) == expected
    assert locks(ROUTE | {"cluster": {"context": "edge"}}).isdisjoint(expected)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "clusters: {a: 1}", "clusters: 7\ncontexts: 7", "contexts: [7]\ncurrent-context: x", "{", "a: \x00"],
)
def test_a_cluster_without_a_readable_file_is_what_the_inventory_says(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a kubeconfig is of no use is for whoever calls the cluster to say; the lock has a name nevertheless."""
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    assert locks(ROUTE | {"cluster": {"context": "x"}}) == {"pool at kubernetes-route :x:default:smtp"}
