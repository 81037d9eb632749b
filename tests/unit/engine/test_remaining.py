"""What is left for a person: the steps that an undo would take, in its order, as commands that do the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.engine.remaining import ManualWork, by_hand, left_of_plan_b, to_undo
from orchestrator.model.inventory import Inventory
from orchestrator.model.plan import Plan
from orchestrator.status import RunStatus

from .scene import INVENTORY, Scene, back, hold, manual, turn, verify

OUT = (turn("shift"), turn("drain"))


def with_sites(plan: Plan) -> Plan:
    """The plan with the sites that dials turn traffic to, as ``shift-here``, at an address of that name."""
    text = INVENTORY.model_dump(mode="json", by_alias=True)
    sites = [f"{step.id}-{side}" for step in plan.steps for side in ("here", "there")]
    members = {name: {"capacity": "1/s", "members": [name], "address": f"{name}:25"} for name in sites}
    text["pools"]["smtp"]["sites"] |= members
    return plan.model_copy(update={"inventory": Inventory.model_validate(text)})


def left(scene: Scene) -> list[ManualWork]:
    """The work that is left."""
    return by_hand(with_sites(scene.plan), scene.state, scene._actions())


def do(scene: Scene, works: list[ManualWork]) -> None:
    """A person does what the commands say; each is ``turn NAME LEVEL``."""
    for command in (command for work in works for command in work.commands):
        _, name, level = command.split()
        scene.levels[name] = int(level)


def test_the_last_step_comes_first_behind_the_health_of_its_site() -> None:
    """Each step goes back to what was recorded before it, once its site has been seen to be well."""
    scene = Scene(*OUT, levels={"shift": 5})
    scene.start()
    here = "see that {0}-here takes mail at {0}-here:25: it gets new traffic"
    assert left(scene) == [
        ManualWork("drain", "turn drain to 0", (here.format("drain"),), ("turn drain 0",)),
        ManualWork("shift", "turn shift to 5", (here.format("shift"),), ("turn shift 5",)),
    ]


def maintenance() -> Scene:
    """Out by two waypoints, a hold, and back."""
    home = back("back", "drain", "shift", after=["flows"])
    steps = (verify("escape", "path"), *OUT, hold("window", until="300ms"), home)
    return Scene(*steps, by=(50, 100), levels={"shift": 10, "drain": 20})


def failure() -> Scene:
    """The gate of the second step stays shut, and everything is undone."""
    return Scene(turn("shift"), turn("drain", after=["flows"]), judge={"flows": "fail"}, levels={"shift": 10})


@pytest.mark.parametrize("story", [maintenance, failure])
def test_by_hand_is_undo_from_wherever_a_run_was_killed(story: Callable[[], Scene]) -> None:
    """After kill -9 at any entry the commands restore the world, undo then writes nothing, and nothing is left."""
    whole = story()
    whole.start()
    for entry in range(1, len(whole.journal.written)):
        scene = story()
        scene.journal.dies_after = entry
        scene.start()
        scene.journal.revive()
        do(scene, left(scene))
        assert scene.levels == scene.before, entry
        assert "=" not in scene.undo(), entry
        assert (scene.status in {RunStatus.UNDONE, RunStatus.REFUSED}, left(scene)) == (True, []), entry


def test_a_stuck_undo_leaves_what_it_did_not_reach() -> None:
    """What is undone already is not told again; the step that is stuck and all before it are."""
    scene = Scene(turn("one"), turn("two"), turn("three"))
    scene.start()
    scene.world.trouble["two"] = "rejects"
    scene.undo()
    assert scene.status is RunStatus.STUCK
    assert [work.step for work in left(scene)] == ["two", "one"]
    do(scene, left(scene))
    assert scene.undo().endswith("two:undone one:undoing one:undone run:undone")
    assert scene.levels == scene.before


def test_what_was_returned_or_never_touched_is_not_told() -> None:
    """Half a return leaves the other half; a hold and a step that found nothing to do leave nothing."""
    scene = Scene(*OUT, turn("same"), hold("window", until="1s"), back("back", "drain"), levels={"same": 100})
    scene.start()
    assert [step.id for step in to_undo(scene.plan, scene.state)] == ["window", "shift"]
    assert [work.step for work in left(scene)] == ["shift"]


def test_a_manual_step_is_told_in_the_words_of_its_undo() -> None:
    """No command does a person's work; a step that cannot be undone and has no plan B says so."""
    scene = Scene(manual("reboot", undo="boot the old kernel"), manual("burn"))
    scene.start(after={1: lambda: scene.approve("reboot"), 5: lambda: scene.approve("burn")})
    assert [(work.step, work.why, work.commands) for work in left(scene)] == [
        ("burn", "it cannot be undone, and has no plan B", ()),
        ("reboot", "a person: boot the old kernel", ()),
    ]


def test_a_plan_b_is_told_instead_of_an_undo() -> None:
    """Its steps stand in their own order where the undo would, also those that only look."""
    instead = [manual("replace", undo="kill it"), verify("works", "healthy")]
    scene = Scene(turn("shift"), manual("reboot", plan_b=instead), judge={"healthy": "fail"})
    scene.start(after={10: lambda: scene.approve("reboot")})
    why = "instead of the undo of reboot, which cannot be undone"
    assert [(work.step, work.why) for work in left(scene)] == [
        ("replace", f"{why}: manual"),
        ("works", f"{why}: see that these hold: healthy"),
        ("shift", "turn shift to 0"),
    ]


def test_a_plan_b_that_is_begun_leaves_its_rest() -> None:
    """What of a plan B is done since the undo began is not told again."""
    instead = [verify("works", "healthy"), manual("replace", undo="kill it")]
    scene = Scene(manual("reboot", plan_b=instead), judge={"healthy": "pass"})
    scene.start(after={10: lambda: scene.approve("reboot")})
    scene.undo(after={10: scene.interrupt})
    assert [step.id for step in left_of_plan_b(scene.plan, scene.state, "reboot")] == ["replace"]
    assert [work.step for work in left(scene)] == ["replace"]
