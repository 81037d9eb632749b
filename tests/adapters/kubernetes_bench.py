"""A real Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager, without any node.

Nothing runs a pod here: tests make nodes and pods and set their status themselves, as a kubelet would. Programs come
from the folder that FAILOVER_KUBERNETES names, from ~/.cache/failover/kubernetes, or from a folder shared/kubernetes
beside the checkout; where they are packed with xz they are unpacked once, into the user's cache.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import lzma
import os
import shutil
import ssl
import subprocess
import sysconfig
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property, partial
from itertools import count, product
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from platformdirs import user_cache_path

from orchestrator.model.access import KubernetesAccess
from tests.adapters.gateway_api import definitions
from tests.adapters.postfix_bench import free_port, wait_for

SERVER, CONTROLLERS = "kube-apiserver", "kube-controller-manager"
CACHE: Final = user_cache_path("failover") / "kubernetes"
FOLDERS: Final = (
    Path(os.environ.get("FAILOVER_KUBERNETES") or "/nonexistent"),
    CACHE,
    Path(__file__).resolve().parents[2].parent / "shared" / "kubernetes",
)
HOW_TO_GET_IT: Final = (
    f"no {SERVER} and {CONTROLLERS} (or the same with .xz) in FAILOVER_KUBERNETES={FOLDERS[0]}, {FOLDERS[1]} or "
    f"{FOLDERS[2]}: build them from Debian's source package kubernetes 1.20 with "
    f"make WHAT='cmd/{SERVER} cmd/{CONTROLLERS}' GOFLAGS=-trimpath"
)
ADMIN, FAILOVER = "admin", "failover"
"""Users: one who may do everything, and one who may do what ``ApiServer.allow`` lets it do."""

Rule: TypeAlias = Mapping[str, Sequence[str]]
"""Of a Role: apiGroups, resources and verbs."""

Grant: TypeAlias = tuple[str, str, str]
"""API group, resource, verb."""

_MERGE: Final = "application/merge-patch+json"


class ApiServer:
    """A control plane that runs, and hands on it that need neither our adapters nor their client."""

    def __init__(self, server: Path, controllers: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="failover-kubernetes-"))
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._numbers = count(1)
        try:
            self._start(server, controllers)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all of it, in the other order than it was started in; nothing of it is kept."""
        for process in reversed(self._processes.values()):
            process.kill()
            process.wait()
        self._processes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def access(self, user: str = FAILOVER) -> KubernetesAccess:
        """What an inventory says to use this cluster as ``user``."""
        return KubernetesAccess(kubeconfig=str(self.kubeconfig(user)))

    def kubeconfig(self, user: str = ADMIN) -> Path:
        """A kubeconfig of ``user``."""
        return self.folder / f"{user}.kubeconfig"

    def environment(self, user: str = ADMIN) -> dict[str, str]:
        """What a shell needs so that kubectl, of this environment, speaks to this cluster as ``user``."""
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "/usr/bin:/bin")])
        return {"PATH": path, "HOME": str(self.folder), "KUBECONFIG": str(self.kubeconfig(user))}

    def shell(self, line: str, user: str = ADMIN, timeout: float = 20.0) -> str:
        """What a line for a shell prints; with kubectl in it.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        environment = self.environment(user)
        return subprocess.run(
            ["sh", "-c", line], capture_output=True, text=True, check=True, timeout=timeout, env=environment
        ).stdout

    def ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> dict[str, Any]:
        """Do one HTTP request as the administrator.

        Raises:
            urllib.error.HTTPError: the server says no.
        """
        answer: dict[str, Any] = json.loads(self._open(method, path, body, kind))
        return answer

    def get(self, path: str) -> dict[str, Any]:
        """An object or a list."""
        return self.ask("GET", path)

    def make(self, path: str, body: object) -> dict[str, Any]:
        """A new object in the collection at ``path``."""
        return self.ask("POST", path, body)

    def merge(self, path: str, body: object) -> dict[str, Any]:
        """Change fields of an object; lists are replaced as a whole (RFC 7386)."""
        return self.ask("PATCH", path, body, _MERGE)

    def delete(self, path: str, grace: int | None = 0) -> None:
        """Delete an object; by default at once, as there is no kubelet that would end a pod."""
        self.ask("DELETE", path, {} if grace is None else {"gracePeriodSeconds": grace})

    def namespace(self) -> str:
        """A new namespace, so that tests do not meet each other's objects."""
        name = f"bench-{next(self._numbers)}"
        self.make("/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def node(self, name: str = "") -> str:
        """A node that is ready; returns its name, a new one if none is given."""
        name = name or f"node-{next(self._numbers)}"
        self.make("/api/v1/nodes", {"metadata": {"name": name}})
        self.merge(f"/api/v1/nodes/{name}/status", {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        return name

    def pod(self, namespace: str, name: str, labels: Mapping[str, str], node: str) -> str:
        """A pod on a node, ready; returns its path."""
        spec = {"nodeName": node, "containers": [{"name": "mail", "image": "example.com/mail"}]}
        self.make(
            f"/api/v1/namespaces/{namespace}/pods", {"metadata": {"name": name, "labels": dict(labels)}, "spec": spec}
        )
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        self.set_ready(path, True)
        return path

    def set_ready(self, pod: str, ready: bool) -> None:
        """Do to a pod's status what a kubelet does when its container passes, or fails, its readiness probe."""
        number = int(hashlib.sha256(pod.encode()).hexdigest(), 16)
        address = f"10.{number % 250 + 1}.{number // 256 % 250 + 1}.{number // 65536 % 250 + 1}"
        conditions = [{"type": "Ready", "status": str(ready)}]
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
        self.merge(f"{pod}/status", {"status": status})

    def allow(self, namespace: str, rules: Sequence[Rule], user: str = FAILOVER) -> None:
        """Let ``user`` do exactly this in a namespace, from when this returns.

        Args:
            namespace: where.
            rules: as in a Role: apiGroups, resources, verbs.
            user: who.
        """
        base = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        role = {"metadata": {"name": user}, "rules": [dict(rule) for rule in rules]}
        before: list[Rule] = []
        for known in self.get(f"{base}/roles")["items"]:
            before += known["rules"] if known["metadata"]["name"] == user else []
        if before:
            self.ask("PUT", f"{base}/roles/{user}", role)
        else:
            group = "rbac.authorization.k8s.io"
            of, to = ({"apiGroup": group, "kind": kind, "name": user} for kind in ("Role", "User"))
            self.make(f"{base}/roles", role)
            self.make(f"{base}/rolebindings", {"metadata": {"name": user}, "roleRef": of, "subjects": [to]})
        granted = _grants(rules)
        for grant in granted | _grants(before):
            wait_for(partial(self._is_decided, namespace, user, grant, grant in granted))

    def _is_decided(self, namespace: str, user: str, grant: Grant, allowed: bool) -> bool:
        group, resource, verb = grant
        resource, _, part = resource.partition("/")
        of = {"namespace": namespace, "verb": verb, "group": group, "resource": resource, "subresource": part}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        reply = self.make(path, {"spec": {"user": user, "resourceAttributes": of}})
        return bool(reply["status"]["allowed"]) == allowed

    def _start(self, server: Path, controllers: Path) -> None:
        key, tokens, certificates = self.folder / "sa.key", self.folder / "tokens.csv", self.folder / "certificates"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], capture_output=True, check=True)
        tokens.write_text(f"{ADMIN},{ADMIN},{ADMIN},system:masters\n{FAILOVER},{FAILOVER},{FAILOVER}\n")
        etcd = self._start_etcd()
        self._run(
            str(server),
            *(f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", f"--secure-port={self.port}", "--insecure-port=0"),
            *(f"--cert-dir={certificates}", f"--token-auth-file={tokens}", "--authorization-mode=RBAC"),
            *(f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}"),
            *("--service-account-issuer=https://kubernetes.example", "--disable-admission-plugins=ServiceAccount"),
            *("--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true"),
        )
        wait_for(self._is_ready, 60.0)
        for user in (ADMIN, FAILOVER):
            self._write_kubeconfig(user)
        self._run(
            str(controllers),
            *(f"--kubeconfig={self.kubeconfig()}", "--leader-elect=false", "--port=0", "--secure-port=0"),
            # Nodes here have no kubelet that would say every ten seconds that it is alive.
            *(
                "--node-monitor-grace-period=24h",
                "--node-startup-grace-period=24h",
                "--endpoint-updates-batch-period=0",
            ),
        )
        for definition in definitions():
            self.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
        wait_for(self._serves_routes, 30.0)

    def _start_etcd(self) -> str:
        """Its URL."""
        clients, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._run(
            *("etcd", "--unsafe-no-fsync", f"--data-dir={self.folder / 'etcd'}", "--log-level=error"),
            *(f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"),
            *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
            f"--initial-cluster=default={peers}",
        )
        return clients

    def _run(self, program: str, *arguments: str) -> None:
        name = Path(program).name
        with self._log(name).open("wb") as log:
            self._processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", program, *arguments],  # ends with us, also if we are killed
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is for pytest, which ends us
            )

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _is_ready(self) -> bool:
        for name, process in self._processes.items():
            assert process.poll() is None, self._log(name).read_text()[-2000:]
        return self._answers("/readyz")

    def _serves_routes(self) -> bool:
        """Whether the new kinds are served; the server takes a moment after it has taken their definitions."""
        names = (definition["spec"] for definition in definitions())
        lists = [(spec["group"], v["name"], spec["names"]["plural"]) for spec in names for v in spec["versions"]]
        return all(self._answers(f"/apis/{group}/{version}/{plural}") for group, version, plural in lists)

    def _answers(self, path: str) -> bool:
        try:
            self._open("GET", path)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False
        return True

    def _open(self, method: str, path: str, body: object = None, kind: str = "application/json") -> bytes:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": kind}
        request = urllib.request.Request(f"{self.url}{path}", data, headers, method=method)
        with self._opener.open(request, timeout=10) as reply:
            text: bytes = reply.read()
        return text

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        """Speaks to the server directly, whatever proxies this machine has; OSError: there is no certificate yet."""
        context = ssl.create_default_context(cafile=str(self._certificate))
        return urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def _write_kubeconfig(self, user: str) -> None:
        settings = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "bench", "cluster": {"server": self.url, "certificate-authority": str(self._certificate)}}
            ],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": user}}],
            "current-context": "bench",
        }
        self.kubeconfig(user).write_text(json.dumps(settings))  # JSON is YAML

    @property
    def _certificate(self) -> Path:
        return self.folder / "certificates" / "apiserver.crt"


