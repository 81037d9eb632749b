"""Rules for steps that bring up capacity, or empty the nodes it runs on: what the inventory must say of them."""

from __future__ import annotations

from orchestrator.load.node import MappingNode, Name, Node, child, has, name_at, place_of
from orchestrator.load.problems import Problems, meant, quote
from orchestrator.model.inventory import Inventory, Pool


def check_growth(step: Node, what: str, problems: Problems) -> None:
    """A pool grows to so many, or by so many."""
    arguments = child(step, "with")
    if not isinstance(arguments, MappingNode):
        return
    to, add = has(arguments, "to"), has(arguments, "add")
    if to and add:
        message, remedy = f"cannot use {what}: it has both 'to' and 'add'", "keep 'to' for so many at least"
        problems.add(place_of(arguments, "add"), message, f"{remedy}, or 'add' for so many more")
    elif not to and not add:
        message = f"cannot use {what}: it has neither 'to' nor 'add'"
        problems.add(arguments.place, message, "write for example 'to: 6', or 'add: 2'")


def check_scaling(pool: str, part: Pool, site: Name, what: str, problems: Problems) -> None:
    """What makes the pool larger at the site is known; the site is one of the pool's."""
    if part.sites[site.text].scaling is None:
        message = f"cannot use {what}: nothing is known that would make pool {quote(pool)} larger at {quote(site.text)}"
        remedy = f"say in the inventory, under pools.{pool}.sites.{site.text}.scaling, what its scaling group is"
        problems.add(site.place, message, remedy)


def check_node(step: Node, what: str, inventory: Inventory, problems: Problems) -> None:
    """The host is there, and is a node."""
    host = name_at(step, "with", "host")
    if host is None:
        return
    known = inventory.host_names()
    if host.text not in known:
        message = f"cannot use {what}: there is no host {quote(host.text)}"
        problems.add(host.place, message, meant(host.text, known, "hosts"))
    elif inventory.host(host.text).node is None:
        message = f"cannot use {what}: host {quote(host.text)} is not known to be a node of a cluster"
        problems.add(host.place, message, f"say so in the inventory, under hosts.{host.text}.node")
