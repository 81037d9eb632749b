"""Whole runbooks in a world: the truth that plain moto does not tell, and every kind of AWS switch built and moved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.errors import InputError, PlanRefusedError, UnfitError
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.inventory import Inventory
from orchestrator.testing import World, open_world, world_of
from orchestrator.testing.overlay import AwsWorld
from orchestrator.testing.world import read_inventory

EXAMPLE = Path(__file__).parents[3] / "docs/examples/ci"
REPLACE = EXAMPLE / "runbooks/replace-relay.yaml"

MOVE = """
runbook: move
steps:
  - {id: shift, do: traffic.shift, with: {pool: smtp, from: ord, to: iad}}
  - {id: back, do: return, steps: [shift]}
"""
LEAVE = """
runbook: leave
steps:
  - {id: out, do: traffic.drain, with: {pool: smtp, site: ord, deadline: 10m}}
  - {id: back, do: return, steps: [out]}
"""
ELB = "arn:aws:elasticloadbalancing:us-east-1:123456789012"
SWITCHES = {
    "application-listener": (f"driver: elbv2-weights, forward: '{ELB}:listener/app/a/1/2'", MOVE),
    "network-listener": (f"driver: elbv2-weights, forward: '{ELB}:listener/net/a/1/2'", MOVE),
    "listener-rule": (f"driver: elbv2-weights, forward: '{ELB}:listener-rule/app/a/1/2/3'", MOVE),
    "instances": (f"driver: elbv2-targets, target_group: '{ELB}:targetgroup/t/1'", LEAVE),
    "addresses": (
        f"driver: elbv2-targets, target_group: '{ELB}:targetgroup/t/1', names: {{o: '10.0.0.5:25', i: 10.0.0.6}}",
        LEAVE,
    ),
    "route53-weights": ("driver: route53-weights, zone: Z1, name: mx.example.com", MOVE),
    "route53-failover": ("driver: route53-failover, zone: Z1, name: mx.example.com, type: CNAME", MOVE),
    "global-accelerator": (
        "driver: global-accelerator, listener: 'arn:aws:ga', names: {o: us-east-1, i: us-west-2}",
        MOVE,
    ),
    "arc-routing": (
        "driver: arc-routing, cluster: {us-east-1: 'https://cluster'}, names: {o: 'arn:o', i: 'arn:i'}",
        MOVE,
    ),
    "arc-zonal-shift": (
        f"driver: arc-zonal-shift, resource: '{ELB}:loadbalancer/net/a/1', names: {{o: use1-az1, i: use1-az2}}",
        LEAVE,
    ),
    "haproxy": ("driver: haproxy, socket: /s, backend: smtp", MOVE),
    "dns": ("driver: dns, server: 192.0.2.53, zone: example.com, name: mx.example.com", MOVE),
    "f5": ("driver: f5, url: 'https://192.0.2.5', pool: /Common/smtp, user: u, password: 'env:F5'", LEAVE),
}
INVENTORY = """
sites: {{ord: {{aws: {{profile: somebodys, assume_role: "arn:aws:iam::210987654321:role/failover"}}}}, iad: {{}}}}
pools:
  smtp:
    protocol: smtp
    address: mx.example.com:25
    switch: {{{switch}, site: ord}}
    demand: 100/s
    test_mail: {{sender: p@example.com, recipient: p@example.com}}
    sites:
      ord: {{members: [o], capacity: 400/s, address: o.example.com:25}}
      iad: {{members: [i], capacity: 400/s, address: i.example.com:25}}
