"""``smtp.drain`` on a simulated site: to zero sessions, and no message cut between its end and its 250."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.actions.action import REACHED, Outcome
from orchestrator.actions.drain import POLITE_FOR, SETTLE_BLIND, SiteDrain, SmtpDrain
from orchestrator.errors import Stop, UnfitError
from orchestrator.model.inventory import Pool
from orchestrator.model.runbook import DrainArguments
from orchestrator.model.traffic import Intake

from ..fakes import mail
from ..fakes.clock import LoopClock, run
from ..fakes.mail import FakeGate, FakeQueue, FakeSwitch, Habit, LiveSession, moment
from ..fakes.watch import FakeWatch

T = TypeVar("T")

POOL = Pool.model_validate(
    {
        "protocol": "smtp",
        "address": "vip:25",
        "switch": {"driver": "haproxy", "socket": "s", "backend": "smtp"},
        "test_mail": {"sender": "probe@lab.example", "recipient": "probe@lab.example"},
        "sites": {
            "ord": {"capacity": "100 sessions", "members": ["mx1", "mx2"], "address": "ord:25"},
            "iad": {"capacity": "100 sessions", "members": ["mx3"], "address": "iad:25"},
        },
    }
)
ORD = ("mx1", "mx2")

HOT = Habit(gap=0.0)
CHATTY = Habit(gap=0.7)
IDLE = Habit(messages=0)
SPENT = Habit(messages=1)
SLOW_DATA = Habit(gap=0.1, data=6.5)
SLOW_COMMIT = Habit(gap=0.1, commit=4.0)
NOOP = Habit(gap=1.0, noop=True)
REFUSED = Habit(gap=0.05, refused=True)

DRAINED = SiteDrain(members={"mx1": "drain", "mx2": "drain"}, gates_closed={"mx1": True, "mx2": True})


class Site:
    """A site with clients on it, and the action that drains it."""

    def __init__(
        self,
        *habits: Habit,
        gate: Callable[[], FakeGate] = FakeGate,
        queues: Mapping[str, FakeQueue] | None = None,
        latency: float = mail.CALL,
        age: float = 0.0,
        **arguments: object,
    ) -> None:
        self.pool = mail.Pool()
        self.switch = FakeSwitch(dict.fromkeys((*ORD, "mx3"), Intake(weight=100)), self.pool, latency)
        self.gates = {name: gate() for name in ORD}
        for one in self.gates.values():
            one.log = self.switch.log
        self.watch = FakeWatch()
        words = {"pool": "smtp", "site": "ord", "deadline": "60s", **arguments}
        self.action = SmtpDrain(
            DrainArguments.model_validate(words), POOL, self.switch, self.gates, queues or {}, LoopClock()
        )
        self._habits = habits
        self._age = age

    def story(self, tell: Callable[[], Awaitable[T]], after: float = 2.0) -> T:
        """Let the clients work for ``after`` seconds, then ``tell``; they are still at work."""

        async def whole() -> T:
            clients = [asyncio.create_task(self._client(number, habit)) for number, habit in enumerate(self._habits)]
            await asyncio.sleep(after)
            try:
                return await tell()
            finally:
                for one in clients:
                    one.cancel()
                await asyncio.gather(*clients, return_exceptions=True)

        return run(whole())

    def drain(self, after: float = 2.0) -> tuple[Outcome, float]:
        """Drain it; the outcome, and the seconds that it took."""

        async def tell() -> tuple[Outcome, float]:
            began = moment()
            end = self.action.target(await self.action.observe())
            outcome = await self.action.converge(end, self.watch)
            return outcome, moment() - began

        return self.story(tell, after)

    @property
    def left(self) -> list[LiveSession]:
        """The sessions that are still there."""
        return [session for name in ORD for session in self.pool.live(name)]

    async def _client(self, number: int, habit: Habit) -> None:
        member = ORD[number % 2]
        await mail.client(f"192.0.2.7:{40000 + number}", habit, member, self.pool, self.gates[member], self._age)


CROWD = (
    *[HOT] * 8,
    *[CHATTY] * 8,
    *[IDLE] * 3,
    *[SPENT] * 3,
    *[SLOW_DATA] * 2,
    *[SLOW_COMMIT] * 2,
    NOOP,
    NOOP,
    REFUSED,
)


def test_a_crowd_is_drained() -> None:
    """Of hot, chatty, idle, slow and NOOP clients none is left, none has lost or doubled a message."""
    site = Site(*CROWD)
    outcome, seconds = site.drain()
    assert (outcome, site.left, site.pool.doubled, site.pool.cut) == (REACHED, [], [], [])
    assert len(site.pool.closed_idle) + len(site.pool.hung_up) == len(CROWD)
    assert seconds < 2 * 6.7  # the slowest message twice: the second one begins within two looks
    assert site.pool.delivered > 100
    assert set(site.pool.hung_up) & {f"192.0.2.7:{40000 + number}" for number in range(8)}


@pytest.mark.parametrize(
    ("habit", "at_most"),
    [(IDLE, 0.5), (SPENT, 3.5), (NOOP, 0.5), (CHATTY, 1.5), (HOT, 1.5), (REFUSED, 1.5), (SLOW_DATA, 12)],
    ids=["idle", "spent", "noop", "chatty", "hot", "refused", "slow data"],
)
def test_one_kind_of_client_is_drained(habit: Habit, at_most: float) -> None:
    """Each kind of client is gone soon after what it has under way.

    One that was found just after its message waits for ``settle``, and one that begins its next message within two
    looks gets to the end of that.
    """
    site = Site(*[habit] * 6)
    outcome, seconds = site.drain()
    assert (outcome, site.left, site.pool.doubled, site.pool.cut) == (REACHED, [], [], [])
    assert seconds < at_most


@pytest.mark.parametrize("latency", [0.002, 0.05, 0.3, 0.6], ids=str)
def test_a_commit_that_is_slower_than_anybody_thought(latency: float) -> None:
    """A commit of 4 seconds is waited for, with a quick switch and with one that is slower than the gate's patience."""
    site = Site(*[Habit(gap=0.3, commit=4.0)] * 6, latency=latency, deadline="5m")
    outcome, _ = site.drain()
    assert (outcome, site.left, site.pool.doubled, site.pool.cut) == (REACHED, [], [], [])


