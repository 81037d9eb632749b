"""What past runs say of how long a step takes: durations of the same work, and their percentiles."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from pydantic import JsonValue, ValidationError

from orchestrator.actions.drain import drained_members
from orchestrator.model.check import Check
from orchestrator.model.inventory import Inventory, Pool
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan, PlannedStep, TimedAs
from orchestrator.model.runbook import (
    DrainStep,
    NodeDrainStep,
    ScaleOutStep,
    ShiftStep,
    Step,
    TakeOutStep,
    VerifyStep,
)
from orchestrator.model.value import Value

Direction = Literal["out", "back", "undo"]
"""The way out, a planned return, or an undo."""

LEAST: Final = 3
"""Fewer durations say too little to be told as usual."""

USUAL: Final = 0.75
LATE: Final = 0.95
"""The percentiles that are expected, and past which a step is overdue."""

_DIGITS: Final = 12
"""Of a shape's digest: enough to keep a thousand shapes of one target apart, and short in the journal."""


class Past(NamedTuple):
    """How long the same work took before."""

    expected: float
    """Seconds that three of four took at most (p75)."""
    overdue: float
    """Seconds that nineteen of twenty took at most (p95)."""
    runs: int
    """How many durations this rests on."""


class History:
    """Past times by what was done, and in which direction."""

    def __init__(self, times: Mapping[tuple[TimedAs, Direction], Past]) -> None:
        self._times = times

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> History:
        """From the journal's durations; an entry that says no duration that we know is passed over."""
        found: dict[tuple[TimedAs, Direction], list[float]] = {}
        for entry in entries:
            if (read := _read(entry.data)) is not None:
                key, seconds = read
                found.setdefault(key, []).append(seconds)
        return cls({key: _past(seconds) for key, seconds in found.items() if len(seconds) >= LEAST})

    @classmethod
    def reviewed(cls, plan: Plan) -> History:
        """As ``plan`` has it, so that what is planned again has the times that were reviewed."""
        found: dict[tuple[TimedAs, Direction], Past] = {}
        for step in plan.steps:
            if step.timed is None:
                continue
            if step.past and step.expected is not None and step.overdue is not None:
                found[step.timed, direction_of(step)] = Past(step.expected, step.overdue, step.past)
            if step.undo_expected is not None and step.undo_overdue is not None:
                found[step.timed, "undo"] = Past(step.undo_expected, step.undo_overdue, LEAST)
        return cls(found)

    def past(self, timed: TimedAs | None, direction: Direction) -> Past | None:
        """How long this took before; None where that is not known, or too little of it."""
        return None if timed is None else self._times.get((timed, direction))


NO_HISTORY: Final = History({})


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of the values (0 to 1) does not exceed: the nearest-rank method.

    It is always one of the values, as an interpolated one may be longer than anything ever was.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values have no percentile")
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def direction_of(planned: PlannedStep) -> Direction:
    """The direction of the step itself."""
    return "out" if planned.returns is None else "back"


def timed_as(planned: PlannedStep, does: Step, inventory: Inventory, checks: Mapping[str, Check]) -> TimedAs | None:
    """As what the durations of a step are kept; None where people decide how long it takes.

    ``does`` is the step itself, or the one that it returns.
    """
    once = [checks[name] for name in _once(planned.step)]
    after = [checks[name] for name in planned.step.after]
    pools = {check.at.pool for check in (*once, *after)}
    arguments: JsonValue = None
    hosts: tuple[str, ...] = ()
    if isinstance(does, ShiftStep | DrainStep | TakeOutStep):
        pools.add(does.with_.pool)
        arguments = does.with_.model_dump(mode="json", by_alias=True)
        hosts = _hosts(does, inventory.pools[does.with_.pool])
    elif isinstance(does, ScaleOutStep | NodeDrainStep):
        arguments = does.with_.model_dump(mode="json", by_alias=True)
        hosts = (_machines(does, inventory),)
    elif not isinstance(does, VerifyStep):
        return None
    shape: JsonValue = {
        "with": arguments,
        "before": [check.model_dump(mode="json", by_alias=True) for check in once],
        "after": [check.model_dump(mode="json", by_alias=True) for check in after],
        "hosts": list(hosts),
        # The same names mean a lab today and real sites tomorrow.
        "switches": [inventory.pools[pool].switch.model_dump(mode="json") for pool in sorted(pools)],
    }
    text = json.dumps(shape, sort_keys=True, separators=(",", ":"))
    return TimedAs(action=does.do, target=_target(does), shape=hashlib.sha256(text.encode()).hexdigest()[:_DIGITS])


def _once(step: Step) -> Sequence[str]:
    return step.checks if isinstance(step, VerifyStep) else step.before


def _target(does: ShiftStep | DrainStep | TakeOutStep | ScaleOutStep | NodeDrainStep | VerifyStep) -> str:
    if isinstance(does, VerifyStep):
        return ", ".join(does.checks)
    if isinstance(does, NodeDrainStep):
        return does.with_.host
    if isinstance(does, ScaleOutStep):
        return f"{does.with_.pool} {does.with_.site}"
    if isinstance(does, ShiftStep):
        return f"{does.with_.pool} {does.with_.from_}→{does.with_.to}"
    return does.with_.host or f"{does.with_.pool} {does.with_.site}"


def _hosts(does: ShiftStep | DrainStep | TakeOutStep, pool: Pool) -> tuple[str, ...]:
    """Their number decides how long it takes, and so does which they are."""
    if isinstance(does, DrainStep | TakeOutStep):
        return drained_members(does.with_, pool)
    return (*pool.members(does.with_.from_), *pool.members(does.with_.to))


def _machines(does: ScaleOutStep | NodeDrainStep, inventory: Inventory) -> str:
    """What brings up capacity, or the node, as the inventory has it: the same names may mean others tomorrow."""
    if isinstance(does, NodeDrainStep):
        known: Value | None = inventory.host(does.with_.host).node
    else:
        known = inventory.pools[does.with_.pool].sites[does.with_.site].scaling
    return known.model_dump_json() if known is not None else ""


def _past(seconds: Sequence[float]) -> Past:
    return Past(percentile(seconds, USUAL), percentile(seconds, LATE), len(seconds))


def _read(data: Mapping[str, JsonValue]) -> tuple[tuple[TimedAs, Direction], float] | None:
    direction, seconds = data.get("direction"), data.get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        return None
    if not math.isfinite(seconds) or seconds < 0:
        return None
    try:
        timed = TimedAs.model_validate({name: data.get(name) for name in TimedAs.model_fields})
    except ValidationError:
        return None
    match direction:
        case "out" | "back" | "undo":
            return (timed, direction), float(seconds)
        case _:
            return None
