"""Real name servers on loopback: BIND as a zone's primary, unbound as a caching resolver, and hands of another writer.

Each is a process of the test's own with its files in one folder, and ends with it.
"""

from __future__ import annotations

import base64
import os
import secrets
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ZONE: Final = "example.test"
NAME: Final = f"mx.{ZONE}"
OURS: Final = "failover"
"""The key that the driver signs with; it may change the addresses of ``NAME`` alone."""
THEIRS: Final = "somebody-else"

UPDATE: Final = 5
"""The opcode of an update (RFC 2136, 2.2)."""

_STARTS_WITHIN = 10.0
_NONE = "192.0.2.254"
"""An address that no test puts into the zone."""


@dataclass(frozen=True, slots=True)
class Key:
    """A TSIG key, with its secret in a file too."""

    name: str
    file: Path
    secret: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(32)).decode(), repr=False)

    def write(self) -> Key:
        """Write the file."""
        self.file.write_text(self.secret + "\n")
        self.file.chmod(0o600)
        return self


class Named:
    """BIND 9 as the primary of ``ZONE``."""

    def __init__(self, folder: Path, records: Sequence[str], ttl: int = 5, type_: str = "A") -> None:
        self.folder = folder
        self.port = free_port()
        self.type = type_
        self.ours = Key(OURS, folder / "ours.secret").write()
        self.theirs = Key(THEIRS, folder / "theirs.secret").write()
        lines = [
            f"$ORIGIN {ZONE}.",
            f"@ {ttl} IN SOA ns root 1 3600 600 86400 {ttl}",
            f"@ {ttl} IN NS ns",
            f"ns {ttl} IN A 127.0.0.1",
            f"alias {ttl} IN CNAME mx",
            *(f"mx {ttl} IN {type_} {record}" for record in records),
        ]
        (folder / "zone.db").write_text("\n".join(lines) + "\n")
        self._configure("grant")

    @property
    def place(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Named]:
        """Run it."""
        with process(
            ["named", "-g", "-n", "1", "-c", str(self.folder / "named.conf")], self.folder / "named.log"
        ) as it:
            self._process = it
            wait_until(lambda: self.dig("SOA", ZONE) != [], it, self.folder / "named.log")
            yield self

    def dig(self, type_: str = "A", name: str = NAME) -> list[str]:
        """What it answers to dig(1), over TCP."""
        return dig(self.port, name, type_, "+tcp", "+norecurse")

    def edit(self, *lines: str) -> None:
        """Change it with nsupdate(1), as somebody else."""
        assert not (said := self._nsupdate(self.theirs, *lines)), said

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Within the block it takes no update from ``OURS``: its policy is another one."""
        self._reload("deny")
        try:
            yield
        finally:
            self._reload("grant")

    def stop_answering(self) -> None:
        """Let it hang, as a server does whose disk is gone."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def _reload(self, policy: str) -> None:
        self._configure(policy)
        self._process.send_signal(signal.SIGHUP)
        expected = {"grant": "", "deny": "REFUSED"}[policy]
        deadline = time.monotonic() + _STARTS_WITHIN
        while True:  # an update that changes nothing tells which policy rules
            said = self._nsupdate(self.ours, f"update delete {NAME}. A {_NONE}")
            if (expected in said) if expected else not said:
                return
            assert time.monotonic() < deadline, said
            time.sleep(0.02)

    def _nsupdate(self, key: Key, *lines: str) -> str:
        """What nsupdate complains of."""
        start = [f"server 127.0.0.1 {self.port}", f"zone {ZONE}.", f"key hmac-sha256:{key.name} {key.secret}"]
        script = "\n".join([*start, *lines, "send\n"])
        ended = subprocess.run(["nsupdate", "-v"], input=script, capture_output=True, text=True, timeout=10)
        assert (ended.returncode == 0) == (not ended.stderr), ended
        return ended.stderr

    def _configure(self, policy: str) -> None:
        keys = "\n".join(
            f'key "{key.name}" {{ algorithm hmac-sha256; secret "{key.secret}"; }};' for key in (self.ours, self.theirs)
        )
        (self.folder / "named.conf").write_text(
            f"""
            {keys}
            controls {{}};
            options {{
              directory "{self.folder}";
              pid-file none; lock-file none; session-keyfile none; managed-keys-directory "{self.folder}";
              listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
              recursion no; notify no; dnssec-validation no; minimal-responses no;
            }};
            zone "{ZONE}" {{
              type primary; file "zone.db";
              update-policy {{
                {policy} {OURS} name {NAME}. A AAAA MX SRV CNAME;
                grant {THEIRS} zonesub ANY;
              }};
            }};
            """
        )


