"""A Deployment that is scaled, on a real API server with the real controllers; a thread plays scheduler and kubelet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import kmock
import pytest

from orchestrator.actions.action import REACHED
from orchestrator.actions.scale_out import ScaleOut
from orchestrator.adapters.kubernetes import Cluster
from orchestrator.adapters.kubernetes_scale import DeploymentDriver
from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.capacity import DeploymentScale, ScalingReading
from orchestrator.model.runbook import ScaleOutArguments
from tests.adapters.kubelet_bench import Kubelet, bind, deployment, path_of, pods_on, unbound
from tests.adapters.kubernetes_bench import ADMIN, ApiServer, api_server
from tests.adapters.postfix_bench import wait_for
from tests.adapters.test_kubernetes import scripted
from tests.adapters.test_kubernetes_switch import InterruptedCluster
from tests.unit.fakes.watch import FakeWatch

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]


class Site:
    """A Deployment ``mail`` of two pods that serve, on a node and in a namespace of its own."""

    def __init__(self, api: ApiServer, cluster: InterruptedCluster) -> None:
        self.api = api
        self.cluster = cluster
        self.namespace = api.namespace()
        self.node = api.node()
        self.path = deployment(api, self.namespace, "mail", 2)
        self.wait_for_pods(2)
        self.serve()
        wait_for(lambda: self.get()["status"].get("availableReplicas") == 2)

    def get(self) -> dict[str, Any]:
        """The Deployment."""
        return self.api.get(self.path)

    def replicas(self) -> int:
        """What it is asked for."""
        return int(self.get()["spec"]["replicas"])

    def scale(self, count: int) -> None:
        """Somebody else asks for so many."""
        self.api.merge(self.path, {"spec": {"replicas": count}})

    def wait_for_pods(self, count: int) -> None:
        """Until so many wait for a scheduler, and it is known that they do."""
        wait_for(lambda: len(unbound(self.api, self.namespace)) == count)
        self.wait_for_controller()

    def wait_for_controller(self) -> None:
        """Until the status is that of the spec."""
        wait_for(lambda: self.get()["status"].get("observedGeneration") == self.get()["metadata"]["generation"])

    def serve(self) -> None:
        """What scheduler and kubelet do."""
        for it in unbound(self.api, self.namespace):
            bind(self.api, it, self.node)
            self.api.set_ready(path_of(it), True)

    def say(self, pod: dict[str, Any], **status: object) -> None:
        """A pod's status."""
        self.api.merge(f"{path_of(pod)}/status", {"status": status})

    def driver(self, name: str = "mail") -> DeploymentDriver:
        """A new driver for it."""
        scaling = DeploymentScale(driver="kubernetes-deployment", namespace=self.namespace, name=name)
        return DeploymentDriver(scaling, self.cluster)

    def read(self) -> ScalingReading:
        """As the driver reads it."""
        return asyncio.run(self.driver().read())

    def set_desired(self, count: int) -> None:
        """As the driver sets it."""
        asyncio.run(self.driver().set_desired(count))

    def before_write(self, work: Callable[[], object]) -> None:
        """Somebody else is faster than our next write."""
        self.cluster.before_write = lambda: (work(), None)[1]


@pytest.fixture(scope="session")
def api() -> ApiServer:
    """The control plane that all tests share."""
    return api_server()


@pytest.fixture(scope="session")
def shared_cluster(api: ApiServer) -> InterruptedCluster:
    """Our side of it."""
    return InterruptedCluster(api.access(ADMIN))


@pytest.fixture
def site(api: ApiServer, shared_cluster: InterruptedCluster) -> Site:
    """A new Deployment."""
    return Site(api, shared_cluster)


def scale_out(site: Site, **arguments: object) -> ScaleOut:
    """The action."""
    return ScaleOut(ScaleOutArguments.model_validate({"pool": "smtp", "site": "ord", **arguments}), site.driver())


