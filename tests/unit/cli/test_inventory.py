"""``failover inventory``: what it prints, for people, machines and pyinfra."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .desk import Desk

INVENTORY = """
sites: {ord: {provider: rackspace}, iad: {}}
pools:
  smtp:
    protocol: smtp
    address: 192.0.2.1:25
    switch: {driver: haproxy, socket: /run/haproxy.sock, backend: smtp}
    test_mail: {sender: p@lab.example, recipient: p@lab.example, login: {user: probe, password: env:PROBE_PASSWORD}}
    sites:
      ord: {members: [relays], capacity: 150 sessions, address: "192.0.2.2:25"}
      iad: {members: [mx9], capacity: 90 sessions, address: "192.0.2.3:25"}
"""
HOSTS = """
hosts:
  mx1: {connect: local, queue: {driver: postfix}}
  mx2: {ssh: "root@192.0.2.5:2222", gate: {driver: postfix-map, database: /var/gate.sqlite}}
groups:
  relays: {hosts: [mx1, mx2], data: {tier: 1}}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """An inventory in two files."""
    first, second = tmp_path / "pools.yaml", tmp_path / "hosts.yaml"
    first.write_text(INVENTORY)
    second.write_text(HOSTS)
    return ("-i", str(first), "-i", str(second))


def test_show_says_what_all_files_make_together(
    desk: Desk, files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sites, pools with capacity and members, hosts, groups; and where the password is, not what it is."""
    monkeypatch.setenv("PROBE_PASSWORD", "opensesame-9")
    monkeypatch.setenv("COLUMNS", "120")
    shown = desk.failover("inventory", "show", *files)
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    assert ["ord", "rackspace", "smtp"] in lines
    assert ["ord", "150", "sessions", "192.0.2.2:25", "mx1", "mx2"] in lines
    assert ["mx1", "local", "-", "postfix", "relays"] in lines
    assert ["mx2", "ssh", "root@192.0.2.5:2222", "postfix-map", "-", "relays"] in lines
    assert ["mx9", "ssh", "-", "-", "-"] in lines
    assert ["relays", "mx1", "mx2", "tier=1"] in lines
    assert "login probe with env:PROBE_PASSWORD" in shown.stdout
    assert "opensesame" not in shown.stdout


def test_show_for_machines_is_the_inventory(desk: Desk, files: tuple[str, ...]) -> None:
    """One JSON document with groups expanded and secrets as references, as plans have it."""
    shown = desk.failover("inventory", "show", "--json", *files)
    found = json.loads(shown.stdout)
    assert found["pools"]["smtp"]["sites"]["ord"]["members"] == ["mx1", "mx2"]
    assert found["pools"]["smtp"]["test_mail"]["login"] == {"user": "probe", "password": "env:PROBE_PASSWORD"}
    assert found["groups"] == {"relays": {"hosts": ["mx1", "mx2"], "data": {"tier": 1}}}


def test_pyinfra_gets_a_file_of_its_own(desk: Desk, files: tuple[str, ...]) -> None:
    """Python on standard output, with nothing else."""
    made = desk.failover("inventory", "pyinfra", *files)
    found: dict[str, object] = {}
    exec(made.stdout, found)
    assert found["relays"] == (["@local", "mx2"], {"tier": 1})
    assert found["site_iad"] == ["mx9"]


@pytest.mark.parametrize("command", ["show", "pyinfra"])
def test_a_wrong_inventory_is_explained(desk: Desk, tmp_path: Path, command: str) -> None:
    """As by every command: exit code 1, each problem with its place."""
    (tmp_path / "wrong.yaml").write_text(INVENTORY.replace("env:PROBE_PASSWORD", "opensesame-9"))
    done = desk.failover("inventory", command, "-i", str(tmp_path / "wrong.yaml"))
    assert done.exit_code == 1
    assert "wrong.yaml:8:97: cannot read 'test_mail.login.password' of pool 'smtp'" in done.stderr
    assert "opensesame" not in done.output


def test_pyinfra_is_not_imported(files: tuple[str, ...]) -> None:
    """It takes most of a second to load, and patches sockets: our file is text."""
    call = "import sys; from orchestrator.cli.main import app; app(sys.argv[1:], standalone_mode=False)"
    code = f"{call}; print(*sorted(sys.modules), file=sys.stderr)"
    command = [sys.executable, "-c", code, "inventory", "pyinfra", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "orchestrator" in loaded
    assert not loaded & {"pyinfra", "pyinfra_cli", "gevent", "paramiko"}
