"""Keeps two orchestrators on one machine off the same run or pool, with flock(2).

The kernel frees such a lock when its owner ends, however it ends, so there is no stale lock to break by hand.
A file's content only tells people who the owner is; it never decides who may go on. Files are never removed:
a lock on a removed file would not keep out whoever creates the name anew.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote

from orchestrator.errors import RefusedError
from orchestrator.ports import Clock

_TRIES: Final = 3
_PAUSE: Final = 0.01
"""Seconds between two tries to take a lock: ``holder`` of another process has it for microseconds."""


class FileLock:
    """``ports.Lock`` on files in a folder of a local disk."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._held: dict[str, int] = {}

    def acquire(self, names: Sequence[str], owner: str) -> None:
        """Take all of them or none; names that this object holds already are kept.

        Raises:
            RefusedError: somebody holds one, or the folder cannot be used.
        """
        taken: dict[str, int] = {}
        try:
            # Sorted, so that two orchestrators that want the same names never wait half-way for each other.
            for name in sorted(set(names) - self._held.keys()):
                taken[name] = self._take(name)
            for file in taken.values():
                _write(file, {"owner": owner, "since": self._clock.now()})
        except OSError as error:
            _let_go(taken)
            raise RefusedError(
                f"cannot lock in {self._folder}: {error.strerror}", remedy="make the folder writable for this user"
            ) from error
        except RefusedError:
            _let_go(taken)
            raise
        self._held |= taken

    def release(self) -> None:
        """Let go of all."""
        _let_go(self._held)
        self._held = {}

    def holder(self, name: str) -> str | None:
        """What the owner who holds it now said of itself; None when nobody holds it, whatever the file still says.

        Raises:
            RefusedError: the folder cannot be looked into.
        """
        try:
            file = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RefusedError(
                f"cannot see who holds {name} in {self._folder}: {error.strerror}",
                remedy="make the folder readable for this user",
            ) from error
        try:
            # Shared, so that two who look at once do not take each other for the owner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            owner, _ = _content(file)
            return owner
        finally:
            os.close(file)
        return None

    def _path(self, name: str) -> Path:
        return self._folder / f"{quote(name, safe='')}.lock"

    def _take(self, name: str) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            if _is_taken(file):
                return file
            owner, since = _content(file)
        except OSError:
            os.close(file)
            raise
        os.close(file)
        raise RefusedError(
            f"cannot take {name}: {owner} has {since}", remedy="wait until that run has ended, or stop it"
        )


def _is_taken(file: int) -> bool:
    """Take it, and say whether that went."""
    for turn in range(_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if turn + 1 < _TRIES:
                time.sleep(_PAUSE)
        else:
            return True
    return False


def _let_go(files: dict[str, int]) -> None:
    for file in files.values():
        os.ftruncate(file, 0)  # so that the next reader is not told an owner of long ago
        os.close(file)


def _write(file: int, content: dict[str, str | float]) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(content).encode(), 0)


def _content(file: int) -> tuple[str, str]:
    """Who holds the lock, and since when, as far as the file tells: between taking and writing it is empty."""
    try:
        content = json.loads(os.pread(file, 4096, 0))
        since = datetime.fromtimestamp(content["since"], tz=UTC)
        return str(content["owner"]), f"held it since {since:%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, KeyError, TypeError):
        return "another process", "just taken it"
