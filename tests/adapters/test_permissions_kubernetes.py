"""The roles that ``failover permissions`` prints, on a real API server: enough for the drivers, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.adapters.kubernetes_node import NodeDriver
from orchestrator.adapters.kubernetes_route import RouteDriver
from orchestrator.adapters.kubernetes_scale import DeploymentDriver
from orchestrator.adapters.kubernetes_selector import SelectorDriver
from orchestrator.errors import UnfitError
from orchestrator.model.access import KubernetesAccess
from orchestrator.model.capacity import DeploymentScale
from orchestrator.planning.permissions import ClusterRules, Permissions
from orchestrator.planning.rbac import Rule, node_rules, scaling_rules, switch_rules
from orchestrator.ports import TrafficSwitch
from orchestrator.report.permissions import permissions_text
from tests.adapters.kubernetes_bench import FAILOVER, ApiServer, api_server
from tests.adapters.postfix_bench import wait_for
from tests.adapters.test_kubernetes_switch import InterruptedCluster, RouteBench, SelectorBench

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

BENCHES = [RouteBench, SelectorBench]


@pytest.fixture(scope="session")
def api() -> ApiServer:
    """The control plane that all tests share."""
    return api_server()


@pytest.fixture(params=BENCHES, ids=lambda it: it.__name__)
def bench(request: pytest.FixtureRequest, api: ApiServer) -> RouteBench | SelectorBench:
    """A switch whose user may do nothing yet."""
    kind: type[RouteBench | SelectorBench] = request.param
    made = kind(api, InterruptedCluster(api.access()))
    base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{made.namespace}"
    api.delete(f"{base}/rolebindings/{FAILOVER}")
    wait_for(lambda: not may(api, switch_rules(made.switch)[0]))
    return made


def may(api: ApiServer, rule: Rule) -> bool:
    """Whether failover's user may do what a rule says."""
    resource, _, part = rule.resource.partition("/")
    of = {"namespace": rule.namespace or "", "verb": rule.verbs[0], "group": rule.group, "resource": resource}
    attributes = {**of, "subresource": part, "name": rule.names[0] if rule.names else ""}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    reply = api.make(path, {"spec": {"user": FAILOVER, "resourceAttributes": attributes}})
    return bool(reply["status"]["allowed"])


def hand_in(api: ApiServer, rules: Sequence[Rule], folder: Path) -> None:
    """Do with the printed roles what a person does, and wait until they count."""
    needed = Permissions("move", kubernetes=(ClusterRules(KubernetesAccess(), (), tuple(rules)),))
    file = folder / "roles.yaml"
    file.write_text(permissions_text(needed, ["kubernetes"]))
    api.shell(f"kubectl apply -f {file}")
    for namespace in {rule.namespace for rule in rules}:
        what = "clusterrolebinding" if namespace is None else f"rolebinding -n {namespace}"
        role = "--clusterrole" if namespace is None else "--role"
        api.shell(f"kubectl create {what} failover-move {role} failover-move --user {FAILOVER}")
    wait_for(lambda: all(may(api, rule) for rule in rules))


def test_the_role_is_enough(bench: RouteBench | SelectorBench, tmp_path: Path) -> None:
    """With what is printed, and nothing else, the driver reads, moves traffic and sees it settle."""
    driver = bench.driver()
    with pytest.raises(UnfitError):
        asyncio.run(driver.read())
    hand_in(bench.api, switch_rules(bench.switch), tmp_path)
    asyncio.run(driver.read())
    asyncio.run(driver.apply(bench.shifted))
    assert bench.truth() == {**bench.start, **bench.shifted}
    asyncio.run(driver.settling())


def test_who_only_looks_cannot_write(bench: RouteBench | SelectorBench, tmp_path: Path) -> None:
    """The reads alone do for a guard, and are refused a write."""
    hand_in(bench.api, [rule for rule in switch_rules(bench.switch) if not rule.writes], tmp_path)
    driver = bench.driver()
    asyncio.run(driver.read())
    with pytest.raises(UnfitError, match="failover permissions"):
        asyncio.run(driver.apply(bench.shifted))
    assert bench.truth() == bench.start


def test_other_objects_are_out_of_reach(bench: RouteBench | SelectorBench, tmp_path: Path) -> None:
    """A role for one object says no to another one beside it."""
    hand_in(bench.api, switch_rules(bench.switch), tmp_path)
    with pytest.raises(UnfitError, match="failover permissions"):
        asyncio.run(beside(bench).read())


def beside(bench: RouteBench | SelectorBench) -> TrafficSwitch:
    """A driver for another object of the same kind and namespace."""
    if isinstance(bench, RouteBench):
        return RouteDriver(bench.switch.model_copy(update={"name": "web"}), list(bench.start), bench.cluster)
    return SelectorDriver(bench.switch.model_copy(update={"name": "web"}), list(bench.start), bench.cluster)


def test_the_role_is_enough_to_scale(api: ApiServer, tmp_path: Path) -> None:
    """A Deployment is read and scaled with what is printed."""
    labels = {"app": "mail"}
    space = api.namespace()
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "mx", "image": "example.com/mx"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    api.make(f"/apis/apps/v1/namespaces/{space}/deployments", {"metadata": {"name": "mx"}, "spec": spec})
    scaling = DeploymentScale(driver="kubernetes-deployment", namespace=space, name="mx")
    hand_in(api, scaling_rules(scaling), tmp_path)
    driver = DeploymentDriver(scaling, InterruptedCluster(api.access()))
    asyncio.run(driver.set_desired(2))
    assert asyncio.run(driver.read()).desired == 2


def test_the_role_is_enough_to_drain(api: ApiServer, tmp_path: Path) -> None:
    """A node is cordoned, its pods are seen and evicted with what is printed; another node is out of reach."""
    node, space = api.node(), api.namespace()
    api.pod(space, "mx1", {"app": "mail"}, node)
    hand_in(api, node_rules(node), tmp_path)
    try:
        driver = NodeDriver(node, InterruptedCluster(api.access()))
        asyncio.run(driver.cordon(True))
        (pod,) = asyncio.run(driver.read()).pods
        assert asyncio.run(driver.evict(pod)) == ""
        with pytest.raises(UnfitError, match="failover permissions"):
            asyncio.run(NodeDriver(api.node(), InterruptedCluster(api.access())).read())
    finally:  # what it allows counts in all namespaces
        api.delete("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/failover-move")
        wait_for(lambda: not may(api, node_rules(node)[0]))
