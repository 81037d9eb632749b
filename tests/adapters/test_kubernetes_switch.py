"""Routes and Services of Kubernetes as traffic switches: the contract on a real API server, and what is their own."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from orchestrator.adapters.kubernetes import Cluster
from orchestrator.adapters.kubernetes_route import RouteDriver
from orchestrator.adapters.kubernetes_selector import SelectorDriver
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.access import KubernetesAccess
from orchestrator.model.switch import HttpRouteSwitch, ServiceSelectorSwitch
from orchestrator.model.traffic import Intake
from tests.adapters.gateway_api import GROUP
from tests.adapters.kubernetes_bench import ApiServer, Rule, api_server
from tests.adapters.postfix_bench import wait_for
from tests.adapters.switch_contract import Bench, Intakes, SwitchContract

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

READ = ["get", "list"]
LABEL = "example.com/site"

SHARES: Intakes = {"ord": Intake(weight=100), "iad": Intake(weight=0), "dfw": Intake(weight=50)}
OTHER_SHARES: Intakes = {"iad": Intake(weight=70), "ord": Intake(weight=30)}
ALL_TO_ORD: Intakes = {"ord": Intake(weight=1), "iad": Intake(weight=0), "dfw": Intake(weight=0)}
ALL_TO_IAD: Intakes = {"iad": Intake(weight=1), "ord": Intake(weight=0)}


class InterruptedCluster(Cluster):
    """Somebody else is faster: ``before_write`` happens just before the next write gets there."""

    def __init__(self, access: KubernetesAccess) -> None:
        super().__init__(access)
        self.before_write: Callable[[], None] | None = None

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """See ``Cluster.call``."""
        if function.__name__.startswith(("patch_", "replace_")) and self.before_write is not None:
            before, self.before_write = self.before_write, None
            before()
        return await super().call(function, *args, **kwargs)


class ClusterBench(Bench):
    """A switch in a namespace of its own, driven by a user who may do only what the driver needs."""

    rules: tuple[Rule, ...]

    def __init__(self, api: ApiServer, cluster: InterruptedCluster) -> None:
        self.api = api
        self.cluster = cluster
        self.namespace = api.namespace()
        self.let_write(True)

    def let_write(self, allowed: bool) -> None:
        """Whether the driver's user may write."""
        rules = [rule if allowed else {**rule, "verbs": READ} for rule in self.rules]
        self.api.allow(self.namespace, rules)

    @contextmanager
    def failing(self, member: str) -> Iterator[None]:
        """The user may not write meanwhile; a write is one patch, so that nothing of it is done."""
        self.let_write(False)
        try:
            yield
        finally:
            self.let_write(True)

    @contextmanager
    def racing(self, changes: Intakes) -> Iterator[None]:
        """The other one's change comes before the first write; with none, it comes all the same."""
        self.cluster.before_write = lambda: self.meddle(changes)
        yield
        if self.cluster.before_write is not None:
            self.cluster.before_write = None
            self.meddle(changes)

    def obey(self, line: str) -> None:
        """With kubectl; the line itself says as whom."""
        self.api.shell(line)


