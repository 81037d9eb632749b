"""The runbooks that ship: each is sound, and on fakes it does its work, and leaves nothing behind when it fails."""

from __future__ import annotations

from itertools import count

import pytest

from orchestrator.errors import InputError
from orchestrator.load.lint import lint
from orchestrator.load.runbook import load_runbook
from orchestrator.status import RunStatus

from .shelf import FOLDER, SHIPPED, Given, lab_inventory, sensible, take
from .stage import Ended, Stage

CALLS = [(name, given) for name, ways in sensible().items() for given in ways]
USUAL = [(name, ways[0]) for name, ways in sensible().items()]
URGENT = ("region-evacuation", {**sensible()["region-evacuation"][0], "pace": "urgent"})

DRAINS = {"rolling-host-reboot": "first.drain"}
"""The step that takes the host out, where it is not called drain."""


def called(value: object) -> str:
    """What a case is called."""
    return " ".join(value.values()) if isinstance(value, dict) else str(value)


def played(name: str, given: Given, fails_at: int = 0, *, ahead: bool = False) -> Ended:
    """One run of a runbook from the shelf."""
    return Stage(take(name, given), fails_at).play(ahead=ahead)


def test_every_runbook_is_on_the_shelf() -> None:
    """No runbook can be added without saying here how it is called, and so without all these tests."""
    assert tuple(sorted(sensible())) == SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_it_says_how_it_is_run(name: str) -> None:
    """Its comments begin with what it is for and the command that runs it, and every parameter says what it is."""
    text = (FOLDER / f"{name}.yaml").read_text()
    assert f"failover run runbooks/{name}.yaml -i inventories/lab.yaml" in text.partition(f"\nrunbook: {name}\n")[0]
    loaded = load_runbook(FOLDER / f"{name}.yaml", lab_inventory(), {}, stand_ins=True)
    assert all(parameter.help for parameter in loaded.runbook.parameters.values())


@pytest.mark.parametrize(("name", "given"), CALLS, ids=called)
def test_it_is_sound(name: str, given: Given) -> None:
    """For every site, host and choice it can be read, and lint has nothing against it."""
    loaded = take(name, given)
    assert loaded.runbook.runbook == name
    assert [f"{finding.rule} {finding.problem}" for finding in lint(loaded, lab_inventory())] == []


@pytest.mark.parametrize("name", ["image-rollout", "reboot-host", "rolling-host-reboot"])
def test_no_host_of_another_site_is_touched(name: str) -> None:
    """Who names a host that does not stand at the site is refused: the checks would prove another place."""
    with pytest.raises(InputError) as caught:
        take(name, {**sensible()[name][0], "site": "dfw"})
    assert {problem.message for problem in caught.value.problems} >= {
        f"cannot drain 'ord-mx1' in step '{DRAINS.get(name, 'drain')}': it stands at 'ord', not at 'dfw'"
    }


@pytest.mark.parametrize(("name", "given"), CALLS, ids=called)
def test_it_can_be_planned(name: str, given: Given) -> None:
    """Its plan breaks no rule of its own, and each step that cannot be undone has a plan B."""
    plan = Stage(take(name, given)).plan()
    assert all(planned.reversible or plan.plan_b(planned.id) for planned in plan.steps)


@pytest.mark.parametrize(("name", "given"), [*USUAL, URGENT], ids=called)
def test_it_runs_to_its_end(name: str, given: Given) -> None:
    """With approvals given ahead it is done, under live mail, and no message is cut or doubled."""
    ended = played(name, given, ahead=True)
    assert (ended.status, ended.tasks) == (RunStatus.DONE, []), ended.state.reason
    assert (ended.pool.cut, ended.pool.doubled) == ([], [])
    assert ended.pool.delivered > 0
    if name != "region-evacuation":
        assert ended.after == ended.before


