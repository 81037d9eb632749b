"""A real HAProxy on loopback with members behind it, a person at its socket, and somebody in the way to it."""

from __future__ import annotations

import asyncio
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from orchestrator.adapters.haproxy import HaproxyDriver
from orchestrator.adapters.haproxy_parse import parse_old_workers
from orchestrator.model.switch import HaproxySwitch
from orchestrator.model.traffic import Admin, Intake
from orchestrator.ports import TrafficSwitch
from tests.adapters.switch_contract import Bench, Intakes

MEMBERS = ("mx1", "mx2", "mx3")


class Client:
    """One connection of a mail client, which a member greets and echoes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.address = "{}:{}".format(*writer.get_extra_info("sockname"))

    async def say(self, line: bytes) -> bytes:
        """The echo; empty when the connection is closed."""
        self.writer.write(line)
        await self.writer.drain()
        return await self.reader.readline()


class EchoMember(socketserver.StreamRequestHandler):
    """A member: a greeting, then an echo."""

    def handle(self) -> None:
        """Serve one connection."""
        with suppress(OSError):
            self.wfile.write(b"220 here\r\n")
            for line in self.rfile:
                self.wfile.write(line)


class EchoServer(socketserver.ThreadingTCPServer):
    """Its connections end with the switch's, so nobody needs to wait for them."""

    daemon_threads = True
    block_on_close = False


class Front(socketserver.ThreadingUnixStreamServer):
    """Stands before a socket; who leaves it takes every visitor along."""

    daemon_threads = True


class RealHaproxy:
    """A HAProxy with master and worker on loopback."""

    _ADMINS: ClassVar[dict[str, Admin]] = {"DRAIN": "drain", "MAINT": "maint"}

    def __init__(self, folder: Path, servers: Sequence[str], member_port: int, options: str = "") -> None:
        self.folder = folder
        self.port, self.stats_port = free_port(), free_port()
        self.stats = folder / "stats.sock"
        self.operator = folder / "operator.sock"
        self.master = folder / "master.sock"
        self.state = folder / "state"
        self.state.write_text("1\n")
        self.config = folder / "haproxy.cfg"
        self.config.write_text(
            f"""
            global
              stats socket {self.stats} mode 600 level admin
              stats socket 127.0.0.1:{self.stats_port} level admin
              stats socket {self.operator} mode 600 level operator
              server-state-file {self.state}
              hard-stop-after 60s
            defaults
              mode tcp
              timeout connect 2s
              timeout client 60s
              timeout server 60s
              timeout client-fin 2s
              timeout server-fin 2s
              load-server-state-from-file global
            frontend smtp
              bind 127.0.0.1:{self.port}
              default_backend smtp
            backend smtp
              balance roundrobin
              {options}
            """
            + "".join(f"  server {name} 127.0.0.1:{member_port} weight 100\n" for name in servers)
            + f"backend other\n  server mx1 127.0.0.1:{member_port}\n"
        )
        command = ["haproxy", "-W", "-db", "-S", str(self.master), "-f", str(self.config)]
        self.log = (folder / "haproxy.log").open("wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        try:
            eventually(self.is_ready)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End master and workers, old ones too."""
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            self.log.close()

    def say(self, command: str, place: Path | None = None) -> str:
        """A person at one of its sockets in the file system."""
        with socket.socket(socket.AF_UNIX) as person, suppress(FileNotFoundError, ConnectionError):
            person.connect(str(place or self.stats))
            return _said(person, command)
        return ""

    def say_beside(self, command: str) -> str:
        """A person at its TCP socket, which nobody stands in front of."""
        with socket.create_connection(("127.0.0.1", self.stats_port), timeout=10) as person:
            return _said(person, command)

    def reload(self) -> None:
        """Start a new worker; the old one goes on for as long as it has sessions."""
        before = self.pid()
        self.process.send_signal(signal.SIGUSR2)
        eventually(lambda: self.pid() != before and self.is_ready())

    def is_ready(self) -> bool:
        """Whether the worker answers, and the master, which forgets signals that come before it does."""
        assert self.process.poll() is None, (self.folder / "haproxy.log").read_text()
        return self.pid() != "" and "# workers" in self.say("show proc", self.master)

    def pid(self) -> str:
        """The present worker's."""
        return next((line for line in self.say("show info").splitlines() if line.startswith("Pid:")), "")

    def old_workers(self) -> list[int]:
        """Those that still run."""
        return parse_old_workers(self.say("show proc", self.master))

    def switch(self, **settings: str) -> HaproxySwitch:
        """The model of it."""
        defaults = {"socket": str(self.stats), "backend": "smtp", "master": str(self.master)}
        return HaproxySwitch.model_validate({"driver": "haproxy"} | defaults | settings)

    def driver(self, members: Sequence[str] = MEMBERS, **settings: str) -> HaproxyDriver:
        """A new driver for it."""
        return HaproxyDriver(self.switch(**settings), members)

    def meddle(self, changes: Intakes) -> None:
        """Change members with somebody else's hand."""
        for member, intake in changes.items():
            server = f"set server smtp/{member}"
            assert not self.say_beside(f"{server} weight {intake.weight};{server} state {intake.admin}").strip()

    def truth(self) -> dict[str, Intake]:
        """Every server, by other commands than the driver's."""
        return {
            member: Intake(weight=int(self.say_beside(f"get weight smtp/{member}").split()[0]), admin=admin)
            for member, admin in self._admins().items()
        }

    def _admins(self) -> dict[str, Admin]:
        head, *rows = self.say_beside("show stat").strip().splitlines()
        columns = head.removeprefix("# ").split(",")
        servers = [dict(zip(columns, row.split(","), strict=False)) for row in rows]
        return {
            server["svname"]: self._ADMINS.get(server["status"].split()[0], "ready")
            for server in servers
            if (server["pxname"], server["type"]) == ("smtp", "2")
        }

    @contextmanager
    def front(self, edit: Callable[[str], tuple[str, str]]) -> Iterator[None]:
        """Within the block somebody stands before the stats socket: what a line becomes, and what is said at once."""
        behind = self.stats.rename(self.folder / "behind.sock")

        class Visitor(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with socket.socket(socket.AF_UNIX) as upstream, suppress(ConnectionError):
                    upstream.connect(str(behind))
                    backwards = threading.Thread(target=_pour, args=(upstream, self.connection))
                    backwards.start()
                    for line in self.rfile:
                        passed, said = edit(line.decode().rstrip("\n"))
                        self.wfile.write(said.encode())
                        upstream.sendall(passed.encode() + b"\n")
                    upstream.shutdown(socket.SHUT_WR)
                    backwards.join()

        try:
            with Front(str(self.stats), Visitor) as server, in_thread(server):
                yield
        finally:
            self.stats.unlink(missing_ok=True)
            behind.rename(self.stats)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """A client's connection through it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            assert await reader.readline() == b"220 here\r\n"
            yield Client(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _said(person: socket.socket, command: str) -> str:
    person.sendall(command.encode() + b"\n")
    person.shutdown(socket.SHUT_WR)
    return b"".join(iter(lambda: person.recv(65536), b"")).decode()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def in_thread(server: socketserver.BaseServer) -> Iterator[None]:
    """The server serves within the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


@contextmanager
def members() -> Iterator[int]:
    """The port at which all members listen."""
    with EchoServer(("127.0.0.1", 0), EchoMember) as server, in_thread(server):
        yield server.server_address[1]


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(holds: Callable[[], bool], within: float = 10.0) -> None:
    """Wait for a process outside."""
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.02)


@contextmanager
def running(folder: Path, servers: Sequence[str], member_port: int, options: str = "") -> Iterator[RealHaproxy]:
    """A HAProxy that is stopped whatever happens."""
    haproxy = RealHaproxy(folder, servers, member_port, options)
    try:
        yield haproxy
    finally:
        haproxy.stop()


async def no_sessions(driver: TrafficSwitch) -> bool:
    """Whether none is left."""
    return not await driver.sessions(MEMBERS)


async def until(holds: Callable[[], object], within: float = 10.0) -> None:
    """Wait for a process outside, in a scene."""
    async with asyncio.timeout(within):
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.02)


