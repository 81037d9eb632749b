"""The roles that are printed for nodes and Deployments, on a real API server: enough for their drivers, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest

from orchestrator.adapters.kubernetes import Cluster
from orchestrator.adapters.kubernetes_node import NodeDriver
from orchestrator.adapters.kubernetes_scale import DeploymentDriver
from orchestrator.errors import UnfitError
from orchestrator.model.access import KubernetesAccess
from orchestrator.model.capacity import DeploymentScale
from orchestrator.planning.permissions import ClusterRules, Permissions
from orchestrator.planning.rbac import Rule, node_rules, scaling_rules
from orchestrator.report.permissions import permissions_text
from tests.adapters.kubelet_bench import bind, daemon_set, deployment, pod, unbound
from tests.adapters.kubernetes_bench import FAILOVER, ApiServer, api_server
from tests.adapters.postfix_bench import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

NUMBERS = count(1)


class Granted:
    """A user who may do exactly what the printed roles say, until the end of the test."""

    def __init__(self, api: ApiServer, rules: Sequence[Rule], namespace: str, folder: Path) -> None:
        self._api = api
        self._file = folder / "roles.yaml"
        name = f"capacity-{next(NUMBERS)}"
        needed = Permissions(name, kubernetes=(ClusterRules(KubernetesAccess(), (), tuple(rules)),))
        self._file.write_text(permissions_text(needed, ["kubernetes"]))
        api.shell(f"kubectl apply -f {self._file}")
        self._bound = f"clusterrolebinding/failover-{name}"
        if rules[0].namespace is None:
            api.shell(
                f"kubectl create clusterrolebinding failover-{name} --clusterrole failover-{name} --user {FAILOVER}"
            )
        else:
            to = f"--role failover-{name} --user {FAILOVER}"
            api.shell(f"kubectl create rolebinding failover-{name} -n {namespace} {to}")
            self._bound = f"-n {namespace} rolebinding/failover-{name}"
        wait_for(lambda: all(self._may(rule) for rule in rules))
        self.cluster = Cluster(api.access(FAILOVER))

    def end(self) -> None:
        """They count for nobody any more."""
        self._api.shell(f"kubectl delete {self._bound}")

    def _may(self, rule: Rule) -> bool:
        resource, _, part = rule.resource.partition("/")
        of = {"verb": rule.verbs[0], "group": rule.group, "resource": resource, "subresource": part}
        of |= {"name": rule.names[0]} if rule.names else {}
        of |= {"namespace": rule.namespace} if rule.namespace else {}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        reply = self._api.make(path, {"spec": {"user": FAILOVER, "resourceAttributes": of}})
        return bool(reply["status"]["allowed"])


@pytest.fixture(scope="session")
def api() -> ApiServer:
    """The control plane that all tests share."""
    return api_server()


def test_a_node_is_drained_with_them(api: ApiServer, tmp_path: Path) -> None:
    """They do for looking, cordoning and evicting; another node is out of reach."""
    namespace, node, other = api.namespace(), api.node(), api.node()
    daemon_set(api, namespace, "agent", node)
    wait_for(lambda: len(unbound(api, namespace)) == 1)
    bind(api, unbound(api, namespace)[0], node)
    pod(api, namespace, "bare", node)
    granted = Granted(api, node_rules(node), namespace, tmp_path)
    try:
        driver = NodeDriver(node, granted.cluster)
        agent, bare = sorted(asyncio.run(driver.read()).pods, key=lambda it: it.name)
        assert (bool(agent.stays), bool(bare.stays)) == (True, False)
        asyncio.run(driver.cordon(True))
        assert asyncio.run(driver.evict(bare)) == ""
        with pytest.raises(UnfitError, match="failover permissions"):
            asyncio.run(NodeDriver(other, granted.cluster).cordon(True))
    finally:
        granted.end()


def test_a_deployment_is_scaled_with_them(api: ApiServer, tmp_path: Path) -> None:
    """They do for looking and for scaling; another Deployment is out of reach."""
    namespace = api.namespace()
    for name in ("mail", "web"):
        deployment(api, namespace, name, 1)
    scaling = DeploymentScale(driver="kubernetes-deployment", namespace=namespace, name="mail")
    granted = Granted(api, scaling_rules(scaling), namespace, tmp_path)
    try:
        driver = DeploymentDriver(scaling, granted.cluster)
        asyncio.run(driver.set_desired(2))
        assert asyncio.run(driver.read()).desired == 2
        with pytest.raises(UnfitError, match="failover permissions"):
            asyncio.run(DeploymentDriver(scaling.model_copy(update={"name": "web"}), granted.cluster).read())
    finally:
        granted.end()


def test_who_only_looks_cannot_write(api: ApiServer, tmp_path: Path) -> None:
    """The reads alone do for a plan, and are refused a write: what is missing is told, and nothing is touched."""
    namespace, node = api.namespace(), api.node()
    pod(api, namespace, "bare", node)
    granted = Granted(api, [rule for rule in node_rules(node) if not rule.writes], namespace, tmp_path)
    try:
        driver = NodeDriver(node, granted.cluster)
        (bare,) = asyncio.run(driver.read()).pods
        for work in (driver.cordon(True), driver.evict(bare)):
            with pytest.raises(UnfitError, match="failover permissions"):
                asyncio.run(work)
        assert not asyncio.run(driver.read()).cordoned
    finally:
        granted.end()
