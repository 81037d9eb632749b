"""A mail client for probes: one connection, one transaction, and an exact account of how it went."""

from __future__ import annotations

import asyncio
import base64
import email.utils
import errno
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aiosmtplib

from orchestrator.adapters.secrets import read_secret, redact, remember
from orchestrator.errors import OutsideError
from orchestrator.model.secret import Secret
from orchestrator.model.units import format_duration
from orchestrator.ports import Clock, MailAttempt, MailResult

QUIT_TIMEOUT: Final = 1.0
"""Seconds that QUIT may take: the message is accepted by then, so its reply changes nothing."""

_LINE: Final = b"failover probe: this message was made by a program, no person needs it.  \r\n"
_TEXT_SHOWN: Final = 80
_DAY: Final = 86400.0

_SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]

_OURS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM, errno.EACCES, errno.EPERM}
)
"""Errors of this machine: no descriptor, port, memory or permission. They say nothing about the target."""

_SPOKEN: Final = {
    "banner": "the banner",
    "ehlo": "EHLO",
    "starttls": "STARTTLS",
    "auth": "AUTH",
    "mail": "MAIL FROM",
    "rcpt": "RCPT TO",
    "data": "DATA",
}


class SmtpClient:
    """``ports.MailClient`` over aiosmtplib."""

    def __init__(self, clock: Clock, read_secret: Callable[[Secret], str] = read_secret) -> None:
        self._clock = clock
        self._read_secret = read_secret
        self._contexts: dict[tuple[str | None, int], ssl.SSLContext] = {}

    async def deliver(self, attempt: MailAttempt) -> MailResult:
        """Make the attempt; whatever goes wrong is in the result.

        ``seconds`` runs from before the connect to the reply that accepts the message, or to the failure.
        """
        began = self._clock.monotonic()
        talk = _Conversation(attempt, self._context, self._read_secret, self._clock)
        reason, broken = "", False
        try:
            async with asyncio.timeout(attempt.timeout):
                await talk.until_accepted()
        except Exception as error:  # a library's slip must cost a probe, not the run that it protects
            reason, broken = _explain(error, talk.stage, attempt)
        seconds = self._clock.monotonic() - began
        if reason:
            talk.abort()
        else:
            await talk.quit()
        return MailResult(
            ok=not reason,
            seconds=seconds,
            stage=talk.stage,
            reason=reason,
            certificate_days=talk.certificate_days,
            broken=broken,
        )

    def _context(self, ca_file: str | None) -> ssl.SSLContext:
        """The context that verifies against ``ca_file`` as it is now, or against the system's store."""
        version = Path(ca_file).stat().st_mtime_ns if ca_file else 0
        key = (ca_file, version)
        if key not in self._contexts:
            self._contexts[key] = ssl.create_default_context(cafile=ca_file)
        return self._contexts[key]


class _BrokenProbeError(Exception):
    """The attempt cannot be made on this machine."""


