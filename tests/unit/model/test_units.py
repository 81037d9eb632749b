"""Quantities as people write them: what each text means, and which texts mean nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from orchestrator.model.units import (
    Bound,
    Duration,
    Fraction,
    Load,
    Quantity,
    Size,
    format_duration,
    format_fraction,
    parse_duration,
    parse_fraction,
    parse_quantity,
    parse_size,
    parse_threshold,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("30s", 30),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1.5h", 5400),
        (" 5s ", 5),
        (7, 7.0),
    ],
)
def test_duration(text: object, seconds: float) -> None:
    """A duration is a sum of numbers with units; a plain number is seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", "5", "s", "5 s", "-5s", "5sec", "1e3s", "5s!", "\N{ARABIC-INDIC DIGIT FIVE}s", "9" * 400 + "s", "1e400"),
        *(True, None, [], math.nan, math.inf, -1, 10**400),
    ],
)
def test_no_duration(text: object) -> None:
    """What is negative, endless, or no duration at all is refused in words that say what to write."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.4, "0.4s"), (12, "12s"), (59.6, "1m"), (200, "3m20s"), (3599.9, "1h"), (3900, "1h05m")],
)
def test_format_duration(seconds: float, text: str) -> None:
    """Durations are shown as people say them."""
    assert format_duration(seconds) == text


@given(st.integers(0, 10**7))
def test_shown_duration_can_be_read(seconds: int) -> None:
    """What is shown is a duration again, and less than a minute from what it was."""
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=60)


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("5%", 0.05), ("99.9%", 0.999), ("100 %", 1), ("0%", 0), ("0.05", 0.05), (0.05, 0.05), (1, 1), (1e-05, 1e-05)],
)
def test_fraction(text: object, fraction: float) -> None:
    """A percentage or a share of one; a number from JSON too, however it is written."""
    assert parse_fraction(text) == pytest.approx(fraction)


@pytest.mark.parametrize(
    "text", ["", "%", "101%", "-5%", "5 percent", 1.5, -0.1, math.nan, math.inf, 2, True, None, [], "9" * 400]
)
def test_no_fraction(text: object) -> None:
    """What lies outside 0% to 100%, or is no number, is refused."""
    with pytest.raises(ValueError, match=r"percentage|share"):
        parse_fraction(text)


@given(st.integers(0, 1000))
def test_a_percentage_is_the_same_share_as_a_count(of_thousand: int) -> None:
    """999 good probes of 1000 are 99.9%, with nothing lost in binary fractions."""
    assert parse_fraction(f"{of_thousand // 10}.{of_thousand % 10}%") == of_thousand / 1000


@given(st.integers(0, 100_000))
def test_shown_fraction_can_be_read(thousandths: int) -> None:
    """A percentage with up to three decimals is shown as it is."""
    assert parse_fraction(format_fraction(thousandths / 100_000)) == pytest.approx(thousandths / 100_000)


@pytest.mark.parametrize(
    ("text", "size"), [("64KiB", 65536), ("1 MB", 1_000_000), ("1.5kB", 1500), ("10B", 10), (1024, 1024)]
)
def test_size(text: object, size: int) -> None:
    """Bytes, with the units of powers of two and of ten."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "64kib", "64 K", -1, 1e20, True, None, "9" * 400 + "GB"])
def test_no_size(text: object) -> None:
    """What is no size is refused."""
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("400/s", Quantity(amount=400, unit="/s")),
        ("150 sessions", Quantity(amount=150, unit="sessions")),
        ("1session", Quantity(amount=1, unit="sessions")),
        ({"amount": 2.5, "unit": "/s"}, Quantity(amount=2.5, unit="/s")),
        (Quantity(amount=1, unit="/s"), Quantity(amount=1, unit="/s")),
    ],
)
def test_quantity(text: object, quantity: Quantity) -> None:
    """Sessions, or something each second; its JSON form too."""
    assert parse_quantity(text) == quantity
    assert parse_quantity(str(quantity)) == quantity


@pytest.mark.parametrize("text", ["400", "/s", "400/m", "-1/s", "many sessions", None, 400, "9" * 400 + "/s"])
def test_no_quantity(text: object) -> None:
    """A number without a unit is no quantity."""
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity(text)


@pytest.mark.parametrize(
    ("text", "bound", "holds", "fails"),
    [
        (">= 99.9%", 0.999, 0.999, 0.998),
        ("<= 500ms", 0.5, 0.5, 0.501),
        ("== 0", 0, 0, 1),
        ("<2s", 2, 1.9, 2),
        ("> 14", 14, 15, 14),
    ],
)
def test_threshold(text: str, bound: float, holds: float, fails: float) -> None:
    """A comparison with a number, a percentage or a duration."""
    threshold = parse_threshold(text)
    assert threshold.bound == pytest.approx(bound)
    assert threshold.holds(holds)
    assert not threshold.holds(fails)
    assert parse_threshold(str(threshold)) == threshold


@pytest.mark.parametrize("sign", [">=", "<=", "==", "<", ">"])
def test_nothing_holds_for_nan(sign: str) -> None:
    """A number that is none meets no threshold: unknown never passes."""
    assert not parse_threshold(f"{sign} 0").holds(math.nan)


@pytest.mark.parametrize("text", ["", "99%", "=> 5", ">= ", ">= soon", ">= 101%", "!= 0", ">= 1 2", None, 5])
def test_no_threshold(text: object) -> None:
    """What is no comparison is refused."""
    with pytest.raises(ValueError, match=r"threshold|number|100%"):
        parse_threshold(text)


@given(st.text(max_size=20) | st.integers() | st.floats() | st.booleans() | st.none() | st.lists(st.text(), max_size=2))
def test_anything_is_a_quantity_or_refused(anything: object) -> None:
    """Whatever is written, each unit gives a finite number of zero or more, or refuses it as pydantic expects."""
    for unit in (Duration, Fraction, Size):
        adapter: TypeAdapter[float] = TypeAdapter(unit)
        try:
            number = adapter.validate_python(anything)
        except ValidationError:
            continue
        assert math.isfinite(number)
        assert number >= 0
    for other in (Load, Bound):
        try:
            TypeAdapter[object](other).validate_python(anything)
        except ValidationError:
            continue
