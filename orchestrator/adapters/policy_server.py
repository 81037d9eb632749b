"""The gate service on its two sockets: one for Postfix, one for the operator. See ``policy_service`` for what it says.

Who may connect to the control socket can close the gate. So it is a Unix socket that only its owner can open, or a port
of the loopback interface, which every user of the host can.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from orchestrator.adapters.policy_service import PolicyService, StateFile
from orchestrator.errors import InputError, Problem, RefusedError

_REQUEST_LIMIT: Final = 64 * 1024
_REPLY_LIMIT: Final = 64 * 1024 * 1024


class _Framed(asyncio.Protocol):
    """One connection: requests that end with a delimiter, handed on in order with the way to reply."""

    def __init__(self, delimiter: bytes, take: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self._delimiter = delimiter
        self._take = take
        self._ended = ended
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=_REPLY_LIMIT)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        *requests, rest = self._received.split(self._delimiter)
        self._received = rest
        for request in requests:
            self._take(bytes(request))
        if len(rest) > _REQUEST_LIMIT:
            self.abort()

    def reply(self, answer: bytes) -> None:
        """Answer a request, unless the other side has gone meanwhile."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)

    def pause_writing(self) -> None:
        """The other side asks and asks, and never reads."""
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()

    def abort(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()


class GateServer:
    """The service on its two sockets."""

    def __init__(self, service: PolicyService) -> None:
        self._service = service
        self._connections: set[_Framed] = set()
        self._askers = 0

    async def serve(self, listen: str, control: str, ready: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT.

        Args:
            listen: host:port that Postfix connects to; port 0 takes a free one.
            control: where the operator connects: a path, or host:port of the loopback interface.
            ready: called with the address listened on, once both sockets take connections.

        Raises:
            RefusedError: a socket cannot be had.
        """
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with contextlib.AsyncExitStack() as open_things:
            policy_socket = open_things.enter_context(_bind(listen, "--listen"))
            control_socket = open_things.enter_context(_control_socket(control))
            self._service.listen = _name(policy_socket)
            for factory, at in ((self._control, control_socket), (self._policy, policy_socket)):
                server = await loop.create_server(factory, sock=at, backlog=1024)
                open_things.callback(server.close)
            ready(self._service.listen)
            await stop.wait()
            for connection in list(self._connections):
                connection.abort()

    def _policy(self) -> _Framed:
        self._askers += 1
        asker = self._askers

        def ended() -> None:
            self._service.table.leave(asker)
            self._connections.discard(connection)

        connection = _Framed(b"\n\n", lambda request: self._service.policy(request, asker, connection.reply), ended)
        self._connections.add(connection)
        return connection

    def _control(self) -> _Framed:
        connection = _Framed(
            b"\n",
            lambda request: connection.reply(self._service.control(request)),
            lambda: self._connections.discard(connection),
        )
        self._connections.add(connection)
        return connection


def split_address(address: str, option: str) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[v6]:port``.

    Raises:
        InputError: it is neither.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isdigit() and int(port) < 65536):
        raise InputError([Problem(f"cannot use {address!r} as {option}", remedy="write host:port")])
    return host.strip("[]"), int(port)


def _bind(address: str, option: str) -> socket.socket:
    host, port = split_address(address, option)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(place)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise RefusedError(
            f"cannot serve the gate at {address}: {error}", remedy=f"free it, or name another with {option}"
        ) from error
    return bound


def _name(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def _control_socket(control: str) -> Iterator[socket.socket]:
    if "/" in control:
        with _control_path(Path(control)) as bound:
            yield bound
        return
    with _bind(control, "--control") as bound:
        if not ipaddress.ip_address(bound.getsockname()[0]).is_loopback:
            raise RefusedError(
                f"cannot take requests at {control}: everybody who reaches that address could close the gate",
                remedy="name a path or a loopback address with --control",
            )
        yield bound


@contextlib.contextmanager
def _control_path(path: Path) -> Iterator[socket.socket]:
    if _is_served(path):
        raise RefusedError(f"cannot serve the gate at {path}: another process does", remedy="stop that one first")
    with socket.socket(socket.AF_UNIX) as bound:
        mask = os.umask(0o177)  # 0600 from the first moment on
        try:
            if path.is_socket():  # left behind by a dead process; anything else is not ours to remove
                path.unlink()
            bound.bind(str(path))
        except OSError as error:
            raise RefusedError(
                f"cannot serve the gate at {path}: {error}", remedy="name a path in a folder that is there"
            ) from error
        finally:
            os.umask(mask)
        try:
            yield bound
        finally:
            path.unlink(missing_ok=True)


def _is_served(path: Path) -> bool:
    """Whether somebody listens there; a socket file that a dead process left behind is not served."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(1.0)
        try:
            caller.connect(str(path))
        except OSError:
            return False
    return True


def serve(listen: str, control: str, state: Path, ready: Callable[[str], None]) -> None:
    """Serve the gate in the foreground until SIGTERM or SIGINT; see ``GateServer.serve``.

    Raises:
        RefusedError: a socket or the state file cannot be had.
        InputError: an address cannot be understood.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection for each smtpd process

    async def served() -> None:
        service = PolicyService(StateFile(state), asyncio.get_running_loop().call_later)
        await GateServer(service).serve(listen, control, ready)

    asyncio.run(served())
