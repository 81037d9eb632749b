"""The page about inventories tells the truth."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import orchestrator
from orchestrator.load.inventory import load_inventory

PAGE = Path(orchestrator.__file__).parent.parent / "docs" / "inventory.md"


def test_the_inventory_of_the_page_is_sound(file: Callable[..., Path]) -> None:
    """It loads as it stands, its group expanded."""
    example = re.search(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert example is not None
    inventory = load_inventory([file(example[1])], {})
    assert inventory.pools["smtp"].members("ord") == ("ord-mx1", "ord-mx2")
