"""``kill -9`` and signals at every instant: a run always ends, gated as ever, and an undo brings the world back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.status import RunStatus

from .scene import Scene, back, hold, turn, verify

Story = Callable[[], Scene]


def maintenance() -> Scene:
    """Everything goes well: out by two waypoints, a hold, and back."""
    return Scene(
        verify("escape", "path"),
        turn("shift", after=["flows"]),
        turn("drain", after=["flows"]),
        hold("window", until="300ms"),
        back("back", "drain", "shift", after=["flows"]),
        by=(50, 100),
        levels={"shift": 10, "drain": 20},
    )


def branches() -> Scene:
    """Two branches side by side, and a last step that needs both."""
    return Scene(
        turn("shift", after=["flows"]),
        turn("drain", needs=[], after=["flows"]),
        verify("end", "path", needs=["shift", "drain"]),
    )


def failure() -> Scene:
    """The gate of the second step stays shut, and everything is undone."""
    return Scene(turn("shift"), turn("drain", after=["flows"]), judge={"flows": "fail"}, levels={"shift": 10})


def held() -> Scene:
    """The return fails, is taken back and held."""
    return Scene(turn("shift"), back("back", "shift", after=["flows"]), judge={"flows": "fail"})


ENDS = {RunStatus.DONE, RunStatus.UNDONE, RunStatus.REFUSED}
STORIES = [(maintenance, RunStatus.DONE), (branches, RunStatus.DONE), (failure, RunStatus.UNDONE)]


def length(story: Story) -> int:
    """How many entries the story's journal has when nobody dies."""
    watched = Watched(story())
    scene = watched.scene
    scene.start()
    return len(scene.journal.written)


def turns(story: Story) -> range:
    """The turns that the loop takes when nobody dies: all of a short story, a third of a long one."""
    seen: list[int] = []
    story().start(seen.append)
    return range(2, len(seen), 1 if len(seen) < 150 else 3)


