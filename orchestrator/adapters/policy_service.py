"""The gate as a service: Postfix asks it at MAIL FROM and at the end of the data, an operator closes and opens it.

Here are its decisions and its memory; ``policy_server`` puts it on its sockets. One process for each mail host, in the
mail's path, so it is small, starts fast and imports nothing heavy.

**Towards Postfix** (SMTPD_POLICY_README: lines ``name=value``, an empty line; the reply is ``action=…``):

* ``protocol_state=MAIL``: while closed 421, for spared senders and while open DUNNO. An action that begins with 421
  makes Postfix hang up after its reply (access(5)). Every transaction that passes is remembered as ``open``.
* ``protocol_state=END-OF-MESSAGE``: DUNNO, and the transaction is ``committing``. Postfix asks before it commits.
* Anything else: DUNNO. So a transaction that was open when the gate closed goes on to its 250.

Clients are named ``address:port`` without brackets around IPv6 addresses, because that is how HAProxy's ``show sess``
writes ``src=``, with which the names are joined.

**Towards the operator**: one JSON object a line; the reply is one line, ``{"ok":true,…}`` or
``{"ok":false,"error":"…"}``.

* ``{"do":"read"}``
* ``{"do":"close","spare":["probe@example.com"]}``, ``{"do":"open"}``
* ``{"do":"look"}``: as read, and while one look follows another, the end of a message is not answered before the second
  look that comes after it, so that its 250 is not out when the switch's byte counts are read after the first.
* ``{"do":"turn-away","client":"192.0.2.7:40001","number":7}``: 421 at that client's next MAIL, unless its last event is
  not number 7 any more. Number 0 stands for a client without events; null asks for nothing.

**What is kept**: closed or open and the spared senders, in a file, so that a restart leaves a closed gate closed. The
transactions are not: ``since`` says from when on this process has seen all of them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestrator.errors import FailoverError, RefusedError

MOVING: Final = "421 4.3.2 Service moving to another site, please reconnect"
"""What a client hears at MAIL FROM while the gate is closed (RFC 5321, 3.8; RFC 3463, 4.3.2)."""

_DUNNO: Final = "DUNNO"
_FORGET_AFTER: Final = 2 * 3600.0  # far above smtpd_timeout (300 s): such a session says nothing, or is long gone
_KEEP_AT_MOST: Final = 100_000  # some 40 MB; a host with that many live sessions is beyond Postfix anyway
_SPARE_AT_MOST: Final = 1000
_HOLD_AT_MOST: Final = 0.45  # half of the timeout after which Postfix would go on by itself


@dataclass(slots=True)
class _Seen:
    """The last event of one client. ``asker`` is the connection, so the smtpd process, that told of it."""

    asker: int
    moment: float
    number: int
    text: str


class TransactionTable:
    """The last event of every client, ordered by event, bounded in age and number."""

    def __init__(self, *, keep_at_most: int = _KEEP_AT_MOST, forget_after: float = _FORGET_AFTER) -> None:
        self._seen: dict[str, _Seen] = {}
        self._last_client: dict[int, str] = {}
        self._number = 0
        self._keep_at_most = keep_at_most
        self._forget_after = forget_after

    def record(self, client: str, stage: str, *, asker: int, at: float, moment: float) -> bool:
        """Note an event; false when another client had to be forgotten though it may still be there.

        Args:
            client: ``address:port``.
            stage: ``open`` or ``committing``.
            asker: which connection of Postfix asks.
            at: Unix time.
            moment: monotonic time.
        """
        self._leave_previous(client, asker)
        self._number += 1
        text = f"{json.dumps(client)}:{json.dumps([stage, round(at, 3), round(moment, 3), self._number])}"
        self._seen.pop(client, None)
        self._seen[client] = _Seen(asker, moment, self._number, text)
        self._forget_old(moment)
        if len(self._seen) <= self._keep_at_most:
            return True
        del self._seen[next(iter(self._seen))]
        return False

    def leave(self, asker: int) -> None:
        """The connection has gone. What it told stays: the smtpd process may go on over a new one."""
        self._last_client.pop(asker, None)

    def text(self, moment: float) -> str:
        """The table as JSON: client to [stage, Unix time, monotonic time, number of the event]."""
        self._forget_old(moment)
        return "{" + ",".join(seen.text for seen in self._seen.values()) + "}"

    def number(self, client: str) -> int:
        """The number of the client's last event; 0 when none is known."""
        seen = self._seen.get(client)
        return seen.number if seen else 0

    def __len__(self) -> int:
        return len(self._seen)

    def _leave_previous(self, client: str, asker: int) -> None:
        # An smtpd process serves one client at a time and keeps a connection of its own to us: when it tells of
        # another client, the session of the one before is over.
        previous = self._last_client.get(asker)
        self._last_client[asker] = client
        if previous in (None, client):
            return
        seen = self._seen.get(previous)
        if seen is not None and seen.asker == asker:
            del self._seen[previous]

    def _forget_old(self, moment: float) -> None:
        before = moment - self._forget_after
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest].moment >= before:
                return
            del self._seen[oldest]


