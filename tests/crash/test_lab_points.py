"""A sample of what ``make crash-lab`` does whole: the orchestrator is killed on real parts, then taken on or back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Final

import pytest

from orchestrator.errors import MissingToolError, RefusedError
from orchestrator.lab.requirements import require_tools
from tests.crash.lab_bench import Bench, Point, Task, Then
from tests.crash.lab_points import folder
from tests.crash.lab_victim import Death, Side

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

TO_JOURNAL: Final = (
    "journal take",
    "journal intent shift out 5%",
    "journal outcome shift reached #2",
    "journal intent drain out",
    "journal outcome drain reached",
    "journal intent back.drain back",
    "journal intent back.shift back 25%",
)
OUTSIDE: Final = (
    *("set server weight", "set server weight #4", "save HAProxy's state #3", "set server state", "shutdown session"),
    *("gate turn-away", "gate close", "gate close #2", "queue flush", "gate open #2", "set server weight #9"),
)
"""Writes to which every run comes."""


def by_lot(writes: tuple[str, ...], then: Then, number: int) -> list[Task]:
    """So many of their points, the same each time."""
    points = [Point(True, Death(what, side)) for what in writes for side in Side]
    return [Task(point, then) for point in random.Random(f"{then} {number}").sample(points, number)]


SAMPLE: Final = (
    *by_lot(TO_JOURNAL, "resume", 1),
    *by_lot(OUTSIDE, "resume", 1),
    *by_lot(TO_JOURNAL, "abort", 1),
    *by_lot(OUTSIDE, "abort", 2),
)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """One lab for all."""
    try:
        require_tools(table_gate=False)
    except (MissingToolError, RefusedError) as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch, folder() as root:
        for name in ("FAILOVER_STATE", "FAILOVER_LAB"):  # the bench sets them
            patch.setenv(name, "")
        with Bench("points", root, nullcontext()) as its:
            yield its


@pytest.mark.parametrize("task", SAMPLE, ids=lambda task: f"{task.then} {task.point}")
def test_killed_on_real_parts(bench: Bench, task: Task) -> None:
    """Resumed, the run is done; aborted, it is undone; the world is as before, and no mail is lost, doubled or cut."""
    fate = bench.fate(task)
    assert fate.problems == ()
    assert (fate.killed, fate.was) == (True, "running")
    assert fate.status == {"resume": "done", "abort": "undone"}[task.then] or fate.status == "refused"
