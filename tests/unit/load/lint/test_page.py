"""The page of the rules: a section for each, and examples that do what it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import orchestrator
from orchestrator.load.inventory import load_inventory
from orchestrator.load.lint import RULES
from orchestrator.model.inventory import Inventory
from tests.unit.load.lint.conftest import Look

PAGE = (Path(orchestrator.__file__).parent.parent / "docs" / "lint.md").read_text(encoding="utf-8")
HEAD, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
BY_RULE = {section.partition("\n")[0]: section for section in SECTIONS}


def blocks(text: str) -> list[str]:
    """The examples in a part of the page."""
    return re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def inventory_of_page(file: Callable[..., Path]) -> Inventory:
    """The inventory that the page shows."""
    return load_inventory([file(blocks(HEAD)[1], "inventory.yaml")], {})


def test_the_page_has_every_rule() -> None:
    """Rules and sections are the same, in the same order, and each section says how bad it is."""
    assert list(BY_RULE) == list(RULES)
    for name, rule in RULES.items():
        assert f"\n*{rule.severity.capitalize()}.* " in BY_RULE[name]


@pytest.mark.parametrize("rule", RULES)
def test_the_examples_are_true(rule: str, look: Look, inventory_of_page: Inventory) -> None:
    """The wrong example breaks its rule and no other, the right one none, and a silence silences it where it can."""
    wrong, right, *silences = blocks(BY_RULE[rule])
    head = "runbook: example\n"
    assert {one.rule for one in look(head + wrong, inventory_of_page).findings} == {rule}
    assert not look(head + right, inventory_of_page).findings
    assert len(silences) == (0 if RULES[rule].stands else 1)
    for silence in silences:
        silenced = look(head + wrong.partition("silence:")[0] + silence, inventory_of_page)
        assert not silenced.findings
        assert rule in {one.finding.rule for one in silenced.silenced}