"""


@contextmanager
def on_plain_moto(inventory: Inventory, folder: Path) -> Iterator[World]:
    """As ``world_of``, without the overlay: what tests against moto alone see."""
    from moto import mock_aws

    with mock_aws(), SqliteJournal(folder / "journal.sqlite") as journal:
        yield World(inventory, AwsWorld(), journal)


def test_a_wrong_drain_wait_passes_on_plain_moto_and_fails_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS drains for 300 s; a runbook that allows two minutes is green on moto, which drains at once, and red here."""
    inventory = read_inventory([EXAMPLE / "inventory.yaml"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with on_plain_moto(inventory, tmp_path) as world:
        plain = world.run(REPLACE, relay="va-mx1", deadline="2m")
    with world_of(inventory) as world:
        ours = world.run(REPLACE, relay="va-mx1", deadline="2m")
    assert (plain.status, ours.status) == ("done", "undone")
    assert ours.reasons["out"] == "draining: va-mx1, for 2m of 2m; nothing was cut"
    assert ours.after == ours.before


@pytest.mark.parametrize("kind", SWITCHES)
def test_every_kind_of_switch_moves_and_comes_back(tmp_path: Path, kind: str) -> None:
    """What an inventory names is built, AWS with its real drivers, the rest as stand-ins; away and back is identity."""
    switch, runbook = SWITCHES[kind]
    (tmp_path / "inventory.yaml").write_text(INVENTORY.format(switch=switch))
    (tmp_path / "runbook.yaml").write_text(runbook)
    with open_world(tmp_path / "inventory.yaml") as world:
        ran = world.run(tmp_path / "runbook.yaml")
        moved = [entry for entry in ran.entries if entry.kind == "outcome"]
        assert ran.status == "done", ran
        assert len(moved) == 2
        assert ran.after == ran.before == world.snapshot()


@pytest.mark.parametrize(("kind", "ttl"), [("dns", 1200), ("route53-weights", 600)])
def test_a_change_of_dns_takes_its_time(tmp_path: Path, kind: str, ttl: int) -> None:
    """Clients meet it when the TTL has run out: of a stand-in that of the inventory, of Route 53 what a test sets."""
    (tmp_path / "runbook.yaml").write_text(MOVE)
    switch = SWITCHES[kind][0] + (f", ttl: {ttl}s" if kind == "dns" else "")
    (tmp_path / "inventory.yaml").write_text(INVENTORY.format(switch=switch))
    with open_world(tmp_path / "inventory.yaml") as world:
        if kind != "dns":
            world.set_ttl("smtp", ttl)
        ran = world.run(tmp_path / "runbook.yaml")
    assert ran.status == "done", ran
    assert 2 * ttl <= ran.seconds < 2 * ttl + 300, "out and back"


def test_only_route_53_has_a_ttl_to_set(tmp_path: Path) -> None:
    """For another switch the remedy is said."""
    (tmp_path / "inventory.yaml").write_text(INVENTORY.format(switch=SWITCHES["dns"][0]))
    with open_world(tmp_path / "inventory.yaml") as world, pytest.raises(UnfitError, match="write 'ttl' into"):
        world.set_ttl("smtp", 300)


def test_a_broken_site_takes_no_traffic(tmp_path: Path) -> None:
    """Where the other site answers no probe, a check stands in the way and nothing moves."""
    (tmp_path / "inventory.yaml").write_text(INVENTORY.format(switch=SWITCHES["route53-weights"][0]))
    (tmp_path / "runbook.yaml").write_text(
        MOVE.replace(
            "steps:\n",
            "checks: {there: {probe: smtp, at: {pool: smtp, site: iad}, over: 10s, expect: {success_rate: '>= 99%'}}}\n"
            "steps:\n  - {id: look, do: verify, checks: [there]}\n",
        )
    )
    with open_world(tmp_path / "inventory.yaml") as world:
        world.mail.broken.add("iad")
        ran = world.run(tmp_path / "runbook.yaml")
    assert ran.steps["look"] == "refused"
    assert ran.steps["shift"] == "pending"
    assert ran.after == ran.before


def test_a_plan_that_refuses_itself_is_refused(tmp_path: Path) -> None:
    """A world has no way round the plan's own rules."""
    text = INVENTORY.format(switch=SWITCHES["route53-weights"][0]).replace("demand: 100/s", "demand: 500/s")
    (tmp_path / "inventory.yaml").write_text(text)
    guarded = MOVE.replace("steps:\n", "guards: [{headroom: {pool: smtp, at_least: 1.3}}]\nsteps:\n")
    (tmp_path / "runbook.yaml").write_text(guarded)
    with open_world(tmp_path / "inventory.yaml") as world, pytest.raises(PlanRefusedError, match="headroom"):
        world.run(tmp_path / "runbook.yaml")


def test_the_same_seed_makes_the_same_run() -> None:
    """Times and outcomes are those of the world's clock, whatever the machine does meanwhile."""

    def once() -> list[tuple[float, str, str, str]]:
        with open_world(EXAMPLE / "inventory.yaml", seed=3) as world:
            ran = world.run(REPLACE, relay="va-mx2")
        return [
            (entry.at, entry.kind, entry.step, str(entry.data.get("status", "")))
            for entry in ran.entries
            if entry.kind in {"run", "step", "outcome"}
        ]

    assert once() == once()


def test_a_wrong_inventory_opens_no_world(tmp_path: Path) -> None:
    """It is explained as everywhere, and the next world can be opened."""
    (tmp_path / "inventory.yaml").write_text("sites: {}\n")
    with pytest.raises(InputError), open_world(tmp_path / "inventory.yaml"):
        pass
    with open_world(EXAMPLE / "inventory.yaml") as world:
        assert set(world.snapshot()) == {"smtp", "smtp-virginia"}
