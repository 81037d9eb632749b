"""The gate of one mail host as a table: a small SQLite file that Postfix looks every sender up in.

No daemon of ours stands in the mail's path. The price: the table sees no transactions, so a drain waits longer before
it may close a session; and a table that is *lost* does not fail open, Postfix answers 451 (access(5)) until it is back.

The table needs two files. The database is made once, with ``SCHEMA`` (``prepare`` does it), before Postfix starts::

    sqlite3 /var/lib/failover-gate/gate.sqlite < schema.sql

and beside it the sqlite_table(5) file, ``/var/lib/failover-gate/gate.cf``, exactly as ``table_text`` writes it::

    dbpath = /var/lib/failover-gate/gate.sqlite
    query = SELECT CASE WHEN EXISTS (SELECT 1 FROM spare WHERE sender = '%s') THEN 'DUNNO' ELSE action END …

main.cf then begins ``smtpd_sender_restrictions`` with ``check_sender_access sqlite:/var/lib/failover-gate/gate.cf`` and
has ``smtpd_delay_reject = no``.

access(5) looks up user@domain, then the domain and its parents, then user@. While closed the query answers the *first*
of these for every sender, ``<>`` too: 421, or for a spared sender DUNNO, which ends the search. So no partial key is
ever reached. Postfix folds keys to lower case before it asks.

**Why it is written without locks.** Postfix sets no busy timeout: an smtpd that looks up while SQLite commits gets
SQLITE_BUSY, and Postfix 3.7 ends that process with its session ("SQL finalize failed"); when it was a new one, master
starts no other for a minute. WAL mode has the same trouble where two processes open the file at once. So we write with
the VFS ``unix-none``: in place, a whole page at a time, and never more than one leaf page of a table. A reader in
between sees the old row or the new one. One that kept an old page under the new change counter is put right by a
second, empty change (``_REFRESH``). The file is never replaced, because smtpd keeps it open, in its chroot too.
"""

from __future__ import annotations

import shlex
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from orchestrator.adapters.command import CommandRunner
from orchestrator.adapters.policy_service import MOVING
from orchestrator.adapters.postfix_config import modified, read_settings, require_map
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.inventory import MapGate
from orchestrator.model.traffic import GateReading

SCHEMA: Final = (
    "PRAGMA journal_mode = DELETE;\n"
    "BEGIN IMMEDIATE;\n"
    "CREATE TABLE IF NOT EXISTS gate\n"
    "  (one INTEGER PRIMARY KEY CHECK (one = 1), closed INTEGER NOT NULL, action TEXT NOT NULL);\n"
    "CREATE TABLE IF NOT EXISTS spare (sender TEXT PRIMARY KEY);\n"
    f"INSERT OR IGNORE INTO gate VALUES (1, 0, '{MOVING}');\n"
    "COMMIT;\n"
)
QUERY: Final = (
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM spare WHERE sender = '%s') "
    "THEN 'DUNNO' ELSE action END FROM gate WHERE closed"
)
_STATE: Final = "SELECT 'closed=' || closed FROM gate UNION ALL SELECT 'spare=' || sender FROM spare;"
_REFRESH: Final = "PRAGMA user_version = 1;\n"
_CAREFULLY: Final = "PRAGMA journal_mode = MEMORY;\n"
_UNLOCKED: Final = ("-vfs", "unix-none")
_SPARE_BYTES: Final = 2000  # all spared senders together: they must stay on one page


def prepare(database: Path) -> None:
    """Make the database with an open gate; one that is there already stays as it is."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript(SCHEMA)


def table_text(database: str) -> str:
    """The sqlite_table(5) file for a database."""
    return f"dbpath = {database}\nquery = {QUERY}\n"


def table_path(gate: MapGate) -> str:
    """Where the sqlite_table(5) file lies."""
    return gate.table or f"{gate.database.removesuffix('.sqlite')}.cf"


@dataclass(frozen=True, slots=True)
class _State:
    closed: bool
    spare: tuple[str, ...]

    def script(self) -> str:
        """The SQL that brings a database here, all of it or nothing."""
        spared = [f"INSERT INTO spare VALUES ({_quoted(sender)});" for sender in self.spare]  # noqa: S608 - quoted
        gate = f"UPDATE gate SET closed = {int(self.closed)}, action = {_quoted(MOVING)};"  # noqa: S608 - quoted
        return "\n".join(["BEGIN;", "DELETE FROM spare;", *spared, gate, "COMMIT;", _REFRESH])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _state(host: str, lines: Sequence[str]) -> _State:
    match [line.partition("=")[2] for line in lines if line.startswith("closed=")]:
        case ["0" | "1" as closed]:
            spare = [line.partition("=")[2] for line in lines if line.startswith("spare=")]
            return _State(closed=closed == "1", spare=tuple(sorted(spare)))
    raise UnfitError(
        f"cannot read the gate of {host}: its database has no state",
        remedy="make it with 'failover gate config --driver postfix-map'",
    )


class _Database:
    """The gate's database, worked with sqlite3(1) on its host."""

    def __init__(self, commands: CommandRunner, database: str) -> None:
        self._commands = commands
        self._name = f"file:{quote(database)}?mode=rw"  # never make an empty one

    async def select(self, query: str) -> list[str]:
        """The lines that a query gives."""
        return (await self._run(query)).splitlines()

    async def change(self, script: str) -> None:
        """Run SQL that selects nothing, without a lock."""
        await self._run(_CAREFULLY + script, *_UNLOCKED)

    def by_hand(self, script: str) -> str:
        """What a person types to change it as ``change`` does."""
        statements = " ".join((_CAREFULLY + script).splitlines())
        return self._commands.by_hand(shlex.join(["sqlite3", "-batch", "-bail", *_UNLOCKED, self._name, statements]))

    async def _run(self, script: str, *options: str) -> str:
        return await self._commands.run(["sqlite3", "-batch", "-bail", "-list", *options, self._name], stdin=script)


