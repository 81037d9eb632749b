"""``failover schema``: what an editor needs to help with runbooks and inventories."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.output import answers_errors
from orchestrator.errors import RefusedError


class Kind(StrEnum):
    """The files that have a schema."""

    RUNBOOK = "runbook"
    INVENTORY = "inventory"


@answers_errors
def schema(
    kind: Annotated[Kind, typer.Argument(help="Which files.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it here, not to standard output.", metavar="FILE")
    ] = None,
) -> None:
    """Print the JSON Schema of runbooks or inventories, with which an editor completes, checks and explains them.

    Name it in the first line of a file, as seen from that file; every editor with yaml-language-server reads it:

        # yaml-language-server: $schema=runbook.schema.json
    """
    from orchestrator.load.json_schema import schema_text

    text = schema_text(kind.value)
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RefusedError(
            f"cannot write {output}: {error.strerror}", remedy="name a file in a folder that is there and is yours"
        ) from error
    print(f"{output}: the schema of {'runbooks' if kind is Kind.RUNBOOK else 'inventories'}")
