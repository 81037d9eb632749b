"""Resolvers that a change of the DNS is waited for at: one inside the site that is emptied is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.load.inventory import load_inventory
from tests.unit.load.lint.conftest import Look

INVENTORY = """
sites: {ord: {networks: [198.51.100.0/24]}, iad: {networks: [203.0.113.0/24]}}
pools:
  smtp:
    protocol: smtp
    address: mx.example.org:25
    switch: {SWITCH, resolvers: RESOLVERS}
    demand: 10 sessions
    test_mail: {sender: probe@example.org, recipient: probe@example.org}
    sites:
      ord: {members: [o], capacity: 50 sessions, address: "198.51.100.31:25"}
      iad: {members: [i], capacity: 50 sessions, address: "203.0.113.31:25"}
  hosts:
    protocol: smtp
    address: 192.0.2.10:25
    switch: {driver: haproxy, socket: /run/haproxy.sock, backend: smtp}
    test_mail: {sender: probe@example.org, recipient: probe@example.org}
    sites:
      ord: {members: [a], capacity: 50 sessions, address: "192.0.2.11:25"}
      iad: {members: [b], capacity: 50 sessions, address: "192.0.2.12:25"}
"""
SWITCHES = {
    "dns": "driver: dns, server: 192.0.2.53, zone: example.org, name: mx.example.org, "
    "names: {o: 198.51.100.31, i: 203.0.113.31}",
    "route53-weights": "driver: route53-weights, zone: Z1, name: mx.example.org",
    "route53-failover": "driver: route53-failover, zone: Z1, name: mx.example.org",
}
RUNBOOK = """
runbook: move
steps:
- {id: drain, do: traffic.drain, with: {pool: hosts, site: ord, deadline: 10m}}
- {id: shift, do: traffic.shift, with: {pool: smtp, from: ord, to: iad}}
"""


@pytest.mark.parametrize("driver", SWITCHES)
@pytest.mark.parametrize("place", ["198.51.100.53", "198.51.100.53:5353"])
def test_a_resolver_in_the_emptied_site_is_found(look: Look, tmp_path: Path, driver: str, place: str) -> None:
    """It goes with the site, and the step would wait for what clients of another site never ask."""

    def said(*resolvers: str) -> list[str]:
        text = INVENTORY.replace("SWITCH", SWITCHES[driver]).replace("RESOLVERS", str(list(resolvers)))
        (tmp_path / "inventory.yaml").write_text(text)
        findings = look(RUNBOOK, load_inventory([tmp_path / "inventory.yaml"], {})).findings
        return [one.problem.message for one in findings if one.rule == "depends-on-emptied-site"]

    (found,) = said("203.0.113.53", place)
    assert f"its resolver {place} is in 198.51.100.0/24 at 'ord'" in found
    assert said("203.0.113.53") == []
