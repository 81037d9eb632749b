"""HAProxy as a traffic switch, driven by its Runtime API (HAProxy Management Guide, 9.3 and 9.4)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from shlex import quote
from typing import Final, TypeVar

from orchestrator.adapters.haproxy_parse import (
    Server,
    Stream,
    parse_backups,
    parse_old_workers,
    parse_servers,
    parse_session_counts,
    parse_streams,
)
from orchestrator.adapters.haproxy_processes import older_workers
from orchestrator.adapters.haproxy_socket import MASTER, WORKER, Connection, Cut, Limits, connect, is_path
from orchestrator.adapters.haproxy_state_file import check_writable, save
from orchestrator.adapters.socat import pipe_to
from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.switch import HaproxySwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session

T = TypeVar("T")

_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]+")
"""What HAProxy allows in names (Configuration Manual, 2.2); nothing else may get into a command line."""

_SESSION_ID: Final = re.compile(r"(?:(\d+)/)?(0x[0-9a-f]+)/(\d+)")
"""Process (of an old worker only), pointer, number."""

_OLD_TRIES: Final = 10
_OLD_PAUSE: Final = 0.05
"""An old worker ends at any moment, and its master needs a moment more to know."""

_CLOSE_TRIES: Final = 100
_CLOSE_PAUSE: Final = 0.01


_SHOW_STAT: Final = "show stat -1 4 -1"
"""Servers (4) of all proxies. To ask for ours by name does not do: where a frontend has the same name it finds that,
which has none (HAProxy 2.6 Management Guide, "show stat")."""


class HaproxyDriver:
    """``ports.TrafficSwitch`` on one backend of a HAProxy in TCP mode."""

    def __init__(self, switch: HaproxySwitch, members: Sequence[str], limits: Limits | None = None) -> None:
        self._switch = switch
        self._members = tuple(members)
        self._limits = limits or Limits()
        for name in (switch.backend, *members):
            _check_name(name)

    @property
    def max_weight(self) -> int:
        """HAProxy's own (Configuration Manual, 'weight')."""
        return 256

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member as it is now; sessions include those of old workers where ``master`` is configured.

        ``up`` is what the health check says, true without one. HAProxy checks nothing that is in maintenance:
        there it is the last result before it.

        Raises:
            UnfitError: a member is no server of the backend, or the socket's level is too low.
        """
        async with self._open() as connection:
            servers = await self._servers(connection, self._members)
            reply = await connection.ask(_SHOW_STAT)
        counts = parse_session_counts(reply, self._switch.backend)
        for old in (await self._ask_old_workers(_SHOW_STAT)).values():
            for name, count in parse_session_counts(old, self._switch.backend).items():
                counts[name] = counts.get(name, 0) + count
        return {
            name: MemberReading(intake=server.intake, up=server.up, sessions=counts.get(name, 0))
            for name, server in servers.items()
        }

    async def elsewhere(self) -> int:
        """The weights of the backend's other servers that are ready; a backup waits for all others to be gone."""
        async with self._open() as connection:
            servers = await self._all_servers(connection)
            backups = parse_backups(await connection.ask(_SHOW_STAT), self._switch.backend)
        ours = {*self._members, *backups}
        return sum(server.intake.share_weight for name, server in servers.items() if name not in ours)

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Bring these members to these intakes: first those that take more, then those that take less.

        So there is no moment without a member that takes traffic, where there is one before and one after.

        Raises:
            RejectedError: a member is not as asked, or HAProxy complained.
            UnfitError: a member is no server of the backend, the level of the socket is too low, or the state
                file cannot be written.
        """
        if self._switch.state_file is not None:
            check_writable(self._switch.state_file)
        async with self._open() as connection:
            said = await self._write(connection, changes)
            servers = await self._servers(connection, changes)
            if self._switch.state_file is not None:  # also what went only half-way must outlive a reload
                await save(connection.ask, self._switch.state_file)
            self._compare(servers, changes, said)

    async def settling(self) -> str:
        """Nothing: HAProxy asks the new weights for its next connection."""
        return ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """The sessions of these members, also those that old workers hold.

        The present worker is asked before the old ones: a reload in between shows a session twice, never not
        at all.

        Raises:
            UnfitError: an old worker still runs, and no ``master`` socket is configured to ask it.
        """
        async with self._open() as connection:
            replies = {"": await connection.ask("show sess all")}
            await self._refuse_hidden_workers(connection)
        for pid, reply in (await self._ask_old_workers("show sess all")).items():
            replies[f"{pid}/"] = reply
        return [
            _session(stream, process)
            for process, reply in replies.items()
            for stream in parse_streams(reply, self._switch.backend)
            if stream.server in members
        ]

    async def close(self, session: Session) -> None:
        """Cut one session now, if it is still the same one: HAProxy uses its pointers again.

        Raises:
            RejectedError: HAProxy does not close it.
        """
        match = _SESSION_ID.fullmatch(session.id)
        if match is None or (match[1] and self._switch.master is None):
            raise RejectedError(f"cannot close session {session.id!r}: it has not been listed by this switch")
        pid, pointer = match[1], match[2]
        if pid is None or self._switch.master is None:
            async with self._open() as connection:
                await self._shut(connection, session, "", pointer)
        else:
            await self._in_old_worker(
                self._switch.master, int(pid), lambda worker: self._shut(worker, session, f"@!{pid} ", pointer)
            )

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: a line for socat(1) each, and one that saves the state file."""
        socket, state_file = self._switch.socket, self._switch.state_file
        lines = [pipe_to(socket, command) for command in self._sets(weights, admins)]
        if lines and state_file is not None:
            new = quote(f"{state_file}.new")
            lines.append(f"{pipe_to(socket, 'show servers state')} > {new} && mv {new} {quote(state_file)}")
        return lines

    def _sets(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Iterator[str]:
        for name in dict.fromkeys([*weights, *admins]):
            server = f"set server {self._switch.backend}/{name}"
            weight = [f"{server} weight {weights[name]}"] if name in weights else []
            state = [f"{server} state {admins[name]}"] if name in admins else []
            yield from weight + state if admins.get(name) == "ready" else state + weight

    async def _shut(self, connection: Connection, session: Session, worker: str, pointer: str) -> None:
        if not await self._is_there(connection, session, worker, pointer):
            return
        said = (await connection.ask_or_cut(f"{worker}shutdown session {pointer}")).strip()
        for _ in range(_CLOSE_TRIES):  # HAProxy only wakes the session's task, maybe on another thread
            if not await self._is_there(connection, session, worker, pointer):
                return
            await asyncio.sleep(_CLOSE_PAUSE)
        raise RejectedError(
            f"cannot close the session of {session.client} on {session.member}: HAProxy keeps it open "
            f"({said or 'it gives no reason'})",
            remedy="close it from the client's or the member's side",
        )

    async def _is_there(self, connection: Connection, session: Session, worker: str, pointer: str) -> bool:
        reply = await connection.ask_or_cut(f"{worker}show sess {pointer}")
        if reply.startswith("Session not found"):
            return False
        process = session.id.partition("0x")[0]
        found = [_session(stream, process) for stream in parse_streams(reply, self._switch.backend)]
        return any((one.id, one.client) == (session.id, session.client) for one in found)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Connection]:
        """A connection with the level that every method here needs, so that planning finds out already."""
        async with connect(self._switch.socket, WORKER, self._limits) as connection:
            level = (await connection.ask("show cli level")).strip()
            if level != "admin":
                raise UnfitError(
                    f"cannot drive HAProxy at {self._switch.socket}: the socket's level is {level!r}",
                    remedy="put 'level admin' on its 'stats socket' line, and reload HAProxy",
                )
            try:
                yield connection
            except Cut as cut:
                raise UnreachableError(
                    f"cannot use HAProxy at {self._switch.socket}: it closed the connection",
                    remedy="look whether it has just been reloaded or stopped, and try again",
                ) from cut

    async def _servers(self, connection: Connection, wanted: Iterable[str]) -> dict[str, Server]:
        """The servers called ``wanted``.

        Raises:
            UnfitError: HAProxy does not have them all.
        """
        backend = self._switch.backend
        servers = await self._all_servers(connection)
        missing = [name for name in wanted if name not in servers]
        if missing:
            raise UnfitError(
                f"cannot find {', '.join(missing)} in backend {backend} of HAProxy at {self._switch.socket}: "
                f"its servers are {', '.join(servers)}",
                remedy="call the members in the inventory as HAProxy calls its servers",
            )
        return {name: servers[name] for name in wanted}

    async def _all_servers(self, connection: Connection) -> dict[str, Server]:
        backend = self._switch.backend
        reply = await connection.ask(f"show servers state {backend}")
        if reply.startswith("Can't find backend"):
            there = (await connection.ask("show backend")).split()[2:]
            raise UnfitError(
                f"cannot use backend {backend} of HAProxy at {self._switch.socket}: it has only {', '.join(there)}",
                remedy="correct 'backend' in the inventory",
            )
        return {server.name: server for server in parse_servers(reply)}

    async def _write(self, connection: Connection, changes: Mapping[str, Intake]) -> list[str]:
        """Write what differs, and return HAProxy's complaints."""
        now = await self._intakes(connection, dict.fromkeys([*self._members, *changes]))
        differing = {name: to for name, to in changes.items() if now[name] != to}
        takers = {name: to for name, to in differing.items() if to.share_weight >= now[name].share_weight}
        givers = {name: to for name, to in differing.items() if name not in takers}
        said = await connection.complaints(self._commands(now, takers))
        if said and givers:
            self._keep_one_serving({**now, **changes}, {**await self._intakes(connection, now), **givers}, said)
        return said + await connection.complaints(self._commands(now, givers))

    async def _intakes(self, connection: Connection, wanted: Iterable[str]) -> dict[str, Intake]:
        return {name: server.intake for name, server in (await self._servers(connection, wanted)).items()}

    def _keep_one_serving(self, wanted: Mapping[str, Intake], after: Mapping[str, Intake], said: list[str]) -> None:
        """Do not close the givers when no taker could be opened, unless all were to be closed anyway."""
        if _takes(wanted) and not _takes(after):
            raise RejectedError(
                f"cannot move traffic in backend {self._switch.backend}: HAProxy says {_joined(said)} to those that "
                "should take it, and no member would be left that takes any; none was closed"
            )

    def _commands(self, now: Mapping[str, Intake], changes: Mapping[str, Intake]) -> list[str]:
        return [command for name, to in changes.items() for command in self._set(name, now[name], to)]

    def _set(self, name: str, now: Intake, to: Intake) -> list[str]:
        server = f"set server {self._switch.backend}/{name}"
        weight = [f"{server} weight {to.weight}"] if to.weight != now.weight else []
        state = [f"{server} state {to.admin}"] if to.admin != now.admin else []
        # A weight is never changed while it counts and should not: no burst on the way in or out.
        return weight + state if to.admin == "ready" else state + weight

    def _compare(self, servers: Mapping[str, Server], asked: Mapping[str, Intake], said: list[str]) -> None:
        wrong = [
            f"{name} has {servers[name].intake} instead of {to}"
            for name, to in asked.items()
            if servers[name].intake != to
        ]
        if wrong or said:
            reasons = [*wrong, *([f"HAProxy says {_joined(said)}"] if said else [])]
            raise RejectedError(
                f"cannot set servers of backend {self._switch.backend}: {'; '.join(reasons)}",
                remedy="look who else changes them, and what the backend's 'balance' allows",
            )

    async def _ask_old_workers(self, command: str) -> dict[int, str]:
        """What each old worker replies; none where no master is configured."""
        if self._switch.master is None:
            return {}
        replies = {}
        for pid in await self._old_workers(self._switch.master):
            ask = partial(Connection.ask_or_cut, command=f"@!{pid} {command}")
            reply = await self._in_old_worker(self._switch.master, pid, ask)
            if reply is not None:
                replies[pid] = reply
        return replies

    async def _old_workers(self, master: str) -> list[int]:
        async with connect(master, MASTER, self._limits) as connection:
            return parse_old_workers(await connection.ask("show proc"))

    async def _in_old_worker(self, master: str, pid: int, work: Callable[[Connection], Awaitable[T]]) -> T | None:
        """What ``work`` returns; None when the worker has ended, and its sessions with it."""
        for _ in range(_OLD_TRIES):
            try:
                async with connect(master, MASTER, self._limits) as connection:
                    return await work(connection)
            except Cut:
                if pid not in await self._old_workers(master):
                    return None
            await asyncio.sleep(_OLD_PAUSE)
        raise UnreachableError(
            f"cannot ask old HAProxy worker {pid} at {master}: the master closes the connection",
            remedy="look at that process; it may still hold sessions",
        )

    async def _refuse_hidden_workers(self, connection: Connection) -> None:
        if self._switch.master is not None or not is_path(self._switch.socket):
            return
        pid = re.search(r"^Pid: (\d+)$", await connection.ask("show info"), re.MULTILINE)
        hidden = older_workers(int(pid[1])) if pid else []
        if hidden:
            raise UnfitError(
                f"cannot list all sessions of HAProxy at {self._switch.socket}: after a reload old workers "
                f"({', '.join(map(str, hidden))}) still run and may hold some",
                remedy="start HAProxy with -S, and name that socket as 'master' in the inventory",
            )


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UnfitError(
            f"cannot use {name!r} as a name in HAProxy",
            remedy="use letters, digits, '-', '_', '.' and ':' only",
        )


def _takes(intakes: Mapping[str, Intake]) -> bool:
    return any(intake.share_weight for intake in intakes.values())


def _joined(said: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(f"'{line}'" for line in said))


def _session(stream: Stream, process: str) -> Session:
    return Session(
        id=f"{process}{stream.pointer}/{stream.number}",
        client=stream.client,
        member=stream.server,
        age=stream.age,
        bytes_to_client=stream.bytes_to_client,
        bytes_to_member=stream.bytes_to_member,
    )
