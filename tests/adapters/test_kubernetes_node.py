"""A node that is emptied: by ``kubectl drain`` and by ours, on a real API server, with the same end."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kmock
import pytest

from orchestrator.actions.action import REACHED
from orchestrator.actions.node_drain import ASK_AGAIN, Emptied, NodeDrain
from orchestrator.adapters.kubernetes import Cluster
from orchestrator.adapters.kubernetes_node import NodeDriver
from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.capacity import NodeReading, Pod
from orchestrator.model.runbook import NodeDrainArguments
from tests.adapters.kubelet_bench import (
    Kubelet,
    bind,
    budget,
    daemon_set,
    deployment,
    pod,
    pods_on,
    roles_on,
    unbound,
)
from tests.adapters.kubernetes_bench import ADMIN, ApiServer, api_server
from tests.adapters.postfix_bench import wait_for
from tests.adapters.test_kubernetes import scripted
from tests.adapters.test_kubernetes_switch import InterruptedCluster
from tests.unit.fakes.watch import FakeWatch

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

DRAINED = Emptied(cordoned=True, pods=0)
STAY = Counter({"agent": 1, "static": 1})
BLOCKED = STAY + Counter({"web": 2})
ALL = STAY + Counter({"web": 3, "app": 2, "scratch": 1, "bare": 1, "done": 1})
DRAIN = "kubectl drain --ignore-daemonsets --force --delete-emptydir-data --timeout=60s"


class Site:
    """A node with pods of every kind, in a namespace of its own; nothing runs the pods that take their place."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.node = api.node()
        self.namespace = api.namespace()
        deployment(api, self.namespace, "web", 3)
        deployment(api, self.namespace, "app", 2)
        deployment(api, self.namespace, "scratch", 1, volumes=[{"name": "scratch", "emptyDir": {}}])
        daemon_set(api, self.namespace, "agent", self.node)
        wait_for(lambda: len(unbound(api, self.namespace)) == 7)
        for it in unbound(api, self.namespace):
            bind(api, it, self.node)
        for it in pods_on(api, self.node):
            api.set_ready(f"/api/v1/namespaces/{self.namespace}/pods/{it['metadata']['name']}", True)
        pod(api, self.namespace, "static", self.node, annotations={"kubernetes.io/config.mirror": "a-hash"})
        pod(api, self.namespace, "bare", self.node)
        api.merge(f"{pod(api, self.namespace, 'done', self.node)}/status", {"status": {"phase": "Succeeded"}})
        self.budget = budget(api, self.namespace, "web", "web", 2)
        wait_for(lambda: api.get(self.budget)["status"]["currentHealthy"] == 3)

    def roles(self) -> Counter[str]:
        """How many pods of each role are on it."""
        return roles_on(self.api, self.node)

    def is_cordoned(self) -> bool:
        """By its spec."""
        return bool(self.api.get(f"/api/v1/nodes/{self.node}")["spec"].get("unschedulable"))


@pytest.fixture(scope="session")
def api() -> ApiServer:
    """The control plane that all tests share."""
    return api_server()


@pytest.fixture(scope="session")
def shared_cluster(api: ApiServer) -> Cluster:
    """Our side of it."""
    return Cluster(api.access(ADMIN))


@pytest.fixture
def site(api: ApiServer) -> Site:
    """A new node with pods."""
    return Site(api)


@pytest.fixture
def driver(site: Site, shared_cluster: Cluster) -> NodeDriver:
    """A new driver for it."""
    return NodeDriver(site.node, shared_cluster)


@pytest.fixture
def kubelet(api: ApiServer, site: Site) -> Iterator[None]:
    """Pods of the node go when they are to."""
    with Kubelet(api, site.node):
        yield


def drain(driver: NodeDriver, **arguments: object) -> NodeDrain:
    """The action."""
    return NodeDrain(NodeDrainArguments.model_validate({"host": "n1", **arguments}), driver)


def by_role(reading: NodeReading) -> dict[str, Pod]:
    """One pod of each role; names of a Deployment's and a DaemonSet's begin with it."""
    return {it.name.partition("-")[0]: it for it in reading.pods}


def has_ended(process: asyncio.subprocess.Process) -> bool:
    """Whether it has."""
    return process.returncode is not None


