"""What HAProxy's Runtime API says, as values. Strict: text that is not understood is an error, never a guess.

Source: HAProxy Management Guide, 9.1 "CSV format", 9.3 "show servers state", "show sess", 9.4 "show proc".
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from orchestrator.errors import UnfitError
from orchestrator.model.traffic import Admin, Intake

_FORCED_MAINT: Final = 0x01
_INHERITED_MAINT: Final = 0x02
_FORCED_DRAIN: Final = 0x08
_INHERITED_DRAIN: Final = 0x10
_UNRESOLVED: Final = 0x20
_MAINT: Final = _FORCED_MAINT | _INHERITED_MAINT | _UNRESOLVED
_DRAIN: Final = _FORCED_DRAIN | _INHERITED_DRAIN
"""srv_admin_state. 0x04 only remembers that the configuration said 'disabled'; 0x40 concerns the name."""

_STARTING: Final = 1
_RUNNING: Final = 2
"""srv_op_state; 0 is stopped, 3 is stopping: its health check asks for no new sessions."""

_CHECK_CONFIGURED: Final = 0x02
_PASSED: Final = 3
"""srv_check_state and srv_check_result."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server, as ``show servers state`` has it."""

    backend: str
    name: str
    intake: Intake
    up: bool
    """What its health check says; in maintenance, when nothing is checked, what it said last."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One session of a server, as ``show sess all`` has it."""

    pointer: str
    """What HAProxy calls it; used again for another session as soon as this one is gone."""
    number: int
    """Counts the sessions of one process, so that pointer and number together name a session for ever."""
    client: str
    backend: str
    server: str
    age: float
    bytes_to_member: int
    bytes_to_client: int


