"""A cut-over by DNS under load: real BIND, caching unbounds, and clients that look up again before each connection."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.adapters.resolvers import ask
from orchestrator.errors import UnreachableError
from tests.adapters.dns_bench import NAME, OURS, ZONE, Forwarder, Named, free_port, unbound

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

PROJECT: Final = Path(__file__).parents[2]
TTL: Final = 5
CLIENTS: Final = 20
RESOLVERS: Final = 4
"""Their caches were filled at different times."""

PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 0.3
"""Seconds between a client's two connections."""

SLACK: Final = 0.5
"""Seconds that a connection may take on a busy machine."""

SITES: Final = {"ord": "127.0.0.11", "iad": "127.0.0.12"}
"""The address of each site's only member, which its greeting names."""

SPARE: Final = "127.0.0.13"
"""A host at ord that belongs to nobody's pool."""

RUNBOOK: Final = """
runbook: cut-over
summary: Send all mail to iad.
steps:
  - {id: shift, do: traffic.shift, with: {pool: smtp, from: ord, to: iad, by: [100%], pause: 0s}}
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """Where a client ended up."""

    asked: float
    """Unix time at which it began to look the name up."""
    at: float
    """Unix time at which it had read the greeting."""
    client: int
    site: str


@dataclass(slots=True)
class Clients:
    """Mail clients that look the name up before each connection, and read the greeting."""

    resolvers: Sequence[str]
    port: int
    seen: list[Seen] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[Clients]:
        """Members and clients, in a thread of their own."""
        thread = threading.Thread(target=asyncio.run, args=(self._work(),), daemon=True)
        thread.start()
        try:
            self.wait_for_all(time.time(), 10)
            yield self
        finally:
            self._over.set()
            thread.join(10)

    def wait_for_all(self, since: float, within: float) -> None:
        """Wait until each client has connected again."""
        deadline = time.monotonic() + within
        while {it.client for it in self.seen if it.at > since} != set(range(CLIENTS)):
            assert time.monotonic() < deadline, self.failed[-3:]
            time.sleep(0.05)

    def last(self, site: str) -> dict[int, float]:
        """When each client looked up what led there for the last time."""
        return {it.client: it.asked for it in self.seen if it.site == site}

    def first(self, site: str) -> dict[int, float]:
        """When each client was there for the first time."""
        return {it.client: it.at for it in reversed(self.seen) if it.site == site}

    async def _work(self) -> None:
        servers = [
            await asyncio.start_server(partial(_serve, site), address, self.port)
            for site, address in (*SITES.items(), ("ord", SPARE))
        ]
        await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))
        for server in servers:
            server.close()
            await server.wait_closed()

    async def _client(self, number: int) -> None:
        group = number % len(self.resolvers)
        await asyncio.sleep(group * TTL / len(self.resolvers))
        while not self._over.is_set():
            await asyncio.sleep(random.uniform(PAUSE / 2, LONGEST_PAUSE))
            asked = time.time()
            try:
                addresses = await ask(self.resolvers[group], NAME, "A")
                reader, writer = await asyncio.open_connection(random.choice(sorted(addresses)), self.port)
                greeting = (await reader.readline()).decode().split()
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
            except (OSError, UnreachableError, IndexError) as error:
                self.failed.append(repr(error))
            else:
                self.seen.append(Seen(asked, time.time(), number, greeting[1]))


async def _serve(site: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A member: takes every message, and throws it away (RFC 5321)."""
    said, in_data = f"220 {site} ESMTP", False
    with suppress(OSError):
        while said:
            writer.write(f"{said}\r\n".encode())
            line = await reader.readuntil(b"\r\n.\r\n") if in_data else await reader.readline()
            verb = line[:4].upper()
            in_data = verb == b"DATA" and not in_data
            said = "354 go on" if in_data else f"250 {site}" if verb != b"QUIT" and line else ""
        writer.close()
        await writer.wait_closed()