def test_the_same_as_kubectl(api: ApiServer, site: Site, driver: NodeDriver) -> None:
    """``kubectl drain`` and ours evict the same pods, hold at the same budget, and end when it yields."""
    theirs = Site(api)

    async def until(wanted: Counter[str]) -> None:
        await asyncio.to_thread(wait_for, lambda: site.roles() == theirs.roles() == wanted, 20.0)

    async def story() -> None:
        watch = FakeWatch()
        kubectl = await asyncio.create_subprocess_exec(
            *DRAIN.split(), theirs.node, env=api.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            ours = asyncio.create_task(drain(driver, alone="evict").converge(DRAINED, watch))
            await until(BLOCKED)
            await asyncio.sleep(ASK_AGAIN + 1)  # both have asked again
            assert site.roles() == theirs.roles() == BLOCKED
            assert not ours.done()
            assert not has_ended(kubectl)
            needs = "which needs 2 healthy pods and has 2"
            assert watch.texts[-1] == f"2 pods left; waits for PodDisruptionBudget {site.namespace}/web, {needs}"
            for path in (site.budget, theirs.budget):
                api.merge(path, {"spec": {"minAvailable": 0}})
            assert await asyncio.wait_for(ours, 20) == REACHED
            said, _ = await asyncio.wait_for(kubectl.communicate(), 20)
            assert kubectl.returncode == 0, said.decode()
            assert "violate the pod's disruption budget" in said.decode()
        finally:
            if not has_ended(kubectl):
                kubectl.kill()
                await kubectl.wait()

    assert site.roles() == theirs.roles() == ALL
    with Kubelet(api, site.node, theirs.node):
        asyncio.run(story())
    assert site.roles() == theirs.roles() == STAY
    assert site.is_cordoned()
    assert theirs.is_cordoned()


def test_the_same_refusal_as_kubectl(api: ApiServer, site: Site, driver: NodeDriver) -> None:
    """What kubectl wants --force or --delete-emptydir-data for is what ours wants a word for; nothing is evicted."""
    (problem,) = asyncio.run(drain(driver).preflight())
    with pytest.raises(subprocess.CalledProcessError) as caught:
        api.shell(f"kubectl drain --ignore-daemonsets {site.node}")
    alone = {it.name: it.alone for it in asyncio.run(driver.read()).pods if it.alone}
    assert {name.partition("-")[0]: why for name, why in alone.items()} == {
        "bare": "it has no controller",
        "scratch": "its emptyDir data would be lost",
    }
    for it in pods_on(api, site.node):
        name = f"{site.namespace}/{it['metadata']['name']}"
        assert (name in caught.value.stderr) == (name in problem) == (it["metadata"]["name"] in alone)
    assert asyncio.run(drain(driver, alone="evict").preflight()) == []
    assert site.roles() == ALL


@pytest.mark.usefixtures("kubelet")
def test_what_nothing_would_start_again_is_left_alone(site: Site, driver: NodeDriver) -> None:
    """Without a word for it such a pod is not touched; at the deadline it is named, and still runs."""
    outcome = asyncio.run(drain(driver, deadline="3s").converge(DRAINED, FakeWatch()))
    assert f"{site.namespace}/bare (nothing would start it again)" in outcome.reason
    assert site.roles() == BLOCKED + Counter({"bare": 1, "scratch": 1})


def test_what_it_sees(site: Site, driver: NodeDriver) -> None:
    """Mirror pods and those of DaemonSets stay, each with why; all else is to go, a finished pod without a word."""
    reading = asyncio.run(driver.read())
    assert not reading.cordoned
    assert len(reading.pods) == ALL.total()
    stays = {role: it.stays for role, it in by_role(reading).items() if it.stays}
    assert stays == {
        "agent": "of DaemonSet agent, which starts it on cordoned nodes too",
        "static": "a mirror pod: the node's kubelet runs it from a file",
    }
    assert not by_role(reading)["done"].alone
    assert not any(it.ends for it in reading.pods)


def test_a_pod_whose_daemon_set_is_gone_does_not_stay(api: ApiServer, site: Site, driver: NodeDriver) -> None:
    """Nothing would start it again, on no node; a new DaemonSet of the same name does not own it. So does kubectl."""
    for name, owner in (("orphan", "no-more"), ("namesake", "agent")):
        of = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner, "uid": f"of-{name}", "controller": True}
        held = ["example.com/held"]  # the garbage collector wants it gone
        path = pod(api, site.namespace, name, site.node, ownerReferences=[of], finalizers=held)
        found = by_role(asyncio.run(driver.read()))
        assert (found[name].stays, found[name].alone) == ("", f"its DaemonSet {owner} is gone")
        api.merge(path, {"metadata": {"finalizers": None}})
    assert found["agent"].stays


