"""How long steps take: what past runs, the runbook and the checks say of it, and a few rules of thumb.

Seconds everywhere; None is unknown. What people need is kept apart: no bound ends it, and nobody can say how long it
is but the runbook. Bounds hold as long as the systems
outside answer; adapters give up on one that does not after some seconds, and that fails the step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from orchestrator.actions.action import Waypoint
from orchestrator.actions.drain import CUT_WITHIN, SETTLE_BLIND, SETTLE_WITH_TRANSACTIONS
from orchestrator.actions.settling import SETTLES_WITHIN
from orchestrator.checks.gate import DEFAULT_WINDOW
from orchestrator.checks.sequential import SequentialTest
from orchestrator.model.check import Check, DeliveryCheck, Detect, SessionsCheck, SmtpCheck
from orchestrator.model.plan import PlannedStep
from orchestrator.model.runbook import (
    DrainArguments,
    DrainStep,
    HoldStep,
    ManualStep,
    NodeDrainStep,
    ReturnStep,
    ScaleOutStep,
    ShiftStep,
    Step,
    TakeOutArguments,
    TakeOutStep,
    VerifyStep,
)
from orchestrator.model.switch import AnySwitch
from orchestrator.model.value import Value
from orchestrator.planning.history import Past
from orchestrator.planning.order import in_order

TRANSACTION: Final = 0.05
"""Of one whole SMTP transaction within a datacenter, with TLS; over a WAN it is some round trips more."""

WRITE: Final = 1.0
WRITE_AT_MOST: Final = 30.0
"""To set weights, admin states or gates and read them back; an adapter gives up by then."""

HEALTH: Final = 1.0
HEALTH_AT_MOST: Final = 30.0
"""To ask whether a site that gets traffic is healthy: a few transactions for each member."""

UNDO: Final = HEALTH + WRITE
UNDO_AT_MOST: Final = HEALTH_AT_MOST + WRITE_AT_MOST
"""Of one step, in a single move that asks for health before; where clients meet it late, without the wait for that."""

AFTER_SETTLING: Final = 5.0
"""For the sessions of a drain that had just begun something, and for the queues."""


class Times(NamedTuple):
    """How long something takes."""

    expected: float | None
    """When all goes well."""
    at_most: float | None
    """After that it is over or has failed."""


UNKNOWN: Final = Times(None, None)
NOTHING: Final = Times(0.0, 0.0)


class PathTimes(NamedTuple):
    """How long a whole plan takes, along the longest way through it."""

    expected: float
    """When all goes well, without people and what is unknown: it takes at least so long."""
    at_most: float | None
    """After that all but people is over or has failed; None where a step has no limit. Never less than expected."""
    unknown_steps: tuple[str, ...]
    """Those of which nobody can say how long they take."""
    people: Mapping[str, float | None]
    """Steps that wait for people, and how long the runbook says that these take."""
    with_people: float
    """As expected, with what the runbook says of people."""


def critical_path(steps: Sequence[PlannedStep]) -> PathTimes:
    """How long the steps take together: independent ones run side by side; plans B do not count."""
    forward = in_order(steps)
    does = {step.id: step.step for step in forward}
    people = {step.id: people_take(step, _does(step, does)) for step in forward if asks_people(step, _does(step, does))}
    limits = {step.id: 0.0 if _only_people(step, people) else step.at_most for step in forward}
    at_most = _end(forward, limits) if None not in limits.values() else None
    with_people = {step.id: (step.expected or 0.0) + (people.get(step.id) or 0.0) for step in forward}
    unknown = tuple(step.id for step in forward if step.expected is None and step.id not in people)
    expected = _end(forward, {step.id: step.expected for step in forward})
    return PathTimes(expected, at_most, unknown, people, _end(forward, with_people))


def _does(planned: PlannedStep, steps: Mapping[str, Step]) -> Step:
    """The step itself, or the one that it returns."""
    return planned.step if planned.returns is None else steps.get(planned.returns, planned.step)


def _only_people(planned: PlannedStep, people: Mapping[str, float | None]) -> bool:
    return planned.id in people and planned.expected is None and planned.at_most is None


def _end(forward: Sequence[PlannedStep], seconds: Mapping[str, float | None]) -> float:
    """When the last step is over."""
    ends: dict[str, float] = {}
    for step in forward:
        ends[step.id] = max((ends.get(need, 0.0) for need in step.needs), default=0.0) + (seconds[step.id] or 0.0)
    return max(ends.values(), default=0.0)


def asks_people(planned: PlannedStep, does: Step) -> bool:
    """Whether it goes on only when a person says so; ``does`` is the step itself, or the one that it returns."""
    step = planned.step
    if isinstance(does, ManualStep):
        return True
    if isinstance(step, HoldStep) and step.with_.until == "approval":
        return True
    first = not isinstance(step, ReturnStep) or planned.returns == step.steps[0]
    return step.approval is not None and first


def people_take(planned: PlannedStep, does: Step) -> float | None:
    """What the runbook estimates where people are asked, in seconds: theirs; None without, or where nobody is."""
    step = planned.step
    if step.estimate is None or not asks_people(planned, does):
        return None
    return step.estimate / _parts(step)


def back_from(steps: Sequence[PlannedStep], step: str) -> float | None:
    """How long an undo takes when ``step`` has just been done; None where a person has a part in it.

    What was done by then and not returned is taken back one after the other, each in a single move that asks for
    health before; where that cannot be, by its plan B. Of independent steps all that stand above count as done.

    Raises:
        ValueError: there is no such step on the way out and back.
    """
    forward = in_order(steps)
    names = [one.id for one in forward]
    done = forward[: names.index(step) + 1]
    returned = {one.returns for one in done if one.returns is not None}
    total = 0.0
    for one in done:
        if one.returns is not None or one.id in returned or not one.undo:
            continue
        seconds = undo_takes(one, steps)
        if seconds is None:
            return None
        total += seconds
    return total


def undo_takes(step: PlannedStep, steps: Sequence[PlannedStep]) -> float | None:
    """How long it takes to undo a step that was done: as often before, else by the rules; of what cannot be undone
    its plan B, which is among ``steps``. None where a person has a part in it and the runbook has no estimate.
    """
    if not step.reversible:
        instead = [_whole(one) for one in steps if one.instead_of == step.id]
        known = [seconds for seconds in instead if seconds is not None]
        return sum(known) if len(known) == len(instead) else None
    if isinstance(step.step, ManualStep):
        return step.step.estimate
    return UNDO + step.settles if step.undo_expected is None else step.undo_expected


def undo_overdue_after(step: PlannedStep) -> float:
    """Seconds after which an undo in a single move takes longer than it should."""
    if step.undo_overdue is not None:
        return step.undo_overdue
    return UNDO_AT_MOST + _settled_within(step.settles)


def paced_undo_takes(step: PlannedStep, steps: Sequence[PlannedStep]) -> float | None:
    """As ``undo_takes``, of an undo that goes back by the waypoints of the way out, with their pauses."""
    if not isinstance(step.step, ShiftStep):
        return undo_takes(step, steps)
    return len(step.step.with_.by) * (UNDO + step.settles + step.step.with_.pause)


def _whole(planned: PlannedStep) -> float | None:
    """With the time of people; None where that is unknown."""
    if not asks_people(planned, planned.step):
        return planned.expected
    people = people_take(planned, planned.step)
    return None if people is None else (planned.expected or 0.0) + people


def step_times(
    planned: PlannedStep,
    does: Step,
    waypoints: Sequence[Waypoint[Value]],
    receivers: int,
    checks: Mapping[str, Check],
    *,
    blind: bool,
    switch: AnySwitch | None = None,
    past: Past | None = None,
) -> Times:
    """How long a step takes that goes along ``waypoints`` and sends traffic to so many ``receivers``, without people.

    ``does`` is the step itself, or the one that it returns.
    ``blind`` is whether a gate on the way sees no transactions, so that its sessions need longer silence.
    ``switch`` is what it writes to, if anything.
    ``past`` is how long the same work took before: what was measured goes before what the runbook estimates, and that
    before the rules.
    """
    step = planned.step
    if not waypoints and not isinstance(step, VerifyStep):
        return NOTHING  # it finds all as it wants it, and asks no gate
    work = _all([_work(does, switch, returning=planned.returns is not None, blind=blind)] * len(waypoints))
    once = _all(check_times(checks[name]) for name in _once(step))
    after = _all([check_times(checks[name]) for name in step.after] * len(waypoints))
    pauses = sum(waypoint.pause for waypoint in waypoints)
    health = Times(HEALTH * receivers, HEALTH_AT_MOST * receivers)
    one_try = _all([once, health, work, Times(pauses, pauses), after])
    if past is not None:  # who has seen it take longer knows more than our bounds do, but not than a timeout
        bound = None if one_try.at_most is None else max(one_try.at_most, past.overdue)
        return _consistent(Times(past.expected, _with_tries(step, bound)))
    whole = Times(one_try.expected, _with_tries(step, one_try.at_most))
    return _consistent(whole if asks_people(planned, does) else _estimated(step, whole))


def overdue_after(planned: PlannedStep, times: Times, past: Past | None) -> float | None:
    """Seconds after which a step takes longer than it should, without people: than nineteen of twenty did before, else
    than its limit. None where nobody can say, or where there is nothing to do.
    """
    if planned.timed is None:
        return None
    if past is None:
        return times.at_most or None
    return past.overdue if times.at_most is None else min(past.overdue, times.at_most)


def _estimated(step: Step, times: Times) -> Times:
    """With what the runbook says of the step. Who knows that it takes longer knows more than our bounds do."""
    if step.estimate is None:
        return times
    stated = step.estimate / _parts(step)
    most = times.at_most if times.at_most is None or step.timeout is not None else max(times.at_most, stated)
    return Times(stated, most)


def _consistent(times: Times) -> Times:
    """What is over at its limit is not expected to take longer."""
    if times.expected is None or times.at_most is None:
        return times
    return Times(min(times.expected, times.at_most), times.at_most)


def _once(step: Step) -> tuple[str, ...]:
    return step.checks if isinstance(step, VerifyStep) else step.before


def _parts(step: Step) -> int:
    """Units of work that share the step's estimate."""
    return len(step.steps) if isinstance(step, ReturnStep) else 1