class HaproxyBench(Bench):
    """A HAProxy before ``MEMBERS``, in the contract."""

    def __init__(self, haproxy: RealHaproxy) -> None:
        self._haproxy = haproxy
        self.switch = haproxy.switch()
        self.start = dict.fromkeys(MEMBERS, Intake(weight=100))
        self.shifted = {"mx1": Intake(weight=0, admin="drain"), "mx2": Intake(weight=256)}

    def driver(self) -> HaproxyDriver:
        """See ``Bench.driver``."""
        return self._haproxy.driver()

    def truth(self) -> Intakes:
        """See ``Bench.truth``."""
        return self._haproxy.truth()

    def meddle(self, changes: Intakes) -> None:
        """See ``Bench.meddle``."""
        self._haproxy.meddle(changes)

    @contextmanager
    def failing(self, member: str) -> Iterator[None]:
        """HAProxy denies the commands for one server: they come to it by a socket whose level is too low."""
        denials: list[str] = []

        def deny(line: str) -> tuple[str, str]:
            commands = line.split(";")
            denied = [one for one in commands if one.startswith(f"set server smtp/{member} ")]
            said = [self._haproxy.say(one, self._haproxy.operator) for one in denied]
            denials.extend(said)
            return ";".join(one for one in commands if one not in denied), "".join(said)

        with self._haproxy.front(deny):
            yield
        assert denials
        assert all("Permission denied" in said for said in denials)

    @contextmanager
    def racing(self, changes: Intakes) -> Iterator[None]:
        """Somebody else's commands reach HAProxy just before the driver's first one."""
        left = [changes]

        def overtake(line: str) -> tuple[str, str]:
            if line.startswith("set server") and left:
                self._haproxy.meddle(left.pop())
            return line, ""

        with self._haproxy.front(overtake):
            yield
        assert not left

    def obey(self, line: str) -> None:
        """A person copies the line into a shell."""
        type_in([line])


def type_in(lines: Sequence[str]) -> None:
    """A person copies each line into a shell; HAProxy is silent when it has obeyed."""
    for line in lines:
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True, timeout=20)
        assert done.stdout.strip() == "", line
