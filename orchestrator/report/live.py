"""The live view of a run on a terminal: one tree, redrawn in place, which stays when the run ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.model.journal import Entry
from orchestrator.model.plan import Plan
from orchestrator.ports import Clock
from orchestrator.report.account import Account
from orchestrator.report.sheet import Page, Sheet
from orchestrator.report.tree import run_tree

_REDRAWS: Final = 8
"""A second: fast enough to look alive, slow enough for a terminal behind ssh."""


class LiveReport:
    """Draws the run on ``console`` while it is open, at most eight times a second.

    Entries may come faster; times tick between them. Where the console is no terminal, only the last state is
    written, when it closes; ``LineReport`` is the better choice there.

    ``so_far`` is what the journal holds already when a run is taken up again, or approved ahead.
    ``typed`` is the run as a person types it in a command, where that is more than its name.
    """

    def __init__(
        self, plan: Plan, console: Console, clock: Clock, so_far: Iterable[Entry] = (), typed: str = ""
    ) -> None:
        self._console = console
        self._clock = clock
        self._account = Account(plan, so_far, typed)
        self._note: tuple[str, str] = ("", "")
        self._lock = threading.Lock()  # rich redraws in a thread of its own
        self._closed = False
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=_REDRAWS)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True  # the last picture is whole, however small the terminal
        self._live.stop()

    def entry(self, entry: Entry) -> None:
        """Take the run's next entry in; it is seen at the next redraw."""
        with self._lock:
            self._account.add(entry)

    def note(self, text: str, style: str = "") -> None:
        """Say below the tree what the journal does not tell, until it is said anew; nothing where it is empty.

        A second line is for a command, which is so not broken as long as it fits.
        """
        with self._lock:
            self._note = (text, style)

    def _draw(self) -> RenderableType:
        return Page(self._lines)

    def _lines(self, sheet: Sheet) -> list[Text]:
        with self._lock:
            note = list(self._below(sheet))
            tree = run_tree(self._account, self._clock.now(), self._height(len(note)))
            return [*tree.build(sheet), *note]

    def _below(self, sheet: Sheet) -> Iterator[Text]:
        text, style = self._note
        for number, line in enumerate(text.splitlines()):
            if number == 0:
                yield Text()
                yield from (Text(part, style) for part in sheet.wrap(line, 0))
            else:
                yield from sheet.command(line, 2, style)

    def _height(self, below: int) -> int | None:
        """How high the tree may be over ``below`` lines; None where nothing limits it."""
        if self._closed or not self._console.is_terminal:
            return None
        return self._console.size.height - 1 - below
