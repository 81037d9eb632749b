"""Labs for tests: each in a state folder of its own, each taken down at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.errors import MissingToolError, RefusedError
from orchestrator.lab.client import Lab
from orchestrator.lab.layout import Gate
from orchestrator.lab.profiles import ProfileName
from orchestrator.lab.requirements import require_tools

StartLab = Callable[..., Lab]


@pytest.fixture(scope="session", autouse=True)
def _fit_machine() -> None:
    """Skip where the lab cannot run at all, and say what is missing."""
    try:
        require_tools(table_gate=True)
    except (MissingToolError, RefusedError) as error:
        pytest.skip(str(error))


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The state folder of this test, which the command line uses too; the lab that it means is called ``test``."""
    folder = Path(tempfile.mkdtemp(prefix="failover-test-"))
    monkeypatch.setenv("FAILOVER_STATE", str(folder))
    monkeypatch.setenv("FAILOVER_LAB", "test")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start_lab(state: Path) -> Iterator[StartLab]:
    """Starts labs, as ``Lab.up`` does; they end with the test."""
    started: list[Lab] = []

    def start(
        name: str | None = None, profile: ProfileName = "steady", clients: int = 20, gate: Gate = "postfix-policy"
    ) -> Lab:
        lab = Lab.up(name, profile, clients, gate)
        started.append(lab)
        return lab

    yield start
    for lab in started:
        lab.down()
