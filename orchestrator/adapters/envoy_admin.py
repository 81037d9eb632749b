"""What an Envoy has loaded, asked of its admin interface, and whether weights count there at all.

Source: Envoy documentation, "Administration interface": ``/config_dump``, ``/clusters``, ``/stats``, ``/runtime``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from orchestrator.adapters.envoy_endpoints import Endpoint, address_of, parse_assignment
from orchestrator.adapters.http_api import HttpApi
from orchestrator.errors import OutsideError, RejectedError, UnfitError

WEIGHED: Final = frozenset({"ROUND_ROBIN", "LEAST_REQUEST"})
"""Policies that split new connections by weight. RING_HASH and MAGLEV send a client where its hash says, RANDOM does
not look at weights."""

_POLICIES: Final = ("envoy.extensions.load_balancing_policies.round_robin", ".least_request")
_PANIC: Final = "upstream.healthy_panic_threshold"
_DEFAULT_PANIC: Final = 50.0
_DOWN: Final = ("failed_active_health_check", "failed_outlier_check")
_MOST_NAMES: Final = 20


@dataclass(frozen=True, slots=True)
class Host:
    """An endpoint that Envoy has loaded."""

    endpoint: Endpoint
    up: bool
    sessions: int | None
    """None: it does not say, which is not the same as none."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What Envoy counts beside its endpoints."""

    refused: int
    """Files that it did not take, since it was started."""
    elsewhere: int
    """Connections that the old process of a hot restart still carries, of whichever endpoint."""


