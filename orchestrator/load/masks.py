"""What is shown of a line in which a secret may stand, though it should not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from orchestrator.errors import Problem

MASK: Final = "***"

_SECRET: Final = re.compile(
    r"""(?ix) (?:passw|passphrase|secret|token|credential|api[-_]?key) [\w-]{0,20} ["']? \s{0,9} : \s{1,9}
    (?! ["']? (?:env:|file:|\$\{) | \{ ) (?=\S)"""
)
"""A key that is called as secrets are, before a value that is no reference.

A mistake elsewhere in the line, in a file that cannot be read so far, or under a key of no meaning, shows the line too.
"""

_DECLARED: Final = re.compile(r"""(?i) ["']? \b type ["']? \s{0,9} : \s{1,9} ["']? secret \b""", re.VERBOSE)
_DEFAULT: Final = re.compile(r"""(?ix) \b default ["']? \s{0,9} : \s{1,9} (?! ["']? (?:env:|file:)) (?=\S)""")
_NEAR: Final = 4
"""So many lines above and below belong to one declaration of a parameter, where the file cannot be read."""


def without_secrets(lines: Sequence[str], problems: Iterable[Problem]) -> tuple[str, ...]:
    """The lines of a file; those in which problems stand have no secret any more."""
    masked = list(lines)
    for problem in problems:
        if 0 < problem.line <= len(masked):
            around = lines[max(0, problem.line - 1 - _NEAR) : problem.line + _NEAR]
            masked[problem.line - 1] = _masked(masked[problem.line - 1], problem, around)
    return tuple(masked)


def _masked(line: str, problem: Problem, around: Sequence[str]) -> str:
    ends = [named.end()] if (named := _SECRET.search(line)) else []
    default = _DEFAULT.search(line)
    if default and any(_DECLARED.search(one) for one in around):
        ends.append(default.end())
    if problem.hidden:
        ends.append(problem.hidden - 1)
    end = min(ends, default=len(line))
    return line[:end] + MASK if end < len(line) else line
