"""The replicas of a Kubernetes Deployment as what makes a pool larger.

Source: Kubernetes documentation, "Deployments" (Deployment status), "Horizontal Pod Autoscaling"; API reference,
``Scale``. A write is a JSON patch (RFC 6902) of the scale subresource with a ``test`` of the version that was read: a
compare-and-swap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.adapters.kubernetes import JSON_PATCH, Cluster, Object
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.capacity import DeploymentScale, ScalingReading

_AUTOSCALING: Final = "autoscaling"
_AUTOSCALERS: Final = "horizontalpodautoscalers"
_VERSIONS: Final = ("v2", "v1")

_TRIES: Final = 5
"""Of a write, while nothing but the status changes under it: controllers write that at any moment."""

_LONGEST: Final = 160
"""Characters of what a condition or a container says: a scheduler names every node, a registry its whole answer."""


@dataclass(frozen=True, slots=True)
class _Deployment:
    """What of a Deployment is read."""

    uid: str
    version: str
    """Changes with whatever anybody changes in it, its status too."""
    desired: int
    available: int
    """Pods that have been ready for ``minReadySeconds``; of the status."""
    behind: bool
    """The status is of an older spec."""
    selector: str
    """As a list request takes it."""
    troubles: tuple[str, ...]
    """What its controller complains of."""


class DeploymentDriver:
    """``ports.ScalingGroup`` on one Deployment that nothing else scales."""

    def __init__(self, scaling: DeploymentScale, cluster: Cluster) -> None:
        self._scaling = scaling
        self._cluster = cluster
        self._what = f"Deployment {scaling.namespace}/{scaling.name}"

    async def read(self) -> ScalingReading:
        """What it is asked for and what is available; while pods are missing, what each waits for.

        Nothing counts as healthy while the status is of an older spec: its pods may be about to go.

        Raises:
            UnfitError: there is no such Deployment, or a HorizontalPodAutoscaler scales it.
        """
        now = await self._look()
        healthy = 0 if now.behind else now.available
        return ScalingReading(
            desired=now.desired,
            healthy=healthy,
            waits_for=await self._waits(now) if healthy < now.desired else (),
        )

    async def set_desired(self, count: int) -> None:
        """Ask for so many; read back.

        Raises:
            RejectedError: the API server does not take it, somebody else has asked for another number meanwhile, or it
                is not as asked when read back.
            UnfitError: there is no such Deployment, or a HorizontalPodAutoscaler scales it.
        """
        now = await self._look()
        if now.desired == count:
            return
        await self._write(now, count)
        after = await self._look()
        if after.desired != count:
            raise RejectedError(
                f"cannot scale {self._what} to {count}: it wants {after.desired}",
                remedy="look who else scales it, as a GitOps controller or an operator does",
            )

    def by_hand(self, count: int) -> Sequence[str]:
        """See ``ScalingGroup.by_hand``."""
        scaling = self._scaling
        return [
            self._cluster.kubectl(
                *("--namespace", scaling.namespace, "scale", f"deployment/{scaling.name}", f"--replicas={count}")
            )
        ]

    async def _look(self) -> _Deployment:
        """The Deployment.

        Raises:
            UnfitError: there is none, or a HorizontalPodAutoscaler scales it.
        """
        deployment, autoscaler = await asyncio.gather(
            self._cluster.call(
                self._cluster.apps().read_namespaced_deployment, self._scaling.name, self._scaling.namespace
            ),
            self._autoscaler(),
        )
        if autoscaler:
            raise UnfitError(
                f"cannot scale {self._what}: the HorizontalPodAutoscaler {autoscaler} does, and would undo it",
                remedy="raise the autoscaler's minReplicas instead, in a step by hand",
            )
        return _deployment(deployment)

    async def _autoscaler(self) -> str:
        """The name of the HorizontalPodAutoscaler that scales it; empty: none does."""
        version = await self._cluster.served(_AUTOSCALING, _AUTOSCALERS, _VERSIONS)
        listed: Object = await self._cluster.call(
            self._cluster.custom().list_namespaced_custom_object,
            *(_AUTOSCALING, version, self._scaling.namespace, _AUTOSCALERS),
        )
        for it in listed["items"]:
            of = it["spec"]["scaleTargetRef"]
            if of["kind"] == "Deployment" and of["name"] == self._scaling.name:
                return str(it["metadata"]["name"])
        return ""

    async def _write(self, now: _Deployment, count: int) -> None:
        """Write the number, if nobody has changed it since it was read.

        Raises:
            RejectedError: somebody has, or the API server does not take it.
        """
        for left in reversed(range(_TRIES)):
            try:
                await self._patch(now, count)
            except RejectedError as error:
                after = await self._look()
                if after.version == now.version:
                    raise
                if (after.uid, after.desired) != (now.uid, now.desired) or not left:
                    raise RejectedError(
                        f"cannot scale {self._what} from {now.desired} to {count}: somebody else changed it meanwhile, "
                        f"and it wants {after.desired}",
                        remedy="look at it as it is now, then try again",
                    ) from error
                now = after
            else:
                return

    async def _patch(self, now: _Deployment, count: int) -> None:
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": now.uid},
            {"op": "test", "path": "/metadata/resourceVersion", "value": now.version},
            {"op": "add", "path": "/spec/replicas", "value": count},  # a Scale of 0 says none
        ]
        await self._cluster.call(
            self._cluster.apps().patch_namespaced_deployment_scale,
            *(self._scaling.name, self._scaling.namespace, patch),
            _content_type=JSON_PATCH,
            field_manager="failover",
        )

    async def _waits(self, now: _Deployment) -> tuple[str, ...]:
        """What the controller complains of, then what each pod waits for."""
        pods = await self._cluster.call(
            self._cluster.core().list_namespaced_pod, self._scaling.namespace, label_selector=now.selector
        )
        live = sorted((pod for pod in pods.items if _counts(pod)), key=lambda pod: str(pod.metadata.name))
        said = [f"{pod.metadata.name} {why}" for pod in live if (why := _waits_for(pod))]
        behind = ["its controller, which has not taken up the last change"] if now.behind else []
        return (*behind, *now.troubles, *said)


def _deployment(it: Any) -> _Deployment:
    status = it.status
    return _Deployment(
        uid=it.metadata.uid,
        version=it.metadata.resource_version,
        desired=it.spec.replicas,
        available=status.available_replicas or 0,
        behind=(status.observed_generation or 0) < it.metadata.generation,
        selector=_selector(it.spec.selector),
        troubles=tuple(_troubles(status)),
    )


def _selector(selector: Any) -> str:
    """A label selector as a list request takes it ("Labels and Selectors", API)."""
    terms = [f"{key}={value}" for key, value in (selector.match_labels or {}).items()]
    return ",".join([*terms, *map(_term, selector.match_expressions or ())])


def _term(expression: Any) -> str:
    match expression.operator:
        case "Exists":
            return str(expression.key)
        case "DoesNotExist":
            return f"!{expression.key}"
        case operator:
            return f"{expression.key} {operator.lower()} ({','.join(expression.values)})"


def _troubles(status: Any) -> Iterator[str]:
    """What keeps it from its number as a whole ("Failed Deployment")."""
    for it in status.conditions or ():
        if (it.type, it.status) in {("ReplicaFailure", "True"), ("Progressing", "False")}:
            yield _because(it)
    if (young := (status.ready_replicas or 0) - (status.available_replicas or 0)) > 0:
        yield f"minReadySeconds of {young} that are ready"


def _counts(pod: Any) -> bool:
    """Whether it is one that is to serve: it neither ends nor has ended."""
    return pod.metadata.deletion_timestamp is None and pod.status.phase not in {"Succeeded", "Failed"}


def _waits_for(pod: Any) -> str:
    """Why a pod is not ready, as far as it says; empty when it is."""
    conditions = {it.type: it for it in pod.status.conditions or ()}
    ready, scheduled = conditions.get("Ready"), conditions.get("PodScheduled")
    if ready is not None and ready.status == "True":
        return ""
    if scheduled is not None and scheduled.status == "False":
        return _because(scheduled)
    for container in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
        waiting = container.state.waiting if container.state is not None else None
        if waiting is not None and waiting.reason not in {None, "PodInitializing"}:
            return f"{container.name}: {_because(waiting)}"
    return _because(ready) if ready is not None and ready.reason else str(pod.status.phase or "Pending")


def _because(it: Any) -> str:
    """Reason and message of a condition or of a container's state."""
    said = " ".join(f"{it.reason or ''}: {it.message or ''}".strip(": ").split())
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 1]}…"
