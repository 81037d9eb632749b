"""One connection to HAProxy's Runtime API, or to the command line of its master process.

The connection is switched to interactive mode (``prompt``): then every reply ends with a prompt, and a reply
that was cut off cannot be taken for a whole one.

Source: HAProxy Management Guide, 9.3 "Unix Socket commands" and 9.4 "Master CLI".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import OutsideError, UnfitError, UnreachableError

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_BATCH_COMMANDS: Final = 100
_BATCH_BYTES: Final = 8_000
"""HAProxy reads a line into one buffer: 16,384 bytes (tune.bufsize) unless somebody made it smaller."""

_TAIL: Final = 64
"""Bytes at the end of a reply in which its prompt is looked for."""

_MASTER_TRIES: Final = 20
_MASTER_PAUSE: Final = 0.05

WORKER: Final = re.compile(rb"\n> \Z")
"""The prompt of a 'stats socket'."""

MASTER: Final = re.compile(rb"(?:^|\n)master(?:\[[^\]\n]*\])?> \Z")
"""The prompt of the master's socket; it says ``master[ReloadFailed]>`` after a reload that failed."""

_LEVEL: Final = re.compile(rb"(?:^|\n|> )(?:admin|operator|user)\n\n> \Z")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds until an attempt is given up."""

    connect: float = 2.0
    reply: float = 5.0


class Cut(Exception):  # noqa: N818 - the caller decides whether it is an error
    """HAProxy closed the connection before a prompt; ``reply`` is what it had said until then."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


class Connection:
    """An open command line of HAProxy, in interactive mode."""

    def __init__(
        self,
        streams: _Streams,
        place: str,
        prompt: re.Pattern[bytes],
        limits: Limits,
    ) -> None:
        self._reader, self._writer = streams
        self._place = place
        self._prompt = prompt
        self._limits = limits

    async def ask(self, command: str) -> str:
        """The reply to one command, without the prompt.

        Raises:
            UnreachableError: no whole reply in time.
        """
        try:
            return await self.ask_or_cut(command)
        except Cut as cut:
            raise self._cut_off() from cut

    async def ask_or_cut(self, command: str) -> str:
        """As ``ask``, for the master: it hangs up when it does not know the process that a command is for.

        Raises:
            UnreachableError: no reply in time.
            Cut: the connection was closed before a prompt came.
        """
        reply = await self._exchange(command, lambda text: self._prompt.search(text, len(text) - _TAIL) is not None)
        return self._prompt.sub(b"", reply).decode(errors="replace")

    async def complaints(self, commands: Sequence[str]) -> list[str]:
        """Send commands that are silent when they succeed, many at a time, and return what HAProxy said.

        One command that fails does not keep HAProxy from the others of its batch.

        Raises:
            UnreachableError: no whole reply in time; some of the commands may have been carried out.
        """
        said: list[str] = []
        for batch in _batches(commands):
            said += await self._batch(batch)
        return said

    async def _batch(self, commands: Sequence[str]) -> list[str]:
        # The last command always answers, so that the end of a batch is not found by counting prompts.
        line = ";".join([*commands, "show cli level"])
        try:
            reply = await self._exchange(line, lambda text: _LEVEL.search(text, len(text) - _TAIL) is not None)
        except Cut as cut:
            raise self._cut_off() from cut
        lines = (
            line.removeprefix("> ").strip() for line in _LEVEL.sub(b"", reply).decode(errors="replace").split("\n")
        )
        return [line for line in lines if line not in {"", ">"}]

    async def greet(self) -> None:
        """Switch to interactive mode, and make sure that the right kind of HAProxy process answers.

        Raises:
            UnfitError: something else answers.
        """
        expected = "HAProxy's master" if self._prompt is MASTER else "a HAProxy 'stats socket'"
        try:
            reply = await self._exchange("prompt", _is_no_beginning)
        except Cut as cut:
            reply = cut.reply.encode()
        if not self._prompt.fullmatch(reply):
            other = "HAProxy's master" if MASTER.fullmatch(reply) else "something else"
            other = "a HAProxy 'stats socket'" if WORKER.fullmatch(reply) else other
            raise UnfitError(
                f"cannot use {self._place}: {other} answers there, not {expected}",
                remedy="correct 'socket' and 'master' in the inventory: 'socket' is a 'stats socket' of the "
                "configuration, 'master' what 'haproxy -S' names",
            )

    async def _exchange(self, line: str, whole: Callable[[bytearray], bool]) -> bytes:
        reply = bytearray()
        try:
            async with asyncio.timeout(self._limits.reply):
                self._writer.write(line.encode() + b"\n")
                await self._writer.drain()
                while not whole(reply):
                    chunk = await self._reader.read(1 << 18)
                    if not chunk:
                        raise Cut(reply.decode(errors="replace"))
                    reply += chunk
        except TimeoutError as error:
            raise UnreachableError(
                f"cannot use HAProxy at {self._place}: no whole reply within {self._limits.reply:g} s",
                remedy="look at its load; what was asked for may or may not have been done",
            ) from error
        except ConnectionError as error:
            raise Cut(reply.decode(errors="replace")) from error
        return bytes(reply)

    def _cut_off(self) -> UnreachableError:
        return UnreachableError(
            f"cannot use HAProxy at {self._place}: it closed the connection before its reply was whole",
            remedy="look whether it has just been reloaded or stopped, and try again",
        )