def test_an_evacuated_region_stays_empty() -> None:
    """At its end the region gets nothing, its gates are closed, and it has no session."""
    ended = played(*URGENT, ahead=True)
    members, gates = ended.after
    assert {name: str(members[name]) for name in ("ord-mx1", "ord-mx2")} == {
        "ord-mx1": "weight 0, drain",
        "ord-mx2": "weight 0, drain",
    }
    assert [name for name, closed in gates.items() if closed] == ["ord-mx1", "ord-mx2"]
    assert not ended.pool.live("ord-mx1") + ended.pool.live("ord-mx2")


def test_an_evacuated_region_comes_back_by_an_undo() -> None:
    """Undone after its end, every weight and gate is as it was before it."""
    name, given = URGENT
    ended = Stage(take(name, given)).play(undo=[RunStatus.DONE])
    assert (ended.first_status, ended.status) == (RunStatus.DONE, RunStatus.UNDONE)
    assert ended.after == ended.before


@pytest.mark.parametrize(("name", "given"), [*USUAL, URGENT], ids=called)
def test_whatever_fails_it_leaves_nothing_behind(name: str, given: Given) -> None:
    """Whichever judgement fails, the run can be undone: weights and gates are as before, and so is a person's work."""
    judgements = len(played(name, given).asked)
    assert judgements >= 2
    for number in range(1, judgements + 1):
        ended = played(name, given, fails_at=number)
        failed = f"judgement {number}, {ended.asked[number - 1]}: {ended.first_status}, then {ended.status}"
        assert ended.status in {RunStatus.UNDONE, RunStatus.REFUSED}, f"{failed}: {ended.state.reason}"
        assert ended.after == ended.before, failed
        assert not ended.left_over, f"{failed}: {ended.tasks}"
        assert (ended.pool.cut, ended.pool.doubled) == ([], []), failed


@pytest.mark.parametrize(("name", "given"), [*USUAL, URGENT], ids=called)
def test_whenever_a_guard_breaks_it_leaves_nothing_behind(name: str, given: Given) -> None:
    """Whenever a guard finds a breach, the run can be undone: weights and gates are as before, and a person's work."""
    for seconds in count(1.5, 4.0):
        ended = Stage(take(name, given), breach_at=seconds).play()
        if ended.status is RunStatus.DONE:
            break
        assert ended.status in {RunStatus.UNDONE, RunStatus.REFUSED}, f"after {seconds}: {ended.state.reason}"
        assert ended.after == ended.before, f"after {seconds}"
        assert not ended.left_over, f"after {seconds}: {ended.tasks}"
    assert seconds > 4, "it was over before any guard broke"


def test_a_failure_at_one_host_leaves_the_other_one_alone() -> None:
    """In a rolling reboot a failure at the second host takes back that one only, and holds the run."""
    ways = sensible()["rolling-host-reboot"][0]
    ended = Stage(take("rolling-host-reboot", ways), fails_at=8).play(undo=())
    assert ended.asked[7] == "second.site-answers"
    assert (ended.status, ended.tasks) == (RunStatus.HELD, ["first.reboot", "second.reboot"])
    members, gates = ended.after
    assert str(members["ord-mx1"]) == "weight 100"
    assert [name for name, closed in gates.items() if closed] == ["ord-mx2"]


def test_nothing_opens_the_way_to_a_store_that_is_down() -> None:
    """Once mail is only queued, trouble holds the run, whatever it is: nothing is sent before a person says so."""
    loaded = take("queued-maintenance", sensible()["queued-maintenance"][0])
    broken = [Stage(loaded, fails_at=number).play(undo=()) for number in (4, 5)]
    assert [ended.asked[-1] for ended in broken] == ["accepts", "arrives"]
    broken.append(Stage(loaded, breach_at=7.5).play(undo=()))
    assert broken[-1].tasks == ["defer", "work"], "the guard was to break during the work"
    for ended in broken:
        assert ended.status is RunStatus.HELD
        assert "release" not in ended.tasks
