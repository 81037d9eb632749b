"""The contract of ``ports.TrafficSwitch``; each driver joins with a bench, a real switch on loopback."""

from __future__ import annotations

import asyncio
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest

from orchestrator.adapters.haproxy import HaproxyDriver
from orchestrator.adapters.haproxy_parse import parse_old_workers
from orchestrator.adapters.haproxy_socket import Limits
from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.inventory import HaproxySwitch
from orchestrator.model.traffic import Intake
from orchestrator.ports import TrafficSwitch

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]

MEMBERS = ("mx1", "mx2", "mx3")


class Bench(Protocol):
    """What the contract needs of a driver's real switch: members of ``MEMBERS``, all ready at weight 100."""

    def driver(self) -> TrafficSwitch:
        """A new driver for it."""

    def meddle(self, member: str, intake: Intake) -> None:
        """Change a member with somebody else's hand."""

    def client(self) -> AbstractAsyncContextManager[Client]:
        """A client's connection through the switch."""


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


class RealHaproxy:
    """A HAProxy with master and worker on loopback."""

    def __init__(self, folder: Path, servers: Sequence[str], member_port: int, options: str = "") -> None:
        self.folder = folder
        self.port, self.stats_port = free_port(), free_port()
        self.stats = folder / "stats.sock"
        self.master = folder / "master.sock"
        self.state = folder / "state"
        self.state.write_text("1\n")
        self.config = folder / "haproxy.cfg"
        self.config.write_text(
            f"""
            global
              stats socket {self.stats} mode 600 level admin
              stats socket 127.0.0.1:{self.stats_port} level admin
              stats socket {folder}/operator.sock mode 600 level operator
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
        """A person at the socket."""
        with socket.socket(socket.AF_UNIX) as person, suppress(FileNotFoundError, ConnectionError):
            person.connect(str(place or self.stats))
            person.sendall(command.encode() + b"\n")
            person.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: person.recv(65536), b"")).decode()
        return ""

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

    def driver(self, members: Sequence[str] = MEMBERS, **settings: str) -> HaproxyDriver:
        """A new driver for it."""
        defaults = {"socket": str(self.stats), "backend": "smtp", "master": str(self.master)}
        return HaproxyDriver(HaproxySwitch.model_validate({"driver": "haproxy"} | defaults | settings), members)

    def meddle(self, member: str, intake: Intake) -> None:
        """Change a member with somebody else's hand."""
        server = f"set server smtp/{member}"
        self.say(f"{server} weight {intake.weight};{server} state {intake.admin}")

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


@pytest.fixture(scope="module")
def member_port() -> Iterator[int]:
    """Where the members listen."""
    with EchoServer(("127.0.0.1", 0), EchoMember) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@contextmanager
def running(folder: Path, servers: Sequence[str], member_port: int, options: str = "") -> Iterator[RealHaproxy]:
    """A HAProxy that is stopped whatever happens."""
    haproxy = RealHaproxy(folder, servers, member_port, options)
    try:
        yield haproxy
    finally:
        haproxy.stop()


@pytest.fixture
def haproxy(tmp_path: Path, member_port: int) -> Iterator[RealHaproxy]:
    """A HAProxy before ``MEMBERS``."""
    with running(tmp_path, MEMBERS, member_port) as haproxy:
        yield haproxy


@pytest.fixture(params=["haproxy"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each driver's bench in turn: the name of its fixture."""
    found: Bench = request.getfixturevalue(request.param)
    return found


# The contract.


def intakes(switch: TrafficSwitch) -> dict[str, Intake]:
    """What each member takes now."""
    return {name: reading.intake for name, reading in asyncio.run(switch.read()).items()}


def test_reads_every_member(bench: Bench) -> None:
    """Every member is there, with what it takes, up where nothing is checked, and without sessions."""
    readings = asyncio.run(bench.driver().read())
    assert tuple(readings) == MEMBERS
    assert {(r.intake, r.up, r.sessions) for r in readings.values()} == {(Intake(weight=100), True, 0)}


def test_applies_weights(bench: Bench) -> None:
    """Members come to the weights asked for, zero and the largest too; a member that is not named stays."""
    driver = bench.driver()
    asyncio.run(driver.apply({"mx1": Intake(weight=0), "mx2": Intake(weight=driver.max_weight)}))
    assert intakes(driver) == {
        "mx1": Intake(weight=0),
        "mx2": Intake(weight=driver.max_weight),
        "mx3": Intake(weight=100),
    }


@pytest.mark.parametrize("admin", ["drain", "maint"])
def test_drains_and_returns(bench: Bench, admin: str) -> None:
    """A member goes out of service and back, with weight and state at once."""
    driver = bench.driver()
    away = Intake.model_validate({"weight": 7, "admin": admin})
    asyncio.run(driver.apply({"mx1": away}))
    assert intakes(driver)["mx1"] == away
    asyncio.run(driver.apply({"mx1": Intake(weight=100)}))
    assert intakes(driver)["mx1"] == Intake(weight=100)


@pytest.mark.parametrize(("first", "then"), [("drain", "maint"), ("maint", "drain")])
def test_goes_between_drain_and_maint(bench: Bench, first: str, then: str) -> None:
    """From drain to maint and from maint to drain there is no state that clings."""
    driver = bench.driver()
    for admin in (first, then):
        asyncio.run(driver.apply({"mx1": Intake.model_validate({"weight": 100, "admin": admin})}))
        assert intakes(driver)["mx1"].admin == admin


def test_applying_twice_is_applying_once(bench: Bench) -> None:
    """Asking again for what is so already changes nothing and is no error."""
    driver = bench.driver()
    for _ in range(2):
        asyncio.run(driver.apply({"mx1": Intake(weight=30, admin="drain")}))
    assert intakes(driver)["mx1"] == Intake(weight=30, admin="drain")


def test_sees_the_changes_of_others(bench: Bench) -> None:
    """What somebody else has changed is read, and overwritten when asked for."""
    driver = bench.driver()
    asyncio.run(driver.apply({"mx1": Intake(weight=30)}))
    bench.meddle("mx1", Intake(weight=5, admin="maint"))
    assert intakes(driver)["mx1"] == Intake(weight=5, admin="maint")
    asyncio.run(driver.apply({"mx1": Intake(weight=30)}))
    assert intakes(driver)["mx1"] == Intake(weight=30)


def by_hand(lines: Sequence[str]) -> None:
    """A person copies each line into a shell; the switch is silent when it has obeyed."""
    for line in lines:
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "", line


def test_a_person_does_the_same_by_hand(bench: Bench) -> None:
    """The commands for a shell bring members where they are to be, and leave what they do not name."""
    driver = bench.driver()
    by_hand(driver.by_hand({"mx1": 0, "mx2": 30}, {"mx2": "maint", "mx3": "drain"}))
    away = {"mx1": Intake(weight=0), "mx2": Intake(weight=30, admin="maint"), "mx3": Intake(weight=100, admin="drain")}
    assert intakes(driver) == away
    by_hand(driver.by_hand({"mx1": 100, "mx2": 100}, {"mx2": "ready", "mx3": "ready"}))
    assert intakes(driver) == dict.fromkeys(MEMBERS, Intake(weight=100))
    assert driver.by_hand({}, {}) == []


def test_refuses_an_unknown_member_before_it_touches_any(bench: Bench) -> None:
    """A name that the switch does not have is refused by name, and the others stay as they are."""
    driver = bench.driver()
    with pytest.raises(UnfitError, match="mx9"):
        asyncio.run(driver.apply({"mx1": Intake(weight=1), "mx9": Intake(weight=1)}))
    assert intakes(driver)["mx1"] == Intake(weight=100)


def test_refuses_a_weight_that_cannot_be(bench: Bench) -> None:
    """A weight above the largest is rejected with the member's name; what was asked of others is tried."""
    driver = bench.driver()
    with pytest.raises(RejectedError, match="mx1"):
        asyncio.run(driver.apply({"mx1": Intake(weight=driver.max_weight + 1), "mx2": Intake(weight=50)}))
    assert (intakes(driver)["mx1"].weight, intakes(driver)["mx2"].weight) == (100, 50)


def test_does_not_close_the_givers_when_no_taker_opens(bench: Bench) -> None:
    """When those that should take traffic cannot be opened, those that have it keep it."""
    driver = bench.driver()
    idle = Intake(weight=0)
    asyncio.run(driver.apply({"mx2": idle, "mx3": idle}))
    with pytest.raises(RejectedError):
        asyncio.run(
            driver.apply({"mx1": Intake(weight=100, admin="drain"), "mx2": Intake(weight=driver.max_weight + 1)})
        )
    assert intakes(driver) == {"mx1": Intake(weight=100), "mx2": idle, "mx3": idle}


def test_lists_sessions(bench: Bench) -> None:
    """A session is listed with its client's address, its member, its age and its bytes, as long as it lives."""

    async def scene() -> None:
        driver = bench.driver()
        began = time.monotonic()
        async with bench.client() as client:
            await asyncio.sleep(0.3)
            assert await client.say(b"NOOP\r\n") == b"NOOP\r\n"
            (session,) = await driver.sessions(MEMBERS)
            assert session.client == client.address
            assert session.member in MEMBERS
            assert 0.25 <= session.age <= time.monotonic() - began + 0.1
            assert (session.bytes_to_member, session.bytes_to_client) == (6, 16)
            assert (await driver.read())[session.member].sessions == 1
            others = [member for member in MEMBERS if member != session.member]
            assert await driver.sessions(others) == []
        await until(lambda: no_sessions(driver))

    asyncio.run(scene())


def test_closes_just_one_session(bench: Bench) -> None:
    """The session that was named ends, every other one goes on, and closing again does nothing."""

    async def scene() -> None:
        driver = bench.driver()
        async with bench.client() as first, bench.client() as second:
            (session,) = [s for s in await driver.sessions(MEMBERS) if s.client == first.address]
            await driver.close(session)
            assert await first.reader.read() == b""
            assert await second.say(b"NOOP\r\n") == b"NOOP\r\n"
            assert [s.client for s in await driver.sessions(MEMBERS)] == [second.address]
            await driver.close(session)

    asyncio.run(scene())


def test_a_draining_member_keeps_its_sessions(bench: Bench) -> None:
    """Draining cuts nothing and takes nothing new."""

    async def scene() -> None:
        driver = bench.driver()
        async with bench.client() as client:
            (session,) = await driver.sessions(MEMBERS)
            await driver.apply({session.member: Intake(weight=100, admin="drain")})
            assert await client.say(b"NOOP\r\n") == b"NOOP\r\n"
            for _ in range(4):
                async with bench.client() as later:
                    (new,) = [s for s in await driver.sessions(MEMBERS) if s.client == later.address]
                    assert new.member != session.member

    asyncio.run(scene())


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


# HAProxy alone.


def test_names_what_haproxy_has_instead(haproxy: RealHaproxy) -> None:
    """A server or backend that only the inventory knows is named, together with those that there are."""
    with pytest.raises(UnfitError, match=r"mx8, mx9 in backend smtp.*mx1, mx2, mx3"):
        asyncio.run(haproxy.driver(["mx1", "mx8", "mx9"]).read())
    with pytest.raises(UnfitError, match=r"backend mail .*smtp, other"):
        asyncio.run(haproxy.driver(backend="mail").read())


def test_refuses_names_that_would_be_commands() -> None:
    """A name with HAProxy's separators never gets into a command line."""
    switch = HaproxySwitch(driver="haproxy", socket="/nowhere", backend="smtp")
    with pytest.raises(UnfitError, match="as a name"):
        HaproxyDriver(switch, ["mx1 weight 0;shutdown sessions server smtp/mx2"])


def test_says_why_it_cannot_connect(tmp_path: Path) -> None:
    """A socket that is not there, or that nobody listens on, is told apart, each with its remedy."""
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(dead))
    for place, why in (
        (str(tmp_path / "none.sock"), "no such socket — start HAProxy"),
        (str(dead), "nobody listens there"),
        (f"127.0.0.1:{free_port()}", "nobody listens there"),
        (str(tmp_path / ("x" * 120)), "path too long"),
    ):
        driver = HaproxyDriver(HaproxySwitch(driver="haproxy", socket=place, backend="smtp"), MEMBERS)
        with pytest.raises(UnreachableError, match=why):
            asyncio.run(driver.read())


def test_refuses_what_is_no_stats_socket(haproxy: RealHaproxy, member_port: int) -> None:
    """A socket below admin, the master's in place of the worker's, or a mail server: each is said plainly."""
    for place, why in (
        (f"{haproxy.folder}/operator.sock", "level is 'operator' — put 'level admin'"),
        (str(haproxy.master), "HAProxy's master answers there"),
        (f"127.0.0.1:{member_port}", "something else answers there"),
    ):
        with pytest.raises(UnfitError, match=why):
            asyncio.run(haproxy.driver(socket=place).read())
    with pytest.raises(UnfitError, match="not HAProxy's master"):
        asyncio.run(haproxy.driver(master=str(haproxy.stats)).read())


def test_works_over_tcp(haproxy: RealHaproxy) -> None:
    """A stats socket at host:port serves as one at a path does."""
    driver = haproxy.driver(socket=f"127.0.0.1:{haproxy.stats_port}")
    asyncio.run(driver.apply({"mx1": Intake(weight=0, admin="drain")}))
    assert intakes(driver)["mx1"] == Intake(weight=0, admin="drain")
    assert asyncio.run(driver.sessions(MEMBERS)) == []


def test_gives_up_on_a_silent_haproxy() -> None:
    """Somebody who accepts and says nothing costs the reply's time limit, no more."""

    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            switch = HaproxySwitch(driver="haproxy", socket=f"127.0.0.1:{silent.getsockname()[1]}", backend="smtp")
            async with asyncio.timeout(5):
                await HaproxyDriver(switch, MEMBERS, Limits(reply=0.2)).read()

    with pytest.raises(UnreachableError, match=r"no whole reply within 0.2 s"):
        asyncio.run(scene())


def test_moves_500_servers_in_one_apply(tmp_path: Path, member_port: int) -> None:
    """500 servers change places within seconds, and at every look somebody takes traffic."""
    names = [f"server-{number}" for number in range(500)]
    there, here = names[:250], names[250:]
    away = Intake(weight=0, admin="drain")
    changes = dict.fromkeys(there, away) | dict.fromkeys(here, Intake(weight=1))
    with running(tmp_path, names, member_port) as haproxy:
        driver = haproxy.driver(names)
        asyncio.run(driver.apply(dict.fromkeys(here, away)))

        async def scene() -> float:
            began = time.monotonic()
            moving = asyncio.create_task(driver.apply(changes))
            while not moving.done():
                assert any(reading.intake.share_weight for reading in (await driver.read()).values())
            await moving
            return time.monotonic() - began

        assert asyncio.run(scene()) < 5
        assert intakes(driver) == dict.fromkeys(there, away) | dict.fromkeys(here, Intake(weight=1))


def test_opens_the_takers_before_it_closes_the_givers(haproxy: RealHaproxy) -> None:
    """On the wire: weight, then ready, of those that take; then drain, then weight, of those that give."""

    async def scene() -> list[str]:
        await haproxy.driver().apply({"mx2": Intake(weight=0, admin="maint")})
        async with recorder(haproxy.stats) as (place, commands):
            await haproxy.driver(socket=place).apply(
                {"mx1": Intake(weight=0, admin="drain"), "mx2": Intake(weight=9), "mx3": Intake(weight=100)}
            )
        return [command.removeprefix("set server smtp/") for command in commands if command.startswith("set")]

    assert asyncio.run(scene()) == ["mx2 weight 9", "mx2 state ready", "mx1 state drain", "mx1 weight 0"]


@asynccontextmanager
async def recorder(stats: Path) -> AsyncIterator[tuple[str, list[str]]]:
    """A socket before HAProxy's that writes down each command."""
    commands: list[str] = []
    relays: list[asyncio.Task[None]] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, out = await asyncio.open_unix_connection(str(stats))
        backwards = asyncio.create_task(pump(upstream, writer))
        while line := await reader.readline():
            commands.extend(line.decode().strip().split(";"))
            out.write(line)
        out.close()
        await out.wait_closed()
        await backwards

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        writer.close()
        await writer.wait_closed()

    place = str(stats.with_name("recorder.sock"))

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relays.append(asyncio.create_task(relay(reader, writer)))

    async with await asyncio.start_unix_server(accept, place):
        yield place, commands
        await asyncio.gather(*relays)


def test_names_a_server_that_stays_as_it_is(tmp_path: Path, member_port: int) -> None:
    """What HAProxy takes without a word and does not do, as with a server that tracks another, is found out."""
    options = f"server leader 127.0.0.1:{member_port} weight 100 check"
    options += f"\n              server follower 127.0.0.1:{member_port} weight 100 track smtp/leader"
    with running(tmp_path, ["mx1"], member_port, options) as haproxy:
        driver = haproxy.driver(["mx1", "leader", "follower"])
        asyncio.run(driver.apply({"leader": Intake(weight=100, admin="maint")}))
        with pytest.raises(RejectedError, match="follower has weight 5, maint instead of weight 5"):
            asyncio.run(driver.apply({"follower": Intake(weight=5), "mx1": Intake(weight=5)}))
        assert intakes(driver)["mx1"] == Intake(weight=5)


def test_up_is_what_the_health_check_says(tmp_path: Path, member_port: int) -> None:
    """A member is down when its check fails, also while it drains, and in maintenance it stays as last seen."""
    options = f"server dead 127.0.0.1:{free_port()} weight 1 check inter 50ms fall 1"
    options += f"\n              server alive 127.0.0.1:{member_port} weight 1 check inter 50ms"
    with running(tmp_path, ["mx1"], member_port, options) as haproxy:
        driver = haproxy.driver(["mx1", "alive", "dead"])

        def up() -> dict[str, bool]:
            return {name: reading.up for name, reading in asyncio.run(driver.read()).items()}

        eventually(lambda: not up()["dead"] and "L4OK" in haproxy.say("show stat"))
        for away in (Intake(weight=1, admin="drain"), Intake(weight=1, admin="maint")):
            asyncio.run(driver.apply({"dead": away, "alive": away, "mx1": away}))
            assert up() == {"mx1": True, "alive": True, "dead": False}


def test_a_reused_pointer_is_not_closed(haproxy: RealHaproxy) -> None:
    """HAProxy gives a new session the pointer of an old one: closing the old one leaves the new one alone."""

    async def scene() -> None:
        driver = haproxy.driver()
        async with haproxy.client() as client:
            (session,) = await driver.sessions(MEMBERS)
            pointer = session.id.partition("/")[0]
            await driver.close(session.model_copy(update={"id": f"{pointer}/999999"}))
            await driver.close(session.model_copy(update={"client": "127.0.0.1:1"}))
            assert await client.say(b"NOOP\r\n") == b"NOOP\r\n"

    asyncio.run(scene())


def test_sees_and_closes_sessions_of_an_old_worker(haproxy: RealHaproxy) -> None:
    """After reloads a session that an old worker holds is counted, listed as itself, and can be closed."""

    async def scene() -> None:
        driver = haproxy.driver()
        async with haproxy.client() as oldest, haproxy.client() as old:
            haproxy.reload()
            async with haproxy.client() as new:
                haproxy.reload()
                sessions = {session.client: session for session in await driver.sessions(MEMBERS)}
                assert set(sessions) == {oldest.address, old.address, new.address}
                assert sum(reading.sessions for reading in (await driver.read()).values()) == 3
                await driver.close(sessions[old.address])
                assert await old.reader.read() == b""
                assert await oldest.say(b"NOOP\r\n") == b"NOOP\r\n"
                await driver.close(sessions[oldest.address])
                await until(lambda: len(haproxy.old_workers()) == 1)
                await driver.close(sessions[oldest.address])
                assert await new.say(b"NOOP\r\n") == b"NOOP\r\n"
                assert [session.client for session in await driver.sessions(MEMBERS)] == [new.address]
        await until(lambda: not haproxy.old_workers())
        assert await driver.sessions(MEMBERS) == []

    asyncio.run(scene())


def test_refuses_to_guess_what_an_old_worker_holds(haproxy: RealHaproxy) -> None:
    """Without the master's socket an old worker on this machine is an error, until it has ended."""

    async def scene() -> None:
        driver = HaproxyDriver(HaproxySwitch(driver="haproxy", socket=str(haproxy.stats), backend="smtp"), MEMBERS)
        assert await driver.sessions(MEMBERS) == []
        async with haproxy.client():
            haproxy.reload()
            with pytest.raises(UnfitError, match=r"old workers .* — start HAProxy with -S"):
                await driver.sessions(MEMBERS)
        await until(lambda: not haproxy.old_workers())
        assert await driver.sessions(MEMBERS) == []

    asyncio.run(scene())


def test_works_through_a_failed_reload(haproxy: RealHaproxy) -> None:
    """After a reload with a broken configuration the master says so in its prompt, and can still be asked."""
    haproxy.config.write_text("nonsense\n")
    haproxy.process.send_signal(signal.SIGUSR2)
    eventually(lambda: "ReloadFailed" in haproxy.say("prompt\nquit", haproxy.master))
    assert asyncio.run(haproxy.driver().sessions(MEMBERS)) == []


def test_the_state_file_survives_a_reload(haproxy: RealHaproxy) -> None:
    """With a state file a reload forgets neither weight nor drain; without one it forgets both."""
    changes = {"mx1": Intake(weight=3, admin="drain"), "mx2": Intake(weight=7)}
    asyncio.run(haproxy.driver().apply(changes))
    haproxy.reload()
    assert intakes(haproxy.driver())["mx1"] == Intake(weight=100)
    asyncio.run(haproxy.driver(state_file=str(haproxy.state)).apply(changes))
    haproxy.reload()
    assert intakes(haproxy.driver()) == changes | {"mx3": Intake(weight=100)}
    assert not list(haproxy.folder.glob(".state*"))


def test_saves_also_what_went_half_way(haproxy: RealHaproxy) -> None:
    """When one member is rejected, a reload keeps what was changed of the others."""
    with pytest.raises(RejectedError):
        asyncio.run(
            haproxy.driver(state_file=str(haproxy.state)).apply({"mx1": Intake(weight=7), "mx2": Intake(weight=999)})
        )
    haproxy.reload()
    assert intakes(haproxy.driver())["mx1"] == Intake(weight=7)


def test_no_change_saves_the_state_file_too(haproxy: RealHaproxy) -> None:
    """Whoever was killed between a change and its state file is made good by the next call, which changes nothing."""
    driver = haproxy.driver(state_file=str(haproxy.state))
    asyncio.run(driver.apply({"mx1": Intake(weight=7)}))
    haproxy.state.unlink()
    asyncio.run(driver.apply({}))
    haproxy.reload()
    assert intakes(haproxy.driver())["mx1"] == Intake(weight=7)


def test_a_state_file_that_cannot_be_written_stops_the_change(haproxy: RealHaproxy) -> None:
    """Nothing is changed where it could not be saved."""
    driver = haproxy.driver(state_file="/nowhere/at/all/state")
    with pytest.raises(UnfitError, match="no such folder"):
        asyncio.run(driver.apply({"mx1": Intake(weight=3)}))
    assert intakes(driver)["mx1"] == Intake(weight=100)


@pytest.mark.parametrize("place", ["stats", "tcp"])
def test_what_is_done_by_hand_outlives_a_reload(haproxy: RealHaproxy, place: str) -> None:
    """With a state file the last command saves it, whether HAProxy is reached by a path or by host:port."""
    socket_ = str(haproxy.stats) if place == "stats" else f"127.0.0.1:{haproxy.stats_port}"
    driver = haproxy.driver(socket=socket_, state_file=str(haproxy.state))
    by_hand(driver.by_hand({"mx1": 7}, {"mx1": "drain"}))
    haproxy.reload()
    assert intakes(driver)["mx1"] == Intake(weight=7, admin="drain")
