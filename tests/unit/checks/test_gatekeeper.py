"""The gatekeeper measures as long as a check says, or as its question needs, and no longer."""

from __future__ import annotations

import asyncio
import random

import pytest

from orchestrator.checks.gate import HEALTH_TRANSACTIONS, Gatekeeper
from orchestrator.errors import Fenced
from orchestrator.model.check import Check, Judgement, Verdict

from .world import (
    INVENTORY,
    FakeMail,
    FakeOutside,
    FakeSwitch,
    LoopClock,
    accepted,
    delivery_check,
    hung,
    no_port,
    reading,
    refused,
    run,
    sessions_check,
    smtp_check,
)

PASS, FAIL, UNKNOWN = Judgement.PASS, Judgement.FAIL, Judgement.UNKNOWN
ESCAPE = smtp_check(detect={"failure_rate": "2%", "confidence": "99.9%", "false_alarms": "0.1%"})
FLOWS = smtp_check(over="30s", expect={"success_rate": ">= 99.9%", "p99": "<= 500ms"})
SILENT = sessions_check(**{"for": "3s"}, expect={"sessions": "== 0"})


def judged(check: Check, outside: FakeOutside, told: list[str] | None = None) -> tuple[Verdict, float]:
    """The verdict, and the seconds that it took."""

    async def work() -> tuple[Verdict, float]:
        keeper = Gatekeeper({"c": check}, outside, LoopClock())
        verdict = await keeper.judge("c", (told if told is not None else []).append)
        return verdict, LoopClock().monotonic()

    return run(work())


def test_a_good_path_is_known_good_after_360_probes() -> None:
    """A detection stops as early as the test decides, and leaves nothing under way."""
    mail = FakeMail()
    verdict, _ = judged(ESCAPE, FakeOutside(mail))
    assert (verdict.judgement, verdict.samples) == (PASS, 360)
    assert len(mail.attempts) < 360 + 8
    assert mail.under_way == 0


def test_a_dead_path_is_known_bad_after_one_round_of_timeouts() -> None:
    """Three timeouts that run side by side decide."""
    verdict, took = judged(ESCAPE, FakeOutside(FakeMail(lambda number, attempt: hung())))
    assert (verdict.judgement, verdict.samples) == (FAIL, 3)
    assert took == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_two_percent_of_blackholed_flows_are_found_though_successes_come_back_first(seed: int) -> None:
    """While failures hang for 5s, hundreds of successes come in; the answer is still 'bad', for every seed."""
    dice = random.Random(seed)
    fates = [dice.random() < 0.02 for _ in range(2000)]
    mail = FakeMail(lambda number, attempt: hung() if fates[number] else accepted(0.02))
    verdict, _ = judged(ESCAPE, FakeOutside(mail))
    assert verdict.judgement is FAIL
    assert "no banner within 5s" in verdict.reason


def test_a_detection_on_a_broken_machine_ends_as_unknown() -> None:
    """Where no probe can be made the test ends soon, and does not pass."""
    verdict, took = judged(ESCAPE, FakeOutside(FakeMail(lambda number, attempt: no_port())))
    assert verdict.judgement is UNKNOWN
    assert "cannot assign requested address" in verdict.reason
    assert took < 1


def test_a_detection_that_runs_out_of_its_time_is_unknown() -> None:
    """A stated ``over`` bounds a detection too; an unfinished test does not pass."""
    verdict, took = judged(ESCAPE.model_copy(update={"over": 2.0}), FakeOutside(FakeMail(lambda n, a: accepted(1.0))))
    assert verdict.judgement is UNKNOWN
    assert took < 3.1


def test_a_window_lasts_as_long_as_it_says() -> None:
    """All samples of the window are judged, when it is over."""
    verdict, took = judged(FLOWS, FakeOutside())
    assert verdict.judgement is PASS
    assert took == pytest.approx(30, abs=0.2)
    assert verdict.samples == pytest.approx(8 * 30 / 0.05, rel=0.05)


def test_a_window_without_over_lasts_ten_seconds() -> None:
    """The default window."""
    _, took = judged(smtp_check(expect={"p50": "<= 1s"}), FakeOutside())
    assert took == pytest.approx(10, abs=0.2)


def test_a_hopeless_window_is_given_up_early() -> None:
    """Where nothing works, five failures are enough to say so."""
    verdict, took = judged(FLOWS, FakeOutside(FakeMail(lambda number, attempt: refused())))
    assert verdict.judgement is FAIL
    assert verdict.reason.endswith("5 failed: 421 at MAIL FROM (5)")
    assert took < 1


def test_a_window_with_rare_failures_is_measured_to_its_end() -> None:
    """One failure in 200 misses the expectation, and the verdict rests on the whole window."""
    mail = FakeMail(lambda number, attempt: refused() if number % 200 == 100 else accepted())
    verdict, took = judged(FLOWS, FakeOutside(mail))
    assert verdict.judgement is FAIL
    assert took >= 30


def test_delivery_is_judged_over_a_window() -> None:
    """Messages that arrive late miss a p99, those that are lost a success rate."""
    check = delivery_check(over="30s", expect={"success_rate": ">= 99.9%", "p99": "<= 10s"})
    assert judged(check, FakeOutside(FakeMail(arrives_after=1.0)))[0].passed
    late, _ = judged(check, FakeOutside(FakeMail(arrives_after=12.0)))
    assert (late.judgement, late.reason) == (FAIL, "p99 12s (expected <= 10s)")
    assert judged(check, FakeOutside(FakeMail(arrives_after=None)))[0].judgement is FAIL