def _with_tries(step: Step, at_most: float | None) -> float | None:
    """With the step's timeout, which is for each try, and its retries."""
    if step.timeout is not None:
        at_most = step.timeout if at_most is None else min(at_most, step.timeout)
    if at_most is None or step.retries is None:
        return at_most
    return at_most * (1 + step.retries.times) + sum(step.retries.pauses())


def _work(step: Step, switch: AnySwitch | None, *, returning: bool, blind: bool) -> Times:
    """One converge."""
    if isinstance(step, HoldStep) and not returning:
        until = step.with_.until
        return NOTHING if until == "approval" else Times(float(until), float(until))
    if isinstance(step, DrainStep) and not returning:
        return _drain_times(step.with_, blind=blind)
    if isinstance(step, TakeOutStep) and not returning:
        return _take_out_times(step.with_, switch)
    if isinstance(step, ScaleOutStep | NodeDrainStep) and not returning:
        return Times(None, step.with_.deadline)  # machines and pods take as long as they take
    return NOTHING if isinstance(step, VerifyStep | HoldStep | ManualStep | ReturnStep) else _write_times(switch)


def _write_times(switch: AnySwitch | None) -> Times:
    """A write, and the wait until clients meet it."""
    settles = 0.0 if switch is None else switch.settles_in
    return Times(WRITE + settles, WRITE_AT_MOST + _settled_within(settles))


