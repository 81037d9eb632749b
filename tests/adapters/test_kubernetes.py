"""How a cluster is called: the API server's errors as ours, how often again, and that nothing secret is said.

Answers that a healthy API server does not give on request come from kmock, a scripted one.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import kmock
import pytest

from orchestrator.adapters.kubernetes import JSON_PATCH, TRIES, Cluster, cluster, status_of
from orchestrator.errors import OutsideError, RejectedError, UnfitError, UnreachableError
from orchestrator.model.access import KubernetesAccess
from tests.adapters.postfix_bench import free_port

T = TypeVar("T")

lab = pytest.mark.lab

NODE = "/api/v1/nodes/n1"
TOKEN = "eyJ-a-secret-token"
DISRUPTED = {"reason": "DisruptionBudget", "message": "The disruption budget mail needs 2 healthy pods"}


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No kubeconfig, proxy or pod of this machine plays a part."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def kubeconfig(folder: Path, url: str, token: str = TOKEN) -> KubernetesAccess:
    """Access to an API server at ``url``."""
    settings = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(settings))
    return KubernetesAccess(kubeconfig=str(path))


def scripted(folder: Path, script: Callable[[kmock.RawHandler], None], work: Callable[[Cluster], Awaitable[T]]) -> T:
    """What ``work`` returns on a cluster that answers as scripted."""

    async def run() -> T:
        async with kmock.RawHandler() as server, kmock.Server(server) as address:
            script(server)
            return await work(Cluster(kubeconfig(folder, str(address.url))))

    return asyncio.run(run())


def failure(folder: Path, code: int, body: object, headers: dict[str, str] | None = None) -> OutsideError:
    """The error that comes of a write that is answered with this, once and for all."""

    async def write(of: Cluster) -> OutsideError:
        with pytest.raises(OutsideError) as caught:
            await of.call(of.core().patch_node, "n1", [], _content_type=JSON_PATCH)
        return caught.value

    seen: list[kmock.Request] = []

    def script(server: kmock.RawHandler) -> None:
        server[f"patch {NODE}"] << code << kmock.headers(headers or {}) << json.dumps(body).encode() >> seen

    error = scripted(folder, script, write)
    assert len(seen) == 1, "a write was made again"
    return error


@lab
@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        (401, UnfitError, "log in"),
        (403, UnfitError, "give this user the right"),
        (404, UnfitError, "correct the names"),
        (409, RejectedError, "somebody else changed it meanwhile"),
        (410, UnreachableError, "try again"),
        (422, RejectedError, "422"),
        (429, UnreachableError, "try again later"),
        (500, UnreachableError, "try again later"),
        (503, UnreachableError, "try again later"),
    ],
)
def test_what_the_server_says_is_one_of_our_errors(
    tmp_path: Path, code: int, kind: type[OutsideError], said: str
) -> None:
    """Each HTTP status is the error that says what to do; a write is never made again; the token is not told."""
    error = failure(tmp_path, code, {"kind": "Status", "message": "no, it is so", "reason": "Because"})
    assert isinstance(error, kind)
    assert said in str(error)
    assert "no, it is so" in str(error)
    assert TOKEN not in str(error)


@lab
def test_the_status_can_be_looked_at(tmp_path: Path) -> None:
    """Reason, causes and when to come back are there for who needs them, as an eviction that a budget stops."""
    body = {"message": "Cannot evict pod", "reason": "TooManyRequests", "details": {"causes": [DISRUPTED]}}
    error = failure(tmp_path, 429, body, {"Retry-After": "7"})
    status = status_of(error)
    assert status is not None
    assert (status.code, status.reason, status.retry_after) == (429, "TooManyRequests", 7.0)
    assert status.causes == ("DisruptionBudget: The disruption budget mail needs 2 healthy pods",)
    assert "try again in 7 seconds" in str(error)


@lab
def test_long_answers_are_cut(tmp_path: Path) -> None:
    """An error that repeats a whole object does not fill the journal; one that is no JSON at all is fine too."""
    assert len(str(failure(tmp_path, 422, {"message": "x" * 10_000}))) < 1_000
    assert "gives no reason" in str(failure(tmp_path, 502, ["a proxy's own"]))


@lab
@pytest.mark.parametrize("wait", ["0", "3600"])
def test_reads_are_made_again_for_a_while(tmp_path: Path, wait: str) -> None:
    """A read that is throttled is tried as often as it is said, and never waits as long as a server likes."""
    seen: list[kmock.Request] = []

    def script(server: kmock.RawHandler) -> None:
        server[f"get {NODE}"] << 429 << kmock.headers({"Retry-After": wait}) << b"{}" >> seen

    async def read(of: Cluster) -> None:
        async with asyncio.timeout(10):
            with pytest.raises(UnreachableError):
                await of.call(of.core().read_node, "n1")

    scripted(tmp_path, script, read)
    assert len(seen) == TRIES


@lab
def test_a_read_that_works_at_last_is_no_error(tmp_path: Path) -> None:
    """Who is throttled once never hears of it."""

    def script(server: kmock.RawHandler) -> None:
        server[f"get {NODE}"][:1] << 429 << kmock.headers({"Retry-After": "0"}) << b"{}"
        (
            server[f"get {NODE}"]
            << kmock.headers({"Content-Type": "application/json"})
            << json.dumps({"metadata": {"name": "n1"}}).encode()
        )

    async def read(of: Cluster) -> Any:
        return (await of.call(of.core().read_node, "n1")).metadata.name

    assert scripted(tmp_path, script, read) == "n1"


@lab
def test_a_server_that_hangs_is_given_up(tmp_path: Path) -> None:
    """No answer in time is an error that says so."""

    def script(server: kmock.RawHandler) -> None:
        server[f"patch {NODE}"] << (lambda: asyncio.sleep(5))

    async def write(of: Cluster) -> None:
        await of.call(of.core().patch_node, "n1", {}, _request_timeout=(1.0, 0.2))

    with pytest.raises(UnreachableError, match="timed out"):
        scripted(tmp_path, script, write)


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    """A connection that is refused is an error that names the address and not the token."""
    port = free_port()
    it = Cluster(kubeconfig(tmp_path, f"http://127.0.0.1:{port}"))
    with pytest.raises(UnreachableError, match=str(port)) as caught:
        asyncio.run(it.call(it.core().read_node, "n1"))
    assert TOKEN not in str(caught.value)


def test_a_token_that_cannot_be_sent_is_not_told(tmp_path: Path) -> None:
    """Python quotes a header with a line break in its error; ours does not, and is not chained to it."""
    it = Cluster(kubeconfig(tmp_path, f"http://127.0.0.1:{free_port()}", token=f"{TOKEN}\nmore"))
    with pytest.raises(UnfitError, match="line breaks") as caught:
        asyncio.run(it.call(it.core().read_node, "n1"))
    assert TOKEN not in str(caught.value)
    assert caught.value.__suppress_context__


def test_no_kubeconfig_is_said(tmp_path: Path) -> None:
    """Without a kubeconfig, a context in it, or a pod around us, nobody can be called; what is in it is not told."""
    known = kubeconfig(tmp_path, "http://127.0.0.1:1")
    garbled = tmp_path / "garbled"
    garbled.write_text(f"users: [{TOKEN}\n")
    for access, said in (
        (KubernetesAccess(), "there is no kubeconfig, and this is no pod"),
        (KubernetesAccess(kubeconfig=str(tmp_path / "none")), "none"),
        (known.model_copy(update={"context": "other"}), "other"),
        (KubernetesAccess(kubeconfig=str(garbled)), "garbled"),
    ):
        it = Cluster(access)
        with pytest.raises(UnfitError, match=said) as caught:
            asyncio.run(it.call(it.core().read_node, "n1"))
        assert TOKEN not in str(caught.value)


def test_so_many_calls_at_a_time() -> None:
    """Calls run side by side, and no more than there are connections for."""
    inside, most, lock, full = 0, 0, threading.Lock(), threading.Event()

    def work(*, _request_timeout: object) -> None:
        nonlocal inside, most
        with lock:
            inside, most = inside + 1, max(most, inside + 1)
            if inside == 3:
                full.set()
        assert full.wait(10), "they do not run side by side"
        with lock:
            inside -= 1

    async def run() -> None:
        it = Cluster(KubernetesAccess(), at_a_time=3)
        await asyncio.gather(*(it.call(work) for _ in range(9)))

    asyncio.run(run())
    assert most == 3


def test_one_cluster_for_one_access() -> None:
    """Drivers of the same cluster share its connections; those of another context do not."""
    assert cluster(KubernetesAccess(context="a")) is cluster(KubernetesAccess(context="a"))
    assert cluster(KubernetesAccess(context="a")) is not cluster(KubernetesAccess(context="b"))


def test_kubectl_is_quoted() -> None:
    """What a person pastes into a shell is one word where it is meant as one."""
    it = Cluster(KubernetesAccess(kubeconfig="/a b/c", context="x;y"))
    assert it.kubectl("get", "node") == "kubectl --kubeconfig '/a b/c' --context 'x;y' get node"


def test_the_client_is_not_imported_before_the_first_call() -> None:
    """Who only lints or plans something else does not pay for it."""
    modules = ", ".join(f"orchestrator.adapters.kubernetes{part}" for part in ("", "_route", "_selector"))
    program = f"import sys, {modules}; sys.exit('kubernetes' in sys.modules or 'urllib3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
