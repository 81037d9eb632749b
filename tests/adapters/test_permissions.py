"""The tables of permissions, held to what the drivers really call: a right too few stops a run, one more is a risk."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from botocore import xform_name
from botocore.session import get_session

from orchestrator import adapters
from orchestrator.model.capacity import AutoScaling, DeploymentScale
from orchestrator.model.switch import (
    ArcRoutingSwitch,
    ArcZonalShiftSwitch,
    Elbv2TargetsSwitch,
    Elbv2WeightsSwitch,
    GlobalAcceleratorSwitch,
    HttpRouteSwitch,
    Route53FailoverSwitch,
    Route53WeightsSwitch,
    ServiceSelectorSwitch,
)
from orchestrator.planning.iam import AwsSwitch, Right, scaling_rights, switch_rights
from orchestrator.planning.rbac import Rule, node_rules, scaling_rules, switch_rules
from orchestrator.report.permissions import iam_policy

FOLDER: Final = Path(adapters.__file__).parent

SERVICES: Final = {
    "elasticloadbalancing": "elbv2",
    "route53": "route53",
    "globalaccelerator": "globalaccelerator",
    "route53-recovery-cluster": "route53-recovery-cluster",
    "arc-zonal-shift": "arc-zonal-shift",
    "autoscaling": "autoscaling",
}
"""What botocore calls a service, by the prefix of its actions."""

CONTROL: Final = "arn:aws:route53-recovery-control::111122223333:controlpanel/1/routingcontrol/2"
ELB: Final = "arn:aws:elasticloadbalancing:us-east-1:111122223333:"
SWITCHES: Final[Mapping[str, tuple[AwsSwitch, ...]]] = {
    "elbv2_weights": (
        Elbv2WeightsSwitch(driver="elbv2-weights", forward=f"{ELB}listener/app/mail/1/2"),
        Elbv2WeightsSwitch(driver="elbv2-weights", forward=f"{ELB}listener-rule/app/mail/1/2/3"),
    ),
    "elbv2_targets": (Elbv2TargetsSwitch(driver="elbv2-targets", target_group=f"{ELB}targetgroup/mail/1"),),
    "route53": (
        Route53WeightsSwitch(driver="route53-weights", zone="Z1", name="mx.example.com"),
        Route53FailoverSwitch(driver="route53-failover", zone="Z1", name="mx.example.com"),
    ),
    "global_accelerator": (
        GlobalAcceleratorSwitch(
            driver="global-accelerator", listener="arn:aws:globalaccelerator::111122223333:accelerator/1/listener/2"
        ),
    ),
    "arc_routing": (ArcRoutingSwitch(driver="arc-routing", cluster={"us-east-1": "https://a.example"}),),
    "arc_zonal_shift": (ArcZonalShiftSwitch(driver="arc-zonal-shift", resource=f"{ELB}loadbalancer/app/mail/1"),),
}
"""By the module of the driver: switches that together make it do all that it can."""

RIGHTS: Final[Mapping[str, Iterable[Right]]] = {
    **{
        module: [right for switch in switches for right in switch_rights(switch, [CONTROL], None)]
        for module, switches in SWITCHES.items()
    },
    "autoscaling": scaling_rights(AutoScaling(driver="autoscaling", group="mail"), None),
}

CUSTOM: Final = {
    "kubernetes_route": ("gateway.networking.k8s.io", "httproutes"),
    "kubernetes_selector": ("discovery.k8s.io", "endpointslices"),
    "kubernetes_scale": ("autoscaling", "horizontalpodautoscalers"),
}
"""What a module uses the client of custom objects for."""

ASKS: Final = {
    "read_namespaced_service": ("", "services", "get"),
    "patch_namespaced_service": ("", "services", "patch"),
    "list_namespaced_pod": ("", "pods", "list"),
    "list_pod_for_all_namespaces": ("", "pods", "list"),
    "create_namespaced_pod_eviction": ("", "pods/eviction", "create"),
    "read_node": ("", "nodes", "get"),
    "patch_node": ("", "nodes", "patch"),
    "read_namespaced_daemon_set": ("apps", "daemonsets", "get"),
    "read_namespaced_deployment": ("apps", "deployments", "get"),
    "patch_namespaced_deployment_scale": ("apps", "deployments/scale", "patch"),
}
"""By the operation of the official client: group, resource and verb."""

RULES: Final[Mapping[str, Iterable[Rule]]] = {
    "kubernetes_route": switch_rules(HttpRouteSwitch(driver="kubernetes-route", name="mail")),
    "kubernetes_selector": switch_rules(ServiceSelectorSwitch(driver="kubernetes-selector", name="mail", label="site")),
    "kubernetes_scale": scaling_rules(DeploymentScale(driver="kubernetes-deployment", name="mail")),
    "kubernetes_node": node_rules("node-1"),
}


def sources(module: str, but: frozenset[str]) -> Iterator[ast.Module]:
    """A driver's module, and those of its neighbours that it is made of."""
    left, seen = [module], set(but)
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        tree = ast.parse((FOLDER / f"{name}.py").read_text())
        yield tree
        found = (node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
        left += [it.removeprefix("orchestrator.adapters.") for it in found if it.startswith("orchestrator.adapters.")]


@cache
def operations(service: str) -> Mapping[str, str]:
    """The operations of a service's API, by their method in boto3."""
    names = get_session().get_service_model(service).operation_names
    return {xform_name(name): name for name in names}


def called(module: str) -> set[str]:
    """The actions of all operations that a driver names anywhere."""
    words = {
        node.value
        for tree in sources(module, frozenset({"aws"}))
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {
        f"{prefix}:{operations(service)[word]}"
        for prefix, service in SERVICES.items()
        if service in words
        for word in words & operations(service).keys()
    }


def asked(module: str) -> set[tuple[str, str, str]]:
    """Group, resource and verb of all operations of the official client that a driver names."""
    found = set()
    for tree in sources(module, frozenset({"kubernetes"})):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call):
                client = node.value.func
                if isinstance(client, ast.Attribute) and client.attr in {"core", "apps", "policy", "custom"}:
                    found.add(ask(module, client.attr, node.attr))
    return found


def ask(module: str, client: str, operation: str) -> tuple[str, str, str]:
    """What an operation of the official client is in RBAC's words."""
    return (*CUSTOM[module], operation.partition("_")[0]) if client == "custom" else ASKS[operation]


@pytest.mark.parametrize("module", RIGHTS)
def test_a_policy_allows_just_what_the_driver_calls(module: str) -> None:
    """Each operation that a driver names is allowed, and nothing else."""
    assert {action for right in RIGHTS[module] for action in right.actions} == called(module)


@pytest.mark.parametrize("module", RIGHTS)
def test_reads_are_told_from_writes(module: str) -> None:
    """What does not change anything is a read, by AWS's own names."""
    for right in RIGHTS[module]:
        for action in right.actions:
            reads = action.partition(":")[2].startswith(("Describe", "List", "Get"))
            assert reads != right.writes, action


@pytest.mark.parametrize("module", RIGHTS)
def test_each_action_is_an_operation_of_its_service(module: str) -> None:
    """The names of actions are those of botocore's models, and their prefix is what requests are signed for."""
    for right in RIGHTS[module]:
        for action in right.actions:
            prefix, _, operation = action.partition(":")
            model = get_session().get_service_model(SERVICES[prefix])
            assert model.signing_name == prefix
            assert operation in model.operation_names


@pytest.mark.parametrize("module", RIGHTS)
def test_iam_takes_the_policies(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each policy keeps to IAM's grammar, as moto checks it: versions, Sids, ARNs, operators of conditions."""
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        iam = boto3.client("iam", region_name="us-east-1")
        made = iam.create_policy(PolicyName="failover", PolicyDocument=json.dumps(iam_policy(RIGHTS[module])))
        version = iam.get_policy_version(PolicyArn=made["Policy"]["Arn"], VersionId="v1")["PolicyVersion"]
    assert version["Document"] == iam_policy(RIGHTS[module])


@pytest.mark.parametrize("module", RULES)
def test_a_role_allows_just_what_the_driver_asks(module: str) -> None:
    """Each operation of the client that a driver names is allowed, and nothing else."""
    assert {(rule.group, rule.resource, verb) for rule in RULES[module] for verb in rule.verbs} == asked(module)
