"""Weighted target groups and targets of a load balancer: the contract in a world of AWS with time, and their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TypeVar

import pytest

from orchestrator.adapters.elbv2_targets import Elbv2TargetsDriver
from orchestrator.adapters.elbv2_weights import Elbv2WeightsDriver
from orchestrator.errors import OutsideError, RejectedError, UnfitError
from orchestrator.model.switch import Elbv2TargetsSwitch, Elbv2WeightsSwitch
from orchestrator.model.traffic import Intake, Session
from orchestrator.testing.overlay import AwsWorld, aws_world
from tests.adapters.elbv2_bench import TargetsBench, Way, WeightsBench, about, drop, first
from tests.adapters.switch_contract import Bench, SwitchContract

T = TypeVar("T", WeightsBench, TargetsBench)


@pytest.fixture(scope="module")
def world() -> Iterator[AwsWorld]:
    """AWS with time."""
    with aws_world() as world:
        yield world


def removed(bench: T) -> Iterator[T]:
    """The bench, which is taken away afterwards."""
    try:
        yield bench
    finally:
        bench.elb.remove()


class WeightsContract(SwitchContract):
    """The contract, without the one promise that the API cannot keep: it has no write with a condition."""

    def test_a_change_in_between_is_not_lost_in_silence(self, bench: Bench) -> None:
        """Changes before our last look stay; changes after our write are said; in the moment between they are lost."""
        assert isinstance(bench, WeightsBench)
        driver = bench.driver()
        self.wait(driver.read())
        bench.meddle({"mx3": Intake(weight=50)})
        self.wait(driver.apply({"mx1": Intake(weight=0)}))
        assert bench.truth() == {**bench.start, "mx1": Intake(weight=0), "mx3": Intake(weight=50)}
        with bench.racing({"mx3": Intake(weight=60)}):
            self.wait(driver.apply({"mx1": Intake(weight=9)}))
        assert bench.truth()["mx3"] == Intake(weight=50), "the API has learned to compare: use that, and say so in docs"


class TestElbv2ListenerWeights(WeightsContract):
    """The contract, on the default actions of a listener."""

    @pytest.fixture
    def bench(self, world: AwsWorld) -> Iterator[WeightsBench]:
        """A listener of a Network Load Balancer."""
        yield from removed(WeightsBench(world, is_rule=False))


class TestElbv2RuleWeights(WeightsContract):
    """The contract, on the actions of a rule, which also logs users in and is sticky."""

    @pytest.fixture
    def bench(self, world: AwsWorld) -> Iterator[WeightsBench]:
        """A rule of an Application Load Balancer."""
        yield from removed(WeightsBench(world, is_rule=True))


class TestElbv2Targets(SwitchContract):
    """The contract, on the targets of one target group."""

    @pytest.fixture
    def bench(self, world: AwsWorld) -> Iterator[TargetsBench]:
        """A target group of a Network Load Balancer."""
        yield from removed(TargetsBench(world))


@pytest.fixture
def listener(world: AwsWorld) -> Iterator[WeightsBench]:
    """A listener of a Network Load Balancer."""
    yield from removed(WeightsBench(world, is_rule=False))


@pytest.fixture
def rule(world: AwsWorld) -> Iterator[WeightsBench]:
    """A rule of an Application Load Balancer."""
    yield from removed(WeightsBench(world, is_rule=True))


@pytest.fixture
def targets(world: AwsWorld) -> Iterator[TargetsBench]:
    """A target group of a Network Load Balancer."""
    yield from removed(TargetsBench(world))


def test_weights_are_written_once_and_only_where_they_differ(listener: WeightsBench) -> None:
    """One write for all members, none where they are so already."""
    driver = listener.driver()
    asyncio.run(driver.apply(listener.start))
    assert listener.way.written == []
    asyncio.run(driver.apply(listener.shifted))
    assert len(listener.way.written) == 1


def test_a_rule_keeps_its_login(rule: WeightsBench) -> None:
    """AWS never shows the client's secret, so the write says that the one it has is meant."""
    asyncio.run(rule.driver().apply(rule.shifted))
    login, _ = rule.way.written[0]["Actions"]
    assert login["AuthenticateOidcConfig"]["UseExistingClientSecret"] is True


