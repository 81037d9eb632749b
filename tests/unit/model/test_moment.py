"""Moments as people write them, on a machine in Berlin."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from orchestrator.model.moment import format_moment, format_moments, parse_moment, timestamp

NOW = datetime(2026, 11, 22, 22, 30, tzinfo=UTC).timestamp()
"""23:30 in Berlin."""


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("04:00", "2026-11-23T03:00:00.000Z"),
        ("23:31", "2026-11-22T22:31:00.000Z"),
        ("23:30", "2026-11-23T22:30:00.000Z"),
        ("2h", "2026-11-23T00:30:00.000Z"),
        (" 1h30m ", "2026-11-23T00:00:00.000Z"),
        ("2026-11-23T04:00:00Z", "2026-11-23T04:00:00.000Z"),
        ("2026-11-23T04:00:00+01:00", "2026-11-23T03:00:00.000Z"),
    ],
)
def test_a_moment_is_read(text: str, moment: str) -> None:
    """A time of day is the next such local moment, a duration counts from now, and a date has its zone."""
    assert timestamp(parse_moment(text, NOW)) == moment


def test_a_time_of_day_knows_the_change_of_clocks() -> None:
    """Ten in the morning is ten in the morning, also on the day on which the clocks are put back."""
    evening = datetime(2026, 10, 24, 20, 0, tzinfo=UTC).timestamp()  # 22:00, an hour of offset more than the next day
    assert timestamp(parse_moment("10:00", evening)) == "2026-10-25T09:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("soon", "'soon' is no moment"),
        ("", "'' is no moment"),
        ("25:00", "'25:00' is no time of day"),
        ("2026-11-23", "'2026-11-23' has no time zone"),
        ("2026-11-23T04:00:00", "'2026-11-23T04:00:00' has no time zone: end it with Z"),
        ("2026-13-23T04:00:00Z", "is no moment"),
        ("2020-01-01T00:00:00Z", "is over already"),
        ("0s", "'0s' is over already"),
        ("400d", "is more than a year away"),
        ("1000000000000d", "is no moment"),
    ],
)
def test_what_is_no_moment_is_said(text: str, why: str) -> None:
    """Each mistake is named, with how to write it."""
    with pytest.raises(ValueError, match=r"04:00|with Z") as error:
        parse_moment(text, NOW)
    assert why in str(error.value)


def test_a_moment_is_shown_as_local_time() -> None:
    """Within half a day the time of day is enough, with seconds where they matter; else the date and zone are there."""
    at = parse_moment("04:00", NOW)
    assert format_moment(at, NOW) == "04:00"
    assert format_moment(at, at - 60) == format_moment(at, at + 60) == "04:00:00"
    assert format_moment(at, NOW - 24 * 3600) == "2026-11-23 04:00 CET"
    assert format_moment(at) == "2026-11-23 04:00 CET"
    assert timestamp(None) is None


def test_moments_of_one_line_are_all_as_precise() -> None:
    """Where the seconds of one of them matter all have them."""
    at = parse_moment("04:00", NOW)
    assert format_moments([at, at - 1800], NOW) == ["04:00", "03:30"]
    assert format_moments([at, at - 1800], at - 1860) == ["04:00:00", "03:30:00"]
