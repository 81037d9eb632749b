"""How it reads that a plan is not run."""

from __future__ import annotations

from orchestrator.errors import PlanRefusedError
from orchestrator.model.plan import Refusal
from orchestrator.report.refusal import plan_refused, refusal_record, world_moved

THIN = Refusal(
    rule="headroom",
    step="shift",
    reason="at 100% headroom of smtp is 0.93, 1.3 wanted: 150 sessions serve, demand 161 sessions",
    remedy="move less",
)
BUSY = Refusal(rule="in-use", step="", reason="run 0610-k3f works on smtp", remedy="failover resume 0610-k3f")


def test_one_reason_and_its_way_round() -> None:
    """A rule that is broken is told with its name, its numbers and the option that sets it aside."""
    assert plan_refused(PlanRefusedError([], [THIN])) == (
        "cannot run this plan: it is refused for one reason, and nothing was touched\n"
        "  shift: at 100% headroom of smtp is 0.93, 1.3 wanted: 150 sessions serve, demand 161 sessions — move less "
        "[headroom]\n"
        'to set a rule aside: --override headroom="why it is right"'
    )


def test_what_cannot_be_set_aside_comes_first() -> None:
    """Problems without a rule stand above the rules; the way round says that they must go before."""
    text = plan_refused(PlanRefusedError(["cannot read smtp: no answer\nfrom it"], [THIN, BUSY, BUSY])).splitlines()
    assert text[0] == "cannot run this plan: it is refused for 4 reasons, and nothing was touched"
    assert text[1:3] == ["  cannot read smtp: no answer", "  from it"]
    assert text[-2] == "  run 0610-k3f works on smtp — failover resume 0610-k3f [in-use]"
    assert text[-1] == (
        "remove what has no rule's name in brackets, then to set rules aside: "
        '--override headroom="why it is right" --override in-use="why it is right"'
    )


def test_a_refusal_for_machines() -> None:
    """Problems are lines; what a rule refuses has its rule, its step, by how much, and what to do."""
    assert refusal_record(PlanRefusedError(["cannot read smtp: no answer"], [BUSY])) == {
        "refused": True,
        "problems": ["cannot read smtp: no answer"],
        "refusals": [
            {
                "rule": "in-use",
                "step": "",
                "reason": "run 0610-k3f works on smtp",
                "remedy": "failover resume 0610-k3f",
            }
        ],
    }


def test_problems_alone_have_no_way_round() -> None:
    """Where no rule is broken no override is offered."""
    assert "--override" not in plan_refused(PlanRefusedError(["cannot read smtp: no answer"]))


def test_a_moved_world_is_told_line_by_line() -> None:
    """What differs stands between what is the matter and what to do."""
    assert world_moved(["pool smtp: ord-mx1: was weight 100, is weight 50"]) == (
        "cannot run this plan: the world has moved since it was made\n"
        "  pool smtp: ord-mx1: was weight 100, is weight 50\n"
        "make a new plan and have it reviewed: failover plan RUNBOOK … -o plan.json"
    )