def test_a_commit_that_is_slower_than_settle() -> None:
    """What was seen to end is waited for until its answer, also where ``settle`` was set too short."""
    site = Site(*[Habit(gap=0.3, commit=20.0)] * 4, settle="1s")
    outcome, _ = site.drain(after=0.32)
    assert (outcome, site.left, site.pool.doubled, site.pool.cut) == (REACHED, [], [], [])


@pytest.mark.parametrize(("settle", "doubled"), [("5s", 1), ("9s", 0)])
def test_settle_must_be_longer_than_the_slowest_commit(settle: str, doubled: int) -> None:
    """Only for a message that ended before the first look ``settle`` is all there is: too short a one doubles it."""
    site = Site(Habit(commit=8.0), settle=settle)
    site.drain(after=0.5)
    assert len(site.pool.doubled) == doubled


def test_the_world_notices_a_doubled_message() -> None:
    """The simulation itself: a session that is cut after its end of data and before its 250 is found out."""
    site = Site(SLOW_COMMIT)

    async def cut() -> None:
        [session] = await site.switch.sessions(ORD)
        await site.switch.close(session)

    site.story(cut)
    assert site.pool.doubled == ["192.0.2.7:40000"]


habits = st.builds(
    Habit,
    gap=st.sampled_from([0.0, 0.01, 0.09, 0.3, 2.0, 30.0]),
    data=st.sampled_from([0.0, 0.01, 0.1, 0.4, 3.0]),
    commit=st.sampled_from([0.0, 0.004, 0.1, 0.3, 4.0]),
    messages=st.sampled_from([0, 1, 2, 1_000_000]),
    noop=st.sampled_from([False, False, False, True]),
    refused=st.sampled_from([False, False, False, True]),
)


