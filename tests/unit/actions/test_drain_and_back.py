"""``smtp.drain``: what stands against it, its states, and the way back into service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from orchestrator.actions.action import REACHED, Outcome
from orchestrator.actions.drain import SiteDrain
from orchestrator.errors import UnfitError, UnreachableError
from orchestrator.model.traffic import Intake

from ..fakes.mail import FakeGate, Habit, moment
from .site import CHATTY, DRAINED, HOT, IDLE, ORD, SLOW_COMMIT, SLOW_DATA, Site


def test_the_way_back_opens_the_gate_first() -> None:
    """First the gates open, then the switch gives sessions: nobody is sent to a host that answers 421."""
    site = Site(IDLE)

    async def there_and_back() -> SiteDrain:
        start = await site.action.observe()
        await site.action.converge(site.action.target(start), site.watch)
        site.switch.log.clear()
        assert await site.action.converge(start, site.watch) == REACHED
        return await site.action.observe()

    assert site.story(there_and_back).members == {"mx1": "ready", "mx2": "ready"}
    assert site.switch.log == ["open", "open", "mx1: weight 100", "mx2: weight 100"]
    assert site.watch.texts[-1] == "in service: mx1 ready, mx2 ready"


def test_the_way_back_takes_back_who_was_turned_away() -> None:
    """A client that was to be told 421 at its next MAIL is not, once the site is in service again."""
    site = Site(Habit(gap=4.0, messages=1), age=2000.0, deadline="1s")  # unknown, so that it is turned away at once

    async def there_and_back() -> None:
        start = await site.action.observe()
        await site.action.converge(site.action.target(start), site.watch)
        await site.action.converge(start, site.watch)
        await asyncio.sleep(20.0)

    site.story(there_and_back)
    assert site.watch.numbers[-2]["told"] == 1
    assert (site.pool.hung_up, site.pool.delivered, len(site.left)) == ([], 1, 1)


def test_the_way_back_leaves_as_recorded_what_was_not_ready() -> None:
    """A member in maint before the drain stays there all the time, and so does a closed gate."""
    site = Site()
    site.switch.members["mx2"] = Intake(weight=100, admin="maint")
    site.gates["mx2"].closed = True

    async def there_and_back() -> tuple[SiteDrain, SiteDrain, SiteDrain]:
        start = await site.action.observe()
        await site.action.converge(site.action.target(start), site.watch)
        between = await site.action.observe()
        await site.action.converge(start, site.watch)
        return start, between, await site.action.observe()

    start, between, after = site.story(there_and_back)
    assert between.members == {"mx1": "drain", "mx2": "maint"}
    assert after == start


def test_preflight_passes_a_site_whose_sessions_began_under_the_gate() -> None:
    """A site with a gate that is older than every session can be drained."""
    site = Site(HOT, IDLE)
    assert site.story(site.action.preflight) == []


def test_preflight_refuses_sessions_from_before_the_gate() -> None:
    """Postfix keeps for a session the restrictions with which it began: the plan says how many, and what to do."""
    site = Site(IDLE, IDLE, HOT, age=2000.0)
    [problem] = site.story(site.action.preflight)
    assert problem == (
        "cannot drain ord: 2 sessions are older than the gate (the oldest 33m22s), and Postfix keeps the restrictions "
        "with which a session began — wait until their clients have reconnected, or restart those clients"
    )


def test_sessions_from_before_the_gate_are_not_closed() -> None:
    """A session that the gate may know nothing of is not certain to be idle."""
    site = Site(IDLE, age=2000.0, deadline="10s")
    outcome, _ = site.drain()
    assert outcome.reason == "after 10s 1 sessions left: 0 with an open transaction, 0 idle, 1 unknown; none was cut"
    assert len(site.left) == 1


def test_preflight_names_every_unfit_gate() -> None:
    """Each gate that its Postfix does not ask is a problem of its own."""
    site = Site(IDLE)
    for name, gate in site.gates.items():
        gate.trouble = f"cannot gate {name}: its Postfix does not ask the gate"
    assert site.story(site.action.preflight) == [str(UnfitError(gate.trouble)) for gate in site.gates.values()]


def test_a_gate_that_dies_ends_the_drain() -> None:
    """Without its gate nothing can be known any more: the error reaches the engine, and nothing is cut."""
    site = Site(Habit(gap=0.1, data=30.0))

    async def tell() -> None:
        asyncio.get_running_loop().call_later(1.0, setattr, site.gates["mx1"], "trouble", "cannot reach the gate")
        await site.action.converge(DRAINED, site.watch)

    dead = type("Dead", (FakeGate,), {"look": FakeGate.read})
    site.gates.update({name: dead() for name in ORD})
    with pytest.raises(UnfitError, match="cannot reach the gate"):
        site.story(tell)
    assert (site.pool.cut, site.pool.doubled) == ([], [])


def restarted(site: Site, at: float, seconds: float) -> Outcome:
    """How a drain ends when ``at`` seconds after its begin both gates are away for ``seconds``."""

    async def tell() -> Outcome:
        for gate in site.gates.values():
            asyncio.get_running_loop().call_later(at, gate.restart, seconds)
        return await site.action.converge(DRAINED, site.watch)

    return site.story(tell)


@pytest.mark.parametrize("at", [0.0, 0.05, 0.3, 0.9, 3.0], ids=str)
@pytest.mark.parametrize("seconds", [0.02, 1.0, 4.0], ids=str)
def test_a_gate_that_is_restarted_is_survived(at: float, seconds: float) -> None:
    """While it is away nothing is closed; then the drain goes on, and no message is cut or doubled."""
    site = Site(HOT, HOT, CHATTY, SLOW_DATA, SLOW_COMMIT, SLOW_COMMIT, deadline="3m")
    assert restarted(site, at, seconds) == REACHED
    assert (site.left, site.pool.cut, site.pool.doubled) == ([], [], [])


def test_it_says_that_it_cannot_look() -> None:
    """People see why nothing goes on."""
    site = Site(SLOW_DATA)
    restarted(site, 0.5, 1.0)
    assert "cannot look: cannot reach the gate: connection refused" in site.watch.texts


def test_after_a_restart_a_silent_session_is_unknown() -> None:
    """The gate has forgotten whether it has a transaction open: it is not closed, and may have to be waited for."""
    site = Site(IDLE, IDLE, deadline="10s")
    outcome = restarted(site, 0.0, 1.0)
    assert outcome.reason == "after 10s 2 sessions left: 0 with an open transaction, 0 idle, 2 unknown; none was cut"
    assert site.pool.closed_idle == []


def test_who_was_turned_away_before_a_restart_is_turned_away_again() -> None:
    """A restarted gate has forgotten it, and a client that never pauses goes no other way."""
    told: list[tuple[float, str]] = []

    class Counting(FakeGate):
        async def turn_away(self, client: str, number: int | None) -> bool:
            told.append((moment(), client))
            agreed = await super().turn_away(client, number)
            if len(told) == 1:
                self._turned_away.clear()  # what a restart between two looks does
            return agreed

    old = Site(IDLE, age=2000.0, gate=Counting, deadline="12s")
    old.drain()
    assert [round(at - told[0][0]) for at, _ in told] == [0, 5, 10]
    assert old.watch.numbers[-1]["told"] == 1


def test_a_switch_that_is_away_for_a_moment_is_survived() -> None:
    """As a gate: it is looked again for five seconds."""
    site = Site(SLOW_DATA, IDLE)
    site.switch.lost_until = 5.0
    assert site.drain()[0] == REACHED


def test_a_gate_that_stays_away_ends_the_drain() -> None:
    """After five seconds the error reaches the engine, and nothing was closed on a guess."""
    site = Site(SLOW_DATA, age=0.0)
    with pytest.raises(UnreachableError, match="cannot reach the gate"):
        restarted(site, 0.5, 3600.0)
    assert (site.pool.cut, site.pool.doubled, len(site.left)) == ([], [], 1)
    assert site.watch.numbers[-1]["seconds"] == pytest.approx(5.5, abs=0.3)


@pytest.mark.parametrize("skew", [-7200.0, -30.0, 30.0, 7200.0])
def test_a_mail_host_whose_clock_is_wrong(skew: float) -> None:
    """Sessions from before the gate are found and left alone, younger ones are closed, whatever the host's clock."""

    def found(age: float) -> tuple[int, bool, int]:
        """Problems of the preflight, whether the drain reached its end, and sessions left."""
        site = Site(IDLE, age=age, gate=lambda: FakeGate(skew=skew), deadline="5s")

        async def tell() -> tuple[int, bool]:
            problems = await site.action.preflight()
            return len(problems), (await site.action.converge(DRAINED, site.watch)).reached

        return (*site.story(tell), len(site.left))

    assert found(age=1020.0) == (1, False, 1)
    assert found(age=980.0) == (0, True, 0)


