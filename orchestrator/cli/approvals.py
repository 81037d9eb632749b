"""Which steps of a plan wait for people, and what these call them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import InputError, Problem

if TYPE_CHECKING:
    from orchestrator.model.plan import Plan, PlannedStep


def approvable(plan: Plan, name: str) -> str:
    """The planned step that waits for people under the name that a person types.

    Raises:
        InputError: none does.
    """
    known = _waiting(plan)
    if name in known:
        return known[name]
    listed = ", ".join(known)
    problem = Problem(f"cannot approve {name}: no step of that name waits for people", f"these do: {listed or 'none'}")
    raise InputError([problem])


def _waiting(plan: Plan) -> dict[str, str]:
    """The planned steps that people can approve, by their names; a return by its own, as it asks once."""
    returned = {step.id: step for step in plan.forward if step.returns is None}
    names: dict[str, str] = {}
    for planned in plan.steps:
        if _asks(planned, returned):
            names[planned.id] = planned.id
        if planned.step.approval is not None and planned.returns is not None:
            names.setdefault(planned.step.id, planned.id)  # the first part
    return names


def _asks(planned: PlannedStep, returned: dict[str, PlannedStep]) -> bool:
    from orchestrator.model.runbook import HoldStep, ManualStep

    if planned.returns is not None:  # a manual step is undone by a person
        return isinstance(returned[planned.returns].step, ManualStep)
    return isinstance(planned.step, HoldStep | ManualStep) or planned.step.approval is not None
