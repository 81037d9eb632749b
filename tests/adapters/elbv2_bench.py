"""Load balancers in a world of AWS with time, a second person's hand on them, and somebody in the way to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
from botocore.exceptions import ClientError

from orchestrator.adapters.aws import Aws
from orchestrator.adapters.elbv2_targets import Elbv2TargetsDriver
from orchestrator.adapters.elbv2_weights import Elbv2WeightsDriver
from orchestrator.model.access import AwsAccess
from orchestrator.model.switch import Elbv2TargetsSwitch, Elbv2WeightsSwitch
from orchestrator.model.traffic import Intake
from orchestrator.testing.overlay import AwsWorld
from tests.adapters.aws_shell import obey
from tests.adapters.switch_contract import Bench, Intakes

REGION = "us-east-1"

Meeting = Callable[[str, str], object]
"""Called with the operation and the body of each call, just before it is sent; what it returns is AWS's answer."""

OIDC = {
    "Type": "authenticate-oidc",
    "Order": 1,
    "AuthenticateOidcConfig": {
        "Issuer": "https://id.example.com",
        "AuthorizationEndpoint": "https://id.example.com/a",
        "TokenEndpoint": "https://id.example.com/t",
        "UserInfoEndpoint": "https://id.example.com/u",
        "ClientId": "us",
        "ClientSecret": "not shown by AWS",
    },
}