def state(members: Sequence[str], closed: Sequence[bool], sessions: int = 0) -> SiteDrain:
    """A state of the site."""
    return SiteDrain.model_validate(
        {
            "members": dict(zip(ORD, members, strict=True)),
            "gates_closed": dict(zip(ORD, closed, strict=True)),
            "sessions": sessions,
        }
    )


def test_target_and_diff() -> None:
    """The target is drained and closed; people see what changes, and how many sessions must move."""
    action = Site().action
    start = state(("ready", "maint"), (False, False), 42)
    target = action.target(start)
    assert target == state(("drain", "maint"), (True, True))
    assert action.describe(start, target) == [
        "mx1: ready → drain",
        "mx1 gate: open → closed",
        "mx2 gate: open → closed",
        "sessions: 42 → 0",
    ]
    assert action.describe(target, start) == [
        "mx1: drain → ready",
        "mx1 gate: closed → open",
        "mx2 gate: closed → open",
    ]
    assert action.describe(target, target) == []


@pytest.mark.parametrize(
    ("now", "wanted", "reached"),
    [
        (state(("drain", "drain"), (True, True)), DRAINED, True),
        (state(("drain", "drain"), (True, True), 1), DRAINED, False),
        (state(("drain", "drain"), (True, False)), DRAINED, False),
        (state(("drain", "ready"), (True, True)), DRAINED, False),
        (state(("ready", "ready"), (False, False), 7), state(("ready", "ready"), (False, False), 42), True),
        (state(("ready", "drain"), (False, False)), state(("ready", "ready"), (False, False)), False),
    ],
    ids=["drained", "a session left", "a gate open", "a member ready", "in service", "half in service"],
)
def test_reached(now: SiteDrain, wanted: SiteDrain, reached: bool) -> None:
    """Drained means set and without a session; in service, the number of sessions says nothing."""
    action = Site().action
    assert action.reached(now, wanted) is reached
    assert len(action.route(now, wanted)) == (0 if reached else 1)


def test_who_gets_traffic() -> None:
    """On the way back the site must be healthy; on the way out nobody is given anything by a drain."""
    action = Site().action
    start = state(("ready", "maint"), (False, False))
    assert action.receivers(start, action.target(start)) == []
    assert action.receivers(action.target(start), start) == [("smtp", "ord")]
    assert action.receivers(start, start) == []
