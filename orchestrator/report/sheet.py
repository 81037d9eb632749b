"""What a report is written on: lines of a given width, in the characters that the terminal has.

Every text from outside (an SMTP reply, a reason) becomes one line without control characters, so that it can
neither break the layout nor send the terminal escape sequences. Styles are set on ``Text``, never by markup.
"""

from __future__ import annotations

import io
import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderResult
from rich.text import Text

from orchestrator.status import StepStatus

_ASCII: Final = str.maketrans(
    {"→": "->", "←": "<-", "—": "-", "–": "-", "…": "...", "×": "x", "≥": ">=", "≤": "<=", "≠": "!=", "·": "-"}  # noqa: RUF001
    | {"‘": "'", "’": "'", "“": '"', "”": '"', "µ": "u", "✓": "ok", "✗": "x"}  # noqa: RUF001
)

_SHELL_WORD: Final = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")

_S = StepStatus
_GLYPHS: Final[dict[StepStatus, tuple[str, str, str]]] = {
    _S.PENDING: ("○", ".", "dim"),
    _S.GATING: ("◌", "?", "cyan"),
    _S.CONVERGING: ("●", ">", "cyan"),
    _S.VERIFYING: ("◉", "?", "cyan"),
    _S.DONE: ("✓", "+", "green"),
    _S.NOTHING: ("=", "=", "green"),
    _S.REFUSED: ("✗", "x", "red"),
    _S.FAILED: ("✗", "x", "red"),
    _S.UNDOING: ("◀", "<", "yellow"),
    _S.UNDONE: ("↶", "u", "yellow"),
    _S.STUCK: ("!", "!", "bold red"),
}


def style_of(status: StepStatus) -> str:
    """The rich style of a step's status."""
    return _GLYPHS[status][2]


def one_line(text: str) -> str:
    """``text`` on one line, without control or formatting characters (Unicode categories C*, Z*)."""
    kept = ("" if unicodedata.category(char) == "Cf" else char for char in text)
    clean = (" " if unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp", "Zs"} else char for char in "".join(kept))
    return " ".join("".join(clean).split())


@dataclass(frozen=True, slots=True)
class Sheet:
    """A width in terminal cells, and whether only ASCII can be written."""

    width: int
    ascii_only: bool = False

    def say(self, text: str) -> str:
        """``text`` on one line, in characters that can be written here."""
        line = one_line(text)
        return line.translate(_ASCII).encode("ascii", "replace").decode() if self.ascii_only else line

    def glyph(self, status: StepStatus) -> str:
        """The one-cell sign of a status."""
        rich, plain, _ = _GLYPHS[status]
        return plain if self.ascii_only else rich

    def fit(self, line: Text, width: int | None = None) -> Text:
        """``line``, cut with an ellipsis where it is wider than ``width`` (default: the sheet)."""
        room = self.width if width is None else width
        if line.cell_len <= room:
            return line
        ellipsis = "..." if self.ascii_only else "…"
        cut = line.copy()
        cut.truncate(max(0, room - len(ellipsis)), overflow="crop")
        cut.rstrip()
        return cut.append(ellipsis[: max(0, room)])

    def wrap(self, text: str, indent: int, lines: int | None = None) -> list[str]:
        """``text`` broken at words into at most ``lines`` lines, each behind ``indent`` blanks."""
        room = max(20, self.width - indent)
        short = "..." if self.ascii_only else "…"
        parts = textwrap.wrap(self.say(text), room, max_lines=lines, placeholder=f" {short}", break_on_hyphens=False)
        return [" " * indent + part for part in parts]

    def command(self, text: str, indent: int, style: str = "") -> list[Text]:
        """A command to be typed, never cut; where it is too wide it is broken as a shell puts it together again."""
        lines = [" " * indent + self.say(text)]
        if cell_len(lines[0]) > self.width:
            first, *words = _SHELL_WORD.findall(lines[0])
            lines = [" " * indent + first]
            for word in words:
                if cell_len(f"{lines[-1]} {word} \\") <= self.width:
                    lines[-1] += f" {word}"
                else:
                    lines[-1] += " \\"
                    lines.append(" " * (indent + 2) + word)
        return [Text(line, style, overflow="ignore") for line in lines]

    def table(self, rows: Sequence[Sequence[Text]], indent: int = 0) -> list[Text]:
        """Rows with aligned columns, two blanks apart; the last column takes what is left of the width."""
        if not rows:
            return []
        widths = [max(cell_len(row[column].plain) for row in rows) for column in range(len(rows[0]) - 1)]
        return [self.fit(_row(row, widths, indent)) for row in rows]


def _row(cells: Sequence[Text], widths: Sequence[int], indent: int) -> Text:
    line = Text(" " * indent)
    for cell, width in zip(cells, widths, strict=False):
        line.append_text(cell).append(" " * (width - cell.cell_len + 2))
    line.append_text(cells[-1])
    line.rstrip()
    return line


@dataclass(frozen=True, slots=True)
class Page:
    """A rich renderable of lines that are made for the console that shows them, and never wrap."""

    build: Callable[[Sheet], Iterable[Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sheet = Sheet(options.max_width, options.ascii_only)
        for line in self.build(sheet):
            fitted = line if line.overflow == "ignore" else sheet.fit(line)  # a command is whole, however narrow it is
            fitted.no_wrap = True
            fitted.overflow = "ignore"
            yield fitted


def plain(renderable: ConsoleRenderable, width: int = 80) -> str:
    """The renderable as text without any styles, for a file or a pager."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, _environ={})
    with console.capture() as capture:
        console.print(renderable, crop=False)  # a command is never cut
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"
