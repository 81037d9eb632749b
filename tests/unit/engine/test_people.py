"""What people do in a run: approvals before a step, manual steps and their undo, plan B; and tries again."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.model.journal import Entry
from orchestrator.status import RunStatus, StepStatus

from .scene import RUN, Scene, back, deeds, hold, manual, turn, verify

Later = dict[float, Callable[[], None]]


def told(events: str) -> str:
    """The deeds, without the half-way points of dials and the health of who gets traffic."""
    return " ".join(one for one in deeds(events).split() if not one.endswith(("=50", "here?pass", "there?pass")))


def took(scene: Scene) -> float:
    """Seconds from the run's first entry to its last."""
    assert scene.state.began is not None
    return scene.state.at - scene.state.began


TWICE = {"times": 2, "pause": "10s", "factor": 3}


def test_a_step_waits_for_its_approval() -> None:
    """A step with an approval touches nothing before a person has approved it; meanwhile the run is held."""
    scene = Scene(turn("one", approval={}))
    events = scene.start(after={60: lambda: scene.approve("one")})
    assert told(events) == "run:running run:held run:running one=100 run:done"


def test_two_people() -> None:
    """Where two people must approve, the same one twice is one."""
    scene = Scene(turn("one", approval={"people": 2}))
    later: Later = {
        10: lambda: scene.approve("one"),
        20: lambda: scene.approve("one"),
        30: lambda: scene.approve("one", "bob"),
    }
    scene.start(after=later)
    assert (scene.status, scene.step("one").approved_by) == (RunStatus.DONE, "ada, bob")
    assert took(scene) >= 30


def test_a_hold_of_two_people() -> None:
    """A hold that two people must end goes on when both have said so."""
    scene = Scene(hold("window", approval={"people": 2}))
    scene.start(after={10.0: lambda: scene.approve("window"), 50.0: lambda: scene.approve("window", "bob")})
    assert scene.status is RunStatus.DONE
    assert took(scene) >= 50


def test_the_checks_before_a_step_are_asked_after_its_approval() -> None:
    """However long people take, what opens the gate is measured after them."""
    scene = Scene(turn("one", approval={}, before=["flows"]), judge={"flows": "pass"})
    events = scene.start(after={600: lambda: scene.approve("one")})
    assert events.index("run:held") < events.index("flows?pass") < events.index("one=100")


def test_a_wait_for_approval_has_no_timeout() -> None:
    """The timeout of a step is for its work, not for people."""
    scene = Scene(turn("one", approval={}, timeout="5s"))
    scene.start(after={60: lambda: scene.approve("one")})
    assert scene.status is RunStatus.DONE


def test_a_return_asks_once() -> None:
    """Of a return that must be approved only the first part waits."""
    scene = Scene(turn("one"), turn("two"), back("back", "two", "one", approval={}))
    scene.start(after={60: lambda: scene.approve("back.two")})
    assert scene.status is RunStatus.DONE
    assert scene.levels == scene.before


def test_beside_a_wait_other_steps_go_on() -> None:
    """The run stays held until the last of two waits is over."""
    scene = Scene(hold("window"), turn("one", needs=[], approval={}), turn("two", needs=["one"]))
    events = scene.start(after={10: lambda: scene.approve("one"), 20: lambda: scene.approve("window")})
    assert told(events) == "run:running run:held run:held run:held one=100 two=100 run:running run:done"


def test_a_step_is_tried_again() -> None:
    """A step that fails is tried again after its pauses, each longer, and then the run goes on as if nothing was."""
    scene = Scene(verify("look", "flows", retries=TWICE), turn("one"), judge={"flows": "fail fail pass"})
    events = scene.start()
    assert told(events) == "run:running flows?fail flows?fail flows?pass one=100 run:done"
    assert scene.step("look").attempt == 3
    assert took(scene) >= 10 + 30


def test_tries_come_to_an_end() -> None:
    """After the last try the step has failed, with the reason of that."""
    scene = Scene(turn("one", after=["flows"], retries=TWICE), judge={"flows": "fail fail fail pass"})
    events = scene.start()
    assert told(events) == "run:running one=100 flows?fail flows?fail flows?fail run:undoing one=0 run:undone"


