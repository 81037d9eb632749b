"""Which sessions may be closed: the rules, look by look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.actions.stragglers import BUSY_AFTER, NO_TRANSACTION, WITHHELD, Assessment, Stragglers, under_gate
from orchestrator.model.traffic import GateReading, Session, Transaction

SETTLE = 5.0
NOW = 1_700_000_000.0
SINCE = NOW - 1000


@dataclass(frozen=True)
class Shown:
    """What one look shows of the session: the gate's last event, and the switch's bytes to the client."""

    at: float
    stage: Literal["open", "committing"] | None
    number: int = 0
    to_client: int = 0
    to_member: int = 0
    age: float = 0.0
    """Of the stage, in seconds."""
    took: float = 0.01
    """Seconds from the first question of the look to the last answer."""
    restarts: int = 0
    """Of the gate, until then."""


def look(rules: Stragglers, shown: Shown, sees: bool = True, session_age: float = 100.0) -> Assessment:
    """One look at the only session there is."""
    session = Session(
        id="0x1",
        client="192.0.2.7:40001",
        member="mx1",
        age=session_age,
        bytes_to_client=shown.to_client,
        bytes_to_member=shown.to_member,
    )
    transactions = {}
    if shown.stage is not None:
        transactions[session.client] = Transaction(
            stage=shown.stage, at=NOW + shown.number + 100 * shown.restarts, age=shown.age, number=shown.number
        )
    gate = GateReading(closed=False, since=SINCE, sees_transactions=sees, transactions=transactions)
    [found] = rules.look(shown.at, shown.at + shown.took, NOW + shown.at, [session], {"mx1": gate})
    return found


def standings(*shown: Shown, sees: bool = True) -> str:
    """How the session stands at each look."""
    rules = Stragglers(SETTLE)
    return " ".join(look(rules, one, sees).standing for one in shown)


CASES = {
    "no transaction ever": ([Shown(0.0, None)], "idle"),
    "open": ([Shown(0.0, "open", 1), Shown(0.1, "open", 1, 40)], "open open"),
    "a DATA that takes minutes": ([Shown(0.0, "open", 1), Shown(300.0, "open", 1, 40, age=300)], "open open"),
    "answered: bytes have passed since the first look that showed the end": (
        [Shown(0.0, "open", 1, 40), Shown(0.1, "committing", 2, 40), Shown(0.2, "committing", 2, 80)],
        "open open idle",
    ),
    "not answered: bytes passed before that look": (
        [Shown(0.0, "open", 1, 40), Shown(0.1, "committing", 2, 80), Shown(0.2, "committing", 2, 80)],
        "open open open",
    ),
    "bytes from the client are no answer": (
        [Shown(0.0, "committing", 2, 40), Shown(0.1, "committing", 2, 40, to_member=900)],
        "open open",
    ),
    "the next message begins: open again, whatever was answered": (
        [Shown(0.0, "committing", 2, 40), Shown(0.1, "committing", 2, 80), Shown(0.2, "open", 3, 120)],
        "open idle open",
    ),
    "the next message ends between two looks: its own answer counts": (
        [Shown(0.0, "committing", 2, 40), Shown(0.1, "committing", 4, 120), Shown(0.2, "committing", 4, 160)],
        "open open idle",
    ),
    "a gate that was started again counts from one: the same number is another message, with an answer of its own": (
        [
            Shown(0.0, "committing", 2, 40),
            Shown(0.1, "committing", 2, 140, restarts=1),
            Shown(0.2, "committing", 2, 140, restarts=1),
            Shown(0.3, "committing", 2, 180, restarts=1),
        ],
        "open open open idle",
    ),
    "settled: found after its end, the answer may be out already; the slowest commit is waited for": (
        [
            Shown(0.0, "committing", 2, 80, age=1.0),
            Shown(3.9, "committing", 2, 80, age=4.9),
            Shown(4.0, "committing", 2, 80, age=5.0),
        ],
        "open open idle",
    ),
    "settled at the first look": ([Shown(0.0, "committing", 2, 80, age=60.0)], "idle"),
    "a commit that takes a minute: its end was seen under watch, so its answer is waited for": (
        [
            Shown(0.0, "open", 1, 40),
            Shown(0.1, "committing", 2, 40, age=0.05),
            Shown(60.0, "committing", 2, 40, age=60.0),
            Shown(61.0, "committing", 2, 80, age=61.0),
        ],
        "open open open idle",
    ),
    "a look that took too long proves nothing: the answer may be among its bytes": (
        [
            Shown(0.0, "open", 1, 40),
            Shown(0.1, "committing", 2, 80, age=0.05, took=WITHHELD),
            Shown(5.1, "committing", 2, 80, age=5.05),
        ],
        "open open idle",
    ),
    "a look that came too late proves nothing either": (
        [Shown(0.0, "open", 1, 40), Shown(1.0, "committing", 2, 80, age=0.9), Shown(5.1, "committing", 2, 80, age=5)],
        "open open idle",
    ),
}


@pytest.mark.parametrize(("shown", "wanted"), CASES.values(), ids=CASES)
def test_with_a_gate_that_sees_transactions(shown: list[Shown], wanted: str) -> None:
    """A session is idle only when its last message is certainly answered and no other has begun."""
    assert standings(*shown) == wanted


BLIND = {
    "silence": ([Shown(0.0, None), Shown(4.9, None), Shown(5.1, None)], "unknown unknown idle"),
    "bytes to the client": (
        [Shown(0.0, None), Shown(4.9, None, to_client=9), Shown(5.1, None, to_client=9)],
        "unknown",
    ),
    "bytes to the member": (
        [Shown(0.0, None), Shown(4.9, None, to_member=9), Shown(5.1, None, to_member=9)],
        "unknown",
    ),
    "silence again": (
        [Shown(0.0, None), Shown(4.9, None, to_member=9), Shown(9.0, None, to_member=9), Shown(10, None, to_member=9)],
        "unknown unknown unknown idle",
    ),
}


@pytest.mark.parametrize(("shown", "wanted"), BLIND.values(), ids=BLIND)
def test_with_a_blind_gate(shown: list[Shown], wanted: str) -> None:
    """Where nobody sees transactions only silence in both directions counts, as long as the slowest commit."""
    found = standings(*shown, sees=False)
    assert found == (wanted if " " in wanted else " ".join([wanted] * len(shown)))


def test_the_number_to_turn_away_by() -> None:
    """An assessment rests on the gate's last event; on 0 where there was none, or where it is forgotten."""
    rules = Stragglers(SETTLE)
    assert look(rules, Shown(0.0, None)).number == NO_TRANSACTION == 0
    assert look(rules, Shown(0.1, "open", 7)).number == 7
    assert look(rules, Shown(0.2, "committing", 8)).number == 8
    assert look(rules, Shown(0.3, None)).number == 0


