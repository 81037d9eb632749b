"""What a run has for itself while it works: all that it changes, each by the one name that the outside has for it.

Two inventories may call one thing by different names and reach it by different paths, which a lock must not tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.adapters.haproxy_socket import is_path
from orchestrator.adapters.kubeconfig import cluster_name
from orchestrator.model.access import KubernetesAccess
from orchestrator.model.capacity import AutoScaling, Scaling
from orchestrator.model.inventory import Inventory, PolicyGate, Pool
from orchestrator.model.runbook import (
    DrainStep,
    ManualStep,
    NodeDrainStep,
    Runbook,
    ScaleOutStep,
    ShiftStep,
    TakeOutStep,
)
from orchestrator.model.switch import (
    ArcRoutingSwitch,
    EnvoySwitch,
    HaproxySwitch,
    HttpRouteSwitch,
    Route53FailoverSwitch,
    Route53WeightsSwitch,
    ServiceSelectorSwitch,
)
from orchestrator.planning import steps_of


def targets_by_place(runbook: Runbook, inventory: Inventory) -> dict[str, str]:
    """All that a run changes, by what the outside knows it as: no two runs may touch the same."""
    return {
        **_pools_by_place(runbook, inventory),
        **_gates_by_place(runbook, inventory),
        **_machines_by_place(runbook, inventory),
    }


def _pools_by_place(runbook: Runbook, inventory: Inventory) -> dict[str, str]:
    """The pools that a runbook changes, or that people change by it, plans B too, by what their switch is."""
    steps = tuple(steps_of(runbook))
    pools = {step.with_.pool for step in steps if isinstance(step, ShiftStep | DrainStep | TakeOutStep)}
    if any(isinstance(step, ManualStep) for step in steps):  # what people change is what the runbook looks at
        pools |= {check.at.pool for check in runbook.checks.values()}
    return {
        f"pool at {place}": f"pool {pool}"
        for pool in sorted(pools)
        for place in _known_as(inventory.pools[pool], inventory)
    }


def _known_as(pool: Pool, inventory: Inventory) -> Iterator[str]:
    """What a pool's switch is, by whichever path and driver it is reached; of routing controls each is one."""
    switch = pool.switch
    match switch:
        case HaproxySwitch():
            yield f"{_place(switch.socket)}:{switch.backend}"
        case EnvoySwitch():
            yield f"envoy {Path(switch.endpoints).resolve()}:{switch.cluster}"
        case Route53WeightsSwitch() | Route53FailoverSwitch():
            yield f"route53 {switch.known_as}"
        case ArcRoutingSwitch():  # of a cluster's five endpoints an inventory may name some
            for site in pool.sites:
                yield from (f"arc-routing {switch.name_of(member)}" for member in pool.members(site))
        case HttpRouteSwitch() | ServiceSelectorSwitch():
            where = _cluster(switch.cluster, switch.site, inventory)
            yield f"{switch.driver} {where}:{switch.namespace}:{switch.name}"
        case _:
            yield f"{switch.driver} {switch.known_as}"


def _gates_by_place(runbook: Runbook, inventory: Inventory) -> dict[str, str]:
    """The hosts whose gates a runbook closes, plans B too: one host may serve several pools."""
    places = {}
    for step in steps_of(runbook):
        if not isinstance(step, DrainStep):
            continue
        site = step.with_.site
        names = inventory.pools[step.with_.pool].sites[site].members if site is not None else ()
        for name in (step.with_.host,) if step.with_.host is not None else names:
            host = inventory.hosts.get(name)
            if host is not None and host.gate is not None:
                gate = host.gate.control if isinstance(host.gate, PolicyGate) else host.gate.database
                where = _place(gate) if host.connect == "local" else f"{host.ssh or name}:{gate}"
                places[f"gate at {where}"] = f"host {name}"
    return places


def _machines_by_place(runbook: Runbook, inventory: Inventory) -> dict[str, str]:
    """The scaling groups and nodes that a runbook changes, plans B too: two inventories may know one of each."""
    places = {}
    for step in steps_of(runbook):
        if isinstance(step, ScaleOutStep):
            pool, site = step.with_.pool, step.with_.site
            scaling = inventory.pools[pool].sites[site].scaling
            if scaling is not None:
                places[f"capacity at {_scaled_as(scaling, site, inventory)}"] = f"capacity of {pool} at {site}"
        elif isinstance(step, NodeDrainStep):
            host = step.with_.host
            node = inventory.host(host).node
            if node is not None:
                where = _cluster(node.cluster, None, inventory)
                places[f"node at {where}:{node.name or host}"] = f"node {host}"
    return places


def _scaled_as(scaling: Scaling, site: str, inventory: Inventory) -> str:
    """A scaling group's one name: its region or cluster, and what it is called there, whichever account is used."""
    if isinstance(scaling, AutoScaling):
        return f"{inventory.aws_of(scaling.aws, site).region or ''}:{scaling.group}"
    return f"{_cluster(scaling.cluster, site, inventory)}:{scaling.namespace}:{scaling.name}"


def _cluster(own: KubernetesAccess | None, site: str | None, inventory: Inventory) -> str:
    return cluster_name(inventory.cluster_of(own, site))


def _place(socket: str) -> str:
    """A socket by its one name: a path without links, or host:port in lower case."""
    return str(Path(socket).resolve()) if is_path(socket) else socket.lower()
