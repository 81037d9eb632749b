"""Whether a run may go on beside others that work on the same pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.cli.ownership import who
from orchestrator.cli.plan import overrides_of
from orchestrator.cli.record import say
from orchestrator.errors import InputError, Problem, RefusedError

if TYPE_CHECKING:
    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.model.plan import Plan, PlanRule


def alone(plan: Plan, run: str, record: SqliteJournal, override: str | None) -> None:
    """Make sure that no other run works on the same pools, or keep why this one goes on all the same.

    Raises:
        InputError: the override names another rule, or no reason.
        RefusedError: another run does.
    """
    for rule, reason in may_go_on(plan, run, record, override).items():
        say(record, run, "override", {"rule": rule, "reason": reason, "by": who()})


def may_go_on(plan: Plan, run: str, record: SqliteJournal, override: str | None) -> Mapping[PlanRule, str]:
    """As ``alone``, and only a look: the rules that are set aside, with their reasons."""
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import runs_on_same_pools

    reasons = overrides_of([override] if override else [])
    if set(reasons) - {"in-use"}:
        raise InputError([Problem("cannot override anything but in-use here", 'write --override in-use="why"')])
    others = runs_on_same_pools(plan.runbook, plan.inventory, record, SystemClock(), but=run)
    if others and not reasons:
        how = 'to go on all the same: --override in-use="why it is right"'
        raise RefusedError("\n".join((f"cannot go on with {run}:", *(f"  {it}" for it in others), how)))
    return reasons
