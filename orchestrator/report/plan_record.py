"""A plan for machines, as JSON.

Its record (``plan_record``) has these keys, and will keep them::

    runbook, summary, parameters, checksum
    changes                               whether running it would change anything, as far as planning could see
    steps                                 in order, those of a plan B behind the step that they stand for; each:
        id, do, needs, returns            returns: the step that this part of a return takes back, or null
        diff                              what it changes, a line each, as people read it
        checks, before, after             names of checks: what a verify step runs, and the gates
        timeout, on_failure               seconds; undo, hold or continue; null where the runbook says nothing
        changes                           whether it changes something now
        include                           the include that it came with, or null
        instead_of                        the step whose plan B it belongs to, or null
        reversible, undo                  whether it can be undone; what an undo does, a line each
        plan_b                            ids of the steps that are done instead of an undo
        approval                          {people, ask}, or null
        retries                           the pause in seconds before each retry
        observed                          the state that it will find, as foreseen, or null
        milestones                        its waypoints as foreseen, each {label, pools: [{pool, shares, moved,
                                          serving, headroom}]}; shares and moved are fractions of one
        sessions                          to move, by today's count; null where it moves none
        expected, at_most                 seconds without people, or null where nobody can say
        past                              how many past durations expected (p75) and overdue (p95) rest on; 0: none,
                                          but estimates and rules of thumb
        overdue                           seconds after which it takes longer than it should, or null
        people                            seconds that people take, as the runbook says, or null
    checks, guards                        as people read them
    guards_set_aside                      guards that an override sets aside: they are not watched as they are stated
    guards_watched                        what is watched in a run: the others as stated, those at what was foreseen
    includes                              by name: {runbook, summary, parameters}
    skipped                               steps that are left out, with the reason
    warnings                              what lint says, a line each
    overrides                             rules that are set aside, with the reason
    set_aside                             all that they set aside: each {rule, step, pool, found, reason, remedy};
                                          found is the headroom, sites or share that was foreseen, or null
    world                                 what the plan rests on: each {subject, value}
    undo                                  ids of the steps that an undo works on, the first one first
    point_of_no_return                    the first step that cannot be undone, or null
    times                                 seconds without people: expected, at_most (null: no limit), window (or null),
                                          back (an undo in single moves, from where it takes longest; null: unknown, or
                                          no window); people: steps that wait for them; with_people: expected, with
                                          what the runbook says of people; unknown: other steps that nobody can
                                          estimate; window_ends, begin_by: RFC 3339, or null where no end is stated
"""

from __future__ import annotations

from pydantic import JsonValue

from orchestrator.model.moment import timestamp
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import VerifyStep
from orchestrator.planning import watched_as, watched_guards
from orchestrator.planning.times import people_take
from orchestrator.report import plan_words as words
from orchestrator.report.plan_times import plan_times


def plan_record(plan: Plan) -> dict[str, JsonValue]:
    """The plan for machines, with the keys that the module's docstring names."""
    runbook = plan.runbook
    return {
        "runbook": runbook.runbook,
        "summary": runbook.summary,
        "parameters": dict(plan.parameters),
        "checksum": plan.checksum,
        "changes": words.has_changes(plan),
        "steps": [_step(plan, planned) for planned in plan.steps],
        "checks": {name: words.check_text(check) for name, check in runbook.checks.items()},
        "guards": [words.guard_text(guard) for guard in runbook.guards],
        "guards_set_aside": [words.guard_text(guard) for guard in runbook.guards if watched_as(plan, guard) != guard],
        "guards_watched": [words.guard_text(guard) for guard in watched_guards(plan)],
        "includes": {name: included.model_dump(mode="json") for name, included in runbook.includes.items()},
        "skipped": dict(runbook.skipped),
        "warnings": list(plan.warnings),
        "overrides": {str(rule): reason for rule, reason in plan.overrides.items()},
        "set_aside": [one.model_dump(mode="json") for one in plan.set_aside],
        "world": [fact.model_dump(mode="json") for fact in plan.world],
        "undo": [planned.id for planned, _ in words.undo_order(plan)],
        "point_of_no_return": plan.point_of_no_return,
        "times": _times(plan),
    }


def _step(plan: Plan, planned: PlannedStep) -> dict[str, JsonValue]:
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
        "changes": words.changes(planned),
        "include": words.include_of(plan, planned),
        "instead_of": planned.instead_of,
        "reversible": planned.reversible,
        "undo": list(planned.undo),
        "plan_b": [one.id for one in plan.plan_b(planned.id)],
        "approval": step.approval.model_dump(mode="json") if step.approval is not None else None,
        "retries": list(step.retries.pauses()) if step.retries is not None else [],
        "observed": planned.observed,
        "milestones": [mark.model_dump(mode="json") for mark in planned.milestones],
        "sessions": planned.sessions,
        "expected": planned.expected,
        "at_most": planned.at_most,
        "past": planned.past,
        "overdue": planned.overdue,
        "people": people_take(planned, planned.step),
    }


def _times(plan: Plan) -> dict[str, JsonValue]:
    times = plan_times(plan)
    return {
        "expected": round(times.expected, 3),
        "at_most": None if times.at_most is None else round(times.at_most, 3),
        "window": times.window,
        "back": times.back,
        "people": list(times.people),
        "with_people": round(times.with_people, 3),
        "unknown": list(times.unknown),
        "window_ends": timestamp(times.window_ends),
        "begin_by": timestamp(times.begin_by),
    }
