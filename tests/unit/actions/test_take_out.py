"""``traffic.drain``: members leave the switch, and the step ends when it has let go of what they had."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence

import pytest

from orchestrator.actions.action import Outcome
from orchestrator.actions.lost import PATIENCE as LOOKS_FOR
from orchestrator.actions.settling import PATIENCE, SETTLES_WITHIN
from orchestrator.actions.take_out import TakenOut, TakeOut
from orchestrator.errors import Stop, UnreachableError
from orchestrator.model.runbook import TakeOutArguments
from orchestrator.model.traffic import Intake

from ..fakes.clock import run
from ..fakes.elsewhere import DistantSwitch, pool_behind
from ..fakes.mail import moment
from ..fakes.watch import FakeWatch

SITES = {"ord": ["mx1", "mx2"], "iad": ["mx3"]}
READY = Intake(weight=1)


class Scene:
    """Targets behind one switch, and the action on ord."""

    def __init__(
        self, driver: str = "elbv2-targets", sites: Mapping[str, Sequence[str]] = SITES, **arguments: object
    ) -> None:
        pool = pool_behind(driver, sites)
        self.switch = DistantSwitch(pool.switch, {name: READY for members in sites.values() for name in members})
        given = {"pool": "smtp", **(arguments or {"site": "ord"})}
        self.action = TakeOut(TakeOutArguments.model_validate(given), pool, self.switch)
        self.watch = FakeWatch()

    async def go(self) -> tuple[Outcome, float]:
        """Take them out; how that ended, and after how many seconds."""
        began = moment()
        outcome = await self.action.converge(self.action.target(await self.action.observe()), self.watch)
        return outcome, moment() - began

    def admins(self) -> list[str]:
        """The members' admin states now."""
        return [intake.admin for intake in self.switch.members.values()]


def test_waits_until_the_switch_has_let_go() -> None:
    """Targets that drain for five minutes keep the step for five minutes, and it says what it waits for."""
    scene = Scene(site="ord", deadline="10m")
    scene.switch.drains_in = 300.0
    outcome, seconds = run(scene.go())
    assert (outcome.reached, scene.admins()) == (True, ["drain", "drain", "ready"])
    assert 300 <= seconds <= 305
    assert "draining: mx1, mx2, for 4m55s of 10m" in scene.watch.texts


def test_a_deadline_that_is_too_short_fails_and_cuts_nothing() -> None:
    """Connections that are still served at the deadline fail the step; the switch goes on serving them."""
    scene = Scene(site="ord", deadline="1m")
    scene.switch.drains_in = 300.0
    outcome, seconds = run(scene.go())
    assert not outcome.reached
    assert outcome.reason == "draining: mx1, mx2, for 1m of 1m; nothing was cut"
    assert 60 <= seconds <= 61


def test_counts_down_where_the_switch_counts() -> None:
    """A switch that counts sessions is waited for until it counts none, with the number in the progress."""
    scene = Scene("f5", host="mx1")
    scene.switch.carries, scene.switch.drains_in = {"mx1": 7, "mx3": 9}, 3.0
    before = run(scene.action.observe())
    outcome, _ = run(scene.go())
    assert outcome.reached
    assert scene.admins() == ["drain", "ready", "ready"]
    assert {"sessions": 7.0} in scene.watch.numbers
    assert scene.action.describe(before, scene.action.target(before)) == ["mx1: ready → drain", "sessions: 7 → 0"]


def test_a_count_that_is_not_known_is_not_zero() -> None:
    """While the switch cannot say how many sessions are left, the step waits as if some were."""
    scene = Scene("f5", host="mx1")

    async def go() -> float:
        scene.switch.hidden_until = moment() + 20.0
        return (await scene.go())[1]

    assert run(go()) >= 20.0
    assert "draining: mx1, for 0s" in scene.watch.texts


def test_goes_back_to_what_was_recorded() -> None:
    """The undo puts in service what was, leaves out what was out before, and names who gets traffic again."""
    scene = Scene()
    scene.switch.members["mx2"] = Intake(weight=1, admin="drain")

    async def there_and_back() -> TakenOut:
        recorded = await scene.action.observe()
        out = scene.action.target(recorded)
        assert scene.action.receivers(recorded, out) == [("smtp", "iad")]
        await scene.action.converge(out, scene.watch)
        assert scene.action.reached(await scene.action.observe(), out)
        assert scene.action.receivers(out, recorded) == [("smtp", "ord")]
        await scene.action.converge(recorded, scene.watch)
        return recorded

    recorded = run(there_and_back())
    assert scene.admins() == ["ready", "drain", "ready"]
    assert run(scene.action.observe()) == recorded


