"""The real pyinfra, in a process of its own, takes our hosts as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

INVENTORY = """
sites: {ord: {}}
pools:
  smtp:
    protocol: smtp
    address: 192.0.2.1:25
    switch: {driver: haproxy, socket: /run/haproxy.sock, backend: smtp}
    test_mail: {sender: p@lab.example, recipient: p@lab.example, login: {user: p, password: "env:PROBE_PASSWORD"}}
    sites:
      ord: {members: [relays], capacity: 100 sessions, address: "192.0.2.2:25"}
hosts:
  here: {connect: local, data: {role: relay, port: 25}}
  mx1: {ssh: "root@192.0.2.5:2222"}
groups:
  relays: {hosts: [here, mx1], data: {tier: 1}}
"""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """One program of this environment, to its end."""
    environment = {**os.environ, "FAILOVER_INVENTORY": str(folder / "inventory.yaml"), "NO_COLOR": "1"}
    program, *arguments = command
    return subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the inventory, and with the file that we make for pyinfra of it."""
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    made = run(tmp_path, "failover", "inventory", "pyinfra", "-i", "inventory.yaml")
    assert made.returncode == 0, made.stderr
    (tmp_path / "hosts.py").write_text(made.stdout)
    return tmp_path


@pytest.mark.lab
@pytest.mark.parametrize("way", ["hosts.py", "orchestrator.adapters.pyinfra_hosts.hosts"])
def test_pyinfra_sees_hosts_groups_and_data(folder: Path, way: str) -> None:
    """By the file, and by the path of our function."""
    done = run(folder, "pyinfra", "--json", way, "debug-inventory")
    assert done.returncode == 0, done.stderr
    found = {host["name"]: host for host in json.loads(done.stdout)}
    assert set(found) == {"@local", "mx1"}
    assert found["@local"]["data"] == {"tier": 1, "role": "relay", "port": 25, "failover_hosts": ["here"]}
    assert found["mx1"]["data"] == {"tier": 1, "ssh_hostname": "192.0.2.5", "ssh_user": "root", "ssh_port": 2222}
    for host in found.values():
        assert {"relays", "site_ord", "pool_smtp"} <= set(host["groups"])


@pytest.mark.lab
def test_pyinfra_works_on_a_local_host(folder: Path) -> None:
    """A command runs there; the group's name chooses the hosts, as its own groups do."""
    proof = folder / "proof"
    done = run(folder, "pyinfra", "-y", "hosts.py", "--limit", "@local", "exec", "--", "touch", str(proof))
    assert done.returncode == 0, done.stderr
    assert proof.exists()
    limited = run(folder, "pyinfra", "--json", "hosts.py", "--limit", "site_ord", "debug-inventory")
    assert limited.returncode == 0, limited.stderr