Event = tuple[Literal["open", "committing"], int]


def messages(ended: int) -> list[Event]:
    """So many whole messages, one right after the other."""
    return [event for n in range(1, ended + 1) for event in (("open", 2 * n - 1), ("committing", 2 * n))]


@pytest.mark.parametrize(
    ("shown", "busy"),
    [
        (messages(1), False),
        (messages(BUSY_AFTER - 1), False),
        ([*messages(BUSY_AFTER - 1), ("open", 100)], False),
        (messages(BUSY_AFTER), True),
        ([("committing", n) for n in range(1, BUSY_AFTER + 1)], True),
        ([("open", 1)] * 2 * BUSY_AFTER, False),
        ([("open", n) for n in range(1, BUSY_AFTER + 2)], True),
    ],
    ids=["one", "one too few", "the last begins", "the last ends", "ends only", "one long one", "recipients refused"],
)
def test_a_busy_session(shown: list[Event], busy: bool) -> None:
    """A session is busy once so many messages have passed without a pause, also where none comes to its end."""
    rules = Stragglers(SETTLE)
    found = [look(rules, Shown(0.1 * turn, stage, number)) for turn, (stage, number) in enumerate(shown)]
    assert found[-1].busy is busy


def test_a_message_about_to_be_answered() -> None:
    """While a message has ended and its answer is not out, the client's pause is near; before and after it is not."""
    rules = Stragglers(SETTLE)
    assert not look(rules, Shown(0.0, "open", 1)).ending
    assert look(rules, Shown(0.1, "committing", 2)).ending
    assert not look(rules, Shown(0.2, "committing", 2, to_client=50)).ending