def test_a_retry_can_be_interrupted() -> None:
    """A signal in the pause before a retry leaves the run resumable, and resuming tries again."""
    scene = Scene(verify("look", "flows", retries=TWICE), judge={"flows": "fail pass"})
    assert "run:interrupted" in scene.start(after={5: scene.interrupt})
    assert "run:done" in scene.start()


def test_a_person_does_a_manual_step() -> None:
    """A manual step holds the run until a person says that it is done."""
    scene = Scene(manual("cable", undo="put it back"), turn("one"))
    events = scene.start(after={60: lambda: scene.approve("cable")})
    assert told(events) == "run:running run:held run:running one=100 run:done"


def test_a_manual_step_is_undone_by_a_person() -> None:
    """An undo asks the person again, whatever was approved on the way out, and waits."""
    scene = Scene(manual("cable", undo="put it back"), turn("one", after=["flows"]), judge={"flows": "fail"})
    events = scene.start(after={60: lambda: scene.approve("cable"), 600: lambda: scene.approve("cable", "bob")})
    assert told(events).endswith("flows?fail run:undoing one=0 run:undone")
    assert took(scene) >= 600


def test_a_killed_orchestrator_asks_for_the_undo_too() -> None:
    """What a person did in another process is not taken for undone by a new one."""
    scene = Scene(manual("cable", undo="put it back"), hold("window"))
    scene.start(after={10: lambda: scene.approve("cable"), 20: scene.interrupt})
    assert "cable:undone" not in scene.undo(after={30: scene.interrupt})
    scene.start(after={5: lambda: scene.approve("cable")})
    assert scene.status is RunStatus.UNDONE


def test_a_manual_step_is_returned_by_a_person() -> None:
    """A return of a manual step asks for its undo."""
    scene = Scene(manual("cable", undo="put it back"), back("back", "cable"))
    scene.start(after={10: lambda: scene.approve("cable"), 20: lambda: scene.approve("back.cable")})
    assert scene.status is RunStatus.DONE


def test_plan_b_is_done_instead_of_an_undo() -> None:
    """Where a step cannot be undone its plan B is done, in its place of the undo, and the run is undone."""
    scene = Scene(
        turn("one"),
        manual("reboot", plan_b=[manual("replace", undo="kill it"), verify("works", "healthy")]),
        verify("end", "flows"),
        judge={"flows": "fail", "healthy": "pass"},
    )
    events = scene.start(after={10: lambda: scene.approve("reboot"), 20: lambda: scene.approve("replace")})
    tail = "flows?fail run:undoing healthy?pass one=0 run:undone"
    assert told(events).endswith(tail)
    assert scene.step("reboot").status is StepStatus.UNDONE


def test_plan_b_is_not_done_on_the_way_out() -> None:
    """When all goes well nobody is asked for a plan B."""
    scene = Scene(manual("reboot", plan_b=[manual("replace", undo="kill it")]), turn("one"))
    scene.start(after={10: lambda: scene.approve("reboot")})
    assert (scene.status, scene.step("replace").status) == (RunStatus.DONE, StepStatus.PENDING)


def test_a_plan_b_that_fails() -> None:
    """A plan B that fails leaves the run stuck, saying so; nothing before it is undone behind a person's back."""
    scene = Scene(
        turn("one"),
        manual("reboot", plan_b=[verify("works", "healthy")]),
        verify("end", "flows"),
        judge={"flows": "fail", "healthy": "fail"},
    )
    scene.start(after={10: lambda: scene.approve("reboot")})
    assert scene.status is RunStatus.STUCK
    assert "its plan B failed: healthy failed" in scene.state.reason
    assert scene.levels["one"] == 100


def test_plan_b_goes_on_where_it_was() -> None:
    """After an interruption a plan B goes on with the step that was not done yet."""
    scene = Scene(
        manual("reboot", plan_b=[verify("works", "healthy"), manual("replace", undo="kill it")]),
        verify("end", "flows"),
        judge={"flows": "fail", "healthy": "pass"},
    )
    assert "healthy?pass" in scene.start(after={10: lambda: scene.approve("reboot"), 20: scene.interrupt})
    events = scene.start(after={5: lambda: scene.approve("replace")})
    assert "healthy?pass" not in events
    assert scene.status is RunStatus.UNDONE


