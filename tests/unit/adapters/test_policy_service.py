"""The gate service's decisions, without sockets and with a clock of our own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.adapters.policy_service import MOVING, GateState, PolicyService, StateFile, TransactionTable
from orchestrator.errors import RefusedError

DUNNO = "DUNNO"


@dataclass
class Bench:
    """A service, its clock, and its timers, which go off when the clock passes them."""

    folder: Path
    clock: float = 1000.0
    timers: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service = self.restart()

    def restart(self) -> PolicyService:
        """The service as a new process of it starts."""
        self.service = PolicyService(
            StateFile(self.folder / "state"), self.later, now=lambda: self.clock, moment=lambda: self.clock
        )
        return self.service

    def later(self, seconds: float, then: Callable[[], None]) -> None:
        """Keep a timer."""
        self.timers.append((self.clock + seconds, then))

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock += seconds
        due = [then for at, then in self.timers if at <= self.clock]
        self.timers = [timer for timer in self.timers if timer[0] > self.clock]
        for then in due:
            then()

    def ask(self, state: str, client: str = "192.0.2.7:1", sender: str = "a@b", asker: int = 1) -> list[str]:
        """Ask as Postfix does; the list gets the action, at once or later."""
        address, _, port = client.rpartition(":")
        lines = {"request": "smtpd_access_policy", "protocol_state": state, "sender": sender}
        lines |= {"client_address": address, "client_port": port, "instance": "a=b"}
        answers: list[str] = []
        request = "".join(f"{name}={value}\n" for name, value in lines.items())
        self.service.policy(request.encode(), asker, lambda reply: answers.append(said(reply)))
        return answers

    def tell(self, request: object) -> Any:
        """What the operator gets back."""
        return json.loads(self.service.control(json.dumps(request).encode()))

    def known(self) -> dict[str, list[Any]]:
        """The transactions."""
        found: dict[str, list[Any]] = self.tell({"do": "read"})["transactions"]
        return found


def said(reply: bytes) -> str:
    """The action of a reply, which ends as the protocol wants."""
    assert reply.startswith(b"action=")
    assert reply.endswith(b"\n\n")
    return reply.decode()[7:-2]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A service that has just started."""
    return Bench(tmp_path)


def test_an_open_gate_lets_mail_pass_and_remembers_it(bench: Bench) -> None:
    """At MAIL the transaction is open, at the end of the data committing, each with its own number."""
    assert bench.ask("MAIL") == [DUNNO]
    assert bench.known() == {"192.0.2.7:1": ["open", 1000.0, 1000.0, 1]}
    bench.wait(2)
    assert bench.ask("END-OF-MESSAGE") == [DUNNO]
    assert bench.known() == {"192.0.2.7:1": ["committing", 1002.0, 1002.0, 2]}


def test_a_closed_gate_answers_421_at_mail_and_nothing_else(bench: Bench) -> None:
    """The null sender is refused too; every other state passes, so that an open transaction can end."""
    bench.tell({"do": "close"})
    assert bench.ask("MAIL") == bench.ask("MAIL", sender="") == [MOVING]
    for state in ("CONNECT", "EHLO", "RCPT", "DATA", "END-OF-MESSAGE", "VRFY", "ETRN", ""):
        assert bench.ask(state) == [DUNNO]


def test_spared_senders_pass_whatever_their_case(bench: Bench) -> None:
    """Only the whole address counts; opening forgets the list."""
    assert bench.tell({"do": "close", "spare": ["Probe@Example.com"]})["spare"] == ["probe@example.com"]
    assert bench.ask("MAIL", sender="PROBE@example.COM") == [DUNNO]
    assert bench.ask("MAIL", sender="other@example.com") == bench.ask("MAIL", sender="example.com") == [MOVING]
    assert bench.tell({"do": "open"})["spare"] == []


def test_a_request_that_is_none_passes(bench: Bench) -> None:
    """What is not an access policy request gets DUNNO, also while closed: the gate never stands in the way."""
    bench.tell({"do": "close"})
    answers: list[bytes] = []
    for request in (b"", b"protocol_state=MAIL", b"request=other\nprotocol_state=MAIL", b"\xff\x00=\n==="):
        bench.service.policy(request, 1, answers.append)
    assert answers == [b"action=DUNNO\n\n"] * 4


