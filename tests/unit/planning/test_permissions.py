"""What a runbook needs to be allowed: just what its steps, checks and guards do, on just what the inventory names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import Runbook
from orchestrator.planning.iam import Right
from orchestrator.planning.permissions import Identity, Permissions, permissions
from orchestrator.planning.rbac import Rule
from orchestrator.planning.snapshot import observe

from ..fakes.clock import LoopClock, run
from .world import World

ROLE = "arn:aws:iam::111122223333:role/failover"
ELB = "arn:aws:elasticloadbalancing:us-east-1:111122223333"
RULE = f"{ELB}:listener-rule/app/mail/1/2/3"

SHIFT = {"id": "shift", "do": "traffic.shift", "with": {"pool": "smtp", "from": "ord", "to": "iad"}}
HOLD = {"id": "wait", "do": "hold", "with": {"until": "1m"}}
GROW = {"id": "grow", "do": "scale.out", "with": {"pool": "smtp", "site": "iad", "add": 2}}
EMPTY = {"id": "empty", "do": "node.drain", "with": {"host": "mx1"}}
HEADROOM = {"headroom": {"pool": "smtp", "at_least": 1.3}}

WEIGHTS = {"driver": "elbv2-weights", "forward": RULE}
RECORDS = {"driver": "route53-weights", "zone": "Z1", "name": "Mx*.Example.com."}
ROUTE = {"driver": "kubernetes-route", "namespace": "mail", "name": "smtp"}
HAPROXY = {"driver": "haproxy", "socket": "/run/haproxy.sock", "backend": "smtp"}


def inventory(
    switch: Mapping[str, object],
    aws: Mapping[str, object] | None = None,
    scaling: Mapping[str, object] | None = None,
    more: Mapping[str, Mapping[str, object]] | None = None,
) -> Inventory:
    """Pools at two sites, one of which says how AWS is called."""
    parts = {
        "ord": {"members": ["mx1"], "capacity": "100/s", "address": "192.0.2.1:25"},
        "iad": {"members": ["mx2"], "capacity": "100/s", "address": "192.0.2.2:25", "scaling": scaling},
    }
    mail = {"sender": "probe@health.example", "recipient": "probe@health.example"}
    pools = {
        name: {"protocol": "smtp", "address": "192.0.2.9:25", "switch": one, "test_mail": mail, "sites": parts}
        for name, one in {"smtp": switch, **(more or {})}.items()
    }
    hosts = {"mx1": {"node": {"driver": "kubernetes", "name": "node-1"}}}
    return Inventory.model_validate(
        {"sites": {"ord": {"aws": aws}, "iad": {"aws": aws}}, "pools": pools, "hosts": hosts}
    )


def needed(
    it: Inventory,
    steps: Sequence[Mapping[str, object]] = (SHIFT,),
    guards: Sequence[Mapping[str, object]] = (),
    checks: Mapping[str, Mapping[str, object]] | None = None,
) -> Permissions:
    """What these steps need."""
    text = {"runbook": "move", "steps": steps, "guards": guards, "checks": checks or {}}
    return permissions(Runbook.model_validate(text), it)


def rights(found: Permissions) -> tuple[Right, ...]:
    """Those of the only identity."""
    (policy,) = found.aws
    return policy.rights


def rules(found: Permissions) -> tuple[Rule, ...]:
    """Those in the only cluster."""
    (cluster,) = found.kubernetes
    return cluster.rules


def test_a_moved_pool_is_read_and_written() -> None:
    """A shift reads what its switch is, and may change that one listener rule and nothing else."""
    reads, writes = rights(needed(inventory(WEIGHTS)))
    assert reads.actions == ("elasticloadbalancing:DescribeRules", "elasticloadbalancing:DescribeTargetHealth")
    assert (reads.resources, reads.writes) == (("*",), False)
    assert reads.why
    assert (writes.actions, writes.resources) == (("elasticloadbalancing:ModifyRule",), (RULE,))


def test_a_listener_is_not_modified_as_a_rule() -> None:
    """Where the traffic is split in the listener itself, that is what is read and written."""
    listener = f"{ELB}:listener/net/mail/1/2"
    reads, writes = rights(needed(inventory({"driver": "elbv2-weights", "forward": listener})))
    assert "elasticloadbalancing:DescribeListeners" in reads.actions
    assert (writes.actions, writes.resources) == (("elasticloadbalancing:ModifyListener",), (listener,))


@pytest.mark.parametrize(
    ("guards", "checks"),
    [
        ([HEADROOM], {}),
        ([{"serving": {"pool": "smtp", "at_least": 1}}], {}),
        ([{"blast_radius": {"pool": "smtp", "at_most": "50%"}}], {}),
        ([], {"silent": {"probe": "sessions", "at": {"pool": "smtp"}, "over": "5s", "expect": {"sessions": "== 0"}}}),
    ],
    ids=["headroom", "serving", "blast-radius", "sessions"],
)
def test_what_is_only_looked_at_is_not_written(
    guards: Sequence[Mapping[str, object]], checks: Mapping[str, Mapping[str, object]]
) -> None:
    """A pool that a guard or a check reads, and no step moves, is given no write; in Kubernetes neither."""
    assert not any(right.writes for right in rights(needed(inventory(WEIGHTS), [HOLD], guards, checks)))
    assert [rule.verbs for rule in rules(needed(inventory(ROUTE), [HOLD], guards, checks))] == [("get",)]


def test_nothing_is_needed_for_what_is_not_used() -> None:
    """A pool that the runbook does not touch or look at gives no right to anything."""
    assert needed(inventory(WEIGHTS), [HOLD]) == Permissions("move")


def test_plans_b_need_rights_too() -> None:
    """What is done only in place of an undo must be allowed as well."""
    manual = {"id": "reboot", "do": "manual", "with": {"task": "reboot it"}, "plan_b": [SHIFT]}
    assert any(right.writes for right in rights(needed(inventory(WEIGHTS), [manual])))


def test_a_record_is_changed_under_its_own_name_and_type_only() -> None:
    """Route 53's conditions hold a change to one name, as IAM writes it, one type, and the two actions of a swap."""
    *reads, write = rights(needed(inventory(RECORDS)))
    assert write.resources == ("arn:aws:route53:::hostedzone/Z1",)
    assert write.condition["ForAllValues:StringEquals"] == {
        "route53:ChangeResourceRecordSetsNormalizedRecordNames": ("mx\\052.example.com",),
        "route53:ChangeResourceRecordSetsRecordTypes": ("A",),
        "route53:ChangeResourceRecordSetsActions": ("CREATE", "DELETE"),
    }
    assert set(write.condition["Null"].values()) == {("false",)}
    assert all(right.why for right in reads if right.resources != write.resources)


