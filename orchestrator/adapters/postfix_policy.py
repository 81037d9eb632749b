"""The gate of one mail host as a policy service: driven over its control socket, checked in Postfix's settings.

The service itself is ``orchestrator.adapters.policy_service``. On a host that is reached with ssh the control socket
is spoken to by a few lines of Python that run there, so the socket need not be reachable from here.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, Protocol

from pydantic import Field, TypeAdapter, ValidationError

from orchestrator.adapters.command import CommandRunner
from orchestrator.adapters.postfix_config import read_settings, require_policy
from orchestrator.adapters.socat import pipe_to
from orchestrator.errors import OutsideError, RejectedError, UnreachableError
from orchestrator.model.inventory import PolicyGate
from orchestrator.model.traffic import GateReading, Transaction
from orchestrator.model.value import Value

_TIMEOUT: Final = 5.0
_REPLY_LIMIT: Final = 64 * 1024 * 1024
_RELAY: Final = """
import socket, sys
where = sys.argv[1]
try:
    if "/" in where:
        service = socket.socket(socket.AF_UNIX)
        service.settimeout(5)
        service.connect(where)
    else:
        host, _, port = where.rpartition(":")
        service = socket.create_connection((host.strip("[]"), int(port)), 5)
    service.sendall(sys.stdin.buffer.read())
    part = b" "
    while part and not part.endswith(b"\\n"):
        part = service.recv(65536)
        sys.stdout.buffer.write(part)
except OSError as error:
    sys.exit(str(error))
"""
_RELAY_STATUS: Final = (0, 1)


class GateStatus(Value):
    """What the service says of itself."""

    ok: Literal[True]
    closed: bool
    spare: tuple[str, ...]
    since: float
    listen: str
    time: float
    moment: float
    turned_away: bool = False
    transactions: dict[str, tuple[Literal["open", "committing"], float, float, int]] = Field(default_factory=dict)

    def reading(self, since: float, clock: float) -> GateReading:
        """The reading of the gate, certain for sessions opened after ``since`` or the service's own start.

        Args:
            since: Unix time of the gate's host.
            clock: Unix time of this machine when the answer had come. The host's clock may be wrong by minutes, so
                the reading's ``since`` is by ours; the answer's way makes it a little later, never earlier.
        """
        return GateReading(
            closed=self.closed,
            since=max(since, self.since) + clock - self.time,
            sees_transactions=True,
            transactions={
                client: Transaction(stage=stage, at=at, age=max(0.0, self.moment - moment), number=number)
                for client, (stage, at, moment, number) in self.transactions.items()
            },
        )


class _Refusal(Value):
    ok: Literal[False]
    error: str


_REPLY: Final[TypeAdapter[GateStatus | _Refusal]] = TypeAdapter(GateStatus | _Refusal)


class _Line(Protocol):
    """The way to a control socket."""

    async def __call__(self, request: str) -> bytes: ...


class ControlSocket:
    """The control socket of one gate service, as its host names it."""

    def __init__(self, control: str, commands: CommandRunner) -> None:
        self._control = control
        self._commands = commands
        self._send: _Line = self._there if commands.remote else self._here

    async def ask(self, request: Mapping[str, object]) -> GateStatus:
        """Send one request.

        Raises:
            UnreachableError: nobody answers.
            RejectedError: the service refuses, or something else listens there.
        """
        host = self._commands.host
        answer = await self._send(json.dumps(request) + "\n")
        if not answer.endswith(b"\n"):
            raise self._dead("no complete answer")
        try:
            reply = _REPLY.validate_json(answer)
        except ValidationError as error:
            raise RejectedError(
                f"cannot understand the gate of {host} at {self._control}: {answer[:100]!r}",
                remedy="see that 'failover gate serve' of this version listens there",
            ) from error
        if isinstance(reply, _Refusal):
            raise RejectedError(f"cannot work the gate of {host}: {reply.error}")
        return reply

    async def _here(self, request: str) -> bytes:
        try:
            async with asyncio.timeout(_TIMEOUT):
                reader, writer = await self._connect()
                try:
                    writer.write(request.encode())
                    return await reader.readline()
                finally:
                    writer.close()
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise self._dead(str(error) or f"no answer in {_TIMEOUT:g} s") from error

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if "/" in self._control:
            return await asyncio.open_unix_connection(self._control, limit=_REPLY_LIMIT)
        host, _, port = self._control.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port), limit=_REPLY_LIMIT)

    async def _there(self, request: str) -> bytes:
        relay = ["python3", "-c", _RELAY, self._control]
        answer = await self._commands.run(relay, stdin=request, timeout=2 * _TIMEOUT, accept=_RELAY_STATUS)
        return answer.encode()

    def _dead(self, why: str) -> OutsideError:
        return UnreachableError(
            f"cannot reach the gate of {self._commands.host} at {self._control}: {why}",
            remedy="start 'failover gate serve' there",
        )


class PolicyGateDriver:
    """A ``MailGate`` that Postfix asks over the network of its own host."""

    def __init__(
        self,
        host: str,
        gate: PolicyGate,
        commands: CommandRunner,
        spare: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Drive the gate of ``host``; the senders in ``spare`` still get through while it is closed.

        ``clock`` is this machine's Unix time.
        """
        self._host = host
        self._gate = gate
        self._commands = commands
        self._spare = sorted({sender.lower() for sender in spare})
        self._clock = clock
        self._socket = ControlSocket(gate.control, commands)
        self._configured: float | None = None

    async def read(self) -> GateReading:
        """See ``MailGate.read``; the settings of Postfix are read the first time only."""
        return await self._reading("read")

    async def look(self) -> GateReading:
        """See ``MailGate.look``."""
        return await self._reading("look")

    async def turn_away(self, client: str, number: int | None) -> bool:
        """See ``MailGate.turn_away``; with number 0 only a client of which no transaction is known."""
        return (await self._socket.ask({"do": "turn-away", "client": client, "number": number})).turned_away

    async def set_closed(self, closed: bool) -> None:
        """See ``MailGate.set_closed``."""
        await self._socket.ask({"do": "close", "spare": self._spare} if closed else {"do": "open"})
        status = await self._socket.ask({"do": "read"})
        if status.closed != closed or (closed and list(status.spare) != self._spare):
            raise RejectedError(
                f"cannot {'close' if closed else 'open'} the gate of {self._host}: it was changed again at once",
                remedy="see who else works on it",
            )

    def by_hand(self, closed: bool) -> Sequence[str]:
        """See ``MailGate.by_hand``; the host needs socat(1), also where it is reached with ssh."""
        request = {"do": "close", "spare": self._spare} if closed else {"do": "open"}
        return [self._commands.by_hand(pipe_to(self._gate.control, json.dumps(request)))]

    async def _reading(self, do: Literal["read", "look"]) -> GateReading:
        status = await self._socket.ask({"do": do})
        clock = self._clock()
        return status.reading(await self._configured_since(status.listen), clock)

    async def _configured_since(self, listen: str) -> float:
        """Unix time of the host."""
        if self._configured is None:
            settings = await read_settings(self._commands, self._gate.config)
            require_policy(settings, [self._gate.service] if self._gate.service else service_names(listen))
            self._configured = settings.changed
        return self._configured


def service_names(listen: str) -> list[str]:
    """What Postfix can call a service that listens at this address, the best name first."""
    host, _, port = listen.rpartition(":")
    if host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - compared, not bound
        return [f"inet:127.0.0.1:{port}", f"inet:localhost:{port}"]
    return [f"inet:[::1]:{port}", f"inet:127.0.0.1:{port}"] if host == "[::]" else [f"inet:{listen}"]
