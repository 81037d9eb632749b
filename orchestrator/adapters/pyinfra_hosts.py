"""An inventory as pyinfra 3 takes it, so that the same hosts need not be written down twice.

Two ways: a file (``failover inventory pyinfra``), or, with the files in ``FAILOVER_INVENTORY``, this module as it is::

    FAILOVER_INVENTORY=sites.yaml:hosts.yaml pyinfra orchestrator.adapters.pyinfra_hosts.hosts debug-inventory

pyinfra itself is not imported: it reads what we say. Source: pyinfra 3, "Inventory & Data", and its
``pyinfra_cli/inventory.py`` for the import path.
"""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from pprint import pformat
from typing import Final

from pydantic import JsonValue

from orchestrator.errors import InputError, Problem
from orchestrator.load.inventory import from_environment, load_inventory
from orchestrator.model.inventory import Host, Inventory
from orchestrator.model.ssh import parse_ssh

LOCAL: Final = "@local"
"""This machine. pyinfra has only one, so that all of our local hosts are this one."""

FILES: Final = "FAILOVER_INVENTORY"

Data = dict[str, JsonValue]
Entry = str | tuple[str, Data]
Groups = dict[str, tuple[list[Entry], Data]]
"""Hosts and data by the group's name, as a pyinfra inventory function returns them."""


def hosts() -> Groups:
    """The groups of the inventory whose files ``FAILOVER_INVENTORY`` names, parted by colons; for pyinfra to call.

    Only ``${env:NAME}`` is known in them.

    Raises:
        InputError: with every problem of every file.
    """
    names = os.environ.get(FILES, "")
    paths = [Path(name) for name in names.split(os.pathsep) if name]
    if not paths:
        raise InputError([Problem(f"cannot list the hosts: {FILES} is not set", f"export {FILES}=inventory.yaml")])
    return groups_of(load_inventory(paths, {"env": from_environment}))


def groups_of(inventory: Inventory) -> Groups:
    """``all`` with each host's data, then our groups, and ``site_…`` and ``pool_…`` for each site and pool.

    Where a host is in several groups with data, pyinfra lets the last one win: smaller groups come later.

    Raises:
        InputError: two groups would have one name, or local hosts contradict each other.
    """
    groups: Groups = {"all": (list(_entries(inventory)), {})}
    origins = {"all": "all of pyinfra's"}
    for origin, name, members, data in sorted(_named(inventory), key=lambda group: -len(group[2])):
        if name in groups:
            message = f"cannot hand the groups to pyinfra: {origins[name]} and {origin} would both be {name}"
            raise InputError([Problem(message, "rename one of them")])
        origins[name] = origin
        groups[name] = list(dict.fromkeys(_name(inventory, member) for member in members)), data
    return groups


def inventory_file(inventory: Inventory) -> str:
    """The text of a pyinfra inventory file.

    Raises:
        InputError: as ``groups_of``.
    """
    lines = ["# Made by 'failover inventory pyinfra': make it anew when the inventory changes."]
    for name, (entries, data) in groups_of(inventory).items():
        shown = pformat((entries, data) if data else entries, width=100, compact=True, sort_dicts=False)
        lines.append(f"{name} = {shown}")
    return "\n\n".join(lines) + "\n"


def _entries(inventory: Inventory) -> Iterator[Entry]:
    names = inventory.host_names()
    local = {name: inventory.host(name) for name in names if inventory.host(name).connect == "local"}
    if local:
        yield LOCAL, {**_shared(local), "failover_hosts": list(local)}
    for name in names:
        if name not in local:
            yield name, _data(inventory.host(name))


def _shared(local: Mapping[str, Host]) -> Data:
    """The data of all local hosts, of which pyinfra can have but one."""
    data: Data = {}
    said_by: dict[str, str] = {}
    for name, host in local.items():
        for key, value in host.data.items():
            if key in data and data[key] != value:
                message = (
                    f"cannot hand {said_by[key]} and {name} to pyinfra: both are this machine, and their {key!r} differ"
                )
                raise InputError([Problem(message, "pyinfra has one @local: give both the same data")])
            data[key] = value
            said_by.setdefault(key, name)
    return data


def _data(host: Host) -> Data:
    """Where ssh connects to, and what the inventory says for pyinfra, which has the last word."""
    if not host.ssh:
        return dict(host.data)
    to = parse_ssh(host.ssh)
    parts: Data = {"ssh_hostname": to.host, "ssh_user": to.user, "ssh_port": to.port}
    return {key: value for key, value in parts.items() if value is not None} | host.data


def _named(inventory: Inventory) -> Iterator[tuple[str, str, list[str], Data]]:
    """Every group: what it is here, its name there, its hosts and its data."""
    for name, group in inventory.groups.items():
        yield f"group {name!r}", _identifier(name), list(group.hosts), dict(group.data)
    for name in inventory.sites:
        yield f"site {name!r}", _identifier(f"site_{name}"), inventory.hosts_at(name), {}
    for name, pool in inventory.pools.items():
        members = [member for site in pool.sites.values() for member in site.members]
        yield f"pool {name!r}", _identifier(f"pool_{name}"), members, {}


def _identifier(name: str) -> str:
    """A name for a group there: a Python variable, which pyinfra overlooks when it begins with an underscore."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII)
    sound = plain.isidentifier() and not keyword.iskeyword(plain) and not plain.startswith("_")
    return plain if sound else f"group_{plain}"


def _name(inventory: Inventory, host: str) -> str:
    return LOCAL if inventory.host(host).connect == "local" else host
