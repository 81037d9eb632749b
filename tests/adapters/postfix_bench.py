"""A private Postfix on loopback with one of the gates in front of it, and an SMTP client that can stop anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters import postfix_map
from orchestrator.adapters.command import LocalCommands
from orchestrator.adapters.postfix_config import main_cf, map_lines, policy_lines
from orchestrator.adapters.postfix_map import MapGateDriver
from orchestrator.adapters.postfix_policy import PolicyGateDriver
from orchestrator.model.inventory import MapGate, PolicyGate
from orchestrator.model.traffic import GateReading
from orchestrator.ports import MailGate

HERE = LocalCommands("mx1")
PROBE = "probe@health.example"
PASSED, MOVING = "250", "421"


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something real has happened."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def age(file: Path) -> None:
    """Make a file older: Postfix waits until its settings have stood still for a while."""
    before = time.time() - 10
    os.utime(file, (before, before))


class Client:
    """An SMTP client that can stop anywhere, behind a PROXY protocol header as HAProxy's send-proxy writes it."""

    def __init__(self, port: int, source: str = "192.0.2.7", source_port: int = 40001) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=15)
        self._file = self._socket.makefile("rb")
        family = "TCP6" if ":" in source else "TCP4"
        to = "::1" if ":" in source else "127.0.0.1"
        self._socket.sendall(f"PROXY {family} {source} {to} {source_port} 25\r\n".encode())
        assert self.reply().startswith("220")
        assert self.say("EHLO client.example").startswith("250")

    def reply(self) -> str:
        """The last line of the next reply; empty when the server has hung up."""
        line = self._file.readline().decode()
        while line[3:4] == "-":
            line = self._file.readline().decode()
        return line.strip()

    def reply_within(self, seconds: float) -> str:
        """A reply that must come soon.

        Raises:
            TimeoutError: none came.
        """
        if not select.select([self._socket], [], [], seconds)[0]:
            raise TimeoutError
        return self.reply()

    def say(self, line: str) -> str:
        """Send a line, return the reply."""
        self._socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def mail(self, sender: str = "a@example.org") -> str:
        """The reply to MAIL FROM."""
        return self.say(f"MAIL FROM:<{sender}>")

    def send(self, sender: str = "a@example.org") -> str:
        """One whole transaction; the reply that decided it."""
        return next((reply for reply in self._steps(sender) if reply[:1] not in "23"), PASSED)

    def end_data(self) -> None:
        """Go through a transaction up to its end of data, and do not wait for the answer."""
        for line in ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA"):
            assert self.say(line)[:1] in "23"
        self._socket.sendall(b"Subject: hello\r\n\r\nhello\r\n.\r\n")

    def _steps(self, sender: str) -> Iterator[str]:
        yield self.mail(sender)
        yield self.say("RCPT TO:<b@example.net>")
        yield self.say("DATA")
        yield self.say("Subject: hello\r\n\r\nhello\r\n.")

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()


