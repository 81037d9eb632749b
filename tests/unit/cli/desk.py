"""An operator's desk: a state folder of its own, a runbook that waits for approval, and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue
from typer.testing import CliRunner, Result

from orchestrator.cli.main import app
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.inventory import Inventory
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.model.runbook import Runbook
from orchestrator.planning import ordered
from orchestrator.status import RunState, RunStatus, fold

from ..engine.scene import INVENTORY, StepText, hold

RUN = "20260914-0312-7f3a"


class Desk:
    """What the commands of one test share."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def journal(self) -> SqliteJournal:
        """This desk's journal; close it."""
        return SqliteJournal(self.state / "journal.sqlite")

    def has_run(self, *statuses: RunStatus, run: str = RUN, steps: Sequence[StepText] = ()) -> Plan:
        """A run in the journal that has gone through these statuses; nobody works on it."""
        plan = plan_of(steps or [hold("window")])
        with self.journal() as journal:
            journal.create(run, plan.model_dump_json(by_alias=True), "wait", 1_700_000_000.0)
            epoch = journal.take(run)
            for status in statuses:
                data: dict[str, JsonValue] = {"status": status.value, "reason": ""}
                journal.append(Entry(run=run, at=1_700_000_000.0, epoch=epoch, kind="run", data=data))
        return plan

    def stands(self, run: str = RUN) -> RunState:
        """Where the journal says that the run stands."""
        with self.journal() as journal:
            return fold(journal.entries(run))

    def failover(self, *arguments: str) -> Result:
        """Give a command in this process."""
        return CliRunner().invoke(app, list(arguments))

    def start(self, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Give a command in a process of its own; end it."""
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "FAILOVER_STATE": str(self.state)},
        )


def plan_of(steps: Sequence[StepText], inventory: Inventory = INVENTORY) -> Plan:
    """The plan of these steps."""
    runbook = Runbook.model_validate({"runbook": "wait", "steps": steps})
    return Plan(runbook=runbook, inventory=inventory, parameters={}, steps=ordered(runbook))
