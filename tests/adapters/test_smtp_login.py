"""Logging in at a mail server that wants it (RFC 4954): a small real one on loopback, which notes what it is told."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.smtp_client import SmtpClient, is_loopback
from orchestrator.errors import UnfitError
from orchestrator.model.secret import Secret
from orchestrator.ports import MailAttempt, MailResult

PASSWORD = "pässwort-17"
LOGIN = {"user": "probe", "password": "env:PROBE_PASSWORD"}


@dataclass
class Submission:
    """A server that takes mail from its users only; in the clear it offers AUTH only where it is told to."""

    mechanisms: str = "PLAIN LOGIN"
    tls: ssl.SSLContext | None = None
    clear: bool = True
    wrong: str = "535 5.7.8 wrong: {given}"
    heard: list[str] = field(default_factory=list)
    logins: list[tuple[str, str, bool]] = field(default_factory=list)
    """User, password, and whether it came over TLS."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session."""
        session = _Session(self, reader, writer)
        try:
            await session.talk()
        except (ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            writer.close()


@dataclass
class _Session:
    server: Submission
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    encrypted: bool = False
    user: str = ""

    async def talk(self) -> None:
        """Answer until the client has gone."""
        await self._say("220 submission ESMTP")
        while line := await self._line():
            verb = line.partition(" ")[0].partition(":")[0].lower()
            await self._answer(verb, line)

    async def _line(self) -> str:
        line = (await self.reader.readline()).decode().strip()
        if line:
            self.server.heard.append(line)
        return line

    async def _say(self, text: str) -> None:
        self.writer.write(text.encode() + b"\r\n")
        await self.writer.drain()

    async def _answer(self, verb: str, line: str) -> None:
        if verb == "ehlo":
            await self._say("\r\n".join(["250-submission", *self._offers(), "250 SIZE"]))
        elif verb == "starttls" and self.server.tls:
            await self._say("220 go on")
            await self.writer.start_tls(self.server.tls)
            self.encrypted, self.user = True, ""
        elif verb == "auth":
            await self._authenticate(line.split())
        elif verb in {"mail", "rcpt", "data"} and not self.user:
            await self._say("530 5.7.0 log in first")
        elif verb == "data":
            await self._say("354 go on")
            await self.reader.readuntil(b"\r\n.\r\n")
            await self._say("250 accepted")
        else:
            await self._say("250 ok")

    def _offers(self) -> list[str]:
        offers = ["250-STARTTLS"] if self.server.tls and not self.encrypted else []
        open_to_log_in = self.server.mechanisms and (self.encrypted or self.server.clear)
        return [*offers, f"250-AUTH {self.server.mechanisms}"] if open_to_log_in else offers

    async def _authenticate(self, words: list[str]) -> None:
        given = base64.b64decode(words[2])
        if words[1] == "PLAIN":
            _, user, password = given.decode().split("\0")
        else:
            await self._say("334 UGFzc3dvcmQ6")
            user, password = given.decode(), base64.b64decode(await self._line()).decode()
        self.server.logins.append((user, password, self.encrypted))
        if password == PASSWORD:
            self.user = user
            await self._say("235 welcome")
        else:
            await self._say(self.server.wrong.format(given=password, line=words[2]))


@asynccontextmanager
async def serving(server: Submission, host: str) -> AsyncIterator[str]:
    """Its address."""
    listener = await asyncio.start_server(server.serve, host, 0)
    try:
        yield f"{host}:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await listener.wait_closed()


def keyring(**values: str) -> Callable[[Secret], str]:
    """Secrets by the names of their variables."""

    def read(secret: Secret) -> str:
        if secret.env not in values:
            raise UnfitError(f"cannot read the secret {secret}: it is not set", remedy=f"export {secret.env}=…")
        return values[secret.env]

    return read


def delivered(
    server: Submission,
    host: str = "127.0.0.1",
    *,
    password: str = PASSWORD,
    trust: dict[str, str] | None = None,
    **changes: object,
) -> MailResult:
    """How one attempt at the server went."""

    async def work() -> MailResult:
        async with serving(server, host) as address:
            words = {"address": address, "sender": "p@lab.example", "recipient": "p@lab.example", "login": LOGIN}
            attempt = MailAttempt.model_validate(
                {**words, **(trust or {}), "message_id": "<one@lab.example>", "size": 1024, "timeout": 5.0, **changes}
            )
            return await SmtpClient(SystemClock(), keyring(PROBE_PASSWORD=password)).deliver(attempt)

    return asyncio.run(work())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for mx.lab.example with its key behind it in one file."""
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subject = ["-days", "30", "-subj", "/CN=mx.lab.example", "-addext", "subjectAltName=DNS:mx.lab.example"]
    made = [*request, *subject, "-keyout", f"{file}.key", "-out", str(file)]
    subprocess.run(made, check=True, capture_output=True)
    file.write_text(file.read_text() + Path(f"{file}.key").read_text())
    return file


@pytest.fixture
def with_tls(certificate: Path) -> Submission:
    """A server as RFC 8314 wants it: no AUTH before STARTTLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return Submission(tls=context, clear=False)


@pytest.fixture
def own_address() -> str:
    """An address of this machine that is not on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = str(probe.getsockname()[0])
    if is_loopback(address):
        pytest.skip("this machine has no address but loopback")
    return address


@pytest.mark.parametrize("mechanisms", ["PLAIN", "LOGIN", "LOGIN PLAIN", "GSSAPI PLAIN"])
def test_a_server_of_this_machine_is_told_the_password(mechanisms: str) -> None:
    """By the mechanism that it offers, and the mail is taken; nothing leaves the machine."""
    server = Submission(mechanisms)
    result = delivered(server)
    assert (result.ok, result.reason) == (True, "")
    assert server.logins == [("probe", PASSWORD, False)]


def test_without_a_login_the_server_takes_nothing() -> None:
    """What the login is for."""
    result = delivered(Submission(), login=None)
    assert (result.ok, result.stage, result.reason) == (False, "mail", "530 at MAIL FROM: 5.7.0 log in first")


@pytest.mark.parametrize("starttls", [True, False])
def test_elsewhere_the_password_goes_over_tls(
    with_tls: Submission, certificate: Path, own_address: str, starttls: bool
) -> None:
    """STARTTLS comes first, also where the check does not ask for it."""
    trust = {"ca_file": str(certificate), "server_name": "mx.lab.example"}
    result = delivered(with_tls, own_address, starttls=starttls, trust=trust)
    assert (result.ok, result.reason) == (True, "")
    assert with_tls.logins == [("probe", PASSWORD, True)]
    assert [line.split()[0] for line in with_tls.heard][:5] == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL"]


def test_elsewhere_a_password_is_never_sent_in_the_clear(own_address: str) -> None:
    """A server that would take it so does not get it: the attempt fails, and says why."""
    server = Submission()
    result = delivered(server, own_address)
    reason = "STARTTLS is not offered, and a password is never sent in the clear (RFC 4954, 4)"
    assert (result.ok, result.stage, result.reason) == (False, "starttls", reason)
    assert [line.split()[0] for line in server.heard] == ["EHLO"]


def test_a_certificate_that_does_not_verify_gets_no_password(with_tls: Submission, own_address: str) -> None:
    """TLS with just anybody would be as good as none."""
    result = delivered(with_tls, own_address, server_name="mx.lab.example")
    assert result.reason.startswith("certificate not valid")
    assert with_tls.logins == []


def test_a_wrong_password_is_tried_once_and_is_not_in_the_reason() -> None:
    """Each further mechanism would count as a further wrong password; and servers repeat what they are told."""
    wrong = "nöt-the-one " * 10
    for echo in ("535 5.7.8 wrong: {given}", "535 5.7.8 wrong: {line}"):
        server = Submission(wrong=echo)
        result = delivered(server, password=wrong)
        assert (result.ok, result.stage, result.broken) == (False, "auth", False)
        assert result.reason == "535 at AUTH: 5.7.8 wrong: ***"
        assert server.logins == [("probe", wrong, False)]


def test_no_way_to_log_in_fails() -> None:
    """A server without AUTH, or with mechanisms for which a password would not do."""
    for mechanisms in ("", "GSSAPI XOAUTH2"):
        result = delivered(Submission(mechanisms))
        expected = (False, "auth", "no way to log in is offered that a password would do for")
        assert (result.ok, result.stage, result.reason) == expected


def test_a_secret_that_cannot_be_read_is_a_broken_probe() -> None:
    """It says nothing about the server, which is not even connected to."""
    server = Submission()
    result = delivered(server, login={"user": "probe", "password": "env:OTHER"})
    assert (result.ok, result.broken, result.stage) == (False, True, "connect")
    assert result.reason == "cannot read the secret env:OTHER: it is not set — export OTHER=…"
    assert server.heard == []


@pytest.mark.parametrize(("address", "is_it"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::", False)])
def test_loopback_is_known(address: str, is_it: bool) -> None:
    """All of 127.0.0.0/8 and ::1 (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3)."""
    assert is_loopback(address) is is_it
    assert not is_loopback("192.0.2.1")
    assert not is_loopback("fe80::1%lo")


def test_an_attempt_holds_no_password() -> None:
    """What is passed around and printed has the reference."""
    attempt = MailAttempt.model_validate(
        {"address": "a:1", "sender": "a", "recipient": "a", "message_id": "a", "size": 1, "timeout": 1, "login": LOGIN}
    )
    assert "env='PROBE_PASSWORD'" in repr(attempt)
    assert PASSWORD not in repr(attempt)
