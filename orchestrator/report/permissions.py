"""What a runbook needs to be allowed, as IAM policies and RBAC roles that can be handed in as they are.

Other than every report it is no rich page: what is handed in must never be cut or wrapped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

from pydantic import JsonValue

from orchestrator.model.access import KubernetesAccess
from orchestrator.planning.iam import Right
from orchestrator.planning.permissions import AwsPolicy, ClusterRules, Identity, Permissions
from orchestrator.planning.rbac import Rule
from orchestrator.report.records import Record
from orchestrator.report.sheet import one_line

Provider = Literal["aws", "kubernetes"]

PROVIDERS: Final[tuple[Provider, ...]] = ("aws", "kubernetes")

_POLICY_LANGUAGE: Final = "2012-10-17"
"""The version of IAM's policy language (IAM User Guide, "Version"), not of a policy."""


def permissions_record(needed: Permissions, providers: Sequence[Provider] = PROVIDERS) -> Record:
    """For machines: by provider, for whom (``for``), what for (``uses``), and what to hand in."""
    record: Record = {"runbook": needed.runbook}
    if "aws" in providers:
        record["aws"] = [
            {"for": _identity_record(one.identity), "uses": list(one.uses), "policy": iam_policy(one.rights)}
            for one in needed.aws
        ]
    if "kubernetes" in providers:
        record["kubernetes"] = [
            {
                "for": {"kubeconfig": one.access.kubeconfig, "context": one.access.context},
                "uses": list(one.uses),
                "roles": list(_roles(needed.runbook, one.rules)),
            }
            for one in needed.kubernetes
        ]
    record["others"] = list(needed.others)
    return record


def permissions_text(needed: Permissions, providers: Sequence[Provider] = PROVIDERS) -> str:
    """For people: the policies and roles, each below what it is for, and why what is wide cannot be narrower.

    The part for one Kubernetes cluster is YAML as ``kubectl apply -f -`` takes it.
    """
    parts = [_aws_text(one) for one in needed.aws] if "aws" in providers else []
    if "kubernetes" in providers:
        parts += [_cluster_text(needed.runbook, one) for one in needed.kubernetes]
    if not parts:
        what = " or ".join({"aws": "AWS", "kubernetes": "Kubernetes"}[provider] for provider in providers)
        parts.append([f"# {needed.runbook} needs nothing of {what}"])
    if needed.others:
        parts.append([f"# neither AWS nor Kubernetes: {one_line(use)}" for use in needed.others])
    return "\n\n".join("\n".join(part) for part in parts)


def iam_policy(rights: Iterable[Right]) -> Record:
    """An IAM policy document."""
    statements: list[JsonValue] = [_statement(sid, right) for sid, right in _with_sids(rights)]
    return {"Version": _POLICY_LANGUAGE, "Statement": statements}


def _statement(sid: str, right: Right) -> Record:
    statement: Record = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(right.actions),
        "Resource": list(right.resources),
    }
    if right.condition:
        statement["Condition"] = {
            operator: {key: list(values) for key, values in keys.items()} for operator, keys in right.condition.items()
        }
    return statement


def _with_sids(rights: Iterable[Right]) -> Iterator[tuple[str, Right]]:
    """Each right with a name that is its own, letters and digits only: its first action, and a number from two on."""
    taken: dict[str, int] = {}
    for right in rights:
        sid = right.actions[0].partition(":")[2]
        taken[sid] = taken.get(sid, 0) + 1
        yield (sid if taken[sid] == 1 else f"{sid}{taken[sid]}"), right


def _aws_text(one: AwsPolicy) -> list[str]:
    lines = [f"# AWS, {_identity_words(one.identity)}: IAM policy", *_uses(one.uses)]
    lines += [f"# {sid} is no narrower: {right.why}" for sid, right in _with_sids(one.rights) if right.why]
    return [*lines, json.dumps(iam_policy(one.rights), indent=2)]


def _identity_words(identity: Identity) -> str:
    if identity.role is not None:
        return f"the role {one_line(identity.role)}"
    return "the credentials that failover starts with" + (
        f", profile {one_line(identity.profile)}" if identity.profile is not None else ""
    )


def _identity_record(identity: Identity) -> Record:
    return {"assume_role": identity.role, "profile": identity.profile}


def _cluster_text(runbook: str, one: ClusterRules) -> list[str]:
    lines = [f"# Kubernetes, {_cluster_words(one.access)}: roles, to be bound to whom failover works as"]
    lines += _uses(one.uses)
    for namespace, rules in _by_namespace(one.rules):
        head = _head(runbook, namespace)
        lines += ["---", f"apiVersion: {head['apiVersion']}", f"kind: {head['kind']}"]
        lines += [f"metadata: {json.dumps(head['metadata'])}", "rules:"]
        for rule in rules:
            lines += [f"  # no narrower: {rule.why}"] if rule.why else []
            lines.append(f"  - {json.dumps(_rule(rule))}")
    return lines


def _cluster_words(access: KubernetesAccess) -> str:
    words = [
        f"{name} {value}" for name, value in (("kubeconfig", access.kubeconfig), ("context", access.context)) if value
    ]
    return one_line(", ".join(words)) or "the current context"


def _roles(runbook: str, rules: Iterable[Rule]) -> Iterator[Record]:
    for namespace, some in _by_namespace(rules):
        yield {**_head(runbook, namespace), "rules": [_rule(rule) for rule in some]}


def _by_namespace(rules: Iterable[Rule]) -> Iterator[tuple[str | None, list[Rule]]]:
    found: dict[str | None, list[Rule]] = {}
    for rule in rules:
        found.setdefault(rule.namespace, []).append(rule)
    yield from found.items()


def _head(runbook: str, namespace: str | None) -> Record:
    metadata: Record = {"name": f"failover-{runbook}"}
    if namespace is not None:
        metadata["namespace"] = namespace
    kind = "ClusterRole" if namespace is None else "Role"
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata}


def _rule(rule: Rule) -> Record:
    record: Record = {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)}
    if rule.names:
        record["resourceNames"] = list(rule.names)
    return record


def _uses(uses: Iterable[str]) -> list[str]:
    return [f"# for {one_line(use)}" for use in uses]
