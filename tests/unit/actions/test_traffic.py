"""``traffic.shift``: shares along the way, exact weights at its ends, and nobody else touched."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.actions.action import REACHED
from orchestrator.actions.traffic import COARSE, Shares, TrafficShift
from orchestrator.errors import Stop
from orchestrator.model.inventory import Pool
from orchestrator.model.runbook import ShiftArguments
from orchestrator.model.traffic import Admin, Intake
from orchestrator.model.value import Value

from ..fakes.clock import run
from ..fakes.mail import FakeSwitch
from ..fakes.watch import FakeWatch

SITES = {"ord": ["mx1", "mx2"], "iad": ["mx3", "mx4"], "dfw": ["mx5"]}
POOL = Pool.model_validate(
    {
        "protocol": "smtp",
        "address": "vip:25",
        "switch": {"driver": "haproxy", "socket": "s", "backend": "smtp"},
        "test_mail": {"sender": "probe@lab.example", "recipient": "probe@lab.example"},
        "sites": {
            name: {"capacity": "100 sessions", "members": members, "address": f"{name}:25"}
            for name, members in SITES.items()
        },
    }
)
ORD, IAD, DFW = SITES.values()


class Pair:
    """A switch and the action that shifts ord's traffic to iad."""

    def __init__(self, members: dict[str, Intake], by: tuple[float, ...] = (1.0,)) -> None:
        self.switch = FakeSwitch(members)
        arguments = {"pool": "smtp", "from": "ord", "to": "iad", "by": by, "pause": "10s"}
        self.action = TrafficShift(ShiftArguments.model_validate(arguments), POOL, self.switch)

    def observe(self) -> Shares:
        """The state now."""
        return run(self.action.observe())

    def problems(self) -> list[str]:
        """What the plan would refuse."""
        return list(run(self.action.preflight()))

    def go(self, end: Shares) -> list[dict[str, float]]:
        """Walk from here to ``end`` by the route; each site's share of new traffic at each waypoint."""

        async def walk() -> list[dict[str, float]]:
            shares = []
            for waypoint in self.action.route(await self.action.observe(), end):
                assert await self.action.converge(waypoint.state, FakeWatch()) == REACHED
                assert self.action.reached(await self.action.observe(), waypoint.state)
                shares.append(self.shares())
            return shares

        return run(walk())

    def shares(self) -> dict[str, float]:
        """Each site's share of new traffic, by the switch's own weights."""
        total = sum(one.share_weight for one in self.switch.members.values())
        return {
            site: sum(self.switch.members[name].share_weight for name in members) / total
            for site, members in SITES.items()
        }


def pool_of(*weights: int | Intake) -> dict[str, Intake]:
    """mx1, mx2 (ord), mx3, mx4 (iad) and mx5 (dfw)."""
    intakes = (Intake(weight=one) if isinstance(one, int) else one for one in weights)
    return dict(zip((*ORD, *IAD, *DFW), intakes, strict=True))


def out(weight: int, admin: Admin) -> Intake:
    """A member that takes no new traffic."""
    return Intake(weight=weight, admin=admin)