@settings(max_examples=40, deadline=None)
@given(
    crowd=st.lists(habits, min_size=1, max_size=8),
    after=st.floats(0.01, 3.0),
    latency=st.sampled_from([0.001, 0.01, 0.2, 0.5]),
    clients=st.sampled_from(["mta", "any"]),
)
def test_any_crowd_is_drained(crowd: list[Habit], after: float, latency: float, clients: str) -> None:
    """Whatever clients do, and however slow the switch is: none is left, no message is cut or doubled."""
    site = Site(*crowd, latency=latency, deadline="3m", clients=clients)
    outcome, _ = site.drain(after)
    assert (outcome, site.left, site.pool.doubled, site.pool.cut) == (REACHED, [], [], [])


def test_a_message_that_begins_at_the_last_instant() -> None:
    """A client whose first MAIL comes between the look and the closing is not closed."""

    class Racing(FakeGate):
        async def turn_away(self, client: str, number: int | None) -> bool:
            for session in site.left:
                if session.client == client and session.phase == "between" and not self._turned_away:
                    session.phase = "in transaction" if self.at_mail(client) else "between"
            return await super().turn_away(client, number)

    site = Site(IDLE, gate=Racing, deadline="2s")
    outcome, _ = site.drain()
    assert not outcome.reached
    assert site.pool.cut == []


def test_it_ends_drained_and_closed() -> None:
    """At the end no member gets new sessions, every gate answers 421, and the other site was never touched."""
    site = Site(IDLE)
    site.drain()
    assert run(site.action.observe()) == DRAINED
    assert site.switch.log == ["mx1: weight 100, drain", "mx2: weight 100, drain", "closed", "closed"]


def test_new_sessions_stop_before_old_ones_are_closed() -> None:
    """The switch is told first; the gates of all clients close only when nobody is left, where clients are MTAs."""
    site = Site(HOT)
    site.drain()
    assert site.switch.log[:2] == ["mx1: weight 100, drain", "mx2: weight 100, drain"]


def test_what_it_says() -> None:
    """Progress counts what is left by kind, and at the end what was done."""
    site = Site(Habit(gap=0.5, data=6.5), IDLE, queues={"mx1": FakeQueue(deferred=3)})
    _, seconds = site.drain()
    assert site.watch.texts[0] == "2 sessions left: 1 with an open transaction, 1 idle"
    assert site.watch.texts[-1] == (
        "0 sessions left: 2 closed idle, 0 told 421, 0 cut, 3 deferred messages stay in the queue"
    )
    numbers = site.watch.numbers[-1]
    assert {name: numbers[name] for name in ("sessions", "closed", "told", "cut", "queue")} == {
        "sessions": 0,
        "closed": 2,
        "told": 0,
        "cut": 0,
        "queue": 0,
    }
    assert numbers["seconds"] == pytest.approx(seconds, abs=0.2)


def test_clients_that_are_no_mta_are_told() -> None:
    """With ``clients: any`` whoever sends is told 421; only who stays silent is closed, and not at once."""
    site = Site(HOT, CHATTY, Habit(gap=3.0), IDLE, clients="any")
    outcome, seconds = site.drain()
    assert (outcome, len(site.pool.hung_up), len(site.pool.closed_idle)) == (REACHED, 3, 1)
    assert POLITE_FOR < seconds < POLITE_FOR + 1


def test_the_deadline_fails() -> None:
    """A transaction that outlasts the deadline fails the step; nothing is cut, and the reason counts what is left."""
    site = Site(Habit(gap=0.1, data=3600.0), IDLE, deadline="10s")
    outcome, seconds = site.drain()
    assert outcome == Outcome(
        reached=False, reason="after 10s 1 sessions left: 1 with an open transaction, 0 idle; none was cut"
    )
    assert (site.pool.cut, site.pool.doubled, len(site.left)) == ([], [], 1)
    assert 10 <= seconds < 11


