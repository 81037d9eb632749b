"""The values: frozen, closed, and the same after a way through JSON."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from orchestrator.model.check import METRICS, Aim, Check, DeliveryCheck, Judgement, SessionsCheck, SmtpCheck, Verdict
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.model.runbook import HoldStep, Runbook, VerifyStep
from orchestrator.model.traffic import Intake, QueueDepth

RUNBOOK = Runbook.model_validate(
    {
        "runbook": "trial",
        "checks": {
            "flows": {"probe": "smtp", "at": {"pool": "smtp"}, "over": "5s", "expect": {"p99": "<= 2s"}},
            "faults": {"probe": "smtp", "at": {"pool": "smtp"}, "detect": {"failure_rate": "0.001%", "baseline": 0}},
        },
        "guards": [{"check": "flows"}, {"headroom": {"pool": "smtp", "at_least": 1.3}}],
        "steps": [
            {"id": "first", "do": "verify", "checks": ["flows"]},
            {"id": "second", "do": "hold", "with": {"until": "approval"}},
            {"id": "third", "do": "hold", "with": {"until": "5m"}, "needs": ["first"]},
            {"id": "fourth", "do": "hold", "with": {"until": 5}, "needs": []},
        ],
    }
)
INVENTORY = Inventory.model_validate(
    {
        "sites": {"ord": {}},
        "pools": {
            "smtp": {
                "protocol": "smtp",
                "address": "192.0.2.1:25",
                "switch": {"driver": "haproxy", "socket": "/run/haproxy.sock", "backend": "smtp"},
                "test_mail": {"sender": "a@example.org", "recipient": "a@example.org"},
                "sites": {"ord": {"members": ["mx1"], "capacity": "150 sessions", "address": "192.0.2.2:25"}},
            }
        },
    }
)


def planned(**changes: object) -> Plan:
    """A plan of two steps."""
    steps = [PlannedStep(id=step.id, step=step, needs=RUNBOOK.needs(step)) for step in RUNBOOK.steps[:2]]
    plan = Plan(runbook=RUNBOOK, inventory=INVENTORY, parameters={"site": "ord", "wait": 5.0}, steps=tuple(steps))
    return plan.model_copy(update=changes)


def test_a_step_needs_the_one_above_it() -> None:
    """Left out, needs is the step above; an empty list is nothing at all."""
    assert [RUNBOOK.needs(step) for step in RUNBOOK.steps] == [(), ("first",), ("first",), ()]


def test_steps_are_what_they_do() -> None:
    """The word after 'do' chooses the kind of step, and 'until' is a word or seconds."""
    assert isinstance(RUNBOOK.step("first"), VerifyStep)
    assert [step.with_.until for step in RUNBOOK.steps if isinstance(step, HoldStep)] == ["approval", 300.0, 5.0]


def test_values_are_frozen_and_closed() -> None:
    """No value can be changed, and none takes a key that it does not know."""
    aim = Aim(pool="smtp")
    with pytest.raises(ValidationError):
        setattr(aim, "pool", "other")  # noqa: B010 - what the type checker would refuse
    with pytest.raises(ValidationError):
        Aim.model_validate({"pool": "smtp", "port": 25})
    assert (str(aim), str(Aim(pool="smtp", site="ord"))) == ("smtp", "smtp@ord")


def test_a_plan_survives_json() -> None:
    """A plan that was saved is the plan that was reviewed: equal, and of the same checksum."""
    plan = planned()
    text = plan.model_dump_json(by_alias=True)
    again = Plan.model_validate_json(text)
    assert again == plan
    assert again.checksum == plan.checksum
    assert json.loads(text)["runbook"]["steps"][1]["with"] == {"until": "approval"}


def test_a_checksum_changes_with_the_plan() -> None:
    """What was not reviewed has another checksum."""
    assert planned(parameters={"site": "ord", "wait": 6.0}).checksum != planned().checksum
    assert planned(steps=planned().steps[::-1]).checksum != planned().checksum


def test_every_probe_says_what_it_measures() -> None:
    """No probe is without its metrics, and none has metrics that no probe measures."""
    kinds: tuple[type[Check], ...] = (SmtpCheck, SessionsCheck, DeliveryCheck)
    assert {kind.model_json_schema()["properties"]["probe"]["const"] for kind in kinds} == set(METRICS)


def test_only_pass_passes() -> None:
    """Unknown never opens a gate."""
    verdicts = [Verdict(check="a", judgement=judgement, reason="") for judgement in Judgement]
    assert [verdict.judgement for verdict in verdicts if verdict.passed] == [Judgement.PASS]


def test_a_member_that_takes_nothing_has_no_share() -> None:
    """Only a ready member's weight counts."""
    intakes = [Intake(weight=50), Intake(weight=50, admin="drain"), Intake(weight=50, admin="maint")]
    assert [intake.share_weight for intake in intakes] == [50, 0, 0]
    assert [str(intake) for intake in intakes] == ["weight 50", "weight 50, drain", "weight 50, maint"]


def test_held_mail_is_not_moving() -> None:
    """What an operator holds in the queue does not keep a drain waiting."""
    assert QueueDepth(incoming=1, active=2, deferred=3, hold=10).moving == 6