class RouteBench(ClusterBench):
    """The second rule of a route, with three members and a backend that is none; a gateway that follows in time."""

    switch: HttpRouteSwitch
    start = SHARES
    shifted = OTHER_SHARES
    elsewhere = 3
    rules = ({"apiGroups": [GROUP], "resources": ["httproutes", "tcproutes"], "verbs": ["get", "list", "patch"]},)
    kind, version = "HTTPRoute", "v1"

    def __init__(self, api: ApiServer, cluster: InterruptedCluster) -> None:
        super().__init__(api, cluster)
        self.switch = HttpRouteSwitch.model_validate(
            {"driver": "kubernetes-route", "kind": self.kind, "namespace": self.namespace, "name": "mail", "rule": 1}
            | {"names": {name: f"mx-{name}" for name in self.start}}
        )
        plural = f"{self.kind.lower()}s"
        self.path = f"/apis/{GROUP}/{self.version}/namespaces/{self.namespace}/{plural}"
        self.others = [
            {"backendRefs": [{"name": "mx-ord", "port": 8080, "weight": 7}]},
            {
                "name": "canary",
                "port": 25,
                "weight": self.elsewhere,
                "filters": [{"type": "X", "x": {"value": "<a&b>"}}],
            },
        ]
        members = [{"name": f"mx-{name}", "port": 25, "weight": to.weight} for name, to in self.start.items()]
        rules = [self.others[0], {"backendRefs": [members[0], self.others[1], *members[1:]]}]
        spec = {"parentRefs": [{"name": "edge"}], "rules": rules}
        kind = {"apiVersion": f"{GROUP}/{self.version}", "kind": self.kind}
        self.api.make(self.path, {**kind, "metadata": {"name": "mail"}, "spec": spec})
        self.path += "/mail"

    def driver(self) -> RouteDriver:
        """A new driver for it."""
        return RouteDriver(self.switch, list(self.start), self.cluster)

    def backends(self) -> list[dict[str, Any]]:
        """The members' backends; all that is none of them must be as it was."""
        first, rule = self.api.get(self.path)["spec"]["rules"]
        assert [first, rule["backendRefs"][1]] == self.others
        return [backend for backend in rule["backendRefs"] if backend["name"] != "canary"]

    def truth(self) -> Intakes:
        """See ``Bench.truth``."""
        return {it["name"].removeprefix("mx-"): Intake(weight=it.get("weight", 1)) for it in self.backends()}

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``."""
        route = self.api.get(self.path)
        for backend in route["spec"]["rules"][1]["backendRefs"]:
            if (name := backend["name"].removeprefix("mx-")) in changes:
                backend["weight"] = changes[name].weight
        self.api.ask("PUT", self.path, route)

    def patch(self, operations: list[dict[str, Any]]) -> None:
        """Change the route with somebody else's hand (RFC 6902)."""
        self.api.ask("PATCH", self.path, operations, "application/json-patch+json")

    def pass_time(self, seconds: float) -> None:
        """The gateway takes the route up."""
        self.say({"edge": ("True", self.generation())})

    def generation(self) -> int:
        """The spec's."""
        return int(self.api.get(self.path)["metadata"]["generation"])

    def say(self, parents: Mapping[str, tuple[str, int]]) -> None:
        """What gateways say of the route: whether they accept it, and up to which generation they have looked."""
        said = [
            {
                "parentRef": {"name": name},
                "controllerName": "example.com/gateway",
                "conditions": [{"type": "Accepted", "status": status, "observedGeneration": seen, "reason": "NoMatch"}],
            }
            for name, (status, seen) in parents.items()
        ]
        self.api.merge(f"{self.path}/status", {"status": {"parents": said}})


class TcpRouteBench(RouteBench):
    """The same as a TCPRoute, which the cluster serves in another version only."""

    kind, version = "TCPRoute", "v1alpha2"


