"""Both gates keep one contract, in front of a real Postfix; then what each of them does beyond it."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.postfix_config import main_cf, policy_lines
from orchestrator.adapters.postfix_queue import PostfixMailQueue
from orchestrator.errors import UnfitError, UnreachableError
from orchestrator.model.inventory import PostfixQueue
from tests.adapters.postfix_bench import (
    BENCHES,
    HERE,
    MOVING,
    PASSED,
    PROBE,
    Bench,
    Client,
    map_bench,
    policy_bench,
    wait_for,
)

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the postfix user can reach, which pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="failover-gate-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module", params=list(BENCHES))
def shared(request: pytest.FixtureRequest, folder: Path) -> Iterator[Bench]:
    """One bench of each kind for the whole contract."""
    with BENCHES[request.param](folder / request.param) as made:
        yield made


@pytest.fixture
def bench(shared: Bench) -> Iterator[Bench]:
    """The bench with an open gate."""
    yield from opened(shared)


@pytest.fixture(scope="module")
def shared_policy(folder: Path) -> Iterator[Bench]:
    """A bench with the policy service, for what only that one does."""
    with policy_bench(folder / "only-policy") as made:
        yield made


@pytest.fixture
def policy(shared_policy: Bench) -> Iterator[Bench]:
    """The policy bench with an open gate and its service running."""
    yield from opened(shared_policy)


def opened(bench: Bench) -> Iterator[Bench]:
    """Open the gate; hang up all clients afterwards."""
    if bench.service is not None and bench.service.process is None:
        bench.service.start()
    bench.open()
    yield bench
    bench.hang_up()


# The contract of both gates


def test_an_open_gate_is_not_noticed(bench: Bench) -> None:
    """While the gate is open, message after message passes on one session."""
    client = bench.client()
    assert [client.send() for _ in range(3)] == [PASSED] * 3
    assert not bench.read().closed


def test_a_session_that_is_open_already_gets_421_at_its_next_mail(bench: Bench) -> None:
    """Closing the gate reaches a session that was there before, and Postfix hangs up after the 421."""
    client = bench.client()
    assert client.send() == PASSED
    bench.close()
    assert client.mail().startswith("421 4.3.2")
    assert client.reply() == ""
    assert bench.read().closed


def test_a_transaction_in_the_middle_of_its_data_completes(bench: Bench) -> None:
    """Closing the gate does not touch a transaction that has passed MAIL FROM: it gets its 250."""
    in_data, before_rcpt = bench.client(source_port=40002), bench.client(source_port=40003)
    for line in ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA"):
        assert in_data.say(line)[:1] in "23"
    assert before_rcpt.mail().startswith(PASSED)
    bench.close()
    assert in_data.say("Subject: hello\r\n\r\nhello\r\n.").startswith(PASSED)
    assert before_rcpt.say("RCPT TO:<b@example.net>").startswith(PASSED)
    assert before_rcpt.say("DATA").startswith("354")
    assert before_rcpt.say("hello\r\n.").startswith(PASSED)
    assert in_data.mail().startswith(MOVING)
    assert before_rcpt.mail().startswith(MOVING)


def test_an_opened_gate_lets_mail_pass_again(bench: Bench) -> None:
    """After the gate is opened, old and new sessions send as if nothing had been."""
    waiting = bench.client()
    bench.close()
    assert bench.client().mail().startswith(MOVING)
    bench.open()
    assert waiting.send() == PASSED
    assert bench.client().send() == PASSED


@pytest.mark.parametrize(
    "sender", ["", "user", "A.User+tag@Sub.Example.ORG", "o'hara@example.org", "other@health.example", "100%@x.example"]
)
def test_every_sender_is_refused(bench: Bench, sender: str) -> None:
    """A closed gate answers 421 to the null sender, to quotes and tags, and to others of a spared sender's domain."""
    bench.close()
    assert bench.client().mail(sender).startswith("421 4.3.2")


@pytest.mark.parametrize("sender", [PROBE, PROBE.upper()])
def test_a_spared_sender_passes_a_closed_gate(bench: Bench, sender: str) -> None:
    """A probe can health-check the drained host: its whole transaction goes through, written in any case."""
    bench.close()
    assert bench.client().send(sender) == PASSED


def test_closing_and_opening_again_changes_nothing(bench: Bench) -> None:
    """Both are idempotent."""
    for closed in (True, True, False, False):
        asyncio.run(bench.driver.set_closed(closed))
        assert bench.read().closed is closed


def test_a_person_works_it_by_hand(bench: Bench) -> None:
    """The commands for a shell close it, but for the probe, and open it again: to Postfix and to us alike."""
    client = bench.client()
    for closed, answer in ((True, MOVING), (False, PASSED)):
        for line in bench.driver.by_hand(closed):
            subprocess.run(["sh", "-c", line], check=True, capture_output=True, cwd="/")
        assert bench.read().closed is closed
        assert bench.client().mail(PROBE).startswith(PASSED)
        assert client.mail().startswith(answer)
        client = bench.client()