class _Conversation:
    """One connection, from its socket to its end; ``stage`` says how far it is."""

    def __init__(
        self,
        attempt: MailAttempt,
        context: Callable[[str | None], ssl.SSLContext],
        read_secret: Callable[[Secret], str],
        clock: Clock,
    ) -> None:
        self._attempt = attempt
        self._context = context
        self._read_secret = read_secret
        self._clock = clock
        self._encrypts = attempt.starttls
        self._client: aiosmtplib.SMTP | None = None
        self._transport: asyncio.BaseTransport | None = None
        self.stage = "connect"
        self.certificate_days: float | None = None

    async def until_accepted(self) -> None:
        """Talk until the server has accepted the message; raises what stops it."""
        attempt = self._attempt
        password = self._read_secret(attempt.login.password) if attempt.login else ""
        context = self._prepared_context() if attempt.starttls or attempt.login else None
        try:
            client = await self._greeted()
            self.stage = "ehlo"
            await client.ehlo()
            if context is not None and self._encrypts:
                await self._encrypt(client, context)
                self.stage = "ehlo"  # what was said before TLS counts no more (RFC 3207, 4.2)
                await client.ehlo()
            if attempt.login is not None:
                self.stage = "auth"
                await _log_in(client, attempt.login.user, password)
            self.stage = "mail"
            await client.mail(attempt.sender)
            self.stage = "rcpt"
            await client.rcpt(attempt.recipient)
            self.stage = "data"
            await client.data(compose(attempt, self._clock.now()))
            self.stage = "quit"
        except asyncio.CancelledError:
            self.abort()
            raise

    async def quit(self) -> None:
        """Say goodbye and close, however the server takes it."""
        try:
            if self._client is not None:
                async with asyncio.timeout(QUIT_TIMEOUT):
                    await self._client.quit()
        except (aiosmtplib.SMTPException, OSError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Free the socket at once: a polite close would wait for what a dead path never takes."""
        client, self._client = self._client, None
        if client is None:
            return
        current = client.transport
        client.close()
        for transport in (current, self._transport):
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()

    def _prepared_context(self) -> ssl.SSLContext:
        try:
            return self._context(self._attempt.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise _BrokenProbeError(f"cannot read the CA file {self._attempt.ca_file}: {_text(error)}") from error

    async def _greeted(self) -> aiosmtplib.SMTP:
        host, port = _split(self._attempt.address)
        connected = await _connect(host, port, self._attempt.source_address)
        self.stage = "banner"
        self._encrypts |= self._attempt.login is not None and not is_loopback(str(connected.getpeername()[0]))
        # The name of an address literal (RFC 5321, 4.1.3): true, and found without asking any DNS.
        literal = _literal(str(connected.getsockname()[0]))
        self._client = aiosmtplib.SMTP(
            hostname=host, sock=connected, local_hostname=literal, start_tls=False, timeout=None
        )
        await self._client.connect()
        self._transport = self._client.transport
        return self._client

    async def _encrypt(self, client: aiosmtplib.SMTP, context: ssl.SSLContext) -> None:
        self.stage = "starttls"
        if not client.supports_extension("starttls"):
            why = "" if self._attempt.starttls else ", and a password is never sent in the clear (RFC 4954, 4)"
            raise aiosmtplib.SMTPNotSupported(f"STARTTLS is not offered{why}")
        name = self._attempt.server_name or _split(self._attempt.address)[0]
        await client.starttls(server_hostname=name, tls_context=context)
        certificate: dict[str, object] = client.get_transport_info("peercert") or {}
        if "notAfter" in certificate:
            expiry = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
            self.certificate_days = (expiry - self._clock.now()) / _DAY


def compose(attempt: MailAttempt, now: float) -> bytes:
    """The probe's message (RFC 5322), filled to ``size`` bytes where its header is not longer than that.

    ``Auto-Submitted`` keeps vacation replies away (RFC 3834, 5). No line is longer than 78 (RFC 5322, 2.1.1).
    """
    headers = {
        "Message-ID": f"<{attempt.message_id.strip('<>')}>",
        "Date": email.utils.formatdate(now),
        "From": f"<{attempt.sender or attempt.recipient}>",
        "To": f"<{attempt.recipient}>",
        "Subject": "failover probe",
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=us-ascii",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii") + b"\r\n"
    lines, rest = divmod(max(0, attempt.size - len(head)), len(_LINE))
    last = b"-" * (rest - 2) + b"\r\n" if rest >= 2 else b""
    return head + _LINE * lines + last


def is_loopback(address: str) -> bool:
    """Whether nothing that is sent to this IP address leaves the machine."""
    return ipaddress.ip_address(address).is_loopback


async def _log_in(client: aiosmtplib.SMTP, user: str, password: str) -> None:
    """Log in, once: a second mechanism after a wrong password would count as a second wrong password."""
    remember(password)
    remember(base64.b64encode(f"\0{user}\0{password}".encode()).decode())  # as AUTH PLAIN has it (RFC 4616)
    offered = client.server_auth_methods
    if "plain" in offered:
        await client.auth_plain(user, password)
    elif "login" in offered:
        await client.auth_login(user, password)
    elif "cram-md5" in offered:
        await client.auth_crammd5(user, password)
    else:
        raise aiosmtplib.SMTPNotSupported("no way to log in is offered that a password would do for")


async def _connect(host: str, port: int, source: str | None) -> socket.socket:
    """A connected socket from a fresh source port; the addresses of ``host`` are tried in order."""
    failure: OSError | None = None
    for family, address in await _addresses(host, port):
        if source is not None and family != _family(source):
            continue
        try:
            return await _connect_one(family, address, source)
        except OSError as error:
            failure = error
    raise failure or _BrokenProbeError(f"cannot connect from {source}: {host} has no address of that family")


async def _connect_one(family: int, address: _SocketAddress, source: str | None) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            _bind(made, source)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


def _bind(made: socket.socket, source: str) -> None:
    try:
        made.bind((source, 0))
    except OSError as error:
        raise _BrokenProbeError(f"cannot connect from {source}: {_text(error)}") from error


async def _addresses(host: str, port: int) -> list[tuple[int, _SocketAddress]]:
    try:
        return [(_family(host), (host, port))]
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(int(family), address) for family, _, _, _, address in found]


def _family(address: str) -> int:
    return socket.AF_INET6 if ipaddress.ip_address(address).version == 6 else socket.AF_INET


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise _BrokenProbeError(f"cannot connect to {address!r}: write host:port")
    return host.strip("[]"), int(port)


def _literal(ip: str) -> str:
    return f"[IPv6:{ip}]" if ":" in ip else f"[{ip}]"


def _explain(error: Exception, stage: str, attempt: MailAttempt) -> tuple[str, bool]:
    """In few words why an attempt failed at ``stage``, and whether the fault is this machine's."""
    spoken = _SPOKEN.get(stage, stage)
    if isinstance(error, _BrokenProbeError | OutsideError):
        return str(error), True
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} at {spoken.removeprefix('the ')}: {_printable(error.message)}".rstrip(": "), False
    if isinstance(error, TimeoutError):
        return _late(stage, attempt.timeout), False
    if isinstance(error, aiosmtplib.SMTPServerDisconnected | aiosmtplib.SMTPConnectError | ConnectionResetError):
        return f"connection closed at {spoken}", False
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not valid: {_printable(error.verify_message)}", False
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {_printable(error.reason or str(error))}", False
    if isinstance(error, socket.gaierror):
        return f"cannot resolve {attempt.address}: {_text(error)}", False
    if isinstance(error, OSError):
        return f"cannot connect: {_text(error)}" if stage == "connect" else f"{_text(error)} at {spoken}", (
            error.errno in _OURS
        )
    if isinstance(error, aiosmtplib.SMTPNotSupported):
        return _printable(str(error)), False
    return f"the probe broke at {spoken}: {type(error).__name__}: {_printable(str(error))}", True


def _late(stage: str, timeout: float) -> str:
    limit = format_duration(timeout)
    early = {"connect": "no connection", "banner": "no banner", "starttls": "no TLS session"}
    return f"{early[stage]} within {limit}" if stage in early else f"no reply to {_SPOKEN[stage]} within {limit}"


def _text(error: OSError) -> str:
    """The system's words; asyncio puts its own in ``strerror``, and a resolver's error has no other."""
    if error.errno and error.errno > 0 and not isinstance(error, ssl.SSLError | socket.gaierror):
        return os.strerror(error.errno).lower()
    return (error.strerror or str(error)).lower()


def _printable(text: str) -> str:
    """What a server said, fit for one line of a log: no secrets, no control characters, not too long."""
    line = re.sub(r"[^\x20-\x7e]+", " ", redact(text)).strip()
    return line if len(line) <= _TEXT_SHOWN else line[: _TEXT_SHOWN - 3] + "..."
