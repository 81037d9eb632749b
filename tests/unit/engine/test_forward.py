"""The way out: the order of steps and gates, and what a failure does to what was done."""

from __future__ import annotations

import pytest

from orchestrator.status import RunStatus, StepStatus

from .scene import Scene, back, deeds, hold, turn, verify


def test_a_good_run() -> None:
    """Steps run one after the other; each waypoint is reached, verified and only then followed by the next."""
    scene = Scene(verify("escape", "path"), turn("shift", after=["flows"]), by=(50, 100))
    assert scene.start() == (
        "run:running escape:gating path?pass escape:done "
        "shift:gating shift-there?pass shift:converging shift=25 shift=50 shift:verifying flows?pass "
        "shift:converging shift=75 shift=100 shift:verifying flows?pass shift:done run:done"
    )


def test_intent_before_outcome_after() -> None:
    """Around every converge the journal has what is intended, with the recorded start, and how it ended."""
    scene = Scene(turn("shift"), by=(50, 100))
    scene.start()
    entries = [(one.kind, one.data) for one in scene.journal.written if one.kind in {"intent", "outcome"}]
    start = {"level": 0}
    assert entries == [
        ("intent", {"start": start, "to": {"level": 50}, "waypoint": "50%", "direction": "out"}),
        ("outcome", {"result": "reached", "reason": ""}),
        ("intent", {"start": start, "to": {"level": 100}, "waypoint": "100%", "direction": "out"}),
        ("outcome", {"result": "reached", "reason": ""}),
    ]


def test_a_waypoint_settles_before_its_gate_is_asked() -> None:
    """The pause of a waypoint passes between its outcome and its gate."""
    scene = Scene(turn("shift", after=["flows"]), pause=30.0)
    scene.start()
    at = {one.kind: one.at for one in scene.journal.written if one.step == "shift"}
    assert at["verdict"] - at["outcome"] == pytest.approx(31)


def test_nothing_to_do() -> None:
    """A step whose world is already as wanted asks no gate, touches nothing and says so."""
    scene = Scene(turn("shift", before=["path"], after=["flows"]), levels={"shift": 100})
    assert scene.start() == "run:running shift:gating shift:nothing run:done"


def test_refused_at_the_first_verify() -> None:
    """A run whose first check fails ends refused: nothing was touched."""
    scene = Scene(verify("escape", "path", "arrives"), turn("shift"), judge={"path": "fail"})
    assert scene.start() == "run:running escape:gating path?fail escape:refused run:refused"
    assert scene.state.reason == "escape: path failed: the script says fail"


def test_unknown_never_passes() -> None:
    """A gate that cannot be judged stays shut."""
    scene = Scene(turn("shift", before=["path"]), judge={"path": "unknown"})
    assert scene.start() == "run:running shift:gating path?unknown shift:refused run:refused"
    assert "path could not be judged" in scene.state.reason


def test_refused_where_the_receiver_is_sick() -> None:
    """No traffic goes to a site that does not answer."""
    scene = Scene(turn("shift"), judge={"shift-there": "fail"})
    assert scene.start() == "run:running shift:gating shift-there?fail shift:refused run:refused"


def test_refused_where_the_world_cannot_be_read() -> None:
    """A step that cannot observe has touched nothing."""
    scene = Scene(turn("shift"))
    scene.world.trouble["shift"] = "gone"
    assert scene.start() == "run:running shift:gating shift:refused run:refused"


def test_what_the_plan_asked_is_asked_again_before_the_first_write() -> None:
    """A step that has become unfit during its gates is refused with every reason, and touches nothing."""
    scene = Scene(turn("shift", before=["path"]))

    def block() -> None:
        scene.world.trouble["shift"] = "blocked"

    assert deeds(scene.start(after={0.5: block})) == "run:running path?pass shift-there?pass run:refused"
    assert scene.state.reason == "shift: cannot turn shift: it is blocked"
    assert scene.step("shift").status is StepStatus.REFUSED


def test_what_the_plan_asked_is_not_asked_half_way() -> None:
    """A step that has begun goes on by its waypoints, and its return goes back, whatever the plan would say now."""
    scene = Scene(turn("shift"), back("back", "shift"), by=(50, 100))

    def block() -> None:
        scene.world.trouble["shift"] = "blocked"

    scene.start(after={1.5: block})
    assert (scene.status, scene.levels) == (RunStatus.DONE, scene.before)


def test_a_late_verify_that_fails_undoes_the_run() -> None:
    """A check that fails after something was touched takes the run back."""
    scene = Scene(turn("shift"), verify("arrives", "mail"), judge={"mail": "fail"})
    assert deeds(scene.start()) == (
        "run:running shift-there?pass shift=50 shift=100 mail?fail "
        "run:undoing shift-here?pass shift=50 shift=0 run:undone"
    )


def test_a_gate_that_fails_at_the_second_waypoint() -> None:
    """What was done is undone in reverse order, each dial exactly to where it was recorded."""
    scene = Scene(
        turn("one"),
        turn("two", after=["flows"]),
        by=(20, 100),
        judge={"flows": "pass fail"},
        levels={"one": 7, "two": 13},
    )
    assert deeds(scene.start()) == (
        "run:running one-there?pass one=16 one=25 one=62 one=100 "
        "two-there?pass two=21 two=30 flows?pass two=65 two=100 flows?fail "
        "run:undoing two-here?pass two=56 two=13 one-here?pass one=53 one=7 run:undone"
    )
    assert scene.levels == scene.before
    assert scene.state.reason == "two: flows failed: the script says fail"


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        ("rejects", "two: cannot turn two: no"),
        ("declines", "two: two is stiff"),
        ("breaks", "two: a bug in traffic.shift: RuntimeError: off by one"),
        ("slips", "two: the change did not hold, still to do: two: 0 → 100"),
    ],
)
def test_a_converge_that_fails(trouble: str, reason: str) -> None:
    """Whether the world refuses, the action declines, has a bug, or the change does not hold: the run is undone."""
    scene = Scene(turn("one"), turn("two"))
    scene.world.trouble["two"] = trouble
    assert deeds(scene.start()) == (
        "run:running one-there?pass one=50 one=100 two-there?pass run:undoing one-here?pass one=50 one=0 run:undone"
    )
    assert scene.state.reason == reason
    assert not scene.step("two").in_doubt