def test_a_word_that_comes_too_late_is_not_taken_for_the_opposite() -> None:
    """Who says that a task is done just when its undo has begun has not undone it."""
    scene = Scene(manual("cable", undo="put it back"), hold("window"))
    scene.start(after={10: lambda: scene.approve("cable"), 20: scene.interrupt})
    late = Entry(run=RUN, at=0.0, epoch=0, kind="approval", step="cable", data={"by": "ada", "direction": "out"})

    def say() -> None:
        scene.journal.append(late)

    assert "cable:undone" not in scene.undo(after={5: say, 60: scene.interrupt})


def test_a_plan_b_is_done_again() -> None:
    """A step that is tried again after a hold, and fails again, gets its plan B again."""
    scene = Scene(
        manual("reboot", plan_b=[verify("works", "healthy")], after=["flows"], on_failure="hold"),
        judge={"flows": "fail fail", "healthy": "pass pass"},
    )
    first = scene.start(after={10: lambda: scene.approve("reboot")})
    scene.later(3600)
    again = scene.start(after={10: lambda: scene.approve("reboot")})
    assert first.count("healthy?pass") == again.count("healthy?pass") == 1
    assert "works:done" in again


def test_a_step_that_waits_while_another_fails_is_asked_again() -> None:
    """A step that may fail, and was only stopped as it waited for people, is not passed over when the run goes on."""
    scene = Scene(
        turn("first"),
        turn("one", needs=["first"], approval={}, on_failure="continue"),
        verify("bad", "flows", needs=["first"], retries={"times": 1, "pause": "5s"}, on_failure="hold"),
        turn("two", needs=["one", "bad"]),
        judge={"flows": "fail fail pass"},
    )
    scene.start()
    assert scene.status is RunStatus.HELD
    scene.later(60)
    events = scene.start(after={30: lambda: scene.approve("one")})
    assert "one=100" in events
    assert events.index("one=100") < events.index("two=100")


def test_a_failure_is_not_answered_by_a_wait() -> None:
    """An owner that is killed between a failure and its undo is undone, also where the run was held for a wait."""

    def begun() -> Scene:
        return Scene(
            turn("first"),
            turn("one", needs=["first"], approval={}),
            verify("bad", "flows", needs=["first"], retries={"times": 1, "pause": "5s"}),
            judge={"flows": "fail fail pass"},
        )

    whole, scene = begun(), begun()
    whole.start()
    undoing = next(it.seq for it in whole.journal.entries(RUN) if it.data.get("status") == "undoing")
    scene.journal.dies_before = undoing
    scene.start()
    assert (scene.status, scene.step("bad").status) == (RunStatus.HELD, StepStatus.REFUSED)
    scene.journal.dead, scene.journal.dies_before = False, 0
    assert told(scene.start()).endswith("run:undoing first=0 run:undone")


def test_leave_to_return_is_not_the_word_that_it_is_done() -> None:
    """A return of a manual step that must be approved asks once, for what was done, and by so many people."""
    scene = Scene(manual("cable", undo="put it back"), back("back", "cable", approval={"people": 2}))
    events = scene.start(
        after={
            10: lambda: scene.approve("cable"),
            20: lambda: scene.approve("back.cable"),
            50: lambda: scene.approve("back.cable", "bob"),
        }
    )
    assert scene.status is RunStatus.DONE
    assert took(scene) >= 50
    assert "back.cable:done" in events


def test_a_failed_return_of_a_manual_step_is_not_taken_for_done_before() -> None:
    """After an interruption too: what was put back, and must be pulled again, a person is asked for."""
    scene = Scene(
        manual("cable", undo="put it back"),
        hold("window"),
        back("back", "cable", after=["flows"]),
        judge={"flows": "fail"},
    )
    scene.start(after={10: lambda: scene.approve("cable"), 20: scene.interrupt})
    scene.approve("window")
    scene.later(60)
    events = scene.start(after={30: lambda: scene.approve("back.cable"), 90: scene.interrupt})
    assert "flows?fail" in events
    assert "back.cable:undone" not in events


def test_a_held_run_says_what_it_still_waits_for() -> None:
    """When one of two waits is over the run's reason is the other."""
    scene = Scene(hold("window"), hold("other", needs=[]))
    scene.start(after={10: lambda: scene.approve("window"), 20: scene.interrupt})
    held = [it.data["reason"] for it in scene.journal.entries(RUN) if it.data.get("status") == "held"]
    assert held[-1] == "other waits for an approval"
