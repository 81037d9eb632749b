"""What brings up capacity, and the nodes that capacity runs on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.model.access import AwsAccess, KubernetesAccess
from orchestrator.model.driver import ByDriver
from orchestrator.model.value import Value


class AutoScaling(Value):
    """An Auto Scaling group of Amazon EC2.

    Source: Amazon EC2 Auto Scaling API, ``SetDesiredCapacity`` and ``DescribeAutoScalingGroups``.
    """

    driver: Literal["autoscaling"]
    group: str = Field(description="The group's name.")
    aws: AwsAccess | None = Field(default=None, description="As whom and where; what its site says when left out.")


class DeploymentScale(Value):
    """The replicas of a Kubernetes Deployment.

    Source: Kubernetes API reference, ``Scale``.
    """

    driver: Literal["kubernetes-deployment"]
    cluster: KubernetesAccess | None = Field(default=None, description="The cluster; what its site says when left out.")
    namespace: str = Field(default="default", description="The namespace.")
    name: str = Field(description="The Deployment's name.")


Scaling = Annotated[AutoScaling | DeploymentScale, ByDriver()]
"""What makes a pool larger or smaller at a site."""


class KubernetesNode(Value):
    """A node of a Kubernetes cluster, which is cordoned and emptied by eviction.

    Source: Kubernetes documentation, "Safely Drain a Node" and "API-initiated Eviction".
    """

    driver: Literal["kubernetes"]
    cluster: KubernetesAccess | None = Field(default=None, description="The cluster; the default one when left out.")
    name: str = Field(default="", description="The node's name; the host's when empty.")


Node = Annotated[KubernetesNode, ByDriver()]
"""What runs pods on a host."""


class ScalingReading(Value):
    """A scaling group as it is now, in instances or pods."""

    desired: int = Field(ge=0, description="What it has been asked for.")
    healthy: int = Field(ge=0, description="Those that are in service and healthy, by the group's own account.")
    least: int = Field(default=0, ge=0, description="The group's own lower limit.")
    most: int | None = Field(default=None, ge=0, description="The group's own upper limit; None: it has none.")
    waits_for: tuple[str, ...] = Field(default=(), description="Why those that are missing are not healthy yet.")


class Pod(Value):
    """A pod on a node."""

    name: str
    namespace: str
    uid: str
    ends: bool = Field(default=False, description="It is being ended already.")
    stays: str = Field(
        default="", description="Why a drain leaves it there, as DaemonSets' and mirror pods; empty: it is evicted."
    )
    alone: str = Field(
        default="", description="Why nothing would bring it back elsewhere, so that a drain must not evict it unasked."
    )


class NodeReading(Value):
    """A node as it is now."""

    cordoned: bool = Field(description="It takes no new pods.")
    pods: tuple[Pod, ...] = Field(default=(), description="What runs on it.")
