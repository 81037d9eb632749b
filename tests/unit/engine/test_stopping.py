"""Signals, guards, timeouts, approvals and fencing: what stops a run, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from orchestrator.errors import Fenced
from orchestrator.model.check import Verdict
from orchestrator.status import RunState, RunStatus, StepStatus

from ..fakes.judges import FakeGuards, verdict
from .scene import Scene, StepText, back, deeds, hold, turn, verify

ROUND = (turn("shift", after=["flows"]), hold("window", until="30s"), back("back", "shift"))


def test_an_interrupted_run_is_resumed() -> None:
    """A signal stops the converge at its next safe point; resuming observes, and goes on from there."""
    scene = Scene(turn("shift", after=["flows"]))
    assert deeds(scene.start(after={1.5: scene.interrupt})) == "run:running shift-there?pass shift=50 run:interrupted"
    assert (scene.state.reason, scene.step("shift").in_doubt) == ("SIGTERM", False)
    assert deeds(scene.start()) == "run:running shift-there?pass shift=75 shift=100 flows?pass run:done"


def test_the_recorded_start_is_that_of_the_first_attempt() -> None:
    """Every intent of a step, also after a restart half-way, carries what was there before its first one."""
    scene = Scene(turn("shift"), by=(50, 100), levels={"shift": 4})
    scene.start(after={2.5: scene.interrupt})
    scene.start()
    starts = [one.data["start"] for one in scene.journal.written if one.kind == "intent"]
    assert starts == [{"level": 4}] * 4
    assert scene.step("shift").start == {"level": 4}


@pytest.mark.parametrize(("at", "asked"), [(0.5, "shift-there"), (2.5, "flows")])
def test_a_signal_does_not_wait_for_a_measurement(at: float, asked: str) -> None:
    """A check or a look at a site's health is given up at once."""
    scene = Scene(turn("shift", after=["flows"]))
    assert asked not in scene.start(after={at: scene.interrupt})
    assert scene.status is RunStatus.INTERRUPTED


def test_a_gate_is_not_skipped_by_a_restart() -> None:
    """A step that was stopped while its last gate was asked is not done before that gate has passed."""
    scene = Scene(turn("shift", after=["flows"]), judge={"flows": "fail"})
    scene.start(after={2.5: scene.interrupt})
    assert scene.levels == {"shift": 100}
    assert deeds(scene.start()) == "run:running flows?fail run:undoing shift-here?pass shift=50 shift=0 run:undone"


def test_a_signal_before_the_start_touches_nothing() -> None:
    """A run that is interrupted before its first step can be resumed."""
    scene = Scene(turn("shift"))
    scene.start(each_turn=lambda number: scene.interrupt() if number == 2 else None)
    assert (scene.status, scene.levels) == (RunStatus.INTERRUPTED, scene.before)
    scene.start()
    assert scene.status is RunStatus.DONE


def test_an_interrupted_undo_goes_on_undoing() -> None:
    """Resuming a run that was on its way back goes on with that, and it ends with the reason of the failure."""
    scene = Scene(turn("one"), turn("two", after=["flows"]), judge={"flows": "fail"})
    scene.start(after={6.5: scene.interrupt})
    assert (scene.status, scene.levels) == (RunStatus.INTERRUPTED, {"one": 100, "two": 50})
    assert deeds(scene.start()) == ("run:undoing two-here?pass two=25 two=0 one-here?pass one=50 one=0 run:undone")
    assert scene.state.reason == "two: flows failed: the script says fail"


def test_a_signal_after_a_failure_is_not_lost() -> None:
    """A signal that comes while a failed branch waits for its sibling stops the undo, too."""
    scene = Scene(turn("one"), verify("two", "path", needs=[]), judge={"path": "fail"})

    def at_failure(_: int) -> None:
        if scene.live.step("two").status is StepStatus.REFUSED and not scene.live.undoing:
            scene.interrupt()

    assert deeds(scene.start(at_failure)).endswith("path?fail one-there?pass one=50 run:undoing run:interrupted")
    assert scene.status is RunStatus.INTERRUPTED
    scene.start()
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)


def test_a_guard_breach_during_a_hold() -> None:
    """Guards are on watch while the run is held; a breach ends the hold and takes everything back."""
    scene = Scene(*ROUND, guards=FakeGuards(breach_at=10.0))
    assert deeds(scene.start()) == (
        "run:running shift-there?pass shift=50 shift=100 flows?pass run:held "
        "run:undoing shift-here?pass shift=50 shift=0 run:undone"
    )
    assert scene.state.reason == "guard headroom: the script says fail"
    assert not scene.guards.watching


