"""``failover gate``: the service that a mail host's Postfix asks, and what to write into its main.cf."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.output import answers_errors

app = typer.Typer(help="The gate in front of a mail host's Postfix.", rich_markup_mode=None, no_args_is_help=True)

Control = Annotated[str, typer.Option(help="The control socket: a path, or host:port of the loopback interface.")]


class Driver(StrEnum):
    """The two gates, named as in the inventory."""

    POLICY = "postfix-policy"
    MAP = "postfix-map"


@app.command()
@answers_errors
def serve(
    listen: Annotated[str, typer.Option(help="host:port at which Postfix asks.")] = "127.0.0.1:9998",
    control: Control = "/run/failover-gate/control.sock",
    state: Annotated[Path, typer.Option(help="The file that keeps a closed gate closed over a restart.")] = Path(
        "/var/lib/failover-gate/state.json"
    ),
) -> None:
    """Serve the gate in the foreground, until SIGTERM."""
    from orchestrator.adapters import policy_server

    def ready(address: str) -> None:
        print(f"the gate serves Postfix at {address}, and its operator at {control}", file=sys.stderr, flush=True)

    policy_server.serve(listen, control, state, ready)


@app.command()
@answers_errors
def status(
    control: Control = "/run/failover-gate/control.sock",
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say whether the gate on this host is closed, and what it knows of the transactions."""
    import asyncio

    from orchestrator.adapters.command import LocalCommands
    from orchestrator.adapters.postfix_policy import ControlSocket, GateStatus
    from orchestrator.model.units import format_duration

    found: GateStatus = asyncio.run(ControlSocket(control, LocalCommands("this host")).ask({"do": "read"}))
    if as_json:
        print(found.model_dump_json())
        return
    stages = [stage for stage, *_ in found.transactions.values()]
    spared = f", except for {', '.join(found.spare)}" if found.spare else ""
    print(f"gate         {'closed: MAIL FROM gets 421' + spared if found.closed else 'open'}")
    print(f"asked at     {found.listen}")
    print(f"serves for   {format_duration(found.time - found.since)}")
    print(f"clients      {len(stages)} known, {stages.count('open')} with an open transaction")


@app.command()
@answers_errors
def config(
    driver: Annotated[Driver, typer.Option(help="Which gate.")] = Driver.POLICY,
    service: Annotated[str, typer.Option(help="What Postfix calls the policy service.")] = "inet:127.0.0.1:9998",
    database: Annotated[str, typer.Option(help="The SQLite file of the table.")] = "/var/lib/failover-gate/gate.sqlite",
) -> None:
    """Print the exact lines that Postfix needs for the gate. Nothing is changed."""
    from orchestrator.adapters import postfix_config

    if driver is Driver.POLICY:
        print("# main.cf: each list begins with the gate; what you have there now follows it")
        print(postfix_config.main_cf(postfix_config.policy_lines(service)))
        return
    from orchestrator.adapters import postfix_map
    from orchestrator.model.inventory import MapGate

    table = postfix_map.table_path(MapGate(driver="postfix-map", database=database))
    print("# main.cf: the list begins with the gate; what you have there now follows it")
    print(postfix_config.main_cf(postfix_config.map_lines(table)))
    print(f"\n# {table}")
    print(postfix_map.table_text(database))
    print("# in a shell, before Postfix reads it")
    print(f"mkdir -p {Path(database).parent}")
    print(f"sqlite3 {database} <<'END'\n{postfix_map.SCHEMA}END")