def test_is_not_reached_while_connections_are_left() -> None:
    """A resumed step whose members are out already goes on waiting for what they still have."""
    scene = Scene()
    scene.switch.drains_in = 60.0

    async def look() -> tuple[bool, bool]:
        target = scene.action.target(await scene.action.observe())
        await scene.switch.apply(dict.fromkeys(("mx1", "mx2"), Intake(weight=1, admin="drain")))
        first = scene.action.reached(await scene.action.observe(), target)
        await asyncio.sleep(61)
        return first, scene.action.reached(await scene.action.observe(), target)

    assert run(look()) == (False, True)


def test_writes_again_where_nothing_differs() -> None:
    """Whoever was killed after a write may not have seen it settle, so the next one settles it again."""
    scene = Scene()
    scene.switch.members |= dict.fromkeys(("mx1", "mx2"), Intake(weight=1, admin="drain"))
    run(scene.go())
    assert scene.switch.writes == [{}]


def test_stops_at_a_fence() -> None:
    """A run that must stop touches nothing."""
    scene = Scene()
    scene.watch = FakeWatch(stop_at=1)
    with pytest.raises(Stop):
        run(scene.go())
    assert scene.switch.writes == []


def test_waits_until_clients_meet_the_change() -> None:
    """What settles slowly is waited for, before the connections are; the reason is told."""
    scene = Scene()
    scene.switch.settles_in = 30.0
    outcome, seconds = run(scene.go())
    assert outcome.reached
    assert 30 <= seconds <= 35
    assert "resolvers may hold the old answer for 30s more" in scene.watch.texts


def test_what_never_settles_is_not_reached() -> None:
    """A change that comes no nearer in a quarter of an hour has failed, and says by what."""
    scene = Scene()
    scene.switch.settles_in = math.inf
    outcome, seconds = run(scene.go())
    assert not outcome.reached
    assert outcome.reason.startswith("without progress for 15m: resolvers may hold")
    assert SETTLES_WITHIN <= seconds <= SETTLES_WITHIN + 5


@pytest.mark.parametrize(("lost", "is_borne"), [(PATIENCE - 2, True), (PATIENCE + 5, False)])
def test_bears_with_silence_for_a_while(lost: float, is_borne: bool) -> None:
    """A resolver that is away for a moment does not fail a change that stands; one that stays away does."""
    scene = Scene()
    scene.switch.lost_until = lost

    async def go() -> bool:
        scene.switch.lost_until = moment() + lost
        return (await scene.go())[0].reached

    if is_borne:
        assert run(go())
        assert "cannot look: cannot ask 192.0.2.53: no answer within 2s" in scene.watch.texts
    else:
        with pytest.raises(UnreachableError):
            run(go())


@pytest.mark.parametrize(("lost", "is_borne"), [(LOOKS_FOR - 5, True), (LOOKS_FOR + 10, False)])
def test_one_failed_look_does_not_undo_a_drain(lost: float, is_borne: bool) -> None:
    """While connections end, a switch that cannot be read for less than a minute is asked again."""
    scene = Scene(site="ord", deadline="10m")
    scene.switch.drains_in = 300.0

    async def go() -> tuple[Outcome, float]:
        scene.switch.unread = (moment() + 7.0, moment() + 7.0 + lost)
        return await scene.go()

    if is_borne:
        outcome, seconds = run(go())
        assert outcome.reached
        assert 300 <= seconds <= 305
        assert "cannot look: cannot call elbv2 DescribeTargetHealth: 503" in scene.watch.texts
    else:
        with pytest.raises(UnreachableError):
            run(go())


def test_a_deadline_counts_while_nobody_answers() -> None:
    """A deadline that ends while the switch cannot be read says what was left at the last look."""
    scene = Scene(site="ord", deadline="30s")
    scene.switch.drains_in = 300.0

    async def go() -> Outcome:
        scene.switch.unread = (moment() + 10.0, moment() + 60.0)
        return (await scene.go())[0]

    assert run(go()) == Outcome(reached=False, reason="draining: mx1, mx2, for 30s of 30s; nothing was cut")


def test_those_who_take_the_traffic_must_be_healthy() -> None:
    """On the way out each other site that serves is a receiver, not one that is down or drained; back, its own."""
    scene = Scene(sites={**SITES, "lon": ["mx4"], "dfw": ["mx5"]})
    scene.switch.down.add("mx4")
    scene.switch.members["mx5"] = Intake(weight=1, admin="drain")
    recorded = run(scene.action.observe())
    out = scene.action.target(recorded)
    assert scene.action.receivers(recorded, out) == [("smtp", "iad")]
    assert scene.action.receivers(out, recorded) == [("smtp", "ord")]
    assert scene.action.receivers(out, out) == []


