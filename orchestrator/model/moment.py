"""Moments as people write and read them, in this machine's time zone; inside the program they are Unix time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from orchestrator.model.units import parse_duration

_NEAR: Final = 12 * 3600.0
"""Seconds: a time of day means one moment only within half a day."""

_CLOSE: Final = 900.0
"""Seconds: so near to a moment its seconds matter."""

_FARTHEST: Final = 366 * 86400.0
"""Seconds: nobody plans a window more than a year ahead, so what is written so is a mistake."""

_EXAMPLES: Final = "write a time of day as 04:00, a duration as 2h, or a date and time as 2026-11-23T04:00:00Z"


def parse_moment(text: str, now: float) -> float:
    """Unix time of ``04:00`` (the next such moment, local), ``2h`` (from now), or ``2026-11-23T04:00:00Z`` (RFC 3339).

    ``now`` is Unix time.

    Raises:
        ValueError: the text is no moment, or one that is over or more than a year away.
    """
    text = text.strip()
    at = _next(text, now) if re.fullmatch(r"[0-9]{1,2}:[0-9]{2}", text) else _at(text, now)
    if at <= now:
        raise ValueError(f"{text!r} is over already: {_EXAMPLES}")
    if at > now + _FARTHEST:
        raise ValueError(f"{text!r} is more than a year away: {_EXAMPLES}")
    return at


def format_moment(at: float, now: float | None = None) -> str:
    """The local time: ``04:00`` within half a day of ``now``, near it with seconds, else with its date and zone."""
    return _shown(at, now, seconds=now is not None and abs(at - now) < _CLOSE)


def format_moments(moments: Sequence[float], now: float) -> list[str]:
    """The moments of one line, each as by ``format_moment``, but all with seconds where one of them has."""
    seconds = any(abs(at - now) < _CLOSE for at in moments)
    return [_shown(at, now, seconds=seconds) for at in moments]


def format_day(at: float) -> str:
    """The local date: ``2026-11-23``."""
    return f"{_local(at):%Y-%m-%d}"


def format_zone(at: float) -> str:
    """The name of the local time zone at that moment: ``CET``."""
    return f"{_local(at):%Z}"


def _shown(at: float, now: float | None, *, seconds: bool) -> str:
    time = f"{_local(at):%H:%M:%S}" if seconds else f"{_local(at):%H:%M}"
    if now is None or abs(at - now) >= _NEAR:
        return f"{format_day(at)} {time} {format_zone(at)}"
    return time


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone()


def timestamp(at: float | None) -> str | None:
    """Unix time as RFC 3339 in UTC, to the millisecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _next(text: str, now: float) -> float:
    hour, minute = map(int, text.split(":"))
    today = datetime.fromtimestamp(now, UTC).astimezone().replace(tzinfo=None)  # so that a change of clocks counts
    try:
        moment = today.replace(hour=hour, minute=minute, second=0, microsecond=0)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time of day: {_EXAMPLES}") from error
    at = moment.timestamp()
    return at if at > now else (moment + timedelta(days=1)).timestamp()


def _at(text: str, now: float) -> float:
    if not re.match(r"[0-9]{4}-", text):
        try:
            return now + parse_duration(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is no moment: {_EXAMPLES}") from error
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no moment: {_EXAMPLES}") from error
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: end it with Z, or with an offset as +01:00")
    return moment.timestamp()
