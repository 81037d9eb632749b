"""``failover lab`` where no lab runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.cli.lab import app


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["down"], ["fault", "heal"], ["fault", "kill", "iad-mx1"], ["fault", "flow-loss", "iad", "2%"]],
)
def test_without_a_lab_each_command_says_how_to_start_one(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1, and one line with the remedy."""
    monkeypatch.setenv("FAILOVER_STATE", str(tmp_path))
    monkeypatch.delenv("FAILOVER_LAB", raising=False)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr == "no lab is running — start one with: failover lab up\n"


def test_a_share_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to write."""
    monkeypatch.setenv("FAILOVER_STATE", str(tmp_path))
    result = CliRunner().invoke(app, ["fault", "flow-loss", "iad", "much"])
    assert result.exit_code == 1
    assert "write for example 25%" in result.stderr
