"""Every verb of the runbook language, and the action that does it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never, cast

from orchestrator.actions.action import Action
from orchestrator.actions.drain import SmtpDrain, drained_members
from orchestrator.actions.hold import Hold
from orchestrator.actions.manual import Manual
from orchestrator.actions.node_drain import NodeDrain
from orchestrator.actions.scale_out import ScaleOut
from orchestrator.actions.take_out import TakeOut
from orchestrator.actions.traffic import TrafficShift
from orchestrator.model.runbook import (
    DrainStep,
    HoldStep,
    ManualStep,
    NodeDrainStep,
    ReturnStep,
    Runbook,
    ScaleOutStep,
    ShiftStep,
    Step,
    TakeOutStep,
    VerifyStep,
)
from orchestrator.model.value import Value
from orchestrator.ports import Clock, Outside


def actions_of(runbook: Runbook, outside: Outside, clock: Clock) -> Mapping[str, Action[Value]]:
    """The action of each step, plan B too, by the step's id; a step that only looks or returns has none of its own."""
    steps = (one for step in runbook.steps for one in (step, *step.plan_b))
    built = ((step.id, action_of(step, outside, clock)) for step in steps)
    return {name: action for name, action in built if action is not None}


def action_of(step: Step, outside: Outside, clock: Clock) -> Action[Value] | None:
    """The action that ``step`` asks for, bound to its ports."""
    action: Any
    match step:
        case VerifyStep() | ReturnStep():
            return None
        case ShiftStep():
            arguments = step.with_
            action = TrafficShift(arguments, outside.inventory.pools[arguments.pool], outside.switch(arguments.pool))
        case TakeOutStep():
            out = step.with_
            action = TakeOut(out, outside.inventory.pools[out.pool], outside.switch(out.pool))
        case DrainStep():
            action = _drain(step, outside, clock)
        case ScaleOutStep():
            action = ScaleOut(step.with_, outside.scaling(step.with_.pool, step.with_.site))
        case NodeDrainStep():
            action = NodeDrain(step.with_, outside.node(step.with_.host))
        case HoldStep():
            action = Hold(step.with_)
        case ManualStep():
            action = Manual(step.with_)
        case _:
            assert_never(step)
    return cast("Action[Value]", action)  # each action checks the states that it is given by its own state class


def _drain(step: DrainStep, outside: Outside, clock: Clock) -> SmtpDrain:
    arguments, inventory = step.with_, outside.inventory
    hosts = drained_members(arguments, inventory.pools[arguments.pool])
    return SmtpDrain(
        arguments,
        inventory.pools[arguments.pool],
        outside.switch(arguments.pool),
        {host: outside.gate(host) for host in hosts},
        {host: outside.queue(host) for host in hosts if inventory.hosts[host].queue is not None},
        clock,
    )
