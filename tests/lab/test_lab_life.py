"""A lab comes up, goes down, and leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import RefusedError
from orchestrator.lab.addresses import folders, lab_addresses
from orchestrator.lab.client import Lab
from orchestrator.lab.layout import HOSTS
from orchestrator.lab.processes import wait_until

pytestmark = pytest.mark.lab

UP_AT_MOST = 20.0
"""Seconds: 3 to 4 on an idle machine of two cores."""
DOWN_AT_MOST = 5.0


def processes_of(groups: set[int]) -> list[str]:
    """The commands that run in these process groups."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split() if folder.name.isdigit() else []
            if fields and int(fields[2]) in groups and fields[0] not in "ZX":
                found.append((folder / "comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def groups_of(lab: Lab) -> set[int]:
    """The process groups of a running lab, the supervisor's too."""
    status = lab.status()
    return {status.supervisor, *status.pids.values()}


def runtime_of(lab: Lab) -> Path:
    """The folder that its parts run in."""
    return folders(lab.name).runtime


def test_up_and_down(start_lab: Callable[..., Lab]) -> None:
    """A lab is up in seconds with every host answering, and down in fewer, with no process and no file left."""
    began = time.monotonic()
    lab = start_lab()
    took_up = time.monotonic() - began
    status, groups, runtime = lab.status(), groups_of(lab), runtime_of(lab)
    assert all(host.up for host in status.hosts.values())
    assert {"haproxy", "master", "smtpd", "qmgr"} <= set(processes_of(groups))
    assert lab_addresses() == lab.addresses()
    began = time.monotonic()
    lab.down()
    took_down = time.monotonic() - began
    assert processes_of(groups) == []
    assert not runtime.exists()
    assert took_up < UP_AT_MOST
    assert took_down < DOWN_AT_MOST
    with pytest.raises(RefusedError, match="no lab test is running"):
        lab_addresses()


def test_a_killed_supervisor_leaves_nothing_running(start_lab: Callable[..., Lab]) -> None:
    """After SIGKILL no part survives, Postfix's own children included; and the next lab starts on its remains."""
    lab = start_lab(profile="hot")
    groups = groups_of(lab)
    os.kill(lab.status().supervisor, signal.SIGKILL)
    assert wait_until(lambda: processes_of(groups) == [], 3.0), processes_of(groups)
    with pytest.raises(RefusedError, match="no lab test is running"):
        lab_addresses()
    assert runtime_of(lab).exists(), "nobody was left to remove it"
    again = start_lab()
    assert set(again.status().hosts) == set(HOSTS)
    again.down()
    assert not runtime_of(again).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_start_that_is_broken_off_leaves_nothing(number: signal.Signals, state: Path) -> None:
    """Ctrl-C, SIGTERM or SIGKILL while the lab starts takes along what had been started."""
    command = [sys.executable, "-m", "orchestrator", "lab", "up"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as up:
        assert up.stderr is not None
        next(line for line in up.stderr if "starting" in line)
        time.sleep(0.3)  # into the middle of it
        up.send_signal(number)
        up.wait(10)
    place = folders("test")
    assert wait_until(lambda: not place.running(), 5.0)
    assert wait_until(lambda: not mentioned(str(place.runtime)), 3.0), mentioned(str(place.runtime))
    assert not place.runtime.exists()


def mentioned(text: str) -> list[str]:
    """The command lines that name ``text``."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text in line:
            found.append(line)
    return found


def test_two_labs_side_by_side(start_lab: Callable[..., Lab]) -> None:
    """Labs of different names share nothing; a second one of the same name is refused and harms nothing."""
    one, two = start_lab("one", clients=5), start_lab("two", clients=5)
    with pytest.raises(RefusedError, match="it runs already"):
        start_lab("one")
    assert not set(one.addresses().values()) & set(two.addresses().values())
    one.down()
    assert two.status().pids
    assert wait_until(lambda: two.status().ledger.accepted > 0, 10.0)
    assert two.settle(20).clean
