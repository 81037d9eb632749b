"""Quantities as people write them (``10m``, ``2%``, ``64KiB``, ``>= 99.9%``) and as numbers.

Inside the program a duration is seconds, a size is bytes and a percentage is a fraction of one.
Each type is an annotated ``float`` or ``int``: pydantic parses the text, the code sees a plain number.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, JsonValue, WithJsonSchema

from orchestrator.model.value import Value

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES: Final = {
    "B": 1,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
}
_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)?"
_LONGEST: Final = 1e15
"""Seconds, bytes or anything else: what is more is a mistake, and no float or file offset reaches far beyond it."""


def parse_duration(text: object) -> float:
    """Seconds from ``250ms``, ``30s``, ``10m``, ``1h30m``, ``2d``; a plain number is seconds.

    Raises:
        ValueError: the text is no duration, or it is negative or not finite.
    """
    if isinstance(text, bool):
        raise ValueError(f"{text} is not a duration: write for example 30s, 10m or 1h30m")
    if isinstance(text, int | float):
        if not 0 <= text <= _LONGEST:  # NaN is not either
            raise ValueError(f"{text} is not a duration: it must be a finite number, zero or more")
        return float(text)
    whole = re.fullmatch(rf"(?:{_NUMBER}(?:ms|s|m|h|d))+", str(text).strip())
    if whole is None:
        raise ValueError(f"{text!r} is not a duration: write for example 30s, 10m or 1h30m")
    parts = re.findall(rf"({_NUMBER})(ms|s|m|h|d)", whole[0])
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST:
        raise ValueError("the duration is too long: write for example 30s, 10m or 1h30m")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration as people read it: ``0.4s``, ``12s``, ``3m20s``, ``1h05m``."""
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s" if rest else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if minutes else f"{hours}h"


def parse_fraction(text: object) -> float:
    """A fraction of one from ``5%`` or ``0.05``.

    Raises:
        ValueError: the text is no percentage, or lies outside 0 to 100 %.
    """
    if isinstance(text, float):  # as JSON has it, also in the form 1e-05
        if not 0 <= text <= 1:
            raise ValueError(f"{text} is not a share from 0 to 1: write for example 25%")
        return text
    match = re.fullmatch(rf"({_NUMBER})\s*(%?)", str(text).strip()) if not isinstance(text, bool) else None
    if match is None:
        raise ValueError(f"{text!r} is not a percentage: write for example 25%")
    # In decimal: in binary 99.9 / 100 is a little more than 0.999, and 999 of 1000 would not be 99.9%.
    fraction = float(Decimal(match[1]) / (100 if match[2] else 1))
    if fraction > 1:
        raise ValueError(f"{text!r} is more than 100%: write a percentage from 0% to 100%")
    return fraction


def format_fraction(fraction: float) -> str:
    """A fraction of one as a percentage with no digits that say nothing: ``99.9%``."""
    return f"{fraction * 100:.3f}".rstrip("0").rstrip(".") + "%"


def parse_size(text: object) -> int:
    """Bytes from ``64KiB``, ``1MB`` or a plain whole number.

    Raises:
        ValueError: the text is no size.
    """
    match = re.fullmatch(rf"({_NUMBER})\s*(B|KiB|MiB|GiB|kB|MB|GB)?", str(text).strip())
    if match is None or isinstance(text, bool):
        raise ValueError(f"{text!r} is not a size: write for example 64KiB")
    size = float(match[1]) * _BYTES[match[2] or "B"]
    if size > _LONGEST:
        raise ValueError("the size is too large: write for example 64KiB")
    return int(size)


class Quantity(Value):
    """An amount of load: concurrent sessions, or something each second."""

    amount: float
    unit: Literal["sessions", "/s"]

    def __str__(self) -> str:
        return f"{self.amount:g} sessions" if self.unit == "sessions" else f"{self.amount:g}/s"


def parse_quantity(text: object) -> Quantity:
    """A quantity from ``400/s`` or ``150 sessions``.

    Raises:
        ValueError: the text is neither.
    """
    if isinstance(text, Quantity):
        return text
    if isinstance(text, dict):
        return Quantity.model_validate(text)
    match = re.fullmatch(rf"({_NUMBER})\s*(/s|sessions?)", str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a quantity: write for example 400/s or 150 sessions")
    if float(match[1]) > _LONGEST:
        raise ValueError("the quantity is too large: write for example 400/s or 150 sessions")
    return Quantity(amount=float(match[1]), unit="/s" if match[2] == "/s" else "sessions")


_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}


