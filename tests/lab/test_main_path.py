"""The main path: a runbook empties a site of real HAProxy and Postfix under live mail, and brings it back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.lab.addresses import lab_addresses
from orchestrator.lab.client import Lab
from orchestrator.lab.ledger import Ledger
from orchestrator.lab.processes import wait_until
from orchestrator.load.inventory import load_inventory
from orchestrator.wiring import RealOutside
from tests.lab.command import INVENTORY, PROJECT, QUICK, RUNBOOK, SLOW, Command, failover, maintenance

pytestmark = pytest.mark.lab

StartLab = Callable[..., Lab]
World = Mapping[str, object]


@pytest.fixture
def begin() -> Iterator[Callable[..., Command]]:
    """Starts commands that are ended with the test."""
    begun: list[Command] = []

    def start(*arguments: str) -> Command:
        begun.append(Command(*arguments))
        return begun[-1]

    yield start
    for command in begun:
        command.close()


def world(inventory: Path = INVENTORY) -> World:
    """What a run may change: every member's intake, and every gate."""
    outside = RealOutside(load_inventory([inventory], {"lab": lambda key: lab_addresses()[key]}), SystemClock())

    async def read() -> World:
        members = await outside.switch("smtp").read()
        gates = {host: (await outside.gate(host).read()).closed for host in outside.inventory.hosts}
        return {"members": {name: reading.intake for name, reading in members.items()}, "gates": gates}

    return asyncio.run(read())


def assert_nothing_lost(ledger: Ledger) -> None:
    """Every message that was accepted arrived once, and no transaction was cut."""
    assert ledger.accepted > 0
    counts = {"lost": ledger.lost, "duplicated": ledger.duplicated, "cut": ledger.transactions_cut}
    assert counts == {"lost": 0, "duplicated": 0, "cut": 0}


@pytest.mark.parametrize("profile", ["hot", "steady", "scan", "mixed", "postfix"])
def test_a_site_is_emptied_and_brought_back_under_live_mail(start_lab: StartLab, profile: str) -> None:
    """With every kind of client, nothing is lost, duplicated, cut or deferred, and the world is as before."""
    lab = start_lab(profile=profile, clients=50)
    before = world()
    ended = failover(*maintenance("--approve", "window", parameters=SLOW if profile == "scan" else QUICK))
    assert (ended.code, ended.record["status"]) == (0, "done"), ended.record.get("reason")
    assert {step["status"] for step in ended.record["steps"]} == {"done"}
    ledger = lab.settle()
    assert_nothing_lost(ledger)
    assert ledger.deferred == 0
    assert world() == before


def test_the_gate_as_a_table_drains_too(start_lab: StartLab, tmp_path: Path) -> None:
    """With the gate that sees no transactions the same runbook works, on silence alone."""
    lab = start_lab(profile="steady", clients=20, gate="postfix-map")
    inventory = PROJECT / "inventories" / "lab-map.yaml"
    before = world(inventory)
    ended = failover(*maintenance("--approve", "window", inventory=inventory))
    assert (ended.code, ended.record["status"]) == (0, "done"), ended.record.get("reason")
    assert_nothing_lost(lab.settle())
    assert world(inventory) == before


def test_a_target_that_dies_at_25_percent_is_undone(start_lab: StartLab, begin: Callable[..., Command]) -> None:
    """When a Postfix of the other site dies in the middle of the ramp, the run undoes itself: exit code 3."""
    lab = start_lab(profile="steady")
    before = world()
    run = begin(*maintenance("--approve", "window"))
    run.until("intent", "shift", waypoint="25%")
    lab.kill_host("iad-mx1")
    ended = run.end()
    assert (ended.code, ended.record["status"]) == (3, "undone"), ended.errors
    assert ended.step("shift")["status"] == "undone"
    assert ended.step("drain")["status"] == "pending"
    lab.revive_host("iad-mx1")
    assert world() == before
    ledger = lab.settle()
    assert (ledger.lost, ledger.duplicated) == (0, 0)  # what was open on the host that died was cut by its death


def test_an_alternate_that_hangs_2_percent_of_connections_is_refused(start_lab: StartLab) -> None:
    """A path that loses 2% of flows is found before anything moves: exit code 1, nothing touched."""
    lab = start_lab(profile="steady")
    lab.flow_loss("iad", 0.02)
    before = world()
    ended = failover(*maintenance("--approve", "window"))
    assert (ended.code, ended.record["status"]) == (1, "refused"), ended.record.get("reason")
    assert "escape-path" in ended.record["reason"]
    assert not [event for event in ended.events if event.get("event") == "intent"]
    assert world() == before


def test_a_killed_orchestrator_goes_on_where_it_was(start_lab: StartLab, begin: Callable[..., Command]) -> None:
    """After kill -9 in the middle of the ramp traffic stays where it is; resume finishes the same run."""
    lab = start_lab(profile="steady")
    before = world()
    run = begin(*maintenance("--approve", "window"))
    run.until("outcome", "shift")
    run.process.send_signal(signal.SIGKILL)
    killed = run.end()
    assert killed.code == -signal.SIGKILL
    name = killed.events[0]["run"]
    moved = world()
    time.sleep(0.5)
    assert world() == moved
    assert moved != before
    resumed = failover("resume", name, "--json")
    assert (resumed.code, resumed.record["status"]) == (0, "done"), resumed.record.get("reason")
    assert_nothing_lost(lab.settle())
    assert world() == before


