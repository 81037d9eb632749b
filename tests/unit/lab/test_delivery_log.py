"""What a real Postfix as client met, read from lines that Postfix 3.7 wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.lab.delivery_log import DeliveryLog
from orchestrator.lab.ledger import Book

HEAD = "Nov 22 15:02:24 client postfix/smtp[4711]: 4XaB2c3D4ez1: "
TO = "to=<sink@lab.example>, relay=127.0.0.1[127.0.0.1]:23456, delay=0.1, delays=0/0/0/0.1, dsn=4.3.2, "


def counts(*lines: str) -> tuple[int, int, int, int]:
    """Deferrals, 421 replies, hard errors and cut transactions after these lines."""
    book = Book()
    log = DeliveryLog(Path("/nowhere"), lambda: book)
    for line in lines:
        log.enter(line)
    return book.deferred, book.replies_421, book.hard_errors, book.transactions_cut


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (TO + "status=sent (250 2.0.0 Ok: queued as 4XaB2c9Z9zz2)", (0, 0, 0, 0)),
        (TO + "status=deferred (host 127.0.0.1[127.0.0.1] said: 421 4.3.2 moving (in reply to MAIL FROM command))",
         (1, 1, 0, 0)),
        (TO + "status=deferred (lost connection with 127.0.0.1[127.0.0.1] while sending end of data -- message may be "
         "sent more than once)", (1, 0, 1, 1)),
        ("lost connection with 127.0.0.1[127.0.0.1] while sending RCPT TO", (0, 0, 1, 1)),
        (TO + "status=deferred (lost connection with 127.0.0.1[127.0.0.1] while receiving the initial server greeting)",
         (1, 0, 1, 0)),
    ],
)  # fmt: skip
def test_each_kind_of_line(rest: str, expected: tuple[int, int, int, int]) -> None:
    """A deferral, a polite end, and a cut are told apart; a loss before MAIL cuts no transaction."""
    assert counts(HEAD + rest) == expected


def test_other_programs_lines_do_not_count() -> None:
    """Only the delivery agent's lines are of interest."""
    assert counts("Nov 22 15:02:24 client postfix/qmgr[1]: 4XaB2c3D4ez1: from=<421@lost connection>, size=1") == (
        0,
        0,
        0,
        0,
    )


def test_a_message_keeps_its_name_at_the_next_host() -> None:
    """Where it was passed on, it is looked for under the id that it got there too."""
    log = DeliveryLog(Path("/nowhere"), Book)
    log.enter(HEAD + TO + "status=sent (250 2.0.0 Ok: queued as 4XaB2c9Z9zz2)")
    assert log.names("4XaB2c3D4ez1") == {"4XaB2c3D4ez1", "4XaB2c9Z9zz2"}
    assert log.names("unknown") == {"unknown"}


def test_messages_from_before_a_reset_do_not_count() -> None:
    """What the earlier ledger waits for is none of the new one's trouble."""
    book = Book()
    log = DeliveryLog(Path("/nowhere"), lambda: book)
    log.ignore(["4XaB2c3D4ez1"])
    log.enter(HEAD + TO + "status=deferred (host said: 421 4.3.2 moving)")
    assert book.deferred == 0


def test_lines_are_read_once_and_whole(tmp_path: Path) -> None:
    """A line that is not finished yet is read when it is."""
    book, path = Book(), tmp_path / "mail.log"
    log = DeliveryLog(path, lambda: book)
    log.read()
    line = HEAD + TO + "status=deferred (host said: 421 4.3.2 moving)\n"
    path.write_text(line + line[:150])
    log.read()
    assert book.deferred == 1
    with path.open("a") as file:
        file.write(line[150:])
    log.read()
    log.read()
    assert book.deferred == 2
