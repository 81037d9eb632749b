"""A step that is cancelled in the middle of a write: AWS, Kubernetes and HTTP send nothing of it afterwards."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from urllib3.exceptions import MaxRetryError, SSLError

from orchestrator.adapters.aws import READS, WRITES, Aws
from orchestrator.adapters.call_threads import CallThreads
from orchestrator.adapters.http_api import connect
from orchestrator.adapters.kubernetes import JSON_PATCH, Cluster, _retries
from orchestrator.errors import UnreachableError
from orchestrator.model.access import AwsAccess, KubernetesAccess
from tests.adapters.hanging_server import HangingServer, hanging
from tests.adapters.haproxy_bench import eventually

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]

QUICK = replace(READS, connect=0.3, answer=0.3, whole=0.4)
ARN = "arn:aws:elasticloadbalancing:us-east-1:123456789012:listener/net/a/1/2"


@pytest.fixture
def server() -> Iterator[HangingServer]:
    """One that does not answer."""
    with hanging() as server:
        yield server


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def aws_at(server: HangingServer) -> Aws:
    """The API there."""
    return Aws(AwsAccess(region="us-east-1", endpoint=server.url), reads=QUICK)


def cluster_at(server: HangingServer, folder: Path) -> Cluster:
    """The API there."""
    settings = {
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(settings))
    return Cluster(KubernetesAccess(kubeconfig=str(path)), reads=QUICK)


async def write_to_aws(server: HangingServer, folder: Path) -> None:
    """A write."""
    await aws_at(server).call("elbv2", "modify_listener", ListenerArn=ARN, Port=25)


async def write_to_cluster(server: HangingServer, folder: Path) -> None:
    """A write."""
    cluster = cluster_at(server, folder)
    await cluster.call(cluster.core().patch_node, "n1", [], _content_type=JSON_PATCH)


async def write_to_api(server: HangingServer, folder: Path) -> None:
    """A write."""
    async with connect(server.url, "it") as api:
        await api.ask("PATCH", "/", body={})


@pytest.mark.parametrize("write", [write_to_aws, write_to_cluster, write_to_api])
def test_a_cancelled_write_has_landed_when_it_ends(
    server: HangingServer, tmp_path: Path, write: Callable[[HangingServer, Path], Awaitable[None]]
) -> None:
    """It ends with its try, not before; that this one fails, and could be made again, brings no other."""

    async def run() -> None:
        task = asyncio.ensure_future(write(server, tmp_path))
        await asyncio.to_thread(server.met.wait, 20)
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)
        assert not task.done()
        server.on.set()
        await asyncio.wait({task}, timeout=10)
        assert task.cancelled()

    asyncio.run(run())
    eventually(lambda: not [it for it in threading.enumerate() if it.name in {"aws", "kubernetes"}])
    assert len(server.seen) == 1


def test_a_look_at_aws_is_not_blind_for_long(server: HangingServer) -> None:
    """A read ends after its time as a whole, however many tries are left; so does a page."""
    aws = aws_at(server)

    async def pages() -> None:
        async for _ in aws.pages("elbv2", "describe_rules", "Rules", ListenerArn=ARN):
            pass

    for read in (lambda: aws.call("elbv2", "describe_listeners", ListenerArns=[ARN]), pages):
        with pytest.raises(UnreachableError, match=r"no answer within 0\.4 seconds"):
            asyncio.run(read())


def test_a_look_at_a_cluster_is_not_blind_for_long(server: HangingServer, tmp_path: Path) -> None:
    """As one at AWS."""
    cluster = cluster_at(server, tmp_path)
    with pytest.raises(UnreachableError, match=r"read_node: no answer within 0\.4 seconds"):
        asyncio.run(cluster.call(cluster.core().read_node, "n1"))


def test_looks_are_shorter_than_writes() -> None:
    """Two looks without an answer are what a guard calls blind: under a minute."""
    assert 2 * READS.whole < 60 <= WRITES.whole


def test_credentials_that_never_come_are_said() -> None:
    """A credential_process that hangs is an error that names it, and the next call is not worse off."""
    answer = threading.Event()
    aws = Aws(AwsAccess(region="us-east-1", endpoint="http://127.0.0.1:9"), reads=QUICK, writes=QUICK)
    aws._open_session().events.register("request-created", lambda **_: answer.wait(20))
    try:
        for operation in ("describe_listeners", "describe_rules"):
            with pytest.raises(UnreachableError, match="credential_process"):
                asyncio.run(aws.call("elbv2", operation))
    finally:
        answer.set()


def test_a_write_whose_connection_breaks_is_not_made_again() -> None:
    """TLS that breaks says nothing of how far the request has come; a read may ask again."""
    with pytest.raises(MaxRetryError):
        _retries().increment("PATCH", "/", error=SSLError("bad record"))


def test_a_connection_is_not_tried_again_for_nobody() -> None:
    """The client tries to connect for a write, too; between two tries it may have been cancelled."""
    began, on, ended = threading.Event(), threading.Event(), threading.Event()
    sent: list[str] = []

    def try_again() -> None:
        began.set()
        on.wait(10)
        try:
            _retries().sleep()
            sent.append("the next try")
        finally:
            ended.set()

    async def run() -> None:
        task = asyncio.ensure_future(CallThreads(1, "kubernetes").run(try_again, "it", WRITES))
        await asyncio.to_thread(began.wait, 10)
        task.cancel()
        await asyncio.wait({task}, timeout=10)
        assert task.cancelled()
        on.set()

    asyncio.run(run())
    assert ended.wait(10)
    assert not sent