@dataclass(frozen=True, slots=True)
class GateState:
    """What outlives the process."""

    closed: bool = False
    spare: tuple[str, ...] = ()


class StateFile:
    """Where the state is kept: replaced as a whole, on disk when ``write`` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> GateState:
        """The state; open when there is no file yet.

        Raises:
            RefusedError: there is a file that cannot be read or understood.
        """
        try:
            data = json.loads(self._path.read_text())
            return GateState(closed=bool(data["closed"]), spare=_senders(data["spare"]))
        except FileNotFoundError:
            return GateState()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RefusedError(
                f"cannot tell whether the gate is closed: {self._path}: {error}",
                remedy="remove the file to start with an open gate",
            ) from error

    def write(self, state: GateState) -> None:
        """Keep the state.

        Raises:
            RefusedError: it cannot be written.
        """
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        try:
            with beside.open("w") as file:
                json.dump({"closed": state.closed, "spare": state.spare}, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise RefusedError(
                f"cannot keep the gate's state: {error}", remedy="let the service write in that folder, with space left"
            ) from error


def _senders(given: object) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(sender, str) for sender in given):
        raise ValueError("'spare' must be a list of addresses")
    if len(given) > _SPARE_AT_MOST:
        raise ValueError(f"'spare' has more than {_SPARE_AT_MOST} addresses")
    return tuple(sorted({sender.lower() for sender in given}))


@dataclass(slots=True, eq=False)
class _Held:
    """An end of message whose answer waits for the looks of an operator."""

    reply: Callable[[bytes], None]
    shown: bool = False


@dataclass(slots=True)
class PolicyService:
    """The decisions, free of any socket: answers Postfix's questions and the operator's requests."""

    file: StateFile
    later: Callable[[float, Callable[[], None]], object]
    """Calls something after so many seconds; asyncio's ``call_later``."""
    now: Callable[[], float] = time.time
    moment: Callable[[], float] = time.monotonic
    listen: str = ""
    table: TransactionTable = field(default_factory=TransactionTable)
    state: GateState = field(init=False)
    since: float = field(init=False)
    _held: list[_Held] = field(default_factory=list)
    _watched_until: float = float("-inf")
    _turned_away: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = self.file.read()
        self.file.write(self.state)  # a folder that cannot be written shows now, not in the maintenance window
        self.since = self.now()

    def policy(self, request: bytes, asker: int, reply: Callable[[bytes], None]) -> None:
        """Answer one question of Postfix, now or within half a second."""
        lines = request.decode("utf-8", "surrogateescape").splitlines()
        asked = dict(line.split("=", 1) for line in lines if "=" in line)
        state = asked.get("protocol_state") if asked.get("request") == "smtpd_access_policy" else ""
        if state == "MAIL":
            reply(_action(self._at_mail(asked, asker)))
        elif state == "END-OF-MESSAGE":
            self._record(asked, "committing", asker)
            self._hold(reply)
        else:
            reply(_action(_DUNNO))

    def _at_mail(self, asked: Mapping[str, str], asker: int) -> str:
        turned_away = self._turned_away.pop(_client(asked), None) is not None  # Postfix hangs up: it is done with
        if (self.state.closed or turned_away) and asked.get("sender", "").lower() not in self.state.spare:
            return MOVING
        self._record(asked, "open", asker)
        return _DUNNO

    def _record(self, asked: Mapping[str, str], stage: str, asker: int) -> None:
        client = _client(asked)
        if not client:
            return
        now = self.now()
        if not self.table.record(client, stage, asker=asker, at=now, moment=self.moment()):
            self.since = now  # a transaction may be open of which we know nothing: say so instead of "none"

    def _hold(self, reply: Callable[[bytes], None]) -> None:
        if self.moment() >= self._watched_until:
            reply(_action(_DUNNO))
            return
        held = _Held(reply)
        self._held.append(held)
        self.later(_HOLD_AT_MOST, lambda: self._release(held))

    def _release(self, held: _Held) -> None:
        if held in self._held:
            self._held.remove(held)
            held.reply(_action(_DUNNO))

    def control(self, line: bytes) -> bytes:
        """The reply to one request of the operator; bad input gets an error, never an exception."""
        try:
            request = json.loads(line)
            return self._obey(request if isinstance(request, dict) else {}).encode() + b"\n"
        except FailoverError as error:
            return _refusal(str(error))
        except (ValueError, RecursionError) as error:
            return _refusal(f"cannot do what was asked: {error}")

    def _obey(self, request: Mapping[str, object]) -> str:
        match request:
            case {"do": "read"}:
                return self._reading()
            case {"do": "look"}:
                return self._look()
            case {"do": "turn-away", "client": str(client), "number": None | int() as number}:
                return self._turn_away(client, number)
            case {"do": "close"}:
                return self._become(GateState(closed=True, spare=_senders(request.get("spare", []))))
            case {"do": "open"}:
                self._turned_away.clear()
                return self._become(GateState())
        raise ValueError('ask to read, look, close, open or turn-away, as {"do": "read"}')

    def _reading(self) -> str:
        return f'{self._status()[:-1]},"transactions":{self.table.text(self.moment())}}}'

    def _look(self) -> str:
        for held in [held for held in self._held if held.shown]:
            self._release(held)
        for held in self._held:
            held.shown = True
        self._watched_until = self.moment() + _HOLD_AT_MOST
        return self._reading()

    def _turn_away(self, client: str, number: int | None) -> str:
        agreed = number in (None, self.table.number(client))
        if agreed:
            before = self.moment() - _FORGET_AFTER
            self._turned_away = {name: since for name, since in self._turned_away.items() if since >= before}
            self._turned_away[client] = self.moment()
        return self._status(turned_away=agreed or self.state.closed)

    def _become(self, state: GateState) -> str:
        if state != self.state:
            self.file.write(state)
            self.state = state
        return self._status()

    def _status(self, **more: bool) -> str:
        return json.dumps(
            {
                "ok": True,
                "closed": self.state.closed,
                "spare": self.state.spare,
                "since": self.since,
                "listen": self.listen,
                "time": self.now(),
                "moment": self.moment(),
                **more,
            }
        )


def _client(asked: Mapping[str, str]) -> str:
    """``address:port``, or nothing where Postfix does not know it."""
    address, port = asked.get("client_address", ""), asked.get("client_port", "")
    return f"{address}:{port}" if address and port.isdigit() else ""


def _action(action: str) -> bytes:
    return f"action={action}\n\n".encode()


def _refusal(error: str) -> bytes:
    return json.dumps({"ok": False, "error": error}).encode() + b"\n"
