"""What runs on nodes of a control plane that has none: a kubelet for them, and pods of all kinds that a drain meets.

The controllers are real: a Deployment's pods are made, and made again, by them.
"""

from __future__ import annotations

import threading
import urllib.error
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

from tests.adapters.kubernetes_bench import ApiServer
from tests.adapters.postfix_bench import wait_for

NOT_FOUND: Final = 404
ROLE: Final = "example.com/role"
"""A label by which pods of generated names are told apart."""


class Kubelet:
    """While it is entered: pods of these nodes become ready, and go when they are to end.

    It also does a scheduler's part where it is told to: pods of a namespace that are bound nowhere come to a node.
    """

    def __init__(self, api: ApiServer, *nodes: str, schedule: Mapping[str, str] | None = None) -> None:
        self._api = api
        self._nodes = nodes
        self._schedule = dict(schedule or {})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._broke: BaseException | None = None

    def __enter__(self) -> Kubelet:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is None and self._broke is not None:
            raise self._broke

    def _work(self) -> None:
        try:
            while not self._stop.wait(0.1):
                self._look()
        except BaseException as error:  # told when the test ends
            self._broke = error

    def _look(self) -> None:
        for namespace, node in self._schedule.items():
            for pod in unbound(self._api, namespace):
                bind(self._api, pod, node)
        for node in self._nodes:
            for pod in pods_on(self._api, node):
                self._turn(pod)

    def _turn(self, pod: dict[str, Any]) -> None:
        try:
            if "deletionTimestamp" in pod["metadata"]:
                self._api.delete(path_of(pod))
            elif pod["status"]["phase"] == "Pending":
                self._api.set_ready(path_of(pod), True)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != NOT_FOUND:  # else it is gone already
                raise


def path_of(pod: dict[str, Any]) -> str:
    """Where the API server has it."""
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def pods_on(api: ApiServer, node: str) -> list[dict[str, Any]]:
    """The pods that are bound to a node."""
    pods: list[dict[str, Any]] = api.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}")["items"]
    return pods


def unbound(api: ApiServer, namespace: str) -> list[dict[str, Any]]:
    """The pods of a namespace that wait for a scheduler."""
    pods = api.get(f"/api/v1/namespaces/{namespace}/pods?fieldSelector=spec.nodeName%3D")["items"]
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]


def bind(api: ApiServer, pod: dict[str, Any], node: str) -> None:
    """Do a scheduler's part."""
    api.make(
        f"{path_of(pod)}/binding",
        {"metadata": {"name": pod["metadata"]["name"]}, "target": {"kind": "Node", "name": node}},
    )


def roles_on(api: ApiServer, node: str) -> Counter[str]:
    """How many pods of each role a node has."""
    return Counter(pod["metadata"]["labels"][ROLE] for pod in pods_on(api, node))


def deployment(api: ApiServer, namespace: str, name: str, replicas: int, **spec: object) -> str:
    """A Deployment; returns its path. ``spec``: of its pods."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    api.make(path, {"metadata": {"name": name}, "spec": {"replicas": replicas, **_of(name, spec)}})
    return f"{path}/{name}"


def daemon_set(api: ApiServer, namespace: str, name: str, node: str) -> str:
    """A DaemonSet for one node; returns its path."""
    api.merge(f"/api/v1/nodes/{node}", {"metadata": {"labels": {"example.com/bench": node}}})
    path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets"
    spec = _of(name, {"nodeSelector": {"example.com/bench": node}})
    api.make(path, {"metadata": {"name": name}, "spec": spec})
    return f"{path}/{name}"


def pod(api: ApiServer, namespace: str, name: str, node: str, **metadata: object) -> str:
    """A pod that nothing but itself stands for; returns its path."""
    path = api.pod(namespace, name, {ROLE: name}, node) if not metadata else _made(api, namespace, name, node, metadata)
    api.set_ready(path, True)
    return path


def budgets(api: ApiServer, namespace: str) -> str:
    """Where PodDisruptionBudgets are made."""
    version = api.get("/apis/policy")["preferredVersion"]["groupVersion"]
    return f"/apis/{version}/namespaces/{namespace}/poddisruptionbudgets"


def budget(api: ApiServer, namespace: str, name: str, role: str, least: int) -> str:
    """A PodDisruptionBudget that has been reckoned; returns its path."""
    path = budgets(api, namespace)
    spec = {"minAvailable": least, "selector": {"matchLabels": {ROLE: role}}}
    api.make(path, {"metadata": {"name": name}, "spec": spec})
    wait_for(lambda: "observedGeneration" in api.get(f"{path}/{name}").get("status", {}))
    return f"{path}/{name}"


def _made(api: ApiServer, namespace: str, name: str, node: str, metadata: Mapping[str, object]) -> str:
    path = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"nodeName": node, "containers": [{"name": "mail", "image": "example.com/mail"}]}
    api.make(path, {"metadata": {"name": name, "labels": {ROLE: name}, **metadata}, "spec": spec})
    return f"{path}/{name}"


def _of(role: str, spec: Mapping[str, object]) -> dict[str, Any]:
    """The selector and the template of pods of a role."""
    labels = {ROLE: role}
    of = {"containers": [{"name": "mail", "image": "example.com/mail"}], **spec}
    return {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": of}}
