"""What ``run`` and ``plan`` say where a plan must not be run; the lab's tests have the world that moves."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.planning import save
from orchestrator.status import RunStatus

from ..engine.scene import hold
from .desk import Desk, plan_of

INVENTORY = Path(__file__).parents[1] / "load" / "inventory.yaml"
RUNBOOK = "runbook: out\nsteps:\n  - {id: out, do: traffic.shift, with: {pool: smtp, from: ord, to: iad}}\n"


def test_a_saved_plan_is_for_one_window(desk: Desk, tmp_path: Path) -> None:
    """A plan that was run is refused the second time, with the run that it was; unless somebody says again."""
    file = tmp_path / "plan.json"
    file.write_text(save(plan_of([hold("window", until="0s")]), 0.0, "test"))
    first = desk.failover("run", str(file))
    assert first.exit_code == 0, first.output
    second = desk.failover("run", str(file))
    with desk.journal() as journal:
        (row,) = journal.runs()
    assert (second.exit_code, row.status) == (1, RunStatus.DONE)
    assert f"cannot run this plan again: {row.run} was it (done)" in second.stderr
    assert desk.failover("run", str(file), "--again").exit_code == 0


def test_a_refused_plan_is_told_to_machines(desk: Desk, tmp_path: Path) -> None:
    """With --json a refusal is one object on standard output, and the sentence is on standard error."""
    runbook = tmp_path / "out.yaml"
    runbook.write_text(RUNBOOK)
    refused = desk.failover("plan", str(runbook), "-i", str(INVENTORY), "--json")
    record = json.loads(refused.stdout)
    assert (refused.exit_code, record["refused"]) == (1, True)
    assert "/run/haproxy.sock" in record["problems"][0]
    assert record["refusals"] == [], "of a switch that cannot be read nothing is claimed"
    assert "cannot run this plan" in refused.stderr


def test_a_plan_that_is_not_there(desk: Desk) -> None:
    """A mistyped name of a plan is told as that, and not as a runbook that lacks its inventory."""
    refused = desk.failover("run", "nope.json")
    assert (refused.exit_code, "nope.json: cannot read this file: it does not exist" in refused.stderr) == (1, True)
