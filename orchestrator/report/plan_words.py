"""The words in which every form of a plan speaks of steps, checks, guards, times and shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, assert_never

from orchestrator.model.check import BlastRadiusGuard, Check, CheckGuard, Detect, Guard, HeadroomGuard, ServingGuard
from orchestrator.model.plan import PLAN_RULES, Milestone, Plan, PlannedStep, PlanRule, Refusal
from orchestrator.model.runbook import Approval, HoldStep, ManualStep, Retries, ReturnStep, ShiftStep, VerifyStep
from orchestrator.model.units import format_duration, format_fraction
from orchestrator.planning import watched_as
from orchestrator.planning.times import asks_people, people_take

_CHANGES_NOTHING: Final = frozenset({"verify", "hold"})
_SHOWN: Final = 3
"""So many lines fit into one; of more those between are counted."""
_LEAST: Final = 0.0005
"""A share of traffic that is less is none: it would be shown as 0%."""


def has_changes(plan: Plan) -> bool:
    """Whether any step would change anything, as far as planning could see."""
    return any(changes(planned) for planned in plan.forward)


def changes(planned: PlannedStep) -> bool:
    """Whether the step moves something now; a return only brings back what an earlier step moved."""
    return bool(planned.diff) and planned.returns is None and not only_waits(planned)


def only_waits(planned: PlannedStep) -> bool:
    """Whether it looks or waits, and never changes anything."""
    return planned.step.do in _CHANGES_NOTHING


def verb_text(planned: PlannedStep) -> str:
    """What the step does, in a word or three."""
    return f"takes {planned.returns} back" if planned.returns is not None else planned.step.do


def diff_lines(planned: PlannedStep) -> list[str]:
    """What it changes, a line each; what there is to say instead where planning saw no change."""
    if planned.step.do in _CHANGES_NOTHING or isinstance(planned.step, ManualStep):
        return []  # its course says it
    if planned.diff:
        return [line for line in planned.diff if planned.sessions is None or not line.startswith("sessions: ")]
    if planned.returns is not None:
        return [f"to what {planned.returns} finds when it starts"]
    return ["nothing to do: already so" if planned.observed is not None else "can be seen only when it is its turn"]


def course_lines(planned: PlannedStep) -> Iterator[tuple[str, str]]:
    """How the step goes about it, as titles with their texts."""
    step = planned.step
    if isinstance(step, VerifyStep):
        yield "checks", ", ".join(step.checks)
    elif isinstance(step, HoldStep):
        until = step.with_.until
        yield ("until", "a person approves it") if until == "approval" else ("for", format_duration(until))
    elif isinstance(step, ManualStep):
        yield "task", step.with_.task
    elif isinstance(step, ShiftStep) and (changes(planned) or not planned.diff):
        pause = f", {format_duration(step.with_.pause)} at each" if step.with_.pause else ""
        yield "by", f"{', '.join(map(format_fraction, step.with_.by))}{pause}"


def terms_lines(planned: PlannedStep) -> Iterator[tuple[str, str]]:
    """When the step may go on, and what becomes of it when it fails, as titles with their texts."""
    step = planned.step
    if step.approval is not None and not _asked_before(planned):
        yield "approval", approval_text(step.approval)
    if step.before:
        yield "before", ", ".join(step.before)
    if step.after:
        yield "after", ", ".join(step.after)
    if step.timeout is not None:
        yield "timeout", format_duration(step.timeout) + (" for each try" if step.retries else "")
    if step.retries is not None:
        yield "retries", retries_text(step.retries)
    if step.on_failure is not None:
        yield "failure", step.on_failure


def _asked_before(planned: PlannedStep) -> bool:
    """Of a return only the first part asks."""
    return isinstance(planned.step, ReturnStep) and planned.returns != planned.step.steps[0]


def approval_text(approval: Approval) -> str:
    """Whom it wants, and what they are asked."""
    who = "a person must" if approval.people == 1 else f"{approval.people} people must"
    return f"{who} approve" + (f": {approval.ask}" if approval.ask else "")


def retries_text(retries: Retries) -> str:
    """How often, and how long after."""
    pauses = [format_duration(pause) for pause in retries.pauses()]
    shown = [*pauses[:4], "…"] if len(pauses) > 5 else pauses
    return f"{retries.times}, after {', '.join(shown)}"


def needs_text(planned: PlannedStep, above: PlannedStep | None) -> str:
    """What it waits for, where that is not just the step above it."""
    if above is None or planned.needs == (above.id,) or planned.instead_of is not None:
        return ""
    return ", ".join(planned.needs) or "nothing: it begins at once"


def takes_text(planned: PlannedStep) -> str:
    """How long it takes, as far as that is known."""
    parts = []
    if planned.expected is not None and planned.past:
        parts.append(f"usually {format_duration(planned.expected)} (p75 of {planned.past} runs)")
    elif planned.expected is not None and planned.expected >= 1:
        parts.append(f"~{format_duration(planned.expected)}")
    if planned.at_most is not None and (planned.at_most or not asks_people(planned, planned.step)):
        parts.append(f"at most {format_duration(planned.at_most)}")
    if people := people_take(planned, planned.step):
        parts.append(f"~{format_duration(people)} for people")
    return ", ".join(parts)


def share_text(share: float) -> str:
    """A share of traffic with at most one digit behind the point."""
    return f"{share * 100:.1f}".removesuffix(".0") + "%"


def ratio_text(ratio: float | None) -> str:
    """A headroom, rounded down, so that what is too little never reads as enough."""
    return "–" if ratio is None else f"{int(ratio * 100 + 1e-9) / 100:.2f}"  # noqa: RUF001


def moves_traffic(planned: PlannedStep) -> bool:
    """Whether it moves new traffic at some waypoint, as foreseen."""
    return any(pool.moved >= _LEAST for mark in planned.milestones for pool in mark.pools)


def table_of(pool: str, milestones: Sequence[Milestone], widest: int = 6) -> list[list[str]]:
    """How ``pool`` stands at each waypoint: a heading, then a row each.

    Of more sites than ``widest`` those are shown whose share changes most; the others come together.
    """
    stands = [(mark.label or "then", one) for mark in milestones for one in mark.pools if one.pool == pool]
    sites = list(dict.fromkeys(site for _, one in stands for site in one.shares))
    shown, others = _split([one.shares for _, one in stands], sites, widest)
    head = [pool, *shown, *(["others"] if others else []), "moved", "headroom", "serving"]
    rows = [head]
    for label, one in stands:
        shares = [one.shares.get(site, 0.0) for site in shown]
        if others:
            shares.append(sum(one.shares.get(site, 0.0) for site in others))
        serving = ", ".join(one.serving) if len(one.serving) <= widest else f"{len(one.serving)} sites"
        texts = [share_text(share) for share in (*shares, one.moved)]
        rows.append([label, *texts, ratio_text(one.headroom), serving or "none"])
    return rows


def _split(
    shares: Sequence[dict[str, float]], sites: Sequence[str], widest: int
) -> tuple[Sequence[str], Sequence[str]]:
    if len(sites) <= widest:
        return sites, ()

    def weight(site: str) -> tuple[float, float]:
        ours = [one.get(site, 0.0) for one in shares]
        return max(ours) - min(ours), max(ours)

    chosen = set(sorted(sites, key=weight, reverse=True)[: widest - 1])
    return [site for site in sites if site in chosen], [site for site in sites if site not in chosen]


def pools_of(planned: PlannedStep) -> list[str]:
    """The pools of which its waypoints tell."""
    return list(dict.fromkeys(one.pool for mark in planned.milestones for one in mark.pools))


def undo_order(plan: Plan) -> list[tuple[PlannedStep, str]]:
    """What an undo does, the last step first: each step that changes something, and a line on it."""
    told = ((planned, undo_text(plan, planned)) for planned in reversed(plan.forward))
    return [(planned, text) for planned, text in told if text]


def undo_text(plan: Plan, planned: PlannedStep) -> str:
    """What an undo of the step does, on one line; empty where there is nothing to undo.

    What a return has brought back needs no undo, and before that the step that it returns has its own.
    """
    if planned.returns is not None or not changes(planned):
        return ""
    if not planned.reversible:
        instead = ", ".join(step.id for step in plan.plan_b(planned.id))
        return f"cannot be undone; plan B: {instead}" if instead else "cannot be undone"
    return "; ".join(shortened(planned.undo))


def shortened(lines: Sequence[str]) -> Sequence[str]:
    """The lines; of many the first ones and the last, which sums them up."""
    if len(lines) <= _SHOWN:
        return lines
    return (*lines[: _SHOWN - 2], f"… {len(lines) - _SHOWN + 1} more …", lines[-1])


def point_of_no_return_text(plan: Plan) -> str:
    """From where on nothing can be fully undone."""
    at = plan.point_of_no_return
    if at is None:
        return "none, every step can be undone"
    instead = ", ".join(step.id for step in plan.plan_b(at)) or "none"
    return f"from {at} on the run cannot be fully undone; plan B: {instead}"


@dataclass(frozen=True, slots=True)
class GuardLine:
    """A guard as people read it."""

    text: str
    set_aside: str = ""
    """Why it is set aside; empty: it is watched as it is."""
    broken: tuple[str, ...] = ()
    """What the plan breaks of it, with the step and the numbers."""
    instead: str = ""
    """What is watched instead; empty: nothing is."""

    def __str__(self) -> str:
        if not self.set_aside:
            return self.text
        instead = f"; watched instead: {self.instead}" if self.instead else ""
        return f"{self.text} — set aside: {self.set_aside}{''.join(f'; {line}' for line in self.broken)}{instead}"


def guard_lines(plan: Plan) -> list[GuardLine]:
    """What must hold all the time; then what else of the rules of plans is set aside."""
    lines, told = [], set()
    for guard in plan.runbook.guards:
        here = _set_aside(plan, guard)
        watched = watched_as(plan, guard)
        if not here or watched == guard:
            lines.append(GuardLine(guard_text(guard)))
            continue
        told |= set(here)
        instead = guard_text(watched) if watched is not None else ""
        lines.append(GuardLine(guard_text(guard), plan.overrides.get(here[0].rule, ""), _broken(here), instead))
    for rule, reason in plan.overrides.items():
        others = [one for one in plan.set_aside if one.rule == rule and one not in told]
        if others or all(one.rule != rule for one in told):
            lines.append(GuardLine(f"{rule}: {rule_text(rule)}", reason, _broken(others)))
    return lines


def _set_aside(plan: Plan, guard: Guard) -> list[Refusal]:
    """What is set aside of the rule that the guard states, for its pool."""
    match guard:
        case CheckGuard():
            return []
        case HeadroomGuard():
            rule, pool = "headroom", guard.headroom.pool
        case ServingGuard():
            rule, pool = "serving", guard.serving.pool
        case BlastRadiusGuard():
            rule, pool = "blast-radius", guard.blast_radius.pool
        case _:
            assert_never(guard)
    return [one for one in plan.set_aside if (one.rule, one.pool) == (rule, pool)]


def _broken(refusals: Sequence[Refusal]) -> tuple[str, ...]:
    return tuple(broken_text(one) for one in refusals)


def broken_text(refusal: Refusal) -> str:
    """Where a rule is broken, and by how much."""
    return f"{refusal.step}: {refusal.reason}" if refusal.step else refusal.reason


def rule_text(rule: PlanRule) -> str:
    """What a rule of plans asks for."""
    return PLAN_RULES[rule]


def guard_text(guard: Guard) -> str:
    """What must hold all the time."""
    if isinstance(guard, CheckGuard):
        return f"check {guard.check}"
    if isinstance(guard, HeadroomGuard):
        return f"capacity of {guard.headroom.pool} that serves / demand >= {guard.headroom.at_least:g}"
    if isinstance(guard, BlastRadiusGuard):
        return f"no waypoint moves more than {format_fraction(guard.blast_radius.at_most)} of {guard.blast_radius.pool}"
    sites = guard.serving.at_least
    return f"{guard.serving.pool} serves from >= {sites} site{'' if sites == 1 else 's'}"


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


def _detect_text(detect: Detect) -> str:
    return f"finds {format_fraction(detect.failure_rate)} failing with {format_fraction(detect.confidence)} confidence"


def include_of(plan: Plan, planned: PlannedStep) -> str | None:
    """The include that the step came with, the inner one of several."""
    names = [name for name in plan.runbook.includes if planned.step.id.startswith(f"{name}.")]
    return max(names, key=len, default=None)


def included_before(plan: Plan) -> dict[str, list[str]]:
    """By the first step of each included runbook: the includes that begin there, the outer one first."""
    begun: dict[str, list[str]] = {}
    seen: set[str] = set()
    for planned in plan.forward:
        name = planned.step.id
        for include in plan.runbook.includes:
            if include not in seen and name.startswith(f"{include}."):
                seen.add(include)
                begun.setdefault(planned.id, []).append(include)
    return {step: sorted(names, key=len) for step, names in begun.items()}


def with_above(steps: Sequence[PlannedStep]) -> Iterator[tuple[PlannedStep, PlannedStep | None]]:
    """Each step with the one that stands above it."""
    if steps:
        yield steps[0], None
    yield from ((below, above) for above, below in pairwise(steps))
