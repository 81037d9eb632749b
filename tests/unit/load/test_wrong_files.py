"""Every kind of mistake with the exact message that a person gets for it: ``wrong/NAME.yaml`` and ``wrong/NAME.txt``.

Write the expected texts anew with ``WRITE_GOLDEN=1``, and read them before you keep them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import FailoverError, InputError
from orchestrator.load.inventory import load_inventory
from orchestrator.load.problems import read_sources, render
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory

WRONG = Path(__file__).parent / "wrong"
FILES = sorted(path.name for path in WRONG.glob("*.yaml"))
JARGON = (
    "Input should",
    "tagged-union",
    "function-before",
    "valid dictionary",
    "literal[",
    "Traceback",
    "Extra inputs",
)


def no_lab(name: str) -> str:
    """A resolver without an answer."""
    raise FailoverError("cannot ask the lab: no lab is running", remedy="start one with: failover lab up")


def no_variable(name: str) -> str:
    """Another one."""
    raise FailoverError(f"cannot read {name}: it is not set", remedy=f"export {name}=…")


def mistakes_in(name: str, inventory: Inventory) -> InputError:
    """What loading the file says."""
    try:
        if name.startswith("inventory-"):
            load_inventory([Path(name)], {"lab": no_lab, "env": no_variable})
        else:
            load_runbook(Path(name), inventory, {})
    except InputError as error:
        return error
    raise AssertionError(f"{name} was loaded")


@pytest.mark.parametrize("name", FILES)
def test_mistake_is_explained(name: str, inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wrong file gets its exact message, with place, reason, remedy, line and caret, and no jargon."""
    monkeypatch.chdir(WRONG)
    problems = mistakes_in(name, inventory).problems
    text = render(problems, read_sources(problems), colour=False) + "\n"
    expected = WRONG / name.replace(".yaml", ".txt")
    if os.environ.get("WRITE_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")
    assert not any(word in text for word in JARGON)
    assert all(problem.remedy for problem in problems)


def test_there_are_many_wrong_files() -> None:
    """The list of mistakes is not lost by accident."""
    assert len(FILES) >= 70


def test_seven_mistakes_are_seven_problems(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    """All mistakes of a file are shown at once, in the order of their places, and nothing that follows from them."""
    monkeypatch.chdir(WRONG)
    problems = mistakes_in("seven-mistakes.yaml", inventory).problems
    assert len(problems) == 7
    assert [problem.line for problem in problems] == sorted(problem.line for problem in problems)