admins = st.sampled_from(["ready", "ready", "ready", "drain", "maint"])
intakes = st.builds(Intake, weight=st.sampled_from([0, 1, 2, 3, 10, 50, 100, 128, 255, 256]), admin=admins)
routes = st.sampled_from([(1.0,), (0.5, 1.0), (0.05, 0.25, 1.0), (0.01, 0.1, 0.9, 1.0)])


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Any pool whose shift the plan would not refuse."""
    members = {name: draw(intakes) for name in (*ORD, *IAD)}
    members["mx5"] = draw(st.sampled_from([Intake(weight=0), Intake(weight=100), Intake(weight=100, admin="drain")]))
    pair = Pair(members, draw(routes))
    assume(any(members[name].share_weight for name in ORD))
    assume(not pair.problems())
    return pair


@given(pair=pairs())
def test_shares_at_each_waypoint(pair: Pair) -> None:
    """At each waypoint each site has the share that the runbook asks for, within a hundredth, on both ways."""
    before, start = pair.shares(), pair.observe()
    by = pair.action._arguments.by
    for share, now in zip(by, pair.go(pair.action.target(start)), strict=True):
        moved = share * before["ord"]
        assert now == pytest.approx(
            {"ord": before["ord"] - moved, "iad": before["iad"] + moved, "dfw": before["dfw"]}, abs=COARSE + 1e-9
        )
    after = pair.shares()
    for share, now in zip(by, pair.go(start), strict=True):
        wanted = {site: after[site] + (before[site] - after[site]) * share for site in SITES}
        assert now == pytest.approx(wanted, abs=2 * COARSE)


@given(pair=pairs())
def test_the_way_back_ends_exactly_where_it_began(pair: Pair) -> None:
    """Undo after do is identity, to the last weight."""
    start, members = pair.observe(), dict(pair.switch.members)
    pair.go(pair.action.target(start))
    pair.go(start)
    assert pair.switch.members == members


@given(pair=pairs())
def test_nobody_else_is_touched(pair: Pair) -> None:
    """A third site, and members that are out of service, are never written to."""
    members, start = dict(pair.switch.members), pair.observe()
    pair.go(pair.action.target(start))
    pair.go(start)
    written = {line.partition(":")[0] for line in pair.switch.log}
    assert written <= {name for name in (*ORD, *IAD) if members[name].admin == "ready"}


@given(pair=pairs())
def test_weights_stay_within_what_the_switch_can(pair: Pair) -> None:
    """Every weight along the way is a whole number from 0 to the switch's largest."""
    start = pair.observe()
    states = [start, pair.action.target(start)]
    for waypoint in [*pair.action.route(*states), *pair.action.route(*reversed(states))]:
        assert all(0 <= one.weight <= pair.switch.max_weight for one in waypoint.state.members.values())


@given(pair=pairs())
def test_it_is_idempotent(pair: Pair) -> None:
    """A second converge to the same state writes nothing, and from there is nothing left to do."""
    target = pair.action.target(pair.observe())
    pair.go(target)
    written = len(pair.switch.log)
    pair.go(target)
    assert len(pair.switch.log) == written
    assert pair.action.target(pair.observe()).members == pair.observe().members
    assert pair.action.describe(pair.observe(), pair.action.target(pair.observe())) == []


def test_weights_of_one_are_scaled_up() -> None:
    """Weights of 1 and 1 leave no room for 5%: on the way, while nobody else takes traffic, they are made larger."""
    pair = Pair(pool_of(1, 0, 1, 0, 0), by=(0.05, 0.25, 1.0))
    start = pair.observe()
    shares = pair.go(pair.action.target(start))
    assert [one["ord"] for one in shares] == pytest.approx([0.475, 0.375, 0.0], abs=COARSE)
    assert [one.weight for one in pair.switch.members.values()] == [0, 0, 2, 0, 0]


def test_a_spare_stays_a_spare() -> None:
    """A member of weight 0 beside others that have one gets none."""
    pair = Pair(pool_of(100, 100, 200, 0, 0))
    pair.go(pair.action.target(pair.observe()))
    assert [one.weight for one in pair.switch.members.values()] == [0, 0, 256, 0, 0]


def test_a_site_of_spares_takes_over_evenly() -> None:
    """A site whose members all have weight 0 shares what comes evenly."""
    pair = Pair(pool_of(100, 60, 0, 0, 0))
    pair.go(pair.action.target(pair.observe()))
    assert [one.weight for one in pair.switch.members.values()] == [0, 0, 80, 80, 0]


@pytest.mark.parametrize("admin", ["drain", "maint"])
def test_a_member_out_of_service_is_left_alone(admin: Admin) -> None:
    """What an operator has taken out stays out, on either side, with the weight that it has."""
    pair = Pair(pool_of(100, out(100, admin), 100, out(50, admin), 100))
    pair.go(pair.action.target(pair.observe()))
    assert list(pair.switch.members.values()) == [
        Intake(weight=0),
        out(100, admin),
        Intake(weight=200),
        out(50, admin),
        Intake(weight=100),
    ]


