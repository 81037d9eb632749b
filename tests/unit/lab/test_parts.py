"""The configuration of HAProxy and Postfix, and the addresses that inventories take from it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters import postfix_config, postfix_map
from orchestrator.lab import postfix_instance
from orchestrator.lab.addresses import folders
from orchestrator.lab.certificates import Certificates
from orchestrator.lab.haproxy_config import Edge
from orchestrator.lab.layout import HOSTS, SITES
from orchestrator.lab.parts import LabPlan, Parts
from orchestrator.lab.postfix_instance import PostfixInstance
from orchestrator.load.inventory import load_inventory

INVENTORIES = Path(__file__).parents[3] / "inventories"
EDGE = Edge(
    folder=Path("/run/x/edge"),
    smtp=1025,
    paths={site: 2000 + number for number, site in enumerate(SITES)},
    hosts={host: 3000 + number for number, host in enumerate(HOSTS)},
    blackhole=9,
)
HOST = PostfixInstance(
    name="ord-mx1", folder=Path("/run/x/ord-mx1"), port=3000, next_hop=4000, gate="postfix-policy", gate_port=5000
)


def section(name: str) -> list[str]:
    """The lines of one section of the edge's configuration."""
    text = EDGE.render().partition(f"\n{name}\n")[2]
    return [line.strip() for line in text.partition("\n\n")[0].splitlines()]


def test_the_spare_takes_no_traffic() -> None:
    """In the pool's backend every host is a server of its own name; only those of the spare weigh nothing."""
    weights = dict(re.findall(r"server (\S+) .* weight (\d+)", "\n".join(section("backend smtp"))))
    assert weights == {host: "0" if host.startswith("dfw") else "100" for host in HOSTS}


def test_a_path_leads_to_all_of_one_site_and_hides_nothing() -> None:
    """A probe on a site's path meets each of its hosts: no health check and no second try stand between."""
    lines = section("backend path-iad")
    assert [line.split()[1] for line in lines if line.startswith("server")] == ["iad-mx1", "iad-mx2"]
    assert not [line for line in lines if "check" in line or "redispatch" in line]
    assert all(line.endswith("send-proxy") for line in lines if line.startswith("server"))


def test_half_closed_sessions_do_not_linger() -> None:
    """A session whose one end is gone ends within seconds, else a drain waits for it."""
    assert {"timeout client-fin 2s", "timeout server-fin 2s"} <= set(section("defaults"))


def test_the_policy_gate_is_set_up_as_its_driver_demands() -> None:
    """What the lab writes into main.cf is what 'failover gate config' prints: it fails open, and comes first."""
    settings = HOST.main_settings()
    for name, value in postfix_config.policy_lines("inet:127.0.0.1:5000").items():
        assert settings[name] == value


def test_the_scanner_comes_after_the_gate() -> None:
    """At the end of the data the gate is told before the scanner takes its time."""
    settings = replace(HOST, scan_port=6000).main_settings()
    gate, scanner = re.findall(r"inet:127.0.0.1:(\d+)", settings["smtpd_end_of_data_restrictions"])
    assert (gate, scanner) == ("5000", "6000")


def test_the_table_gate_is_set_up_as_its_driver_demands() -> None:
    """The lab's table, its schema and its restriction are those of the driver."""
    host = replace(HOST, gate="postfix-map")
    table = str(host.gate_database.with_suffix(".cf"))
    for name, value in postfix_config.map_lines(table).items():
        assert host.main_settings()[name] == value
    assert (postfix_instance.GATE_SCHEMA, postfix_instance.GATE_QUERY) == (postfix_map.SCHEMA, postfix_map.QUERY)


def test_without_a_gate_postfix_asks_nobody() -> None:
    """The gate 'none' leaves both restriction lists empty."""
    settings = replace(HOST, gate="none").main_settings()
    assert settings["smtpd_sender_restrictions"] == settings["smtpd_end_of_data_restrictions"] == ""


def test_only_hosts_behind_the_edge_expect_its_header() -> None:
    """The PROXY protocol is demanded of the edge, and of nobody else."""
    assert HOST.main_settings()["smtpd_upstream_proxy_protocol"] == "haproxy"
    assert "smtpd_upstream_proxy_protocol" not in replace(HOST, behind_edge=False).main_settings()


@pytest.mark.parametrize("name", ["lab.yaml", "lab-map.yaml"])
def test_the_shipped_inventories_fit_the_lab(name: str, tmp_path: Path) -> None:
    """Each reference is an address that a lab has, and all its sites and hosts are named."""
    hosts = {host: replace(HOST, name=host, folder=tmp_path / host) for host in HOSTS}
    certificates = Certificates(ca=tmp_path / "ca.pem", chain=tmp_path / "chain.pem")
    parts = Parts(LabPlan(name="x"), folders("x", tmp_path), EDGE, certificates, hosts, sink=1, scanner=2)
    addresses = parts.addresses()
    inventory = load_inventory([INVENTORIES / name], {"lab": addresses.__getitem__})
    assert set(inventory.hosts) == set(HOSTS)
    assert {site: part.address for site, part in inventory.pools["smtp"].sites.items()} == {
        site: f"127.0.0.1:{port}" for site, port in EDGE.paths.items()
    }
