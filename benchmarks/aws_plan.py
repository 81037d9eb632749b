"""How long a plan takes that rests on 1,000 targets in 20 target groups, against the bare calls of boto3 that it makes.

Both ask the same moto server, in a process of its own, in turn, with as many calls side by side. "anew" is a plan in a
fresh wiring, which reads boto3's models and opens its connections; "again" is one that has them already.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from typing import Any

from orchestrator.adapters.clock import SystemClock
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import Runbook
from orchestrator.planning import make_plan
from orchestrator.planning.snapshot import AT_A_TIME
from orchestrator.wiring import RealOutside

ROUNDS = 7
GROUPS = 20
TARGETS = 50
REGION = "us-east-1"
SITES = ("ord", "iad")


@contextmanager
def server() -> Iterator[str]:
    """The URL of a moto server, which ends with the block."""
    command = [sys.executable, "-m", "benchmarks.aws_plan", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().decode().strip()
        finally:
            process.terminate()


def serve() -> None:
    """Be that server until nobody listens any more."""
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    print("http://{}:{}".format(*moto.get_host_and_port()), flush=True)
    sys.stdin.read()
    moto.stop()


def client(url: str, service: str = "elbv2") -> Any:
    """A client of boto3 as the documentation makes it, with a connection for each call at a time."""
    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=AT_A_TIME, retries={"mode": "standard"})
    return boto3.Session(region_name=REGION).client(service, endpoint_url=url, config=config)


def fill(url: str) -> Sequence[str]:
    """Make the target groups with their targets; their ARNs."""
    api, arns = client(url), []
    vpc = client(url, "ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    for number in range(GROUPS):
        made = api.create_target_group(
            Name=f"smtp-{number}", Protocol="TCP", Port=25, VpcId=vpc, TargetType="ip", HealthCheckProtocol="TCP"
        )
        arns.append(made["TargetGroups"][0]["TargetGroupArn"])
        ends = {"Key": "deregistration_delay.connection_termination.enabled", "Value": "true"}
        api.modify_target_group_attributes(TargetGroupArn=arns[-1], Attributes=[ends])
        api.register_targets(
            TargetGroupArn=arns[-1], Targets=[{"Id": address(number, one), "Port": 25} for one in range(TARGETS)]
        )
    return arns


def address(group: int, target: int) -> str:
    """Of one target."""
    return f"10.0.{group}.{target + 1}"


def inventory(url: str, arns: Sequence[str]) -> Inventory:
    """A pool for each target group, half of its targets at each site."""
    return Inventory.model_validate(
        {
            "sites": {site: {"aws": {"region": REGION, "endpoint": url}} for site in SITES},
            "pools": {f"smtp-{number}": pool(number, arn) for number, arn in enumerate(arns)},
        }
    )


def pool(group: int, arn: str) -> dict[str, Any]:
    """One of them."""
    members = [f"mx{group}-{one}" for one in range(TARGETS)]
    names = {name: f"{address(group, one)}:25" for one, name in enumerate(members)}
    parts = zip(SITES, (members[::2], members[1::2]), strict=True)
    return {
        "protocol": "smtp",
        "address": f"smtp-{group}.lab.example:25",
        "switch": {"driver": "elbv2-targets", "site": "iad", "target_group": arn, "names": names},
        "demand": "10 sessions",
        "test_mail": {"sender": "probe@lab.example", "recipient": "probe@lab.example"},
        "sites": {
            site: {"capacity": "1000 sessions", "members": part, "address": f"{site}.lab.example:25"}
            for site, part in parts
        },
    }


def runbook() -> Runbook:
    """Take one site out of every pool."""
    names = [f"smtp-{number}" for number in range(GROUPS)]
    steps = [{"id": name, "do": "traffic.drain", "with": {"pool": name, "site": "ord"}} for name in names]
    return Runbook.model_validate({"runbook": "aws", "steps": steps})


def plan(steps: Runbook, outside: RealOutside) -> Plan:
    """Observe and foresee."""
    made = asyncio.run(make_plan(steps, {}, outside, SystemClock()))
    assert len(made.steps) == GROUPS
    return made


def bare_anew(api: Any, arns: Sequence[str], threads: ThreadPoolExecutor) -> None:
    """The calls that a plan in a fresh wiring rests on: what each group is, and ``bare``."""

    def ask(arn: str) -> object:
        return api.describe_target_groups(TargetGroupArns=[arn]), api.describe_target_group_attributes(
            TargetGroupArn=arn
        )

    assert len(list(threads.map(ask, arns))) == GROUPS
    bare(api, arns, threads)


def bare(api: Any, arns: Sequence[str], threads: ThreadPoolExecutor) -> None:
    """The calls that a plan rests on, and nothing else."""
    found = threads.map(lambda arn: api.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"], arns)
    assert sum(len(one) for one in found) == GROUPS * TARGETS


def compare(what: str, ours: Callable[[], object], other: Callable[[], object]) -> None:
    """Both in turn, several times; print the medians and their ratio."""
    pairs = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ours()
        between = time.perf_counter()
        other()
        pairs.append((between - began, time.perf_counter() - between))
    mine, theirs = (median(one) for one in zip(*pairs, strict=True))
    ratio = median(one / two for one, two in pairs)
    print(
        f"{GROUPS * TARGETS:,} targets in {GROUPS} target groups, {what:<6} {mine * 1000:>7.1f} ms  bare boto3 "
        f"{theirs * 1000:>7.1f} ms  ratio {ratio:>4.2f}  aim < 2.0",
        flush=True,
    )


def main() -> None:
    """Both ratios."""
    os.environ.update(AWS_ACCESS_KEY_ID="bench", AWS_SECRET_ACCESS_KEY="bench", AWS_EC2_METADATA_DISABLED="true")
    with server() as url, ThreadPoolExecutor(AT_A_TIME) as threads:
        arns = fill(url)
        known, steps = inventory(url, arns), runbook()
        outside, api = RealOutside(known, SystemClock()), client(url)
        plan(steps, outside)
        bare(api, arns, threads)
        compare(
            "anew:",
            lambda: plan(steps, RealOutside(known, SystemClock())),
            lambda: bare_anew(client(url), arns, threads),
        )
        compare("again:", lambda: plan(steps, outside), lambda: bare(api, arns, threads))


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
