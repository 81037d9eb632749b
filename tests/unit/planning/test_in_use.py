"""Who else works on the same pools: runs that are not over, and whoever holds a pool's lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.model.inventory import Inventory
from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.planning import ordered
from orchestrator.status import RunStatus
from orchestrator.wiring import lock_names, open_lock, runs_on_same_pools

from ..engine.scene import StepText, hold, manual
from ..fakes.clock import EPOCH
from .world import drain, inventory_of, runbook_of, shift

INVENTORY = inventory_of({"ord": 1, "iad": 1}, pools=["smtp", "relay"])


class StoppedClock:
    """``ports.Clock`` at one moment."""

    def now(self) -> float:
        """Unix time."""
        return EPOCH

    def monotonic(self) -> float:
        """The same."""
        return EPOCH

    async def sleep(self, seconds: float) -> None:
        """Nobody waits here."""


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteJournal]:
    """A journal and locks of this test's own."""
    monkeypatch.setenv("FAILOVER_STATE", str(tmp_path))
    with SqliteJournal(tmp_path / "journal.sqlite") as opened:
        yield opened


def plan(*steps: StepText, inventory: Inventory = INVENTORY) -> Plan:
    """A plan of these steps, as far as its pools go."""
    runbook = runbook_of(*steps)
    return Plan(runbook=runbook, inventory=inventory, parameters={}, steps=ordered(runbook))


def record(journal: SqliteJournal, run: str, made: Plan, *statuses: RunStatus) -> None:
    """A run that has gone through these statuses."""
    journal.create(run, made.model_dump_json(by_alias=True), made.runbook.runbook, EPOCH)
    epoch = journal.take(run)
    for status in statuses:
        data = {"status": status.value, "reason": ""}
        journal.append(Entry(run=run, at=EPOCH, epoch=epoch, kind="run", data=data))


def found(journal: SqliteJournal, *steps: StepText, but: str | None = None) -> Sequence[str]:
    """Who else works on the pools of these steps."""
    return runs_on_same_pools(runbook_of(*steps), INVENTORY, journal, StoppedClock(), but)


def test_a_run_that_is_not_over(journal: SqliteJournal) -> None:
    """A held run is told with its runbook, its status and what to do about it; itself it does not count."""
    record(journal, "r1", plan(shift("s")), RunStatus.RUNNING, RunStatus.HELD)
    assert found(journal, drain("d")) == (
        "run r1 (scene, held) works on pool smtp — failover resume r1, or failover undo r1",
    )
    assert found(journal, drain("d"), but="r1") == ()


def test_runs_that_are_over_or_elsewhere(journal: SqliteJournal) -> None:
    """What is done, and what works on other pools or on none, is in nobody's way."""
    record(journal, "done", plan(shift("s")), RunStatus.RUNNING, RunStatus.DONE)
    record(journal, "undone", plan(shift("s")), RunStatus.RUNNING, RunStatus.UNDOING, RunStatus.UNDONE)
    record(journal, "other", plan(shift("s", pool="relay")), RunStatus.RUNNING)
    record(journal, "none", plan(hold("h")), RunStatus.RUNNING)
    assert found(journal, drain("d")) == ()


def test_every_run_that_may_still_act(journal: SqliteJournal) -> None:
    """Planned, running, interrupted, undoing and stuck runs count like held ones."""
    running = RunStatus.RUNNING
    record(journal, "a", plan(shift("s")))
    record(journal, "b", plan(shift("s")), running)
    record(journal, "c", plan(shift("s")), running, RunStatus.INTERRUPTED)
    record(journal, "d", plan(shift("s")), running, RunStatus.UNDOING)
    record(journal, "e", plan(shift("s")), running, RunStatus.STUCK)
    assert {line.split(" works ")[0] for line in found(journal, drain("d"))} == {
        "run a (scene, planned)",
        "run b (scene, running)",
        "run c (scene, interrupted)",
        "run d (scene, undoing)",
        "run e (scene, stuck)",
    }


def test_a_pool_is_what_its_switch_says(journal: SqliteJournal) -> None:
    """A run of another inventory that calls the same backend otherwise is found; plans B count."""
    text = INVENTORY.model_dump(mode="json", by_alias=True)
    text["pools"]["mail"] = text["pools"].pop("relay")
    other = Inventory.model_validate(text)
    made = plan(manual("reboot", plan_b=[shift("away", pool="mail")]), inventory=other)
    record(journal, "r1", made, RunStatus.RUNNING)
    assert found(journal, drain("d", pool="relay")) == (
        "run r1 (scene, running) works on pool relay — failover resume r1, or failover undo r1",
    )
    assert lock_names(made) == ["pool at /run/relay.sock:relay"]


def test_whoever_holds_the_pool(journal: SqliteJournal) -> None:
    """A run of another journal shows by its lock; a run of ours is told once, and that it is at work."""
    record(journal, "r1", plan(shift("s")), RunStatus.RUNNING)
    ours, theirs = open_lock(StoppedClock()), open_lock(StoppedClock())
    ours.acquire(["run r1", "pool at /run/smtp.sock:smtp"], "run r1 of ada@here (process 7)")
    theirs.acquire(["run r9", "pool at /run/relay.sock:relay"], "run r9 of bob@here (process 8)")
    try:
        assert found(journal, shift("s"), shift("t", pool="relay")) == (
            "run r1 of ada@here (process 7), scene, works on pool smtp now — wait until it is over",
            "run r9 of bob@here (process 8) works on pool relay now — wait until it is over",
        )
        assert found(journal, shift("s"), but="r1") == ()
    finally:
        ours.release()
        theirs.release()
    assert found(journal, shift("t", pool="relay")) == ()


def test_a_run_of_another_version_may_be_anywhere(journal: SqliteJournal) -> None:
    """Where it cannot be known which pools a run works on, it counts for all."""
    journal.create("old", '{"of": "another version"}', "scene", EPOCH)
    assert found(journal, shift("s")) == (
        "run old (scene, planned) works on pool smtp — failover resume old, or failover undo old",
    )


def test_one_host_of_two_pools(journal: SqliteJournal) -> None:
    """Two runs on different pools that would close the gate of one host are kept apart, and told which host it is."""
    text = INVENTORY.model_dump(mode="json", by_alias=True)
    text["pools"]["relay"]["sites"] = text["pools"]["smtp"]["sites"]
    shared = Inventory.model_validate(text)
    record(journal, "r1", plan(drain("d", pool="relay"), inventory=shared), RunStatus.RUNNING)
    assert runs_on_same_pools(runbook_of(drain("d")), shared, journal, StoppedClock()) == (
        "run r1 (scene, running) works on host ord1 — failover resume r1, or failover undo r1",
    )
    one, other = (set(lock_names(plan(drain("d", pool=pool), inventory=shared))) for pool in ("smtp", "relay"))
    assert one & other == {"gate at ord1:c"}
    assert runs_on_same_pools(runbook_of(shift("s")), shared, journal, StoppedClock()) == ()
