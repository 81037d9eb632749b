"""What a real Postfix as client met, read from its mail log: smtp(8) writes a line for each try."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from orchestrator.lab.ledger import Book

_LINE: Final = re.compile(r"postfix/smtp\[\d+\]: (?P<queue_id>\w+): (?P<rest>.*)")
_SENT: Final = re.compile(r"status=sent \(250 .*queued as (\w+)\)")
_TROUBLE: Final = re.compile(r"lost connection|timed out|Connection reset|server dropped connection")
_BEFORE_MAIL: Final = re.compile(r"initial server greeting|performing the EHLO|Connection refused|connect to ")


class DeliveryLog:
    """Follows the log and enters what it says of the book's messages."""

    def __init__(self, log: Path, book: Callable[[], Book]) -> None:
        self._log = log
        self._book = book
        self._position = 0
        self._rest = b""
        self._passed_on: dict[str, str] = {}
        self._ignored: set[str] = set()

    def ignore(self, queue_ids: Iterable[str]) -> None:
        """Count nothing more of these messages: they belong to an earlier book."""
        self._ignored.update(queue_ids)

    def names(self, queue_id: str) -> set[str]:
        """The message's queue ids: the client's, and that of the host which accepted it."""
        return {queue_id, self._passed_on.get(queue_id, queue_id)}

    async def follow(self, every: float = 0.2) -> None:
        """Read what is new, for ever."""
        while True:
            self.read()
            await asyncio.sleep(every)

    def read(self) -> None:
        """Read what is new."""
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._position)
            *lines, self._rest = (self._rest + file.read()).split(b"\n")
            self._position = file.tell()
        for line in lines:
            self.enter(line.decode("utf-8", "replace"))

    def enter(self, line: str) -> None:
        """Count one line of the log."""
        found = _LINE.search(line)
        if found is None or found["queue_id"] in self._ignored:
            return
        rest = found["rest"]
        sent = _SENT.search(rest)
        if sent:
            self._passed_on[found["queue_id"]] = sent[1]
            return
        book = self._book()
        if "status=deferred" in rest:
            book.deferred += 1
        if re.search(r"\b421\b", rest):
            book.replies_421 += 1
        elif _TROUBLE.search(rest):
            book.hard_errors += 1
            book.transactions_cut += not _BEFORE_MAIL.search(rest)
