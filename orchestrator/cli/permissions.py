"""``failover permissions``: what a runbook needs to be allowed at AWS and in Kubernetes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli.files import load
from orchestrator.cli.options import AsJson, InventoryOfRunbook, Parameters, RunbookFile
from orchestrator.cli.output import answers_errors


class Provider(StrEnum):
    """Whose permissions are asked for."""

    AWS = "aws"
    KUBERNETES = "kubernetes"


@answers_errors
def permissions(
    runbook: RunbookFile,
    inventory: InventoryOfRunbook = None,
    param: Parameters = None,
    only: Annotated[Provider | None, typer.Option("--for", help="Only aws, or only kubernetes.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the IAM policies and Kubernetes roles that plan, run and undo of a runbook need. Nothing is contacted.

    For each role and cluster of the inventory: the calls that this runbook's steps, checks and guards make, held to
    the very resources where AWS and Kubernetes can do that. docs/permissions.md shows how to hand them in.
    """
    from orchestrator.planning.permissions import permissions as needed_by
    from orchestrator.report.permissions import PROVIDERS, permissions_record, permissions_text
    from orchestrator.report.records import json_line

    loaded = load(runbook, inventory, param)
    needed = needed_by(loaded.runbook.runbook, loaded.inventory)
    providers = PROVIDERS if only is None else tuple(one for one in PROVIDERS if one == only)
    print(json_line(permissions_record(needed, providers)) if as_json else permissions_text(needed, providers))
