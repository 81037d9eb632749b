"""The mail client against a small server with fates: every stage of a transaction can go wrong in its own way."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.smtp_client import SmtpClient, compose
from orchestrator.ports import MailAttempt, MailResult

HANG = "hang"
CLOSE = "close"


@dataclass
class FatefulServer:
    """An SMTP server that answers well, save at the stages to which ``fates`` gives another reply."""

    fates: dict[str, str] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    messages: list[bytes] = field(default_factory=list)
    peers: list[tuple[str, int]] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    sessions: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session."""
        task = asyncio.current_task()
        assert task is not None
        self.sessions.add(task)
        self.peers.append(writer.get_extra_info("peername")[:2])
        try:
            await self._talk(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self.sessions.discard(task)
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._reply(writer, "banner", "220 lab ESMTP"):
            return
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].split(":")[0].lower()
            self.heard.append(line)
            offers = "250-lab\r\n250-STARTTLS\r\n250 SIZE" if self.tls else "250 lab"
            good = {"ehlo": offers, "starttls": "220 go", "data": "354 go on", "quit": "221 bye"}.get(verb, "250 ok")
            if not await self._reply(writer, verb, good):
                return
            if verb == "starttls" and self.tls and not await self._handshake(writer, self.tls):
                return
            if verb == "data" and "data" not in self.fates and not await self._take_message(reader, writer):
                return

    async def _handshake(self, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> bool:
        fate = self.fates.get("handshake")
        if fate == HANG:
            await asyncio.Event().wait()
        if fate != CLOSE:
            await writer.start_tls(context)
        return fate != CLOSE

    async def _take_message(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if "reading" in self.fates:
            await asyncio.Event().wait()
        text = await reader.readuntil(b"\r\n.\r\n")
        goes_on = await self._reply(writer, "message", "250 accepted")
        if goes_on:
            self.messages.append(text[:-3].replace(b"\r\n..", b"\r\n."))
        return goes_on

    async def _reply(self, writer: asyncio.StreamWriter, stage: str, good: str) -> bool:
        fate = self.fates.get(stage, good)
        if fate == HANG:
            await asyncio.Event().wait()
        if fate != CLOSE:
            writer.write(fate.encode() + b"\r\n")
            await writer.drain()
        return fate != CLOSE and not fate.startswith("421")


@asynccontextmanager
async def serving(server: FatefulServer) -> AsyncIterator[str]:
    """The server's address; nothing of it is left afterwards."""
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in list(server.sessions):
            task.cancel()
        await asyncio.gather(*server.sessions, return_exceptions=True)
        await listener.wait_closed()


def attempt_at(address: str, /, **changes: object) -> MailAttempt:
    """A probe's transaction with a short patience."""
    words = {
        "address": address,
        "sender": "probe@lab.example",
        "recipient": "inbox@lab.example",
        "message_id": "<one@lab.example>",
        "size": 1024,
        "timeout": 2.0,
    }
    return MailAttempt.model_validate({**words, **changes})


def delivered(server: FatefulServer, /, **changes: object) -> MailResult:
    """The result of one attempt at the server."""

    async def work() -> MailResult:
        async with serving(server) as address:
            return await SmtpClient(SystemClock()).deliver(attempt_at(address, **changes))

    return asyncio.run(work())


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def run_with_descriptors_checked(work: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run it, and see that it leaves no descriptor open."""
    before = open_descriptors()
    asyncio.run(work())
    assert open_descriptors() == before


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for ``mx.lab.example`` that holds for 30 days, and the server's side of it."""

    file: Path
    server: ssl.SSLContext


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Made with the openssl command."""
    folder = tmp_path_factory.mktemp("tls")
    file, key = folder / "cert.pem", folder / "key.pem"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-days", "30", "-subj", "/CN=mx.lab.example", "-addext", "subjectAltName=DNS:mx.lab.example"]
    subprocess.run(
        [*request, *subject, "-keyout", str(key), "-out", str(file)],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return Certificate(file, context)


def test_a_message_that_is_accepted_is_a_success() -> None:
    """The whole transaction is made, and the message comes in as it was composed."""
    server = FatefulServer()
    result = delivered(server)
    assert (result.ok, result.stage, result.reason, result.broken) == (True, "quit", "", False)
    assert 0 < result.seconds < 2
    assert [line.split()[0] for line in server.heard] == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
    assert server.heard[0] == "EHLO [127.0.0.1]"
    assert server.heard[1].startswith("MAIL FROM:<probe@lab.example>")
    assert server.heard[2].startswith("RCPT TO:<inbox@lab.example>")
    assert len(server.messages[0]) == 1024


@pytest.mark.parametrize("size", [0, 600, 1024, 65536])
def test_the_message_is_a_proper_one_of_the_size_asked_for(size: int) -> None:
    """RFC 5322 header, marked as automatic (RFC 3834), no line beyond 78, filled to its size."""
    raw = compose(attempt_at("127.0.0.1:25", size=size), now=1_700_000_000)
    message = message_from_bytes(raw)
    assert message["Message-ID"] == "<one@lab.example>"
    assert message["Date"] == "Tue, 14 Nov 2023 22:13:20 -0000"
    assert (message["From"], message["To"]) == ("<probe@lab.example>", "<inbox@lab.example>")
    assert (message["Subject"], message["Auto-Submitted"]) == ("failover probe", "auto-generated")
    assert max(len(line) for line in raw.split(b"\r\n")) <= 78
    assert raw.endswith(b"\r\n")
    if size >= 600:
        assert len(raw) == size


@pytest.mark.parametrize(
    ("stage", "fate", "at", "reason"),
    [
        ("banner", HANG, "banner", "no banner within 0.3s"),
        ("banner", CLOSE, "banner", "connection closed at the banner"),
        ("banner", "554 go away", "banner", "554 at banner: go away"),
        ("ehlo", HANG, "ehlo", "no reply to EHLO within 0.3s"),
        ("ehlo", "502 what?", "ehlo", "502 at EHLO: what?"),
        ("mail", "421 4.3.2 drained", "mail", "421 at MAIL FROM: 4.3.2 drained"),
        ("mail", "451", "mail", "451 at MAIL FROM"),
        ("mail", HANG, "mail", "no reply to MAIL FROM within 0.3s"),
        ("mail", CLOSE, "mail", "connection closed at MAIL FROM"),
        ("rcpt", "550 5.1.1 nobody\x1b[2J here", "rcpt", "550 at RCPT TO: 5.1.1 nobody [2J here"),
        ("data", "452 disk full", "data", "452 at DATA: disk full"),
        ("message", "451 " + "x" * 200, "data", "451 at DATA: " + "x" * 77 + "..."),
        ("message", HANG, "data", "no reply to DATA within 0.3s"),
        ("message", CLOSE, "data", "connection closed at DATA"),
    ],
)
def test_every_failure_says_where_and_why(stage: str, fate: str, at: str, reason: str) -> None:
    """The stage, and in few printable words the reply or what did not come."""
    result = delivered(FatefulServer({stage: fate}), timeout=0.3)
    assert (result.ok, result.stage, result.reason, result.broken) == (False, at, reason, False)


@pytest.mark.parametrize("fate", [HANG, CLOSE, "421 no"])
def test_after_the_message_is_accepted_quit_does_not_matter(fate: str) -> None:
    """Accepted is accepted; the time is that of the acceptance, and a hanging QUIT is not waited for long."""
    result = delivered(FatefulServer({"quit": fate}), timeout=5)
    assert (result.ok, result.stage, result.reason) == (True, "quit", "")
    assert result.seconds < 0.9


def test_a_refused_connection_fails_at_connect() -> None:
    """Nobody listens: the target's fault, with the system's words."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        attempt = attempt_at(f"127.0.0.1:{taken.getsockname()[1]}")
        result = asyncio.run(SmtpClient(SystemClock()).deliver(attempt))
    assert (result.stage, result.reason, result.broken) == ("connect", "cannot connect: connection refused", False)


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose backlog is full, so that the kernel drops further SYNs as a blackhole does."""
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        yield int(deaf.getsockname()[1])


def test_a_connect_that_hangs_ends_at_the_timeout() -> None:
    """A path that swallows the SYN costs the stated time and no more, and no descriptor."""

    async def work() -> None:
        began = time.monotonic()
        result = await SmtpClient(SystemClock()).deliver(attempt_at(f"127.0.0.1:{port}", timeout=0.3))
        assert (result.stage, result.reason) == ("connect", "no connection within 0.3s")
        assert time.monotonic() - began < 1

    with deaf_port() as port:
        run_with_descriptors_checked(work)


def test_each_connection_has_a_port_of_its_own_and_the_source_asked_for() -> None:
    """Ports vary from attempt to attempt, also with a stated source address."""
    server = FatefulServer()

    async def work() -> None:
        async with serving(server) as address:
            client = SmtpClient(SystemClock())
            for source in (None, None, "127.0.0.2", "127.0.0.2"):
                assert (await client.deliver(attempt_at(address, source_address=source))).ok

    run_with_descriptors_checked(work)
    assert [host for host, _ in server.peers] == ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"]
    assert len(set(server.peers)) == 4
    assert server.heard[-5] == "EHLO [127.0.0.2]"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source_address": "192.0.2.1"}, "cannot connect from 192.0.2.1: cannot assign requested address"),
        ({"source_address": "::1"}, "cannot connect from ::1: 127.0.0.1 has no address of that family"),
        ({"address": "nowhere"}, "cannot connect to 'nowhere': write host:port"),
        (
            {"starttls": True, "ca_file": "/nonexistent/ca.pem"},
            "cannot read the CA file /nonexistent/ca.pem: no such file or directory",
        ),
    ],
)
def test_what_this_machine_cannot_do_is_a_broken_probe(changes: dict[str, object], reason: str) -> None:
    """Our own lack is told apart from the target's failure."""
    result = delivered(FatefulServer(), **changes)
    assert (result.ok, result.broken, result.reason) == (False, True, reason)


def test_no_descriptor_left_is_a_broken_probe() -> None:
    """EMFILE says nothing about the target."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def work() -> MailResult:
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            return await SmtpClient(SystemClock()).deliver(attempt_at("127.0.0.1:1"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    result = asyncio.run(work())
    assert (result.broken, result.reason) == (True, "cannot connect: too many open files")


def test_starttls_verifies_the_certificate_and_tells_its_days(certificate: Certificate) -> None:
    """With the right CA and name the message goes over TLS, after a second EHLO (RFC 3207)."""
    server = FatefulServer(tls=certificate.server)
    result = delivered(server, starttls=True, ca_file=str(certificate.file), server_name="mx.lab.example", size=65536)
    assert (result.ok, result.reason) == (True, "")
    assert result.certificate_days == pytest.approx(30, abs=0.1)
    assert [line.split()[0] for line in server.heard][:4] == ["EHLO", "STARTTLS", "EHLO", "MAIL"]
    assert len(server.messages[0]) == 65536


@pytest.mark.parametrize(
    ("name", "trusted", "reason"),
    [
        ("mx.lab.example", False, "certificate not valid: self-signed certificate"),
        ("other.lab.example", True, "certificate not valid: Hostname mismatch"),
        (None, True, "certificate not valid: IP address mismatch"),
    ],
)
def test_a_certificate_that_does_not_verify_fails(
    certificate: Certificate, name: str | None, trusted: bool, reason: str
) -> None:
    """Unknown issuer or wrong name: the attempt fails at STARTTLS, and no mail is sent in clear."""
    server = FatefulServer(tls=certificate.server)
    ca_file = str(certificate.file) if trusted else None
    result = delivered(server, starttls=True, ca_file=ca_file, server_name=name)
    assert (result.ok, result.stage, result.broken) == (False, "starttls", False)
    assert result.reason.startswith(reason)
    assert server.messages == []


def test_starttls_that_is_not_offered_fails() -> None:
    """There is no way back to clear text."""
    result = delivered(FatefulServer(), starttls=True)
    assert (result.ok, result.stage, result.reason) == (False, "starttls", "STARTTLS is not offered")


@pytest.mark.parametrize(
    ("stage", "fate", "reason"),
    [
        ("starttls", "454 not now", "454 at STARTTLS: not now"),
        ("starttls", HANG, "no TLS session within 0.3s"),
        ("handshake", HANG, "no TLS session within 0.3s"),
        ("handshake", CLOSE, "connection closed at STARTTLS"),
    ],
)
def test_a_starttls_that_goes_wrong_fails(certificate: Certificate, stage: str, fate: str, reason: str) -> None:
    """Refused, cut, or a handshake that never ends."""
    server = FatefulServer({stage: fate}, tls=certificate.server)
    result = delivered(server, starttls=True, ca_file=str(certificate.file), timeout=0.3)
    assert (result.ok, result.stage, result.reason) == (False, "starttls", reason)


def test_a_server_that_stops_reading_costs_no_descriptor() -> None:
    """A message that fills the socket's buffer is thrown away with the connection, not waited for."""

    async def work() -> None:
        async with serving(FatefulServer({"reading": HANG})) as address:
            before = open_descriptors()
            result = await SmtpClient(SystemClock()).deliver(attempt_at(address, size=16 * 1024**2, timeout=1.5))
            assert result.reason == "no reply to DATA within 1.5s"
            for _ in range(100):
                if open_descriptors() == before + 1:  # the server's end is left
                    return
                await asyncio.sleep(0.02)
            raise AssertionError(f"{open_descriptors()} descriptors are open, {before} were before")

    run_with_descriptors_checked(work)


def test_cancelling_frees_the_connection(certificate: Certificate) -> None:
    """A check that is decided cancels what is under way; no descriptor stays, in any stage."""

    async def work() -> None:
        for stage in ("banner", "ehlo", "starttls", "handshake", "mail", "message"):
            server = FatefulServer({stage: HANG}, tls=certificate.server)
            async with serving(server) as address:
                attempt = attempt_at(
                    address,
                    starttls=stage != "mail",
                    ca_file=str(certificate.file),
                    server_name="mx.lab.example",
                    timeout=30,
                )
                task = asyncio.create_task(SmtpClient(SystemClock()).deliver(attempt))
                await asyncio.sleep(0.1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    run_with_descriptors_checked(work)
