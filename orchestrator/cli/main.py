"""The command ``failover``: its sub-commands, and what they have in common."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Final

import typer

from orchestrator import __version__
from orchestrator.cli import (
    gate,
    inventory,
    journal,
    lab,
    lint,
    new,
    people,
    permissions,
    plan,
    runs,
    schema,
    status,
    test,
)
from orchestrator.cli.help import GroupedHelp
from orchestrator.cli.output import REFUSED, open_output, written

_USAGE: Final = typer.BadParameter.__mro__[1]
"""What the parser of options raises for every wrong use; typer exports only this kind of it."""


class Commands(GroupedHelp):
    """All commands. Wrong use is bad input as any other: 1, as 2 says that there is something to do."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run one command; never returns."""
        try:
            return super().main(*args, **kwargs)
        except SystemExit as end:
            if isinstance(end.__context__, _USAGE):
                end.code = REFUSED
            raise


app = typer.Typer(
    name="failover",
    help="Runbooks that move live traffic off a site before its provider's maintenance window, and bring it back.",
    epilog="\b\nTry it: failover lab up, then\n"
    "failover run runbooks/provider-maintenance.yaml -i inventories/lab.yaml -p site=ord -p to=iad",
    cls=Commands,
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command(rich_help_panel="Before the window")(new.new)
app.command(rich_help_panel="Before the window")(lint.lint)
app.command(rich_help_panel="Before the window")(plan.plan)
app.command(rich_help_panel="Before the window")(test.test)
app.command(rich_help_panel="Before the window")(permissions.permissions)
app.command(rich_help_panel="Before the window")(schema.schema)
app.command(rich_help_panel="In the window")(runs.run)
app.command(rich_help_panel="In the window")(status.status)
app.command(rich_help_panel="In the window")(people.approve)
app.command(rich_help_panel="In the window")(people.abort)
app.command(rich_help_panel="In the window")(runs.resume)
app.command(rich_help_panel="In the window")(runs.undo)
app.add_typer(inventory.app, name="inventory", rich_help_panel="Before the window")
app.add_typer(journal.app, name="journal", rich_help_panel="In the window")
app.add_typer(lab.app, name="lab", rich_help_panel="On this machine")
app.add_typer(gate.app, name="gate", rich_help_panel="On a mail host")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"failover {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; never returns."""
    open_output()
    sys.exit(written(app))
