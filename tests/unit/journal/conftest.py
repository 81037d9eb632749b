"""The journals that the contract suite runs against: a second database joins by a name in ``DATABASES``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.ports import Journal

DATABASES = ("sqlite",)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    """Which database keeps the journal."""
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal lies, for a database that keeps it in a file."""
    return tmp_path / "state" / "journal.sqlite"


@pytest.fixture
def open_journal(database: str, path: Path) -> Iterator[Callable[[], Journal]]:
    """Opens one and the same journal, each time by a connection of its own."""
    with ExitStack() as opened:
        openers: dict[str, Callable[[], Journal]] = {"sqlite": lambda: opened.enter_context(SqliteJournal(path))}
        yield openers[database]


@pytest.fixture
def opening(database: str, path: Path) -> str:
    """Python that opens the same journal as ``journal`` in another process."""
    return {
        "sqlite": f"from pathlib import Path\n"
        f"from orchestrator.journal.sqlite import SqliteJournal\n"
        f"journal = SqliteJournal(Path({str(path)!r}))\n"
    }[database]


@pytest.fixture
def journal(open_journal: Callable[[], Journal]) -> Journal:
    """An empty journal with the run ``r1`` in it."""
    opened = open_journal()
    opened.create("r1", '{"plan": 1}', "maintenance", at=100.0)
    return opened