class Way:
    """The way from a driver to AWS, where somebody may wait for its calls."""

    def __init__(self) -> None:
        self.meetings: list[Meeting] = []
        self.returns: list[Callable[[str], object]] = []
        """Called with the operation when its answer comes back."""
        self.written: list[Mapping[str, Any]] = []
        """The arguments of each write."""
        self.aws = Aws(AwsAccess(region=REGION))
        events, service = self.aws._open_session().events, "elastic-load-balancing-v2"
        events.register(f"provide-client-params.{service}", self._note)
        events.register(f"before-call.{service}", self._meet)
        events.register(f"after-call.{service}", self._return)

    @contextmanager
    def met(self, meeting: Meeting) -> Iterator[None]:
        """Somebody waits there for the time of the block."""
        self.meetings.append(meeting)
        try:
            yield
        finally:
            self.meetings.remove(meeting)

    @contextmanager
    def followed(self, work: Callable[[str], object]) -> Iterator[None]:
        """Somebody does ``work`` when an answer comes back, for the time of the block."""
        self.returns.append(work)
        try:
            yield
        finally:
            self.returns.remove(work)

    def _note(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        if not _reads(model.name):
            self.written.append(params)

    def _meet(self, model: Any, params: Mapping[str, Any], **_: Any) -> Any:
        for meeting in list(self.meetings):
            if (answer := meeting(model.name, str(params["body"]))) is not None:
                return answer
        return None

    def _return(self, model: Any, **_: Any) -> None:
        for work in list(self.returns):
            work(model.name)


def refuse(operation: str, body: str) -> object:
    """AWS says no to a write."""
    if _reads(operation):
        return None
    raise ClientError({"Error": {"Code": "InvalidConfigurationRequest", "Message": "not today"}}, operation)


def drop(operation: str, body: str) -> object:
    """AWS says yes to a write, and does nothing."""
    return None if _reads(operation) else (SimpleNamespace(status_code=200), {})


def about(text: str, meeting: Meeting) -> Meeting:
    """Only calls with ``text`` in them."""
    return lambda operation, body: meeting(operation, body) if text in body else None


def first(work: Callable[[], None]) -> Meeting:
    """``work`` is done before the first write, which then goes on."""
    left = [work]

    def meeting(operation: str, body: str) -> object:
        if left and not _reads(operation):
            left.pop()()
        return None

    return meeting


def _reads(operation: str) -> bool:
    return operation.startswith("Describe")


@cache
def _person() -> boto3.Session:
    """Somebody else's session: made once, as it takes long to read the models of these services."""
    return boto3.Session(aws_access_key_id="person", aws_secret_access_key="person", region_name=REGION)


class Elbv2:
    """A load balancer, and target groups without targets."""

    def __init__(self, world: AwsWorld, kind: str, groups: int) -> None:
        self.world = world
        self.api = _person().client("elbv2")
        subnets = _person().client("ec2").describe_subnets()["Subnets"][:2]
        self.vpc = subnets[0]["VpcId"]
        self.protocol = "TCP" if kind == "network" else "HTTP"
        balancers = self.api.create_load_balancer(
            Name="edge", Type=kind, Subnets=[subnet["SubnetId"] for subnet in subnets]
        )["LoadBalancers"]
        self.balancer = balancers[0]["LoadBalancerArn"]
        self.groups = [self.group(f"smtp-{number}") for number in range(1, groups + 1)]

    def remove(self) -> None:
        """Take it all away."""
        self.api.delete_load_balancer(LoadBalancerArn=self.balancer)
        for group in self.groups:
            self.api.delete_target_group(TargetGroupArn=group)

    def group(self, name: str) -> str:
        """The ARN of a new target group."""
        made = self.api.create_target_group(
            Name=name, Protocol=self.protocol, Port=25, VpcId=self.vpc, TargetType="ip"
        )["TargetGroups"]
        return str(made[0]["TargetGroupArn"])

    def listener(self, actions: list[dict[str, Any]]) -> str:
        """The ARN of a new listener."""
        made = self.api.create_listener(
            LoadBalancerArn=self.balancer, Protocol=self.protocol, Port=25, DefaultActions=actions
        )["Listeners"]
        return str(made[0]["ListenerArn"])

    def rule(self, listener: str, actions: list[dict[str, Any]]) -> str:
        """The ARN of a new rule."""
        made = self.api.create_rule(
            ListenerArn=listener,
            Conditions=[{"Field": "path-pattern", "Values": ["/mail/*"]}],
            Priority=10,
            Actions=actions,
        )["Rules"]
        return str(made[0]["RuleArn"])


class WeightsBench(Bench):
    """A forward action to four target groups, three of which are members; one of these is named by its ARN."""

    switch: Elbv2WeightsSwitch

    def __init__(self, world: AwsWorld, is_rule: bool) -> None:
        self.start = {"mx1": Intake(weight=300), "mx2": Intake(weight=100), "mx3": Intake(weight=0)}
        self.shifted = {"mx1": Intake(weight=0), "mx2": Intake(weight=999)}
        self.elb = Elbv2(world, "application" if is_rule else "network", 4)
        self.way = Way()
        self.is_rule = is_rule
        one, two, three, canary = self.elb.groups
        self.arns = {"mx1": one, "mx2": two, "mx3": three}
        sticky = {"Enabled": True, "DurationSeconds": 600} if is_rule else {"Enabled": False}
        self.elsewhere = 7
        weights = {**{self.arns[name]: to.weight for name, to in self.start.items()}, canary: self.elsewhere}
        forward = {"Type": "forward", "Order": 2, "ForwardConfig": {"TargetGroupStickinessConfig": sticky}}
        self.actions: list[dict[str, Any]] = [OIDC, forward] if is_rule else [forward]
        if is_rule:
            other = [{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "404"}}]
            self.forward = self.elb.rule(self.elb.listener(other), self._with(weights))
        else:
            self.forward = self.elb.listener(self._with(weights))
        names = {"mx1": "smtp-1", "mx2": "smtp-2", "mx3": three}
        self.switch = Elbv2WeightsSwitch(driver="elbv2-weights", forward=self.forward, names=names)
        self.rest = self._rest()

    def driver(self) -> Elbv2WeightsDriver:
        """See ``Bench.driver``."""
        return Elbv2WeightsDriver(self.switch, list(self.start), self.way.aws, pause=0.0)

    def truth(self) -> Intakes:
        """See ``Bench.truth``; what is no member's must be as it was."""
        assert self._rest() == self.rest, "something that is no member's was touched"
        weights = self._weights(self.seen())
        return {name: Intake(weight=weights[arn]) for name, arn in self.arns.items()}

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``."""
        self.write({**self._weights(self.seen()), **{self.arns[name]: to.weight for name, to in changes.items()}})

    @contextmanager
    def failing(self, member: str) -> Iterator[None]:
        """See ``Bench.failing``: at a listener AWS says no, at a rule it says yes and does nothing."""
        with self.way.met(drop if self.is_rule else refuse):
            yield

    @contextmanager
    def racing(self, changes: Intakes) -> Iterator[None]:
        """See ``Bench.racing``."""
        with self.way.met(first(lambda: self.meddle(changes))):
            yield

    def pass_time(self, seconds: float) -> None:
        """See ``Bench.pass_time``."""
        self.elb.world.clock.advance(seconds)

    def obey(self, line: str) -> None:
        """See ``Bench.obey``."""
        obey(line)

    def seen(self) -> list[dict[str, Any]]:
        """The actions as AWS has them."""
        found: list[dict[str, Any]]
        if self.is_rule:
            found = self.elb.api.describe_rules(RuleArns=[self.forward])["Rules"][0]["Actions"]
        else:
            found = self.elb.api.describe_listeners(ListenerArns=[self.forward])["Listeners"][0]["DefaultActions"]
        return found

    def write(self, weights: Mapping[str, int]) -> None:
        """Somebody else's write, which replaces all of it as every write does."""
        if self.is_rule:
            self.elb.api.modify_rule(RuleArn=self.forward, Actions=self._with(weights))
        else:
            self.elb.api.modify_listener(ListenerArn=self.forward, DefaultActions=self._with(weights))

    def _with(self, weights: Mapping[str, int]) -> list[dict[str, Any]]:
        groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
        *others, forward = self.actions
        return [*others, {**forward, "ForwardConfig": {**forward["ForwardConfig"], "TargetGroups": groups}}]

    @staticmethod
    def _weights(actions: list[dict[str, Any]]) -> dict[str, int]:
        return {one["TargetGroupArn"]: one["Weight"] for one in actions[-1]["ForwardConfig"]["TargetGroups"]}

    def _rest(self) -> object:
        *others, forward = self.seen()
        for one in others:
            one["AuthenticateOidcConfig"] = {
                key: value
                for key, value in one["AuthenticateOidcConfig"].items()
                if key not in ("ClientSecret", "UseExistingClientSecret")
            }
        config = forward.pop("ForwardConfig")
        strangers = [one for one in config.pop("TargetGroups") if one["TargetGroupArn"] not in self.arns.values()]
        return others, forward, config, strangers


