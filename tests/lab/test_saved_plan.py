"""A plan that waits in a file: what was reviewed is what runs, in the world that was reviewed."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.lab.addresses import lab_addresses
from orchestrator.lab.client import Lab
from orchestrator.lab.processes import wait_until
from orchestrator.lab.runtime_api import ask_edge
from tests.lab.command import INVENTORY, QUICK, RUNBOOK, Command, failover

from .conftest import StartLab

pytestmark = pytest.mark.lab

CALL = (str(RUNBOOK), "-i", str(INVENTORY), *QUICK)


def by_hand(*commands: str) -> None:
    """What an operator types at the load balancer's own socket."""
    for command in commands:
        assert ask_edge(Path(lab_addresses()["edge.socket"]), command).strip() == ""


def refused(*arguments: str) -> Sequence[str]:
    """The lines of a refusal; no run has begun."""
    ended = failover(*arguments, "--json")
    assert (ended.code, ended.events) == (1, [])
    assert failover("status", "--json").events == []
    return ended.errors.splitlines()


def begun(*arguments: str) -> Mapping[str, Any]:
    """The record of a run that is stopped once it has moved the first traffic."""
    command = Command(*arguments, "--json")
    try:
        command.until("outcome", "shift")
        command.process.send_signal(signal.SIGTERM)
        ended = command.end()
    finally:
        command.close()
    assert ended.code == 5, ended.errors
    return ended.record


def test_a_saved_plan_is_refused_when_the_world_has_moved(start_lab: StartLab, tmp_path: Path) -> None:
    """One weight changed by hand: exit code 1 and the one line that differs; changed back, the plan is good again."""
    start_lab(clients=5)
    plan = tmp_path / "plan.json"
    assert failover("plan", *CALL, "-o", str(plan)).code == 0
    by_hand("set server smtp/ord-mx1 weight 50")
    first, *differ, last = refused("run", str(plan))
    assert "the world has moved" in first
    assert differ == ["  pool smtp: ord-mx1: was weight 100, is weight 50"]
    assert "make a new plan" in last
    by_hand("set server smtp/ord-mx1 weight 100")
    assert begun("run", str(plan))["checksum"] == json.loads(plan.read_text())["checksum"]


def test_a_saved_plan_is_run_as_it_is(start_lab: StartLab, tmp_path: Path) -> None:
    """A file that somebody has changed is refused, and so are arguments that would make another plan of it."""
    start_lab(clients=5)
    plan = tmp_path / "plan.json"
    assert failover("plan", *CALL, "-o", str(plan)).code == 0
    (line,) = refused("run", str(plan), "-p", "site=iad")
    assert "cannot use -p with a saved plan" in line
    plan.write_text(plan.read_text().replace('"weight": 100', '"weight": 1', 1))
    (line,) = refused("run", str(plan))
    assert "it was changed after it was made" in line


def test_a_dangerous_plan_refuses_itself(start_lab: StartLab, state: Path, tmp_path: Path) -> None:
    """Too little capacity left is refused by name; set aside with a reason it runs, and the reason is journalled."""
    lab: Lab = start_lab(clients=10)
    assert wait_until(lambda: sum(host.sessions for host in lab.status().hosts.values()) == 10, 10.0)
    small = tmp_path / "inventory.yaml"
    small.write_text(INVENTORY.read_text().replace("capacity: 150 sessions", "capacity: 12 sessions"))
    call = (str(RUNBOOK), "-i", str(small), *QUICK)
    lines = refused("run", *call)
    assert "headroom of smtp is 1." in lines[1]
    assert lines[1].endswith("[headroom]")
    assert '--override headroom="' in lines[-1]
    run = begun("run", *call, "--override", "headroom=a quiet Sunday")
    assert run["overrides"] == {"headroom": "a quiet Sunday"}
    with SqliteJournal(state / "journal.sqlite") as journal:
        (entry,) = [entry for entry in journal.entries(run["run"]) if entry.kind == "override"]
    assert (entry.data["rule"], entry.data["reason"]) == ("headroom", "a quiet Sunday")
    assert "@" in str(entry.data["by"])