@pytest.mark.parametrize(("member", "said"), [("mx1", "mx1 has weight 5 instead of 0"), ("mx3", "somebody else")])
def test_a_change_after_the_write_is_said(listener: WeightsBench, member: str, said: str) -> None:
    """Where somebody takes our weights back at once, the members are named; where they change others, that is said."""
    meddling: list[str] = []

    def meddle(operation: str) -> None:
        if operation == "ModifyListener" and not meddling:
            meddling.append(operation)
            listener.meddle({member: Intake(weight=5)})

    with listener.way.followed(meddle), pytest.raises(RejectedError, match=said):
        asyncio.run(listener.driver().apply({"mx1": Intake(weight=0)}))


def test_a_single_target_group_has_weight_one(listener: WeightsBench) -> None:
    """A forward action that only names one target group counts as weight 1, and can be given another weight."""
    one = listener.arns["mx1"]
    listener.elb.api.modify_listener(
        ListenerArn=listener.forward, DefaultActions=[{"Type": "forward", "TargetGroupArn": one}]
    )
    driver = Elbv2WeightsDriver(listener.switch, ["mx1"], listener.way.aws, pause=0.0)
    assert asyncio.run(driver.read())["mx1"].intake == Intake(weight=1)
    asyncio.run(driver.apply({"mx1": Intake(weight=3)}))
    (action,) = listener.way.written[0]["DefaultActions"]
    assert action == {
        "Type": "forward",
        "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": one, "Weight": 3}]},
    }
    assert asyncio.run(driver.read())["mx1"].intake == Intake(weight=3)


def test_a_group_is_up_while_one_target_is(listener: WeightsBench) -> None:
    """No target, new ones, one healthy of two, a third one that is new and takes nothing away, none healthy."""
    driver, world, group = listener.driver(), listener.elb.world, listener.arns["mx1"]

    def state() -> tuple[bool, float]:
        reading = asyncio.run(driver.read())["mx1"]
        return reading.up, reading.healthy

    assert state() == (False, 0.0)
    listener.elb.api.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.1"}, {"Id": "10.0.0.2"}])
    assert state() == (False, 0.0)
    world.clock.advance(20.0)
    assert state() == (True, 1.0)
    world.targets.set_unhealthy(group, "10.0.0.1")
    assert state() == (True, 0.5)
    listener.elb.api.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.3"}])
    assert state() == (True, 0.5)
    world.targets.set_unhealthy(group, "10.0.0.2")
    assert state() == (False, 0.0)


def test_a_member_that_is_not_forwarded_to_is_named(listener: WeightsBench) -> None:
    """What is missing in the forward action is told with what is there, also when planning only reads."""
    driver = Elbv2WeightsDriver(listener.switch, ["mx1", "smtp-9"], listener.way.aws)
    with pytest.raises(UnfitError, match=r"smtp-9 .* its target groups are smtp-1, smtp-2, smtp-3, smtp-4"):
        asyncio.run(driver.read())


def test_a_listener_that_forwards_nowhere_is_refused(rule: WeightsBench) -> None:
    """A redirect or a fixed answer has no weights; a default rule is the listener's."""
    listeners = rule.elb.api.describe_listeners(LoadBalancerArn=rule.elb.balancer)["Listeners"]
    arn = listeners[0]["ListenerArn"]
    default = next(one for one in rule.elb.api.describe_rules(ListenerArn=arn)["Rules"] if one["IsDefault"])
    for forward, said in ((arn, "forwards to no target group"), (default["RuleArn"], "default rule")):
        switch = Elbv2WeightsSwitch(driver="elbv2-weights", forward=forward)
        with pytest.raises(UnfitError, match=said):
            asyncio.run(Elbv2WeightsDriver(switch, ["smtp-1"], Way().aws).read())