def test_ending_is_seen(site: Site, driver: NodeDriver) -> None:
    """Between its eviction and its end a pod is there, and known to end; to evict it again does no harm."""
    bare = by_role(asyncio.run(driver.read()))["bare"]
    assert [asyncio.run(driver.evict(bare)) for _ in range(2)] == ["", ""]
    assert by_role(asyncio.run(driver.read()))["bare"].ends
    assert site.roles() == ALL


def test_a_new_pod_of_the_same_name_is_not_evicted(api: ApiServer, site: Site, driver: NodeDriver) -> None:
    """Who was meant is gone, and that is what was asked for; so it is for a pod that nobody has taken the place of."""
    bare = by_role(asyncio.run(driver.read()))["bare"]
    api.delete(f"/api/v1/namespaces/{site.namespace}/pods/bare")
    assert asyncio.run(driver.evict(bare)) == ""
    pod(api, site.namespace, "bare", site.node)
    assert asyncio.run(driver.evict(bare)) == ""
    found = by_role(asyncio.run(driver.read()))["bare"]
    assert (found.ends, found.uid == bare.uid) == (False, False)


def test_two_budgets_for_one_pod_block_it(api: ApiServer, site: Site, driver: NodeDriver) -> None:
    """The Eviction API refuses such a pod for ever: that is told, and it is not taken for a broken server."""
    budget(api, site.namespace, "web-too", "web", 0)
    web = by_role(asyncio.run(driver.read()))["web"]
    assert "more than one PodDisruptionBudget" in asyncio.run(driver.evict(web))
    assert site.roles() == ALL


def test_a_budget_is_named_with_its_numbers(api: ApiServer, site: Site, driver: NodeDriver) -> None:
    """Who waits for a budget that asks for more than there will ever be can tell that from what is said."""
    api.merge(site.budget, {"spec": {"minAvailable": 5}})
    wait_for(lambda: api.get(site.budget)["status"]["desiredHealthy"] == 5)
    web = by_role(asyncio.run(driver.read()))["web"]
    needs = "which needs 5 healthy pods and has 3"
    assert asyncio.run(driver.evict(web)) == f"PodDisruptionBudget {site.namespace}/web, {needs}"


def test_a_namespace_that_ends_is_waited_for(api: ApiServer, site: Site, driver: NodeDriver) -> None:
    """Its pods cannot be evicted any more, and need not be."""
    bare = by_role(asyncio.run(driver.read()))["bare"]
    api.ask("DELETE", f"/api/v1/namespaces/{site.namespace}")
    wait_for(lambda: api.get(f"/api/v1/namespaces/{site.namespace}")["status"]["phase"] == "Terminating")
    assert asyncio.run(driver.evict(bare)) == f"the end of namespace {site.namespace}"


def test_cordon_and_back(api: ApiServer, site: Site, driver: NodeDriver) -> None:
    """Both are read back; what is so already is not written; nothing else of the node's spec is changed."""
    path = f"/api/v1/nodes/{site.node}"
    api.merge(path, {"spec": {"providerID": "example://1", "taints": [{"key": "a", "effect": "NoSchedule"}]}})
    for cordoned in (True, False, True):
        asyncio.run(driver.cordon(cordoned))
        assert site.is_cordoned() == cordoned
        assert asyncio.run(driver.read()).cordoned == cordoned
    spec = api.get(path)["spec"]
    assert spec["providerID"] == "example://1"
    assert "a" in {taint["key"] for taint in spec["taints"]}
    cluster = InterruptedCluster(api.access(ADMIN))
    cluster.before_write = lambda: pytest.fail("it is cordoned already")
    asyncio.run(NodeDriver(site.node, cluster).cordon(True))


def test_somebody_else_uncordons(api: ApiServer, site: Site) -> None:
    """A cordon that does not last until it is read back is an error, not a success."""

    class Contrary(Cluster):
        """After each of our writes somebody does the contrary."""

        async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            """See ``Cluster.call``."""
            reply = await super().call(function, *args, **kwargs)
            if function.__name__ == "patch_node":
                api.merge(f"/api/v1/nodes/{site.node}", {"spec": {"unschedulable": None}})
            return reply

    with pytest.raises(RejectedError, match=f"cannot cordon node {site.node}: it is uncordoned again"):
        asyncio.run(NodeDriver(site.node, Contrary(api.access(ADMIN))).cordon(True))


