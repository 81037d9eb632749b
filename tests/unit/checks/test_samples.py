"""How samples are collected: in order, at a bounded pace, and without leaving anything behind."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.checks.delivery import DeliveryProbe
from orchestrator.checks.samples import GAP_AFTER_FAILURE, Pace, collect
from orchestrator.checks.sessions import SessionsProbe
from orchestrator.checks.smtp import SmtpProbe
from orchestrator.model.check import Aim, DeliveryArguments, Sample, SmtpArguments

from .world import FakeMail, FakeOutside, FakeSwitch, LoopClock, accepted, hung, no_port, reading, refused, run

POOL, ORD = Aim(pool="smtp"), Aim(pool="smtp", site="ord")


def probe(mail: FakeMail, arguments: SmtpArguments | None = None, aim: Aim = POOL) -> SmtpProbe:
    """A probe on a mail path."""
    return SmtpProbe(aim, arguments or SmtpArguments(), FakeOutside(mail))


def never(_: Sample) -> bool:
    """No number of samples is enough."""
    return False


def test_samples_come_in_the_order_in_which_they_were_begun() -> None:
    """A probe that hangs holds back what was begun after it, though that was finished long before."""
    mail = FakeMail(lambda number, attempt: hung() if number == 2 else accepted())
    samples = run(collect(probe(mail), Pace(4), LoopClock(), never, seconds=3))
    assert [number for number, sample in enumerate(samples) if not sample.ok] == [2]
    assert len(samples) == len(mail.attempts)


def test_what_is_under_way_when_the_time_is_over_is_waited_for() -> None:
    """Slow failures that were begun in the window are in the samples; nothing is begun later."""
    mail = FakeMail(lambda number, attempt: hung())
    samples = run(collect(probe(mail), Pace(8), LoopClock(), never, seconds=2))
    assert [sample.reason for sample in samples] == ["no banner within 5s"] * 8
    assert mail.cancelled == 0
    assert max(mail.begun_at) < 2


def test_enough_cancels_what_was_begun_later() -> None:
    """As soon as the released samples are enough, nothing is under way any more."""
    mail = FakeMail(lambda number, attempt: accepted() if number == 0 else hung())
    samples = run(collect(probe(mail), Pace(4), LoopClock(), lambda sample: sample.ok))
    assert len(samples) == 1
    assert (mail.under_way, mail.cancelled) == (0, 3)


def test_no_more_workers_than_the_pace_allows() -> None:
    """The concurrency is used, and not exceeded."""
    mail = FakeMail()
    run(collect(probe(mail), Pace(3), LoopClock(), never, seconds=1))
    assert mail.most_under_way == 3


def test_the_rate_of_all_workers_together_is_bounded() -> None:
    """Four workers at 5 a second begin no more than 5 in any second after their first."""
    mail = FakeMail()
    run(collect(probe(mail), Pace(4, per_second=5), LoopClock(), never, seconds=20))
    assert len(mail.attempts) == pytest.approx(100, abs=4)


def test_a_target_that_refuses_at_once_is_not_hammered() -> None:
    """After a failure a worker rests, however quick the failure was."""
    mail = FakeMail(lambda number, attempt: refused(seconds=0.0))
    run(collect(probe(mail), Pace(1), LoopClock(), never, seconds=2))
    assert len(mail.attempts) <= 2 / GAP_AFTER_FAILURE + 1


def test_no_more_samples_than_asked_for() -> None:
    """``most`` bounds the transactions themselves, so that none must be cut."""
    mail = FakeMail()
    assert len(run(collect(probe(mail), Pace(4), LoopClock(), never, most=6))) == 6
    assert (len(mail.attempts), mail.cancelled) == (6, 0)


def test_cancelling_the_collection_cancels_its_probes() -> None:
    """Nothing stays under way when a run stops in the middle of a check."""
    mail = FakeMail(lambda number, attempt: hung(3600))

    async def stop_early() -> None:
        task = asyncio.create_task(collect(probe(mail), Pace(5), LoopClock(), never))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(stop_early())
    assert (mail.under_way, mail.cancelled) == (0, 5)


def test_smtp_aims_at_the_pool_or_at_the_path_of_a_site() -> None:
    """With a site it takes the path that leads there only, else the address of the clients."""
    mail = FakeMail()
    assert run(probe(mail).sample()).where == "vip:25"
    assert run(probe(mail, aim=ORD).sample()).where == "ord:25"


def test_smtp_varies_sources_and_never_repeats_a_message_id() -> None:
    """Sources are taken in turn; ids are unique, and in the sender's domain."""
    mail = FakeMail()
    sources = ("127.0.0.2", "127.0.0.3")
    run(collect(probe(mail, SmtpArguments(sources=sources)), Pace(1), LoopClock(), never, most=5))
    assert [attempt.source_address for attempt in mail.attempts] == [*sources, *sources, sources[0]]
    assert len({attempt.message_id for attempt in mail.attempts}) == 5
    assert all(attempt.message_id.endswith("@lab.example>") for attempt in mail.attempts)