class EnvoyAdmin:
    """The admin interface, seen from one cluster, for as long as one look or one change takes."""

    def __init__(self, api: HttpApi, cluster: str, name: str) -> None:
        self._api = api
        self._cluster = cluster
        self._name = name
        self._configuration: Mapping[str, Any] = {}

    async def check(self) -> None:
        """See that the cluster's endpoints come from a file, and that weights and DRAINING count there.

        Raises:
            UnfitError: they do not; it says why, and what to write into Envoy's configuration.
        """
        cluster = await self._configured()
        self._check_source(cluster)
        self._check_policy(cluster)
        panic = (cluster.get("common_lb_config") or {}).get("healthy_panic_threshold")
        await self._check_panic(_DEFAULT_PANIC if panic is None else float(panic.get("value", 0.0)))

    async def check_members(self, members: Collection[Endpoint]) -> None:
        """See that weights count between these.

        Raises:
            UnfitError: they do not, because of where they stand in the cluster.
        """
        cluster = await self._configured()
        if len({member.priority for member in members}) > 1:
            raise self._unfit(
                "its members have several priorities, between which weights say nothing",
                "give all of them the same priority",
            )
        if len({member.locality for member in members}) > 1 and "locality_weighted_lb_config" in (
            cluster.get("common_lb_config") or {}
        ):
            raise self._unfit(
                "its localities have weights of their own",
                "leave locality_weighted_lb_config out of its common_lb_config",
            )

    async def hosts(self) -> dict[str, Host]:
        """Every endpoint that Envoy has loaded, by its address.

        The two answers that it is read from may be of two moments, before and after a change.
        """
        endpoints: dict[str, Endpoint] = {}
        for config in await self._dumped("static_endpoint_configs", "dynamic_endpoint_configs", include_eds=""):
            endpoints.update(parse_assignment(config.get("endpoint_config", {})))
        hosts = {}
        for status in await self._statuses():
            host = _host(status, endpoints.get(address_of(status.get("address", {}).get("socket_address", {}))))
            if host is not None:
                hosts[host.endpoint.address] = host
        return hosts

    async def counters(self) -> Counters:
        """How they stand."""
        cluster = await self._configured()
        stat = re.escape(str(cluster.get("alt_stat_name") or self._cluster).replace(":", "_"))
        regex = rf"^(cluster\.{stat}\.update_(rejected|failure)|server\.parent_connections)$"
        reply = await self._get("/stats", filter=regex, format="json")
        counts = {str(one["name"]): int(one.get("value", 0)) for one in reply.get("stats", ()) if "name" in one}
        elsewhere = counts.pop("server.parent_connections", 0)
        return Counters(refused=sum(counts.values()), elsewhere=elsewhere)

    async def _configured(self) -> Mapping[str, Any]:
        """The cluster's configuration, asked for once."""
        self._configuration = self._configuration or await self._ask_configuration()
        return self._configuration

    async def _ask_configuration(self) -> Mapping[str, Any]:
        found = [
            config.get("cluster", {}) for config in await self._dumped("static_clusters", "dynamic_active_clusters")
        ]
        if not found:
            statuses = (await self._get("/clusters", format="json")).get("cluster_statuses", ())
            there = sorted(str(one.get("name")) for one in statuses)[:_MOST_NAMES]
            raise self._unfit(
                f"there is no such cluster, but {', '.join(there) or 'none'}", "correct 'cluster' in the inventory"
            )
        return dict(found[0])

    async def _statuses(self) -> list[dict[str, Any]]:
        reply = await self._get("/clusters", format="json", filter=f"^{re.escape(self._cluster)}$")
        clusters = [one for one in reply.get("cluster_statuses", ()) if one.get("name") == self._cluster]
        return [status for one in clusters for status in one.get("host_statuses", ())]

    async def _dumped(self, *resources: str, **query: str) -> list[dict[str, Any]]:
        name = f"^{re.escape(self._cluster)}$"
        replies = [
            await self._get("/config_dump", resource=resource, name_regex=name, **query) for resource in resources
        ]
        return [config for reply in replies for config in reply.get("configs", ())]

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        answer = await self._api.ask("GET", path, query=query)
        if answer.status == 404:  # an Envoy that has nothing of the kind to dump
            return {}
        if answer.status != 200:
            said = " ".join(answer.text.split())[:200]
            raise RejectedError(f"cannot ask {answer.what}: it answers {answer.status}: {said}")
        reply = answer.json()
        return reply if isinstance(reply, dict) else {}

    def _check_source(self, cluster: Mapping[str, Any]) -> None:
        source = (cluster.get("eds_cluster_config") or {}).get("eds_config") or {}
        if cluster.get("type") != "EDS" or not ("path_config_source" in source or "path" in source):
            raise self._unfit(
                "its endpoints do not come from a file",
                "give it type EDS, with a path_config_source as its eds_config",
            )
        service = cluster["eds_cluster_config"].get("service_name") or self._cluster
        if service != self._cluster:
            raise self._unfit(f"its endpoints are called {service}", "leave service_name out of its eds_cluster_config")

    def _check_policy(self, cluster: Mapping[str, Any]) -> None:
        policy = str(cluster.get("lb_policy", "ROUND_ROBIN"))
        if "load_balancing_policy" in cluster:
            policies = cluster["load_balancing_policy"].get("policies") or [{}]
            extension = policies[0].get("typed_extension_config", {})
            type_url = str(extension.get("typed_config", {}).get("@type", extension.get("name", "")))
            policy = type_url if not any(one in type_url for one in _POLICIES) else "ROUND_ROBIN"
        if policy not in WEIGHED:
            raise self._unfit(
                f"with its policy {policy} weights do not say who takes a connection",
                f"give it one of the policies {', '.join(sorted(WEIGHED))}",
            )

    async def _check_panic(self, threshold: float) -> None:
        """Panic sends new connections to all endpoints, to those that drain too.

        Source: Envoy documentation, "Panic threshold"; https://github.com/envoyproxy/envoy/issues/46800.
        """
        entries = (await self._get("/runtime")).get("entries", {})
        written = entries.get(_PANIC, {}).get("final_value")
        if written is not None:
            threshold = float(written)
        if threshold:
            where = "the runtime's " + _PANIC if written is not None else "common_lb_config.healthy_panic_threshold"
            raise self._unfit(
                f"with a panic threshold of {threshold:g}% it sends new connections to drained members too, as soon "
                "as too few others are healthy",
                f"set {where} to 0",
            )

    def _unfit(self, why: str, remedy: str) -> OutsideError:
        return UnfitError(f"cannot use cluster {self._cluster} of Envoy at {self._name}: {why}", remedy=remedy)


def _host(status: Mapping[str, Any], endpoint: Endpoint | None) -> Host | None:
    """What Envoy says of an endpoint; a dump of the configuration calls DRAINING merely UNHEALTHY."""
    if endpoint is None:
        return None
    health = status.get("health_status", {})
    said = str(health.get("eds_health_status", "UNKNOWN"))
    gauges = {one.get("name"): int(one.get("value", 0)) for one in status.get("stats", ())}
    return Host(
        endpoint=replace(endpoint, health=said),
        up=said not in ("UNHEALTHY", "TIMEOUT") and not any(health.get(flag) for flag in _DOWN),
        sessions=gauges.get("cx_active"),
    )
