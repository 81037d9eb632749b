"""Text of others in a YAML file: as a comment, as a value."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Final

from orchestrator.report.sheet import one_line

_WIDTH: Final = 118
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NOT_TEXT: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
"""What some version of YAML reads as something else."""


def comment(text: str, indent: int = 0) -> str:
    """``text`` as lines of comment, the last one ended; whatever stands in it, it stays comment."""
    start = " " * indent + "# "
    lines = textwrap.wrap(
        one_line(text),
        _WIDTH,
        initial_indent=start,
        subsequent_indent=start,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "".join(f"{line}\n" for line in lines)


def scalar(text: str) -> str:
    """``text`` as a value that every YAML reads as this text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
