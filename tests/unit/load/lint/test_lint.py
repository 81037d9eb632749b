"""Lint as a whole: the shipped runbooks, the order of findings, and what a look costs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import orchestrator
from orchestrator.load.inventory import load_inventory
from orchestrator.load.lint import Examined, lint
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory
from tests.unit.load.lint.conftest import Look

PROJECT = Path(orchestrator.__file__).parent.parent
SHIPPED = sorted((PROJECT / "runbooks").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_runbook_is_clean(path: Path) -> None:
    """Nothing is found in the runbooks that ship."""
    inventory = load_inventory([PROJECT / "inventories" / "lab.yaml"], {"lab": lambda name: "127.0.0.1:2525"})
    loaded = load_runbook(path, inventory, {}, stand_ins=True)
    assert [str(finding.problem) for finding in lint(loaded, inventory)] == []


def test_findings_come_in_the_order_of_their_places(look: Look) -> None:
    """Whatever rule finds them, findings are told from top to bottom."""
    examined = look(
        "runbook: case\nwindow: 1m\nparameters: {never: {type: string, default: x}}\n"
        "checks: {never: {probe: sessions, at: {pool: smtp}, expect: {sessions: '== 0'}}}\nsteps:\n"
        "- {id: shift, do: traffic.shift, with: {pool: smtp, from: ord, to: iad}}\n"
        "- {id: drain, do: smtp.drain, with: {pool: smtp, site: ord}}\n"
        "- {id: work, do: hold, with: {until: 2m}}\n"
        "- {id: call, do: manual, with: {task: Call.}}\n"
        "silence: [{rule: no-plan, reason: x}]\n"
    )
    places = [(one.problem.line, one.problem.column) for one in examined.findings]
    assert places == sorted(places)
    assert [one.rule for one in examined.findings] == [
        "unused-parameter",
        "unused-check",
        "shift-without-check",
        "drain-without-deadline",
        "deadline-past-window",
        "hold-without-way-out",
        "no-plan-b",
        "silence-unused",
    ]


def many(rounds: int) -> str:
    """A runbook that empties a site and brings it back, so often; it breaks some rules each time."""
    steps = "".join(
        f"- {{id: s{n}, do: traffic.shift, with: {{pool: smtp, from: ord, to: iad}}}}\n"
        f"- {{id: d{n}, do: smtp.drain, with: {{pool: smtp, site: ord}}}}\n"
        f"- {{id: h{n}, do: hold, with: {{until: approval}}}}\n"
        f"- {{id: b{n}, do: return, steps: [d{n}, s{n}]}}\n"
        for n in range(rounds)
    )
    return f"runbook: many\nwindow: 1h\nsteps:\n{steps}"


def calls(look: Callable[[], object]) -> int:
    """How many functions of Python are called, which unlike seconds is the same on every machine."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        look()
    finally:
        sys.setprofile(None)
    return count


def test_the_cost_grows_with_the_runbook(file: Callable[..., Path], sites: Inventory) -> None:
    """Four times as many steps take some four times as long, not sixteen times."""
    small, large = (load_runbook(file(many(rounds)), sites, {}) for rounds in (25, 100))
    once, four = calls(partial(lint, small, sites)), calls(partial(lint, large, sites))
    assert len(lint(large, sites)) == 400
    assert four < 5 * once


def test_nothing_is_found_twice(look: Look) -> None:
    """A look tells each finding once."""
    examined: Examined = look(many(3))
    assert len(set(examined.findings)) == len(examined.findings)
