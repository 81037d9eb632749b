"""The catalogue: every verb of the runbook language, bound to its ports."""

from __future__ import annotations

import pytest

from orchestrator.actions.catalogue import actions_of
from orchestrator.actions.drain import SmtpDrain
from orchestrator.actions.hold import Hold
from orchestrator.actions.traffic import TrafficShift
from orchestrator.errors import UnfitError
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import Runbook
from orchestrator.model.traffic import Intake
from orchestrator.ports import Inbox, MailClient, MailGate, MailQueue, TrafficSwitch

from ..engine.scene import INVENTORY
from ..fakes.clock import LoopClock
from ..fakes.mail import FakeGate, FakeQueue, FakeSwitch
from ..fakes.no_capacity import NoCapacity

RUNBOOK = Runbook.model_validate(
    {
        "runbook": "scene",
        "steps": [
            {"id": "escape", "do": "verify", "checks": ["path"]},
            {"id": "shift", "do": "traffic.shift", "with": {"pool": "smtp", "from": "ord", "to": "iad"}},
            {"id": "drain", "do": "smtp.drain", "with": {"pool": "smtp", "site": "ord", "deadline": "10m"}},
            {"id": "window", "do": "hold", "with": {"until": "approval"}},
            {"id": "back", "do": "return", "steps": ["drain", "shift"]},
        ],
    }
)


class Ports(NoCapacity):
    """``ports.Outside`` that keeps a list of what was asked for."""

    def __init__(self, *, gates: bool = True, queues: bool = True) -> None:
        host = {"queue": {"driver": "postfix"}} if queues else {}
        hosts = {"hosts": {"mx1": host, "mx2": host}}
        self.inventory = Inventory.model_validate(INVENTORY.model_dump(by_alias=True) | hosts)
        self.asked: list[str] = []
        self._gates = gates

    def switch(self, pool: str) -> TrafficSwitch:
        """See ``Outside.switch``."""
        self.asked.append(f"switch {pool}")
        return FakeSwitch({"mx1": Intake(weight=100), "mx2": Intake(weight=100)})

    def gate(self, host: str) -> MailGate:
        """See ``Outside.gate``."""
        if not self._gates:
            raise UnfitError(f"cannot drain {host}: the inventory gives it no gate")
        self.asked.append(f"gate {host}")
        return FakeGate()

    def queue(self, host: str) -> MailQueue:
        """See ``Outside.queue``."""
        self.asked.append(f"queue {host}")
        return FakeQueue()

    def mail_client(self) -> MailClient:
        """See ``Outside.mail_client``."""
        raise AssertionError("no action sends mail")

    def inbox(self, pool: str) -> Inbox:
        """See ``Outside.inbox``."""
        raise AssertionError("no action reads mail")


def test_each_verb_has_its_action() -> None:
    """What changes or waits has an action; what only looks, or returns others, has none."""
    found = {name: type(action) for name, action in actions_of(RUNBOOK, Ports(), LoopClock()).items()}
    assert found == {"shift": TrafficShift, "drain": SmtpDrain, "window": Hold}


@pytest.mark.parametrize("queues", [True, False])
def test_a_drain_gets_the_ports_of_its_own_site_only(queues: bool) -> None:
    """Gates of the site's hosts, and the queues of those that have one; nothing of the other site."""
    ports = Ports(queues=queues)
    actions_of(RUNBOOK, ports, LoopClock())
    assert ports.asked == ["switch smtp", "switch smtp", "gate mx1", *(["queue mx1"] if queues else [])]


def test_a_drain_without_a_gate_is_refused() -> None:
    """A host without a gate cannot be drained, and that is said before anything begins."""
    with pytest.raises(UnfitError, match="cannot drain mx1"):
        actions_of(RUNBOOK, Ports(gates=False), LoopClock())