def test_since_is_not_before_the_settings_were_written(bench: Bench) -> None:
    """A session is certainly under the gate only when it was opened after main.cf was written."""
    written = (Path(bench.postfix.config) / "main.cf").stat().st_mtime
    assert written <= bench.read().since <= time.time()


def test_flipping_under_load_gives_only_the_two_answers(bench: Bench) -> None:
    """While the gate is closed and opened again and again, MAIL gets 250 or 421, never a lookup error."""
    answers: set[str] = set()
    for flip in range(20):
        asyncio.run(flip_while_mailing(bench, flip % 2 == 0, answers))
    assert answers == {PASSED, MOVING}


async def flip_while_mailing(bench: Bench, closed: bool, answers: set[str]) -> None:
    """Flip the gate while four clients say MAIL as fast as they can."""
    done = asyncio.Event()

    def mailing(port: int) -> None:
        while not done.is_set():
            client = Client(bench.postfix.port, source_port=port)
            answer = PASSED
            while answer == PASSED and not done.is_set():
                answer = client.mail()[:3]
                answers.add(answer)
                if answer == PASSED:
                    client.say("RSET")
            client.close()

    mailers = [asyncio.create_task(asyncio.to_thread(mailing, 41000 + number)) for number in range(4)]
    try:
        await asyncio.sleep(0.02)
        await bench.driver.set_closed(closed)
    finally:
        done.set()
        await asyncio.gather(*mailers)


@pytest.mark.parametrize("kind", list(BENCHES))
def test_a_postfix_without_the_gate_is_unfit_until_the_named_lines_are_in(folder: Path, kind: str) -> None:
    """The error names the host and the exact main.cf lines, which keep what was there; with them the gate is fit."""
    with BENCHES[kind](folder / f"unfit-{kind}") as bench:
        kept = "smtpd_sender_restrictions = reject_non_fqdn_sender, check_sender_access inline:{x@y=OK}\n"
        bench.postfix.write(kept)
        with pytest.raises(UnfitError, match="cannot gate mx1") as unfit:
            bench.read()
        lines = unfit.value.remedy.partition("\n")[2]
        assert "smtpd_delay_reject = no" in lines
        assert "reject_non_fqdn_sender check_sender_access inline:{x@y=OK}" in lines
        bench.postfix.write(lines)
        assert not bench.read().closed


# What the policy service does beyond it


def test_a_dead_service_fails_open_within_two_seconds(policy: Bench) -> None:
    """When the service is gone, also from a closed gate, mail passes: a second at MAIL and one at the end."""
    assert policy.service is not None
    policy.close()
    policy.service.stop(signal.SIGKILL)
    client = policy.client()
    begun = time.monotonic()
    assert client.mail().startswith(PASSED)
    assert time.monotonic() - begun < 1.8
    assert policy.client(source_port=40009).send() == PASSED
    with pytest.raises(UnreachableError, match="cannot reach the gate of mx1"):
        policy.read()