def test_a_client_without_a_port_is_answered_and_not_remembered(bench: Bench) -> None:
    """Nothing could be joined to such a name."""
    assert bench.ask("MAIL", client="192.0.2.7:unknown") == [DUNNO]
    assert bench.known() == {}


def test_a_restart_keeps_the_state_and_moves_since(bench: Bench) -> None:
    """Closed stays closed with its spared senders; the transactions are gone, which since says."""
    bench.ask("MAIL")
    bench.tell({"do": "close", "spare": ["p@x"]})
    bench.wait(60)
    bench.restart()
    status = bench.tell({"do": "read"})
    assert (status["closed"], status["spare"], status["since"], status["transactions"]) == (True, ["p@x"], 1060.0, {})


def test_closing_and_opening_does_not_move_since(bench: Bench) -> None:
    """The gate has been asked all the time."""
    bench.wait(60)
    bench.tell({"do": "close"})
    assert bench.tell({"do": "open"})["since"] == 1000.0


def test_a_state_that_cannot_be_kept_is_not_taken_on(bench: Bench) -> None:
    """When the state cannot be written the request is refused and the gate stays as it was."""
    (bench.folder / "state").unlink()
    bench.folder.rmdir()
    reply = bench.tell({"do": "close"})
    assert not reply["ok"]
    assert "cannot keep the gate's state" in reply["error"]
    assert bench.ask("MAIL") == [DUNNO]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"closed": true}', '{"closed": true, "spare": "x"}'])
def test_a_broken_state_file_stops_the_start(tmp_path: Path, text: str) -> None:
    """Nobody can tell whether the gate should be closed: say so instead of guessing."""
    (tmp_path / "state").write_text(text)
    with pytest.raises(RefusedError, match="cannot tell whether the gate is closed"):
        Bench(tmp_path)


