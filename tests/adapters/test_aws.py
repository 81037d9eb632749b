"""How AWS is called: tries, errors, roles, endpoints, pages; in a world of AWS, and over real HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.adapters.aws import TRIES, Aws, AwsRejectedError, read_back
from orchestrator.errors import OutsideError, UnfitError, UnreachableError
from orchestrator.model.access import AwsAccess
from orchestrator.testing.overlay import AwsWorld, aws_world

REGION = "us-east-1"
ROLES = {
    "ord": "arn:aws:iam::111111111111:role/failover-ord",
    "iad": "arn:aws:iam::222222222222:role/failover-iad",
}


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """AWS with time and faults."""
    with aws_world() as world:
        yield world


def call(aws: Aws, service: str = "elbv2", operation: str = "describe_load_balancers", **arguments: Any) -> Any:
    """One call, to its end."""
    return asyncio.run(aws.call(service, operation, **arguments))


def test_a_throttled_call_is_made_again(world: AwsWorld) -> None:
    """It backs off and goes on, and nobody hears of it."""
    fault = world.faults.inject("throttling", "elbv2", "DescribeLoadBalancers", times=TRIES - 1)
    assert call(Aws(AwsAccess(region=REGION)))["LoadBalancers"] == []
    assert fault.hits == TRIES - 1
    assert len(world.calls.waits) == TRIES - 1


def test_one_that_is_always_throttled_ends(world: AwsWorld) -> None:
    """After its tries the answer is "later", and what AWS said is told."""
    world.faults.inject("throttling", "elbv2", "DescribeLoadBalancers", times=None)
    with pytest.raises(UnreachableError, match=r"elbv2 DescribeLoadBalancers: .*\(Throttling\) — try again later"):
        call(Aws(AwsAccess(region=REGION)))
    assert len(world.calls.waits) == TRIES - 1


@pytest.mark.parametrize("fault", ["timeout", "connect-timeout"])
def test_no_answer_is_not_knowing(world: AwsWorld, fault: str) -> None:
    """Nothing is said of what the call has done."""
    world.faults.inject(fault, "elbv2", "DescribeLoadBalancers", times=None)
    with pytest.raises(UnreachableError, match="elbv2 DescribeLoadBalancers"):
        call(Aws(AwsAccess(region=REGION)))


def test_a_right_that_is_missing_is_for_a_person(world: AwsWorld) -> None:
    """It is told at once, with the call that was refused and what to do, and is not tried again."""
    fault = world.faults.inject("access-denied", "elbv2", "DescribeLoadBalancers", times=None)
    with pytest.raises(UnfitError, match=r"elbv2 DescribeLoadBalancers: .*failover permissions"):
        call(Aws(AwsAccess(region=REGION)))
    assert fault.hits == 1


def test_a_no_has_awss_own_code(world: AwsWorld) -> None:
    """So a driver can tell one no from another."""
    arn = f"arn:aws:elasticloadbalancing:{REGION}:123456789012:targetgroup/none/0123456789abcdef"
    with pytest.raises(AwsRejectedError) as caught:
        call(Aws(AwsAccess(region=REGION)), operation="describe_target_health", TargetGroupArn=arn)
    assert caught.value.code == "TargetGroupNotFound"


def test_what_aws_cannot_be_asked_is_the_inventorys_mistake(world: AwsWorld) -> None:
    """botocore refuses it before it is sent."""
    with pytest.raises(UnfitError, match="correct the names and ARNs"):
        call(Aws(AwsAccess(region=REGION)), operation="describe_target_health", TargetGroupArn=7)


def test_without_a_region_it_says_so(world: AwsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of calls and of pages."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    aws = Aws(AwsAccess())
    for work in (aws.call("elbv2", "describe_load_balancers"), listed(aws, "elbv2", "describe_listeners", "Listeners")):
        with pytest.raises(UnfitError, match=r"no region is given — add aws\.region"):
            asyncio.run(work)


def test_without_credentials_it_says_so(world: AwsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without a role."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    for access in (AwsAccess(region=REGION), AwsAccess(region=REGION, assume_role=ROLES["ord"])):
        with pytest.raises(UnfitError, match="log in"):
            call(Aws(access))


def test_a_profile_that_is_not_there_is_named(world: AwsWorld) -> None:
    """It is no traceback of botocore's, and no login would help."""
    with pytest.raises(UnfitError, match=r"nobody-has-this.*correct aws\.profile"):
        call(Aws(AwsAccess(region=REGION, profile="nobody-has-this")))