class Watched:
    """Runs a scene's owners one after the other, and holds each of them to the rules."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._events: list[str] = []

    def start(self, each_turn: Callable[[int], None] | None = None) -> None:
        """A new owner runs or resumes."""
        self._check(self.scene.start(each_turn))

    def undo(self, each_turn: Callable[[int], None] | None = None) -> None:
        """A new owner undoes."""
        self._check(self.scene.undo(each_turn))

    def _check(self, events: str) -> None:
        """No traffic without a look at who gets it, by the same owner; no step done without its gate."""
        levels = dict(self.scene.before)
        for event in self._events:
            if "=" in event:
                levels[event.partition("=")[0]] = int(event.partition("=")[2])
        own = events.split()
        for place, event in enumerate(own):
            name, _, level = event.partition("=")
            if level and int(level) != levels[name]:
                side = "there" if int(level) > levels[name] else "here"
                assert f"{name}-{side}?pass" in own[:place], f"{event} without a look at {name}-{side} in {events}"
                levels[name] = int(level)
        self._events += own
        for step in [one for one in self.scene.plan.steps if "flows" in one.step.after]:
            self._check_gate(f"{step.id}:done", step.returns or step.id)

    def _check_gate(self, done: str, dial: str) -> None:
        if done in self._events:
            before = self._events[: self._events.index(done)]
            last_write = max((place for place, event in enumerate(before) if event.startswith(f"{dial}=")), default=0)
            assert "flows?pass" in before[last_write:], f"{done} without its gate"


def killed_at_entries(story: Story) -> list[Watched]:
    """Scenes whose first owner died just before, or just after, each entry."""
    found = []
    for number in range(1, length(story) + 1):
        for when in ("dies_before", "dies_after"):
            watched = Watched(story())
            setattr(watched.scene.journal, when, number)
            watched.start()
            watched.scene.journal.revive()
            found.append(watched)
    return found


@pytest.mark.parametrize(("story", "end"), STORIES)
def test_resume_after_a_kill_around_any_entry(story: Story, end: RunStatus) -> None:
    """Whichever entry was the last one on disk: resuming reaches the same end as if nobody had died."""
    for watched in killed_at_entries(story):
        scene = watched.scene
        if scene.status not in ENDS:
            watched.start()
        assert scene.status is end, scene.journal.written[-1]
        assert scene.levels == (scene.before if story is not branches else {"shift": 100, "drain": 100})


@pytest.mark.parametrize("story", [maintenance, branches, failure, held])
def test_undo_after_a_kill_around_any_entry(story: Story) -> None:
    """Whichever entry was the last one on disk: an undo brings the world back to exactly what it was."""
    for watched in killed_at_entries(story):
        scene = watched.scene
        if scene.status not in {RunStatus.PLANNED, RunStatus.UNDONE}:
            watched.undo()
            assert scene.state.status is RunStatus.UNDONE
        assert scene.levels == scene.before


@pytest.mark.parametrize("story", [branches, failure])
def test_undo_is_the_inverse_of_do(story: Story) -> None:
    """After a run, killed or not, and resumed or not, an undo leaves the world as before."""
    for watched in killed_at_entries(story):
        scene = watched.scene
        if scene.status not in ENDS:
            watched.start()
        if scene.status is RunStatus.DONE:
            watched.undo()
        assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)


def test_an_undo_that_is_killed_around_any_entry() -> None:
    """Resuming a killed undo ends it, and the reason is still known."""
    whole = Watched(branches())
    whole.start()
    whole.undo()
    for number in range(length(branches) + 1, len(whole.scene.journal.written) + 1):
        for when in ("dies_before", "dies_after"):
            watched = Watched(branches())
            scene = watched.scene
            watched.start()
            setattr(scene.journal, when, number)
            watched.undo()
            scene.journal.revive()
            if scene.status is RunStatus.DONE:
                watched.undo()
            elif scene.status is not RunStatus.UNDONE:
                watched.start()
            assert (scene.status, scene.levels, scene.state.reason) == (RunStatus.UNDONE, scene.before, "asked for")


def test_a_failed_return_that_is_killed_is_held_all_the_same() -> None:
    """A failure that its owner did not live to answer is answered by the next one: taken back, and held."""
    for watched in killed_at_entries(held):
        scene = watched.scene
        while scene.status not in {RunStatus.HELD, *ENDS}:
            watched.start()
        assert (scene.status, scene.levels) == (RunStatus.HELD, {"shift": 100})
        assert "back.shift" in scene.state.reason


@pytest.mark.parametrize(("story", "end"), STORIES)
def test_a_signal_at_every_turn(story: Story, end: RunStatus) -> None:
    """Wherever a signal comes, the run stops with nothing in doubt, and resuming ends it as if none had come."""
    for number in turns(story):
        watched = Watched(story())
        scene = watched.scene

        def interrupt(turn: int, scene: Scene = scene, number: int = number) -> None:
            if turn == number:
                scene.interrupt()

        watched.start(interrupt)
        assert scene.status in {RunStatus.INTERRUPTED, end}
        assert not any(step.in_doubt for step in scene.state.steps.values())
        if scene.status is RunStatus.INTERRUPTED:
            watched.start()
        assert scene.status is end


@pytest.mark.parametrize(("story", "end"), STORIES)
def test_a_kill_at_every_turn(story: Story, end: RunStatus) -> None:
    """Also between two entries: wherever the process dies, resuming ends the run as if it had lived."""
    for number in turns(story):
        watched = Watched(story())
        scene = watched.scene

        def pull_the_plug(turn: int, scene: Scene = scene, number: int = number) -> None:
            scene.journal.dead = scene.journal.dead or turn == number

        watched.start(pull_the_plug)
        scene.journal.revive()
        if scene.status not in ENDS:
            watched.start()
        assert scene.status is end


@settings(max_examples=60, deadline=None)
@given(
    story=st.sampled_from([maintenance, branches, failure]),
    lives=st.lists(st.tuples(st.sampled_from(["kill", "signal", "undo"]), st.integers(1, 60)), max_size=5),
)
def test_any_number_of_deaths(story: Story, lives: list[tuple[str, int]]) -> None:
    """However often a run is killed, interrupted or turned round: it ends, and an undo brings the world back."""
    watched = Watched(story())
    scene = watched.scene
    for how, number in lives:
        if scene.status in ENDS:
            break

        def happens(turn: int, how: str = how, number: int = number) -> None:
            if turn == number + 1 and how == "signal":
                scene.interrupt()
            if turn == number + 1 and how != "signal":
                scene.journal.dead = True

        if how == "undo" and scene.status is not RunStatus.PLANNED:
            watched.undo(happens)
        else:
            watched.start(happens)
        scene.journal.revive()
    if scene.status not in ENDS:
        watched.start()
    assert scene.status in ENDS
    if scene.status is RunStatus.DONE:
        watched.undo()
    assert scene.levels == scene.before
