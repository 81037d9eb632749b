"""A plan to read before it is run: what each step would change, its gates, the guards, and the checksum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pydantic import JsonValue

from orchestrator.model.check import Check, CheckGuard, Detect, Guard, HeadroomGuard
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import HoldStep, ReturnStep, ShiftStep, Step, VerifyStep
from orchestrator.model.units import format_duration, format_fraction
from orchestrator.report.account import parameters_text
from orchestrator.report.sheet import one_line

_CHANGES_NOTHING = frozenset({"verify", "hold"})


def plan_text(plan: Plan) -> str:
    """The plan for people. A step with changes is marked ``~``, one that takes others back ``<``, one that finds
    everything as it wants it ``=``; checks and waits have no mark.
    """
    return "\n".join(line.rstrip() for line in _lines(plan)) + "\n"


def plan_record(plan: Plan) -> dict[str, JsonValue]:
    """The plan for machines: runbook, summary, parameters, checksum, changes, steps, checks, guards.

    ``changes`` is whether running it would change anything; each step has id, do, needs, returns, diff, checks,
    before, after, timeout (seconds or null) and on_failure. Checks and guards are as people read them.
    """
    return {
        "runbook": plan.runbook.runbook,
        "summary": plan.runbook.summary,
        "parameters": dict(plan.parameters),
        "checksum": plan.checksum,
        "changes": has_changes(plan),
        "steps": [_step_record(planned) for planned in plan.steps],
        "checks": {name: check_text(check) for name, check in plan.runbook.checks.items()},
        "guards": [guard_text(guard) for guard in plan.runbook.guards],
    }


def has_changes(plan: Plan) -> bool:
    """Whether any step would change anything, as far as planning could see."""
    return any(_changes(planned) for planned in plan.steps)


def _changes(planned: PlannedStep) -> bool:
    """Whether the step moves something now; a return only brings back what an earlier step moved."""
    return bool(planned.diff) and planned.returns is None and planned.step.do not in _CHANGES_NOTHING


def check_text(check: Check) -> str:
    """What a check measures, where, for how long and what it must find."""
    parts = [f"{check.probe} at {check.at}"]
    if check.over is not None:
        parts.append(f"over {format_duration(check.over)}")
    if check.for_ is not None:
        parts.append(f"for {format_duration(check.for_)}")
    wants = [f"{metric} {threshold}" for metric, threshold in check.expect.items()]
    if check.detect is not None:
        wants.append(_detect_text(check.detect))
    return " ".join(parts) + (f": {', '.join(wants)}" if wants else "")


def guard_text(guard: Guard) -> str:
    """What must hold all the time."""
    if isinstance(guard, CheckGuard):
        return f"check {guard.check}"
    if isinstance(guard, HeadroomGuard):
        return f"capacity of {guard.headroom.pool} that serves / demand >= {guard.headroom.at_least:g}"
    sites = guard.serving.at_least
    return f"{guard.serving.pool} serves from >= {sites} site{'' if sites == 1 else 's'}"


def _detect_text(detect: Detect) -> str:
    return f"finds {format_fraction(detect.failure_rate)} failing with {format_fraction(detect.confidence)} confidence"


def _lines(plan: Plan) -> Iterator[str]:
    yield f"{plan.runbook.runbook}  {parameters_text(plan)}"
    if plan.runbook.summary:
        yield one_line(plan.runbook.summary)
    for planned in plan.steps:
        yield ""
        yield f"{_mark(planned)} {planned.id}  {_verb(planned)}"
        yield from (f"    {one_line(line)}" for line in planned.diff)
        if not planned.diff and (note := _no_diff(planned)):
            yield f"    {note}"
        yield from (f"    {line}" for line in _terms(planned))
    yield from _section("checks", (f"{name}: {check_text(check)}" for name, check in plan.runbook.checks.items()))
    yield from _section("guards", map(guard_text, plan.runbook.guards))
    changes = sum(_changes(planned) for planned in plan.steps)
    yield ""
    yield f"{changes} of {len(plan.steps)} steps change something now; checksum {plan.checksum}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    rows = [f"    {line}" for line in lines]
    if rows:
        yield from ("", f"  {title}", *rows)


def _mark(planned: PlannedStep) -> str:
    if planned.returns is not None or isinstance(planned.step, ReturnStep):
        return "<"
    if _changes(planned):
        return "~"
    return " " if planned.step.do in _CHANGES_NOTHING else "="


def _verb(planned: PlannedStep) -> str:
    return f"takes {planned.returns} back" if planned.returns is not None else planned.step.do


def _no_diff(planned: PlannedStep) -> str:
    if planned.returns is not None:
        return f"to what {planned.returns} finds when it starts"
    if planned.step.do in _CHANGES_NOTHING:
        return ""
    return "nothing to do: already so" if planned.observed is not None else "can be seen only when it is its turn"


def _terms(planned: PlannedStep) -> Iterator[str]:
    """How the step goes on its way, and when it may."""
    step = planned.step
    if planned.returns is None and (_changes(planned) or not planned.diff):
        yield from _course(step)
    for title, checks in (("before", step.before), ("after", step.after)):
        if checks:
            yield f"{title:<9}{_names(checks)}"
    if step.timeout is not None:
        yield f"timeout  {format_duration(step.timeout)}"
    if step.on_failure is not None:
        yield f"failure  {step.on_failure}"


def _course(step: Step) -> Iterator[str]:
    if isinstance(step, VerifyStep):
        yield f"checks   {_names(step.checks)}"
    elif isinstance(step, HoldStep):
        until = step.with_.until
        yield "until    a person approves it" if until == "approval" else f"for      {format_duration(until)}"
    elif isinstance(step, ShiftStep):
        pause = f", {format_duration(step.with_.pause)} at each" if step.with_.pause else ""
        yield f"by       {', '.join(map(format_fraction, step.with_.by))}{pause}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)


def _step_record(planned: PlannedStep) -> dict[str, JsonValue]:
    step = planned.step
    return {
        "id": planned.id,
        "do": step.do,
        "needs": list(planned.needs),
        "returns": planned.returns,
        "diff": list(planned.diff),
        "checks": list(step.checks) if isinstance(step, VerifyStep) else [],
        "before": list(step.before),
        "after": list(step.after),
        "timeout": step.timeout,
        "on_failure": step.on_failure,
    }
