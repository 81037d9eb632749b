"""Which steps may start, and in which order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.engine.schedule import Schedule
from orchestrator.model.plan import PlannedStep

from .scene import Scene, turn


def steps(needs: dict[str, list[str]]) -> tuple[PlannedStep, ...]:
    """Steps by their needs."""
    return Scene(*(turn(name, needs=list(them)) for name, them in needs.items())).plan.steps


def names(found: list[PlannedStep]) -> list[str]:
    """What they are called."""
    return [step.id for step in found]


def test_a_diamond() -> None:
    """A step is ready when the last of its needs is over, and is started once."""
    top, left, right, end = steps({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]})
    schedule = Schedule([top, left, right, end], lambda step: False)
    assert names(schedule.start()) == ["a"]
    assert names(schedule.start()) == []
    schedule.settle(top)
    assert names(schedule.start()) == ["b", "c"]
    schedule.settle(right)
    assert names(schedule.start()) == []
    schedule.settle(left)
    assert names(schedule.ready()) == ["d"]


def test_what_is_over_is_not_started_again() -> None:
    """A run that is taken up starts with what its journal leaves."""
    them = steps({"a": [], "b": ["a"], "c": ["a", "b"]})
    assert names(Schedule(them, lambda step: step.id == "a").ready()) == ["b"]
    assert names(Schedule(them, lambda step: True).ready()) == []


@given(st.data())
def test_every_step_comes_after_its_needs(data: st.DataObject) -> None:
    """In whatever order steps end, each starts once, and only after all that it needs."""
    graph = {
        f"s{number}": [
            f"s{need}"
            for need in data.draw(st.sets(st.integers(0, number - 1), max_size=3) if number else st.just(set()))
        ]
        for number in range(8)
    }
    them = {step.id: step for step in steps(graph)}
    schedule, running, over = Schedule(them.values(), lambda step: False), list[str](), list[str]()
    while begun := names(schedule.start()) or running:
        assert all(set(graph[name]) <= set(over) for name in begun)
        running = [*dict.fromkeys([*running, *begun])]
        ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
        over.append(ended)
        schedule.settle(them[ended])
    assert sorted(over) == sorted(graph)