@pytest.mark.parametrize("trouble", ["down", "drained", "weightless"])
def test_the_last_that_serves_is_not_taken_out(trouble: str) -> None:
    """Where no other member is up, in service and has weight, plan and step refuse, and nothing is written."""
    scene = Scene("f5", site="ord")
    intakes = {"down": READY, "drained": Intake(weight=1, admin="drain"), "weightless": Intake(weight=0)}
    scene.switch.members["mx3"] = intakes[trouble]
    scene.switch.down |= {"mx3"} if trouble == "down" else set()
    said = "cannot take mx1, mx2 out: no other member of smtp is up and takes traffic — put one into service first"
    assert run(scene.action.preflight()) == [said]
    assert run(scene.go())[0] == Outcome(reached=False, reason=said)
    assert scene.switch.writes == []


def test_the_only_members_are_the_plans_to_refuse() -> None:
    """Where the inventory has no other member, the plan's own rule speaks, which a person may override."""
    scene = Scene(sites={"ord": ["mx1", "mx2"]})
    assert run(scene.action.preflight()) == []
    assert run(scene.go())[0].reached


def test_members_that_are_out_already_are_waited_for() -> None:
    """A step that goes on after the others have gone too does not refuse what is done already."""
    scene = Scene()
    scene.switch.members = dict.fromkeys(scene.switch.members, Intake(weight=1, admin="drain"))
    assert run(scene.action.preflight()) == []
    assert run(scene.go())[0].reached


def test_what_the_switch_objects_to_is_refused() -> None:
    """An objection is a reason not to begin, said once for all members that have it; nothing counts as reached."""
    scene = Scene()
    out = Intake(weight=1, admin="drain")
    scene.switch.members |= {"mx1": out, "mx2": out}
    scene.switch.objections = {"mx1": "nobody knows it — correct it", "mx2": "nobody knows it — correct it"}
    assert run(scene.action.preflight()) == ["cannot take mx1, mx2 out: nobody knows it — correct it"]
    observed = run(scene.action.observe())
    assert not scene.action.reached(observed, scene.action.target(observed))


def test_a_member_that_we_took_out_may_be_forgotten_by_the_switch() -> None:
    """What was in service at the start is reached when it is out and gone, whatever the switch says of it then."""
    scene = Scene()
    wanted = scene.action.target(run(scene.action.observe()))
    run(scene.go())
    scene.switch.objections = {"mx1": "it is no target"}
    assert scene.action.reached(run(scene.action.observe()), wanted)


def test_what_is_out_for_a_while_only_is_renewed() -> None:
    """A drain that ends before ours would is not reached, is told, and is written anew; its undo leaves it."""
    scene = Scene(host="mx1")
    scene.switch.members["mx1"] = Intake(weight=1, admin="drain")
    scene.switch.lapses = {"mx1": "it ends at noon"}
    recorded = run(scene.action.observe())
    wanted = scene.action.target(recorded)
    assert not scene.action.reached(recorded, wanted)
    assert scene.action.describe(recorded, wanted) == ["mx1: drain is renewed, as it would not last: it ends at noon"]
    assert run(scene.go())[0].reached
    assert scene.switch.writes == [{"mx1": Intake(weight=1, admin="drain")}]
    now = run(scene.action.observe())
    assert scene.action.reached(now, wanted)
    assert scene.action.reached(now, recorded)


def test_what_goes_back_into_service_is_named_to_the_switch() -> None:
    """Also where nothing differs any more, so that a second try waits until its members are up as well."""
    scene = Scene(host="mx1")
    run(scene.action.converge(TakenOut(members={"mx1": "ready"}), scene.watch))
    assert scene.switch.writes == [{"mx1": READY}]


def test_strangers_are_told() -> None:
    """What takes traffic in the switch and is no member stays in service, and the plan says so."""
    scene = Scene(host="mx1")
    scene.switch.strangers = 2
    before = run(scene.action.observe())
    assert scene.action.describe(before, scene.action.target(before)) == [
        "mx1: ready → drain",
        "2 more in the switch belong to no member, and go on taking traffic",
    ]


def test_says_what_a_person_would_do() -> None:
    """By hand it is the members' admin states."""
    scene = Scene()
    by_hand = scene.action.by_hand(TakenOut(members={"mx1": "ready", "mx2": "drain"}))
    assert by_hand.what == "in the switch: mx1 ready, mx2 drain"
    assert by_hand.commands == ["state mx1 ready", "state mx2 drain"]
