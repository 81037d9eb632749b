"""Where things stand: the networks of sites, and the sites that an inventory names for what is not a pool's member."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from orchestrator.load.node import MappingNode, Name, Node, Pair, child, name_at, names_at
from orchestrator.load.problems import Problems, meant, quote
from orchestrator.model.inventory import Inventory

Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Standing:
    """The site that an address belongs to, and by which of its networks."""

    site: str
    network: Network


class Locations:
    """Finds the site of an address by the networks that the inventory states; the narrowest network counts."""

    def __init__(self, inventory: Inventory) -> None:
        networks = [
            Standing(name, ip_network(text, strict=False))
            for name, site in inventory.sites.items()
            for text in site.networks
        ]
        self._networks = sorted(networks, key=lambda standing: -standing.network.prefixlen)

    def of(self, address: str) -> Standing | None:
        """Where ``address`` (``host:port``, or a host) stands; None where that is not stated, or it is no IP address.

        Names are not looked up: nothing is contacted here.
        """
        found = _parsed(address) if self._networks else None
        if found is None:
            return None
        return next((standing for standing in self._networks if found in standing.network), None)


def check_locations(root: MappingNode, problems: Problems) -> None:
    """Report networks that are none or stand at two sites, and switches or a control at a site that is not there."""
    sites = child(root, "sites")
    if not isinstance(sites, MappingNode):
        return
    _check_networks(sites, problems)
    for pool in _pairs(child(root, "pools")):
        what = f"the switch of pool {quote(pool.key)}"
        _check_site(what, name_at(pool.value, "switch", "site"), sites, problems)
    _check_site("failover itself", name_at(root, "control", "site"), sites, problems)


def _check_networks(sites: MappingNode, problems: Problems) -> None:
    owners: dict[Network, str] = {}
    for site in sites.pairs:
        for name in names_at(site.value, "networks"):
            network = _network(name, site.key, problems)
            owner = owners.setdefault(network, site.key) if network is not None else site.key
            if owner != site.key:
                message = f"cannot place {quote(name.text)} at site {quote(site.key)}: it is at {quote(owner)} already"
                problems.add(name.place, message, "an address stands at one site: name the parts of the network")


def _network(name: Name, site: str, problems: Problems) -> Network | None:
    what = f"cannot read 'networks' of site {quote(site)}: {quote(name.text)}"
    try:
        network = ip_network(name.text, strict=False)
    except ValueError:
        problems.add(name.place, f"{what} is no network", "write for example 10.1.0.0/16 or 2001:db8:1::/48")
        return None
    if network.network_address != ip_address(name.text.partition("/")[0]):
        problems.add(name.place, f"{what} is an address in a network", f"write {network}")
        return None
    return network


def _check_site(what: str, name: Name | None, sites: MappingNode, problems: Problems) -> None:
    if name is not None and name.text not in sites.keys():  # noqa: SIM118 - a node, not a dict
        message = f"cannot place {what} at {quote(name.text)}: there is no such site"
        problems.add(name.place, message, meant(name.text, sites.keys(), "sites"))


def _pairs(node: Node | None) -> Iterator[Pair]:
    if isinstance(node, MappingNode):
        yield from node.pairs


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    for text in (address, address.rpartition(":")[0].strip("[]")):
        try:
            return ip_address(text)
        except ValueError:
            continue
    return None
