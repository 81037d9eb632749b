"""A whole run through the command line on a real API server: capacity comes, a node is emptied, and all comes back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters.gateway_api import GROUP
from tests.adapters.kubelet_bench import Kubelet, bind, budget, daemon_set, deployment, roles_on, unbound
from tests.adapters.kubernetes_bench import ADMIN, ApiServer, api_server
from tests.adapters.postfix_bench import wait_for
from tests.lab.command import Ended, failover

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

STEPS = """
runbook: node-maintenance
summary: Take a node out of service while its provider works on it.
steps:
  - {id: more, do: scale.out, with: {pool: smtp, site: iad, add: 1, deadline: 30s}}
  - {id: empty, do: node.drain, with: {host: worker, deadline: 8s}}
  - {id: back, do: return, steps: [empty, more]}
"""


class Site:
    """Three mail pods and an agent on a node that is to be emptied; new pods come to a spare one."""

    def __init__(self, api: ApiServer, folder: Path) -> None:
        self.api = api
        self.namespace = api.namespace()
        self.node, self.spare = api.node(), api.node()
        self.path = deployment(api, self.namespace, "mail", 3)
        daemon_set(api, self.namespace, "agent", self.node)
        wait_for(lambda: len(unbound(api, self.namespace)) == 4)
        for it in unbound(api, self.namespace):
            bind(api, it, self.node)
        self.budget = budget(api, self.namespace, "mail", "mail", 3)
        self._route()
        self.runbook = folder / "node-maintenance.yaml"
        self.runbook.write_text(STEPS)
        self.inventory = folder / "inventory.yaml"
        self.inventory.write_text(json.dumps(self._inventory()))  # JSON is YAML

    @property
    def replicas(self) -> int:
        """What the Deployment is asked for."""
        return int(self.api.get(self.path)["spec"]["replicas"])

    @property
    def is_cordoned(self) -> bool:
        """Whether the node takes no new pods."""
        return bool(self.api.get(f"/api/v1/nodes/{self.node}")["spec"].get("unschedulable"))

    def is_whole(self) -> bool:
        """Whether all mail pods serve, and the budget has counted them."""
        return bool(self.api.get(self.budget)["status"].get("currentHealthy") == 3)

    def failover(self, *arguments: str) -> Ended:
        """A command about the runbook."""
        verb, *more = arguments
        return failover(verb, str(self.runbook), "-i", str(self.inventory), "--json", *more)

    def _route(self) -> None:
        backends = [{"name": site, "port": 25, "weight": weight} for site, weight in (("iad", 100), ("ord", 100))]
        route = {"metadata": {"name": "smtp"}, "spec": {"rules": [{"backendRefs": backends}]}}
        kind = {"apiVersion": f"{GROUP}/v1", "kind": "HTTPRoute"}
        self.api.make(f"/apis/{GROUP}/v1/namespaces/{self.namespace}/httproutes", {**kind, **route})

    def _inventory(self) -> dict[str, Any]:
        cluster = {"kubeconfig": str(self.api.kubeconfig(ADMIN))}
        part = {"capacity": "100/s", "address": "127.0.0.1:25"}
        scaling = {"driver": "kubernetes-deployment", "namespace": self.namespace, "name": "mail"}
        switch = {"driver": "kubernetes-route", "site": "iad", "namespace": self.namespace, "name": "smtp"}
        return {
            "sites": {"ord": {}, "iad": {"kubernetes": cluster}},
            "pools": {
                "smtp": {
                    "protocol": "smtp",
                    "address": "127.0.0.1:25",
                    "switch": switch,
                    "demand": "50/s",
                    "test_mail": {"sender": "probe@example.com", "recipient": "probe@example.com"},
                    "sites": {
                        "ord": {"members": ["ord"], **part},
                        "iad": {"members": ["iad"], **part, "scaling": scaling},
                    },
                }
            },
            "hosts": {"worker": {"node": {"driver": "kubernetes", "name": self.node, "cluster": cluster}}},
        }


@pytest.fixture(scope="session")
def api() -> ApiServer:
    """The control plane that all tests share."""
    return api_server()


@pytest.fixture
def site(api: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A new one, with a kubelet and a scheduler."""
    monkeypatch.setenv("FAILOVER_STATE", str(tmp_path / "state"))
    made = Site(api, tmp_path)
    with Kubelet(api, made.node, made.spare, schedule={made.namespace: made.spare}):
        wait_for(made.is_whole)
        yield made


def test_out_and_back(site: Site) -> None:
    """The fourth pod is there before the first one goes, so that a budget of three lets all go; all comes back."""
    ended = site.failover("run")
    assert (ended.code, ended.record["status"]) == (0, "done"), ended.errors
    assert roles_on(site.api, site.node) == Counter({"agent": 1})
    assert (site.replicas, site.is_cordoned) == (3, False)
    wait_for(lambda: roles_on(site.api, site.spare) == Counter({"mail": 3}))


def test_the_plan_tells_and_touches_nothing(site: Site) -> None:
    """What will be done to Deployment and node stands in the plan, and is not done."""
    ended = site.failover("plan")
    assert ended.code == 0, ended.errors
    for line in ("node worker: open to new pods → cordoned", "pods on worker: 3 → 0"):
        assert line in str(ended.record)
    assert (site.replicas, site.is_cordoned) == (3, False)
    assert roles_on(site.api, site.node) == Counter({"agent": 1, "mail": 3})


def test_a_budget_that_does_not_yield_ends_it(site: Site) -> None:
    """At the deadline the run fails, says which budget it was, and is undone: uncordoned, and as large as before."""
    site.api.merge(site.budget, {"spec": {"minAvailable": 9}})
    ended = site.failover("run")
    assert (ended.code, ended.record["status"]) == (3, "undone"), ended.errors
    assert f"PodDisruptionBudget {site.namespace}/mail, which needs 9 healthy pods and has 4" in str(ended.record)
    assert (site.replicas, site.is_cordoned) == (3, False)
    assert roles_on(site.api, site.node)["agent"] == 1
