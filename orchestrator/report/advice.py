"""What a person can type next, for each status that a run can stand in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import HoldStep, ManualStep, ReturnStep
from orchestrator.report.account import ACTIVE, LIVE, Account
from orchestrator.status import RunState, RunStatus, StepState, StepStatus

_AT_WORK: Final = frozenset({StepStatus.CONVERGING, StepStatus.UNDOING})
"""In these a person is asked for work, or for its undo."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A command, exactly as it is to be typed, and what it does."""

    command: str
    effect: str


def waits_for_approval(plan: Plan, state: RunState) -> list[str]:
    """The steps that stand still until a person approves them."""
    return [step.id for step in plan.steps if _asks(plan, step, state.step(step.id))]


def advice(account: Account) -> list[Advice]:
    """What can be typed while somebody works on the run; nothing while it goes on by itself."""
    match account.state.status:
        case RunStatus.HELD:
            approvals = _approvals(account)
            waits = bool(approvals) or _waits_for_time(account)
            return [*approvals, _abort(account)] if waits else _left(account)
        case RunStatus.UNDOING:
            return _approvals(account)
        case RunStatus.INTERRUPTED | RunStatus.STUCK:
            return _left(account)
        case RunStatus.DONE if account.left_changed():
            return [_undo(account)]
        case _:
            return []


def advice_when_left(account: Account) -> list[Advice]:
    """What can be typed once nobody works on the run any more; nothing where it is over."""
    if account.state.status in LIVE:
        return _approvals(account) + _left(account)
    return advice(account)


def _approvals(account: Account) -> list[Advice]:
    waiting = waits_for_approval(account.plan, account.state)
    return [Advice(f"failover approve {account.run} {step}", f"lets {step} go on") for step in waiting]


def _left(account: Account) -> list[Advice]:
    stuck = account.state.status is RunStatus.STUCK
    first = "after the repair: looks again and " if stuck else ""
    if account.state.undoing:
        return [Advice(f"failover undo {account.run}", f"{first}goes on undoing")]
    return [Advice(f"failover resume {account.run}", f"{first}goes on"), _undo(account)]


def _abort(account: Account) -> Advice:
    return Advice(f"failover abort {account.run}", "ends the wait and goes back")


def _undo(account: Account) -> Advice:
    return Advice(f"failover undo {account.run}", "goes back to how it was before the run")


def _waits_for_time(account: Account) -> bool:
    return any(
        isinstance(planned.step, HoldStep)
        and planned.step.with_.until != "approval"
        and account.state.step(planned.id).status in ACTIVE
        for planned in account.plan.steps
    )


def _asks(plan: Plan, planned: PlannedStep, state: StepState) -> bool:
    """Whether the step stands still now for want of people who say yes."""
    wanted = planned.step.approval.people if planned.step.approval is not None else 1
    return _stops_for_people(plan, planned, state.status) and len(state.approvers) < wanted


def _stops_for_people(plan: Plan, planned: PlannedStep, status: StepStatus) -> bool:
    """A person's work stops on its way back too, if it has one; what wants an approval stops before it begins."""
    step = planned.step
    if _is_persons_work(plan, planned) and status in _AT_WORK:
        # A step that only has a plan B is undoing while that is done, and it is the plan B that asks.
        return status is StepStatus.CONVERGING or planned.reversible
    if isinstance(step, ManualStep):
        return False
    if isinstance(step, HoldStep):
        return step.with_.until == "approval" and status in ACTIVE - {StepStatus.UNDOING}
    if isinstance(step, ReturnStep) and planned.returns != step.steps[0]:
        return False
    return step.approval is not None and status is StepStatus.GATING


def _is_persons_work(plan: Plan, planned: PlannedStep) -> bool:
    """Whether a person does it: a manual step, or the part of a return that takes one back."""
    does = planned.step if planned.returns is None else plan.runbook.step(planned.returns)
    return isinstance(does, ManualStep)
