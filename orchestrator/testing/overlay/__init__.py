"""AWS for tests: moto, and over it what moto leaves out, on a clock that the test moves.

Plain moto says that a target is healthy, drained or in sync at once, so that a runbook that waits for the wrong thing,
or not at all, passes. Here states take the time that AWS takes::

    with aws_world() as world:
        elbv2 = boto3.client("elbv2", region_name="us-east-1")
        elbv2.register_targets(…)               # initial
        world.clock.advance(20)                 # healthy
        elbv2.deregister_targets(…)             # draining, for deregistration_delay.timeout_seconds
        world.faults.inject("throttling", "elbv2", "ModifyListener", times=2)

One world is open at a time in a process. It is installed by the ``with`` block only, and what was there before is back
after it. It works in this process, for every client of boto3, also those that talk to a ``ThreadedMotoServer`` of this
process; a server in another process is plain moto.
"""

from __future__ import annotations

from orchestrator.testing.overlay.clock import WorldClock
from orchestrator.testing.overlay.world import AwsWorld, Settings, aws_world

__all__ = ["AwsWorld", "Settings", "WorldClock", "aws_world"]
