"""Runs a program of a host: here, or there through ssh(1). Never through a shell of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.inventory import Host
from orchestrator.model.ssh import parse_ssh

_PROGRAMS: Final = "/usr/local/sbin:/usr/sbin:/sbin"  # Postfix's programs, which few users have on their PATH
_SSH_FAILED: Final = 255
_NOT_FOUND: Final = 127


class CommandRunner(Protocol):
    """Runs programs of one host."""

    @property
    def host(self) -> str:
        """The host's name in the inventory, for messages."""

    @property
    def remote(self) -> bool:
        """Whether the host's files and sockets are out of reach from here."""

    async def run(
        self, command: Sequence[str], *, stdin: str = "", timeout: float = 10.0, accept: Collection[int] = (0,)
    ) -> str:
        """Run a program to its end and return what it printed.

        Args:
            command: the program and its arguments.
            stdin: what it reads.
            timeout: seconds after which it is killed; over ssh, what runs on the host may outlive this.
            accept: exit statuses that are no failure.

        Raises:
            UnreachableError: no end in time, or ssh found no way to the host.
            RejectedError: it ended with another status.
            UnfitError: there is no such program.
        """

    def by_hand(self, line: str) -> str:
        """What a person types in a shell of this machine to have a shell of the host do ``line``."""


@dataclass(frozen=True, slots=True)
class LocalCommands:
    """The host is this machine."""

    host: str
    remote: bool = field(default=False, init=False)

    async def run(
        self, command: Sequence[str], *, stdin: str = "", timeout: float = 10.0, accept: Collection[int] = (0,)
    ) -> str:
        """See ``CommandRunner.run``."""
        status, output, error = await _run(self.host, command, stdin, timeout)
        return _judge(self.host, command[0], status, output, error, accept)

    def by_hand(self, line: str) -> str:
        """See ``CommandRunner.by_hand``."""
        return line


@dataclass(frozen=True, slots=True)
class SshCommands:
    """The host is reached with ssh(1), as the user's ssh_config says, and without a password prompt.

    The host's login shell must be a POSIX shell. A ``ControlMaster`` in ssh_config makes each look at the host
    faster by a whole handshake.
    """

    host: str
    target: str
    program: str = "ssh"
    remote: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        try:
            parse_ssh(self.target)
        except ValueError as error:
            message = f"cannot reach {self.host}: {self.target!r} is no ssh target"
            raise UnfitError(message, remedy="write user@name or user@name:port") from error

    async def run(
        self, command: Sequence[str], *, stdin: str = "", timeout: float = 10.0, accept: Collection[int] = (0,)
    ) -> str:
        """See ``CommandRunner.run``."""
        remote = f'PATH="$PATH:{_PROGRAMS}" LC_ALL=C {shlex.join(command)}'
        connect = f"ConnectTimeout={max(1, int(timeout))}"
        ssh = [self.program, "-o", "BatchMode=yes", "-o", connect, *self._destination, "--", remote]
        status, output, error = await _run(self.host, ssh, stdin, timeout)
        if status == _SSH_FAILED:
            raise UnreachableError(
                f"cannot reach {self.host}: ssh {self.target}: {_last_words(error)}",
                remedy="see that 'ssh -o BatchMode=yes' gets there without a password",
            )
        return _judge(self.host, command[0], status, output, error, accept)

    def by_hand(self, line: str) -> str:
        """See ``CommandRunner.by_hand``; ssh may ask this person for a password."""
        return shlex.join([self.program, *self._destination, "--", line])

    @property
    def _destination(self) -> list[str]:
        to = parse_ssh(self.target)
        return [*(["-p", str(to.port)] if to.port else []), to.destination]


def commands_for(name: str, host: Host) -> CommandRunner:
    """The runner for a host of the inventory."""
    return LocalCommands(name) if host.connect == "local" else SshCommands(name, host.ssh or name)


async def _run(host: str, command: Sequence[str], stdin: str, timeout: float) -> tuple[int, str, str]:
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', os.defpath)}:{_PROGRAMS}"}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C at the terminal is for us alone; and its own children end with it
        )
    except OSError as error:
        raise UnfitError(f"cannot run {command[0]} for {host}: {error}", remedy="install it, or mend PATH") from error
    try:
        async with asyncio.timeout(timeout):
            output, trouble = await process.communicate(stdin.encode())
    except TimeoutError as error:
        raise UnreachableError(
            f"cannot tell how {command[0]} ended at {host}: it runs longer than {timeout:g} s",
            remedy="look at the host's load, and try again",
        ) from error
    finally:
        await _end(process)
    assert process.returncode is not None
    return process.returncode, output.decode("utf-8", "replace"), trouble.decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Leave no process behind, also when we are cancelled."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _judge(host: str, program: str, status: int, output: str, error: str, accept: Collection[int]) -> str:
    if status in accept:
        return output
    if status == _NOT_FOUND:
        raise UnfitError(f"cannot run {program} at {host}: no such program", remedy="install it there")
    raise RejectedError(
        f"cannot do {program} at {host}: it ended with status {status}: {_last_words(error)}",
        remedy=f"run {program} there by hand to see what it needs",
    )


def _last_words(error: str) -> str:
    return " ".join(error.split())[-300:] or "no message"
