"""Whenever an orchestrator is killed: gone on with or turned round, its run ends well, and nothing is done twice.

A real process with the real planner, engine, actions and journal file gets a real SIGKILL before and after every
write to its journal, and before, during and after every side effect. What is simulated is only the world outside, and
its mail clients live on. ``make crash`` takes every point of every runbook; without it some runbooks are sampled.
"""

from __future__ import annotations

import random
from functools import cache

import pytest

from orchestrator import ports
from tests.crash.points import READS, WRITES, Death, Side
from tests.crash.series import CASES, Course, Then, course, fate, second_death
from tests.crash.tally import Tally

ALL_POINTS_OF = ("provider-maintenance", "region-evacuation")
"""The main runbooks: what is sampled for the others is complete for them, always."""

SAMPLE = 14
SAMPLE_OF_TWO = 5
"""Points of a series that are tried where not all are."""

pytestmark = pytest.mark.timeout(3600)

whole = cache(course)


def chosen(its: Course, case: str, *what: object, every: bool, sample: int) -> list[Death]:
    """Every point of a course, or a sample that is the same each time."""
    if every or len(its.deaths) <= sample:
        return its.deaths
    return sorted(random.Random(f"{case} {what}").sample(its.deaths, sample))


@pytest.mark.parametrize("then", ["resume", "undo"])
@pytest.mark.parametrize("case", CASES)
def test_killed_once(case: str, then: Then, every_point: bool, tally: Tally) -> None:
    """Resumed, the run is done as if nobody had died; undone, the world is as before; both without any harm done."""
    its = whole(case)
    tally.course(its)
    deaths = chosen(its, case, then, every=every_point or case in ALL_POINTS_OF, sample=SAMPLE)
    found = []
    for death in deaths:
        end = fate(its, [death], then)
        tally.add(case, then, end)
        assert end.kills == 1
        left = end.left_in_queues if then == "resume" else ()
        found += [f"{its.place(death)}, then {then}: {problem}" for problem in (*end.problems, *left)]
    assert found == []


@pytest.mark.parametrize("case", CASES)
def test_killed_twice(case: str, every_point: bool, tally: Tally) -> None:
    """Killed, gone on with or turned round, and killed again somewhere: a third process ends it, as well as ever."""
    its = whole(case)
    sample = len(its.deaths) // 3 if every_point else SAMPLE_OF_TWO
    found, kills = [], []
    for number, death in enumerate(chosen(its, case, "twice", every=False, sample=sample)):
        then: Then = "undo" if number % 2 else "resume"
        second = second_death(its, death, then)
        end = fate(its, [death, second], then)
        tally.add(case, "twice", end)
        kills.append(end.kills)
        found += [f"{its.place(death)}, then {then} to {second}: {problem}" for problem in end.problems]
    assert found == []
    assert 2 in kills, "no second process lived to its death"


@pytest.mark.parametrize("case", ["reboot-host", "provider-maintenance"])
def test_a_resumed_drain_empties_its_queues(case: str) -> None:
    """Killed between the last gate and the end of the queues, a drain is not done before they are empty."""
    its = whole(case)
    flush = max(number for number, what in enumerate(its.writes, 1) if what == "queue flush")
    deaths = [Death(number, Side.AFTER) for number in range(flush - 1, flush + 2)]
    assert [fate(its, [death], "resume").left_in_queues for death in deaths] == [[]] * len(deaths)


@pytest.mark.parametrize("port", WRITES)
def test_every_method_of_a_port_is_a_point_or_harmless(port: str) -> None:
    """Nobody can add a method that changes something without saying so here, and so without its points."""
    methods = {name for name in vars(getattr(ports, port)) if not name.startswith("_")}
    assert methods == WRITES[port] | READS[port]


def test_a_run_takes_the_same_course_each_time() -> None:
    """Two worlds with the same start see the same writes, in the same order: so a point can be met again."""
    assert course("reboot-host").writes == course("reboot-host").writes