class MapGateDriver:
    """A ``MailGate`` that Postfix reads out of a table."""

    def __init__(
        self,
        host: str,
        gate: MapGate,
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
        self._clock = clock
        self._spare = tuple(sorted({sender.lower() for sender in spare}))
        if sum(len(sender) + 10 for sender in self._spare) > _SPARE_BYTES:
            raise UnfitError(f"cannot spare {len(self._spare)} senders at {host}: the table takes some 40 of them")
        self._table = table_path(gate)
        self._database = _Database(commands, gate.database)
        self._configured: float | None = None

    async def read(self) -> GateReading:
        """See ``MailGate.read``; the settings of Postfix are read the first time only."""
        since = await self._configured_since()
        return GateReading(closed=(await self._state()).closed, since=since, sees_transactions=False)

    async def look(self) -> GateReading:
        """As ``read``: the table sees no transactions."""
        return await self.read()

    async def turn_away(self, client: str, number: int | None) -> bool:
        """Never: a table that is asked for the sender does not know the client."""
        return False

    async def set_closed(self, closed: bool) -> None:
        """See ``MailGate.set_closed``; read back both from the database and through Postfix's own lookup."""
        wanted = _State(closed, self._spare if closed else ())
        await self._database.change(wanted.script())
        if await self._state() != wanted:
            raise self._not_done(closed, "it was changed again at once")
        for key, answer in (("<>", MOVING), *((sender, "DUNNO") for sender in wanted.spare[:1])):
            seen = await self._lookup(key)
            if seen != (answer if closed else ""):
                raise self._not_done(closed, f"Postfix finds {seen or 'nothing'!r} for {key} in {self._table}")

    def by_hand(self, closed: bool) -> Sequence[str]:
        """See ``MailGate.by_hand``."""
        return [self._database.by_hand(_State(closed, self._spare if closed else ()).script())]

    async def _state(self) -> _State:
        return _state(self._host, await self._database.select(_STATE))

    async def _lookup(self, key: str) -> str:
        lookup = ["postmap", "-c", self._gate.config, "-q", key, f"sqlite:{self._table}"]
        return (await self._commands.run(lookup, accept=(0, 1))).strip()

    def _not_done(self, closed: bool, why: str) -> RejectedError:
        return RejectedError(
            f"cannot {'close' if closed else 'open'} the gate of {self._host}: {why}",
            remedy=f"see who else changes {self._gate.database}, and that {self._table} reads it",
        )

    async def _configured_since(self) -> float:
        if self._configured is None:
            settings = await read_settings(self._commands, self._gate.config)
            require_map(settings, self._table)
            await self._require_table()
            await self._require_database()
            changed = max(settings.changed, await modified(self._commands, self._table))
            self._configured = changed + await self._behind()
        return self._configured

    async def _behind(self) -> float:
        """Seconds by which the host's clock is behind ours, never too few: its answer's way counts as well."""
        if not self._commands.remote:
            return 0.0
        there = await self._commands.run(["date", "+%s.%N"])
        try:
            return self._clock() - float(there)
        except ValueError as error:
            raise RejectedError(
                f"cannot tell the time of {self._host}: date(1) there says {there.strip()!r}"
            ) from error

    async def _require_database(self) -> None:
        mode = await self._database.select("PRAGMA journal_mode;")
        if mode != ["delete"]:
            raise UnfitError(
                f"cannot gate {self._host}: {self._gate.database} has journal mode {' '.join(mode)}, in which a change "
                "can end Postfix's processes",
                remedy=f"stop Postfix there, run: sqlite3 {self._gate.database} 'PRAGMA journal_mode = DELETE'",
            )

    async def _require_table(self) -> None:
        wanted = table_text(self._gate.database)
        present = await self._commands.run(["cat", self._table])
        if _entries(present) != _entries(wanted):
            raise UnfitError(
                f"cannot gate {self._host}: {self._table} does not read the gate's database as it must",
                remedy=f"write into it, and run 'postfix -c {self._gate.config} reload':\n{wanted.rstrip()}",
            )


def _entries(text: str) -> dict[str, str]:
    """The settings of a sqlite_table(5) file, whatever its comments and spaces."""
    lines = (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): " ".join(value.split()) for name, _, value in lines if name.strip()}
