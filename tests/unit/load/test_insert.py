"""``${…}``: typed where it stands alone, text inside text, escaped with another ``$``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import FailoverError, InputError
from orchestrator.load.document import read
from orchestrator.load.insert import Argument, insert
from orchestrator.load.node import Tree, plain
from orchestrator.load.problems import Problems

KNOWN = {"lead": Argument(600.0, "10m"), "site": Argument("ord", "ord"), "odd": Argument("${site}", "${site}")}


def look_up(name: str) -> Argument | None:
    """A few names; one of them is known to be unknown."""
    if name == "reported":
        return None
    if name not in KNOWN:
        raise FailoverError(f"cannot insert {name}: no such name", remedy="use another one")
    return KNOWN[name]


def inserted(path: Path) -> Tree:
    """The file with everything inserted."""
    problems = Problems()
    root = read(path, problems)
    assert root is not None
    result = plain(insert(root, look_up, problems))
    problems.raise_any()
    return result


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("'${lead}'", 600.0),
        ("${lead}", 600.0),
        ("'${lead} before'", "10m before"),
        ("'${site} to ${site}'", "ord to ord"),
        ("'$${site}'", "${site}"),
        ("'$${site} is ${site}'", "${site} is ord"),
        ("'$$${site}'", "$${site}"),
        ("'$site costs 5$'", "$site costs 5$"),
        ("'${odd}'", "${site}"),
        ("'x${odd}'", "x${site}"),
    ],
)
def test_what_is_inserted(file: Callable[..., Path], written: str, meant: object) -> None:
    """Alone it is the typed value, inside text the text as it was given; what was inserted is not read again."""
    assert inserted(file(f"key: [{{a: {written}}}]" if written[0] == "'" else f"key:\n- a: {written}")) == {
        "key": [{"a": meant}]
    }


@pytest.mark.parametrize("written", ["'${nothing}'", "'x ${nothing}'", "'${}'", "'${site'", "'${si{te}'"])
def test_what_cannot_be_inserted(file: Callable[..., Path], written: str) -> None:
    """An unknown name or an open brace is one problem, at its value."""
    with pytest.raises(InputError) as caught:
        inserted(file(f"key: {written}"))
    assert [(problem.line, problem.column) for problem in caught.value.problems] == [(1, 6)]


def test_what_is_reported_already_is_not_reported_again(file: Callable[..., Path]) -> None:
    """A name without a value leaves an unknown value, and no word."""
    inserted(file("a: '${reported}'\nb: 'x ${reported}'"))
