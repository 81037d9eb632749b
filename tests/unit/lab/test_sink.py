"""The sink counts load, keeps probes, and takes whatever an SMTP client may send."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.lab.sink import Maildir, Sink

PROBES = "probe@lab.example"


class Wire(asyncio.Transport):
    """A transport that remembers what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Remember."""
        self.sent += bytes(data)

    def close(self) -> None:
        """Hang up."""
        self.closed = True


def converse(folder: Path, *pieces: bytes) -> tuple[Wire, list[str], list[bytes]]:
    """What the sink answers, counts and keeps when it receives these pieces."""
    counted: list[str] = []
    sink, wire = Sink("X-Lab-Id", counted.append, PROBES, Maildir(folder)), Wire()
    sink.connection_made(wire)
    for piece in pieces:
        sink.data_received(piece)
    return wire, counted, [path.read_bytes() for path in sorted((folder / "new").iterdir())]


def mail(recipient: str, text: bytes) -> bytes:
    """One transaction, pipelined."""
    return b"MAIL FROM:<a@b>\r\nRCPT TO:<" + recipient.encode() + b">\r\nDATA\r\n" + text + b".\r\n"


def test_load_is_counted_by_its_id_and_not_kept(tmp_path: Path) -> None:
    """The id header is what counts; no message of the load is written anywhere."""
    text = b"Subject: x\r\nx-lab-id: 77-1\r\n\r\nX-Lab-Id: not this\r\n"
    wire, counted, kept = converse(tmp_path, b"EHLO me\r\n" + mail("sink@lab.example", text) + b"QUIT\r\n")
    assert (counted, kept) == (["77-1"], [])
    assert wire.sent.endswith(b"354 go on\r\n250 taken\r\n221 bye\r\n")
    assert wire.closed


def test_probes_are_kept_as_they_were_sent(tmp_path: Path) -> None:
    """A probe lies in the inbox without the dots that the protocol added (RFC 5321, 4.5.2), and is not counted."""
    text = b"Message-ID: <p@x>\r\nX-Lab-Id: 1\r\n\r\n..hidden dot\r\nend\r\n"
    _, counted, kept = converse(tmp_path, b"EHLO me\r\n" + mail("Probe@Lab.example", text))
    assert counted == []
    assert kept == [b"Message-ID: <p@x>\nX-Lab-Id: 1\n\n.hidden dot\nend"]


def test_a_session_may_carry_both(tmp_path: Path) -> None:
    """Each transaction is judged by its own recipient."""
    load = mail("sink@lab.example", b"X-Lab-Id: 5\r\n\r\n")
    _, counted, kept = converse(tmp_path, load + mail(PROBES, b"Subject: p\r\n\r\n") + load)
    assert (counted, len(kept)) == (["5", "5"], 1)


@settings(max_examples=50, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=12))
def test_it_does_not_matter_how_the_bytes_arrive(cuts: list[int]) -> None:
    """TCP keeps no boundaries: split anywhere, the same messages are counted."""
    text = b"EHLO me\r\n" + b"".join(
        mail("sink@lab.example", b"X-Lab-Id: %d\r\n\r\n.\r\r\n" % number) for number in (1, 2)
    )
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(places)]
    counted: list[str] = []
    sink = Sink("X-Lab-Id", counted.append, PROBES, NoInbox())
    sink.connection_made(Wire())
    for piece in pieces:
        sink.data_received(piece)
    assert counted == ["1", "2"]


class NoInbox(Maildir):
    """An inbox that must not be used."""

    def __init__(self) -> None:
        pass

    def store(self, message: bytes) -> None:
        """Fail."""
        raise AssertionError("the load is not kept")


def test_an_inbox_that_nobody_empties_stays_small(tmp_path: Path) -> None:
    """Of probes that are never taken only the newest 500 stay; one that was taken is not missed."""
    inbox = Maildir(tmp_path)
    for number in range(510):
        inbox.store(b"%d" % number)
        if number == 3:
            next(path for path in (tmp_path / "new").iterdir() if path.read_bytes() == b"3").unlink()
    assert {int(path.read_bytes()) for path in (tmp_path / "new").iterdir()} == set(range(10, 510))