def test_wrong_arns_are_refused_at_once() -> None:
    """The ARN of something else is told before AWS is asked."""
    balancer = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/edge/50dc6c495c0c9188"
    weights = Elbv2WeightsSwitch(driver="elbv2-weights", forward=balancer)
    with pytest.raises(UnfitError, match="not the ARN of a listener or listener-rule"):
        Elbv2WeightsDriver(weights, ["mx1"], Way().aws)
    targets = Elbv2TargetsSwitch(driver="elbv2-targets", target_group=balancer)
    with pytest.raises(UnfitError, match="not the ARN of a targetgroup"):
        Elbv2TargetsDriver(targets, [], Way().aws)


def test_a_drained_target_drains_until_its_delay_is_over(targets: TargetsBench) -> None:
    """It is draining for deregistration_delay.timeout_seconds, then it is gone and still drained."""
    attribute = {"Key": "deregistration_delay.timeout_seconds", "Value": "120"}
    targets.elb.api.modify_target_group_attributes(TargetGroupArn=targets.group, Attributes=[attribute])
    driver = targets.driver()
    asyncio.run(driver.apply({"mx1": Intake(weight=1, admin="drain")}))
    targets.pass_time(119.0)
    reading = asyncio.run(driver.read())["mx1"]
    assert reading.draining
    targets.pass_time(1.0)
    reading = asyncio.run(driver.read())["mx1"]
    assert not reading.draining
    assert reading.intake == Intake(weight=1, admin="drain")
    assert asyncio.run(driver.settling()) == ""


def test_a_target_that_comes_back_while_it_drains_starts_anew(targets: TargetsBench) -> None:
    """Registered again it takes traffic by our word, and is not up before its health checks have passed."""
    driver = targets.driver()
    asyncio.run(driver.apply({"mx1": Intake(weight=1, admin="drain")}))
    asyncio.run(driver.apply({"mx1": Intake(weight=1)}))
    reading = asyncio.run(driver.read())["mx1"]
    assert reading.intake == Intake(weight=1)
    assert not reading.up
    assert not reading.draining
    assert asyncio.run(driver.settling()) == "mx1 is initial: Elb.RegistrationInProgress"
    targets.pass_time(20.0)
    assert asyncio.run(driver.settling()) == ""
    assert asyncio.run(driver.read())["mx1"].up


def test_a_member_that_was_put_back_is_waited_for_until_it_is_healthy(targets: TargetsBench) -> None:
    """Found unhealthy after it was registered it has not settled, with AWS's reason; once it passes, it has."""
    health, driver = targets.elb.world.targets, targets.driver()
    health.set_unhealthy(targets.group, "10.0.1.3")
    asyncio.run(driver.apply({"mx3": Intake(weight=1)}))
    targets.pass_time(600.0)
    assert asyncio.run(driver.settling()) == "mx3 is unhealthy: Target.FailedHealthChecks"
    assert not asyncio.run(driver.read())["mx3"].up
    health.set_healthy(targets.group, "10.0.1.3")
    assert asyncio.run(driver.settling()) == ""


def test_a_member_of_a_group_that_nothing_forwards_to_never_settles(targets: TargetsBench) -> None:
    """Registered where no traffic can come it is unused, which is not back in service."""
    driver = targets.driver()
    for listener in targets.elb.api.describe_listeners(LoadBalancerArn=targets.elb.balancer)["Listeners"]:
        targets.elb.api.delete_listener(ListenerArn=listener["ListenerArn"])
    asyncio.run(driver.apply({"mx3": Intake(weight=1)}))
    targets.pass_time(600.0)
    assert asyncio.run(driver.settling()) == "mx3 is unused: Target.NotInUse"


