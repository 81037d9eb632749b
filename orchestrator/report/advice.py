"""What a person can type next, for each status that a run can stand in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import HoldStep, ManualStep, ReturnStep
from orchestrator.report.account import ACTIVE, LIVE, Account, is_parked
from orchestrator.status import RunState, RunStatus, StepState, StepStatus

NOBODYS: Final = "-"
"""In place of a typed run: no command reaches it, as it is over in the world of a test."""

_AT_WORK: Final = frozenset({StepStatus.CONVERGING, StepStatus.UNDOING})
"""In these a person is asked for work, or for its undo."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A command, exactly as it is to be typed, and what it does."""

    command: str
    effect: str


def waits_for_approval(plan: Plan, state: RunState) -> list[str]:
    """The steps that stand still until a person approves them; none of a run that waits to be resumed or undone."""
    if is_parked(state):
        return []
    return [step.id for step in plan.steps if _is_on_its_way(step, state) and _asks(plan, step, state.step(step.id))]


def advice(account: Account) -> list[Advice]:
    """What can be typed while somebody works on the run; nothing while it goes on by itself.

    Where nobody does, as far as the account knows, what ``advice_when_left`` says.
    """
    if account.typed == NOBODYS:
        return []
    if account.left and account.state.status in LIVE:
        return advice_when_left(account)
    match account.state.status:
        case RunStatus.HELD:
            approvals = _approvals(account, "lets {} go on")
            waits = bool(approvals) or _waits_for_time(account)
            return [*approvals, _abort(account)] if waits else _left(account)
        case RunStatus.UNDOING:
            return _approvals(account, "lets {} go on")
        case RunStatus.INTERRUPTED | RunStatus.STUCK:
            return _left(account)
        case RunStatus.DONE if account.left_changed():
            return [_undo(account)]
        case _:
            return []


def advice_when_left(account: Account) -> list[Advice]:
    """What can be typed once nobody works on the run any more; nothing where it is over."""
    if account.typed == NOBODYS:
        return []
    if account.state.status in LIVE:
        return _approvals(account, "says yes for the resume") + _left(account)
    return advice(account)


def way_on(state: RunState, typed: str) -> Advice:
    """How a run that nobody works on, and that is not over, goes on the way that it was going; ``typed`` is the run."""
    first = "after the repair: looks again and " if state.status is RunStatus.STUCK else ""
    if state.undoing:
        return Advice(f"failover undo {typed}", f"{first}goes on undoing")
    return Advice(f"failover resume {typed}", f"{first}goes on")


def _approvals(account: Account, effect: str) -> list[Advice]:
    waiting = waits_for_approval(account.plan, account.state)
    return [Advice(f"failover approve {account.typed} {step}", effect.format(step)) for step in waiting]


def _left(account: Account) -> list[Advice]:
    first = way_on(account.state, account.typed)
    return [first] if account.state.undoing else [first, _undo(account)]


def _abort(account: Account) -> Advice:
    return Advice(f"failover abort {account.typed}", "ends the wait and goes back")


def _undo(account: Account) -> Advice:
    return Advice(f"failover undo {account.typed}", "goes back to how it was before the run")


def _waits_for_time(account: Account) -> bool:
    return any(
        isinstance(planned.step, HoldStep)
        and planned.step.with_.until != "approval"
        and account.state.step(planned.id).status in ACTIVE
        for planned in account.plan.steps
    )


def _is_on_its_way(planned: PlannedStep, state: RunState) -> bool:
    """Whether somebody goes on with the step once it is approved: on the way back only what goes back, or a plan B."""
    return not state.undoing or planned.instead_of is not None or state.step(planned.id).status is StepStatus.UNDOING


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
