"""The inbox as a Maildir, in which every message is a file that appears whole (D. J. Bernstein, "Using maildir")."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from pathlib import Path
from typing import Final

from orchestrator.errors import UnfitError

_HEADER_LIMIT: Final = 65536
_MESSAGE_ID: Final = re.compile(rb"^message-id:\s*(<[^>\r\n]+>)", re.IGNORECASE | re.MULTILINE)


class Maildir:
    """``ports.Inbox`` on this machine's file system.

    A file's name never changes its meaning while the file exists, so each header is read once, however often a
    probe asks: a look costs one listing of two folders.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._ids: dict[str, str] = {}
        self._lock = threading.Lock()

    async def take(self, message_id: str) -> bool:
        """Whether the message has arrived; its file is removed when it has.

        Raises:
            UnfitError: the folder is no Maildir, or may not be read or changed.
        """
        return await asyncio.to_thread(self._take, message_id.strip("<>"))

    def _take(self, message_id: str) -> bool:
        with self._lock:
            try:
                path = self._scan().get(message_id)
                if path is None:
                    return False
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UnfitError(
                    f"cannot read the inbox {self._folder}: {(error.strerror or str(error)).lower()}",
                    remedy="let 'inbox' name a Maildir that this user may read and change",
                ) from error
            return True

    def _scan(self) -> dict[str, Path]:
        """Where each message is now, by its Message-ID; only headers of new files are read."""
        paths: dict[str, Path] = {}
        ids: dict[str, str] = {}
        for folder in ("new", "cur"):
            with os.scandir(self._folder / folder) as files:
                for file in files:
                    # A reader moves a file from new to cur and adds ":2,flags"; what stands before stays.
                    unique = file.name.partition(":")[0]
                    found = self._ids.get(unique)
                    if found is None:
                        found = _message_id(Path(file.path))
                    if found is not None:
                        ids[unique] = found
                        paths[found] = Path(file.path)
        self._ids = ids
        return paths


def _message_id(path: Path) -> str | None:
    """The file's Message-ID without its brackets, empty where it has none; None where the file is gone already."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_LIMIT)
    except FileNotFoundError:
        return None
    header = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
    match = _MESSAGE_ID.search(header)
    return match[1].strip(b"<>").decode("ascii", "replace") if match else ""