def test_whom_the_last_change_did_not_put_back_is_not_waited_for(targets: TargetsBench) -> None:
    """Somebody else's unhealthy target keeps no drain from settling; nor one that was put back by a change before."""
    driver = targets.driver()
    targets.elb.world.targets.set_unhealthy(targets.group, "10.0.0.1")
    asyncio.run(driver.apply({"mx1": Intake(weight=1)}))
    assert asyncio.run(driver.settling()) == "mx1 is unhealthy: Target.FailedHealthChecks"
    asyncio.run(driver.apply({"mx1": Intake(weight=1, admin="drain")}))
    assert asyncio.run(driver.settling()) == ""


def test_a_target_that_was_never_listed_is_objected_to(targets: TargetsBench) -> None:
    """It may be called wrong: the objection names it, and what is registered of no member; others have none."""
    cut_connections(targets)
    names = {"mx1": "10.0.0.1:25", "mx3": "10.0.0.9:25"}
    switch = targets.switch.model_copy(update={"names": names})
    readings = asyncio.run(Elbv2TargetsDriver(switch, list(names), targets.way.aws, pause=0.0).read())
    assert readings["mx1"].objection == ""
    assert readings["mx3"].objection == (
        f"10.0.0.9:25 is no target of {targets.group}, which lists 10.0.0.1:2525 besides, of no member: it may be "
        "called wrong, or is out already — correct the inventory, or register it"
    )


def test_a_target_that_is_or_was_there_is_not_objected_to(targets: TargetsBench) -> None:
    """While it drains, and when it is gone: this driver has seen it, so that the name is right."""
    cut_connections(targets)
    driver = targets.driver()
    asyncio.run(driver.apply({"mx1": Intake(weight=1, admin="drain")}))
    assert asyncio.run(targets.driver().read())["mx1"].objection == ""
    targets.pass_time(600.0)
    assert targets.states()["mx1"] == ""
    assert asyncio.run(driver.read())["mx1"].objection == ""
    assert "may be called wrong" in asyncio.run(targets.driver().read())["mx1"].objection


def test_connections_that_outlast_the_draining_are_objected_to(targets: TargetsBench) -> None:
    """A Network Load Balancer that does not end them cannot say when a target is empty; the remedy is a command."""
    objection = asyncio.run(targets.driver().read())["mx1"].objection
    assert objection.startswith("its connections go on after its draining")
    targets.obey(objection.rpartition(": ")[2])
    assert asyncio.run(targets.driver().read())["mx1"].objection == ""


def test_an_application_load_balancer_closes_what_is_left(rule: WeightsBench) -> None:
    """Its groups have no such attribute, and nothing is objected to."""
    group = rule.arns["mx1"]
    rule.elb.api.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.0.0.1"}])
    switch = Elbv2TargetsSwitch(driver="elbv2-targets", target_group=group, names={"mx1": "10.0.0.1"})
    assert asyncio.run(Elbv2TargetsDriver(switch, ["mx1"], rule.way.aws).read())["mx1"].objection == ""


def test_targets_of_no_member_are_counted(targets: TargetsBench) -> None:
    """What else is registered takes traffic as a member does; what drains takes none."""
    driver = Elbv2TargetsDriver(targets.switch, ["mx2", "mx3"], targets.way.aws, pause=0.0)
    assert asyncio.run(driver.elsewhere()) == 1
    targets.meddle({"mx1": Intake(weight=1, admin="drain")})
    assert asyncio.run(driver.elsewhere()) == 0


def test_the_groups_settings_are_asked_for_once(targets: TargetsBench) -> None:
    """Guards read every second: only the targets are looked up again."""
    asked: list[str] = []
    driver = targets.driver()
    with targets.way.followed(asked.append):
        for _ in range(3):
            asyncio.run(driver.read())
    assert sorted(set(asked)) == ["DescribeTargetGroupAttributes", "DescribeTargetGroups", "DescribeTargetHealth"]
    assert len(asked) == 5


