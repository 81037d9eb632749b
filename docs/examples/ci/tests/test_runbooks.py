"""Our runbooks, run against AWS as it behaves before anybody runs them at night."""

from __future__ import annotations

from orchestrator.testing import World


def test_a_relay_is_replaced(failover_world: World) -> None:
    """It leaves the load balancer, its connections end by themselves, and it comes back."""
    ran = failover_world.run("runbooks/replace-relay.yaml", relay="va-mx1")
    assert ran.status == "done", ran
    assert ran.after == ran.before


def test_a_deadline_shorter_than_the_drain_is_undone(failover_world: World) -> None:
    """AWS serves old connections for 300 s: two minutes are not enough, and then everything is as it was."""
    ran = failover_world.run("runbooks/replace-relay.yaml", relay="va-mx1", deadline="2m")
    assert ran.status == "undone"
    assert "draining: va-mx1" in ran.reasons["out"]
    assert ran.after == ran.before


def test_the_region_is_left(failover_world: World) -> None:
    """The other region has grown before it takes the mail."""
    ran = failover_world.run("runbooks/leave-region.yaml", {"from": "virginia", "to": "oregon"})
    assert ran.status == "done", ran
    assert ran.after["smtp"]["mx-virginia"].weight == 0


def test_a_change_that_never_gets_to_all_servers_is_undone(failover_world: World) -> None:
    """Route 53 that stays PENDING stops the shift at its first waypoint."""
    failover_world.aws.faults.inject("never-in-sync")
    ran = failover_world.run("runbooks/leave-region.yaml", {"from": "virginia", "to": "oregon"})
    assert ran.status == "undone", ran
    assert ran.after == ran.before
    assert not failover_world.aws.faults.unmet()


def test_throttling_is_borne(failover_world: World) -> None:
    """AWS that is busy for a while costs time, and nothing else."""
    failover_world.aws.faults.inject("throttling", "route53", "ChangeResourceRecordSets", times=2)
    assert failover_world.run("runbooks/leave-region.yaml", {"from": "virginia", "to": "oregon"}).status == "done"


def test_missing_capacity_stops_the_shift(failover_world: World) -> None:
    """Where no instance can be had, no mail moves."""
    failover_world.aws.faults.inject("no-capacity")
    ran = failover_world.run("runbooks/leave-region.yaml", {"from": "virginia", "to": "oregon"})
    assert ran.status == "undone", ran
    assert ran.steps["shift"] == "pending"