class SelectorBench(ClusterBench):
    """A Service of mail hosts that stands before the pods of one of three sites."""

    switch: ServiceSelectorSwitch
    start = ALL_TO_ORD
    shifted = ALL_TO_IAD
    rules = (
        {"apiGroups": [""], "resources": ["services"], "verbs": ["get", "list", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
    )

    def __init__(self, api: ApiServer, cluster: InterruptedCluster) -> None:
        super().__init__(api, cluster)
        self.switch = ServiceSelectorSwitch.model_validate(
            {"driver": "kubernetes-selector", "namespace": self.namespace, "name": "mail", "label": LABEL}
            | {"names": {name: f"site-{name}" for name in self.start}}
        )
        node = api.node()
        self.pods = {
            name: api.pod(self.namespace, f"mx-{name}", {"app": "mail", LABEL: f"site-{name}"}, node)
            for name in self.start
        }
        services = f"/api/v1/namespaces/{self.namespace}/services"
        spec = {"selector": {"app": "mail", LABEL: "site-ord"}, "ports": [{"port": 25}]}
        api.make(services, {"metadata": {"name": "mail"}, "spec": spec})
        self.path = f"{services}/mail"

    def driver(self) -> SelectorDriver:
        """A new driver for it."""
        return SelectorDriver(self.switch, list(self.start), self.cluster)

    def select(self, selector: Mapping[str, str | None]) -> None:
        """Change labels of the selector with somebody else's hand."""
        self.api.merge(self.path, {"spec": {"selector": selector}})

    def truth(self) -> Intakes:
        """See ``Bench.truth``."""
        selector = self.api.get(self.path)["spec"]["selector"]
        assert selector["app"] == "mail"
        return {name: Intake(weight=int(selector[LABEL] == f"site-{name}")) for name in self.start}

    def meddle(self, changes: Intakes) -> None:
        """Select whom the changes give the traffic; where they only take it, one of whom they say nothing."""
        named = [name for name, to in changes.items() if to.weight]
        chosen, *_ = [*named, *(name for name in list(self.start)[::-1] if name not in changes)]
        self.select({LABEL: f"site-{chosen}"})

    def serving(self) -> set[str]:
        """The pods that the Service sends clients to."""
        version = self.api.get("/apis/discovery.k8s.io")["preferredVersion"]["groupVersion"]
        slices = self.api.get(f"/apis/{version}/namespaces/{self.namespace}/endpointslices")["items"]
        return {it["targetRef"]["name"] for of in slices for it in of["endpoints"] or () if it["conditions"]["ready"]}

    def pass_time(self, seconds: float) -> None:
        """The controllers run on the real clock, and need a moment."""
        asyncio.run(asyncio.sleep(0.05))


@pytest.fixture(scope="session")
def api() -> ApiServer:
    """A real API server."""
    return api_server()


@pytest.fixture(scope="session")
def shared_cluster(api: ApiServer) -> InterruptedCluster:
    """Our side of it, with the client imported: on a busy machine that takes as long as the contract gives a call."""
    it = InterruptedCluster(api.access())
    asyncio.run(it.call(it.core().get_api_resources))
    return it


@pytest.fixture
def route(api: ApiServer, shared_cluster: InterruptedCluster) -> RouteBench:
    """A new route."""
    return RouteBench(api, shared_cluster)


@pytest.fixture
def service(api: ApiServer, shared_cluster: InterruptedCluster) -> SelectorBench:
    """A new Service."""
    return SelectorBench(api, shared_cluster)


class TestHttpRoute(SwitchContract):
    """The contract, on an HTTPRoute."""

    @pytest.fixture
    def bench(self, route: RouteBench) -> RouteBench:
        """A new route."""
        return route


class TestTcpRoute(SwitchContract):
    """The contract, on a TCPRoute."""

    @pytest.fixture
    def bench(self, api: ApiServer, shared_cluster: InterruptedCluster) -> TcpRouteBench:
        """A new route."""
        return TcpRouteBench(api, shared_cluster)


class TestServiceSelector(SwitchContract):
    """The contract, on a Service."""

    @pytest.fixture
    def bench(self, service: SelectorBench) -> SelectorBench:
        """A new Service."""
        return service


class TestRoute:
    """What is a route's own."""

    def test_a_concurrent_change_is_refused(self, route: RouteBench) -> None:
        """A weight that somebody else changes between our look and our write is not written over, and it is said."""
        theirs = {"ord": Intake(weight=1)}
        with route.racing(theirs), pytest.raises(RejectedError, match="somebody else changed it meanwhile"):
            asyncio.run(route.driver().apply(route.shifted))
        assert route.truth() == {**route.start, **theirs}

    def test_a_concurrent_change_elsewhere_in_the_route_is_refused_too(self, route: RouteBench) -> None:
        """A backend that somebody adds changes all shares, so that ours are not written into it unseen."""
        added = {"name": "new", "port": 25, "weight": 1000}
        path = "/spec/rules/1/backendRefs/-"
        patch = [{"op": "add", "path": path, "value": added}]
        route.cluster.before_write = lambda: route.patch(patch)
        with pytest.raises(RejectedError, match="somebody else changed it meanwhile"):
            asyncio.run(route.driver().apply(route.shifted))
        assert [it["weight"] for it in route.backends()] == [100, 0, 50, 1000]

    def test_a_gateway_that_reports_is_no_concurrent_change(self, route: RouteBench) -> None:
        """Gateways write the route's status at any moment; that does not keep us from writing its weights."""
        route.cluster.before_write = lambda: route.pass_time(1.0)
        asyncio.run(route.driver().apply(route.shifted))
        assert route.truth() == {**route.start, **route.shifted}

    def test_a_backend_without_a_weight_has_weight_1(self, api: ApiServer, shared_cluster: InterruptedCluster) -> None:
        """Where the route says no weight it is the API's default, and it can be given one."""
        bench = TcpRouteBench(api, shared_cluster)
        bench.patch([{"op": "remove", "path": "/spec/rules/1/backendRefs/0/weight"}])
        driver = bench.driver()
        assert asyncio.run(driver.read())["ord"].intake == Intake(weight=1)
        asyncio.run(driver.apply({"ord": Intake(weight=0)}))
        assert bench.truth() == {**bench.start, "ord": Intake(weight=0)}

    def test_settles_when_every_gateway_has_taken_it_up(self, route: RouteBench) -> None:
        """No gateway, one that is behind, one that refuses: each is said; a refusal beside an acceptance is fine."""
        driver = route.driver()
        asyncio.run(driver.apply(route.shifted))
        now = route.generation()
        assert f"no gateway has taken up generation {now}" in asyncio.run(driver.settling())
        for parents, said in (
            (
                {"edge": ("True", now), "inner": ("True", now - 1)},
                "Gateway inner (example.com/gateway) has not taken up",
            ),
            ({"edge": ("False", now)}, "no gateway accepts"),
            ({"edge": ("True", now), "inner": ("False", now)}, ""),
        ):
            route.say(parents)
            assert asyncio.run(driver.settling()).startswith(said)
            assert bool(asyncio.run(driver.settling())) == bool(said)

    def test_what_the_inventory_names_must_be_there(self, route: RouteBench) -> None:
        """A route, a rule or a kind that the cluster does not have is said, with what to correct."""
        for change, said in (
            ({"name": "nothing"}, '"nothing" not found'),
            ({"rule": 2}, "it has 2 rules"),
            ({"kind": "TLSRoute"}, "tlsroutes.gateway.networking.k8s.io"),
        ):
            driver = RouteDriver(route.switch.model_copy(update=change), ["ord"], route.cluster)
            with pytest.raises(UnfitError, match=said):
                asyncio.run(driver.read())

    def test_a_service_that_is_there_twice_is_refused(self, route: RouteBench) -> None:
        """Of two backends with one name nobody can say which is meant."""
        twice = {"name": "mx-ord", "port": 26, "weight": 1}
        route.patch([{"op": "add", "path": "/spec/rules/1/backendRefs/-", "value": twice}])
        with pytest.raises(UnfitError, match=r"ord .* apart"):
            asyncio.run(route.driver().read())

    def test_by_hand_is_safe_when_the_member_is_gone(self, route: RouteBench) -> None:
        """The commands that were printed earlier change nothing when the rule has no such backend any more."""
        [line] = route.driver().by_hand({"ord": 5}, {})
        route.patch([{"op": "replace", "path": "/spec/rules/1/backendRefs/0/name", "value": "mx-new"}])
        before = route.api.get(route.path)["spec"]
        moved_after_the_look = f"n=1{line[line.index(' && ') :]}"
        for typed in (line, moved_after_the_look):
            with pytest.raises(subprocess.CalledProcessError):
                route.obey(typed)
        assert route.api.get(route.path)["spec"] == before


class TestSelector:
    """What is a Service's own."""

    def test_a_concurrent_change_is_refused(self, service: SelectorBench) -> None:
        """A selector that somebody else changes between our look and our write is not written over, and it is said."""
        with (
            service.racing({"dfw": Intake(weight=1)}),
            pytest.raises(RejectedError, match="somebody else changed the selector"),
        ):
            asyncio.run(service.driver().apply(service.shifted))
        assert service.truth()["dfw"] == Intake(weight=1)

    def test_exactly_one_member_has_the_traffic(self, service: SelectorBench) -> None:
        """Nobody, or two at once, cannot be; whom the change does not name is not robbed of it."""
        for changes in (
            {"ord": Intake(weight=0)},
            {"iad": Intake(weight=1)},
            {"iad": Intake(weight=1), "dfw": Intake(weight=1), "ord": Intake(weight=0)},
        ):
            with pytest.raises(RejectedError, match="exactly one member"):
                asyncio.run(service.driver().apply(changes))
        assert service.truth() == service.start

    def test_a_member_is_up_while_a_pod_of_it_is_ready(self, service: SelectorBench) -> None:
        """Before it is selected too: so a check can refuse to switch to pods that would serve nobody."""
        driver = service.driver()
        assert {name: it.up for name, it in asyncio.run(driver.read()).items()} == dict.fromkeys(service.start, True)
        service.api.set_ready(service.pods["iad"], False)
        service.api.delete(service.pods["dfw"], grace=None)
        assert [it.up for it in asyncio.run(driver.read()).values()] == [True, False, False]

    def test_settles_when_its_endpoints_are_those_of_the_selected(self, service: SelectorBench) -> None:
        """A change has settled when the Service's endpoints, made by the cluster's controller, are the new pods."""
        driver = service.driver()
        asyncio.run(driver.apply(service.shifted))
        wait_for(lambda: asyncio.run(driver.settling()) == "", 30.0)
        assert service.serving() == {"mx-iad"}

    def test_does_not_settle_without_a_pod_that_is_ready(self, service: SelectorBench) -> None:
        """A Service that selects nobody who is ready serves nobody: that is said for as long as it is so."""
        service.api.set_ready(service.pods["iad"], False)
        driver = service.driver()
        asyncio.run(driver.apply(service.shifted))
        wait_for(lambda: "has no endpoint that is ready" in asyncio.run(driver.settling()), 30.0)

    def test_a_selector_that_is_nobodys_is_said(self, service: SelectorBench) -> None:
        """Another value than those of the members, or no such label, is refused with what is there."""
        service.select({LABEL: "site-lab"})
        with pytest.raises(UnfitError, match="site-lab"):
            asyncio.run(service.driver().read())
        service.select({LABEL: None})
        with pytest.raises(UnfitError, match="it has app"):
            asyncio.run(service.driver().read())

    def test_two_members_need_two_values(self, service: SelectorBench) -> None:
        """Members with the same value of the label cannot be told apart."""
        switch = service.switch.model_copy(update={"names": {"ord": "a", "iad": "a"}})
        with pytest.raises(UnfitError, match="ord, iad"):
            SelectorDriver(switch, ["ord", "iad"], service.cluster)