def test_out_and_back(api: ApiServer, site: Site) -> None:
    """The step ends when all that it asked for are available, and its undo asks for as many as there were before."""

    async def story() -> None:
        step, watch = scale_out(site, to=4), FakeWatch()
        start = await step.observe()
        assert await step.converge(step.target(start), watch) == REACHED
        assert (site.replicas(), site.get()["status"]["availableReplicas"]) == (4, 4)
        assert await step.converge(start, watch) == REACHED
        assert site.replicas() == 2

    with Kubelet(api, site.node, schedule={site.namespace: site.node}):
        asyncio.run(story())
        wait_for(lambda: len(pods_on(api, site.node)) == 2)


def test_it_waits_for_pods_that_do_not_come(site: Site) -> None:
    """At the deadline it says which pods are not there, and why."""
    outcome = asyncio.run(scale_out(site, to=3, deadline="1s").converge(target(site, 3), FakeWatch()))
    (pod,) = unbound(site.api, site.namespace)
    assert not outcome.reached
    assert f"2 of 3 healthy; waits for {pod['metadata']['name']} Pending" in outcome.reason


def target(site: Site, to: int) -> Any:
    """What the step wants."""
    step = scale_out(site, to=to)
    return step.target(asyncio.run(step.observe()))


def test_what_it_sees(site: Site) -> None:
    """Replicas that are available are healthy; there is no limit but zero."""
    assert site.read() == ScalingReading(desired=2, healthy=2, least=0, most=None, waits_for=())


def test_what_pods_wait_for(api: ApiServer, site: Site) -> None:
    """Each pod that is missing is named with the word of the scheduler, the kubelet or its probe."""
    site.set_desired(7)
    site.wait_for_pods(5)
    waits = sorted(unbound(api, site.namespace), key=lambda it: str(it["metadata"]["name"]))
    names = [it["metadata"]["name"] for it in waits]
    refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes\nare free"}
    failing = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "unready: [mail]"}
    waiting = {"reason": "ImagePullBackOff", "message": "no such image " * 100}
    container = {"name": "mail", "image": "m", "imageID": "", "ready": False, "restartCount": 0}
    starting = {**container, "state": {"waiting": {"reason": "PodInitializing"}}}
    init = {**container, "name": "migrate", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    site.say(waits[0], conditions=[refused])
    site.say(waits[1], containerStatuses=[{**container, "state": {"waiting": waiting}}])
    site.say(waits[2], initContainerStatuses=[init], containerStatuses=[starting])
    site.say(waits[3], phase="Running", conditions=[failing])
    reading = site.read()
    assert (reading.desired, reading.healthy) == (7, 2)
    assert reading.waits_for[0] == f"{names[0]} Unschedulable: 0/3 nodes are free"
    assert reading.waits_for[1].startswith(f"{names[1]} mail: ImagePullBackOff: no such image no such image")
    assert len(reading.waits_for[1]) < 250
    assert reading.waits_for[2:] == (
        f"{names[2]} migrate: CrashLoopBackOff",
        f"{names[3]} ContainersNotReady: unready: [mail]",
        f"{names[4]} Pending",
    )


def test_what_the_controller_complains_of(api: ApiServer, site: Site) -> None:
    """Pods that a quota forbids are never made: the controller's word for it is told."""
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "2"}}}
    api.make(f"/api/v1/namespaces/{site.namespace}/resourcequotas", quota)
    path = f"/api/v1/namespaces/{site.namespace}/resourcequotas/few"
    wait_for(lambda: api.get(path)["status"].get("used", {}).get("pods") == "2")
    site.set_desired(3)
    wait_for(lambda: bool(site.read().waits_for) and "exceeded quota" in site.read().waits_for[0])
    assert site.read().waits_for[0].startswith("FailedCreate: ")


