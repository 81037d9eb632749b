"""The contract of an inbox, on a Maildir."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from orchestrator.adapters.maildir import Maildir
from orchestrator.errors import UnfitError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty Maildir."""
    for name in ("tmp", "new", "cur"):
        (tmp_path / name).mkdir()
    return tmp_path


def arrive(folder: Path, name: str, message_id: str, *, place: str = "new", header: str = "Message-ID: ") -> Path:
    """A message is delivered; what a server puts before our header is there too."""
    path = folder / place / name
    text = (
        f"Received: from a\r\n\tby b\r\n{header}<{message_id}>\r\nSubject: failover probe\r\n\r\nMessage-ID: <body>\r\n"
    )
    path.write_bytes(text.encode())
    return path


def take(inbox: Maildir, message_id: str) -> bool:
    """One look into the inbox."""
    return asyncio.run(inbox.take(message_id))


@pytest.mark.parametrize("asked", ["a@x", "<a@x>"])
@pytest.mark.parametrize("header", ["Message-ID: ", "message-id:", "Message-Id:\r\n "])
@pytest.mark.parametrize("place", ["new", "cur"])
def test_a_message_is_taken_once(folder: Path, asked: str, header: str, place: str) -> None:
    """Its file is removed, whether a reader has seen it, and however the header is written or folded."""
    inbox = Maildir(folder)
    assert take(inbox, asked) is False
    path = arrive(folder, "1.lab", "a@x", place=place, header=header)
    assert take(inbox, asked) is True
    assert not path.exists()
    assert take(inbox, asked) is False


def test_other_messages_are_left_alone(folder: Path) -> None:
    """Only the one that was asked for goes; a body or a message that is still being written is no arrival."""
    other = arrive(folder, "1.lab", "a@x")
    unfinished = arrive(folder, "2.lab", "b@x", place="tmp")
    inbox = Maildir(folder)
    assert not take(inbox, "b@x")
    assert not take(inbox, "body")
    assert other.exists()
    assert unfinished.exists()


def test_a_message_that_a_reader_moves_is_still_found(folder: Path) -> None:
    """From new to cur with its flags, between two looks."""
    inbox = Maildir(folder)
    path = arrive(folder, "1.lab", "a@x")
    assert not take(inbox, "z@x")
    path.rename(folder / "cur" / "1.lab:2,S")
    assert take(inbox, "a@x")


def test_a_message_that_somebody_else_removes_is_forgotten(folder: Path) -> None:
    """What is gone has not arrived, though its header was read."""
    inbox = Maildir(folder)
    path = arrive(folder, "1.lab", "a@x")
    assert not take(inbox, "z@x")
    path.unlink()
    assert not take(inbox, "a@x")


def test_a_busy_inbox_is_read_once(folder: Path) -> None:
    """Headers are read once, also of a file that a reader moves: one that is changed later keeps its first id."""
    inbox = Maildir(folder)
    for number in range(2000):
        arrive(folder, f"{number}.lab", f"{number}@x")
    assert not take(inbox, "z@x")
    arrive(folder, "7.lab", "z@x")
    assert not take(inbox, "z@x")
    (folder / "new" / "7.lab").unlink()
    arrive(folder, "7.lab:2,S", "z@x", place="cur")
    assert not take(inbox, "z@x")
    assert take(inbox, "7@x")
    began = time.monotonic()
    for _ in range(10):
        take(inbox, "y@x")
    assert time.monotonic() - began < 2


def test_messages_can_be_awaited_side_by_side(folder: Path) -> None:
    """Several probes share one inbox, and each gets its own message."""
    inbox = Maildir(folder)
    for number in range(20):
        arrive(folder, f"{number}.lab", f"{number}@x")

    async def all_at_once() -> list[bool]:
        return await asyncio.gather(*(inbox.take(f"{number}@x") for number in range(20)))

    assert asyncio.run(all_at_once()) == [True] * 20
    assert list((folder / "new").iterdir()) == []


def test_what_is_no_maildir_is_an_error_with_its_remedy(tmp_path: Path) -> None:
    """A missing folder is not an inbox without mail."""
    with pytest.raises(UnfitError, match=r"cannot read the inbox .*: no such file or directory — let 'inbox' name"):
        take(Maildir(tmp_path), "a@x")


def test_a_file_without_the_header_is_ignored(folder: Path) -> None:
    """Whatever else lies there does no harm."""
    (folder / "new" / "empty").write_bytes(b"")
    (folder / "new" / "odd").write_bytes(b"\xff\xfe\r\n\r\nMessage-ID: <a@x>\r\n")
    assert not take(Maildir(folder), "a@x")
