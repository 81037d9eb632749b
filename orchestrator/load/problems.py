"""Mistakes: how they are collected, which name was meant, and how they are shown."""

from __future__ import annotations

import difflib
import heapq
import operator
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

from orchestrator.errors import InputError, Problem
from orchestrator.load.masks import without_secrets
from orchestrator.load.node import Place

_LINE_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
"""What ends a line in YAML, so that our line numbers are the parser's."""

_SHOWN_WIDTH = 110
_LISTED = 12
_READ_BACK = 2 * 1024 * 1024

_BOLD, _RED, _DIM, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


MOST: Final = 100
"""Mistakes that are said at once. Who has made more of them has named the wrong file, or repeated one very often."""

_COMPARED: Final = 100
_LONGEST_NAME: Final = 60
"""Of how many names, and of how many characters, similarity is worked out: difflib is quadratic."""


class Problems:
    """Collects what is wrong in the files of one load, so that all of it can be said at once."""

    def __init__(self) -> None:
        self.nodes = 0
        """Keys and values read so far; who reads the files counts them, so that together they cost no more than one."""
        self._found: dict[tuple[Place, str], Problem] = {}
        self._places: set[Place] = set()
        self._secrets: dict[tuple[str, int], int] = {}
        self._stand_ins: dict[Place, str] = {}

    def add(self, place: Place, message: str, remedy: str = "", *, hidden: int = 0) -> None:
        """Note a mistake; the same one at the same place counts once. In the column ``hidden`` a secret begins.

        Raises:
            InputError: with it there are more than anybody would read.
        """
        problem = Problem(message, remedy, place.file, place.line, place.column, hidden)
        self._found.setdefault((place, message), problem)
        self._places.add(place)
        if len(self._found) > MOST:
            self._give_up()

    def at(self, place: Place) -> bool:
        """Whether something is wrong there already."""
        return place in self._places

    def hide(self, place: Place) -> None:
        """From ``place`` on its line holds a secret: whatever mistake is shown in that line, this is not."""
        line = (place.file, place.line)
        self._secrets[line] = min(place.column, self._secrets.get(line, place.column))

    def note_stand_in(self, place: Place, which: str) -> None:
        """At ``place`` stands nothing that the user has given; ``which`` says in a sentence what it is."""
        self._stand_ins[place] = which

    def stand_ins(self) -> Mapping[Place, str]:
        """Where a value stands in for a parameter, with what was noted."""
        return self._stand_ins

    def raise_any(self) -> None:
        """Report everything that was found, in the order of the places.

        Raises:
            InputError: something was found.
        """
        if self._found:
            raise InputError([self._shown(key) for key in sorted(self._found)])

    def _give_up(self) -> None:
        first = [self._shown(key) for key in sorted(list(self._found)[:MOST])]
        message = f"cannot look at all of this: it has more than {MOST} mistakes, of which these were found first"
        raise InputError([Problem(message, "mend them, or name the right file"), *first])

    def _shown(self, key: tuple[Place, str]) -> Problem:
        """A mistake with what is known by now of the secrets in its line, and of what stands in for a parameter."""
        place, problem = key[0], self._found[key]
        hidden = self._secrets.get((place.file, place.line), 0)
        if hidden:
            problem = replace(problem, hidden=min(hidden, problem.hidden or hidden))
        return with_stand_in(problem, self._stand_ins)


def with_stand_in(problem: Problem, stand_ins: Mapping[Place, str]) -> Problem:
    """The mistake; where a value that stands in for a parameter causes it, that is said with the remedy."""
    which = stand_ins.get(Place(problem.file, problem.line, problem.column))
    return replace(problem, remedy=f"{problem.remedy} ({which})" if problem.remedy else which) if which else problem


def quote(text: str) -> str:
    """A piece of the user's text, in quotes, short and printable."""
    return repr(text if len(text) <= 60 else text[:59] + "…")


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8; what comes from outside may have bytes in it that Python only carries."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def listed(names: Iterable[str]) -> str:
    """Names for a sentence; of very many only the first."""
    first = list(islice(names, _LISTED + 1))
    more = ", …" if len(first) > _LISTED else ""
    return ", ".join(quote(name)[1:-1] for name in first[:_LISTED]) + more


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant; None where none is near.

    Of very many names only some are compared, which have the most letters in the same places.
    """
    if len(name) > _LONGEST_NAME:
        return None
    folded = _folded(name)
    candidates = {_folded(candidate): candidate for candidate in known}
    if len(candidates) > _COMPARED:
        alike = heapq.nlargest(_COMPARED, candidates, key=lambda it: sum(map(operator.eq, it, folded)))
        candidates = {it: candidates[it] for it in alike}
    found = difflib.get_close_matches(folded, candidates, n=1, cutoff=0.6)
    return candidates[found[0]] if found else None


def _folded(name: str) -> str:
    return name[:_LONGEST_NAME].lower().replace("_", "-")


def meant(name: str, known: Iterable[str], kind: str) -> str:
    """The remedy for an unknown name: the near one, else all that there are."""
    names = list(known)
    near = closest(name, names)
    if near:
        return f"did you mean {quote(near)}?"
    return f"there are these {kind}: {listed(names)}" if names else f"there are no {kind}"


def read_sources(problems: Iterable[Problem]) -> dict[str, tuple[str, ...]]:
    """The lines of the files in which the problems stand, for ``render``; a file that cannot be read is left out.

    In the lines of problems no secret is left. Whoever shows a line takes it from here.
    """
    by_file: dict[str, dict[tuple[int, int], Problem]] = {}
    for problem in problems:  # one of each line is enough, and lines can be long
        by_file.setdefault(problem.file, {}).setdefault((problem.line, problem.hidden), problem)
    return {
        file: without_secrets(lines, found.values())
        for file, found in by_file.items()
        if file and (lines := _lines(Path(file)))
    }


def _lines(path: Path) -> tuple[str, ...]:
    try:
        if not path.is_file():  # not a pipe, which has nothing more to say
            return ()
        with path.open("rb") as stream:
            text = stream.read(_READ_BACK).decode("utf-8-sig", errors="replace")
    except (OSError, ValueError):  # in a folder that is closed to us; a name that no file can have
        return ()
    return tuple(_LINE_BREAK.split(text))


def render(problems: Sequence[Problem], sources: Mapping[str, Sequence[str]], colour: bool) -> str:
    """The problems as people read them: place, sentence, the line and a caret under what is wrong.

    ``sources`` are the lines of each file (``read_sources``); a problem whose line is not there goes without it.
    """
    return "\n".join(_rendered(problem, sources.get(problem.file, ()), colour) for problem in problems)


def _rendered(problem: Problem, lines: Sequence[str], colour: bool) -> str:
    text = printable(str(problem))
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
    shown = printable(line[start : start + _SHOWN_WIDTH])
    before = "…" if start else ""
    after = "…" if start + _SHOWN_WIDTH < len(line) else ""
    indent = sum(_columns(character) for character in before + shown[: column - start])
    return f"{before}{shown}{after}", " " * indent + "^"


def printable(text: str) -> str:
    """The text with nothing in it that a terminal would obey; as long as before."""
    return "".join(" " if character == "\t" else character if character.isprintable() else "�" for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