@dataclass
class Postfix:
    """A private Postfix on loopback that accepts everything and throws it away."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def config(self) -> str:
        """Its configuration folder."""
        return str(self.folder / "etc")

    def write(self, gate: str, proxy: str = "-o smtpd_upstream_proxy_protocol=haproxy") -> None:
        """Write main.cf and master.cf."""
        etc, queue = self.folder / "etc", self.folder / "queue"
        etc.mkdir(exist_ok=True)
        self._folders(queue)
        (etc / "main.cf").write_text(
            f"compatibility_level = 3.6\nqueue_directory = {queue}\ndata_directory = {self.folder}/data\n"
            "mydestination =\nmyhostname = mx1.example\nmynetworks = 0.0.0.0/0 [::]/0\nlocal_recipient_maps =\n"
            "smtpd_peername_lookup = no\nsmtpd_junk_command_limit = 1000000\nsmtpd_error_sleep_time = 0\n"
            "default_transport = discard:\nalias_maps =\ninet_protocols = all\n"
            f"maillog_file = {self.folder}/data/mail.log\nmaillog_file_prefixes = {self.folder}\n{gate}\n"
        )
        age(etc / "main.cf")
        services = [
            f"127.0.0.1:{self.port} inet n - n - - smtpd {proxy}",
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "rewrite unix - - n - - trivial-rewrite",
            "showq unix n - n - - showq",
            "postlog unix-dgram n - n - 1 postlogd",
            "proxymap unix - - n - - proxymap",
            *(f"{name} unix - - n - 0 bounce" for name in ("bounce", "defer", "trace")),
            *(f"{name} unix - - n - - {name}" for name in ("discard", "error", "anvil")),
            "retry unix - - n - - error",
        ]
        (etc / "master.cf").write_text("\n".join(services) + "\n")

    def _folders(self, queue: Path) -> None:
        self.folder.chmod(0o755)
        (self.folder / "data").mkdir(exist_ok=True)
        shutil.chown(self.folder / "data", "postfix")
        names = "active bounce corrupt defer deferred flush hold incoming maildrop pid private public saved trace"
        for name in names.split():
            (queue / name).mkdir(parents=True, exist_ok=True)
            if name != "pid":
                shutil.chown(queue / name, "postfix")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self.process = subprocess.Popen(
            ["/usr/lib/postfix/sbin/master", "-c", self.config, "-d"], start_new_session=True, cwd="/"
        )
        wait_for(self._accepts)

    def _accepts(self) -> bool:
        """Whether it takes connections."""
        assert self.process is not None
        assert self.process.poll() is None, "Postfix does not start"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def stop(self) -> None:
        """End it, with all of its processes."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


@dataclass
class Service:
    """The gate service as an operator starts it."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def control(self) -> str:
        """Its control socket."""
        return str(self.folder / "control.sock")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        at = ["--listen", f"127.0.0.1:{self.port}", "--control", self.control, "--state", str(self.folder / "state")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "gate", "serve", *at], stderr=subprocess.PIPE
        )
        assert self.process.stderr is not None
        assert b"serves" in self.process.stderr.readline()

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """End it; its exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(by)
        self.process.send_signal(signal.SIGCONT)
        status = self.process.wait(10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self.process = None
        return status


@dataclass
class Bench:
    """One Postfix with one gate in front of it."""

    postfix: Postfix
    driver: MailGate
    service: Service | None = None
    open_clients: list[Client] = field(default_factory=list)

    def client(self, source: str = "192.0.2.7", source_port: int = 40001) -> Client:
        """A new session."""
        self.open_clients.append(Client(self.postfix.port, source, source_port))
        return self.open_clients[-1]

    def hang_up(self) -> None:
        """End all sessions."""
        while self.open_clients:
            self.open_clients.pop().close()

    def close(self) -> None:
        """Close the gate."""
        asyncio.run(self.driver.set_closed(True))

    def open(self) -> None:
        """Open the gate."""
        asyncio.run(self.driver.set_closed(False))

    def read(self) -> GateReading:
        """Read the gate."""
        return asyncio.run(self.driver.read())


@contextlib.contextmanager
def policy_bench(folder: Path) -> Iterator[Bench]:
    """Postfix that asks the policy service."""
    folder.mkdir()
    service, postfix = Service(folder), Postfix(folder)
    postfix.write(main_cf(policy_lines(f"inet:127.0.0.1:{service.port}")))
    gate = PolicyGate(driver="postfix-policy", control=service.control, config=postfix.config)
    try:
        service.start()
        postfix.start()
        yield Bench(postfix, PolicyGateDriver("mx1", gate, HERE, [PROBE]), service)
    finally:
        postfix.stop()
        service.stop()


@contextlib.contextmanager
def map_bench(folder: Path) -> Iterator[Bench]:
    """Postfix that looks senders up in the table."""
    folder.mkdir()
    postfix = Postfix(folder)
    gate = MapGate(driver="postfix-map", database=str(folder / "gate.sqlite"), config=postfix.config)
    postfix.write(main_cf(map_lines(postfix_map.table_path(gate))))
    postfix_map.prepare(Path(gate.database))
    Path(postfix_map.table_path(gate)).write_text(postfix_map.table_text(gate.database))
    age(Path(postfix_map.table_path(gate)))
    try:
        postfix.start()
        yield Bench(postfix, MapGateDriver("mx1", gate, HERE, [PROBE]))
    finally:
        postfix.stop()


BENCHES = {"policy": policy_bench, "map": map_bench}
