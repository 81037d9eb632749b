"""Each test has a desk of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from .desk import Desk


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk on an empty state folder."""
    monkeypatch.setenv("FAILOVER_STATE", str(tmp_path))
    return Desk(tmp_path)
