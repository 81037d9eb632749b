"""``failover new``: a runbook to start from, by flags or by a few questions."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator.cli.options import InventoryFiles
from orchestrator.cli.output import answers_errors
from orchestrator.errors import RefusedError
from orchestrator.report.starter.kind import ABOUT, Kind

if TYPE_CHECKING:
    from orchestrator.cli.questions import Questions
    from orchestrator.model.inventory import Inventory
    from orchestrator.report.starter.outline import Outline

_STANDARD_OUTPUT: Final = Path("-")


@dataclass(frozen=True, slots=True)
class _Said:
    """What the command line says; None where it does not."""

    name: str | None
    kind: Kind | None
    pool: str | None
    site: str | None
    to: str | None
    window: str | None
    approval: int | None


@answers_errors
def new(
    inventory: InventoryFiles,
    name: Annotated[
        str | None, typer.Argument(help="What to call it; as its kind when left out.", metavar="NAME")
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help="What it is for.")] = None,
    pool: Annotated[str | None, typer.Option(help="The service that it moves.", metavar="POOL")] = None,
    site: Annotated[
        str | None, typer.Option(help="The site that it empties; of a reboot the host's.", metavar="SITE")
    ] = None,
    to: Annotated[str | None, typer.Option(help="The site that takes the traffic.", metavar="SITE")] = None,
    window: Annotated[
        str | None, typer.Option(help="How long all of it may take, as 4h or 90m.", metavar="DURATION")
    ] = None,
    approval: Annotated[
        int | None, typer.Option(min=0, max=9, help="So many people must say yes before anything moves.", metavar="N")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write it: NAME.yaml when left out, - prints it.", metavar="FILE"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, take what is likely.")] = False,
) -> None:
    """Write a runbook to start from: for this inventory, complete, and with comments that teach.

    On a terminal it asks for what is left out. Nothing is contacted, and the next commands are shown.
    """
    from orchestrator.cli.questions import Terminal, Unasked
    from orchestrator.cli.references import read_inventory
    from orchestrator.report.starter.page import starter

    found, _ = read_inventory(inventory)
    on_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    said = _Said(name, kind, pool, site, to, window, approval)
    outline = _outline(said, found, Terminal() if on_terminal and not yes else Unasked())
    target = output or Path(f"{outline.name}.yaml")
    if target == _STANDARD_OUTPUT:
        print(starter(outline, found, _arguments(outline, found, inventory, f"{outline.name}.yaml")).text, end="")
        return
    _check_free(target, replaced=force)
    arguments = _arguments(outline, found, inventory, str(target))
    made = starter(outline, found, arguments)
    _write(target, made.text)
    print(f"{target}: a runbook for the {outline.kind} of pool {outline.pool}; its comments say what to change")
    for note in made.notes:
        print(f"  {note}")
    print("\nNext, of which only the last one touches anything:\n")
    for command in ("lint", "test", "permissions", "plan", "run"):
        print(f"  failover {command} {arguments}")


def _outline(said: _Said, inventory: Inventory, questions: Questions) -> Outline:
    """What the command line says, and for the rest what is answered.

    Raises:
        RefusedError: it cannot be done so.
    """
    from orchestrator.model.units import format_duration
    from orchestrator.report.starter import outline as look

    kind = said.kind or Kind(questions.choose("What is it for?", "--kind", _kinds(), Kind.MAINTENANCE.value))
    look.check_flags(kind, said.site, said.to)
    name = look.checked_name(kind.value if said.name is None else said.name)
    if said.window is not None:
        look.checked_window(kind, said.window)
    pool = _pool(said, kind, inventory, questions)
    switch = inventory.pools[pool].switch
    longest = look.longest_window(kind, switch)
    site, to = _sites(said, kind, inventory, pool, questions)
    entered = said.window
    if entered is None:
        likely = format_duration(look.likely_window(kind, switch))
        question = "How long may all of it take"
        entered = questions.enter(question, likely, lambda text: look.checked_window(kind, text, longest))
    window = look.checked_window(kind, entered, longest)
    approval = said.approval
    if approval is None:
        question = "How many people must say yes before anything moves"
        approval = look.checked_approval(questions.enter(question, "0", look.checked_approval))
    given = {"site": said.site, "to": said.to}
    defaults = frozenset(key for key, value in given.items() if questions.deliberate or value is not None)
    return look.Outline(kind, name, pool, site, to, window, approval, defaults)


def _kinds() -> dict[str, str]:
    return {kind.value: about for kind, about in ABOUT.items()}


def _pool(said: _Said, kind: Kind, inventory: Inventory, questions: Questions) -> str:
    from orchestrator.report.starter.outline import checked_pool, pools_for

    if said.pool is not None:
        return checked_pool(kind, inventory, said.pool)
    possible = {name: f"at {', '.join(inventory.pools[name].sites)}" for name in pools_for(kind, inventory)}
    return questions.choose("Which pool?", "--pool", possible, next(iter(possible)) if len(possible) == 1 else None)


def _sites(said: _Said, kind: Kind, inventory: Inventory, pool: str, questions: Questions) -> tuple[str, str]:
    """The site that is emptied, and the one that takes its traffic; a reboot has no other."""
    from orchestrator.report.starter.outline import checked_site, destinations, site_choices

    to = None if said.to is None else checked_site(inventory, pool, "--to", said.to)
    if said.site is None:
        choices = _carrying(inventory, pool, site_choices(inventory, pool, to))
        question = "Which site is the host at?" if kind is Kind.REBOOT else "Which site is to be emptied?"
        if kind is Kind.TRIAL:
            question = "Which site serves now?"
        site = questions.choose(question, "--site", choices, next(iter(choices)))
    else:
        site = checked_site(inventory, pool, "--site", said.site)
    if kind is Kind.REBOOT:
        return site, ""
    if to is None:
        choices = _carrying(inventory, pool, destinations(inventory, pool, site))
        to = questions.choose("Which site takes its traffic?", "--to", choices, next(iter(choices)))
    return site, to


def _carrying(inventory: Inventory, pool: str, sites: Sequence[str]) -> dict[str, str]:
    parts = inventory.pools[pool].sites
    return {name: f"{parts[name].capacity}: {' '.join(parts[name].members)}" for name in sites}


def _arguments(outline: Outline, inventory: Inventory, inventories: Sequence[Path], file: str) -> str:
    """Those of lint, plan and run for this runbook, as a shell takes them."""
    from orchestrator.report.starter.outline import host_of

    parameters = {"site": outline.site, "to": outline.to}
    if not outline.to:
        parameters = {"site": outline.site, "host": host_of(outline, inventory)}
    words = [file]
    for path in inventories:
        words += ["-i", str(path)]
    for name, value in parameters.items():
        words += ["-p", f"{name}={value}"]
    return shlex.join(words)


def _check_free(target: Path, *, replaced: bool) -> None:
    """See that a file can be written there.

    Raises:
        RefusedError: it cannot, or something is there that must not be replaced.
    """
    if target.is_dir():
        raise RefusedError(f"cannot write {target}: it is a folder", remedy="name a file in it with -o")
    if os.path.lexists(target) and not replaced:
        raise RefusedError(f"cannot write {target}: it is there already", remedy="name another with -o, or use --force")


def _write(target: Path, text: str) -> None:
    """All of it or nothing.

    Raises:
        RefusedError: there is no room, no folder or no right for it.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        remedy = "name a file in a folder that is there and is yours"
        raise RefusedError(f"cannot write {target}: {error.strerror}", remedy=remedy) from error
