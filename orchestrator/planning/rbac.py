"""What each driver asks of Kubernetes, as the rules of RBAC.

Source: Kubernetes documentation, "Using RBAC Authorization": a rule can name its objects, but for ``create`` and
``list``, of which it cannot be known what they are about. API discovery is open to every user that is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from orchestrator.model.capacity import DeploymentScale
from orchestrator.model.switch import HttpRouteSwitch, ServiceSelectorSwitch

KubernetesSwitch: TypeAlias = HttpRouteSwitch | ServiceSelectorSwitch
"""What is driven through Kubernetes."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on some objects."""

    group: str
    """The API group; empty for the core group."""
    resource: str
    """In the plural, with the subresource, as ``deployments/scale``."""
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    """Of the objects; empty: all."""
    namespace: str | None = None
    """None: in all of the cluster."""
    why: str = ""
    """Why it is no narrower; empty where it names the very object."""

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return not {*self.verbs} <= {"get", "list"}


_LISTED: Final = "what is listed cannot be named"
_UNKNOWN: Final = "which pods run on the node is known only when it is drained"


def switch_rules(switch: KubernetesSwitch) -> tuple[Rule, ...]:
    """What a switch's driver asks for."""
    match switch:
        case HttpRouteSwitch():
            routes = f"{switch.kind.lower()}s"
            group = "gateway.networking.k8s.io"
            return tuple(Rule(group, routes, (verb,), (switch.name,), switch.namespace) for verb in ("get", "patch"))
        case ServiceSelectorSwitch():
            space = switch.namespace
            return (
                Rule("", "services", ("get",), (switch.name,), space),
                Rule("", "services", ("patch",), (switch.name,), space),
                Rule("", "pods", ("list",), (), space, why=_LISTED),
                Rule("discovery.k8s.io", "endpointslices", ("list",), (), space, why=_LISTED),
            )
        case _:
            assert_never(switch)


def scaling_rules(scale: DeploymentScale) -> tuple[Rule, ...]:
    """What the driver of a Deployment's scale asks for."""
    space = scale.namespace
    return (
        Rule("apps", "deployments", ("get",), (scale.name,), space),
        Rule("", "pods", ("list",), (), space, why=_LISTED),
        Rule("autoscaling", "horizontalpodautoscalers", ("list",), (), space, why=_LISTED),
        Rule("apps", "deployments/scale", ("patch",), (scale.name,), space),
    )


def node_rules(node: str) -> tuple[Rule, ...]:
    """What the driver of a node asks for: its pods can be in any namespace."""
    return (
        Rule("", "nodes", ("get",), (node,)),
        Rule("", "nodes", ("patch",), (node,)),
        Rule("", "pods", ("list",), why=_LISTED),
        Rule("apps", "daemonsets", ("get",), why=_UNKNOWN),
        Rule("", "pods/eviction", ("create",), why=_UNKNOWN),
    )
