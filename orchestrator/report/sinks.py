"""Carries a run's entries to sinks (a log, metrics, traces), each in a thread of its own.

What a sink does costs the run nothing: one that hangs, is slow or raises misses entries, which are counted and said
once in the end. The threads are daemons and nothing joins them at exit, so that a sink in a call that never returns
does not keep the process either.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import structlog

from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan

Listener = Callable[[Entry], None]

ROOM: Final = 10_000
"""Entries that wait for one sink; what comes when there is no room is dropped."""

END_WITHIN: Final = 2.0
"""Seconds that all sinks together have at the end of a run."""

log = structlog.get_logger(__name__)


class Sink(Protocol):
    """Where entries go. All is called in the sink's own thread, and may block and raise as it likes."""

    @property
    def name(self) -> str:
        """The option that asks for it, without its dashes."""

    @property
    def pace(self) -> float:
        """Seconds between two flushes, but for the last one."""

    def begin(self, run: str, plan: Plan, so_far: Sequence[Entry], dropped: Callable[[], Mapping[str, int]]) -> None:
        """Hear of the run, and of what its journal holds already.

        ``dropped`` tells at any time how many entries each sink has missed, by its name.
        """

    def entry(self, entry: Entry) -> None:
        """Take one entry in; it is missed when this raises."""

    def flush(self) -> None:
        """Pass on what was taken in; what cannot be is kept for the next time."""

    def end(self) -> None:
        """Flush for the last time, and close."""


class Outlets:
    """The sinks of one run at work; ``close`` them."""

    def __init__(
        self, sinks: Sequence[Sink], run: str, plan: Plan, so_far: Sequence[Entry] = (), room: int = ROOM
    ) -> None:
        self._run = run
        self._feeds = [_Feed(sink, room) for sink in sinks]
        for feed in self._feeds:
            feed.start(run, plan, tuple(so_far), self.dropped)

    def entry(self, entry: Entry) -> None:
        """Hand the entry to every sink; never waits, never raises."""
        for feed in self._feeds:
            feed.put(entry)

    def beside(self, report: Listener) -> Listener:
        """A listener that tells ``report`` and the sinks; a report that breaks is told no more, the sinks are."""
        broken = False

        def tell(entry: Entry) -> None:
            nonlocal broken
            self.entry(entry)
            if broken:
                return
            try:
                report(entry)
            except Exception as error:  # a closed pipe, a full disk, a bug: as the recorder sees it
                broken = True
                with suppress(Exception):
                    log.error("report.broken", run=self._run, error=f"{type(error).__name__}: {error}")

        return tell

    def dropped(self) -> dict[str, int]:
        """How many entries each sink has missed so far."""
        return {feed.name: feed.dropped for feed in self._feeds}

    def close(self, within: float = END_WITHIN) -> list[str]:
        """Let the sinks finish, for so many seconds in all, and abandon the rest; give a line for each in trouble."""
        deadline = time.monotonic() + within
        for feed in self._feeds:
            feed.close()
        with suppress(KeyboardInterrupt):  # a person who will not wait for a log
            for feed in self._feeds:
                feed.join(max(0.0, deadline - time.monotonic()))
        return [line for feed in self._feeds if (line := feed.complaint())]


class _Feed:
    """One sink, its thread, and the entries that wait for it."""

    def __init__(self, sink: Sink, room: int) -> None:
        self.name = sink.name
        self.dropped = 0
        self._sink = sink
        self._room = room
        self._news = threading.Condition()
        self._waiting: deque[Entry] = deque()
        self._told = self._taken = 0
        self._closing = False
        self._first_error = ""
        self._unflushed = ""
        self._thread: threading.Thread | None = None

    def start(self, run: str, plan: Plan, so_far: Sequence[Entry], dropped: Callable[[], Mapping[str, int]]) -> None:
        def work() -> None:
            try:
                self._sink.begin(run, plan, so_far, dropped)
            except Exception as error:
                self._first_error = _words(error)
            while batch := self._next():
                for entry in batch:
                    self._take(entry)
                self._flushed(self._sink.flush)
                with self._news:
                    self._news.wait_for(lambda: self._closing, self._sink.pace)
            self._flushed(self._sink.end)

        self._thread = threading.Thread(target=work, name=self.name, daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        with self._news:
            self._told += 1
            if len(self._waiting) >= self._room:
                self.dropped += 1
                return
            self._waiting.append(entry)
            self._news.notify()

    def close(self) -> None:
        with self._news:
            self._closing = True
            self._news.notify()

    def join(self, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(seconds)

    def complaint(self) -> str:
        """What the sink has missed once it is closed; empty when that is nothing."""
        missing = self._told - self._taken
        hangs = self._thread is not None and self._thread.is_alive()
        why = self._first_error or self._unflushed
        if not (missing or hangs or why):
            return ""
        what = f"{missing} of {self._told} events" if missing else "the last events"
        return f"--{self.name} has missed {what}: {why or ('it does not answer' if hangs else 'it was too slow')}"

    def _next(self) -> list[Entry]:
        """What waits, once something does; nothing when all is taken and the run is over."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._closing)
            batch = list(self._waiting)
            self._waiting.clear()
            return batch

    def _take(self, entry: Entry) -> None:
        try:
            self._sink.entry(entry)
            self._taken += 1
        except Exception as error:  # a sink is anybody's program: whatever is wrong with it, the run does not mind
            with self._news:
                self.dropped += 1
            self._first_error = self._first_error or _words(error)

    def _flushed(self, flush: Callable[[], None]) -> None:
        try:
            flush()
            self._unflushed = ""
        except Exception as error:
            self._unflushed = _words(error)


def _words(error: Exception) -> str:
    """An error in few words; the system's own where it has some."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