@cache
def api_server() -> ApiServer:
    """The control plane that all tests of this process share; it ends with the process. Absent: skips the test.

    Each module of tests makes its own fixture of it, with the scope ``session``.
    """
    folder = next((folder for folder in FOLDERS if _packed(folder, SERVER) and _packed(folder, CONTROLLERS)), None)
    if folder is None:
        pytest.skip(HOW_TO_GET_IT)
    if shutil.which("etcd") is None:
        pytest.skip("no etcd: apt install etcd-server, or scripts/setup")
    with ThreadPoolExecutor(2) as threads:
        server, controllers = threads.map(partial(_unpacked, folder), (SERVER, CONTROLLERS))
    running = ApiServer(server, controllers)
    atexit.register(running.stop)
    return running


def _packed(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.xz") if file.is_file()), None)


def _unpacked(folder: Path, name: str) -> Path:
    """The program; unpacked once for each content, whole or not at all, whoever else does the same now."""
    packed = _packed(folder, name)
    assert packed is not None
    if packed.suffix != ".xz":
        return packed
    content = packed.read_bytes()
    program = CACHE / "unpacked" / hashlib.sha256(content).hexdigest() / name
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=program.parent, delete=False) as file:
            file.write(lzma.decompress(content))
        unpacked = Path(file.name)
        unpacked.chmod(0o755)
        unpacked.replace(program)
    return program


def _grants(rules: Sequence[Rule]) -> set[Grant]:
    return {
        (group, resource, verb)
        for rule in rules
        for group, resource, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }
