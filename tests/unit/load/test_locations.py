"""Where things stand: networks of sites, and the sites of switches and of failover itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.inventory import load_inventory
from orchestrator.load.locations import Locations

INVENTORY = """sites:
  ord: {networks: [10.0.0.0/8, "2001:db8::/32", 192.0.2.7]}
  iad: {networks: [10.1.0.0/16]}
pools:
  smtp:
    protocol: smtp
    address: 192.0.2.1:25
    switch: {driver: haproxy, socket: /run/haproxy.sock, backend: smtp, site: ord}
    test_mail: {sender: a, recipient: b}
    sites:
      ord: {members: [mx1], capacity: 1 sessions, address: "192.0.2.2:25"}
control: {site: iad}
"""


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("10.2.0.1:25", "ord"),
        ("10.1.0.1:25", "iad"),
        ("10.1.0.1", "iad"),
        ("[2001:db8::1]:25", "ord"),
        ("2001:db8::1", "ord"),
        ("192.0.2.7:25", "ord"),
        ("192.0.2.8:25", None),
        ("[2001:db9::1]:25", None),
        ("mx.example.org:25", None),
        ("/run/haproxy.sock", None),
        ("", None),
    ],
)
def test_the_narrowest_network_has_an_address(file: Callable[..., Path], address: str, site: str | None) -> None:
    """An address, with or without a port, stands where the narrowest network is that it lies in; a name nowhere."""
    standing = Locations(load_inventory([file(INVENTORY)], {})).of(address)
    assert (standing.site if standing else None) == site


@pytest.mark.parametrize(
    ("written", "instead", "problem"),
    [
        (
            "10.1.0.0/16",
            "10.1.0.0/33",
            (
                ":3:20: cannot read 'networks' of site 'iad': '10.1.0.0/33' is no network — "
                "write for example 10.1.0.0/16 or 2001:db8:1::/48"
            ),
        ),
        (
            "10.1.0.0/16",
            "10.1.2.3/16",
            ":3:20: cannot read 'networks' of site 'iad': '10.1.2.3/16' is an address in a network — write 10.1.0.0/16",
        ),
        (
            "10.1.0.0/16",
            "10.0.0.0/8",
            (
                ":3:20: cannot place '10.0.0.0/8' at site 'iad': it is at 'ord' already — "
                "an address stands at one site: name the parts of the network"
            ),
        ),
        (
            "backend: smtp, site: ord",
            "backend: smtp, site: orf",
            ":8:79: cannot place the switch of pool 'smtp' at 'orf': there is no such site — did you mean 'ord'?",
        ),
        (
            "{site: iad}",
            "{site: moon}",
            ":12:17: cannot place failover itself at 'moon': there is no such site — there are these sites: ord, iad",
        ),
    ],
)
def test_wrong_location(file: Callable[..., Path], written: str, instead: str, problem: str) -> None:
    """A network that is none, and a site that is not there, are problems at their places."""
    path = file(INVENTORY.replace(written, instead))
    with pytest.raises(InputError) as raised:
        load_inventory([path], {})
    assert [str(one).removeprefix(str(path)) for one in raised.value.problems] == [problem]
