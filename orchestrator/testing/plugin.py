"""A pytest plug-in: the fixture ``failover_world``, in which runbooks are run against AWS as it behaves.

pytest finds it by itself where failover is installed. The inventory stands in pytest's configuration::

    [pytest]
    failover_inventory = inventory.yaml
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from orchestrator.testing.world import World

INI = "failover_inventory"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Know the setting."""
    parser.addini(INI, "inventory files of failover, merged, for the fixture failover_world", type="paths")


@pytest.fixture
def failover_inventory(pytestconfig: pytest.Config) -> list[Path]:
    """The inventory files of ``failover_world``; a test's own fixture of this name can name others."""
    files: list[Path] = pytestconfig.getini(INI)
    if not files:
        pytest.fail(f"no inventory is named: write '{INI} = inventory.yaml' into pytest's configuration", pytrace=False)
    return files


@pytest.fixture
def failover_world(failover_inventory: list[Path]) -> Iterator[World]:
    """A world with everything that the inventory names, built anew for each test: ``failover_world.run(…)``.

    A fault that no call has met fails the test at its end, as it has not tested that; ``aws.faults.clear()`` takes back
    what need not be met.
    """
    from orchestrator.errors import InputError
    from orchestrator.testing.world import open_world

    try:
        opened = open_world(*failover_inventory)
        world = opened.__enter__()
    except InputError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        yield world
        unmet = ", ".join(map(str, world.aws.faults.unmet()))
    finally:
        opened.__exit__(None, None, None)
    if unmet:
        pytest.fail(
            f"no call has met: {unmet} — take it back with aws.faults.clear() where that is right", pytrace=False
        )
