"""``failover inventory``: what the files make together, and the same hosts for pyinfra."""

from __future__ import annotations

import typer

from orchestrator.cli.options import AsJson, InventoryFiles
from orchestrator.cli.output import answers_errors, show
from orchestrator.cli.references import read_inventory

app = typer.Typer(
    help="See what an inventory says, or hand its hosts to pyinfra.", rich_markup_mode=None, no_args_is_help=True
)


@app.command("show")
@answers_errors
def show_inventory(inventory: InventoryFiles, as_json: AsJson = False) -> None:
    """Show sites, pools, hosts and groups as all files together make them. Nothing is contacted."""
    from orchestrator.report.inventory import inventory_page

    found, _ = read_inventory(inventory)
    if as_json:
        print(found.model_dump_json(by_alias=True))
    else:
        show(inventory_page(found))


@app.command("pyinfra")
@answers_errors
def pyinfra(inventory: InventoryFiles) -> None:
    """Print an inventory file for pyinfra 3: the same hosts; its groups are ours, and each site and pool."""
    from orchestrator.adapters.pyinfra_hosts import inventory_file

    found, _ = read_inventory(inventory)
    print(inventory_file(found), end="")
