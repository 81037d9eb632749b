"""Runbooks written on the spot, and what lint says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.load.inventory import load_inventory
from orchestrator.load.lint import Examined, examine
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory

HERE = Path(__file__).parent

Look = Callable[..., Examined]


@pytest.fixture(scope="session")
def sites() -> Inventory:
    """Three pools; the switches of two of them stand at ord."""
    return load_inventory([HERE / "inventory.yaml"], {})


@pytest.fixture
def look(file: Callable[..., Path], sites: Inventory) -> Look:
    """Lints a runbook, for this inventory or another one."""

    def examined(text: str, inventory: Inventory = sites, **given: str) -> Examined:
        return examine(load_runbook(file(text, "runbook.yaml"), inventory, given), inventory)

    return examined