@pytest.mark.parametrize("admin", ["drain", "maint"])
@pytest.mark.parametrize("name", ["mx1", "mx3"])
def test_what_an_operator_took_out_meanwhile_stays_out(name: str, admin: Admin) -> None:
    """A member that was taken out on the way stays out on the way back, which ends at the recorded weights."""
    pair = Pair(pool_of(100, 60, 100, 50, 0), by=(0.5, 1.0))
    start = pair.observe()
    pair.go(pair.action.target(start))
    pair.switch.members[name] = out(pair.switch.members[name].weight, admin)
    assert pair.action.reached(pair.observe(), pair.action.target(start))
    pair.go(start)
    assert pair.switch.members == {
        **start.members,
        "mx5": Intake(weight=0),
        name: out(start.members[name].weight, admin),
    }


def test_what_an_operator_brought_back_meanwhile_stays_in() -> None:
    """A member that was out at the start and is in service now stays in service, with its recorded weight."""
    pair = Pair(pool_of(100, 60, 100, out(50, "maint"), 0))
    start = pair.observe()
    pair.go(pair.action.target(start))
    pair.switch.members["mx4"] = Intake(weight=50)
    pair.go(start)
    assert [str(one) for one in pair.switch.members.values()] == [f"weight {one}" for one in (100, 60, 100, 50, 0)]


def test_the_way_back_is_shared_by_who_is_in_service() -> None:
    """Waypoints, the diff and the progress count the members that are in service now, not those of the start."""
    pair = Pair(pool_of(100, 100, 100, 100, 0), by=(0.5, 1.0))
    start = pair.observe()
    pair.go(pair.action.target(start))
    pair.switch.members["mx2"] = out(0, "maint")
    assert pair.action.describe(pair.observe(), start)[-1].endswith("ord 0% → 33.333%, iad 100% → 66.667%")
    assert [one["ord"] for one in pair.go(start)] == pytest.approx([1 / 6, 1 / 3], abs=COARSE)
    watch = FakeWatch()
    run(pair.action.converge(start, watch))
    assert watch.numbers == [pytest.approx({"ord": 1 / 3, "iad": 2 / 3})]


def test_nobody_gets_traffic_at_a_site_that_is_out_of_service() -> None:
    """A way back to members that are all out of service gives their site nothing."""
    pair = Pair(pool_of(100, 100, 100, 0, 0))
    start = pair.observe()
    pair.go(pair.action.target(start))
    pair.switch.members.update(mx1=out(0, "drain"), mx2=out(0, "drain"))
    assert pair.action.receivers(pair.observe(), start) == []


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_last_traffic_is_never_taken_away(share: float) -> None:
    """Where the takers have left service since the start, what would leave nobody with weight is declined."""
    pair = Pair(pool_of(100, 60, 0, 0, 0), by=(0.5, 1.0))
    start = pair.observe()
    route = {one.label: one.state for one in pair.action.route(start, pair.action.target(start))}
    pair.switch.members.update(mx3=out(0, "maint"), mx4=out(0, "drain"))
    outcome = run(pair.action.converge(route[f"{share:.0%}"], FakeWatch()))
    assert outcome.reached is (share < 1)
    assert (pair.shares()["ord"], bool(pair.switch.log)) == (1.0, share < 1)


def test_the_last_traffic_is_not_taken_away_on_the_way_back() -> None:
    """The same holds backwards: the site that carries everything keeps it while the other is out of service."""
    pair = Pair(pool_of(100, 60, 0, 0, 0))
    start = pair.observe()
    pair.go(pair.action.target(start))
    pair.switch.members.update(mx1=out(0, "maint"), mx2=out(0, "maint"))
    outcome = run(pair.action.converge(start, FakeWatch()))
    assert outcome.reason == (
        "cannot shift traffic: no member of ord or iad that is in service now would have weight — set one to ready"
    )
    assert pair.shares()["iad"] == 1.0


def test_a_site_without_traffic_has_nothing_to_shift() -> None:
    """Where the site takes nothing any more, the target is what is."""
    pair = Pair(pool_of(0, out(100, "maint"), 100, 100, 0))
    assert pair.problems() == []
    assert pair.action.target(pair.observe()) == pair.observe()


