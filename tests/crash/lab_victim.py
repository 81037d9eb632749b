"""The real command line on real parts, killed before or after one of its writes.

A write is one transaction of the journal, one command to HAProxy that changes something, one file of HAProxy's state,
one request that changes a gate, or one flush of a queue: as fine as they go over the wire. What is tampered with here
is only where the process ends; everything else is the product.
"""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from orchestrator.adapters import haproxy
from orchestrator.adapters.haproxy import HaproxyDriver
from orchestrator.adapters.haproxy_socket import Connection
from orchestrator.adapters.haproxy_state_file import save
from orchestrator.adapters.postfix_policy import ControlSocket, GateStatus
from orchestrator.adapters.postfix_queue import PostfixMailQueue
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.journal import Entry
from orchestrator.model.traffic import Session

JOURNAL: Final = "journal"
CLOSES: Final = "closes session"
"""What a line begins with that tells which session HAProxy is told to close."""

KILLED: Final = "killed"
"""What the last line of a process begins with."""

_SHUTDOWN: Final = "shutdown session"
_SETS: Final = re.compile(r"set server \S+ (weight|state)")
_closing: ContextVar[Session] = ContextVar("closing")


class Side(StrEnum):
    """Where, around a write, the process dies."""

    BEFORE = "before"
    AFTER = "after"


class Death(NamedTuple):
    """Where a process is killed."""

    what: str
    """The write's name: what it is, and the how manieth of that kind in this process."""
    side: Side


class Points:
    """Names the writes of one process in a file, and kills it where its ``death`` is."""

    def __init__(self, death: Death | None, log: Path) -> None:
        self._death = death
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._seen: Counter[str] = Counter()

    def name(self, what: str) -> str:
        """A name that is given once."""
        self._seen[what] += 1
        return what if self._seen[what] == 1 else f"{what} #{self._seen[what]}"

    def note(self, line: str) -> None:
        """Leave a line that outlives the process."""
        os.write(self._log, f"{line}\n".encode())

    @contextmanager
    def write(self, *names: str) -> Iterator[None]:
        """A write that goes by these names: its first is the one by which others find it."""
        self.note(names[0])
        self._at(Side.BEFORE, names)
        yield
        self._at(Side.AFTER, names)

    def _at(self, side: Side, names: Sequence[str]) -> None:
        if self._death is not None and self._death.side is side and self._death.what in names:
            self.note(f"{KILLED} {side} {self._death.what}")
            os.kill(os.getpid(), signal.SIGKILL)


def tamper(death: Death | None, log: Path) -> None:
    """Put points around every write of this process, and let it die at one of them. Its writes are named in ``log``."""
    points = Points(death, log)
    _journal(points)
    _haproxy(points)
    _gates(points)
    _queues(points)


def _journal(points: Points) -> None:
    create, take, append_all = SqliteJournal.create, SqliteJournal.take, SqliteJournal.append_all

    def creates(self: SqliteJournal, run: str, plan: str, runbook: str, at: float) -> None:
        with points.write(points.name(f"{JOURNAL} create")):
            create(self, run, plan, runbook, at)

    def takes(self: SqliteJournal, run: str) -> int:
        with points.write(points.name(f"{JOURNAL} take")):
            return take(self, run)

    def appends(self: SqliteJournal, entries: Sequence[Entry]) -> Sequence[Entry]:
        if not entries:
            return append_all(self, entries)
        with points.write(*_names(points, entries)):
            return append_all(self, entries)

    SqliteJournal.create = creates  # type: ignore[method-assign]
    SqliteJournal.take = takes  # type: ignore[method-assign]
    SqliteJournal.append_all = appends  # type: ignore[method-assign]


def _names(points: Points, entries: Sequence[Entry]) -> list[str]:
    """A transaction goes by what it says; one with nothing but progress by that."""
    said = [entry for entry in entries if entry.kind != "progress"] or entries[:1]
    return [points.name(_name(entry)) for entry in said]


def _name(entry: Entry) -> str:
    data = entry.data
    match entry.kind:
        case "run" | "step":
            detail = f"{data['status']}"
        case "intent":
            detail = f"{data['direction']} {data['waypoint']}"
        case "outcome":
            detail = f"{data['result']}"
        case "verdict":
            detail = f"{data['check']} {data['gate']}"
        case _:
            detail = ""
    return " ".join(part for part in (JOURNAL, entry.kind, entry.step, detail.strip()) if part)


def _haproxy(points: Points) -> None:
    exchange, shut = Connection._exchange, HaproxyDriver._shut

    async def exchanges(self: Connection, line: str, whole: Callable[[bytearray], bool]) -> bytes:
        what = _changed(line)
        if what is None:
            return await exchange(self, line, whole)
        with points.write(points.name(what)):
            if what == _SHUTDOWN:
                points.note(f"{CLOSES} {_closing.get().id} of {_closing.get().client}")
            return await exchange(self, line, whole)

    async def shuts(self: HaproxyDriver, connection: Connection, session: Session, worker: str, pointer: str) -> None:
        _closing.set(session)
        await shut(self, connection, session, worker, pointer)

    async def saves(ask: Callable[[str], Awaitable[str]], path: str) -> None:
        with points.write(points.name("save HAProxy's state")):
            await save(ask, path)

    Connection._exchange = exchanges  # type: ignore[method-assign]
    HaproxyDriver._shut = shuts  # type: ignore[method-assign]
    vars(haproxy)["save"] = saves


def _changed(line: str) -> str | None:
    """What a line of commands changes in HAProxy; None where nothing."""
    if _SHUTDOWN in line:
        return _SHUTDOWN
    kinds = sorted(set(_SETS.findall(line)))
    return f"set server {' and '.join(kinds)}" if kinds else None


def _gates(points: Points) -> None:
    ask = ControlSocket.ask

    async def asks(self: ControlSocket, request: Mapping[str, Any]) -> GateStatus:
        if request["do"] not in {"close", "open", "turn-away"}:
            return await ask(self, request)
        with points.write(points.name(f"gate {request['do']}")):
            return await ask(self, request)

    ControlSocket.ask = asks  # type: ignore[method-assign]


def _queues(points: Points) -> None:
    flush = PostfixMailQueue.flush

    async def flushes(self: PostfixMailQueue) -> None:
        with points.write(points.name("queue flush")):
            await flush(self)

    PostfixMailQueue.flush = flushes  # type: ignore[method-assign]
