"""A node of a Kubernetes cluster: cordoned by its spec, emptied by the Eviction API, as ``kubectl drain`` does it.

Source: Kubernetes documentation, "Safely Drain a Node" and "API-initiated Eviction"; which pods stay, and which want a
person's word, is decided as in kubectl's own filters (``k8s.io/kubectl/pkg/drain/filters.go``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from orchestrator.adapters.kubernetes import JSON_PATCH, Cluster, Status, status_of
from orchestrator.errors import OutsideError, RejectedError, UnfitError
from orchestrator.model.capacity import NodeReading, Pod

_MIRROR: Final = "kubernetes.io/config.mirror"
"""The annotation of a pod that only shows what a kubelet runs from a file ("Create static Pods")."""

_FINISHED: Final = frozenset({"Succeeded", "Failed"})
"""Phases in which nothing of a pod runs any more ("Pod Lifecycle")."""

_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429
_BROKEN: Final = 500

_BUDGET: Final = "DisruptionBudget: "
"""What the cause of a 429 begins with where a budget stands against an eviction, and not a throttled client."""

_NAMED: Final = re.compile(r"The disruption budget (?P<name>\S+) (?P<why>.+?)( currently)?\.?")


class NodeDriver:
    """``ports.Node`` on one node, in whatever namespaces its pods are."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        self._name = name
        self._cluster = cluster
        self._found: set[str] = set()
        """Uids of DaemonSets that were there: one is not asked for at each look."""

    async def read(self) -> NodeReading:
        """Whether it takes new pods, and those that are bound to it, whatever their phase.

        Raises:
            UnfitError: there is no such node.
        """
        cordoned, pods = await asyncio.gather(self._is_cordoned(), self._pods())
        gone = await self._gone(pods)
        return NodeReading(cordoned=cordoned, pods=tuple(_pod(it, gone) for it in pods))

    async def cordon(self, cordoned: bool) -> None:
        """Let it take no new pods, or take them again; read back.

        Raises:
            RejectedError: the API server does not take it, or it is otherwise when read back.
            UnfitError: there is no such node.
        """
        if await self._is_cordoned() == cordoned:
            return
        await self._cluster.call(
            self._cluster.core().patch_node,
            *(self._name, [{"op": "add", "path": "/spec/unschedulable", "value": cordoned}]),
            _content_type=JSON_PATCH,
            field_manager="failover",
        )
        if await self._is_cordoned() != cordoned:
            raise RejectedError(
                f"cannot {_verb(cordoned)} node {self._name}: it is {_verb(not cordoned)}ed again",
                remedy="look who else does that, as a cluster autoscaler or an upgrade of the cluster",
            )

    async def evict(self, pod: Pod) -> str:
        """Ask for this very pod's end: never for that of a new one of the same name (see ``ports.Node.evict``).

        Raises:
            UnreachableError: no answer, or the API server is throttled: what it has done is not known.
            RejectedError: it refuses the eviction, as an admission webhook can.
            UnfitError: not the right to evict.
        """
        body = {  # without apiVersion each server takes it for its own: policy/v1, or v1beta1 before 1.22
            "metadata": {"name": pod.name, "namespace": pod.namespace},
            "deleteOptions": {"preconditions": {"uid": pod.uid}},
        }
        try:
            await self._cluster.call(self._cluster.core().create_namespaced_pod_eviction, pod.name, pod.namespace, body)
        except OutsideError as error:
            return await self._against(pod, error)
        return ""

    def by_hand(self, cordoned: bool) -> Sequence[str]:
        """See ``Node.by_hand``."""
        return [self._cluster.kubectl(_verb(cordoned), self._name)]

    async def _is_cordoned(self) -> bool:
        node = await self._cluster.call(self._cluster.core().read_node, self._name)
        return bool(node.spec.unschedulable)

    async def _pods(self) -> Sequence[Any]:
        listed = await self._cluster.call(
            self._cluster.core().list_pod_for_all_namespaces, field_selector=f"spec.nodeName={self._name}"
        )
        pods: Sequence[Any] = listed.items
        return pods

    async def _gone(self, pods: Sequence[Any]) -> set[str]:
        """The uids of DaemonSets that pods name as their controller, and that are no more."""
        owners = {owner.uid: (pod, owner) for pod in pods if (owner := _daemon_set(pod)) is not None}
        asked = [(uid, *both) for uid, both in owners.items() if uid not in self._found]
        there = await asyncio.gather(*(self._is_there(pod, owner) for _, pod, owner in asked))
        self._found |= {uid for (uid, *_), found in zip(asked, there, strict=True) if found}
        return owners.keys() - self._found

    async def _is_there(self, pod: Any, owner: Any) -> bool:
        try:
            found = await self._cluster.call(
                self._cluster.apps().read_namespaced_daemon_set, owner.name, pod.metadata.namespace
            )
        except UnfitError as error:
            if _code(error) != _NOT_FOUND:
                raise
            return False
        return bool(found.metadata.uid == owner.uid)

    async def _against(self, pod: Pod, error: OutsideError) -> str:
        """What stands against an eviction, from the answer to it; empty where the pod is no more.

        Raises:
            OutsideError: the answer is about something else.
        """
        status = status_of(error)
        if status is None:
            raise error
        if status.code == _NOT_FOUND or (status.code == _CONFLICT and await self._is_gone(pod)):
            return ""
        if status.code == _CONFLICT:
            return f"somebody else, who changed {pod.namespace}/{pod.name} meanwhile"
        text = _blocked(pod.namespace, status)
        if not text:
            raise error
        return text

    async def _is_gone(self, pod: Pod) -> bool:
        """Whether there is no pod of this name, or a new one."""
        listed = await self._cluster.call(
            self._cluster.core().list_namespaced_pod, pod.namespace, field_selector=f"metadata.name={pod.name}"
        )
        return all(it.metadata.uid != pod.uid for it in listed.items)


