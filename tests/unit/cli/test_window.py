"""``--window-ends``: by when all must be over, at the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path

from orchestrator.planning import save

from ..engine.scene import hold
from .desk import Desk, plan_of

INVENTORY = Path(__file__).parents[1] / "load" / "inventory.yaml"
RUNBOOK = "runbook: wait\nsteps:\n  - {id: window, do: hold, with: {until: 1h}}\n"


def plan(desk: Desk, folder: Path, *more: str) -> tuple[int, str, str]:
    """The exit code of ``failover plan`` of an hour's wait, what it prints, and its errors."""
    runbook = folder / "wait.yaml"
    runbook.write_text(RUNBOOK)
    ended = desk.failover("plan", str(runbook), "-i", str(INVENTORY), *more)
    return ended.exit_code, ended.stdout, ended.stderr


def test_a_plan_has_its_window(desk: Desk, tmp_path: Path) -> None:
    """The plan says by when to begin, and warns where it does not fit; it is not refused."""
    code, said, _ = plan(desk, tmp_path, "--window-ends", "2h")
    assert (code, "window ends    " in said, "it does not fit" in said) == (0, True, False)
    code, said, _ = plan(desk, tmp_path, "--window-ends", "30m")
    assert (code, "now: it does not fit: the window ends at " in said) == (0, True)
    record = json.loads(plan(desk, tmp_path, "--window-ends", f"{_next()}-01-01T04:00:00Z", "--json")[1])
    assert record["times"]["window_ends"] == f"{_next()}-01-01T04:00:00.000Z"
    assert record["times"]["begin_by"] == f"{_next()}-01-01T03:00:00.000Z"


def _next() -> int:
    """The next year."""
    return time.gmtime().tm_year + 1


def test_what_is_no_moment_is_refused(desk: Desk, tmp_path: Path) -> None:
    """The mistake and the ways to write it come in one line."""
    code, _, said = plan(desk, tmp_path, "--window-ends", "soon")
    assert code == 1
    assert said.startswith("cannot use --window-ends: 'soon' is no moment — write a time of day as 04:00")


def test_a_saved_plan_has_its_own_window(desk: Desk, tmp_path: Path) -> None:
    """It cannot be given another one; when its window is over it says so, and runs."""
    file = tmp_path / "plan.json"
    made = plan_of([hold("window", until="0s")]).model_copy(update={"window_ends": 1_700_000_000.0})
    file.write_text(save(made, 0.0, "test"))
    refused = desk.failover("run", str(file), "--window-ends", "2h")
    assert (refused.exit_code, "cannot use --window-ends with a saved plan" in refused.stderr) == (1, True)
    ran = desk.failover("run", str(file))
    assert (ran.exit_code, "warning: the window is over since 2023-11-14 " in ran.stderr) == (0, True)
