"""The runbooks that ship, on real HAProxy and Postfix under live mail: read, planned, reviewed as a file, and run.

``test_main_path`` runs provider-maintenance; rolling-host-reboot runs reboot-host twice.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.lab.addresses import lab_addresses
from orchestrator.lab.client import Lab
from orchestrator.lab.layout import HOSTS
from orchestrator.load.inventory import load_inventory
from orchestrator.wiring import RealOutside
from tests.lab.command import INVENTORY, PROJECT, Command, failover

pytestmark = pytest.mark.lab

World = Mapping[str, object]

CALLS: Mapping[str, Sequence[str]] = {
    "alternate-load-balancer": ("from=ord", "to=dfw", "share=20%", "watch=200ms"),
    "image-rollout": ("site=iad", "host=iad-mx1", "image=new", "previous=old", "keep=1s", "settle=3s"),
    "queued-maintenance": (),
    "region-evacuation": ("site=ord", "to=iad", "pace=urgent", "pause=200ms"),
    "rolling-host-reboot": ("site=ord", "first=ord-mx1", "second=ord-mx2", "kernel=6.1", "between=1s", "settle=3s"),
}
AHEAD: Mapping[str, Sequence[str]] = {
    "image-rollout": ("launch", "swap", "retire"),
    "rolling-host-reboot": ("first.reboot", "second.reboot"),
}
"""What is approved before it begins: nothing stands still in the lab for a person who does nothing there."""

ELSEWHERE = {"provider-maintenance", "reboot-host"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all of them: each must leave it as it was."""
    folder = Path(tempfile.mkdtemp(prefix="failover-test-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAILOVER_STATE", str(folder))
        patch.setenv("FAILOVER_LAB", "library")
        with Lab.up(None, "steady", 20) as lab:
            yield lab
        shutil.rmtree(folder)


def options(name: str) -> list[str]:
    """The inventory and the parameters of a call."""
    return ["-i", str(INVENTORY), *(word for given in (*CALLS[name], "observe=1s") for word in ("-p", given))]


def world() -> World:
    """What a run may change: every member's intake, and every gate."""
    outside = RealOutside(load_inventory([INVENTORY], {"lab": lambda key: lab_addresses()[key]}), SystemClock())

    async def read() -> World:
        members = await outside.switch("smtp").read()
        gates = {host: (await outside.gate(host).read()).closed for host in outside.inventory.hosts}
        return {"members": {name: reading.intake for name, reading in members.items()}, "gates": gates}

    return asyncio.run(read())


def assert_nothing_lost(lab: Lab) -> None:
    """Every message that was accepted since the lab began has arrived once, and no transaction was cut."""
    ledger = lab.settle()
    assert ledger.accepted > 0
    counts = {"lost": ledger.lost, "duplicated": ledger.duplicated, "cut": ledger.transactions_cut}
    assert counts == {"lost": 0, "duplicated": 0, "cut": 0}
    assert ledger.in_flight == 0


def test_every_runbook_is_run() -> None:
    """A runbook that is added must be run on real parts, too."""
    assert {*CALLS, *ELSEWHERE} == {path.stem for path in (PROJECT / "runbooks").glob("*.yaml")}


def test_every_runbook_is_sound(lab: Lab) -> None:
    """The command line has nothing against any of them."""
    for name in CALLS:
        ended = failover("lint", str(PROJECT / "runbooks" / f"{name}.yaml"), *options(name))
        assert (ended.code, ended.errors) == (0, ""), name


@pytest.mark.parametrize("name", sorted(set(CALLS) - {"queued-maintenance"}))
def test_a_runbook_is_planned_and_run(lab: Lab, tmp_path: Path, name: str) -> None:
    """Its plan, saved and run as it was reviewed, is done; nothing is lost, and after an undo all is as before."""
    before, plan = world(), str(tmp_path / "plan.json")
    assert failover("plan", str(PROJECT / "runbooks" / f"{name}.yaml"), *options(name), "-o", plan).code == 0
    assert world() == before
    ended = failover("run", plan, *(word for step in AHEAD.get(name, ()) for word in ("--approve", step)), "--json")
    assert (ended.code, ended.record["status"]) == (0, "done"), ended.record.get("reason") or ended.errors
    if name == "region-evacuation":
        assert world() != before
        assert failover("undo", ended.record["run"], "--json").code == 0
    assert world() == before
    assert_nothing_lost(lab)


def test_an_alternate_that_loses_2_percent_is_found(lab: Lab) -> None:
    """A path that hangs one connection of fifty is found with probes alone, before any client is sent there."""
    before = world()
    lab.flow_loss("dfw", 0.02)
    try:
        name = "alternate-load-balancer"
        ended = failover("run", str(PROJECT / "runbooks" / f"{name}.yaml"), *options(name), "--json")
    finally:
        lab.flow_loss("dfw", 0.0)
    assert (ended.code, ended.record["status"]) == (1, "refused"), ended.record.get("reason")
    assert "path-is-whole failed" in ended.record["reason"]
    assert world() == before


def test_mail_is_queued_and_released_by_the_commands_of_the_runbook(lab: Lab) -> None:
    """A person who types what the run says stops all delivery, accepts all mail, and releases it: each arrives once."""
    before = world()
    runbook = str(PROJECT / "runbooks" / "queued-maintenance.yaml")
    run = Command("run", runbook, *options("queued-maintenance"), "--approve", "clear", "--json")
    asked = []
    try:
        for event in run.lines():
            said = str(event.get("data", {}).get("reason", ""))
            step, waits, what = said.partition(" waits for ")
            if event.get("event") != "run" or not waits:
                continue
            asked.append(step)
            do_as_told(what)
            if step == "work":
                assert_nothing_is_sent(lab)
            assert failover("approve", event["run"], step).code == 0
        ended = run.end()
    finally:
        run.close()
    assert (ended.code, ended.record["status"]) == (0, "done"), ended.record.get("reason") or ended.errors
    assert asked == ["defer", "work", "open.defer", "release"]
    assert world() == before
    assert_nothing_lost(lab)


def do_as_told(text: str) -> None:
    """Type each command of a task, one after the other."""
    for command in re.findall(r"`([^`]+)`", text):
        on_every_host(command)


def on_every_host(command: str) -> None:
    """Type a command on every host of the lab, on all at the same time."""
    shells = []
    for host in HOSTS:
        environment = {**os.environ, "MAIL_CONFIG": lab_addresses()[f"{host}.config"]}
        shells.append(
            subprocess.Popen(
                ["bash", "-c", command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    said = [(shell.communicate(timeout=60)[0], shell.returncode) for shell in shells]
    assert [code for _, code in said] == [0] * len(HOSTS), f"{command}: {said}"


def assert_nothing_is_sent(lab: Lab) -> None:
    """While messages are accepted none arrives; what was under way has a moment to get there."""
    time.sleep(0.5)
    then = lab.status().ledger
    time.sleep(2.0)
    now = lab.status().ledger
    assert now.delivered == then.delivered
    assert now.accepted > then.accepted