def test_a_guard_breach_before_anything_is_touched() -> None:
    """A breach while the first step is at its gate refuses the run."""
    scene = Scene(turn("shift"), guards=FakeGuards(breach_at=0.5))
    assert scene.start() == "run:running shift:gating shift:refused run:refused"


def test_a_guard_breach_during_a_return() -> None:
    """A return that a guard stops is taken back, and the run is held."""
    scene = Scene(turn("shift"), back("back", "shift"), guards=FakeGuards(breach_at=3.5))
    assert deeds(scene.start()).endswith("shift=50 shift-there?pass shift=75 shift=100 run:held")


class Alarm(FakeGuards):
    """Guards that break when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self._on_breach: Callable[[Verdict], None] | None = None

    def has_held(self, guard: str) -> bool:
        """See ``Guards.has_held``."""
        return True

    async def watch(self, on_breach: Callable[[Verdict], None]) -> None:
        """See ``Guards.watch``."""
        self._on_breach = on_breach
        try:
            await asyncio.Event().wait()
        finally:
            self._on_breach = None

    def ring(self) -> bool:
        """Break, if anybody listens."""
        if self._on_breach is not None:
            self._on_breach(verdict("headroom", "fail"))
            return True
        return False


def breach_at_turn(number: int, *steps: StepText) -> tuple[Scene, RunState | None]:
    """The scene whose guards broke at one turn of the loop, and where the run stood then; none where it was over."""
    alarm = Alarm()
    scene, until = Scene(*steps, guards=alarm), list[RunState]()

    def each_turn(turn: int) -> None:
        if turn == number and alarm.ring():
            until.append(scene.live)

    scene.start(each_turn)
    return scene, until[0] if until else None


def breach_at_each_turn(*steps: StepText) -> Iterator[tuple[Scene, RunState]]:
    """The scene once for every turn of the loop at which its guards are on watch."""
    for number in count(1):
        scene, until = breach_at_turn(number, *steps)
        if until is not None:
            yield scene, until
        elif number > 10:  # in the first turns nobody is on watch yet
            return


def test_a_breach_at_any_moment_of_a_return() -> None:
    """Once the way out is done, a breach holds the run, also between two parts of the return; or it was done."""
    out, parts = (turn("shift"), turn("drain")), ("back.drain", "back.shift")
    ends = set()
    for scene, _ in breach_at_each_turn(*out, back("back", "drain", "shift")):
        if "drain:done" not in scene.told:
            assert scene.status in {RunStatus.UNDONE, RunStatus.REFUSED}
            assert scene.levels == scene.before
            continue
        finished = tuple(part for part in parts if f"{part}:done" in scene.told)
        ends.add((scene.status, finished))
        there = {"drain": 0 if parts[0] in finished else 100, "shift": 0 if parts[1] in finished else 100}
        assert scene.levels == there
        scene.guards = FakeGuards()
        if scene.status is RunStatus.HELD:
            scene.start()
        assert (scene.status, scene.levels) == (RunStatus.DONE, scene.before)
    assert ends == {(RunStatus.HELD, ()), (RunStatus.HELD, parts[:1]), (RunStatus.DONE, parts)}


def test_a_breach_after_the_last_step() -> None:
    """A guard that breaks when no step is left undoes nothing, also where the last step was a hold."""
    for steps in [(turn("shift"), hold("window", until="1s")), (hold("window", until="1s"), turn("shift"))]:
        last = str(steps[-1]["id"])
        late = [
            scene.status for scene, until in breach_at_each_turn(*steps) if until.step(last).status is StepStatus.DONE
        ]
        assert late
        assert set(late) == {RunStatus.DONE}


def test_a_breach_between_two_steps() -> None:
    """Between two steps the next one decides: it would have been stopped at its gate."""
    steps = (turn("one"), turn("two", on_failure="hold"))
    ends = {
        scene.status
        for scene, until in breach_at_each_turn(*steps)
        if (until.step("one").status, until.step("two").status) == (StepStatus.DONE, StepStatus.PENDING)
    }
    assert ends == {RunStatus.HELD}


def test_a_breach_is_journalled() -> None:
    """The verdict of a broken guard is in the journal, as the guard's, of no step."""
    scene = Scene(turn("shift"), guards=FakeGuards(breach_at=1.5))
    scene.start()
    found = [one.data for one in scene.journal.written if one.kind == "verdict" and not one.step]
    assert [(one["check"], one["gate"], one["judgement"]) for one in found] == [("headroom", "guard", "fail")]


def test_guards_that_cannot_be_watched_are_a_breach() -> None:
    """A watch that dies of a bug does not leave a run unwatched; the reason names the bug, not its wrapping."""
    scene = Scene(turn("shift"), guards=FakeGuards(breach_at=1.5, error=ValueError("no such metric")))
    scene.start()
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)
    assert scene.state.reason == "the guards cannot be watched: no such metric"


