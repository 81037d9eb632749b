"""Why a plan is not run, as standard error says it."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import JsonValue

from orchestrator.errors import BrokenRule, PlanRefusedError
from orchestrator.report.sheet import one_line


def plan_refused(error: PlanRefusedError) -> str:
    """Every reason on a line, the name of its rule in brackets where it has one; then how rules are set aside."""
    problems = [one_line(line) for problem in error.problems for line in problem.splitlines()]
    reasons = [*problems, *map(_refusal_text, error.refusals)]
    number = len(error.problems) + len(error.refusals)  # one reason may take several lines
    count = f"{number} reasons" if number != 1 else "one reason"
    lines = [f"cannot run this plan: it is refused for {count}, and nothing was touched"]
    lines += [f"  {reason}" for reason in reasons]
    return "\n".join([*lines, *_override_lines(error)])


def refusal_record(error: PlanRefusedError) -> dict[str, JsonValue]:
    """The same for machines: ``refused`` (true), ``problems`` and ``refusals``, each {rule, step, reason, remedy}."""
    return {
        "refused": True,
        "problems": list(error.problems),
        "refusals": [
            {"rule": one.rule, "step": one.step, "reason": one.reason, "remedy": one.remedy} for one in error.refusals
        ],
    }


def world_moved(lines: Iterable[str]) -> str:
    """What differs from the world that a saved plan was made for, a line each."""
    rows = [f"  {one_line(line)}" for line in lines]
    return "\n".join(
        [
            "cannot run this plan: the world has moved since it was made",
            *rows,
            "make a new plan and have it reviewed: failover plan RUNBOOK … -o plan.json",
        ]
    )


def _refusal_text(refusal: BrokenRule) -> str:
    return one_line(f"{refusal} [{refusal.rule}]")


def _override_lines(error: PlanRefusedError) -> list[str]:
    rules = dict.fromkeys(refusal.rule for refusal in error.refusals)
    if not rules:
        return []
    options = " ".join(f'--override {rule}="why it is right"' for rule in rules)
    first = "remove what has no rule's name in brackets, then " if error.problems else ""
    return [f"{first}to set {'a rule' if len(rules) == 1 else 'rules'} aside: {options}"]
