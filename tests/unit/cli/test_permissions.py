"""``failover permissions``: from a runbook and an inventory to what is handed in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from .desk import Desk

INVENTORY = """
sites:
  ord: {aws: {region: us-east-1, assume_role: "arn:aws:iam::111122223333:role/failover"}, kubernetes: {context: ord}}
  iad: {}
pools:
  smtp:
    protocol: smtp
    address: 192.0.2.1:25
    switch: {driver: route53-weights, site: ord, zone: Z0123456789ABCDEFGHIJ, name: mx.example.com}
    test_mail: {sender: p@lab.example, recipient: p@lab.example}
    demand: 100/s
    sites:
      ord: {members: [mx1], capacity: 150/s, address: "192.0.2.2:25"}
      iad: {members: [mx2], capacity: 150/s, address: "192.0.2.3:25"}
hosts:
  mx1: {node: {driver: kubernetes, name: node-1, cluster: {context: ord}}}
"""
RUNBOOK = """
runbook: move
summary: Move all to ${to}.
parameters:
  to: {type: site, help: where to}
checks:
  mail: {probe: smtp, at: {pool: smtp}, over: 30s, expect: {success_rate: ">= 99%"}}
steps:
  - {id: shift, do: traffic.shift, with: {pool: smtp, from: ord, to: "${to}"}, after: [mail]}
  - {id: empty, do: node.drain, with: {host: mx1, deadline: 10m}}
"""


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    """The command with its files."""
    runbook, inventory = tmp_path / "move.yaml", tmp_path / "sites.yaml"
    runbook.write_text(RUNBOOK)
    inventory.write_text(INVENTORY)
    return ("permissions", str(runbook), "-i", str(inventory))


def test_it_prints_what_to_hand_in(desk: Desk, command: tuple[str, ...]) -> None:
    """The role's policy and the cluster's roles, and that failover must be allowed to work as that role."""
    done = desk.failover(*command, "-p", "to=iad")
    assert done.exit_code == 0, done.output
    assert "# AWS, the role arn:aws:iam::111122223333:role/failover: IAM policy" in done.stdout
    assert '"route53:ChangeResourceRecordSets"' in done.stdout
    assert "sts:AssumeRole" in done.stdout
    assert "kind: ClusterRole" in done.stdout


def test_machines_get_json(desk: Desk, command: tuple[str, ...]) -> None:
    """One JSON document with a whole policy for each identity."""
    done = desk.failover(*command, "-p", "to=iad", "--json")
    record = json.loads(done.stdout)
    assert [one["for"]["assume_role"] for one in record["aws"]] == [None, "arn:aws:iam::111122223333:role/failover"]
    assert record["aws"][1]["policy"]["Version"] == "2012-10-17"


def test_one_provider_alone(desk: Desk, command: tuple[str, ...]) -> None:
    """--for kubernetes is YAML from the first line to the last."""
    done = desk.failover(*command, "-p", "to=iad", "--for", "kubernetes")
    kinds = [one["kind"] for one in yaml.safe_load_all(done.stdout) if one is not None]
    assert kinds == ["ClusterRole"]


def test_a_missing_parameter_is_asked_for(desk: Desk, command: tuple[str, ...]) -> None:
    """What cannot be bound is refused as by plan: what would be needed is not known."""
    done = desk.failover(*command)
    assert done.exit_code == 1
    assert "to" in done.stderr