def test_what_nobody_checks_is_up(targets: TargetsBench) -> None:
    """A target of a group without health checks, which AWS calls unavailable, and one that is not registered."""
    driver = targets.driver()
    targets.elb.world.targets.set_unhealthy(targets.group, "10.0.0.1", 25)
    assert [reading.up for reading in asyncio.run(driver.read()).values()] == [False, True, True]
    targets.elb.api.modify_target_group(TargetGroupArn=targets.group, HealthCheckEnabled=False)
    assert all(reading.up for reading in asyncio.run(driver.read()).values())


def test_a_member_without_a_port_is_the_one_at_the_groups_own(targets: TargetsBench) -> None:
    """Of an address that is registered on two ports, the other one stays."""
    switch = targets.switch.model_copy(update={"names": {"mx1": "10.0.0.1"}})
    driver = Elbv2TargetsDriver(switch, ["mx1"], targets.way.aws, pause=0.0)
    asyncio.run(driver.apply({"mx1": Intake(weight=1, admin="drain")}))
    assert targets.states() == {"mx1": "draining", "mx2": "healthy", "mx3": ""}
    assert asyncio.run(driver.read())["mx1"].draining
    (line,) = driver.by_hand({}, {"mx1": "ready"})
    assert line.endswith("--targets Id=10.0.0.1")


def test_what_takes_traffic_comes_before_what_gives_it(targets: TargetsBench) -> None:
    """A target that cannot be registered keeps the others from being deregistered."""
    with targets.failing("mx3"), pytest.raises(RejectedError, match="not today"):
        asyncio.run(targets.driver().apply({"mx1": Intake(weight=1, admin="drain"), "mx3": Intake(weight=1)}))
    assert targets.truth() == targets.start


def test_a_write_that_is_dropped_is_found_out(targets: TargetsBench) -> None:
    """AWS said yes to both, and the one that is not so is named."""
    with targets.way.met(about("10.0.0.1", drop)), pytest.raises(RejectedError, match="mx1 is healthy instead of"):
        asyncio.run(targets.driver().apply(targets.shifted))


def test_a_late_answer_is_waited_for(targets: TargetsBench) -> None:
    """What AWS shows a moment after the write is no error."""
    looks: list[str] = []

    def look(operation: str, body: str) -> None:
        looks.append(operation)
        if looks.count("DescribeTargetHealth") == 3:
            targets.meddle({"mx1": targets.shifted["mx1"]})

    with targets.way.met(about("10.0.0.1", drop)), targets.way.met(look):
        asyncio.run(targets.driver().apply({"mx1": targets.shifted["mx1"]}))
    assert looks.count("DescribeTargetHealth") == 3


def test_weights_and_maintenance_are_refused(targets: TargetsBench) -> None:
    """A target has neither; nothing is touched, not even what could be done."""
    driver = targets.driver()
    for wrong in (Intake(weight=0), Intake(weight=1, admin="maint")):
        with pytest.raises(RejectedError, match="mx2"):
            asyncio.run(driver.apply({"mx3": Intake(weight=1), "mx2": wrong}))
    assert targets.way.written == []


@pytest.mark.parametrize(
    ("called", "description"),
    [
        ("i-0123456789abcdef0", {"Id": "i-0123456789abcdef0"}),
        ("i-0123456789abcdef0:25", {"Id": "i-0123456789abcdef0", "Port": 25}),
        ("10.0.0.5:2525", {"Id": "10.0.0.5", "Port": 2525}),
        ("192.0.2.5:25@all", {"Id": "192.0.2.5", "Port": 25, "AvailabilityZone": "all"}),
        ("192.0.2.5@us-east-1a", {"Id": "192.0.2.5", "AvailabilityZone": "us-east-1a"}),
        ("2001:db8::5", {"Id": "2001:db8::5"}),
        ("[2001:db8::5]:25", {"Id": "2001:db8::5", "Port": 25}),
        ("arn:aws:lambda:us-east-1:1:function:f:live", {"Id": "arn:aws:lambda:us-east-1:1:function:f:live"}),
    ],
)
def test_names_of_targets(targets: TargetsBench, called: str, description: dict[str, object]) -> None:
    """Instances, addresses of both families, ports, zones and ARNs are written as AWS takes them."""
    switch = targets.switch.model_copy(update={"names": {"mx9": called}})
    driver = Elbv2TargetsDriver(switch, ["mx9"], targets.way.aws, pause=0.0)
    with targets.way.met(drop), pytest.raises(RejectedError, match="mx9 is not registered"):
        asyncio.run(driver.apply({"mx9": Intake(weight=1)}))
    assert targets.way.written[0]["Targets"] == [description]


