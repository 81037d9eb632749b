"""What the loading tests share: the inventory that runbooks are loaded for, and files made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.load.inventory import load_inventory
from orchestrator.model.inventory import Inventory

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def inventory() -> Inventory:
    """Two pools at three sites."""
    return load_inventory([HERE / "inventory.yaml"], {})


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file and gives its path."""

    def write(content: str | bytes, name: str = "file.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
