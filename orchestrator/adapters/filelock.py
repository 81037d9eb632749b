"""Keeps two orchestrators on one machine off the same run or pool, with flock(2).

The kernel frees such a lock when its owner ends, however it ends, so there is no stale lock to break by hand.
A file's content tells who the owner is, and when it last gave a sign of life; it never decides who may go on. Files
are never removed: a lock on a removed file would not keep out whoever creates the name anew.

An owner that is alive and yet does nothing (stopped, or hung) keeps its locks. Once its *lease* has run out, which it
renews as long as it works, ``take_over`` ends it. One that works and cannot write its lease is left alone.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from orchestrator.adapters import eviction
from orchestrator.errors import RefusedError
from orchestrator.ports import Clock, Holder

LEASE: Final = 20.0
"""Seconds without a sign of life after which an owner may be ended. Longer than a disk takes to answer a write."""

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)
_NO_RIGHT: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FOLDER: Final = (errno.EEXIST, errno.ENOTDIR)

_TRIES: Final = 3
_TRIES_TO_READ: Final = 50
_PAUSE: Final = 0.01
"""Seconds between two tries to take a lock: ``holder`` of another process has it for microseconds."""

_SIZE: Final = 512
"""Bytes of a file's content, at the least."""


class _Content(NamedTuple):
    """What a lock's file says of who holds it."""

    owner: str
    held: str
    since: float | None = None
    """Unix time at which it was taken."""
    renewed: float | None = None
    """Monotonic time of its last sign of life."""
    pid: int | None = None
    ticks: int | None = None
    """When that process began; see ``eviction.began``."""


class FileLock:
    """``ports.Lock`` on files in a folder of a local disk."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._held: dict[str, int] = {}
        self._owner = ""
        self._since = 0.0

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
            self._owner, self._since = owner, self._clock.now()
            for file in taken.values():
                self._sign(file)
        except OSError as error:
            _let_go(taken)
            raise RefusedError(f"cannot lock in {self._folder}: {error.strerror}", remedy=_remedy(error)) from error
        except RefusedError:
            _let_go(taken)
            raise
        self._held |= taken

    def renew(self) -> None:
        """Give a sign of life. Call it from where the work is done, every few seconds."""
        for file in self._held.values():
            self._sign(file)

    def take_over(self, name: str) -> str | None:
        """End the process that holds ``name``, and say what it was; None when nobody holds it.

        Raises:
            RefusedError: it has given a sign of life within its lease, it works nevertheless, or it cannot be ended.
        """
        with self._looked_at(name) as found:
            if found is None:
                return None
            file, holder = found
            silent = self._silence(holder)
            if holder.pid is None or holder.ticks is None or silent is None:
                raise RefusedError(
                    f"cannot take {name} over: it has just been taken, or by an older failover", remedy="try again"
                )
            if silent < LEASE:
                raise RefusedError(
                    f"cannot take {name} over: {holder.owner} lives, its last sign of life was {silent:.0f} s ago",
                    remedy=f"stop it with SIGTERM, or wait: after {LEASE:g} s without one it may be ended",
                )
            if eviction.is_working(holder.pid, holder.ticks):
                raise RefusedError(
                    f"cannot take {name} over: {holder.owner} works, though its last sign of life in {self._folder} "
                    f"was {silent:.0f} s ago",
                    remedy="see that there is room and that it can be written, or stop the process with SIGTERM",
                )
            eviction.end(holder.pid, holder.ticks, lambda: (self._silence(_content(file)) or 0.0) >= LEASE)
            return holder.owner

    def release(self) -> None:
        """Let go of all."""
        _let_go(self._held)
        self._held = {}

    def holder(self, name: str) -> Holder | None:
        """Who holds it now; None when nobody does, whatever the file still says.

        Raises:
            RefusedError: the folder cannot be looked into.
        """
        with self._looked_at(name) as found:
            return None if found is None else self._seen(found[1])

    @contextmanager
    def _looked_at(self, name: str) -> Iterator[tuple[int, _Content] | None]:
        """The open file of ``name`` and who holds it; None when nobody does."""
        try:
            file = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise RefusedError(
                f"cannot see who holds {name} in {self._folder}: {error.strerror}",
                remedy="make the folder readable for this user",
            ) from error
        try:
            yield (file, _signed(file)) if _is_held(file) else None
        finally:
            os.close(file)

    def _seen(self, holder: _Content) -> Holder:
        silent = self._silence(holder)
        silent = None if silent is None or silent < LEASE else silent
        return Holder(owner=holder.owner, silent=silent, since=holder.since)

    def _silence(self, holder: _Content) -> float | None:
        """Seconds since its last sign of life, on the clock that all processes of a machine share."""
        return None if holder.renewed is None else self._clock.monotonic() - holder.renewed

    def _sign(self, file: int) -> None:
        pid = os.getpid()
        signs = {"renewed": self._clock.monotonic(), "pid": pid, "ticks": eviction.began(pid)}
        # Padded, so that a shorter text never leaves the end of a longer one; one write, so that none is read half.
        text = json.dumps({"owner": self._owner, "since": self._since, **signs}).ljust(_SIZE)
        os.pwrite(file, text.encode(), 0)

    def _path(self, name: str) -> Path:
        return self._folder / f"{quote(name, safe='')}.lock"

    def _take(self, name: str) -> int:
        for folder in (*reversed(self._folder.parents), self._folder):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)  # the journal may come to lie in one of them
        file = os.open(self._path(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            if _is_taken(file):
                return file
            holder = _signed(file)
        except OSError:
            os.close(file)
            raise
        os.close(file)
        seen = self._seen(holder)
        remedy = "wait until that run has ended, or stop it"
        if seen.silent is not None:
            remedy = "end it and go on in its place: failover resume RUN --take-over"
        raise RefusedError(f"cannot take {name}: {seen} has {holder.held}", remedy=remedy)


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
        with suppress(OSError):  # the disk that did not let us in
            os.ftruncate(file, 0)  # so that the next reader is not told an owner of long ago
        os.close(file)


def _remedy(error: OSError) -> str:
    if error.errno in _NO_ROOM:
        return "free space there, then try again"
    if error.errno in _NO_RIGHT:
        return "make the folder writable for this user"
    if error.errno in _NO_FOLDER:
        return "move the file away that is where a folder must be"
    return "mend that, then try again"


def _is_held(file: int) -> bool:
    try:
        # Shared, so that two who look at once do not take each other for the owner.
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _signed(file: int) -> _Content:
    """As ``_content``, of a lock that is held: whoever took it a moment ago is waited for, until they have signed."""
    for _ in range(_TRIES_TO_READ):
        holder = _content(file)
        if holder.pid is not None and eviction.began(holder.pid) == holder.ticks:
            break
        time.sleep(_PAUSE)
    return holder


def _content(file: int) -> _Content:
    """Who holds the lock, as far as the file tells: between taking and writing it is empty."""
    try:
        content = json.loads(os.pread(file, 4096, 0))
        since = float(content["since"])
        return _Content(
            owner=str(content["owner"]),
            held=f"held it since {datetime.fromtimestamp(since, tz=UTC):%Y-%m-%d %H:%M:%S} UTC",
            since=since,
            renewed=float(content["renewed"]) if "renewed" in content else None,
            pid=int(content["pid"]) if "pid" in content else None,
            ticks=content.get("ticks"),
        )
    except (ValueError, KeyError, TypeError):
        return _Content("another process", "just taken it")
