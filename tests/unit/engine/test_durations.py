"""What the engine keeps of how long steps took: of what was done well and in one go, without the time of people."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.model.plan import TimedAs
from orchestrator.model.runbook import ShiftStep, VerifyStep

from ..fakes.dials import Dials
from .scene import Scene, StepText, back, hold, manual, turn, verify


def scene(*steps: StepText, judge: Mapping[str, str] | None = None, pause: float = 0.0) -> Scene:
    """A scene whose steps are timed as planning does it; what people decide is not."""
    made = Scene(*steps, judge=judge, by=(50, 100), pause=pause)
    does = {step.id: step for step in made.plan.runbook.steps}
    timed = [
        one.model_copy(update={"timed": TimedAs(action=one.step.do, target=one.returns or one.id, shape="s")})
        if isinstance(does[one.returns or one.id], ShiftStep | VerifyStep)
        else one
        for one in made.plan.steps
    ]
    made.plan = made.plan.model_copy(update={"steps": tuple(timed)})
    return made


def kept(made: Scene) -> list[tuple[object, ...]]:
    """The durations: step, target, direction and seconds."""
    entries = reversed(made.journal.durations())
    return [(one.step, one.data["target"], one.data["direction"], one.data["seconds"]) for one in entries]


def test_each_step_says_how_long_it_took() -> None:
    """Out and back each step keeps its time, with its waypoints and pauses; so does one that only looks."""
    made = scene(verify("look", "mail"), turn("shift"), back("back", "shift"), pause=10.0)
    made.start()
    assert kept(made) == [
        ("look", "look", "out", 1.0),
        ("shift", "shift", "out", 23.0),
        ("back.shift", "shift", "back", 23.0),
    ]
    assert made.journal.durations()[0].data["shape"] == "s"


def test_the_time_of_people_does_not_count() -> None:
    """A step counts from its approval on; holds and a person's work keep no time."""
    made = scene(turn("asked", approval={}), hold("wait", "1h"), manual("task", undo="undo it"))
    made.start(after={600.0: lambda: made.approve("asked"), 9000.0: lambda: made.approve("task")})
    assert [(name, seconds) for name, _, _, seconds in kept(made)] == [("asked", 3.0)]


def test_an_undo_keeps_its_time() -> None:
    """After a failure each undo keeps its time, and what failed keeps none."""
    made = scene(turn("shift"), turn("more", after=["mail"]), judge={"mail": "fail"})
    made.start()
    assert [(name, direction) for name, _, direction, _ in kept(made)] == [
        ("shift", "out"),
        ("more", "undo"),
        ("shift", "undo"),
    ]


def test_an_undo_by_waypoints_keeps_none() -> None:
    """Its time is that of the runbook's pauses, and would be taken for that of an undo in one move."""
    made = scene(turn("shift"), pause=10.0)
    made.start()
    made.work(lambda engine: engine.undo("asked for", paced=True))
    assert [direction for _, _, direction, _ in kept(made)] == ["out"]


def test_what_was_not_done_in_one_go_keeps_none() -> None:
    """A step that was interrupted half-way, and one that had nothing to do, say nothing of the next time."""
    made = scene(turn("shift"), pause=10.0)
    made.start(after={5.0: made.interrupt})
    made.start()
    assert (made.status, kept(made)) == ("done", [])
    idle = scene(turn("shift"))
    idle.world.levels["shift"] = 100
    idle.start()
    assert (idle.status, kept(idle)) == ("done", [])


def test_only_the_try_that_did_it_counts() -> None:
    """A gate that opens at the second try costs no time in what is kept, as nothing was touched before."""
    made = scene(turn("shift", before=["mail"], retries={"times": 1, "pause": "60s"}), judge={"mail": "fail pass"})
    made.start()
    assert kept(made) == [("shift", "shift", "out", 4.0)]


def test_a_lost_duration_loses_nothing_else() -> None:
    """A process that is killed between a step's end and its duration goes on as if nothing were missing."""
    whole = scene(turn("shift"), turn("more"))
    whole.start()
    assert isinstance(whole.world, Dials)
    at = next(number for number, entry in enumerate(whole.journal.written, 1) if entry.kind == "duration")
    killed = scene(turn("shift"), turn("more"))
    killed.journal.dies_before = at
    killed.start()
    killed.journal.revive()
    killed.start()
    assert killed.status == "done"
    assert [name for name, _, _, _ in kept(killed)] == ["more"]
