"""How mistakes are collected and shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError, Problem
from orchestrator.load.node import Place
from orchestrator.load.problems import Problems, closest, meant, read_sources, render


def test_problems_are_sorted_by_place_and_said_once() -> None:
    """Whatever the order in which they are found, they come in that of the files, what has no file first."""
    problems = Problems()
    for place in (Place("b", 1, 1), Place("a", 10, 2), Place("a", 9, 3), Place(), Place("a", 9, 3)):
        problems.add(place, "cannot do it: no", "do it otherwise")
    with pytest.raises(InputError) as caught:
        problems.raise_any()
    assert [(found.file, found.line) for found in caught.value.problems] == [("", 0), ("a", 9), ("a", 10), ("b", 1)]


def test_nothing_wrong_raises_nothing() -> None:
    """Without a problem there is no error."""
    Problems().raise_any()


@pytest.mark.parametrize(
    ("name", "near"),
    [("after", "after"), ("aftr", "after"), ("On-Failure", "on_failure"), ("zzz", None), ("a" * 10_000, None)],
)
def test_closest(name: str, near: str | None) -> None:
    """A near name is found through typing mistakes, case and hyphens; a far one is not guessed."""
    assert closest(name, ["before", "after", "on_failure"]) == near


def test_what_was_meant() -> None:
    """Where no name is near, all are listed, as far as anybody would read."""
    assert meant("zzz", ["a", "b"], "sites") == "there are these sites: a, b"
    assert meant("zzz", [], "sites") == "there are no sites"
    assert meant("zzz", [str(n) for n in range(1000)], "hosts").endswith("11, …")


def test_the_line_and_a_caret(file: Callable[..., Path]) -> None:
    """The offending line is shown with a caret under the place, tabs and wide characters notwithstanding."""
    path = file("a: 1\n日本: \tx: bad\n")
    problem = Problem("cannot read this: why", "do that", str(path), 2, 6)
    assert render([problem], read_sources([problem]), colour=False) == (
        f"{path}:2:6: cannot read this: why — do that\n    2 | 日本:  x: bad\n      |        ^"
    )


def test_colour_changes_no_letter(file: Callable[..., Path]) -> None:
    """Colour only adds escape codes."""
    path = file("a: 1\n")
    problem = Problem("cannot read this: why", "do that", str(path), 1, 4)
    sources = read_sources([problem])
    coloured = render([problem], sources, colour=True)
    assert "\x1b[31m" in coloured
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m"):
        coloured = coloured.replace(code, "")
    assert coloured == render([problem], sources, colour=False)


def test_a_file_cannot_command_the_terminal(file: Callable[..., Path]) -> None:
    """Escape sequences in a file are shown as what they are: not printable."""
    path = file("a: \x1b[2J\x07\n")
    problem = Problem("cannot read \x1b[2J: why", "", str(path), 1, 4)
    shown = render([problem], read_sources([problem]), colour=False)
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_a_long_line_is_shown_around_the_place(file: Callable[..., Path]) -> None:
    """Of a very long line as much is shown as fits, and the caret still stands right."""
    path = file("x" * 5000 + "!" + "y" * 5000)
    problem = Problem("cannot read this", "", str(path), 1, 5001)
    _, line, caret = render([problem], read_sources([problem]), colour=False).split("\n")
    assert len(line) < 130
    assert line[caret.index("^")] == "!"


def test_a_place_without_a_source(tmp_path: Path) -> None:
    """No file, a file that has gone, or a line that is not in it any more: the sentence alone."""
    gone = Problem("cannot read this", "look", str(tmp_path / "gone"), 3, 1)
    nowhere = Problem("parameter a: it is missing", "give it")
    assert render([nowhere, gone], read_sources([nowhere, gone]), colour=False) == (
        f"parameter a: it is missing — give it\n{tmp_path / 'gone'}:3:1: cannot read this — look"
    )
