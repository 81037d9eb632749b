"""``smtp.drain`` on a simulated site: to zero sessions, and no message cut between its end and its 250."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.actions.action import REACHED, Outcome
from orchestrator.actions.drain import POLITE_FOR, SETTLE_BLIND
from orchestrator.errors import Stop
from orchestrator.model.traffic import Session

from ..fakes.clock import run
from ..fakes.mail import FakeGate, FakeQueue, Habit
from ..fakes.watch import FakeWatch
from .site import CHATTY, DRAINED, HOT, IDLE, NOOP, ORD, REFUSED, SLOW_COMMIT, SLOW_DATA, SPENT, Site

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
    [(IDLE, 0.5), (SPENT, 8.5), (NOOP, 0.5), (CHATTY, 1.5), (HOT, 1.5), (REFUSED, 1.5), (SLOW_DATA, 12)],
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


def test_at_the_deadline_only_what_was_not_idle_counts_as_cut() -> None:
    """Who is idle then is closed, and who has gone in the meantime is not counted at all."""
    site = Site(IDLE, Habit(gap=0.1, data=3600.0), NOOP, deadline="2s", at_deadline="cut", clients="any")
    outcome, _ = site.drain()
    assert (outcome, site.left, site.pool.cut) == (REACHED, [], ["192.0.2.7:40001"])
    assert site.pool.closed_idle == ["192.0.2.7:40000", "192.0.2.7:40002"]
    assert site.watch.texts[-1] == "0 sessions left: 2 closed idle, 0 told 421, 1 cut"


def test_the_gates_close_before_anything_is_cut() -> None:
    """Otherwise a client could begin a message in the session that is about to be cut."""
    site = Site(Habit(gap=0.1, data=3600.0), deadline="2s", at_deadline="cut")
    close = site.switch.close
    closed: list[bool] = []

    async def closing(session: Session) -> None:
        closed.extend(gate.closed for gate in site.gates.values())
        await close(session)

    site.switch.close = closing  # type: ignore[method-assign]
    site.drain()
    assert closed == [True, True]


def test_what_is_gone_when_the_gates_are_closed_was_not_cut() -> None:
    """The look is taken anew before anything is cut: a client that left since the last one does not count."""

    class Leaving(FakeGate):
        async def set_closed(self, closed: bool) -> None:
            for session in site.left:
                session.over.set()
            await super().set_closed(closed)

    site = Site(Habit(gap=0.1, data=3600.0), gate=Leaving, deadline="2s", at_deadline="cut")
    assert site.drain()[0] == REACHED
    assert site.watch.texts[-1] == "0 sessions left: 0 closed idle, 0 told 421, 0 cut"


def test_cut_sessions_that_do_not_go() -> None:
    """Zero is said only when it is seen: sessions that stay although they were cut fail the step, counted once."""
    site = Site(Habit(gap=0.1, data=3600.0), deadline="2s", at_deadline="cut")

    async def nothing(session: Session) -> None: ...

    site.switch.close = nothing  # type: ignore[method-assign]
    outcome, seconds = site.drain()
    assert outcome == Outcome(reached=False, reason="1 sessions are left 5s after they were cut")
    assert site.watch.numbers[-1]["cut"] == 1
    assert 7 <= seconds < 8


def test_a_cut_session_may_take_a_moment_to_go() -> None:
    """The switch may need more than one look to cut a session: it is waited for, and counted once."""
    site = Site(Habit(gap=0.1, data=3600.0), deadline="2s", at_deadline="cut")
    close = site.switch.close
    asked: list[str] = []

    async def slowly(session: Session) -> None:
        asked.append(session.id)
        if len(asked) > 3:
            await close(session)

    site.switch.close = slowly  # type: ignore[method-assign]
    assert (site.drain()[0], site.left) == (REACHED, [])
    assert site.watch.texts[-1] == "0 sessions left: 0 closed idle, 0 told 421, 1 cut"


def test_a_blind_gate() -> None:
    """Where nobody sees transactions the gate closes for all at once, and silence is waited for before a close."""
    site = Site(HOT, CHATTY, IDLE, SLOW_DATA, gate=lambda: FakeGate(sees=False))
    outcome, seconds = site.drain()
    assert (outcome, site.left, site.pool.doubled, site.pool.cut) == (REACHED, [], [], [])
    assert (len(site.pool.hung_up), len(site.pool.closed_idle)) == (3, 1)
    assert SETTLE_BLIND < seconds < SETTLE_BLIND + 1


def test_settle_is_what_the_runbook_says() -> None:
    """A stated ``settle`` replaces the default; without sight of transactions it is never less than 30 s."""
    _, seen = Site(SPENT, settle="4s").drain()
    assert 2 < seen < 4
    _, short = Site(IDLE, gate=lambda: FakeGate(sees=False), settle="3s").drain()
    assert 30 < short < 31
    _, long = Site(IDLE, gate=lambda: FakeGate(sees=False), settle="40s").drain()
    assert 40 < long < 41


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


def test_a_queue_that_still_moves_at_the_deadline_fails() -> None:
    """A host that has not passed on what it accepted is not drained: the reason says how much lies where."""
    queues = {"mx1": FakeQueue(moving=1000, deferred=3), "mx2": FakeQueue()}
    outcome, seconds = Site(IDLE, queues=queues, deadline="10s").drain()
    assert not outcome.reached
    assert re.fullmatch(r"95\d messages still on their way in the queues of mx1", outcome.reason)
    assert 10 <= seconds < 11


def test_the_queues_get_the_deadline_anew() -> None:
    """However long the sessions took, the queues are waited for as long as the deadline says."""
    site = Site(Habit(gap=0.1, data=16.0), queues={"mx1": FakeQueue(moving=16, seconds=0.5)}, deadline="20s")
    outcome, seconds = site.drain(after=0.2)
    assert outcome == REACHED
    assert 20 < seconds < 26


@pytest.mark.parametrize("stop_at", range(1, 7))
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

    site.habits = ()
    site.story(again)
    assert site.switch.log[written:] == []
