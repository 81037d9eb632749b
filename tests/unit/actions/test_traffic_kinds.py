"""``traffic.shift`` on switches whose weights are no shares: dials, and members that are in or out."""

from __future__ import annotations

import math

import pytest

from orchestrator.actions.traffic import Shares, TrafficShift
from orchestrator.model.runbook import ShiftArguments
from orchestrator.model.traffic import Intake

from ..fakes.clock import run
from ..fakes.elsewhere import DistantSwitch, pool_behind
from ..fakes.watch import FakeWatch

SITES = {"ord": ["o"], "iad": ["i"], "dfw": ["d"]}


class Scene:
    """One member a site, and the action from ord to iad."""

    def __init__(self, driver: str, weights: dict[str, int], by: tuple[float, ...] = (1.0,)) -> None:
        sites = {site: members for site, members in SITES.items() if members[0] in weights}
        pool = pool_behind(driver, sites)
        self.switch = DistantSwitch(pool.switch, {name: Intake(weight=weight) for name, weight in weights.items()})
        arguments = {"pool": "smtp", "from": "ord", "to": "iad", "by": by}
        self.action = TrafficShift(ShiftArguments.model_validate(arguments), pool, self.switch)
        self.watch = FakeWatch()

    def walk(self, end: Shares | None = None) -> list[dict[str, int]]:
        """Along the route to ``end``, or to the target: the weights at each waypoint."""

        async def go() -> list[dict[str, int]]:
            now = await self.action.observe()
            seen = []
            for waypoint in self.action.route(now, end or self.action.target(now)):
                assert (await self.action.converge(waypoint.state, self.watch)).reached
                assert self.action.reached(await self.action.observe(), waypoint.state)
                seen.append({name: intake.weight for name, intake in self.switch.members.items()})
            return seen

        return run(go())

    def problems(self) -> list[str]:
        """What the plan would refuse."""
        return list(run(self.action.preflight()))


def test_a_dial_goes_down_by_the_share_that_is_asked_for() -> None:
    """A quarter of what comes to a site leaves it at 75% of its dial; the other dial is open and stays so."""
    scene = Scene("global-accelerator", {"o": 100, "i": 100}, by=(0.05, 0.25, 1.0))
    recorded = run(scene.action.observe())
    assert scene.problems() == []
    assert scene.walk() == [{"o": 95, "i": 100}, {"o": 75, "i": 100}, {"o": 0, "i": 100}]
    assert scene.watch.texts[1] == "dials: o 75%, i 100%"
    assert scene.walk(recorded) == [{"o": 5, "i": 100}, {"o": 25, "i": 100}, {"o": 100, "i": 100}]


def test_a_closed_dial_is_opened_on_the_way() -> None:
    """A region that took nothing is opened as the other one closes; a third one is left alone."""
    scene = Scene("global-accelerator", {"o": 100, "i": 0, "d": 30}, by=(0.5, 1.0))
    assert scene.walk() == [{"o": 50, "i": 50, "d": 30}, {"o": 0, "i": 100, "d": 30}]


def test_a_dial_that_is_open_by_a_crack_is_opened() -> None:
    """A taker at 1% would turn away nearly all that the other site lets go; the way back ends at 1%."""
    scene = Scene("global-accelerator", {"o": 100, "i": 1}, by=(0.5, 1.0))
    recorded = run(scene.action.observe())
    assert scene.walk()[-1] == {"o": 0, "i": 100}
    assert scene.walk(recorded)[-1] == {"o": 100, "i": 1}


def test_what_is_no_member_keeps_its_share() -> None:
    """A record that the inventory does not know has a third of the traffic before, at each waypoint, and after."""
    scene = Scene("route53-weights", {"o": 20, "i": 20}, by=(0.05, 0.25, 1.0))
    scene.switch.strangers = 20
    assert scene.problems() == []
    assert scene.walk() == [{"o": 19, "i": 21}, {"o": 15, "i": 25}, {"o": 0, "i": 40}]


def test_small_weights_beside_a_stranger_are_refused() -> None:
    """Where the sum must stay as it is, 1 and 1 cannot be split: the plan says so instead of starving the third."""
    scene = Scene("route53-weights", {"o": 1, "i": 1}, by=(0.05, 0.25, 1.0))
    scene.switch.strangers = 1
    (problem, *_) = scene.problems()
    assert problem.endswith("— give all that takes traffic at the switch weights some 50 times as large")


def test_a_dial_says_who_gets_more() -> None:
    """The way out sends traffic to the one site, the way back to the other; no shares are shown: nobody knows them."""
    scene = Scene("global-accelerator", {"o": 100, "i": 100})
    start = run(scene.action.observe())
    end = scene.action.target(start)
    assert scene.action.receivers(start, end) == [("smtp", "iad")]
    assert scene.action.receivers(end, start) == [("smtp", "ord")]
    assert scene.action.describe(start, end) == ["o: weight 100 → weight 0"]


@pytest.mark.parametrize("before", [{"o": 1, "i": 0}, {"o": 1, "i": 1}, {"o": 1, "i": 1, "d": 1}])
def test_members_that_are_in_or_out_change_places(before: dict[str, int]) -> None:
    """Where a member takes traffic or does not, the one leaves and the other is in; a third one stays."""
    scene = Scene("dns", before)
    recorded = run(scene.action.observe())
    assert scene.problems() == []
    assert scene.walk() == [{**before, "o": 0, "i": 1}]
    assert scene.walk(recorded) == [before]


def test_shares_in_between_are_refused_where_there_are_none() -> None:
    """A ramp on a switch that knows no shares is refused with what to write."""
    scene = Scene("dns", {"o": 1, "i": 0}, by=(0.25, 1.0))
    (problem,) = scene.problems()
    assert "a member of a dns switch takes traffic or does not" in problem
    assert problem.endswith("— write by: [100%]")


def test_a_waypoint_is_reached_when_clients_meet_it() -> None:
    """The shift waits for what settles before the step's checks are asked."""
    scene = Scene("route53-weights", {"o": 100, "i": 100})
    scene.switch.settles_in = 60.0
    scene.walk()
    assert scene.watch.texts[0] == "resolvers may hold the old answer for 60s more"
    assert scene.watch.texts[-1].startswith("new traffic: ord 0%")


def test_a_shift_that_never_settles_is_not_reached() -> None:
    """It ends as not reached, with what it has waited for."""
    scene = Scene("route53-weights", {"o": 100, "i": 100})
    scene.switch.settles_in = math.inf
    target = scene.action.target(run(scene.action.observe()))
    outcome = run(scene.action.converge(target, scene.watch))
    assert not outcome.reached
    assert outcome.reason.startswith("without progress for 15m: resolvers may hold the old answer")


def test_sites_that_both_take_nothing_are_refused() -> None:
    """Where neither site has traffic, inventory and switch do not mean the same: that is not "nothing to do"."""
    (problem,) = Scene("dns", {"o": 0, "i": 0, "d": 1}).problems()
    assert problem.startswith("cannot shift from ord to iad: neither takes any of the pool's traffic in the switch")
    assert Scene("dns", {"o": 0, "i": 1}).problems() == []


def test_a_wait_without_progress_says_for_how_long() -> None:
    """Words that stay the same are told with the time that they have stayed so; a countdown speaks for itself."""
    scene = Scene("route53-weights", {"o": 100, "i": 100})
    scene.switch.stuck_for = 60.0
    scene.walk()
    assert "PENDING" in scene.watch.texts
    assert "PENDING, for 45s" in scene.watch.texts