def test_for_looks_until_its_time_is_over_and_once_more() -> None:
    """The last look begins when the time is over: what comes back in the last instant is seen."""
    empty = {name: reading(sessions=0) for name in ("mx1", "mx2", "mx3", "mx4")}
    verdict, took = judged(SILENT, FakeOutside(switch=FakeSwitch(lambda at: empty)))
    assert (verdict.judgement, verdict.samples, took) == (PASS, 7, 3.0)
    busy = {**empty, "mx1": reading(sessions=1)}
    verdict, _ = judged(SILENT, FakeOutside(switch=FakeSwitch(lambda at: busy if at >= 3 else empty)))
    assert verdict.judgement is FAIL


def test_for_stops_at_the_first_look_that_does_not_hold() -> None:
    """A look that fails or cannot be made ends the check at once."""
    busy = {name: reading(sessions=2) for name in ("mx1", "mx2")}
    failed, took = judged(SILENT, FakeOutside(switch=FakeSwitch(lambda at: busy)))
    assert (failed.judgement, failed.reason, took) == (FAIL, "sessions 4 (expected == 0) at look 1", 0.0)
    blind, took = judged(SILENT, FakeOutside(switch=FakeSwitch(lambda at: None)))
    assert (blind.judgement, took) == (UNKNOWN, 0.0)
    assert "no answer within 2s" in blind.reason


def test_progress_is_told_once_a_second_at_most() -> None:
    """A detection says how many of about how many, a window how long of how long."""
    told: list[str] = []
    _, took = judged(ESCAPE, FakeOutside(FakeMail(lambda number, attempt: accepted(0.2))), told)
    assert 2 <= len(told) <= took
    assert told[0].startswith("c: ")
    assert told[0].endswith("of about 430 probes, 0 failed")
    told.clear()
    judged(FLOWS, FakeOutside(), told)
    assert 25 <= len(told) <= 30
    assert told[0].startswith("c: 1s of 30s, ")


def test_a_cancelled_check_leaves_nothing_under_way() -> None:
    """A run that stops in the middle of a check leaves no connection behind."""
    mail = FakeMail(lambda number, attempt: hung())

    async def stop_early() -> None:
        task = asyncio.create_task(Gatekeeper({"c": FLOWS}, FakeOutside(mail), LoopClock()).judge("c"))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(stop_early())
    assert mail.under_way == 0


def test_what_stops_a_run_comes_out_as_it_is() -> None:
    """When the listener to progress is fenced off, the check ends with that, bare, and nothing under way."""
    mail = FakeMail(lambda number, attempt: accepted(0.5))

    def fenced(_: str) -> None:
        raise Fenced("another orchestrator holds the run")

    with pytest.raises(Fenced):
        run(Gatekeeper({"c": FLOWS}, FakeOutside(mail), LoopClock()).judge("c", fenced))
    assert mail.under_way == 0


def healthy(outside: FakeOutside) -> Verdict:
    """What is said about the health of ord."""
    return run(Gatekeeper({}, outside, LoopClock()).healthy("smtp", "ord"))


def test_a_healthy_site_passes_some_transactions_for_each_member() -> None:
    """They take the site's own path, and every one succeeds."""
    mail = FakeMail()
    assert healthy(FakeOutside(mail)).passed
    assert [attempt.address for attempt in mail.attempts] == ["ord:25"] * 2 * HEALTH_TRANSACTIONS
    assert not any(attempt.starttls for attempt in mail.attempts)


def test_health_includes_tls_where_the_inventory_can_verify_it() -> None:
    """With a CA file in the inventory the transactions are made with STARTTLS."""
    pool = INVENTORY.pools["smtp"]
    mail_of_pool = pool.test_mail.model_copy(update={"ca_file": "ca.pem"})
    inventory = INVENTORY.model_copy(update={"pools": {"smtp": pool.model_copy(update={"test_mail": mail_of_pool})}})
    mail = FakeMail()
    assert healthy(FakeOutside(mail, inventory=inventory)).passed
    assert all(attempt.starttls for attempt in mail.attempts)


def test_one_member_that_does_not_work_makes_the_site_unhealthy() -> None:
    """One failed transaction is enough, with its reason."""
    mail = FakeMail(lambda number, attempt: refused("451 at RCPT TO") if number == 5 else accepted())
    verdict = healthy(FakeOutside(mail))
    assert verdict.judgement is FAIL
    assert verdict.reason == "5 of 6 transactions succeeded; 1 failed: 451 at RCPT TO (1)"


def test_health_listens_to_the_switch() -> None:
    """A member that the switch finds down is not healthy; in maintenance it is not checked, so that says nothing."""
    up = reading()
    down = FakeOutside(switch=FakeSwitch(lambda at: {"mx1": up, "mx2": reading(up=False)}))
    assert healthy(down).reason == "the switch finds mx2 down"
    assert healthy(down).judgement is FAIL
    assert healthy(FakeOutside(switch=FakeSwitch(lambda at: {"mx1": up, "mx2": reading(0, "maint", up=False)}))).passed
    assert healthy(FakeOutside(switch=FakeSwitch(lambda at: {"mx1": up}))).reason == "the switch has no mx2"
    assert healthy(FakeOutside(switch=FakeSwitch(lambda at: None))).judgement is UNKNOWN


def test_health_is_unknown_where_we_cannot_probe() -> None:
    """Our own trouble neither passes nor condemns a site."""
    assert healthy(FakeOutside(FakeMail(lambda number, attempt: no_port()))).judgement is UNKNOWN
