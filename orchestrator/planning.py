"""A runbook and the observed world → a plan, or a refusal with every reason. Reads only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from orchestrator.actions.action import Action
from orchestrator.errors import OutsideError, RefusedError
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import ReturnStep, Runbook, VerifyStep
from orchestrator.model.value import Value


def ordered(runbook: Runbook) -> tuple[PlannedStep, ...]:
    """The engine's units of work: each step, and each part of a ``return`` one after the other."""
    last_part = {step.id: f"{step.id}.{step.steps[-1]}" for step in runbook.steps if isinstance(step, ReturnStep)}
    planned: list[PlannedStep] = []
    for step in runbook.steps:
        needs = tuple(last_part.get(name, name) for name in runbook.needs(step))
        if not isinstance(step, ReturnStep):
            planned.append(PlannedStep(id=step.id, step=step, needs=needs))
            continue
        for name in step.steps:
            planned.append(PlannedStep(id=f"{step.id}.{name}", step=step, needs=needs, returns=name))
            needs = (f"{step.id}.{name}",)
    return tuple(planned)


async def make_plan(
    runbook: Runbook,
    inventory: Inventory,
    parameters: Mapping[str, str | int | float],
    actions: Mapping[str, Action[Value]],
) -> Plan:
    """Observe what each step would change, and write it down.

    Raises:
        RefusedError: something that can be seen now would stop the run; every reason is given.
    """
    steps = ordered(runbook)
    answers = await asyncio.gather(*(_planned(step, actions) for step in steps))
    problems = list(dict.fromkeys(problem for _, found in answers for problem in found))
    if problems:
        raise RefusedError("\n".join(problems))
    return Plan(
        runbook=runbook,
        inventory=inventory,
        parameters=dict(parameters),
        steps=tuple(step for step, _ in answers),
    )


async def _planned(step: PlannedStep, actions: Mapping[str, Action[Value]]) -> tuple[PlannedStep, Sequence[str]]:
    if isinstance(step.step, VerifyStep):
        return step.model_copy(update={"diff": tuple(f"check {name}" for name in step.step.checks)}), ()
    if step.returns is not None:
        return step.model_copy(update={"diff": (f"undo {step.returns}: back to what is recorded before it",)}), ()
    action = actions[step.id]
    try:
        problems = await action.preflight()
        observed = await action.observe()
    except OutsideError as error:
        return step, (str(error),)
    if problems:
        return step, problems
    diff = tuple(action.describe(observed, action.target(observed)))
    state = observed.model_dump(mode="json", by_alias=True)
    return step.model_copy(update={"diff": diff, "observed": state}), ()
