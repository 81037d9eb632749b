"""Where a lab keeps its things, and what is said when there is none."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from orchestrator.errors import RefusedError
from orchestrator.lab.addresses import default_name, folders, free_ports, lab_addresses, state_root
from orchestrator.lab.layout import HOSTS


def test_the_environment_chooses_lab_and_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """FAILOVER_LAB names the lab, FAILOVER_STATE the folder."""
    monkeypatch.setenv("FAILOVER_LAB", "second")
    monkeypatch.setenv("FAILOVER_STATE", str(tmp_path))
    assert folders(default_name()).state == tmp_path / "lab" / "second"


def test_without_a_word_it_is_the_default_lab_in_the_users_state_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The XDG state folder, below the program's name."""
    monkeypatch.delenv("FAILOVER_LAB", raising=False)
    monkeypatch.delenv("FAILOVER_STATE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert default_name() == "default"
    assert state_root() == Path("/xdg/failover/lab")


def test_names_of_unix_sockets_are_short_enough(tmp_path: Path) -> None:
    """A unix socket's name has 107 bytes; HAProxy adds some while it binds. A deep state folder does not matter."""
    place = folders("a" * 31, tmp_path / ("deep" * 40))
    longest = max((place.runtime / host / "gate" / "control.sock" for host in HOSTS), key=lambda path: len(str(path)))
    assert len(str(longest)) < 107 - len(".12345.tmp")


def test_labs_of_different_state_folders_are_apart(tmp_path: Path) -> None:
    """Two users' labs of one name share nothing."""
    assert folders("x", tmp_path / "a").runtime != folders("x", tmp_path / "b").runtime


@pytest.mark.parametrize("name", ["", "Lab", "../lab", "-x", "a" * 32, "a b"])
def test_a_name_that_is_no_folders_name_is_refused(name: str, tmp_path: Path) -> None:
    """A name becomes part of paths, so it may not leave them."""
    with pytest.raises(RefusedError, match="cannot call a lab"):
        folders(name, tmp_path)


def test_no_lab_is_said_with_its_remedy(tmp_path: Path) -> None:
    """Who refers to a lab that does not run hears how to start one."""
    with pytest.raises(RefusedError, match=r"^no lab is running — start one with: failover lab up$"):
        lab_addresses("default", tmp_path)


def test_addresses_of_a_dead_lab_are_not_believed(tmp_path: Path) -> None:
    """A file that a killed supervisor left behind is no lab: its lock is free."""
    place = folders("default", tmp_path)
    place.state.mkdir(parents=True)
    place.lock.touch()
    place.addresses.write_text(json.dumps({"edge.smtp": "127.0.0.1:1"}))
    with pytest.raises(RefusedError, match="no lab is running"):
        lab_addresses("default", tmp_path)


def test_addresses_of_a_running_lab(tmp_path: Path) -> None:
    """While its lock is held, a lab's addresses are what it wrote."""
    place = folders("default", tmp_path)
    place.state.mkdir(parents=True)
    place.addresses.write_text(json.dumps({"edge.smtp": "127.0.0.1:1"}))
    with place.lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert lab_addresses("default", tmp_path) == {"edge.smtp": "127.0.0.1:1"}


def test_ports_are_different_and_not_of_the_outgoing_range() -> None:
    """No port twice, and none that the kernel may give to an outgoing connection meanwhile."""
    found = free_ports(40)
    assert len(set(found)) == 40
    assert all(1024 < port < 32768 for port in found)