def _settled_within(settles: float) -> float:
    """The wait is given up after so long without progress; where nothing is ever waited for it is 0."""
    return settles + SETTLES_WITHIN if settles else 0.0


def _take_out_times(arguments: TakeOutArguments, switch: AnySwitch | None) -> Times:
    """Clients learn of it while the switch lets go; the deadline is for both, and asked for only after the first."""
    settles, drains = (0.0, None) if switch is None else (switch.settles_in, switch.drains_in)
    expected = None if drains is None else WRITE + max(settles, drains)
    if arguments.deadline is None:
        return Times(expected, None)
    least = None if expected is None else min(expected, max(arguments.deadline, settles))
    return Times(least, max(arguments.deadline, _settled_within(settles)))


def _drain_times(arguments: DrainArguments, *, blind: bool) -> Times:
    """The deadline counts for the sessions, and anew for the queues."""
    settle = SETTLE_WITH_TRANSACTIONS if arguments.settle is None else arguments.settle
    expected = (max(settle, SETTLE_BLIND) if blind else settle) + AFTER_SETTLING
    if arguments.deadline is None:
        return Times(expected, None)
    cut = CUT_WITHIN if arguments.at_deadline == "cut" else 0.0
    return Times(min(expected, arguments.deadline), 2 * arguments.deadline + cut)


def check_times(check: Check) -> Times:
    """How long a check measures."""
    longest = 0.0 if isinstance(check, SessionsCheck) else check.with_.timeout
    if check.detect is not None:
        found = _detect_times(check, check.detect)
        if check.over is None:
            return found
        least = check.over if found.expected is None else min(found.expected, check.over)
        return Times(least, min(found.at_most or math.inf, check.over + longest))
    seconds = check.for_ if check.for_ is not None else check.over
    seconds = DEFAULT_WINDOW if seconds is None else seconds
    return Times(seconds, seconds + longest)


def _detect_times(check: Check, detect: Detect) -> Times:
    """As many probes as the sequential test is expected to need, some side by side."""
    try:
        test = SequentialTest(detect)
    except ValueError:
        return NOTHING  # it is not measured at all
    if isinstance(check, SmtpCheck):
        rounds, most = test.expected_good / check.with_.concurrency, test.limit / check.with_.concurrency
        return Times(
            rounds * (TRANSACTION + check.with_.pause), math.ceil(most) * (check.with_.timeout + check.with_.pause)
        )
    if isinstance(check, DeliveryCheck):  # how long a message takes to arrive is what is to be found out
        return Times(None, math.ceil(test.limit / check.with_.concurrency) * check.with_.timeout)
    return UNKNOWN


def _all(parts: Iterable[Times]) -> Times:
    """One after the other."""
    expected, at_most = 0.0, 0.0
    known = bounded = True
    for part in parts:
        known, bounded = known and part.expected is not None, bounded and part.at_most is not None
        expected, at_most = expected + (part.expected or 0.0), at_most + (part.at_most or 0.0)
    return Times(expected if known else None, at_most if bounded else None)
