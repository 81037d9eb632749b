"""What a runbook needs to be allowed at AWS and in Kubernetes: the calls that its drivers make, and no more.

A pool that is only looked at, by a guard or a check, needs its switch's reads; a pool that is moved needs the writes
too, and so do scaling groups and nodes. Nothing is asked: what is known of each driver stands in ``iam`` and ``rbac``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.model.access import AwsAccess, KubernetesAccess
from orchestrator.model.capacity import AutoScaling
from orchestrator.model.check import BlastRadiusGuard, HeadroomGuard, ServingGuard, SessionsCheck
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import DrainStep, NodeDrainStep, Runbook, ScaleOutStep, ShiftStep, TakeOutStep
from orchestrator.planning.iam import AwsSwitch, Right, role_right, scaling_rights, switch_rights
from orchestrator.planning.order import steps_of
from orchestrator.planning.rbac import KubernetesSwitch, Rule, node_rules, scaling_rules, switch_rules

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom AWS is called; without a role the credentials that the profile, or else boto3's own chain, gives."""

    role: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class AwsPolicy:
    """What one identity must be allowed."""

    identity: Identity
    uses: tuple[str, ...]
    """What for, as ``the switch of pool smtp (elbv2-weights)``."""
    rights: tuple[Right, ...]


@dataclass(frozen=True, slots=True)
class ClusterRules:
    """What must be allowed in one cluster."""

    access: KubernetesAccess
    uses: tuple[str, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Permissions:
    """All that a runbook needs to be allowed."""

    runbook: str
    aws: tuple[AwsPolicy, ...] = ()
    kubernetes: tuple[ClusterRules, ...] = ()
    others: tuple[str, ...] = ()
    """What is used that neither AWS nor Kubernetes allows or denies, as ``the switch of pool smtp (haproxy)``."""


@dataclass(frozen=True, slots=True)
class _Use:
    """One thing outside that the runbook reads, and maybe changes."""

    words: str
    aws: AwsAccess | None = None
    rights: tuple[Right, ...] = ()
    cluster: KubernetesAccess | None = None
    rules: tuple[Rule, ...] = ()


def permissions(runbook: Runbook, inventory: Inventory) -> Permissions:
    """What planning and running this runbook, its undo included, needs to be allowed."""
    uses = list(_uses(runbook, inventory))
    return Permissions(
        runbook.runbook,
        tuple(_policies([(use.aws, use) for use in uses if use.aws is not None and use.rights])),
        tuple(_clusters([(use.cluster, use) for use in uses if use.cluster is not None and use.rules])),
        tuple(use.words for use in uses if not use.rights and not use.rules),
    )


def _uses(runbook: Runbook, inventory: Inventory) -> Iterator[_Use]:
    moved = set(_moved(runbook))
    for pool in dict.fromkeys([*_moved(runbook), *_looked_at(runbook)]):
        yield _switch(inventory, pool, writes=pool in moved)
    steps = list(steps_of(runbook))
    yield from (
        _scaling(inventory, *place)
        for place in dict.fromkeys((it.with_.pool, it.with_.site) for it in steps if isinstance(it, ScaleOutStep))
    )
    yield from (
        _node(inventory, host) for host in dict.fromkeys(it.with_.host for it in steps if isinstance(it, NodeDrainStep))
    )


def _moved(runbook: Runbook) -> list[str]:
    """The pools whose switch a step writes to."""
    return [step.with_.pool for step in steps_of(runbook) if isinstance(step, ShiftStep | DrainStep | TakeOutStep)]


def _looked_at(runbook: Runbook) -> Iterator[str]:
    """The pools whose switch a guard or a check reads."""
    for guard in runbook.guards:
        if isinstance(guard, HeadroomGuard):
            yield guard.headroom.pool
        elif isinstance(guard, ServingGuard):
            yield guard.serving.pool
        elif isinstance(guard, BlastRadiusGuard):
            yield guard.blast_radius.pool
    yield from (check.at.pool for check in runbook.checks.values() if isinstance(check, SessionsCheck))


def _switch(inventory: Inventory, name: str, *, writes: bool) -> _Use:
    pool = inventory.pools[name]
    switch = pool.switch
    words = f"the switch of pool {name} ({switch.driver}{'' if writes else ', only read'})"
    if isinstance(switch, AwsSwitch):
        access = inventory.aws_of(switch.aws, switch.site)
        members = [member for site in pool.sites.values() for member in site.members]
        rights = switch_rights(switch, members, access.region)
        return _Use(words, access, tuple(right for right in rights if writes or not right.writes))
    if isinstance(switch, KubernetesSwitch):
        rules = tuple(rule for rule in switch_rules(switch) if writes or not rule.writes)
        return _Use(words, cluster=inventory.cluster_of(switch.cluster, switch.site), rules=rules)
    return _Use(words)


def _scaling(inventory: Inventory, pool: str, site: str) -> _Use:
    scaling = inventory.pools[pool].sites[site].scaling
    if scaling is None:
        return _Use(f"the capacity of pool {pool} at {site}, of which the inventory says nothing")
    words = f"the capacity of pool {pool} at {site} ({scaling.driver})"
    if isinstance(scaling, AutoScaling):
        access = inventory.aws_of(scaling.aws, site)
        return _Use(words, access, scaling_rights(scaling, access.region))
    return _Use(words, cluster=inventory.cluster_of(scaling.cluster, site), rules=scaling_rules(scaling))


def _node(inventory: Inventory, host: str) -> _Use:
    node = inventory.host(host).node
    if node is None:
        return _Use(f"the node {host}, of which the inventory says nothing")
    words = f"the node {host} ({node.driver})"
    return _Use(words, cluster=inventory.cluster_of(node.cluster, None), rules=node_rules(node.name or host))


def _policies(uses: Sequence[tuple[AwsAccess, _Use]]) -> Iterator[AwsPolicy]:
    """One policy for each identity: those that roles are assumed from come first."""
    starting: dict[Identity, dict[str, Right]] = {}
    found: dict[Identity, list[_Use]] = {}
    for access, use in uses:
        found.setdefault(
            Identity(access.assume_role, access.profile if access.assume_role is None else None), []
        ).append(use)
        if access.assume_role is not None:
            right = role_right(access)
            starting.setdefault(Identity(profile=access.profile), {})[access.assume_role] = right
    for identity in dict.fromkeys([*starting, *found]):
        own = found.get(identity, [])
        roles = starting.get(identity, {})
        words = [*(f"working as {role}" for role in roles), *(use.words for use in own)]
        rights = [*roles.values(), *(right for use in own for right in use.rights)]
        yield AwsPolicy(identity, tuple(words), _merged(rights))


def _merged(rights: Sequence[Right]) -> tuple[Right, ...]:
    """As few statements as say the same: the actions of equal resources, then the resources of equal actions."""

    def rest(right: Right) -> tuple[Hashable, ...]:
        service = right.actions[0].partition(":")[0]
        return service, right.writes, right.why, json.dumps(right.condition, sort_keys=True)

    by_resources = _joined(
        rights,
        lambda it: (it.resources, *rest(it)),
        lambda one, other: replace(one, actions=_union(one.actions, other.actions)),
    )
    by_actions = _joined(
        by_resources,
        lambda it: (frozenset(it.actions), *rest(it)),
        lambda one, other: replace(one, resources=_union(one.resources, other.resources)),
    )
    return tuple(sorted(by_actions, key=lambda right: right.writes))


def _clusters(uses: Sequence[tuple[KubernetesAccess, _Use]]) -> Iterator[ClusterRules]:
    found: dict[KubernetesAccess, list[_Use]] = {}
    for access, use in uses:
        found.setdefault(access, []).append(use)
    for access, own in found.items():
        rules = _joined(
            [rule for use in own for rule in use.rules],
            lambda it: (it.namespace, it.group, it.resource, it.names, it.why),
            lambda one, other: replace(one, verbs=_union(one.verbs, other.verbs)),
        )
        yield ClusterRules(access, tuple(use.words for use in own), tuple(rules))


def _joined(items: Iterable[T], key: Callable[[T], Hashable], join: Callable[[T, T], T]) -> list[T]:
    found: dict[Hashable, T] = {}
    for item in items:
        place = key(item)
        found[place] = join(found[place], item) if place in found else item
    return list(found.values())


def _union(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*one, *other]))
