"""A person aborts a run: the waypoint under way is reached, then the run goes back, or stands where it is."""

from __future__ import annotations

import pytest

from orchestrator.model.journal import Entry
from orchestrator.status import RunStatus, StepStatus

from ..fakes.judges import FakeGuards
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


def test_an_abort_of_a_return_leaves_the_site_empty() -> None:
    """Half-way through a return the return alone is taken back: to send all the traffic back would be the opposite."""
    scene = Scene(turn("one"), back("back", "one"), by=(50, 100), pause=10.0)
    scene.start(after={30.0: lambda: ask(scene)})
    assert (scene.status, scene.levels, scene.state.abort) == (RunStatus.HELD, {"one": 100}, "")
    assert scene.state.reason == "aborted by ada"
    scene.start()
    assert (scene.status, scene.levels) == (RunStatus.DONE, scene.before)


@pytest.mark.parametrize(("then", "end"), [("undo", RunStatus.UNDONE), ("hold", RunStatus.HELD)])
@pytest.mark.parametrize("after", [3.3, 4.0, 4.9])
def test_an_abort_while_a_failed_step_is_taken_back(then: str, end: RunStatus, after: float) -> None:
    """The step is taken back in any case; then the wish of the person decides, and nobody is left without an answer."""
    scene = Scene(turn("zero"), turn("one", after=["flows"], on_failure="hold"), judge={"flows": "fail pass"})
    scene.start(after={after + 2.0: lambda: ask(scene, then)})
    assert (scene.status, scene.state.abort, scene.levels["one"]) == (end, "", 0)
    if end is RunStatus.HELD:
        scene.start()
        assert (scene.status, scene.levels) == (RunStatus.DONE, {"zero": 100, "one": 100})


def test_an_abort_at_the_last_moment() -> None:
    """Said before the run has said that it is done, it goes back: who aborted was told so."""
    scene = Scene(turn("one"))
    scene.start(after={1.95: lambda: ask(scene)})
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)


@pytest.mark.parametrize("wishes", [("undo", "hold"), ("hold", "undo")])
def test_back_wins_over_hold(wishes: tuple[str, str]) -> None:
    """Of two people with two wishes the one who wants it back gets it, and the waypoint is finished first."""
    scene = two_steps()
    events = scene.start(after={1.2: lambda: ask(scene, wishes[0]), 1.3: lambda: ask(scene, wishes[1], by="bob")})
    assert deeds(events) == "run:running one-there?pass one=25 one=50 run:undoing one-here?pass one=25 one=0 run:undone"


def test_between_two_tries_the_last_one_has_failed() -> None:
    """Who wants the run held does not want a try that failed half-way to stay as it is."""
    scene = Scene(
        turn("one", after=["flows"], retries={"times": 2, "pause": "10m"}, on_failure="hold"), judge={"flows": "fail"}
    )
    scene.start(after={60.0: lambda: ask(scene, "hold")})
    assert (scene.status, scene.levels) == (RunStatus.HELD, scene.before)
    assert "flows failed" in scene.state.reason


def test_an_action_that_is_deaf_is_cancelled() -> None:
    """An action without a timeout that never comes to a safe point is ended some seconds after an urgent abort."""
    scene = Scene(turn("one"))
    scene.world.trouble["one"] = "deaf"
    scene.start(after={2.0: lambda: ask(scene), 3.0: lambda: ask(scene), 4.0: lambda: scene.world.trouble.clear()})
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)
    assert scene.state.at - scene.journal.written[0].at < 20


def test_a_guard_that_breaks_stops_a_paced_undo() -> None:
    """It is no emergency: it stands where it is, says why, and goes on at the same pace when it is resumed."""
    scene = Scene(turn("one"), by=(50, 100), pause=600.0)
    scene.start()
    scene.guards = FakeGuards(breach_at=100.0)
    scene.work(lambda engine: engine.undo("asked for", paced=True))
    assert (scene.status, scene.levels, scene.state.paced) == (RunStatus.INTERRUPTED, {"one": 50}, True)
    assert "headroom" in scene.state.reason
    scene.guards = FakeGuards()
    scene.start()
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)


def test_a_guard_that_was_broken_before_does_not_stop_a_paced_undo() -> None:
    """The undo may be what repairs it; it is told, once."""
    scene = Scene(turn("one"), by=(50, 100), pause=600.0)
    scene.start()
    scene.guards = FakeGuards(breach_at=0.0)
    scene.work(lambda engine: engine.undo("asked for", paced=True))
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)
    assert len([one for one in scene.journal.written if one.data.get("gate") == "guard"]) == 1


def test_a_kill_just_after_a_resume_does_not_turn_it_round() -> None:
    """A held failure that a person has answered by a resume stays answered until a step has begun again."""
    scene = Scene(turn("one", after=["flows"], on_failure="hold"), turn("two", needs=[]), judge={"flows": "fail pass"})
    scene.start()
    scene.journal.dies_after = len(scene.journal.written) + 1
    scene.start()
    scene.journal.revive()
    assert [entry.data.get("status") for entry in scene.journal.written][-2:] == ["held", "running"]
    scene.start()
    assert (scene.status, scene.levels) == (RunStatus.DONE, {"one": 100, "two": 100})