def test_a_killed_orchestrator_is_undone_by_command(start_lab: StartLab, begin: Callable[..., Command]) -> None:
    """After kill -9 in the middle of the drain, undo brings the world back to what was recorded: exit code 0."""
    lab = start_lab(profile="mixed")
    before = world()
    run = begin(*maintenance("--approve", "window"))
    run.until("intent", "drain")
    run.process.send_signal(signal.SIGKILL)
    name = run.end().events[0]["run"]
    undone = failover("undo", name, "--json")
    assert (undone.code, undone.record["status"]) == (0, "undone"), undone.errors
    assert world() == before
    assert_nothing_lost(lab.settle())


def test_an_interrupted_run_is_resumable(start_lab: StartLab, begin: Callable[..., Command]) -> None:
    """SIGINT while the run is held ends it with exit code 5; approved meanwhile, resume goes on to the end."""
    start_lab(profile="steady")
    before = world()
    run = begin(*maintenance())
    run.until("step", "window", status="converging")
    run.process.send_signal(signal.SIGINT)
    held = run.end()
    assert (held.code, held.record["status"]) == (5, "interrupted"), held.errors
    name = held.record["run"]
    assert failover("approve", name, "window", "--note", "the provider is done").code == 0
    resumed = failover("resume", name, "--json")
    assert (resumed.code, resumed.record["status"]) == (0, "done"), resumed.record.get("reason")
    assert world() == before


def test_two_runs_never_share_a_pool(start_lab: StartLab, begin: Callable[..., Command]) -> None:
    """While a run has the pool, a second one is refused and told who has it."""
    start_lab(profile="steady")
    run = begin(*maintenance())
    run.until("step", "escape", status="gating")
    second = failover(*maintenance())
    assert second.code == 1
    assert f"process {run.process.pid}" in second.errors
    run.process.send_signal(signal.SIGTERM)
    assert run.end().code == 5


def refusal(*arguments: str) -> str:
    """What a command says that must be refused before anything is touched, on one line or a few."""
    ended = failover(*arguments)
    assert ended.code == 1
    assert "Traceback" not in ended.errors
    assert not ended.events
    return ended.errors


def test_bad_input_is_refused_with_one_clear_error(start_lab: StartLab, tmp_path: Path) -> None:
    """An unknown site, a missing socket, a dead HAProxy: each is one clear error, and nothing is touched."""
    lab = start_lab(profile="steady", clients=5)
    before = world()
    unknown = refusal(*maintenance(parameters=("-p", "site=orf", "-p", "to=iad")))
    assert "orf" in unknown
    assert "ord" in unknown
    text = INVENTORY.read_text().replace('"${lab:edge.socket}"', "/run/no-such-socket")
    elsewhere = tmp_path / "inventory.yaml"
    elsewhere.write_text(text)
    assert "/run/no-such-socket" in refusal(*maintenance(inventory=elsewhere))
    assert world() == before
    edge = lab.status().pids["edge"]
    os.kill(edge, signal.SIGTERM)
    assert wait_until(lambda: not Path(f"/proc/{edge}/exe").exists(), 5.0)
    assert "HAProxy" in refusal(*maintenance())


def test_a_postfix_without_the_gate_is_refused(start_lab: StartLab) -> None:
    """A host whose Postfix does not ask the gate is named, with the lines that its main.cf lacks."""
    start_lab(profile="steady", clients=5, gate="none")
    error = refusal(*maintenance())
    assert "ord-mx1" in error


def test_sessions_older_than_the_gate_are_refused(start_lab: StartLab) -> None:
    """Sessions that began before the gate cannot be told 421: the run is refused before anything is touched."""
    lab = start_lab(profile="steady")
    assert wait_until(lambda: lab.status().hosts["ord-mx1"].sessions > 0, 10.0)
    time.sleep(2.5)  # HAProxy tells a session's age in whole seconds
    gate = lab.status().pids["ord-mx1.gate"]
    command = Path(f"/proc/{gate}/cmdline").read_text().split("\0")[:-1]
    os.kill(gate, signal.SIGKILL)
    anew = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert anew.stderr is not None
        assert "serves" in anew.stderr.readline()
        before = world()
        assert "older than the gate" in refusal(*maintenance())
        assert world() == before
    finally:
        anew.terminate()
        anew.communicate()


def test_plan_and_lint_change_nothing(start_lab: StartLab) -> None:
    """A plan is the diff of what a run would do; it reads only."""
    start_lab(profile="steady", clients=5)
    before = world()
    planned = failover("plan", str(RUNBOOK), "-i", str(INVENTORY), *QUICK, "--json")
    assert planned.code == 0
    assert json.dumps(planned.events[0]).count("weight") >= 4
    assert world() == before
