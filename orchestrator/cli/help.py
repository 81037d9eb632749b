"""Help as plain text: rich would take longer to import than all the rest of ``failover --help``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

import typer
from typer.core import TyperGroup

_SENTENCE: Final = 200
"""Characters; the first sentence of a command's help is shown whole."""


class _Formatter(Protocol):
    """What writes the help; typer's own type for it is private."""

    def section(self, name: str) -> AbstractContextManager[None]: ...

    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None: ...


class GroupedHelp(TyperGroup):
    """A command whose sub-commands stand under the headings that they were registered with."""

    def format_commands(self, ctx: typer.Context, formatter: _Formatter) -> None:  # type: ignore[override]
        """Write each heading with its commands, in the order in which they were registered."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            heading = str(getattr(command, "rich_help_panel", None) or "Commands")
            headings.setdefault(heading, []).append((name, command.get_short_help_str(limit=_SENTENCE)))
        for heading, rows in headings.items():
            with formatter.section(heading):
                formatter.write_dl(rows)
