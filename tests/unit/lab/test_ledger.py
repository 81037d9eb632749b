"""What counts as accepted, delivered, lost, duplicated, and how long transactions were open."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.lab.ledger import Book, percentile


@dataclass
class HandClock:
    """A clock that stands until it is set."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time that it was set to."""
        return self.now


def accepted(book: Book, queue_id: str = "Q1") -> str:
    """A message that its client saw 250 for."""
    message = book.issue()
    book.accept(message, queue_id, seconds=0.1)
    return message


def test_a_message_on_its_way_is_in_flight_and_not_lost() -> None:
    """Accepted and not arrived is in flight, with the queue id by which it can be found."""
    book = Book()
    message = accepted(book, "4XYZ")
    ledger = book.ledger(sessions=0)
    assert (ledger.accepted, ledger.delivered, ledger.in_flight, ledger.lost) == (1, 0, 1, 0)
    assert book.waiting == {message: "4XYZ"}


def test_a_message_that_arrives_once_is_clean() -> None:
    """One acceptance and one arrival leave nothing open."""
    book = Book()
    book.arrive(accepted(book))
    ledger = book.ledger(sessions=3)
    assert (ledger.accepted, ledger.delivered, ledger.in_flight, ledger.sessions) == (1, 1, 0, 3)
    assert ledger.clean


def test_a_message_may_arrive_before_its_client_hears_of_it() -> None:
    """The sink can be faster than the 250: the message is then never in flight."""
    book = Book()
    message = book.issue()
    book.arrive(message)
    book.accept(message, "Q1", seconds=0.1)
    ledger = book.ledger(sessions=0)
    assert (ledger.accepted, ledger.delivered, ledger.in_flight, ledger.duplicated) == (1, 1, 0, 0)


def test_what_is_sent_again_after_a_cut_is_a_duplicate() -> None:
    """The first copy arrives though no 250 was seen; the second is the duplicate."""
    book = Book()
    message = book.issue()
    book.arrive(message)
    book.accept(message, "Q2", seconds=0.1)
    book.arrive(message)
    ledger = book.ledger(sessions=0)
    assert (ledger.accepted, ledger.delivered, ledger.duplicated) == (1, 1, 1)
    assert not ledger.clean


def test_lost_is_only_what_was_given_up_and_stays_away() -> None:
    """A message that was given up counts as lost until it arrives after all."""
    book = Book()
    message = accepted(book)
    book.give_up([message])
    assert book.ledger(sessions=0).lost == 1
    book.arrive(message)
    ledger = book.ledger(sessions=0)
    assert (ledger.lost, ledger.delivered, ledger.in_flight) == (0, 1, 0)


def test_messages_of_an_earlier_book_do_not_count() -> None:
    """After a reset the late arrivals from before are ignored."""
    old, new = Book(), Book()
    new.arrive(accepted(old))
    assert new.ledger(sessions=0).delivered == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["accept", "arrive", "give up"])), max_size=40))
def test_accepted_messages_are_never_unaccounted_for(events: list[tuple[int, str]]) -> None:
    """In any order of events, an accepted message is exactly one of arrived, in flight and lost."""
    book = Book()
    messages = [book.issue() for _ in range(5)]
    seen_accepted: set[str] = set()
    arrived: set[str] = set()
    for index, event in events:
        message = messages[index]
        if event == "accept" and message not in seen_accepted:
            book.accept(message, "Q", seconds=0.0)
            seen_accepted.add(message)
        elif event == "arrive":
            book.arrive(message)
            arrived.add(message)
        elif event == "give up":
            book.give_up([message])
    ledger = book.ledger(sessions=0)
    assert ledger.accepted == len(seen_accepted)
    assert ledger.delivered == len(arrived)
    assert ledger.in_flight + ledger.lost == len(seen_accepted - arrived)


def test_the_longest_transaction_in_flight_is_the_floor_of_a_drain() -> None:
    """Only transactions that the site had open at that moment count, by what was left of each."""
    clock = HandClock()
    book = Book(clock)
    over, other_site, short, long = book.begin("ord"), book.begin("iad"), book.begin("ord"), book.begin("ord")
    clock.now = 1001.0
    book.end(over)
    clock.now = 1003.0
    book.end(short)
    clock.now = 1007.5
    book.end(long)
    clock.now = 1020.0
    book.end(other_site)
    late = book.begin("ord")
    clock.now = 1030.0
    book.end(late)
    assert book.longest_in_flight("ord", at=1002.0) == 5.5
    assert book.longest_in_flight("ord", at=1010.0) == 0.0
    assert book.longest_in_flight("dfw", at=1002.0) == 0.0


def test_a_transaction_that_is_still_open_counts_up_to_now() -> None:
    """What has not ended has taken at least until now."""
    clock = HandClock()
    book = Book(clock)
    book.begin("ord")
    clock.now = 1004.0
    assert book.longest_in_flight("ord", at=1001.0) == 3.0


def test_the_rate_is_of_the_last_seconds() -> None:
    """Ten messages in five seconds are two a second; after five quiet ones there are none."""
    clock = HandClock()
    book = Book(clock)
    for _ in range(10):
        accepted(book)
    assert book.ledger(sessions=0).rate == 2.0
    clock.now += 5.1
    assert book.ledger(sessions=0).rate == 0.0


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 51), (0.99, 100), (1.0, 100)])
def test_percentiles(share: float, expected: int) -> None:
    """A percentile is one of the values, also at the ends."""
    assert percentile([float(value) for value in range(1, 101)], share) == expected


def test_the_percentile_of_nothing_is_no_number() -> None:
    """None, and not a zero that looks fast."""
    assert percentile([], 0.5) is None