@dataclass(frozen=True, slots=True)
class Scene:
    """All of it, at work."""

    named: Named
    forwarder: Forwarder
    clients: Clients
    folder: Path

    def failover(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """A command's exit code and its output, read back."""
        command = [sys.executable, "-m", "orchestrator", *arguments, "--json"]
        environment = {**os.environ, "FAILOVER_STATE": str(self.folder / "state")}
        ended = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60)
        lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
        return ended.returncode, lines or [{"stderr": ended.stderr, "stdout": ended.stdout}]

    def run(self) -> tuple[int, list[dict[str, Any]]]:
        """The runbook, planned and run."""
        runbook, inventory = self.folder / "cut-over.yaml", self.folder / "inventory.yaml"
        runbook.write_text(RUNBOOK)
        inventory.write_text(json.dumps(self._inventory()))  # JSON is YAML
        return self.failover("run", str(runbook), "-i", str(inventory))

    def _inventory(self) -> Mapping[str, object]:
        return {
            "sites": {site: {"provider": "rackspace"} for site in SITES},
            "pools": {
                "smtp": {
                    "protocol": "smtp",
                    "address": f"{NAME}:{self.clients.port}",
                    "switch": {
                        "driver": "dns",
                        "server": self.forwarder.place,
                        "zone": ZONE,
                        "name": NAME,
                        "names": {f"{site}-mx": address for site, address in SITES.items()},
                        "key": {"name": OURS, "secret": f"file:{self.named.ours.file}"},
                        "resolvers": list(self.clients.resolvers),
                        "name_servers": [self.named.place],
                    },
                    "demand": "50 sessions",
                    "test_mail": {"sender": "probe@lab.example", "recipient": "probe@lab.example"},
                    "sites": {
                        site: {
                            "members": [f"{site}-mx"],
                            "capacity": "100 sessions",
                            "address": f"{address}:{self.clients.port}",
                        }
                        for site, address in SITES.items()
                    },
                }
            },
        }


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """All traffic at ord."""
    with ExitStack() as stack:
        named = stack.enter_context(Named(tmp_path, [SITES["ord"]], TTL).running())
        forwarder = stack.enter_context(Forwarder(named.port).running())
        folders = [tmp_path / f"resolver-{number}" for number in range(RESOLVERS)]
        resolvers = [f"127.0.0.1:{stack.enter_context(unbound(folder, named.port))}" for folder in folders]
        clients = stack.enter_context(Clients(resolvers, free_port()).at_work())
        yield Scene(named, forwarder, clients, tmp_path)


def test_every_client_is_over_within_the_ttl(
    scene: Scene, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Who looks up later than TTL + 1 s after the update meets the new address, and so do all once the step is done."""
    code, events = scene.run()
    assert code == 0, json.dumps(events)
    settled = reached(events)
    scene.clients.wait_for_all(time.time(), 5)
    (changed,) = scene.forwarder.updates
    first, last = scene.clients.first("iad"), scene.clients.last("ord")
    numbers = {
        "first client over after": min(first.values()) - changed,
        "last client over after": max(first.values()) - changed,
        "last look-up that gave the old address after": max(last.values()) - changed,
        "step done after": settled - changed,
    }
    record_property("seconds", numbers)
    with capsys.disabled():
        listed = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in numbers.items())
        sys.stdout.write(f"\n{len(scene.clients.seen)} connections of {CLIENTS} clients; {listed}\n")
    assert len(first) == len(last) == CLIENTS
    assert max(last.values()) <= changed + TTL + 1
    assert max(first.values()) <= changed + TTL + 1 + LONGEST_PAUSE + SLACK
    assert max(last.values()) < settled
    assert not scene.clients.failed


def test_a_concurrent_edit_is_refused_and_no_client_moves(scene: Scene) -> None:
    """What somebody adds between the run's reading and its writing stays, and the run changes nothing and says why."""
    scene.forwarder.before = partial(scene.named.edit, f"update add {NAME}. {TTL} A {SPARE}")
    code, events = scene.run()
    assert code == 3, json.dumps(events)
    assert "somebody else changed it meanwhile" in events[-1]["reason"]
    assert len(scene.forwarder.updates) == 1
    assert scene.named.dig() == sorted([SITES["ord"], SPARE])
    scene.clients.wait_for_all(time.time(), 5)
    assert not scene.clients.first("iad")


def reached(events: Sequence[Mapping[str, Any]]) -> float:
    """Unix time at which the step had waited until clients meet what it did."""
    (at,) = (it["at"] for it in events if it.get("event") == "outcome" and it["data"]["result"] == "reached")
    return datetime.fromisoformat(at).timestamp()
