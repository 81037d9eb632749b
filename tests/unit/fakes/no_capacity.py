"""The part of ``ports.Outside`` that a world without scaling groups and cluster nodes has."""

# ruff: noqa: D102 - the ports say what their methods mean

from __future__ import annotations

from orchestrator.errors import UnfitError
from orchestrator.ports import Node, ScalingGroup


class NoCapacity:
    """Nothing can be made larger, and no host is a node."""

    def scaling(self, pool: str, site: str) -> ScalingGroup:
        raise UnfitError(f"cannot scale pool {pool} at {site}")

    def node(self, host: str) -> Node:
        raise UnfitError(f"cannot drain the node {host}")
