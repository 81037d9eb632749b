"""Policies and roles as they are handed in to AWS and Kubernetes."""

from __future__ import annotations

import json

import yaml
from pydantic import JsonValue

from orchestrator.model.access import KubernetesAccess
from orchestrator.planning.iam import Right
from orchestrator.planning.permissions import AwsPolicy, ClusterRules, Identity, Permissions
from orchestrator.planning.rbac import Rule
from orchestrator.report.permissions import iam_policy, permissions_record, permissions_text

ARN = "arn:aws:elasticloadbalancing:us-east-1:111122223333:listener-rule/app/mail/1/2/3"
READ = Right(("elasticloadbalancing:DescribeRules",), why="Describe calls name no resource")
WRITE = Right(("elasticloadbalancing:ModifyRule",), (ARN,), {"Bool": {"aws:SecureTransport": ("true",)}}, writes=True)
ROUTE = Rule("gateway.networking.k8s.io", "httproutes", ("get", "patch"), ("smtp",), "mail")
PODS = Rule("", "pods", ("list",), why="what is listed cannot be named")

NEEDED = Permissions(
    "move",
    (AwsPolicy(Identity(profile="ops"), ("the switch of pool smtp (elbv2-weights)",), (READ, WRITE)),),
    (ClusterRules(KubernetesAccess(context="ord"), ("the node mx1 (kubernetes)",), (ROUTE, PODS)),),
    ("the switch of pool mail (haproxy)",),
)

AWS_AGREED = f"""\
# AWS, the credentials that failover starts with, profile ops: IAM policy
# for the switch of pool smtp (elbv2-weights)
# DescribeRules is no narrower: Describe calls name no resource
{{
  "Version": "2012-10-17",
  "Statement": [
    {{
      "Sid": "DescribeRules",
      "Effect": "Allow",
      "Action": [
        "elasticloadbalancing:DescribeRules"
      ],
      "Resource": [
        "*"
      ]
    }},
    {{
      "Sid": "ModifyRule",
      "Effect": "Allow",
      "Action": [
        "elasticloadbalancing:ModifyRule"
      ],
      "Resource": [
        "{ARN}"
      ],
      "Condition": {{
        "Bool": {{
          "aws:SecureTransport": [
            "true"
          ]
        }}
      }}
    }}
  ]
}}

# neither AWS nor Kubernetes: the switch of pool mail (haproxy)"""


def test_a_policy_reads_as_agreed() -> None:
    """Above the policy stand whom it is for, what for, and why a statement is wide."""
    assert permissions_text(NEEDED, ["aws"]) == AWS_AGREED


def test_the_part_of_a_cluster_is_yaml() -> None:
    """What is printed for a cluster can be given to kubectl: a Role for each namespace, a ClusterRole for the rest."""
    text = permissions_text(NEEDED, ["kubernetes"])
    role, cluster_role = [one for one in yaml.safe_load_all(text) if one is not None]
    assert role["kind"] == "Role"
    assert role["metadata"] == {"name": "failover-move", "namespace": "mail"}
    assert role["rules"] == [
        {
            "apiGroups": ["gateway.networking.k8s.io"],
            "resources": ["httproutes"],
            "verbs": ["get", "patch"],
            "resourceNames": ["smtp"],
        }
    ]
    assert cluster_role["kind"] == "ClusterRole"
    assert cluster_role["metadata"] == {"name": "failover-move"}
    assert cluster_role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    assert "# no narrower: what is listed cannot be named" in text


def test_machines_get_the_same() -> None:
    """The record has the policy and the roles themselves, and whom and what they are for."""
    record = permissions_record(NEEDED)
    assert json.loads(json.dumps(record)) == record
    (aws,), (cluster,) = _parts(record["aws"]), _parts(record["kubernetes"])
    assert aws["for"] == {"assume_role": None, "profile": "ops"}
    assert aws["policy"] == iam_policy([READ, WRITE])
    assert cluster["for"] == {"kubeconfig": None, "context": "ord"}
    printed = yaml.safe_load_all(permissions_text(NEEDED, ["kubernetes"]))
    assert cluster["roles"] == [one for one in printed if one is not None]
    assert record["others"] == ["the switch of pool mail (haproxy)"]


def _parts(value: JsonValue) -> list[dict[str, JsonValue]]:
    assert isinstance(value, list)
    return [one for one in value if isinstance(one, dict)]


def test_only_what_is_asked_for_is_shown() -> None:
    """--for one provider leaves the other out."""
    assert "kubernetes" not in permissions_record(NEEDED, ["aws"])
    assert "Statement" not in permissions_text(NEEDED, ["kubernetes"])


def test_no_statement_has_anothers_name() -> None:
    """Sids of one policy must differ, or AWS refuses it."""
    names = [one["Sid"] for one in _parts(iam_policy([READ, READ, WRITE])["Statement"])]
    assert names == ["DescribeRules", "DescribeRules2", "ModifyRule"]


def test_nothing_is_said_plainly() -> None:
    """A runbook that needs nothing gets no empty policy."""
    assert permissions_text(Permissions("move"), ["aws"]) == "# move needs nothing of AWS"
    assert permissions_text(Permissions("move")) == "# move needs nothing of AWS or Kubernetes"


def test_no_text_works_on_the_terminal() -> None:
    """Names from an inventory are shown, and do nothing there."""
    evil = AwsPolicy(Identity(role="\x1b[2Jrole"), ("the switch of \x1b[1m",), (Right(("a:B",), ("\x1b[2J",)),))
    text = permissions_text(Permissions("move", (evil,)))
    assert "\x1b" not in text
