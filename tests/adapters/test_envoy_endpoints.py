"""The file that Envoy reads endpoints from: read, changed by us and by hand, and kept from others. No Envoy is here."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.envoy_endpoints import Contents, EndpointsFile, parse_assignment, set_by_hand
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.traffic import Admin, Intake

MX1, MX6 = "192.0.2.1:25", "[2001:db8::1]:25"
STATES: list[tuple[int, Admin]] = [(100, "ready"), (7, "ready"), (0, "ready"), (100, "drain"), (0, "drain")]


def endpoint(address: str, port: int = 25, **fields: object) -> dict[str, Any]:
    """One endpoint as a person writes it."""
    return {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}, **fields}


def response(*endpoints: dict[str, Any], cluster: str = "smtp") -> dict[str, Any]:
    """A DiscoveryResponse."""
    return {"resources": [{"cluster_name": cluster, "endpoints": [{"lb_endpoints": list(endpoints)}]}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with an endpoint of either family."""
    path = tmp_path / "eds.json"
    path.write_text(json.dumps(response(endpoint("192.0.2.1", load_balancing_weight=100), endpoint("2001:db8::1"))))
    return path


def intakes(path: Path) -> dict[str, Intake]:
    """What stands in the file."""
    contents = EndpointsFile(str(path), "smtp").read()
    return {address: end.intake for address, end in contents.endpoints().items()}


def change(path: Path, changes: dict[str, Intake]) -> None:
    """As the driver does it."""
    file = EndpointsFile(str(path), "smtp")
    before = file.read()
    file.put(before.changed(changes), instead_of=before.data)


def test_reads_either_family(path: Path) -> None:
    """IPv4 and IPv6 endpoints are told by ip:port and [ip]:port; without a weight it is 1."""
    assert intakes(path) == {MX1: Intake(weight=100), MX6: Intake(weight=1)}


@pytest.mark.parametrize(("before", "after"), list(product(STATES, STATES)))
def test_every_state_leads_to_every_other(path: Path, before: tuple[int, Admin], after: tuple[int, Admin]) -> None:
    """Weight and admin state stand in the file independently, and what was there before does not show through."""
    for weight, admin in (before, after):
        change(path, {MX6: Intake(weight=weight, admin=admin)})
    assert intakes(path) == {MX1: Intake(weight=100), MX6: Intake(weight=after[0], admin=after[1])}


@pytest.mark.parametrize("address", [MX1, MX6])
def test_by_hand_is_the_same(path: Path, address: str) -> None:
    """The command for a person reads and writes the same as we do, a weight or an admin state alone too."""
    change(path, {address: Intake(weight=0, admin="drain")})
    wanted: list[tuple[dict[str, int | str], Intake]] = [
        ({"weight": 9}, Intake(weight=9, admin="drain")),
        ({"admin": "ready"}, Intake(weight=9)),
        ({"weight": 0}, Intake(weight=0)),
        ({"admin": "drain"}, Intake(weight=0, admin="drain")),
        ({"admin": "ready", "weight": 3}, Intake(weight=3)),
    ]
    for change_, then in wanted:
        subprocess.run(["sh", "-c", set_by_hand(str(path), "smtp", address, change_)], check=True, timeout=20)
        assert intakes(path)[address] == then


def test_by_hand_is_one_line_and_touches_nothing_unknown(path: Path) -> None:
    """A command is one line for the shell whatever the names are, and an endpoint that is not there is an error."""
    odd = path.with_name("it's $HOME.json")
    path.rename(odd)
    line = set_by_hand(str(odd), "smtp", "192.0.2.9:25", {"weight": 0})
    assert "\n" not in line
    before = odd.read_bytes()
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "there is no endpoint 192.0.2.9 25" in done.stderr
    assert odd.read_bytes() == before


def test_a_change_of_others_in_between_is_refused(path: Path) -> None:
    """What is not any more what was read is not overwritten, and nothing is left lying about."""
    file = EndpointsFile(str(path), "smtp")
    before = file.read()
    theirs = json.dumps(response(endpoint("192.0.2.1", load_balancing_weight=50)))
    path.write_text(theirs)
    with pytest.raises(RejectedError, match="somebody else has changed it meanwhile"):
        file.put(before.changed({MX1: Intake(weight=1)}), instead_of=before.data)
    assert path.read_text() == theirs
    assert [each.name for each in path.parent.iterdir()] == ["eds.json"]


def test_waits_for_the_lock_of_others_and_gives_up(path: Path) -> None:
    """While another orchestrator is at the file it is not changed."""

    async def scene() -> None:
        async with EndpointsFile(str(path), "smtp", lock_within=0.1).locked():
            raise AssertionError("it has the lock too")

    with Path(f"{path}.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RejectedError, match="somebody else is at it"):
            asyncio.run(scene())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("resources:\n- cluster_name: smtp\n", "YAML is not supported"),
        ("[]", "no list of resources"),
        ('{"resources": [{"clusterName": "smtp"}]}', "not clusterName"),
        (json.dumps(response(cluster="imap")), "these: imap"),
        (json.dumps(response(endpoint("192.0.2.1"), endpoint("192.0.2.1"))), "192.0.2.1:25 is there twice"),
    ],
)
def test_refuses_what_it_does_not_understand(path: Path, text: str, why: str) -> None:
    """A file of another kind is refused with the reason."""
    path.write_text(text)
    with pytest.raises(UnfitError, match=why):
        intakes(path)


def test_refuses_a_symbolic_link_and_a_missing_file(path: Path) -> None:
    """A link would be replaced by a file, which Envoy does not notice; a missing one is named."""
    link = path.with_name("link.json")
    link.symlink_to(path)
    with pytest.raises(UnfitError, match="symbolic link"):
        intakes(link)
    with pytest.raises(UnfitError, match="no such file"):
        intakes(path.with_name("none.json"))


def test_a_folder_that_cannot_be_written(path: Path) -> None:
    """Where no file can be put beside, it says so and what is needed."""
    gone = path.with_name("gone") / "eds.json"
    with pytest.raises(UnfitError, match="a new file is moved to its name"):
        EndpointsFile(str(gone), "smtp").put(b"{}", instead_of=b"")


def test_takes_no_notice_of_pipes() -> None:
    """Endpoints without an IP address are no members."""
    pipe = {"endpoint": {"address": {"pipe": {"path": "/run/x"}}}}
    assert parse_assignment({"endpoints": [{"lb_endpoints": [pipe]}]}) == {}


def test_text_outside_ascii_stays(path: Path) -> None:
    """Names in other scripts are written as they were."""
    path.write_text(json.dumps(response(endpoint("192.0.2.1", metadata={"filter_metadata": {"x": {"y": "Zürich"}}}))))
    contents = EndpointsFile(str(path), "smtp").read()
    assert "Zürich".encode() in contents.changed({MX1: Intake(weight=2)})


def test_the_version_goes_with_the_content(path: Path) -> None:
    """The same content has the same version, other content another."""
    data = path.read_bytes()
    contents = Contents(str(path), "smtp", data)
    versions = [json.loads(contents.changed({MX1: Intake(weight=weight)}))["version_info"] for weight in (1, 1, 2)]
    assert versions[0] == versions[1] != versions[2]
    assert os.fspath(path) == contents.path