def test_the_deadline_cuts_where_the_runbook_says_so() -> None:
    """With ``at_deadline: cut`` what is left then is cut, and counted."""
    site = Site(Habit(gap=0.1, data=3600.0), IDLE, deadline="10s", at_deadline="cut")
    outcome, _ = site.drain()
    assert (outcome, site.pool.cut, site.left) == (REACHED, ["192.0.2.7:40000"], [])
    assert site.watch.texts[-1] == "0 sessions left: 1 closed idle, 0 told 421, 1 cut"


def test_a_blind_gate() -> None:
    """Where nobody sees transactions the gate closes for all at once, and silence is waited for before a close."""
    site = Site(HOT, CHATTY, IDLE, SLOW_DATA, gate=lambda: FakeGate(sees=False))
    outcome, seconds = site.drain()
    assert (outcome, site.left, site.pool.doubled, site.pool.cut) == (REACHED, [], [], [])
    assert (len(site.pool.hung_up), len(site.pool.closed_idle)) == (3, 1)
    assert SETTLE_BLIND < seconds < SETTLE_BLIND + 1


def test_settle_is_what_the_runbook_says() -> None:
    """A stated ``settle`` replaces the default."""
    _, seconds = Site(IDLE, gate=lambda: FakeGate(sees=False), settle="3s").drain()
    assert 3 < seconds < 4


def test_the_switch_s_own_count_must_be_zero_too() -> None:
    """A session that the switch counts and does not list keeps the drain waiting."""
    site = Site(deadline="5s")
    site.switch.hidden = 1
    outcome, _ = site.drain()
    assert not outcome.reached


def test_the_queues_are_emptied() -> None:
    """After the last session the hosts pass on what they have; what waits for other servers stays."""
    queues = {"mx1": FakeQueue(moving=10, seconds=0.5), "mx2": FakeQueue(deferred=2, held=1)}
    site = Site(IDLE, queues=queues)
    outcome, seconds = site.drain()
    assert outcome == REACHED
    assert all(queue.flushed for queue in queues.values())
    assert 5 <= seconds < 6
    assert site.watch.texts[-1].endswith(", 3 deferred messages stay in the queue")
    assert any(", 4 messages on their way" in text for text in site.watch.texts)


def test_the_queues_are_not_waited_for_beyond_the_deadline() -> None:
    """A queue that does not get empty does not keep an empty site from being drained."""
    outcome, seconds = Site(IDLE, queues={"mx1": FakeQueue(moving=1000)}, deadline="10s").drain()
    assert outcome == REACHED
    assert 10 <= seconds < 11


@pytest.mark.parametrize("stop_at", range(1, 8))
def test_it_can_be_stopped_at_any_write(stop_at: int) -> None:
    """Asked to stop, it changes nothing more; run again, it ends as if it had never been stopped."""
    site = Site(HOT, IDLE, SLOW_DATA)
    site.watch = FakeWatch(stop_at)

    async def twice() -> Outcome:
        with pytest.raises(Stop):
            await site.action.converge(DRAINED, site.watch)
        written = len(site.switch.log)
        await asyncio.sleep(1.0)
        assert len(site.switch.log) == written
        return await site.action.converge(DRAINED, FakeWatch())

    assert (site.story(twice), site.left, site.pool.doubled, site.pool.cut) == (REACHED, [], [], [])


def test_a_drained_site_is_drained_again_without_a_write() -> None:
    """It is idempotent."""
    site = Site(IDLE)
    site.drain()
    written = len(site.switch.log)

    async def again() -> None:
        state = await site.action.observe()
        assert site.action.reached(state, DRAINED)
        assert site.action.route(state, DRAINED) == []
        await site.action.converge(DRAINED, site.watch)

    site._habits = ()
    site.story(again)
    assert set(site.switch.log[written:]) <= {"closed"}


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
    site = Site(Habit(gap=0.1, data=3.0), deadline="1s")

    async def there_and_back() -> None:
        start = await site.action.observe()
        await site.action.converge(site.action.target(start), site.watch)
        await site.action.converge(start, site.watch)
        await asyncio.sleep(20.0)

    site.story(there_and_back)
    assert (site.pool.hung_up, len(site.left)) == ([], 1)


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