def test_the_state_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """What is written is read back, and nothing is left beside it."""
    state = GateState(closed=True, spare=("a@b",))
    StateFile(tmp_path / "state").write(state)
    assert StateFile(tmp_path / "state").read() == state
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize(
    "request_",
    [
        None, [], 7, {}, {"do": "explode"}, {"do": "close", "spare": "x"}, {"do": "close", "spare": [1]},
        {"do": "close", "spare": ["x"] * 2000}, {"do": "turn-away"}, {"do": "turn-away", "client": 1, "number": 2},
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_changes_nothing(bench: Bench, request_: object) -> None:
    """It gets an error that says so."""
    reply = bench.tell(request_)
    assert not reply["ok"]
    assert reply["error"].startswith("cannot do what was asked")
    assert not bench.tell({"do": "read"})["closed"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=st.binary(max_size=300) | st.just(b"[" * 100_000))
def test_no_bytes_at_all_break_the_service(bench: Bench, line: bytes) -> None:
    """Whatever arrives, the operator gets one line of JSON and Postfix gets an action."""
    reply = bench.service.control(line)
    assert reply.count(b"\n") == 1
    assert json.loads(reply)["ok"] in (True, False)
    answers: list[bytes] = []
    bench.service.policy(line, 1, answers.append)
    assert len(answers) == 1


def test_turning_a_client_away_reaches_only_its_next_mail(bench: Bench) -> None:
    """One 421, after which Postfix hangs up: the same address and port may come again."""
    bench.ask("MAIL")
    assert bench.tell({"do": "turn-away", "client": "192.0.2.7:1", "number": 1})["turned_away"]
    assert bench.ask("END-OF-MESSAGE") == [DUNNO]
    assert bench.ask("MAIL", client="192.0.2.7:2") == [DUNNO]
    assert bench.ask("MAIL") == [MOVING]
    assert bench.ask("MAIL") == [DUNNO]


@pytest.mark.parametrize(("number", "turned_away"), [(1, False), (2, True), (0, False), (None, True)])
def test_a_client_is_turned_away_only_at_the_event_that_was_seen(
    bench: Bench, number: int | None, turned_away: bool
) -> None:
    """Another number says that something has happened since; none at all asks for nothing."""
    bench.ask("MAIL")
    bench.ask("END-OF-MESSAGE")
    assert bench.tell({"do": "turn-away", "client": "192.0.2.7:1", "number": number})["turned_away"] is turned_away
    assert bench.ask("MAIL") == [MOVING if turned_away else DUNNO]


def test_number_nought_means_a_client_without_transactions(bench: Bench) -> None:
    """A silent session can be turned away on the condition that it has stayed silent."""
    assert bench.tell({"do": "turn-away", "client": "192.0.2.7:1", "number": 0})["turned_away"]
    assert bench.ask("MAIL") == [MOVING]


def test_opening_takes_everybody_back(bench: Bench) -> None:
    """Also when the gate itself had never been closed."""
    bench.tell({"do": "turn-away", "client": "192.0.2.7:1", "number": None})
    bench.tell({"do": "open"})
    assert bench.ask("MAIL") == [DUNNO]


def test_a_watched_message_is_answered_at_the_second_look(bench: Bench) -> None:
    """The first look shows its end, and only with the second its 250 may go out."""
    bench.tell({"do": "look"})
    answers = bench.ask("END-OF-MESSAGE")
    bench.wait(0.1)
    assert bench.tell({"do": "look"})["transactions"]["192.0.2.7:1"][0] == "committing"
    assert answers == []
    bench.wait(0.1)
    bench.tell({"do": "look"})
    assert answers == [DUNNO]


def test_a_watched_message_waits_less_than_half_a_second(bench: Bench) -> None:
    """Without further looks it goes on by itself, once, and later messages do not wait at all."""
    bench.tell({"do": "look"})
    answers = bench.ask("END-OF-MESSAGE")
    bench.wait(0.4)
    assert answers == []
    bench.wait(0.09)
    assert answers == [DUNNO]
    assert bench.ask("END-OF-MESSAGE") == [DUNNO]


def test_reading_is_not_watching(bench: Bench) -> None:
    """A read delays nobody."""
    bench.tell({"do": "read"})
    assert bench.ask("END-OF-MESSAGE") == [DUNNO]


def test_an_smtpd_that_serves_another_client_has_ended_the_one_before(bench: Bench) -> None:
    """Each connection stands for a process with one session; a client that another process told of since stays."""
    bench.ask("MAIL", client="192.0.2.7:1", asker=1)
    bench.ask("MAIL", client="192.0.2.7:2", asker=2)
    bench.ask("MAIL", client="192.0.2.7:3", asker=1)
    assert list(bench.known()) == ["192.0.2.7:2", "192.0.2.7:3"]
    bench.ask("MAIL", client="192.0.2.7:3", asker=2)
    bench.ask("MAIL", client="192.0.2.7:4", asker=1)
    assert list(bench.known()) == ["192.0.2.7:3", "192.0.2.7:4"]


def test_a_lost_connection_forgets_nothing(bench: Bench) -> None:
    """The smtpd process may go on over a new connection, with the transaction still open."""
    bench.ask("MAIL", asker=1)
    bench.service.table.leave(1)
    assert list(bench.known()) == ["192.0.2.7:1"]


def test_silent_clients_are_forgotten(bench: Bench) -> None:
    """An entry goes two hours after its last event; one with a later event stays."""
    bench.ask("MAIL", client="192.0.2.7:1", asker=1)
    bench.ask("MAIL", client="192.0.2.7:2", asker=2)
    bench.wait(7000)
    bench.ask("END-OF-MESSAGE", client="192.0.2.7:1", asker=1)
    bench.wait(300)
    assert list(bench.known()) == ["192.0.2.7:1"]


def test_a_full_table_says_that_it_has_forgotten(bench: Bench) -> None:
    """When a client must be forgotten that may still be there, since moves up: older sessions are unknown now."""
    bench.service.table = TransactionTable(keep_at_most=2)
    for number in (1, 2):
        bench.ask("MAIL", client=f"192.0.2.7:{number}", asker=number)
    bench.wait(5)
    assert bench.tell({"do": "read"})["since"] == 1000.0
    bench.ask("MAIL", client="192.0.2.7:3", asker=3)
    assert bench.tell({"do": "read"})["since"] == 1005.0
    assert list(bench.known()) == ["192.0.2.7:2", "192.0.2.7:3"]