def test_a_hung_service_fails_open_within_two_seconds(policy: Bench) -> None:
    """A service that takes connections and answers nothing delays mail by a second a question and stops none."""
    assert policy.service is not None
    assert policy.service.process is not None
    client = policy.client()
    assert client.send() == PASSED
    policy.service.process.send_signal(signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert client.mail().startswith(PASSED)
        assert time.monotonic() - begun < 1.8
    finally:
        policy.service.process.send_signal(signal.SIGCONT)


def test_a_restart_leaves_a_closed_gate_closed(policy: Bench) -> None:
    """What is closed stays closed over a restart; since moves up, for the transactions were forgotten."""
    assert policy.service is not None
    policy.close()
    before = policy.read()
    assert policy.service.stop() == 0
    policy.service.start()
    after = policy.read()
    assert after.closed
    assert after.since > before.since
    assert policy.client().mail(PROBE).startswith(PASSED)
    assert policy.client(source_port=40010).mail().startswith(MOVING)


@pytest.mark.parametrize("source", ["192.0.2.44", "2001:db8::44"])
def test_transactions_carry_the_name_that_the_switch_gives_the_client(policy: Bench, source: str) -> None:
    """The client of the PROXY header is named address:port, without brackets, as HAProxy's show sess writes src."""
    client = policy.client(source, 5044)
    name = f"{source}:5044"
    assert client.mail().startswith(PASSED)
    opened = policy.read().transactions[name]
    assert opened.stage == "open"
    assert 0 <= opened.age < 5
    client.say("RCPT TO:<b@example.net>")
    client.say("DATA")
    assert client.say("hello\r\n.").startswith(PASSED)
    committing = policy.read().transactions[name]
    assert committing.stage == "committing"
    assert committing.number > opened.number


def test_a_client_is_forgotten_when_its_smtpd_serves_the_next(policy: Bench) -> None:
    """An smtpd process has one session at a time, so what is known is bounded by the processes, not the clients."""
    clients = 30
    for port in range(5050, 5050 + clients):
        client = policy.client("192.0.2.50", port)
        assert client.send() == PASSED
        assert client.say("QUIT").startswith("221")
    known = [name for name in policy.read().transactions if name.startswith("192.0.2.50")]
    assert 1 <= len(known) < clients / 2
    assert known[-1] == f"192.0.2.50:{5050 + clients - 1}"


def test_a_message_that_was_seen_to_end_is_answered_only_after_the_next_look(policy: Bench) -> None:
    """Between the look that first shows a message's end and the next one, its 250 is not sent."""
    look = policy.driver.look
    client = policy.client(source_port=5060)
    assert client.send() == PASSED
    asyncio.run(look())
    client.end_data()
    wait_for(lambda: stage(policy, "192.0.2.7:5060") == "committing")
    begun = time.monotonic()
    asyncio.run(look())
    with pytest.raises(TimeoutError):
        client.reply_within(0.1)
    asyncio.run(look())
    assert client.reply_within(2).startswith(PASSED)
    assert time.monotonic() - begun < 0.4


def test_a_message_is_not_held_when_nobody_looks_any_more(policy: Bench) -> None:
    """A look that no other follows delays a message by less than half a second, and later ones not at all."""
    client = policy.client()
    asyncio.run(policy.driver.look())
    begun = time.monotonic()
    client.end_data()
    assert client.reply().startswith(PASSED)
    assert 0.2 < time.monotonic() - begun < 0.6
    begun = time.monotonic()
    assert client.send() == PASSED
    assert time.monotonic() - begun < 0.2


def test_a_client_turned_away_alone_hears_421_at_its_next_mail(policy: Bench) -> None:
    """One client is turned away between two messages; its open transaction ends well, others notice nothing."""
    busy, other = policy.client(source_port=5070), policy.client(source_port=5071)
    busy.end_data()
    assert asyncio.run(policy.driver.turn_away("192.0.2.7:5070", None))
    assert busy.reply().startswith(PASSED)
    assert busy.mail().startswith("421 4.3.2")
    assert other.send() == PASSED
    assert policy.client(source_port=5070).send() == PASSED
    assert not policy.read().closed


def test_a_client_that_began_anew_is_not_turned_away(policy: Bench) -> None:
    """When another transaction has begun since the look, the answer is no, and the session goes on."""
    client = policy.client(source_port=5080)
    assert client.send() == PASSED
    number = policy.read().transactions["192.0.2.7:5080"].number
    assert client.mail().startswith(PASSED)
    assert not asyncio.run(policy.driver.turn_away("192.0.2.7:5080", number))
    client.say("RSET")
    assert client.send() == PASSED


def stage(bench: Bench, client: str) -> str:
    """The stage of a client's last transaction."""
    return bench.read().transactions[client].stage


def test_a_postfix_without_the_proxy_protocol_is_unfit(folder: Path) -> None:
    """Without the client's own address no transaction can be joined to a session of the switch."""
    with policy_bench(folder / "direct") as bench:
        assert bench.service is not None
        bench.postfix.write(main_cf(policy_lines(f"inet:127.0.0.1:{bench.service.port}")), proxy="")
        with pytest.raises(UnfitError, match="PROXY protocol"):
            bench.read()


# The queue


def test_the_queue_is_counted_and_flushed(folder: Path) -> None:
    """Messages whose transport is deferred lie in the queue until it is opened and flushed; held ones stay."""
    with map_bench(folder / "queue") as bench:
        queue = PostfixMailQueue("mx1", PostfixQueue(driver="postfix", config=bench.postfix.config), HERE)
        config = ["-c", bench.postfix.config]
        subprocess.run(["postconf", *config, "-e", "defer_transports=discard"], check=True)
        subprocess.run(["postfix", *config, "reload"], check=True, capture_output=True)
        client = bench.client()
        assert [client.send() for _ in range(3)] == [PASSED] * 3
        bench.hang_up()
        wait_for(lambda: asyncio.run(queue.depth()).deferred == 3)
        assert asyncio.run(queue.depth()).moving == 3
        subprocess.run(["postconf", *config, "-e", "defer_transports="], check=True)
        subprocess.run(["postfix", *config, "reload"], check=True, capture_output=True)
        asyncio.run(queue.flush())
        wait_for(lambda: asyncio.run(queue.depth()).moving == 0)