def test_a_target_out_of_service_is_refused() -> None:
    """The plan refuses to shift to a site none of whose members could take it."""
    pair = Pair(pool_of(100, 100, out(100, "maint"), out(100, "drain"), 0))
    assert pair.problems() == [
        "cannot shift to iad: every member of iad is out of service in the switch — set one to ready"
    ]


def test_a_share_that_weights_cannot_give_is_refused() -> None:
    """Beside a third site small weights cannot be scaled: the plan says what is nearest, and what to do."""
    pair = Pair(pool_of(1, 0, 1, 0, 1), by=(0.25, 1.0))
    [problem] = pair.problems()
    assert problem == (
        "cannot leave ord at 25% of the new traffic: the nearest that weights of 0 to 256 give is 33.33% — "
        "give all that takes traffic at the switch weights some 50 times as large"
    )


def test_rounding_takes_nothing_from_a_third_site_and_gives_it_nothing() -> None:
    """Beside a third site the weights of the two keep their sum at each waypoint, however small they are."""
    pair = Pair(pool_of(1, 0, 0, 0, 100), by=(0.5, 1.0))
    start = pair.observe()
    shares = [*pair.go(pair.action.target(start)), *pair.go(start)]
    assert [one["dfw"] for one in shares] == [100 / 101] * 4


def test_a_weight_that_is_too_large_is_refused() -> None:
    """Beside a third site a taker cannot get more than the largest weight: else the third would get the rest."""
    pair = Pair(pool_of(256, 0, 256, 0, 256))
    [problem] = pair.problems()
    assert problem == (
        "cannot leave iad at 66.67% of the new traffic: the nearest that weights of 0 to 256 give is 50% — "
        "give all that takes traffic at the switch weights some a tenth as large"
    )


def test_who_gets_more_is_told_by_share() -> None:
    """Weights that were scaled up on the way say nothing: on every leg the site whose share grows is the receiver."""
    pair = Pair(pool_of(1, 0, 1, 0, 0), by=(0.25, 1.0))
    start = pair.observe()
    target = pair.action.target(start)
    middle = pair.action.route(start, target)[0].state
    assert pair.action.receivers(start, target) == [("smtp", "iad")]
    assert pair.action.receivers(middle, target) == [("smtp", "iad")]
    assert pair.action.receivers(middle, start) == [("smtp", "ord")]
    assert pair.action.receivers(start, start) == []


def test_waypoints_are_named_and_paced() -> None:
    """Each waypoint carries its share as its label, and the runbook's pause."""
    pair = Pair(pool_of(100, 100, 100, 100, 0), by=(0.05, 0.25, 1.0))
    start = pair.observe()
    route = pair.action.route(start, pair.action.target(start))
    assert [(one.label, one.pause) for one in route] == [("5%", 10), ("25%", 10), ("100%", 10)]


def test_its_diff_and_progress() -> None:
    """People see each member that changes, and the sites' shares."""
    pair = Pair(pool_of(100, 0, 60, 40, 0))
    start = pair.observe()
    target = pair.action.target(start)
    assert pair.action.describe(start, target) == [
        "mx1: weight 100 → weight 0",
        "mx3: weight 60 → weight 120",
        "mx4: weight 40 → weight 80",
        "share of new traffic: ord 50% → 0%, iad 50% → 100%",
    ]
    watch = FakeWatch()
    run(pair.action.converge(target, watch))
    assert (watch.texts, watch.numbers) == (["new traffic: ord 0%, iad 100%"], [{"ord": 0.0, "iad": 1.0}])


def test_it_asks_before_it_writes() -> None:
    """A stopped or fenced run writes nothing."""
    pair = Pair(pool_of(100, 0, 100, 0, 0))
    target = pair.action.target(pair.observe())
    with pytest.raises(Stop):
        run(pair.action.converge(target, FakeWatch(stop_at=1)))
    assert pair.switch.log == []


def test_its_state_survives_the_journal() -> None:
    """A recorded state is read back from JSON as the same state."""
    state: Value = Pair(pool_of(100, out(50, "maint"), 100, 0, 7)).observe()
    assert TrafficShift.state.model_validate(state.model_dump(mode="json", by_alias=True)) == state