class Threshold(Value):
    """What a measured number must be, as ``>= 99.9%``, ``<= 500ms`` or ``== 0``."""

    compare: Literal[">=", "<=", ">", "<", "=="]
    bound: float
    text: str

    def holds(self, measured: float) -> bool:
        """Whether ``measured`` meets the threshold; NaN never does."""
        return _COMPARE[self.compare](measured, self.bound)

    def __str__(self) -> str:
        return self.text


def parse_threshold(text: object) -> Threshold:
    """A threshold from its text.

    Raises:
        ValueError: no comparison sign, or what follows it is no number, percentage or duration.
    """
    if isinstance(text, Threshold):
        return text
    if isinstance(text, dict):
        return Threshold.model_validate(text)
    match = re.fullmatch(r"(>=|<=|==|>|<)\s*(\S+)", str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is not a threshold: write for example '>= 99.9%', '<= 500ms' or '== 0'")
    sign, bound = match[1], match[2]
    return Threshold(compare=sign, bound=_parse_bound(bound), text=f"{sign} {bound}")


def _parse_bound(text: str) -> float:
    if re.fullmatch(_NUMBER, text) and float(text) <= _LONGEST:
        return float(text)
    if text.endswith("%"):
        return parse_fraction(text)
    try:
        return parse_duration(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number, a percentage or a duration") from None


DURATION: Final = rf"^\s*({_NUMBER}(ms|s|m|h|d))+\s*$"
"""The text of a duration, for JSON Schema (ECMA 262); other texts are none."""

POSITIVE_DURATION: Final = rf"(?=[^1-9]*[1-9]){DURATION}"
"""The same, of one that is above zero."""

_PERCENT: Final = r"0*(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)"
FRACTION: Final = rf"^\s*({_PERCENT}\s*%|0*(1(\.0+)?|0(\.[0-9]+)?))\s*$"
"""The text of a percentage or of a fraction of one, the same way."""

_SIZE: Final = rf"^\s*{_NUMBER}\s*({'|'.join(_BYTES)})?\s*$"
_LOAD: Final = rf"^\s*{_NUMBER}\s*(/s|sessions?)\s*$"
_BOUND: Final = (
    rf"^\s*({'|'.join(sorted(_COMPARE, reverse=True))})\s*({_NUMBER}|{_PERCENT}%|({_NUMBER}(ms|s|m|h|d))+)\s*$"
)

_OR_NUMBER: Final[dict[str, JsonValue]] = {"type": ["string", "number"], "minimum": 0}


def _schema(pattern: str, description: str, *examples: str, **more: JsonValue) -> WithJsonSchema:
    return WithJsonSchema(
        {"type": "string", **more, "pattern": pattern, "description": description, "examples": list(examples)}
    )


def _text(parse: Callable[[Any], Any]) -> BeforeValidator:
    return BeforeValidator(parse)


Duration = Annotated[
    float,
    _text(parse_duration),
    _schema(DURATION, "A duration; a plain number is seconds.", "30s", "10m", **_OR_NUMBER),
]
PositiveDuration = Annotated[
    float,
    _text(parse_duration),
    Field(gt=0),
    _schema(
        POSITIVE_DURATION,
        "A duration above zero; a plain number is seconds.",
        "30s",
        "10m",
        **{**_OR_NUMBER, "exclusiveMinimum": 0},
    ),
]
"""Of what cannot be done in no time."""
Fraction = Annotated[
    float,
    _text(parse_fraction),
    _schema(FRACTION, "A share or percentage from 0% to 100%.", "5%", "99.9%", **_OR_NUMBER, maximum=1),
]
Size = Annotated[int, _text(parse_size), _schema(_SIZE, "A size in bytes.", "64KiB", "1MB", **_OR_NUMBER)]
Load = Annotated[
    Quantity, _text(parse_quantity), _schema(_LOAD, "Sessions or events a second.", "150 sessions", "400/s")
]
Bound = Annotated[Threshold, _text(parse_threshold), _schema(_BOUND, "A comparison.", ">= 99.9%", "<= 500ms", "== 0")]