def test_how_long_it_has_been_idle() -> None:
    """Idleness is counted from the first look that shows it, and starts again with each message."""
    rules = Stragglers(SETTLE)
    shown = [Shown(0.0, None), Shown(1.0, None), Shown(2.0, "open", 1), Shown(3.0, None), Shown(3.5, None)]
    assert [round(look(rules, one).idle_for, 3) for one in shown] == [0, 1, 0, 0, 0.5]


@pytest.mark.parametrize(
    ("age", "certain"),
    [(1100.0, False), (1000.5, False), (999.5, False), (998.5, True), (1.0, True)],
    ids=["older", "older by rounding", "perhaps older", "younger", "new"],
)
def test_a_session_from_before_the_gate(age: float, certain: bool) -> None:
    """A session that may be older than the gate, by the switch's whole seconds, is unknown and not idle."""
    found = look(Stragglers(SETTLE), Shown(0.0, None), session_age=age)
    assert found.standing == ("idle" if certain else "unknown")


def test_a_session_of_a_gate_that_was_started_again_is_unknown() -> None:
    """A restart moves ``since`` up: what the gate does not know of a session from before is not "nothing"."""
    session = Session(id="0x1", client="192.0.2.7:40001", member="mx1", age=100)
    gate = GateReading(closed=False, since=SINCE, sees_transactions=True)
    rules = Stragglers(SETTLE)
    assert rules.look(0.0, 0.0, NOW, [session], {"mx1": gate})[0].standing == "idle"
    anew = gate.model_copy(update={"since": NOW})
    assert rules.look(1.0, 1.0, NOW + 1, [session], {"mx1": anew})[0].standing == "unknown"


def test_a_session_that_the_gate_was_asked_about_is_under_it() -> None:
    """However old it is."""
    session = Session(id="0x1", client="192.0.2.7:40001", member="mx1", age=9999)
    seen = {"192.0.2.7:40001": Transaction(stage="open", at=NOW, age=0, number=1)}
    gate = GateReading(closed=False, since=SINCE, sees_transactions=True, transactions=seen)
    assert under_gate(session, gate, NOW)
    assert not under_gate(session, gate.model_copy(update={"transactions": {}}), NOW)


def test_a_member_without_a_gate_is_blind() -> None:
    """Where nobody can be asked, silence is what is left."""
    session = Session(id="0x1", client="192.0.2.7:40001", member="mx1", age=1)
    rules = Stragglers(SETTLE)
    assert rules.look(0.0, 0.0, NOW, [session], {})[0].standing == "unknown"
    assert rules.look(5.0, 5.0, NOW, [session], {})[0].standing == "idle"


def test_a_session_that_is_gone_is_forgotten() -> None:
    """Another one from the same client's port begins with a clean sheet."""
    rules = Stragglers(SETTLE)
    look(rules, Shown(0.0, "committing", 2, 40))
    look(rules, Shown(0.1, "committing", 4, 90))
    rules.look(0.2, 0.2, NOW, [], {})
    assert not look(rules, Shown(0.3, "committing", 6, 10)).busy


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[Shown, bool]]:
    """Any life of a session as looks show it; and whether the answer to its last message is still to come."""
    looks: list[tuple[Shown, bool]] = []
    number, sent, stage, pending, at = 0, 0, None, False, 0.0
    for _ in range(draw(st.integers(1, 25))):
        at += draw(st.sampled_from([0.1, 0.2, 0.3]))
        event = draw(st.sampled_from(["nothing", "mail", "end", "answer", "noop", "bytes"]))
        if event == "mail" and not pending:
            number, stage, sent = number + 1, "open", sent + 20
        elif event == "end" and stage == "open":
            number, stage, pending = number + 1, "committing", True
        elif event == "answer" and pending and looks and looks[-1][1]:  # withheld until after a look showed its end
            pending, sent = False, sent + 40
        elif event == "noop" and not pending:
            sent += 20
        age = draw(st.sampled_from([0.0, 1.0])) if stage == "committing" else 0.0
        looks.append((Shown(at, stage, number, sent, age=age), pending))  # type: ignore[arg-type]
    return looks


@given(life=lives())
def test_never_before_the_answer(life: list[tuple[Shown, bool]]) -> None:
    """Whatever a session does: while the end of a message has been seen and its answer is not out, it is not idle."""
    rules = Stragglers(SETTLE)
    for shown, pending in life:
        found = look(rules, shown)
        assert not (pending and found.standing == "idle")
        assert not (shown.stage == "open" and found.standing == "idle")