class Secondary:
    """BIND 9 as a secondary of ``ZONE`` that the primary tells nothing: it has what it got when it was started."""

    def __init__(self, folder: Path, primary: int) -> None:
        folder.mkdir()
        self.port = free_port()
        self._folder = folder
        (folder / "named.conf").write_text(
            f"""
            controls {{}};
            options {{
              directory "{folder}";
              pid-file none; lock-file none; session-keyfile none; managed-keys-directory "{folder}";
              listen-on port {self.port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
              recursion no; notify no; dnssec-validation no;
            }};
            zone "{ZONE}" {{ type secondary; file "zone.db"; primaries {{ 127.0.0.1 port {primary}; }}; }};
            """
        )

    @property
    def place(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[Secondary]:
        """Run it; it has the zone."""
        log = self._folder / "named.log"
        with process(["named", "-g", "-n", "1", "-c", str(self._folder / "named.conf")], log) as it:
            wait_until(lambda: dig(self.port, ZONE, "SOA", "+norecurse") != [], it, log)
            yield self

    def catch_up(self, expected: Sequence[str]) -> None:
        """Tell it that the zone has changed (RFC 1996), and wait until it has it."""
        dig(self.port, ZONE, "SOA", "+opcode=notify")
        deadline = time.monotonic() + _STARTS_WITHIN
        while dig(self.port, NAME, "A", "+norecurse") != sorted(expected):
            assert time.monotonic() < deadline, (self._folder / "named.log").read_text()
            time.sleep(0.02)


@contextmanager
def unbound(folder: Path, primary: int) -> Iterator[int]:
    """A caching resolver that asks ``primary`` for the zone; the port that it listens at."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    (folder / "unbound.conf").write_text(
        f"""
        server:
          directory: "{folder}"
          username: ""
          chroot: ""
          pidfile: ""
          logfile: ""
          use-syslog: no
          do-daemonize: no
          num-threads: 1
          interface: 127.0.0.1@{port}
          access-control: 127.0.0.0/8 allow_snoop
          do-not-query-localhost: no
          do-ip6: no
          module-config: "iterator"
          local-zone: "test." nodefault
        remote-control:
          control-enable: no
        stub-zone:
          name: "{ZONE}"
          stub-addr: 127.0.0.1@{primary}
        """
    )
    log = folder / "unbound.log"
    with process(["unbound", "-d", "-c", str(folder / "unbound.conf")], log) as it:
        wait_until(lambda: dig(port, ZONE, "SOA") != [], it, log)
        yield port


class Forwarder(socketserver.ThreadingTCPServer):
    """Passes messages on to a server; before the first update gets there, somebody else has ``before`` done."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passage)
        self.to = port
        self.before: Callable[[], None] | None = None
        self.updates: list[float] = []
        """Unix time at which each that it has passed on was answered."""

    @property
    def place(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator[Forwarder]:
        """Run it."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join()

    def about_to_pass(self, message: bytes) -> None:
        """A message is here and not yet there."""
        before = self.before
        if is_update(message) and before is not None:
            self.before = None
            before()

    def answered(self, message: bytes) -> None:
        """Its answer is back."""
        if is_update(message):
            self.updates.append(time.time())


class _Passage(socketserver.BaseRequestHandler):
    """One connection: messages with their length in front (RFC 1035, 4.2.2)."""

    server: Forwarder

    def handle(self) -> None:
        """Pass on until one side closes."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.to), timeout=10) as inside:
            while message := _message(self.request):
                self.server.about_to_pass(message)
                inside.sendall(len(message).to_bytes(2, "big") + message)
                answer = _message(inside)
                self.server.answered(message)
                self.request.sendall(len(answer).to_bytes(2, "big") + answer)


def is_update(message: bytes) -> bool:
    """Whether it is one, by its opcode."""
    return (message[2] >> 3) & 0xF == UPDATE


def _message(stream: socket.socket) -> bytes:
    """The next message; empty at the end."""
    length = _exactly(stream, 2)
    return _exactly(stream, int.from_bytes(length, "big")) if length else b""


def _exactly(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data


def dig(port: int, name: str, type_: str, *options: str) -> list[str]:
    """What a server answers to dig(1), the data only; nothing where it does not answer yet."""
    command = ["dig", *options, "+short", "+tries=1", "+time=2", "@127.0.0.1", "-p", str(port), name, type_]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=10)
    return sorted(line for line in ended.stdout.splitlines() if not line.startswith(";"))


@contextmanager
def process(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that stays in the foreground, and end it."""
    with log.open("wb") as output:
        it = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        yield it
    finally:
        it.kill()  # nothing of it is needed any more, and one that was stopped hears nothing else
        it.wait(10)


def wait_until(ready: Callable[[], bool], it: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a program answers; fail with its log when it does not."""
    deadline = time.monotonic() + _STARTS_WITHIN
    while not ready():
        assert it.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def free_port() -> int:
    """A port that is free for TCP and UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp, suppress(OSError):
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            udp.bind(("127.0.0.1", port))
            return port
