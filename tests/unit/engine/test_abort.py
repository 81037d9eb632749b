"""A person aborts a run: the waypoint under way is reached, then the run goes back, or stands where it is."""

from __future__ import annotations

import pytest

from orchestrator.model.journal import Entry
from orchestrator.status import RunStatus, StepStatus

from .scene import RUN, Scene, back, deeds, hold, manual, turn, verify


def ask(scene: Scene, then: str = "undo", by: str = "ada", note: str = "") -> None:
    """``failover abort`` in another terminal."""
    data = {"by": by, "note": note, "then": then}
    scene.journal.append(Entry(run=RUN, at=scene.clock.later, epoch=0, kind="abort", data=dict(data)))


def two_steps() -> Scene:
    """A shift by two waypoints, and a second one."""
    return Scene(turn("one"), turn("two"), by=(50, 100))


def test_it_finishes_the_waypoint_and_goes_back() -> None:
    """Asked in the middle of a waypoint, the run reaches it, starts nothing more, and undoes what it did."""
    scene = two_steps()
    events = scene.start(after={1.5: lambda: ask(scene)})  # the first half is turned at 1.0, the second at 2.0
    assert deeds(events) == "run:running one-there?pass one=25 one=50 run:undoing one-here?pass one=25 one=0 run:undone"
    assert scene.state.reason == "aborted by ada"


def test_asked_twice_it_stops_at_once() -> None:
    """The second time means now: the waypoint is left at its next safe point."""
    scene = two_steps()
    events = scene.start(after={1.2: lambda: ask(scene), 1.3: lambda: ask(scene)})
    assert deeds(events) == "run:running one-there?pass one=25 run:undoing one-here?pass one=12 one=0 run:undone"


def test_it_can_hold_instead() -> None:
    """With hold nothing is taken back; resuming goes on to the end, and the abort is answered."""
    scene = two_steps()
    scene.start(after={1.5: lambda: ask(scene, "hold", note="wait for the provider")})
    assert (scene.status, scene.levels["one"], scene.state.abort) == (RunStatus.HELD, 50, "")
    assert scene.state.reason == "aborted by ada: wait for the provider"
    scene.start()
    assert (scene.status, scene.levels) == (RunStatus.DONE, {"one": 100, "two": 100})


@pytest.mark.parametrize("step", [hold("window"), hold("window", until="1h"), manual("window", undo="undo it")])
def test_a_wait_ends_at_once(step: dict[str, object]) -> None:
    """There is no waypoint that waiting would reach."""
    scene = Scene(turn("one"), step)
    scene.start(after={10.0: lambda: ask(scene), 20.0: lambda: scene.approve("window")})
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)


def test_a_gate_ends_at_once() -> None:
    """A check that measures is not waited for; where nothing was touched the run is refused."""
    scene = Scene(verify("path", "path"), turn("one"), judge={"path": "hang"})
    scene.start(after={5.0: lambda: ask(scene)})
    assert (scene.status, scene.state.reason) == (RunStatus.REFUSED, "aborted by ada")
    assert scene.step("path").status is StepStatus.REFUSED


def test_the_pause_between_two_waypoints_ends_at_once() -> None:
    """In a long pause the run goes back without waiting it out."""
    scene = Scene(turn("one"), by=(50, 100), pause=3600.0)
    scene.start(after={60.0: lambda: ask(scene)})
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)
    assert scene.state.at - scene.journal.written[0].at < 120


def test_what_fails_while_it_is_finished_is_taken_back() -> None:
    """An abort that would hold does not leave a failed waypoint as it is."""
    scene = two_steps()
    scene.world.trouble["one"] = "slips"
    scene.start(after={1.2: lambda: ask(scene, "hold")})
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)


def test_an_abort_outlives_its_run() -> None:
    """When the owner dies before it heard, the next one goes back instead of on."""
    scene = two_steps()
    scene.start(after={1.5: lambda: setattr(scene.journal, "dead", True)})
    scene.journal.revive()
    ask(scene, note="too slow")
    assert "run:undoing" in scene.start()
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)
    assert scene.state.reason == "aborted by ada: too slow"


def test_an_interrupted_run_keeps_its_abort() -> None:
    """A signal that comes after an abort ends the work, not the wish."""
    scene = two_steps()
    scene.start(after={1.2: lambda: ask(scene), 1.7: scene.interrupt})
    assert (scene.status, scene.state.abort) == (RunStatus.INTERRUPTED, "undo")
    scene.start()
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)


def test_a_run_that_goes_back_is_not_aborted() -> None:
    """What is asked for is under way already."""
    scene = Scene(turn("one"), turn("two", after=["flows"]), judge={"flows": "fail"}, pause=1.0)
    scene.start(after={7.6: lambda: ask(scene)})
    assert (scene.status, scene.state.abort) == (RunStatus.UNDONE, "")
    assert scene.state.reason.startswith("two: flows failed")


def test_a_paced_undo_goes_by_the_waypoints_of_the_way_out() -> None:
    """A person's undo of a finished run is no emergency: it pauses where the way out did, and looks each time."""
    scene = Scene(turn("one"), by=(50, 100), pause=600.0)
    scene.start()
    began = scene.clock.later
    events = scene.work(lambda engine: engine.undo("asked for", paced=True))
    assert deeds(events) == ("run:undoing one-here?pass one=75 one=50 one-here?pass one=25 one=0 run:undone")
    entries = [entry for entry in scene.journal.written if entry.data.get("direction") == "undo"]
    assert entries[1].at - entries[0].at >= 600.0 > began


def test_a_paced_undo_stays_so_after_a_kill() -> None:
    """Whoever resumes it goes on at the same pace."""
    scene = Scene(turn("one"), by=(50, 100), pause=600.0)
    scene.start()
    scene.work(
        lambda engine: engine.undo("asked for", paced=True), after={100.0: lambda: setattr(scene.journal, "dead", True)}
    )
    scene.journal.revive()
    assert scene.state.paced
    assert deeds(scene.start()) == "one-here?pass one=37 one=25 one-here?pass one=12 one=0 run:undone"


def test_an_abort_during_a_return_leaves_the_site_empty_or_goes_back() -> None:
    """Half-way through a return the undo takes everything back to how it was before the run."""
    scene = Scene(turn("one"), back("back", "one"), by=(50, 100), pause=10.0)
    scene.start(after={30.0: lambda: ask(scene)})
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)