def test_by_hand(api: ApiServer, site: Site, driver: NodeDriver) -> None:
    """What a person pastes does the same."""
    for cordoned in (True, False):
        (line,) = driver.by_hand(cordoned)
        api.shell(line)
        assert site.is_cordoned() == cordoned


def test_no_such_node(shared_cluster: Cluster) -> None:
    """A name that is wrong in the inventory is told before anything is touched."""
    nobody = NodeDriver("nobody", shared_cluster)
    for work in (nobody.read(), nobody.cordon(True)):
        with pytest.raises(UnfitError, match=r'"nobody" not found'):
            asyncio.run(work)


POD = Pod(name="web-1", namespace="shop", uid="uid-1")
BUDGET = {"reason": "DisruptionBudget", "message": "The disruption budget web needs 2 healthy pods and has 2 currently"}
BUSY = {"reason": "DisruptionBudget", "message": "The disruption budget web is still being processed by the server."}


def evicted(
    folder: Path, code: int, body: object, there: str = POD.uid, asked: list[kmock.Request] | None = None
) -> str:
    """What comes of an eviction that is answered so, with a pod of the uid ``there`` in its place."""
    requests = [] if asked is None else asked

    def script(server: kmock.RawHandler) -> None:
        path = "/api/v1/namespaces/shop/pods"
        wait: Any = kmock.headers({"Retry-After": "1"})
        server[f"post {path}/web-1/eviction"] << code << wait << json.dumps(body).encode() >> requests
        listed = {"items": [{"metadata": {"name": "web-1", "uid": there}, "spec": {"containers": []}, "status": {}}]}
        server[f"get {path}"] << kmock.headers({"Content-Type": "application/json"}) << json.dumps(listed).encode()

    return scripted(folder, script, lambda cluster: NodeDriver("n1", cluster).evict(POD))


@pytest.mark.parametrize(
    ("body", "against"),
    [
        ({"details": {"causes": [BUDGET]}}, "PodDisruptionBudget shop/web, which needs 2 healthy pods and has 2"),
        (
            {"details": {"causes": [BUSY]}},
            "PodDisruptionBudget shop/web, which is still being processed by the server",
        ),
        ({"message": "Cannot evict pod as it would violate the budget."}, "Cannot evict pod as it would violate"),
    ],
)
def test_a_budget_is_no_error(tmp_path: Path, body: object, against: str) -> None:
    """A 429 of a budget says which one and why; it is asked for once, who waits is the caller."""
    asked: list[kmock.Request] = []
    assert evicted(tmp_path, 429, body, asked=asked).startswith(against)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("code", "body"),
    [
        (429, {"message": "Too many requests, please try again later."}),
        (429, {"details": {"causes": [{"reason": "Other", "message": "not a budget"}]}}),
        (500, {"message": "etcd"}),
        (504, {}),
    ],
)
def test_a_throttled_or_broken_server_is_no_budget(tmp_path: Path, code: int, body: object) -> None:
    """A 429 that no budget gave, or a 500, says nothing of the pod: that is for the caller to bear."""
    with pytest.raises(UnreachableError, match="try again in 1 seconds"):
        evicted(tmp_path, code, body)


def test_a_conflict_is_looked_into(tmp_path: Path) -> None:
    """With another uid in its place the pod is gone; with its own somebody has only changed it."""
    conflict = {"message": "Operation cannot be fulfilled", "reason": "Conflict"}
    assert evicted(tmp_path, 409, conflict, there="uid-2") == ""
    assert evicted(tmp_path, 409, conflict) == "somebody else, who changed shop/web-1 meanwhile"


def test_a_budget_that_is_behind_is_no_missing_right(tmp_path: Path) -> None:
    """Also a 403 can come of a budget: when its controller has not confirmed what was evicted before."""
    said = 'poddisruptionbudget.policy "web" is forbidden: DisruptedPods map too big'
    assert evicted(tmp_path, 403, {"message": said}) == said


def test_who_may_not_evict_is_told(tmp_path: Path) -> None:
    """No right is no budget."""
    with pytest.raises(UnfitError, match="give this user the right"):
        evicted(tmp_path, 403, {"message": "pods web-1 is forbidden"})
