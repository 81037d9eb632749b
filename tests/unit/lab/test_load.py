"""The clients: what they send again, what they count, and how they pause."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from orchestrator.lab.ledger import Ledger
from orchestrator.lab.load import Load
from orchestrator.lab.profiles import Behaviour
from orchestrator.lab.smtp_session import SmtpSession

from .mail_server import MailServer, nobody, run_quickly

EACH_SECOND = Behaviour(gap=(1.0, 1.0), in_step=True)
Connect = Callable[[], Awaitable[SmtpSession]]


async def send(connect: Connect, seconds: float, manner: Behaviour = EACH_SECOND) -> Ledger:
    """The ledger of one client that sends for some time, and is then paused until it is quiet."""
    load = Load(connect, [manner], rate=1000)
    work = asyncio.ensure_future(load.run())
    load.resume()
    await asyncio.sleep(seconds)
    load.pause()
    await load.quiet()
    ledger = load.book.ledger(load.sessions)
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return ledger


def ledger_after(connect: Connect, seconds: float, manner: Behaviour = EACH_SECOND) -> Ledger:
    """As ``send``, without waiting for it."""
    return run_quickly(lambda: send(connect, seconds, manner))


def test_many_messages_go_over_one_session() -> None:
    """A persistent client connects once; each message has an id of its own."""
    server = MailServer()
    ledger = ledger_after(server.connect, 4.5)
    assert (ledger.accepted, ledger.sessions, len(server.open)) == (5, 1, 1)
    assert len(set(server.texts)) == 5
    assert ledger.hard_errors == ledger.transactions_cut == 0


def test_421_at_mail_moves_the_client_and_cuts_nothing() -> None:
    """The client connects again and sends the same message; that is a polite end."""
    server = MailServer({"MAIL": ["421 4.3.2 moving"]})
    ledger = ledger_after(server.connect, 0.9)
    assert (ledger.accepted, ledger.replies_421, ledger.transactions_cut, ledger.hard_errors) == (1, 1, 0, 0)
    assert len(server.open) == 2


@pytest.mark.parametrize("verb", ["RCPT", "DATA", "."])
def test_a_connection_lost_in_a_transaction_is_a_cut(verb: str) -> None:
    """From the 250 to MAIL to the final reply, a lost connection cuts the transaction; the message is sent again."""
    server = MailServer({verb: [None]})
    ledger = ledger_after(server.connect, 0.9)
    assert (ledger.accepted, ledger.transactions_cut, ledger.hard_errors) == (1, 1, 1)


def test_a_connection_lost_before_mail_is_answered_cuts_nothing() -> None:
    """There is no transaction before the server has accepted MAIL (RFC 5321, 3.3); the client meets an error."""
    server = MailServer({"MAIL": [None]})
    ledger = ledger_after(server.connect, 0.9)
    assert (ledger.accepted, ledger.transactions_cut, ledger.hard_errors) == (1, 0, 1)


def test_what_was_not_acknowledged_is_sent_again_with_the_same_id() -> None:
    """No 250 after the final dot: the server has the text, and gets it once more. That is how duplicates arise."""
    server = MailServer({".": [None]})
    ledger_after(server.connect, 0.9)
    first, second = server.texts
    assert first == second


def test_what_was_acknowledged_is_never_sent_again() -> None:
    """A session that ends after the 250 costs nothing."""
    server = MailServer()

    async def work() -> Ledger:
        asyncio.get_running_loop().call_later(0.5, lambda: server.open[0].hang_up())
        return await send(server.connect, 1.5)

    ledger = run_quickly(work)
    assert (ledger.accepted, ledger.idle_closes, ledger.hard_errors, ledger.transactions_cut) == (2, 1, 0, 0)
    assert len(set(server.texts)) == len(server.texts) == 2


def test_a_session_that_ends_while_the_load_is_paused_is_no_cut() -> None:
    """A client that waits for its turn had no transaction open."""
    server = MailServer()

    async def work() -> Load:
        load = Load(server.connect, [EACH_SECOND])
        running = asyncio.ensure_future(load.run())
        load.resume()
        await asyncio.sleep(0.5)
        load.pause()
        await asyncio.sleep(5)
        server.open[0].hang_up()
        await asyncio.sleep(1)
        load.resume()
        await asyncio.sleep(0.9)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return load

    ledger = run_quickly(work).book.ledger(sessions=0)
    assert (ledger.accepted, ledger.idle_closes, ledger.hard_errors, ledger.transactions_cut) == (2, 1, 0, 0)


def test_an_error_reply_is_a_hard_error_and_the_message_is_sent_again() -> None:
    """451 in a transaction is neither good nor polite."""
    ledger = ledger_after(MailServer({"RCPT": ["451 4.3.5 try later"]}).connect, 0.9)
    assert (ledger.accepted, ledger.transactions_cut, ledger.hard_errors) == (1, 1, 1)


def test_no_server_is_counted_apart() -> None:
    """Attempts that meet nobody are no errors of a session."""
    servers = [nobody, nobody, MailServer().connect]
    ledger = ledger_after(lambda: servers.pop(0)(), 0.9)
    assert (ledger.accepted, ledger.failed_connects, ledger.hard_errors) == (1, 2, 0)


def test_a_client_with_a_slow_data_takes_its_time() -> None:
    """6.5 s of DATA are 6.5 s in flight, and a pause waits for their end."""

    async def work() -> float:
        began = asyncio.get_running_loop().time()
        slow = Behaviour(gap=(1, 1), data_seconds=6.5, in_step=True)
        assert (await send(MailServer().connect, 1.0, slow)).accepted == 1
        return asyncio.get_running_loop().time() - began

    assert run_quickly(work) == pytest.approx(6.5, abs=0.1)


def test_a_noop_client_sends_no_message() -> None:
    """It only keeps its session busy."""
    server = MailServer()
    ledger = ledger_after(server.connect, 5, Behaviour(gap=(1, 1), noop_only=True, in_step=True))
    assert (ledger.accepted, ledger.sessions) == (0, 1)
    assert set(server.heard) == {"NOOP"}


def test_all_clients_together_keep_to_the_rate() -> None:
    """A hundred eager clients send no more than they may."""

    async def work() -> int:
        load = Load(MailServer().connect, [Behaviour(gap=(0, 0.01))] * 100, rate=50)
        running = asyncio.ensure_future(load.run())
        load.resume()
        await asyncio.sleep(10)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return load.book.ledger(sessions=0).accepted

    assert 440 <= run_quickly(work) <= 501


def test_a_reset_leaves_what_is_under_way_to_the_old_ledger() -> None:
    """A message that was begun before the reset is not accepted in the new ledger."""

    async def work() -> Load:
        slow = Behaviour(gap=(100, 100), data_seconds=5, in_step=True)
        load = Load(MailServer().connect, [slow])
        running = asyncio.ensure_future(load.run())
        load.resume()
        await asyncio.sleep(1)
        load.book = type(load.book)()
        await asyncio.sleep(10)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        return load

    assert run_quickly(work).book.ledger(sessions=0).accepted == 0