@asynccontextmanager
async def connect(place: str, prompt: re.Pattern[bytes], limits: Limits) -> AsyncIterator[Connection]:
    """A connection to ``place``, a path or host:port, where ``prompt`` is expected.

    Raises:
        UnreachableError: nobody answers there, or this user may not ask.
        UnfitError: something else answers.
    """
    streams = await _open(place, prompt, limits)
    try:
        connection = Connection(streams, place, prompt, limits)
        await connection.greet()
        yield connection
    finally:
        streams[1].close()
        with suppress(OSError):
            await streams[1].wait_closed()


async def _open(place: str, prompt: re.Pattern[bytes], limits: Limits) -> _Streams:
    try:
        async with asyncio.timeout(limits.connect):
            return await (_dial_master(place) if prompt is MASTER else _dial(place))
    except (OSError, OverflowError) as error:
        raise _no_connection(place, error, limits) from error


async def _dial(place: str) -> _Streams:
    if is_path(place):
        return await asyncio.open_unix_connection(place)
    host, _, port = place.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def _dial_master(place: str) -> _Streams:
    """As ``_dial``, but patient: on a reload the master starts itself anew, and its socket refuses meanwhile."""
    for _ in range(_MASTER_TRIES):
        try:
            return await _dial(place)
        except (ConnectionRefusedError, FileNotFoundError):
            await asyncio.sleep(_MASTER_PAUSE)
    return await _dial(place)


def is_path(place: str) -> bool:
    """Whether ``place`` is a socket of this machine's file system, and not host:port."""
    return re.fullmatch(r"[^/]+:\d+", place) is None


def _no_connection(place: str, error: Exception, limits: Limits) -> OutsideError:
    why = getattr(error, "strerror", None) or str(error)
    remedy = "correct its address in the inventory, or the network between"
    if isinstance(error, TimeoutError):
        why = f"no connection within {limits.connect:g} s"
    elif isinstance(error, FileNotFoundError):
        why = "there is no such socket"
        remedy = "start HAProxy, or correct the path in the inventory"
    elif isinstance(error, PermissionError):
        why = "this user may not open it"
        remedy = "run as a member of the group that its 'stats socket … group' line names (mode 660)"
    elif isinstance(error, ConnectionRefusedError):
        why = "nobody listens there"
        remedy = "start HAProxy, or correct the address in the inventory"
    return UnreachableError(f"cannot reach HAProxy at {place}: {why}", remedy=remedy)


def _is_no_beginning(text: bytearray) -> bool:
    """Whether the answer to ``prompt`` is whole, or can never become a prompt."""
    begun = bytes(text)
    return begun.endswith(b"> ") or not (b"\n> ".startswith(begun) or b"master"[: len(begun)] == begun[:6])


def _batches(commands: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for command in commands:
        if batch and (len(batch) == _BATCH_COMMANDS or size + len(command) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(command)
        size += len(command) + 1
    if batch:
        yield batch
