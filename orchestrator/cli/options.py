"""Arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# readable=False: what cannot be read is explained by who reads it, with a remedy, and not by the parser of options.

RunbookFile = Annotated[Path, typer.Argument(help="The runbook, a YAML file.", metavar="RUNBOOK", readable=False)]
InventoryFiles = Annotated[
    list[Path],
    typer.Option("--inventory", "-i", help="The inventory; several files are merged.", metavar="FILE", readable=False),
]
InventoryOfRunbook = Annotated[
    list[Path] | None,
    typer.Option("--inventory", "-i", help="The inventory; several files are merged.", metavar="FILE", readable=False),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", help="A parameter of the runbook, as name=value.", metavar="NAME=VALUE"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        help="Set one rule of planning aside, with the reason, which is journalled: headroom, serving, blast-radius, "
        "in-use.",
        metavar="RULE=REASON",
    ),
]
BesideOthers = Annotated[
    str | None,
    typer.Option(
        "--override",
        help="Go on although another run works on the same pool; the reason is journalled.",
        metavar="in-use=REASON",
    ),
]
WindowEnds = Annotated[
    str | None,
    typer.Option(
        "--window-ends",
        help="By when all must be over: 04:00 (this machine's local time), 2h (from now), or 2026-11-23T04:00:00Z. "
        "Shown with the latest moment for an undo.",
        metavar="WHEN",
    ),
]
JournalFile = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        help="Another journal than this machine's own, which is journal.sqlite in the folder FAILOVER_STATE, else in "
        "failover in XDG_STATE_HOME (~/.local/state).",
        metavar="FILE",
        readable=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output.")]
RunName = Annotated[str, typer.Argument(help="The run's name, or an unambiguous beginning of it.", metavar="RUN")]
TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="End the process that works on the run, when it has given no sign of life for 20 seconds, and go on in "
        "its place; refused while it lives.",
    ),
]