class LoginPage(BaseHTTPRequestHandler):
    """What a proxy shows to whoever has not logged in."""

    def do_GET(self) -> None:
        """A page, whatever was asked for."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html><body>Log in</body></html>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nobody reads its log."""


def test_a_login_page_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore takes a page of HTML for a reply without anything in it; we do not."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with ThreadingHTTPServer(("127.0.0.1", 0), LoginPage) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            aws = Aws(AwsAccess(region=REGION, endpoint=f"http://127.0.0.1:{server.server_port}"))
            with pytest.raises(UnreachableError, match="not a proxy or a login page"):
                call(aws, "route53", "list_resource_record_sets", HostedZoneId="Z1")
        finally:
            server.shutdown()
            thread.join()


def test_each_site_works_as_its_own_role(world: AwsWorld) -> None:
    """Each access gets the credentials of its role, once, and acts in that role's account."""
    for site, role in ROLES.items():
        aws = Aws(AwsAccess(region=REGION, assume_role=role, external_id="ours"))
        assert call(aws, "sts", "get_caller_identity")["Arn"] == assumed(role)
        group = f"smtp-{site}"
        call(aws, "elbv2", "create_target_group", Name=group, TargetType="lambda")
        found = call(aws, "elbv2", "describe_target_groups")["TargetGroups"]
        assert [one["TargetGroupName"] for one in found] == [group]
        assert role.split(":")[4] in found[0]["TargetGroupArn"]


def test_a_role_is_assumed_once(world: AwsWorld) -> None:
    """Not anew for each call or each service."""
    fault = world.faults.inject("throttling", "sts", "AssumeRole", times=1)
    aws = Aws(AwsAccess(region=REGION, assume_role=ROLES["ord"]))
    for service, operation in (("elbv2", "describe_load_balancers"), ("route53", "list_hosted_zones")):
        call(aws, service, operation)
    assert fault.hits == 1
    denied = world.faults.inject("access-denied", "sts", "AssumeRole", times=None)
    call(aws, "autoscaling", "describe_auto_scaling_groups")
    assert denied.hits == 0


def test_a_role_that_may_not_be_assumed_is_said_as_that(world: AwsWorld) -> None:
    """The error names AssumeRole, not the call that came after it."""
    world.faults.inject("access-denied", "sts", "AssumeRole", times=None)
    with pytest.raises(UnfitError, match="cannot call sts AssumeRole"):
        call(Aws(AwsAccess(region=REGION, assume_role=ROLES["ord"])))


