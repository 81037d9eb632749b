"""Amazon Application Recovery Controller: routing controls behind five endpoints, and zonal shifts that expire.

Source: Routing Control (Recovery Cluster) API Reference; Zonal Shift API Reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.testing.overlay.arc_routing import RoutingControls
from orchestrator.testing.overlay.arc_shifts import ZonalShifts

if TYPE_CHECKING:
    from orchestrator.testing.overlay.world import AwsWorld


class Arc:
    """Both halves of it."""

    def __init__(self) -> None:
        self.routing = RoutingControls()
        self.shifts = ZonalShifts()

    def install(self, world: AwsWorld) -> None:
        """Answer the calls of both."""
        self.shifts.use(world.clock)
        world.missing.add(self.routing)
        world.missing.add(self.shifts)

    def remove(self) -> None:
        """Nothing: the calls go with ``world.missing``."""