def test_guards_watch_a_resumed_run() -> None:
    """A resumed run is watched like a new one."""
    scene = Scene(*ROUND, guards=FakeGuards(breach_at=10.0))
    scene.start(after={5.0: scene.interrupt})
    scene.start()
    assert scene.status is RunStatus.UNDONE


def test_a_step_over_its_timeout_has_failed() -> None:
    """A step that is not done in time is stopped at a safe point and the run is undone."""
    scene = Scene(hold("window", until="1h", timeout="10s"), turn("shift"))
    assert deeds(scene.start()) == "run:running run:held run:undoing run:undone"
    assert scene.state.reason == "window: not done after its timeout of 10s"


def test_a_deaf_action_is_cancelled() -> None:
    """A converge that never comes to a safe point is cancelled some time after its step's timeout."""
    scene = Scene(turn("shift", timeout="10s"))
    scene.world.trouble["shift"] = "deaf"
    scene.start()
    assert scene.state.reason == "shift: it did not stop at its timeout and was cancelled"
    assert (scene.status, scene.levels) == (RunStatus.UNDONE, scene.before)


def test_a_measurement_that_never_ends_runs_into_the_timeout() -> None:
    """A gate that does not come to a verdict fails its step in time."""
    scene = Scene(turn("shift", after=["flows"], timeout="10s"), judge={"flows": "hang"})
    assert deeds(scene.start()).endswith("run:undoing shift-here?pass shift=50 shift=0 run:undone")
    assert scene.state.reason == "shift: not done after its timeout of 10s"


def test_an_approval_ahead() -> None:
    """A hold that was approved before the run began waits for nobody, and the run is never held."""
    scene = Scene(hold("window"), turn("shift"))
    scene.approve("window")
    assert deeds(scene.start()) == "run:running shift-there?pass shift=50 shift=100 run:done"
    assert scene.step("window").approved_by == "ada"
    assert scene.step("window").progress == "approved by ada"


def test_an_approval_from_another_terminal() -> None:
    """A hold hears within a second of an approval that another process wrote into the journal."""
    scene = Scene(hold("window"))
    scene.start(after={100.0: lambda: scene.approve("window")})
    begun, done = (one.at for one in scene.journal.written if one.data.get("status") in {"converging", "verifying"})
    assert 100 <= done - begun < 101


def test_an_approval_while_nobody_works_on_the_run() -> None:
    """An approval that is given to an interrupted run counts when it is resumed."""
    scene = Scene(hold("window"))
    scene.start(after={5.0: scene.interrupt})
    scene.approve("window")
    scene.start()
    assert scene.status is RunStatus.DONE


def test_an_approval_of_another_step_releases_nothing() -> None:
    """Each hold waits for its own approval."""
    scene = Scene(hold("one"), hold("two"))
    scene.approve("two")
    scene.start(after={50.0: scene.interrupt})
    assert (scene.step("one").status, scene.step("two").status) == (StepStatus.CONVERGING, StepStatus.PENDING)


def test_a_hold_counts_from_its_first_start() -> None:
    """A hold of half an hour that was interrupted after ten minutes and found again five later waits fifteen more."""
    scene = Scene(hold("window", until="30m"))
    scene.start(after={600.0: scene.interrupt})
    scene.later(900.0)
    scene.start()
    begun, *_, done = (one.at for one in scene.journal.written if one.step == "window" and one.kind != "progress")
    assert done - begun == pytest.approx(1800, abs=1)


def test_a_fenced_engine_touches_nothing() -> None:
    """Once another owner has taken the run, the old one writes neither to the world nor into the journal."""
    scene = Scene(turn("shift"))
    seen: list[int] = []

    def taken_over() -> None:
        scene.steal()
        seen.append(len(scene.journal.written))

    with pytest.raises(Fenced):
        scene.start(after={1.5: taken_over})
    assert scene.levels == {"shift": 50}
    assert len(scene.journal.written) == seen[0]
    assert scene.status is RunStatus.RUNNING


def test_a_fenced_engine_stops_its_other_branches() -> None:
    """All branches of a run that was taken over end, also one that only waits."""
    scene = Scene(turn("shift"), hold("window", needs=[]))
    with pytest.raises(Fenced):
        scene.start(after={1.5: scene.steal})
    assert not scene.guards.watching


def test_a_fenced_undo_touches_nothing() -> None:
    """The same holds on the way back."""
    scene = Scene(turn("shift"))
    scene.start()
    with pytest.raises(Fenced):
        scene.undo(after={1.5: scene.steal})
    assert scene.levels == {"shift": 50}