@pytest.mark.parametrize(
    ("region", "partition"),
    [(None, "aws"), ("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")],
)
def test_arns_have_the_partition_of_the_region(region: str | None, partition: str) -> None:
    """In China and GovCloud ARNs begin otherwise."""
    *_, write = rights(needed(inventory(RECORDS | {"aws": {"region": region}})))
    assert write.resources == (f"arn:{partition}:route53:::hostedzone/Z1",)


def test_a_zone_is_named_without_its_path() -> None:
    """What the API shows, as /hostedzone/Z1, is the same zone as Z1."""
    assert needed(inventory(RECORDS | {"zone": "/hostedzone/Z1"})) == needed(inventory(RECORDS))


def test_safety_rules_cannot_be_overridden() -> None:
    """Routing controls of the pool are named, and the right to override safety rules is never given."""
    arn = "arn:aws:route53-recovery-control::111122223333:controlpanel/1/routingcontrol/"
    names = {"mx1": f"{arn}a", "mx2": f"{arn}b"}
    switch = {"driver": "arc-routing", "cluster": {"us-east-1": "https://a.example"}, "names": names}
    *_, write = rights(needed(inventory(switch)))
    assert write.resources == (f"{arn}a", f"{arn}b")
    assert write.condition == {"Bool": {"route53-recovery-cluster:AllowSafetyRulesOverrides": ("false",)}}


def test_a_zonal_shift_is_held_to_its_load_balancer() -> None:
    """Its actions know no resource, but a condition that names it; reads and writes have it both."""
    balancer = f"{ELB}:loadbalancer/app/mail/1"
    for right in rights(needed(inventory({"driver": "arc-zonal-shift", "resource": balancer}))):
        assert right.condition == {"StringEquals": {"arc-zonal-shift:ResourceIdentifier": (balancer,)}}


def test_dials_are_turned_below_their_listener_only() -> None:
    """Endpoint groups have ids that the inventory does not know: all of the listener's, and of no other."""
    listener = "arn:aws:globalaccelerator::111122223333:accelerator/1/listener/2"
    *_, write = rights(needed(inventory({"driver": "global-accelerator", "listener": listener})))
    assert write.resources == (f"{listener}/endpoint-group/*",)


def test_a_group_is_scaled_by_its_name() -> None:
    """An Auto Scaling group is named in the region of its site; without a region, in any."""
    scaling = {"driver": "autoscaling", "group": "mail"}
    for aws, where in ((None, "*"), ({"region": "us-east-1"}, "us-east-1")):
        *_, write = rights(needed(inventory(HAPROXY, aws, scaling), [GROW]))
        assert write.actions == ("autoscaling:SetDesiredCapacity",)
        assert write.resources == (f"arn:aws:autoscaling:{where}:*:autoScalingGroup:*:autoScalingGroupName/mail",)