def test_pods_of_others_are_not_named(api: ApiServer, site: Site) -> None:
    """A selector with expressions is asked for as it is: what it does not select is none of its pods."""
    expressions = [
        {"key": "app", "operator": "In", "values": ["x", "y"]},
        {"key": "tier", "operator": "NotIn", "values": ["old"]},
        {"key": "live", "operator": "Exists"},
        {"key": "spare", "operator": "DoesNotExist"},
    ]
    labels = {"app": "x", "tier": "new", "live": ""}
    spec = {"containers": [{"name": "mail", "image": "example.com/mail"}]}
    template = {"metadata": {"labels": labels}, "spec": spec}
    of = {"replicas": 1, "selector": {"matchExpressions": expressions}, "template": template}
    path = f"/apis/apps/v1/namespaces/{site.namespace}/deployments"
    api.make(path, {"metadata": {"name": "other"}, "spec": of})
    pods = f"/api/v1/namespaces/{site.namespace}/pods"
    api.make(pods, {"metadata": {"name": "spare", "labels": {**labels, "spare": ""}}, "spec": spec})
    wait_for(lambda: len(unbound(api, site.namespace)) == 2)
    (mine,) = [it for it in unbound(api, site.namespace) if it["metadata"]["name"] != "spare"]
    wait_for(lambda: asyncio.run(site.driver("other").read()).waits_for == (f"{mine['metadata']['name']} Pending",))


def test_an_old_status_tells_nothing(site: Site) -> None:
    """Until its controller has taken up the last change nothing counts as healthy, however good its status looks."""
    site.api.merge(site.path, {"spec": {"paused": True}})
    site.wait_for_controller()
    generation = site.get()["metadata"]["generation"]
    assert site.read().healthy == 2
    behind = StoppedController(site, generation - 1)
    reading = asyncio.run(behind.driver().read())
    assert (reading.desired, reading.healthy) == (2, 0)
    assert reading.waits_for == ("its controller, which has not taken up the last change",)


class StoppedController:
    """The same Deployment, as it is read while its controller has seen no more than a generation."""

    def __init__(self, site: Site, seen: int) -> None:
        self._site = site
        self._seen = seen

    def driver(self) -> DeploymentDriver:
        """A driver that reads it so."""
        seen = self._seen

        class Behind(Cluster):
            async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
                """See ``Cluster.call``."""
                reply = await super().call(function, *args, **kwargs)
                if function.__name__ == "read_namespaced_deployment":
                    reply.status.observed_generation = seen
                return reply

        scaling = DeploymentScale(driver="kubernetes-deployment", namespace=self._site.namespace, name="mail")
        return DeploymentDriver(scaling, Behind(self._site.api.access(ADMIN)))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_it_is_asked_for_as_many(site: Site, count: int) -> None:
    """Also for none and back from it; nothing else in its spec changes."""
    before = site.get()["spec"]
    site.set_desired(count)
    assert site.get()["spec"] == {**before, "replicas": count}
    assert site.read().desired == count
    site.set_desired(2)
    assert site.get()["spec"] == before


def test_what_is_so_already_is_not_written(site: Site) -> None:
    """Who asks for what is asked for already writes nothing."""
    site.before_write(lambda: pytest.fail("it is written"))
    site.set_desired(2)
    site.cluster.before_write = None


def test_somebody_else_scales_it_meanwhile(site: Site) -> None:
    """Another's number between our look and our write is not written over."""
    site.before_write(partial(site.scale, 9))
    with pytest.raises(RejectedError, match="somebody else changed it meanwhile, and it wants 9") as caught:
        site.set_desired(4)
    assert "look at it as it is now, then try again" in str(caught.value)
    assert site.replicas() == 9


def test_a_new_one_of_its_name_is_not_scaled(site: Site) -> None:
    """A Deployment that somebody has made anew meanwhile is another one, with the same number too."""

    def renew() -> None:
        site.api.delete(site.path, None)
        wait_for(lambda: site.path not in deployments(site))
        deployment(site.api, site.namespace, "mail", 2)

    site.before_write(renew)
    with pytest.raises(RejectedError, match="somebody else changed it meanwhile"):
        site.set_desired(4)
    assert site.replicas() == 2


def deployments(site: Site) -> set[str]:
    """The paths of those there are."""
    path = site.path.rpartition("/")[0]
    return {f"{path}/{it['metadata']['name']}" for it in site.api.get(path)["items"]}


