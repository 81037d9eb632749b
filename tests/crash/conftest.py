"""How many points are tried, and the table of what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.crash.tally import Tally

TALLY = pytest.StashKey["Tally"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--every-point`` takes minutes."""
    parser.addoption("--every-point", action="store_true", help="kill every runbook at each of its points")


@pytest.fixture(scope="session")
def every_point(request: pytest.FixtureRequest) -> bool:
    """Whether nothing is sampled."""
    return bool(request.config.getoption("--every-point", default=False))


@pytest.fixture(scope="session")
def tally(request: pytest.FixtureRequest) -> Tally:
    """Where the runs of this session are counted."""
    from tests.crash.tally import Tally  # here: no other test shall wait for all that is behind it

    return request.config.stash.setdefault(TALLY, Tally())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was tried."""
    counted = config.stash.get(TALLY, None)
    if counted is not None and counted.courses:
        terminalreporter.section("orchestrators that were killed")
        for line in counted.lines():
            terminalreporter.write_line(line)