def test_whoever_starts_may_work_as_the_role_and_no_more() -> None:
    """With a role to assume, the credentials at the start need that one right; all others are the role's."""
    first, second = needed(inventory(WEIGHTS | {"aws": {"assume_role": ROLE, "profile": "ops"}})).aws
    assert first.identity == Identity(profile="ops")
    assert [(right.actions, right.resources) for right in first.rights] == [(("sts:AssumeRole",), (ROLE,))]
    assert second.identity == Identity(role=ROLE)
    assert any(right.writes for right in second.rights)


def test_each_role_gets_its_own_policy() -> None:
    """Two accounts need not trust each other with what is in the other one."""
    other = {
        "driver": "elbv2-targets",
        "target_group": f"{ELB}:targetgroup/mail/1",
        "aws": {"assume_role": f"{ROLE}-2"},
    }
    found = needed(
        inventory(WEIGHTS | {"aws": {"assume_role": ROLE}}, more={"api": other}),
        [SHIFT, {"id": "out", "do": "traffic.drain", "with": {"pool": "api", "site": "ord"}}],
    )
    assert {one.identity.role: len(one.rights) for one in found.aws} == {None: 1, ROLE: 2, f"{ROLE}-2": 2}


def test_what_is_the_same_is_said_once() -> None:
    """Equal calls on several resources are one statement, and so are several calls on equal resources."""
    other = f"{ELB}:listener-rule/app/mail/1/2/4"
    found = needed(
        inventory(WEIGHTS, more={"api": WEIGHTS | {"forward": other}}),
        [SHIFT, SHIFT | {"id": "api", "with": {"pool": "api", "from": "ord", "to": "iad"}}],
    )
    reads, writes = rights(found)
    assert reads.resources == ("*",)
    assert writes.resources == (RULE, other)


def test_conditions_are_never_mixed() -> None:
    """Two records of one zone stay two statements: together they would allow each name with the other's type."""
    other = RECORDS | {"name": "txt.example.com", "type": "TXT"}
    found = needed(
        inventory(RECORDS, more={"api": other}),
        [SHIFT, SHIFT | {"id": "api", "with": {"pool": "api", "from": "ord", "to": "iad"}}],
    )
    assert len([right for right in rights(found) if right.writes]) == 2


def test_a_route_is_named() -> None:
    """In Kubernetes the one object is named, in its namespace."""
    (rule,) = rules(needed(inventory(ROUTE)))
    assert (rule.group, rule.resource, rule.verbs) == ("gateway.networking.k8s.io", "httproutes", ("get", "patch"))
    assert (rule.names, rule.namespace) == (("smtp",), "mail")


def test_a_node_is_named_and_its_pods_are_not() -> None:
    """A node is cordoned by its name in the cluster; which pods it runs is known only when it is drained."""
    found = rules(needed(inventory(HAPROXY), [EMPTY]))
    assert {rule.names for rule in found if rule.resource == "nodes"} == {("node-1",)}
    assert all(rule.why for rule in found if not rule.names)
    assert all(rule.namespace is None for rule in found)


def test_a_deployment_is_scaled_by_its_name() -> None:
    """Its scale is named; it is itself never written."""
    scaling = {"driver": "kubernetes-deployment", "namespace": "mail", "name": "mx"}
    found = rules(needed(inventory(HAPROXY, scaling=scaling), [GROW]))
    assert {rule.names for rule in found if rule.writes} == {("mx",)}
    assert {rule.resource for rule in found if rule.writes} == {"deployments/scale"}


def test_what_neither_gives_rights_to_is_named() -> None:
    """A switch that is reached by a socket is told, so that nobody takes an empty policy for all."""
    assert needed(inventory(HAPROXY)) == Permissions("move", others=("the switch of pool smtp (haproxy)",))


def test_all_that_a_plan_looks_at_may_be_read() -> None:
    """What planning asks is in the permissions: the two must not know different things of a runbook."""
    it = inventory(HAPROXY, more={"api": HAPROXY | {"backend": "api"}, "web": HAPROXY | {"backend": "web"}})
    text = {
        "runbook": "move",
        "steps": [SHIFT],
        "guards": [{"serving": {"pool": "api", "at_least": 1}}],
        "checks": {"idle": {"probe": "sessions", "at": {"pool": "web"}, "over": "5s", "expect": {"sessions": "== 0"}}},
    }
    runbook, world = Runbook.model_validate(text), World(it)
    run(observe(runbook, world, LoopClock()))
    asked = {call.removeprefix("read switch ") for call in world.calls if call.startswith("read switch ")}
    assert asked == {use.split()[4] for use in permissions(runbook, it).others} == {"smtp", "api", "web"}
