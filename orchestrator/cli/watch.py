"""Follows a run from another terminal: its journal and who works on it are looked at, nothing is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.cli.output import console
from orchestrator.cli.ownership import OVER, Notice, holder_of, notice
from orchestrator.errors import JournalError

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from orchestrator.model.journal import Entry
    from orchestrator.model.plan import Plan
    from orchestrator.ports import Holder, Journal
    from orchestrator.status import RunState

POLL: Final = 0.5
"""Seconds between two looks. One takes microseconds and waits for no writer: SQLite's log lets readers through."""

ENDED: Final = OVER | {"stuck"}
"""The RunStatus, by value, that watching ends with once nobody works on the run.

An interrupted or abandoned run is watched on: whoever resumes it goes on in the same view. What is stuck has told a
person what to repair, and that can take days.
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who works on a run: user@host and process. One who is silent has it still, and does nothing."""

    name: str
    silent: bool = False


def owner_from(holder: Holder, run: str) -> Owner:
    """The owner that a lock tells of; without the time of its silence, which is new at each look."""
    return Owner(holder.owner.removeprefix(f"run {run} of "), silent=holder.silent is not None)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a run has found: who works on it, what is new in its journal, and where it stands then."""

    owner: Owner | None
    entries: Sequence[Entry]
    state: RunState

    @property
    def ended(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.owner is None and self.state.status in ENDED


class Lookout:
    """Looks at one run in the journal file at ``path``, and goes on each time where it was.

    Raises:
        JournalError: from ``look``, when the journal cannot be read, or another file or none is in its place.
    """

    def __init__(self, journal: Journal, path: Path, run: str) -> None:
        from orchestrator.status import RunState

        self._journal = journal
        self._path = path
        self._file = self._found()
        self._run = run
        self._seq = 0
        self._state = RunState()

    def look(self) -> Look:
        """What is new since the last look."""
        from orchestrator.status import fold

        holder = holder_of(self._run)  # before the journal: a run may end in between
        if (now := self._found()) is None or self._file is None or not _same(now, self._file):
            # SQLite would read on for ever in the file that has no name any more.
            raise JournalError(
                f"cannot watch run {self._run}: the journal {self._path} is gone, or another file is in its place",
                remedy="put it back, before anybody goes on with its runs",
            )
        entries = self._journal.entries(self._run, after=self._seq)
        if entries:
            self._seq = entries[-1].seq
            self._state = fold(entries, self._state)
        return Look(owner_from(holder, self._run) if holder is not None else None, entries, self._state)

    def _found(self) -> os.stat_result | None:
        try:
            return self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(
                f"cannot watch run {self._run}: {self._path}: {error.strerror}", remedy="check the folder's permissions"
            ) from error


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def follow(look: Callable[[], Look], pause: Callable[[], None]) -> Iterator[Look]:
    """The first look, then each that has news, up to the one that has found the run ended."""
    before: Look | None = None
    while True:
        now = look()
        if before is None or now.entries or now.owner != before.owner or now.ended:
            yield now
        if now.ended:
            return
        before = now
        pause()


@dataclass(frozen=True, slots=True)
class _View:
    """What shows a run: each new entry, and who works on it when that has changed or the run has ended."""

    entry: Callable[[Entry], None]
    owner: Callable[[Look], None]

    def tell(self, look: Look, before: Look | None = None) -> None:
        news = before is None or look.owner != before.owner or look.ended
        comes = before is not None and look.owner is not None  # and only then writes; who goes has written before
        if news and comes:
            self.owner(look)
        for entry in look.entries:
            self.entry(entry)
        if news and not comes:
            self.owner(look)


def watch(
    plan: Plan, run: str, look: Callable[[], Look], pause: Callable[[], None], typed: str, *, as_json: bool
) -> RunState:
    """Show the run until it has ended, as ``failover run`` shows it; gives where it stands then.

    ``typed`` is the run as it is typed in a command.
    """
    looks = follow(look, pause)
    last = next(looks)
    with _showing(plan, run, last, typed, as_json=as_json) as view:
        for now in looks:
            view.tell(now, last)
            last = now
    return last.state


@contextmanager
def _showing(plan: Plan, run: str, first: Look, typed: str, *, as_json: bool) -> Iterator[_View]:
    """JSON lines, a live tree on a terminal, plain lines elsewhere, with what the ``first`` look has found."""
    from orchestrator.adapters.clock import SystemClock

    screen = console()
    if screen.is_terminal and not as_json:
        from orchestrator.report.live import LiveReport

        live = LiveReport(plan, screen, SystemClock(), typed=typed)
        view = _View(live.entry, lambda look: live.note(_below(look, typed), "" if _works(look) else "yellow"))
        view.tell(first)
        with live:
            yield view
        return
    view = _records(run) if as_json else _lines(plan, typed)
    view.tell(first)
    yield view


def _records(run: str) -> _View:
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.records import entry_record, json_line, owner_record

    clock = SystemClock()

    def owner(look: Look) -> None:
        if not look.ended:
            it = look.owner
            name, silent = (it.name, it.silent) if it is not None else (None, False)
            print(json_line(owner_record(run, look.state.epoch, name, clock.now(), silent=silent)), flush=True)

    return _View(lambda entry: print(json_line(entry_record(entry)), flush=True), owner)


def _lines(plan: Plan, typed: str) -> _View:
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.report.lines import LineReport

    report = LineReport(plan, lambda line: print(line, flush=True), SystemClock(), typed=typed)

    def owner(look: Look) -> None:
        if (said := _notice(look, typed)) is not None:
            report.note("owner", str(said))

    return _View(report.entry, owner)


def _works(look: Look) -> bool:
    return look.owner is not None and not look.owner.silent


def _below(look: Look, typed: str) -> str:
    """Who works on it, for the lines below the tree: the command has one of its own."""
    said = _notice(look, typed)
    if said is None:
        return ""
    return f"{said.words}:\n{said.command}" if said.command else said.words


def _notice(look: Look, typed: str) -> Notice | None:
    """Who works on it, for people; nothing once it has ended."""
    if look.ended:
        return None
    if look.owner is None:
        return notice(None, look.state, typed)
    return notice(look.owner.name, look.state, typed, silent=look.owner.silent)