def parse_servers(text: str) -> list[Server]:
    """The servers in a reply to ``show servers state``, of one backend or of all.

    Raises:
        UnfitError: the text is in another format than version 1.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or lines[0] != "1" or not lines[1].startswith("# "):
        raise _unreadable("show servers state", text)
    columns = lines[1][2:].split()
    try:
        return [_server(dict(zip(columns, line.split(), strict=True))) for line in lines[2:]]
    except (KeyError, ValueError) as error:
        raise _unreadable("show servers state", text) from error


def _server(row: Mapping[str, str]) -> Server:
    bits = int(row["srv_admin_state"])
    admin: Admin = "maint" if bits & _MAINT else "drain" if bits & _DRAIN else "ready"
    if admin == "maint":
        up = not int(row["srv_check_state"]) & _CHECK_CONFIGURED or int(row["srv_check_result"]) == _PASSED
    else:
        up = int(row["srv_op_state"]) in {_STARTING, _RUNNING}
    intake = Intake(weight=int(row["srv_uweight"]), admin=admin)
    return Server(row["be_name"], row["srv_name"], intake, up)


def parse_session_counts(text: str, backend: str) -> dict[str, int]:
    """The current sessions (scur) of each server of ``backend``, from a reply to ``show stat``.

    Raises:
        UnfitError: the text is not HAProxy's CSV.
    """
    return _numbers(text, backend, "scur")


def parse_backups(text: str, backend: str) -> frozenset[str]:
    """The servers of ``backend`` that are backups (bck), from a reply to ``show stat``.

    Raises:
        UnfitError: the text is not HAProxy's CSV.
    """
    return frozenset(name for name, is_backup in _numbers(text, backend, "bck").items() if is_backup)


def _numbers(text: str, backend: str, column: str) -> dict[str, int]:
    """One column of ``show stat`` for each server of ``backend``."""
    if not text.startswith("# pxname,svname,"):
        raise _unreadable("show stat", text)
    rows = csv.DictReader(text[2:].strip().splitlines())
    try:
        return {
            row["svname"]: int(row[column])
            for row in rows
            if row["pxname"] == backend and row["svname"] not in {"FRONTEND", "BACKEND"}
        }
    except (KeyError, ValueError, TypeError) as error:
        raise _unreadable("show stat", text) from error


def parse_old_workers(text: str) -> list[int]:
    """The process ids of old workers that still run, from a reply to ``show proc``.

    Raises:
        UnfitError: the text is no list of processes.
    """
    if not text.startswith("#<PID>"):
        raise _unreadable("show proc", text)
    section = ""
    found = []
    for line in text.splitlines()[1:]:
        if line.startswith("#"):
            section = line.strip("# ")
        elif section == "old workers" and line.strip():
            row = re.match(r"(\d+)\s+worker\s", line)
            if row is None:
                raise _unreadable("show proc", text)
            found.append(int(row[1]))
    return found


def parse_streams(text: str, backend: str) -> list[Stream]:
    """The sessions that servers of ``backend`` carry, from a reply to ``show sess all`` or ``show sess 0x…``.

    Sessions that still wait for a server are left out. An age is exact where the newest of all listed sessions
    has just begun; with ``show sess all`` on a fresh connection that one is the asker's own.

    Raises:
        UnfitError: the text lacks something that HAProxy 2.6 says.
    """
    try:
        records = [(_began(record), record) for record in _records(text)]
        newest = max((began for began, _ in records), default=datetime.min)  # noqa: DTZ901 - as parse_date
        streams = [_stream(record, newest - began) for began, record in records if _is_of(backend, record)]
    except ValueError as error:
        raise _unreadable("show sess", text) from error
    return [stream for stream in streams if stream.server.upper() != "<NONE>"]


_RECORD: Final = re.compile(r"^(?=0x[0-9a-f]+: )", re.MULTILINE)
_DATE_AT: Final = re.compile(r"0x[0-9a-f]+: \[([^\]]+)\] id=")
_STREAM: Final = re.compile(
    r"(?P<pointer>0x[0-9a-f]+): \[[^\]]+\] id=(?P<number>\d+) proto=\S+ source=(?P<client>\S+)\n"
    r"(?:.*\n)*?  backend=(?P<backend>\S+) .*\n"
    r"(?:.*\n)*?  server=(?P<server>\S+) .*\n"
    r"(?:.*\n)*?  task=.* age=(?P<age>\w+|\?)\)\n"
    r"(?:.*\n)*?  req=.* total=(?P<to_member>\d+)\)"
    r"(?:.*\n)*?  res=.* total=(?P<to_client>\d+)\)"
)
"""One expression for all, matched record by record: 1,000 sessions in 13 ms, as a drain looks ten times a second."""


def _records(text: str) -> Iterator[str]:
    for part in _RECORD.split(text):
        if part.strip() and not part.startswith("0x"):
            raise ValueError(part)
        if part.strip() and "session terminated while we were watching it" not in part:
            yield part


def _is_of(backend: str, record: str) -> bool:
    if "\n  backend=" not in record:
        raise ValueError(record)
    return f"\n  backend={backend} " in record


def _began(record: str) -> datetime:
    match = _DATE_AT.match(record)
    if match is None:
        raise ValueError(record)
    return parse_date(match[1])


def _stream(record: str, before_newest: timedelta) -> Stream:
    match = _STREAM.match(record)
    if match is None:
        raise ValueError(record)
    return Stream(
        pointer=match["pointer"],
        number=int(match["number"]),
        client=match["client"],
        backend=match["backend"],
        server=match["server"],
        age=_exact_age(match["age"], before_newest.total_seconds()),
        bytes_to_member=int(match["to_member"]),
        bytes_to_client=int(match["to_client"]),
    )


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE: Final = re.compile(r"(\d\d)/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d)\.(\d{6})")


def parse_date(text: str) -> datetime:
    """A date as HAProxy's logs have it, ``22/Nov/2026:14:34:01.019388``, in HAProxy's own time zone.

    Raises:
        ValueError: the text is no such date.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a date of HAProxy's")
    day, month, year, hour, minute, second, micro = match.groups()
    return datetime(  # noqa: DTZ001 - only differences are used, and _exact_age bounds what a changed zone can do
        int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), int(micro)
    )


_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_age(text: str) -> tuple[float, float]:
    """The least and the greatest age in seconds that ``5s``, ``1m2s``, ``3h5m`` or ``2d4h`` stands for.

    HAProxy writes two units and cuts the rest off: what it calls 3h5m may be anything up to 3h6m. And it takes
    the difference of whole seconds: what it calls 1s may have begun a moment ago, just before the second turned.
    It writes ``?`` for less than nothing: its threads' clocks differ by a moment, and the session has just begun.

    Raises:
        ValueError: the text is no age.
    """
    if text == "?":
        return 0.0, 1.0
    if re.fullmatch(r"(?:\d+[dhms])+", text) is None:
        raise ValueError(f"{text!r} is not an age of HAProxy's")
    parts = [(int(number), unit) for number, unit in re.findall(r"(\d+)([dhms])", text)]
    least = sum(number * _UNITS[unit] for number, unit in parts)
    rest = {"d": 3600, "h": 60, "m": 1, "s": 1}[parts[0][1]]
    return float(max(least - 1, 0)), float(least + rest)


def _exact_age(text: str, by_dates: float) -> float:
    """The age by HAProxy's two dates, kept within what it says itself (clocks and time zones can jump)."""
    least, greatest = parse_age(text)
    return min(max(by_dates, least), greatest)


def _unreadable(command: str, text: str) -> UnfitError:
    begin = " ".join(text[:80].split())
    return UnfitError(
        f"cannot read HAProxy's answer to '{command}': it begins with {begin!r}",
        remedy="this was written for HAProxy 2.6; with that version or a later one it is worth a bug report",
    )