def test_a_step_is_not_started_after_a_failure() -> None:
    """Nothing that needs a failed step, and nothing beside it, begins any more."""
    scene = Scene(turn("one"), verify("two", "path", needs=["one"]), turn("three"), judge={"path": "fail"})
    scene.start()
    assert scene.step("three").status is StepStatus.PENDING


def test_on_failure_continue() -> None:
    """A step that may fail keeps its status, and the run goes on without it."""
    scene = Scene(turn("one", on_failure="continue"), turn("two"))
    scene.world.trouble["one"] = "rejects"
    assert deeds(scene.start()) == "run:running one-there?pass two-there?pass two=50 two=100 run:done"
    assert scene.step("one").status is StepStatus.FAILED


def test_on_failure_continue_of_a_refused_step() -> None:
    """A step that was refused and may be is asked once, not for ever."""
    scene = Scene(turn("one", before=["path"], on_failure="continue"), turn("two"), judge={"path": "fail"})
    assert deeds(scene.start()) == "run:running path?fail two-there?pass two=50 two=100 run:done"
    assert scene.step("one").status is StepStatus.REFUSED


def test_on_failure_hold() -> None:
    """The step that failed is taken back, what was done before it stays, and the run waits for a person."""
    scene = Scene(turn("one"), turn("two", after=["flows"], on_failure="hold"), judge={"flows": "fail pass"})
    assert deeds(scene.start()) == (
        "run:running one-there?pass one=50 one=100 two-there?pass two=50 two=100 flows?fail "
        "two-here?pass two=50 two=0 run:held"
    )
    assert scene.state.reason == "two: flows failed: the script says fail"
    assert deeds(scene.start()) == "run:running two-there?pass two=50 two=100 flows?pass run:done"


def test_branches_run_side_by_side() -> None:
    """Steps that do not need each other work at the same time; one that needs both waits for both."""
    scene = Scene(turn("one"), turn("two", needs=[]), turn("three", needs=["one", "two"]))
    assert deeds(scene.start()) == (
        "run:running one-there?pass two-there?pass one=50 two=50 one=100 two=100 "
        "three-there?pass three=50 three=100 run:done"
    )


def test_a_failed_branch_stops_the_other() -> None:
    """A branch that fails stops its sibling at the next safe point; both are undone, the last that began first."""
    scene = Scene(turn("one", after=["slow"]), turn("two", needs=[]), by=(50, 100))
    scene.world.trouble["two"] = "declines"
    assert scene.start() == (
        "run:running one:gating two:gating one-there?pass two-there?pass one:converging one=25 "
        "two:converging two:failed run:undoing two:undoing two:undone one:undoing one-here?pass one=12 one=0 "
        "one:undone run:undone"
    )


def test_a_branch_that_was_only_waiting_at_its_gate_is_refused() -> None:
    """A step that is stopped before it touched anything is not left between two statuses."""
    scene = Scene(turn("one"), turn("two", needs=[], before=["slow"]), judge={"slow": "hang"})
    scene.world.trouble["one"] = "rejects"
    scene.start()
    assert (scene.status, scene.step("two").status) == (RunStatus.UNDONE, StepStatus.REFUSED)


def test_a_held_run_stays_held_while_another_branch_goes_on() -> None:
    """A step that ends beside a hold does not make the run look as if nobody were waited for."""
    scene = Scene(hold("window", until="60s"), turn("one", needs=[]), verify("end", "flows", needs=["window", "one"]))
    line = scene.start()
    assert line.index("run:held") < line.index("one:done") < line.index("window:done") < line.index("run:running end")


def test_a_hold_that_may_fail() -> None:
    """A hold that runs into its timeout and may does not keep the run from being done."""
    scene = Scene(hold("window", timeout="10s", on_failure="continue"), turn("one"))
    assert deeds(scene.start()) == "run:running run:held run:running one-there?pass one=50 one=100 run:done"


def test_a_broken_report_does_not_steer_a_run() -> None:
    """A run whose report cannot be printed any more ends as it would have."""
    scene = Scene(turn("shift", after=["flows"]), back("back", "shift"))
    scene.told = _ClosedPipe()
    scene.start()
    assert (scene.status, scene.levels) == (RunStatus.DONE, scene.before)


class _ClosedPipe(list[str]):
    """What is told of a run, into a pipe that nobody reads any more."""

    def append(self, event: str) -> None:
        """Fail, as a print does."""
        if ":" in event:
            raise BrokenPipeError("Broken pipe")


def test_a_whole_maintenance() -> None:
    """A whole maintenance: out, hold, back; the world ends as it was."""
    scene = Scene(turn("shift"), turn("drain"), hold("window", until="10m"), back("back", "drain", "shift"))
    assert deeds(scene.start()) == (
        "run:running shift-there?pass shift=50 shift=100 drain-there?pass drain=50 drain=100 run:held run:running "
        "drain-here?pass drain=50 drain=0 shift-here?pass shift=50 shift=0 run:done"
    )
    assert scene.levels == scene.before