def test_smtp_hands_on_what_the_check_asks_for() -> None:
    """Size, timeout and STARTTLS of the check, envelope of the inventory."""
    mail = FakeMail(lambda number, attempt: accepted(certificate_days=80.0))
    sample = run(probe(mail, SmtpArguments(starttls=True, message_size=65536, timeout=3)).sample())
    attempt = mail.attempts[0]
    assert (attempt.starttls, attempt.size, attempt.timeout) == (True, 65536, 3)
    assert (attempt.sender, attempt.recipient) == ("probe@lab.example", "probe@lab.example")
    assert (sample.ok, sample.seconds, sample.certificate_days) == (True, 0.05, 80.0)


def test_a_probe_that_this_machine_cannot_make_is_broken() -> None:
    """Our own lack of ports is not held against the target."""
    mail = FakeMail(lambda number, attempt: no_port())
    assert run(probe(mail).sample()).broken


def test_delivery_measures_until_the_message_lies_in_the_inbox() -> None:
    """Its time runs from the first packet to the arrival; what was taken is gone from the inbox."""
    mail = FakeMail(arrives_after=2.0)
    sample = run(DeliveryProbe(ORD, DeliveryArguments(), FakeOutside(mail), LoopClock()).sample())
    assert sample.ok
    assert sample.seconds == pytest.approx(2.05, abs=0.2)
    assert mail.attempts[0].address == "ord:25"
    assert mail.inbox == {}


def test_an_accepted_message_that_does_not_arrive_has_failed() -> None:
    """A queue that does not move is found, and the sample says that the message was accepted."""
    mail = FakeMail(arrives_after=None)
    sample = run(DeliveryProbe(POOL, DeliveryArguments(timeout=7), FakeOutside(mail), LoopClock()).sample())
    assert (sample.ok, sample.broken) == (False, False)
    assert sample.reason == "accepted, but not in the inbox within 7s"
    assert sample.seconds == pytest.approx(7, abs=0.3)


def test_delivery_without_an_inbox_is_broken_not_failed() -> None:
    """What our own inventory lacks is not held against the target, and no mail is sent for nothing."""
    mail = FakeMail()
    outside = FakeOutside(mail, has_inbox=False)
    sample = run(DeliveryProbe(POOL, DeliveryArguments(), outside, LoopClock()).sample())
    assert sample.broken
    assert "has no inbox" in sample.reason
    assert mail.attempts == []


def test_a_message_that_is_not_accepted_is_not_waited_for() -> None:
    """The reason of the transaction is the reason of the delivery."""
    mail = FakeMail(lambda number, attempt: refused())
    sample = run(DeliveryProbe(POOL, DeliveryArguments(), FakeOutside(mail), LoopClock()).sample())
    assert (sample.ok, sample.reason) == (False, "421 at MAIL FROM")


@pytest.mark.parametrize(("aim", "count"), [(ORD, 3), (POOL, 10)])
def test_sessions_are_summed_over_the_members_aimed_at(aim: Aim, count: int) -> None:
    """A site's members, or those of all sites."""
    numbers = {"mx1": 1, "mx2": 2, "mx3": 3, "mx4": 4}
    switch = FakeSwitch(lambda at: {name: reading(sessions=number) for name, number in numbers.items()})
    assert run(SessionsProbe(aim, FakeOutside(switch=switch)).sample()).value == count


def test_a_switch_that_cannot_be_read_is_not_zero_sessions() -> None:
    """No answer, or an answer without a member, is a broken sample."""
    for switch in (FakeSwitch(lambda at: None), FakeSwitch(lambda at: {"mx1": reading()})):
        sample = run(SessionsProbe(ORD, FakeOutside(switch=switch)).sample())
        assert (sample.broken, sample.value) == (True, None)