def test_no_error_shows_a_secret(world: AwsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither keys nor tokens, whatever goes wrong."""
    secrets = {"AWS_ACCESS_KEY_ID": "AKIASEEN", "AWS_SECRET_ACCESS_KEY": "KEYKEYKEY", "AWS_SESSION_TOKEN": "TOKTOKTOK"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    for fault in ("throttling", "access-denied", "timeout", "connect-timeout"):
        world.faults.inject(fault, "elbv2", "DescribeLoadBalancers", times=None)
        with pytest.raises(OutsideError) as caught:
            call(Aws(AwsAccess(region=REGION)))
        world.faults.clear()
        assert not [value for value in ("KEYKEYKEY", "TOKTOKTOK") if value in f"{caught.value!r} {caught.value}"]


def test_long_words_of_aws_are_cut() -> None:
    """Some errors repeat the whole request, and a journal is no place for that."""
    with aws_world(), pytest.raises(OutsideError) as caught:
        call(Aws(AwsAccess(region=REGION)), operation="describe_target_health", TargetGroupArn="x" * 5_000)
    assert len(str(caught.value)) < 600


def assumed(role: str) -> str:
    """The ARN as which STS knows whoever has assumed it as we do."""
    account, name = role.split(":")[4], role.rsplit("/", 1)[1]
    return f"arn:aws:sts::{account}:assumed-role/{name}/failover"


async def _all(items: Any) -> list[Any]:
    return [item async for item in items]


async def listed(aws: Aws, service: str, operation: str, key: str, **arguments: Any) -> list[Any]:
    """Every item of all pages."""
    return await _all(aws.pages(service, operation, key, **arguments))


def pages_of(aws: Aws, count: int, key: str, shown: dict[str, Any], token: str) -> list[dict[str, Any]]:
    """Have the service answer in so many pages, and return the arguments of each call."""
    asked: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        asked.append(dict(params))

    def answer(**_: Any) -> tuple[object, dict[str, Any]]:
        number = len(asked)
        following = {name: f"{value}{number}" if name == token else value for name, value in shown.items()}
        page = {key: [{"number": number}], **(following if number < count else {})}
        return SimpleNamespace(status_code=200), page

    events = aws._open_session().events
    events.register("provide-client-params", note)
    events.register("before-call", answer)
    return asked


@pytest.mark.parametrize(
    ("service", "operation", "key", "shown", "token", "asks"),
    [
        ("elbv2", "describe_rules", "Rules", {"NextMarker": "m"}, "NextMarker", "Marker"),
        (
            "autoscaling",
            "describe_auto_scaling_groups",
            "AutoScalingGroups",
            {"NextToken": "t"},
            "NextToken",
            "NextToken",
        ),
        ("health", "describe_events", "events", {"nextToken": "next"}, "nextToken", "nextToken"),
        ("globalaccelerator", "list_endpoint_groups", "EndpointGroups", {"NextToken": "t"}, "NextToken", "NextToken"),
        ("arc-zonal-shift", "list_zonal_shifts", "items", {"nextToken": "next"}, "nextToken", "nextToken"),
        (
            "route53",
            "list_resource_record_sets",
            "ResourceRecordSets",
            {"IsTruncated": True, "NextRecordName": "n", "NextRecordType": "MX", "NextRecordIdentifier": "s"},
            "NextRecordName",
            "StartRecordName",
        ),
    ],
)
def test_all_pages_are_read(
    world: AwsWorld, service: str, operation: str, key: str, shown: dict[str, Any], token: str, asks: str
) -> None:
    """Whatever word the service has for the next page, each is asked for with what the one before it said."""
    aws = Aws(AwsAccess(region=REGION))
    asked = pages_of(aws, 3, key, shown, token)
    needed = {
        "elbv2": {"ListenerArn": "l"},
        "globalaccelerator": {"ListenerArn": "l"},
        "route53": {"HostedZoneId": "Z"},
    }
    items = asyncio.run(listed(aws, service, operation, key, **needed.get(service, {})))
    assert [item["number"] for item in items] == [1, 2, 3]
    assert [call.get(asks) for call in asked] == [None, f"{shown[token]}1", f"{shown[token]}2"]


def test_what_has_no_pages_is_one_page(world: AwsWorld) -> None:
    """Some operations answer all at once."""
    aws = Aws(AwsAccess(region=REGION))
    asked = pages_of(aws, 1, "TargetHealthDescriptions", {}, "")
    items = asyncio.run(
        listed(aws, "elbv2", "describe_target_health", "TargetHealthDescriptions", TargetGroupArn="arn")
    )
    assert len(items) == len(asked) == 1


def test_a_page_that_fails_is_told_like_a_call(world: AwsWorld) -> None:
    """After its tries."""
    world.faults.inject("throttling", "elbv2", "DescribeLoadBalancers", times=None)
    with pytest.raises(UnreachableError, match="elbv2 DescribeLoadBalancers"):
        asyncio.run(listed(Aws(AwsAccess(region=REGION)), "elbv2", "describe_load_balancers", "LoadBalancers"))


def test_calls_run_side_by_side_but_not_too_many(world: AwsWorld) -> None:
    """As many as there are connections for: none waits for one, none is thrown away."""
    aws = Aws(AwsAccess(region=REGION), at_a_time=3)
    now, most, lock, full = [0], [0], threading.Lock(), threading.Barrier(3, timeout=10)

    def enter(**_: Any) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        full.wait()

    def leave(**_: Any) -> None:
        with lock:
            now[0] -= 1

    events = aws._open_session().events
    events.register("before-call.elastic-load-balancing-v2", enter)
    events.register("after-call.elastic-load-balancing-v2", leave)

    async def many() -> None:
        await asyncio.gather(*(aws.call("elbv2", "describe_load_balancers") for _ in range(9)))

    asyncio.run(many())
    assert most[0] == 3
    assert aws._client("elbv2", None, None).meta.config.max_pool_connections == 3


def test_read_back_asks_again_a_few_times() -> None:
    """It returns at the first right answer, and after the last try whatever there is."""
    answers = iter(range(100))

    async def read() -> int:
        return next(answers)

    assert asyncio.run(read_back(read, lambda seen: seen == 2, 0.0)) == 2
    assert asyncio.run(read_back(read, lambda seen: False, 0.0)) == 6


def test_a_person_types_what_the_access_means() -> None:
    """Region, profile and endpoint are words of the command; everything is quoted."""
    access = AwsAccess(region="eu-west-1", profile="our mail", endpoints={"elbv2": "http://localhost:1"})
    aws = Aws(access)
    assert aws.by_hand("elbv2", "modify-rule", "--rule-arn", "a b") == (
        "aws --region eu-west-1 --profile 'our mail' --endpoint-url http://localhost:1 elbv2 modify-rule "
        "--rule-arn 'a b'"
    )
    assert aws.by_hand("route53", "list-hosted-zones", region="us-east-1") == (
        "aws --region us-east-1 --profile 'our mail' route53 list-hosted-zones"
    )


class TestOverHttp:
    """A real server on loopback, which the inventory's endpoint names."""

    pytestmark = pytest.mark.lab

    @pytest.fixture
    def url(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """A moto server on 127.0.0.1."""
        from moto.server import ThreadedMotoServer

        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            yield "http://{}:{}".format(*server.get_host_and_port())
        finally:
            server.stop()

    def test_one_endpoint_serves_all(self, url: str) -> None:
        """Calls and the role's credentials come from there; nothing goes to AWS."""
        aws = Aws(AwsAccess(region=REGION, endpoint=url, assume_role=ROLES["ord"]))
        assert call(aws)["LoadBalancers"] == []
        assert call(aws, "sts", "get_caller_identity")["Arn"] == assumed(ROLES["ord"])

    def test_a_services_own_endpoint_comes_first(self, url: str) -> None:
        """Where one of two endpoints is dead, it is known which was asked."""
        aws = Aws(AwsAccess(region=REGION, endpoint="http://127.0.0.1:9", endpoints={"elbv2": url}))
        assert call(aws)["LoadBalancers"] == []
        with pytest.raises(UnreachableError, match="Could not connect to the endpoint URL"):
            call(aws, "sts", "get_caller_identity", within=1.0)

    def test_an_endpoint_of_one_call_comes_before_all(self, url: str) -> None:
        """As a service with several endpoints needs it."""
        aws = Aws(AwsAccess(region=REGION, endpoint="http://127.0.0.1:9"))
        assert call(aws, endpoint=url)["LoadBalancers"] == []
