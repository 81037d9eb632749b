"""The facts that a plan rests on, in words; and how those of another day differ from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.errors import OutsideError
from orchestrator.model.plan import Fact, Plan
from orchestrator.model.traffic import MemberReading
from orchestrator.planning.snapshot import Snapshot


def facts(snapshot: Snapshot) -> tuple[Fact, ...]:
    """One for each member of every switch that was read, each gate, scaling group and node.

    Sessions, and pods, are none: they always move.
    """
    return (*_members(snapshot), *_gates(snapshot), *_groups(snapshot), *_nodes(snapshot))


def _members(snapshot: Snapshot) -> Iterator[Fact]:
    for pool, seen in snapshot.pools.items():
        if not isinstance(seen.readings, OutsideError):
            for name, reading in seen.readings.items():
                yield Fact(subject=f"pool {pool}: {name}", value=_standing(reading))


def _gates(snapshot: Snapshot) -> Iterator[Fact]:
    for host, gate in snapshot.gates.items():
        if not isinstance(gate, OutsideError):
            yield Fact(subject=f"host {host}: gate", value="closed" if gate.closed else "open")


def _groups(snapshot: Snapshot) -> Iterator[Fact]:
    for (pool, site), group in snapshot.scaling.items():
        if not isinstance(group, OutsideError):
            yield Fact(subject=f"pool {pool}: capacity at {site}", value=f"{group.desired}")


def _nodes(snapshot: Snapshot) -> Iterator[Fact]:
    for host, node in snapshot.nodes.items():
        if not isinstance(node, OutsideError):
            yield Fact(subject=f"host {host}: node", value="cordoned" if node.cordoned else "open to new pods")


def _standing(reading: MemberReading) -> str:
    return f"{reading.intake}" if reading.up else f"{reading.intake}, down"


def moved(old: Plan, world: Sequence[Fact]) -> tuple[str, ...]:
    """Each fact that is not as the plan has it, a line each."""
    was = {fact.subject: fact.value for fact in old.world}
    now = {fact.subject: fact.value for fact in world}
    gone = [f"{subject}: was {value}, is gone" for subject, value in was.items() if subject not in now]
    new = [f"{subject}: was not there, is {value}" for subject, value in now.items() if subject not in was]
    differ = [
        f"{subject}: was {value}, is {now[subject]}"
        for subject, value in was.items()
        if now.get(subject, value) != value
    ]
    return (*differ, *gone, *new)
