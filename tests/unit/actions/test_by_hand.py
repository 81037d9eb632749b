"""How a person gets to a state without us: the same as ``converge``, in the same order, with nothing asked."""

from __future__ import annotations

from orchestrator.actions.action import ByHand
from orchestrator.actions.drain import SiteDrain
from orchestrator.actions.hold import Hold, Released
from orchestrator.actions.manual import Manual, Work
from orchestrator.actions.traffic import Shares, TrafficShift
from orchestrator.model.runbook import HoldArguments, ManualArguments, ShiftArguments
from orchestrator.model.traffic import Intake

from ..fakes.mail import FakeSwitch
from .site import DRAINED, POOL, Site


def shift() -> TrafficShift:
    """From ord to iad."""
    arguments = ShiftArguments.model_validate({"pool": "smtp", "from": "ord", "to": "iad"})
    return TrafficShift(arguments, POOL, FakeSwitch({}))


def test_a_shift_is_undone_with_the_site_that_gets_traffic_first() -> None:
    """Every weight is set, whatever it is now; who was out of service stays an operator's business."""
    start = Shares(
        members={"mx1": Intake(weight=100), "mx2": Intake(weight=50, admin="maint"), "mx3": Intake(weight=70)}
    )
    assert shift().by_hand(start) == ByHand(
        "weights in the switch: mx1 100, mx2 50, mx3 70", ["weight mx1 100", "weight mx2 50", "weight mx3 70"]
    )


def test_a_shift_closes_nobody_before_another_takes() -> None:
    """Weights of zero come last, so that some member always takes traffic."""
    end = Shares(members={"mx1": Intake(weight=0), "mx2": Intake(weight=0), "mx3": Intake(weight=100)})
    assert shift().by_hand(end).commands == ["weight mx3 100", "weight mx1 0", "weight mx2 0"]


def test_a_drain_is_undone_with_the_gates_first() -> None:
    """A gate is open before its host gets sessions; a member that was in maint before goes back there."""
    start = SiteDrain(members={"mx1": "ready", "mx2": "maint"}, gates_closed={"mx1": False, "mx2": True})
    assert Site().action.by_hand(start) == ByHand(
        "gates: mx1 open, mx2 closed; then in the switch: mx1 ready, mx2 maint",
        ["gate open", "gate close", "state mx1 ready", "state mx2 maint"],
    )


def test_a_drain_is_done_with_the_switch_first() -> None:
    """No new session comes before the gates tell those that are there to go."""
    assert Site().action.by_hand(DRAINED) == ByHand(
        "in the switch: mx1 drain, mx2 drain; then gates: mx1 closed, mx2 closed",
        ["state mx1 drain", "state mx2 drain", "gate close", "gate close"],
    )


def test_what_only_a_person_does_has_no_command() -> None:
    """A manual step is told in the runbook's words, both ways; one without an undo says that it has none."""
    manual = Manual(ManualArguments(task="boot the new kernel", undo="boot the old one"))
    assert manual.by_hand(Work(done=None)) == ByHand("a person: boot the old one")
    assert manual.by_hand(Work(done=True)) == ByHand("a person: boot the new kernel")
    burn = Manual(ManualArguments(task="burn it"))
    assert burn.by_hand(Work(done=None)) == ByHand("it cannot be undone: burn it")


def test_a_wait_leaves_nothing_to_do() -> None:
    """There is nothing to take back of a hold."""
    assert Hold(HoldArguments(until="approval")).by_hand(Released(released=False)) is None