class TargetsBench(Bench):
    """A target group with two targets of its own port and another one, of which two take traffic."""

    switch: Elbv2TargetsSwitch

    def __init__(self, world: AwsWorld) -> None:
        ready, drained = Intake(weight=1), Intake(weight=1, admin="drain")
        self.start = {"mx1": ready, "mx2": ready, "mx3": drained}
        self.shifted = {"mx3": ready, "mx1": drained}
        self.elb = Elbv2(world, "network", 1)
        self.way = Way()
        (self.group,) = self.elb.groups
        self.elb.listener([{"Type": "forward", "TargetGroupArn": self.group}])
        self.targets = {
            "mx1": {"Id": "10.0.0.1", "Port": 25},
            "mx2": {"Id": "10.0.0.1", "Port": 2525},
            "mx3": {"Id": "10.0.1.3", "Port": 25},
        }
        names = {"mx1": "10.0.0.1:25", "mx2": "10.0.0.1:2525", "mx3": "10.0.1.3:25"}
        self.switch = Elbv2TargetsSwitch(driver="elbv2-targets", target_group=self.group, names=names)
        self.meddle({name: to for name, to in self.start.items() if to.admin == "ready"})
        self.pass_time(world.settings.target_healthy_after or 0.0)

    def driver(self) -> Elbv2TargetsDriver:
        """See ``Bench.driver``."""
        return Elbv2TargetsDriver(self.switch, list(self.start), self.way.aws, pause=0.0)

    def states(self) -> dict[str, str]:
        """What AWS says of each member; empty where it lists none."""
        listed = self.elb.api.describe_target_health(TargetGroupArn=self.group)["TargetHealthDescriptions"]
        found = {(one["Target"]["Id"], one["Target"]["Port"]): one["TargetHealth"]["State"] for one in listed}
        return {name: found.get((one["Id"], one["Port"]), "") for name, one in self.targets.items()}

    def truth(self) -> Intakes:
        """See ``Bench.truth``."""
        return {
            name: Intake(weight=1, admin="drain" if state in ("", "draining") else "ready")
            for name, state in self.states().items()
        }

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``."""
        for name, to in changes.items():
            change = self.elb.api.register_targets if to.admin == "ready" else self.elb.api.deregister_targets
            change(TargetGroupArn=self.group, Targets=[self.targets[name]])

    @contextmanager
    def failing(self, member: str) -> Iterator[None]:
        """See ``Bench.failing``."""
        with self.way.met(about(str(self.targets[member]["Id"]), refuse)):
            yield

    @contextmanager
    def racing(self, changes: Intakes) -> Iterator[None]:
        """See ``Bench.racing``."""
        with self.way.met(first(lambda: self.meddle(changes))):
            yield

    def pass_time(self, seconds: float) -> None:
        """See ``Bench.pass_time``."""
        self.elb.world.clock.advance(seconds)

    def obey(self, line: str) -> None:
        """See ``Bench.obey``."""
        obey(line)
