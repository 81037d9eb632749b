"""The inventory as pyinfra takes it; that pyinfra does take it is shown with the real one, in tests/adapters."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.adapters.pyinfra_hosts import FILES, Groups, groups_of, hosts, inventory_file
from orchestrator.errors import InputError
from orchestrator.model.inventory import Inventory

POOL = {
    "protocol": "smtp",
    "address": "192.0.2.1:25",
    "switch": {"driver": "haproxy", "socket": "/run/haproxy.sock", "backend": "smtp"},
    "test_mail": {"sender": "p@lab.example", "recipient": "p@lab.example"},
    "sites": {
        "ord": {"members": ["mx1", "mx2"], "capacity": "10 sessions", "address": "192.0.2.2:25"},
        "iad": {"members": ["mx3"], "capacity": "10 sessions", "address": "192.0.2.3:25"},
    },
}


def inventory_of(**sections: object) -> Inventory:
    """Two sites, one pool, and what the test says."""
    return Inventory.model_validate({"sites": {"ord": {}, "iad": {}}, "pools": {"smtp": POOL}, **sections})


def names(groups: Groups) -> dict[str, list[object]]:
    """The groups without data."""
    return {name: list(entries) for name, (entries, _) in groups.items()}


def test_a_host_says_how_ssh_gets_there_and_its_own_data() -> None:
    """Parts of the address that are not written are left to ssh_config(5); the data has the last word."""
    described = {
        "mx1": {"ssh": "root@10.0.0.5:2222", "data": {"role": "relay", "ssh_user": "deploy"}},
        "mx2": {"ssh": "[2001:db8::1]:22"},
        "spare": {"data": {"role": "spare"}},
    }
    entries, data = groups_of(inventory_of(hosts=described))["all"]
    assert entries == [
        ("mx1", {"ssh_hostname": "10.0.0.5", "ssh_user": "deploy", "ssh_port": 2222, "role": "relay"}),
        ("mx2", {"ssh_hostname": "2001:db8::1", "ssh_port": 22}),
        ("mx3", {}),
        ("spare", {"role": "spare"}),
    ]
    assert data == {}


def test_sites_pools_and_groups_are_groups_there() -> None:
    """By names that a Python file can have; the larger come first, so that the data of the smaller win."""
    groups = {"only-mx3": {"hosts": ["mx3"], "data": {"tier": 2}}, "3": {"hosts": ["mx1", "mx2", "mx3"]}}
    assert names(groups_of(inventory_of(groups=groups))) == {
        "all": [("mx1", {}), ("mx2", {}), ("mx3", {})],
        "group_3": ["mx1", "mx2", "mx3"],
        "pool_smtp": ["mx1", "mx2", "mx3"],
        "site_ord": ["mx1", "mx2"],
        "only_mx3": ["mx3"],
        "site_iad": ["mx3"],
    }
    assert groups_of(inventory_of(groups=groups))["only_mx3"][1] == {"tier": 2}


@pytest.mark.parametrize(("name", "there"), [("class", "group_class"), ("_x", "group__x"), ("é", "group__")])
def test_a_name_that_python_or_pyinfra_would_not_see_gets_another(name: str, there: str) -> None:
    """Keywords, what begins with an underscore, and other letters."""
    assert there in groups_of(inventory_of(groups={name: {"hosts": ["mx1"]}}))


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("a-b", "a_b", "group 'a-b' and group 'a_b' would both be a_b"),
        ("site-ord", "x", "group 'site-ord' and site 'ord' would both be site_ord"),
        ("all", "x", "all of pyinfra's and group 'all' would both be all"),
    ],
)
def test_two_groups_of_one_name_are_refused(name: str, other: str, message: str) -> None:
    """One would hide the other's hosts."""
    groups = {name: {"hosts": ["mx1", "mx2"]}, other: {"hosts": ["mx3"]}}
    with pytest.raises(InputError, match=message):
        groups_of(inventory_of(groups=groups))


def test_all_local_hosts_are_the_one_that_pyinfra_has() -> None:
    """It has what any of them has, and the groups of all; which they are is in its data."""
    described = {
        "mx1": {"connect": "local", "data": {"a": 1}},
        "mx2": {"connect": "local", "data": {"a": 1, "b": [None, True]}},
    }
    groups = groups_of(inventory_of(hosts=described))
    assert groups["all"][0][0] == ("@local", {"a": 1, "b": [None, True], "failover_hosts": ["mx1", "mx2"]})
    assert names(groups)["site_ord"] == ["@local"]
    assert names(groups)["pool_smtp"] == ["@local", "mx3"]


def test_local_hosts_that_contradict_each_other_are_refused() -> None:
    """One machine cannot have two values."""
    described = {"mx1": {"connect": "local", "data": {"a": 1}}, "mx2": {"connect": "local", "data": {"a": 2}}}
    with pytest.raises(InputError, match="cannot hand mx1 and mx2 to pyinfra: both are this machine") as caught:
        groups_of(inventory_of(hosts=described))
    assert caught.value.problems[0].remedy == "pyinfra has one @local: give both the same data"


def test_the_file_says_the_same_as_the_function() -> None:
    """It is Python, whatever stands in names and data."""
    nasty = {"quote": "'\"\\\n", "deep": {"list": [1, 2.5, None, False]}}
    inventory = inventory_of(
        hosts={"mx1": {"data": nasty}, "it's": {"connect": "local"}}, groups={"g": {"hosts": ["mx1"], "data": nasty}}
    )
    found: dict[str, object] = {}
    exec(inventory_file(inventory), found)  # as pyinfra does
    expected = {name: (entries, data) if data else entries for name, (entries, data) in groups_of(inventory).items()}
    assert {name: value for name, value in found.items() if not name.startswith("__")} == expected


def test_the_function_reads_the_files_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several are merged, as everywhere; without any the remedy is said."""
    monkeypatch.delenv(FILES, raising=False)
    with pytest.raises(InputError, match="FAILOVER_INVENTORY is not set"):
        hosts()
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(inventory_of().model_dump_json(by_alias=True, exclude={"hosts", "groups"}))
    second.write_text("hosts: {mx1: {data: {role: '${env:ROLE}'}}}")
    monkeypatch.setenv(FILES, f"{first}:{second}")
    monkeypatch.setenv("ROLE", "relay")
    assert hosts()["all"][0][0] == ("mx1", {"role": "relay"})
