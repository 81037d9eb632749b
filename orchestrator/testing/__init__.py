"""Tests for the CI of those who write runbooks: a world of AWS in this process that is as slow and as strict as AWS.

::

    from orchestrator.testing import open_world

    def test_our_runbook():
        with open_world("inventory.yaml") as world:
            world.aws.faults.inject("never-in-sync")
            ran = world.run("runbook.yaml", site="ord", to="iad")
            assert ran.status == "undone"
            assert ran.after == ran.before

``orchestrator.testing.overlay`` is moto with states that take time, on a clock that the test moves. Nothing is changed
before a world is opened, and neither moto nor boto3 is loaded: ``pip install 'failover[testing]'`` brings both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.testing.world import Ran, World, open_world, world_of

__all__ = ["Ran", "World", "open_world", "world_of"]


def __getattr__(name: str) -> object:
    """The names above are loaded when they are used: pytest loads our plug-in wherever failover is installed."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestrator.testing import world

    return getattr(world, name)
