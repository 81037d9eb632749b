"""Mistakes: how they are collected, which name was meant, and how they are shown."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

from orchestrator.errors import InputError, Problem
from orchestrator.load.node import Place

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""What ends a line in YAML, so that our line numbers are the parser's."""

_SHOWN_WIDTH = 110
_LISTED = 12
_READ_BACK = 2 * 1024 * 1024

_BOLD, _RED, _DIM, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


class Problems:
    """Collects what is wrong, so that all of it can be said at once."""

    def __init__(self) -> None:
        self._found: dict[tuple[Place, str], Problem] = {}
        self._places: set[Place] = set()

    def add(self, place: Place, message: str, remedy: str = "") -> None:
        """Note a mistake; the same one at the same place counts once."""
        problem = Problem(message=message, remedy=remedy, file=place.file, line=place.line, column=place.column)
        self._found.setdefault((place, message), problem)
        self._places.add(place)

    def at(self, place: Place) -> bool:
        """Whether something is wrong there already."""
        return place in self._places

    def raise_any(self) -> None:
        """Report everything that was found, in the order of the places.

        Raises:
            InputError: something was found.
        """
        if self._found:
            raise InputError([self._found[key] for key in sorted(self._found)])


def quote(text: str) -> str:
    """A piece of the user's text, in quotes, short and printable."""
    return repr(text if len(text) <= 60 else text[:59] + "…")


def listed(names: Iterable[str]) -> str:
    """Names for a sentence; of very many only the first."""
    first = list(islice(names, _LISTED + 1))
    more = ", …" if len(first) > _LISTED else ""
    return ", ".join(quote(name)[1:-1] for name in first[:_LISTED]) + more


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant; None where none is near."""
    if len(name) > 100:  # nobody mistypes a name of that length, and difflib is quadratic
        return None
    by_folded = {candidate.lower().replace("_", "-"): candidate for candidate in islice(known, 5000)}
    found = difflib.get_close_matches(name.lower().replace("_", "-"), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def meant(name: str, known: Iterable[str], kind: str) -> str:
    """The remedy for an unknown name: the near one, else all that there are."""
    names = list(known)
    near = closest(name, names)
    if near:
        return f"did you mean {quote(near)}?"
    return f"there are these {kind}: {listed(names)}" if names else f"there are no {kind}"


def read_sources(problems: Iterable[Problem]) -> dict[str, tuple[str, ...]]:
    """The lines of the files in which the problems stand, for ``render``; a file that cannot be read is left out."""
    return {file: lines for file in {problem.file for problem in problems} if file and (lines := _lines(Path(file)))}


def _lines(path: Path) -> tuple[str, ...]:
    if not path.is_file():  # not a pipe, which has nothing more to say
        return ()
    try:
        with path.open("rb") as stream:
            text = stream.read(_READ_BACK).decode("utf-8-sig", errors="replace")
    except OSError:
        return ()
    return tuple(_LINE_BREAK.split(text))


def render(problems: Sequence[Problem], sources: Mapping[str, Sequence[str]], colour: bool) -> str:
    """The problems as people read them: place, sentence, the line and a caret under what is wrong.

    ``sources`` are the lines of each file (``read_sources``); a problem whose line is not there goes without it.
    """
    return "\n".join(_rendered(problem, sources.get(problem.file, ()), colour) for problem in problems)


def _rendered(problem: Problem, lines: Sequence[str], colour: bool) -> str:
    text = _printable(str(problem))
    if colour:
        place, separator, sentence = text.partition(": ") if problem.file else ("", "", text)
        text = f"{_BOLD}{place}{separator}{_PLAIN}{sentence}"
    if not 0 < problem.line <= len(lines):
        return text
    line, caret = _excerpt(lines[problem.line - 1], problem.column - 1)
    number = f"{problem.line:>5}"
    dim, red, end = (_DIM, _RED, _PLAIN) if colour else ("", "", "")
    return f"{text}\n{dim}{number} |{end} {line}\n{dim}{'':>5} |{end} {red}{caret}{end}"


def _excerpt(line: str, column: int) -> tuple[str, str]:
    """The part of the line around ``column``, and a line with a caret under that column."""
    start = max(0, min(column - _SHOWN_WIDTH // 2, len(line) - _SHOWN_WIDTH))
    shown = _printable(line[start : start + _SHOWN_WIDTH])
    before = "…" if start else ""
    after = "…" if start + _SHOWN_WIDTH < len(line) else ""
    indent = sum(_columns(character) for character in before + shown[: column - start])
    return f"{before}{shown}{after}", " " * indent + "^"


def _printable(text: str) -> str:
    """The text with nothing in it that a terminal would obey; as long as before."""
    return "".join(" " if character == "\t" else character if character.isprintable() else "�" for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
