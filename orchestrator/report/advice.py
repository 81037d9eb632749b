"""What a person can type next, for each status that a run can stand in."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.report.account import ACTIVE, LIVE, Account
from orchestrator.status import RunState, RunStatus, StepStatus


@dataclass(frozen=True, slots=True)
class Advice:
    """A command, exactly as it is to be typed, and what it does."""

    command: str
    effect: str


def waits_for_approval(plan: Plan, state: RunState) -> list[str]:
    """The steps that stand still until a person approves them."""
    return [step.id for step in plan.steps if _asks(step) and _unanswered(step, state)]


def advice(account: Account) -> list[Advice]:
    """What can be typed while somebody works on the run; nothing while it goes on by itself."""
    match account.state.status:
        case RunStatus.HELD:
            waiting = waits_for_approval(account.plan, account.state)
            approvals = [Advice(f"failover approve {account.run} {step}", f"lets {step} go on") for step in waiting]
            return approvals if waiting or _waits_for_time(account) else _left(account)
        case RunStatus.INTERRUPTED | RunStatus.STUCK:
            return _left(account)
        case RunStatus.DONE if account.left_changed():
            return [_undo(account)]
        case _:
            return []


def advice_when_left(account: Account) -> list[Advice]:
    """What can be typed once nobody works on the run any more; nothing where it is over."""
    if account.state.status in LIVE:
        approvals = advice(account) if waits_for_approval(account.plan, account.state) else []
        return approvals + _left(account)
    return advice(account)


def _left(account: Account) -> list[Advice]:
    stuck = account.state.status is RunStatus.STUCK
    first = "after the repair: looks again and " if stuck else ""
    if account.state.undoing:
        return [Advice(f"failover undo {account.run}", f"{first}goes on undoing")]
    return [Advice(f"failover resume {account.run}", f"{first}goes on"), _undo(account)]


def _undo(account: Account) -> Advice:
    return Advice(f"failover undo {account.run}", "goes back to how it was before the run")


def _waits_for_time(account: Account) -> bool:
    return any(
        planned.step.do == "hold" and not _asks(planned) and account.state.step(planned.id).status in ACTIVE
        for planned in account.plan.steps
    )


def _asks(planned: PlannedStep) -> bool:
    return planned.step.do == "hold" and planned.step.with_.until == "approval"


def _unanswered(planned: PlannedStep, state: RunState) -> bool:
    step = state.step(planned.id)
    return step.status in ACTIVE and step.status is not StepStatus.UNDOING and step.approved_by is None