@pytest.mark.parametrize("called", ["mx1", "10.0.0.300", "10.0.0.5:", "i-xyz", "", "host:25"])
def test_what_can_be_no_target_is_refused_at_once(targets: TargetsBench, called: str) -> None:
    """A member that 'names' does not know is told before AWS is asked."""
    switch = targets.switch.model_copy(update={"names": {"mx1": called}})
    with pytest.raises(UnfitError, match="mx1"):
        Elbv2TargetsDriver(switch, ["mx1"], Way().aws)


def test_many_targets_are_written_in_parts(targets: TargetsBench) -> None:
    """500 targets are three calls of at most 200."""
    names = {f"n{number}": f"10.0.{number // 250}.{number % 250 + 1}:26" for number in range(500)}
    switch = targets.switch.model_copy(update={"names": names})
    driver = Elbv2TargetsDriver(switch, list(names), targets.way.aws, pause=0.0)
    asyncio.run(driver.apply(dict.fromkeys(names, Intake(weight=1))))
    assert [len(call["Targets"]) for call in targets.way.written] == [200, 200, 100]
    assert all(reading.intake.admin == "ready" for reading in asyncio.run(driver.read()).values())


def test_sessions_cannot_be_cut(listener: WeightsBench) -> None:
    """Neither driver knows one."""
    session = Session(id="1", client="192.0.2.1:1", member="mx1", age=0.0)
    for driver in (listener.driver(), Elbv2TargetsDriver(_group(listener), [], Way().aws)):
        with pytest.raises(UnfitError):
            asyncio.run(driver.close(session))


def test_a_group_that_is_gone_is_said(targets: TargetsBench) -> None:
    """AWS's own word for it comes through."""
    switch = targets.switch.model_copy(update={"target_group": f"{targets.group}0"})
    with pytest.raises(OutsideError, match="TargetGroupNotFound"):
        asyncio.run(Elbv2TargetsDriver(switch, ["mx1"], Way().aws).read())


def test_a_rule_is_changed_by_hand_at_the_moment_of_typing(rule: WeightsBench) -> None:
    """The command keeps what others have changed since it was printed."""
    (line,) = rule.driver().by_hand({"mx1": 0}, {})
    rule.meddle({"mx2": Intake(weight=55)})
    rule.obey(line)
    assert rule.truth() == {**rule.start, "mx1": Intake(weight=0), "mx2": Intake(weight=55)}


def test_a_race_between_two_targets_harms_none(targets: TargetsBench) -> None:
    """Each target is written by itself: somebody else's change at the same moment stays."""
    with targets.way.met(first(lambda: targets.meddle({"mx2": Intake(weight=1, admin="drain")}))):
        asyncio.run(targets.driver().apply({"mx3": Intake(weight=1)}))
    assert [intake.admin for intake in targets.truth().values()] == ["ready", "drain", "ready"]


def cut_connections(targets: TargetsBench) -> None:
    """Have the load balancer end what is left at the end of the delay."""
    attribute = {"Key": "deregistration_delay.connection_termination.enabled", "Value": "true"}
    targets.elb.api.modify_target_group_attributes(TargetGroupArn=targets.group, Attributes=[attribute])


def _group(listener: WeightsBench) -> Elbv2TargetsSwitch:
    return Elbv2TargetsSwitch(driver="elbv2-targets", target_group=listener.arns["mx1"])