def test_a_status_that_moves_is_no_conflict(site: Site) -> None:
    """Controllers write the status at any moment: that does not keep us from writing the number."""
    labels = {"metadata": {"annotations": {"example.com/seen": "yes"}}}
    site.before_write(lambda: site.api.merge(f"{site.path}/status", labels))
    site.set_desired(4)
    assert site.replicas() == 4


def test_somebody_else_scales_it_after_us(site: Site) -> None:
    """A number that does not last until it is read back is an error, not a success."""

    class Contrary(Cluster):
        """After each of our writes somebody does the contrary."""

        async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            """See ``Cluster.call``."""
            reply = await super().call(function, *args, **kwargs)
            if function.__name__.startswith("patch_"):
                site.scale(3)
            return reply

    scaling = DeploymentScale(driver="kubernetes-deployment", namespace=site.namespace, name="mail")
    with pytest.raises(RejectedError, match="to 4: it wants 3"):
        asyncio.run(DeploymentDriver(scaling, Contrary(site.api.access(ADMIN))).set_desired(4))


def test_what_an_autoscaler_scales_is_not_ours(api: ApiServer, site: Site) -> None:
    """A HorizontalPodAutoscaler of this very Deployment is named; those of others do not matter."""
    path = f"/apis/autoscaling/v1/namespaces/{site.namespace}/horizontalpodautoscalers"
    for kind, name in (("Deployment", "web"), ("ReplicaSet", "mail")):
        of = {"kind": kind, "name": name, "apiVersion": "apps/v1"}
        hpa = {"metadata": {"name": f"of-{kind.lower()}-{name}"}, "spec": {"scaleTargetRef": of, "maxReplicas": 9}}
        api.make(path, hpa)
    assert site.read().desired == 2
    of = {"kind": "Deployment", "name": "mail", "apiVersion": "apps/v1"}
    api.make(path, {"metadata": {"name": "by-load"}, "spec": {"scaleTargetRef": of, "maxReplicas": 9}})
    for work in (site.driver().read(), site.driver().set_desired(4)):
        with pytest.raises(UnfitError, match=r"HorizontalPodAutoscaler by-load does.*minReplicas"):
            asyncio.run(work)
    assert site.replicas() == 2


def test_no_such_deployment(site: Site) -> None:
    """A name that is wrong in the inventory is told before anything is touched."""
    nobody = site.driver("nobody")
    for work in (nobody.read(), nobody.set_desired(1)):
        with pytest.raises(UnfitError, match=r'"nobody" not found'):
            asyncio.run(work)


def test_by_hand(site: Site) -> None:
    """What a person pastes does the same."""
    (line,) = site.driver().by_hand(5)
    site.api.shell(line)
    assert site.replicas() == 5


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_that_does_not_answer_the_write(tmp_path: Path, code: int) -> None:
    """What the write has done is not known then: that is told, and it is not made again by itself."""
    asked: list[kmock.Request] = []

    def script(server: kmock.RawHandler) -> None:
        wait: Any = kmock.headers({"Retry-After": "1"})
        base = "/apis/apps/v1/namespaces/default/deployments/mail"
        hpas = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
        spec = {"replicas": 2, "selector": {}, "template": {"spec": {"containers": []}}}
        metadata = {"name": "mail", "uid": "u", "resourceVersion": "1", "generation": 1}
        resource = {
            "name": "horizontalpodautoscalers",
            "singularName": "",
            "namespaced": True,
            "kind": "K",
            "verbs": [],
        }
        replies = {
            base: {"metadata": metadata, "spec": spec, "status": {"observedGeneration": 1}},
            hpas: {"items": []},
            "/apis/autoscaling/v2": {"groupVersion": "autoscaling/v2", "resources": [resource]},
        }
        for path, reply in replies.items():
            server[f"get {path}"] << kmock.headers({"Content-Type": "application/json"}) << json.dumps(reply).encode()
        server[f"patch {base}/scale"] << code << wait << b"{}" >> asked

    scaling = DeploymentScale(driver="kubernetes-deployment", name="mail")
    with pytest.raises(UnreachableError, match="try again in 1 seconds"):
        scripted(tmp_path, script, lambda cluster: DeploymentDriver(scaling, cluster).set_desired(4))
    assert len(asked) == 1