def _pod(it: Any, gone: set[str]) -> Pod:
    stays = _stays(it, gone)
    return Pod(
        name=it.metadata.name,
        namespace=it.metadata.namespace,
        uid=it.metadata.uid,
        ends=it.metadata.deletion_timestamp is not None,
        stays=stays,
        alone="" if stays else " and ".join(_alone(it, gone)),
    )


def _stays(pod: Any, gone: set[str]) -> str:
    """Why a drain leaves it there."""
    if _MIRROR in (pod.metadata.annotations or {}):
        return "a mirror pod: the node's kubelet runs it from a file"
    owner = _daemon_set(pod)
    if owner is None or owner.uid in gone or _is_finished(pod):
        return ""
    return f"of DaemonSet {owner.name}, which starts it on cordoned nodes too"


def _alone(pod: Any, gone: set[str]) -> Iterator[str]:
    """Why ``kubectl drain`` would not evict it without --force or --delete-emptydir-data."""
    if _is_finished(pod):
        return
    owner = _controller(pod)
    if owner is None:
        yield "it has no controller"
    elif owner.uid in gone:
        yield f"its {owner.kind} {owner.name} is gone"
    if any(volume.empty_dir is not None for volume in pod.spec.volumes or ()):
        yield "its emptyDir data would be lost"


def _is_finished(pod: Any) -> bool:
    return pod.status.phase in _FINISHED


def _controller(pod: Any) -> Any:
    """Its owner that manages it; None: it has none."""
    return next((owner for owner in pod.metadata.owner_references or () if owner.controller), None)


def _daemon_set(pod: Any) -> Any:
    owner = _controller(pod)
    return owner if owner is not None and owner.kind == "DaemonSet" else None


def _blocked(namespace: str, status: Status) -> str:
    """In words, what of the pod's own stands against its eviction; empty where it is the API server or our rights."""
    if status.code == _TOO_MANY:
        budgets = [_budget(namespace, cause) for cause in status.causes if cause.startswith(_BUDGET)]
        return ", ".join(budgets) or (status.message if status.message.startswith("Cannot evict pod") else "")
    if status.code == _BROKEN and "more than one PodDisruptionBudget" in status.message:
        return f"a person: {status.message}"
    if status.code == _FORBIDDEN and status.message.startswith("poddisruptionbudget"):  # as it waits for its controller
        return status.message
    if status.code == _FORBIDDEN and any(cause.startswith("NamespaceTerminating") for cause in status.causes):
        return f"the end of namespace {namespace}"
    return ""


def _budget(namespace: str, cause: str) -> str:
    """As "PodDisruptionBudget shop/web, which needs 2 healthy pods and has 2"."""
    said = cause.removeprefix(_BUDGET)
    named = _NAMED.fullmatch(said)
    return f"PodDisruptionBudget {namespace}/{named['name']}, which {named['why']}" if named else said


def _code(error: OutsideError) -> int | None:
    status = status_of(error)
    return None if status is None else status.code


def _verb(cordoned: bool) -> str:
    return "cordon" if cordoned else "uncordon"
