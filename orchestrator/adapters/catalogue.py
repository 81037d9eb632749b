"""Which driver stands behind what an inventory says; each is imported when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Final, assert_never

from orchestrator.adapters.aws import Aws
from orchestrator.errors import UnfitError
from orchestrator.model.access import AwsAccess
from orchestrator.model.capacity import AutoScaling, DeploymentScale
from orchestrator.model.inventory import Inventory, Pool
from orchestrator.model.switch import (
    AnySwitch,
    ArcRoutingSwitch,
    ArcZonalShiftSwitch,
    DnsSwitch,
    Elbv2TargetsSwitch,
    Elbv2WeightsSwitch,
    EnvoySwitch,
    F5Switch,
    GlobalAcceleratorSwitch,
    HaproxySwitch,
    HttpRouteSwitch,
    Route53FailoverSwitch,
    Route53WeightsSwitch,
    ServiceSelectorSwitch,
)
from orchestrator.ports import Clock, Node, ScalingGroup, TrafficSwitch

_EXTRAS: Final = {"boto3": "aws", "kubernetes": "kubernetes", "dns": "dns", "httpx2": ""}
"""By the package that is missing: what of ours brings it; where that is empty, it is called as the driver."""


class Drivers:
    """Makes the drivers of one inventory; what several of them share, as a login, is made once."""

    def __init__(self, inventory: Inventory, clock: Clock) -> None:
        self._inventory = inventory
        self._clock = clock
        self._aws: Callable[[str], Aws] = cache(lambda access: Aws(AwsAccess.model_validate_json(access)))

    def switch(self, pool: str) -> TrafficSwitch:
        """The switch of a pool.

        Raises:
            UnfitError: what its driver needs is not installed.
        """
        it = self._inventory.pools[pool]
        with _installed(it.switch.driver, _package(it.switch)):
            return self._switch(it, [name for site in it.sites.values() for name in site.members])

    def scaling(self, pool: str, site: str) -> ScalingGroup:
        """What makes a pool larger at a site.

        Raises:
            UnfitError: the inventory gives it none, or what its driver needs is not installed.
        """
        scaling = self._inventory.pools[pool].sites[site].scaling
        if scaling is None:
            remedy = f"add pools.{pool}.sites.{site}.scaling"
            raise UnfitError(f"cannot scale pool {pool} at {site}: the inventory does not say by what", remedy=remedy)
        with _installed(scaling.driver, "boto3" if isinstance(scaling, AutoScaling) else "kubernetes"):
            match scaling:
                case AutoScaling():
                    from orchestrator.adapters.autoscaling import AutoScalingDriver

                    return AutoScalingDriver(scaling, self._aws_of(scaling.aws, site))
                case DeploymentScale():
                    from orchestrator.adapters.kubernetes import cluster
                    from orchestrator.adapters.kubernetes_scale import DeploymentDriver

                    return DeploymentDriver(scaling, cluster(self._inventory.cluster_of(scaling.cluster, site)))
                case _:
                    assert_never(scaling)

    def node(self, host: str) -> Node:
        """The node that a host is.

        Raises:
            UnfitError: the inventory says of none, or what its driver needs is not installed.
        """
        node = self._inventory.host(host).node
        if node is None:
            raise UnfitError(
                f"cannot drain the node {host}: the inventory does not say that it is one",
                remedy=f"add hosts.{host}.node: {{driver: kubernetes}}",
            )
        with _installed(node.driver, "kubernetes"):
            from orchestrator.adapters.kubernetes import cluster
            from orchestrator.adapters.kubernetes_node import NodeDriver

            return NodeDriver(node.name or host, cluster(self._inventory.cluster_of(node.cluster, None)))

    def _aws_of(self, own: AwsAccess | None, site: str | None) -> Aws:
        return self._aws(self._inventory.aws_of(own, site).model_dump_json())

    def _switch(self, pool: Pool, members: Sequence[str]) -> TrafficSwitch:
        switch = pool.switch
        match switch:
            case HaproxySwitch():
                from orchestrator.adapters.haproxy import HaproxyDriver

                return HaproxyDriver(switch, members)
            case Elbv2WeightsSwitch():
                from orchestrator.adapters.elbv2_weights import Elbv2WeightsDriver

                return Elbv2WeightsDriver(switch, members, self._aws_of(switch.aws, switch.site))
            case Elbv2TargetsSwitch():
                from orchestrator.adapters.elbv2_targets import Elbv2TargetsDriver

                return Elbv2TargetsDriver(switch, members, self._aws_of(switch.aws, switch.site))
            case Route53WeightsSwitch() | Route53FailoverSwitch():
                from orchestrator.adapters.route53 import Route53Driver

                return Route53Driver(switch, members, self._aws_of(switch.aws, switch.site), self._clock)
            case GlobalAcceleratorSwitch():
                from orchestrator.adapters.global_accelerator import GlobalAcceleratorDriver

                return GlobalAcceleratorDriver(switch, members, self._aws_of(switch.aws, switch.site))
            case ArcRoutingSwitch():
                from orchestrator.adapters.arc_routing import ArcRoutingDriver

                return ArcRoutingDriver(switch, members, self._aws_of(switch.aws, switch.site), self._clock)
            case ArcZonalShiftSwitch():
                from orchestrator.adapters.arc_zonal_shift import ArcZonalShiftDriver

                return ArcZonalShiftDriver(switch, members, self._aws_of(switch.aws, switch.site), self._clock)
            case DnsSwitch():
                from orchestrator.adapters.dns_update import DnsDriver

                return DnsDriver(switch, members, self._clock)
            case HttpRouteSwitch():
                from orchestrator.adapters.kubernetes import cluster
                from orchestrator.adapters.kubernetes_route import RouteDriver

                return RouteDriver(switch, members, cluster(self._inventory.cluster_of(switch.cluster, switch.site)))
            case ServiceSelectorSwitch():
                from orchestrator.adapters.kubernetes import cluster
                from orchestrator.adapters.kubernetes_selector import SelectorDriver

                return SelectorDriver(switch, members, cluster(self._inventory.cluster_of(switch.cluster, switch.site)))
            case F5Switch():
                from orchestrator.adapters.f5 import F5Driver

                return F5Driver(switch, members)
            case EnvoySwitch():
                from orchestrator.adapters.envoy import EnvoyDriver

                return EnvoyDriver(switch, members)
            case _:
                assert_never(switch)


def _package(switch: AnySwitch) -> str:
    """What the switch's driver imports only when it makes its first call."""
    if isinstance(switch, HttpRouteSwitch | ServiceSelectorSwitch):
        return "kubernetes"
    return "boto3" if hasattr(switch, "aws") else ""


@contextmanager
def _installed(driver: str, package: str = "") -> Iterator[None]:
    """Say what to install, where a driver's library is missing; ``package`` is one that it imports only later."""
    try:
        if package and find_spec(package) is None:
            raise ModuleNotFoundError(f"no module {package}", name=package)
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        raise UnfitError(
            f"cannot use the driver {driver}: {package} is not installed",
            remedy=f"pip install 'failover[{_EXTRAS[package] or driver}]'",
        ) from error
