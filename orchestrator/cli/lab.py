"""``failover lab``: real HAProxy and Postfix sites on this machine, to try everything out on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import AsJson
from orchestrator.cli.output import answers_errors
from orchestrator.errors import FailoverError
from orchestrator.lab.layout import Gate
from orchestrator.lab.profiles import ProfileName

if TYPE_CHECKING:
    from orchestrator.lab.client import LabStatus
    from orchestrator.lab.ledger import Ledger

app = typer.Typer(
    help="Real HAProxy and Postfix sites on loopback, with persistent clients and a ledger of every message.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
fault = typer.Typer(
    help="Break something in the running lab, and heal it.", rich_markup_mode=None, no_args_is_help=True
)
app.add_typer(fault, name="fault")

Name = Annotated[
    str | None,
    typer.Option(
        "--name", help="Which lab; several can run side by side. FAILOVER_LAB names it too.", show_default=False
    ),
]
Host = Annotated[str, typer.Argument(help="A host, as ord-mx1.", metavar="HOST")]


@app.command()
@answers_errors
def up(
    profile: Annotated[ProfileName, typer.Option(help="How the clients behave, see below.")] = "steady",
    clients: Annotated[int, typer.Option(min=1, max=500, help="How many persistent clients.")] = 50,
    gate: Annotated[Gate, typer.Option(help="What answers 421 on each host while it is drained.")] = "postfix-policy",
    name: Name = None,
) -> None:
    """Start a lab: sites ord and iad, the spare dfw, two Postfix hosts each, HAProxy in front, clients on them.

    steady: a message every 1-3 s from each client.

    hot: the next message at once, and hosts with busy disks.

    scan: hosts hold each message 0.3 s before they queue it, as a virus scanner does.

    mixed: slow, pausing and NOOP-only clients among chatty ones.

    postfix: a real Postfix is the client.

    It needs root, for Postfix, and listens on loopback only. It runs until 'failover lab down'.
    """
    from orchestrator.lab.client import Lab

    lab = Lab.up(name, profile, clients, gate, progress=lambda step: print(f"· {step}", file=sys.stderr, flush=True))
    where = "" if lab.name == "default" else f" --name {lab.name}"
    shared = (
        "" if lab.name == "default" else f"export FAILOVER_LAB={lab.name}   # inventories/lab.yaml means this lab\n  "
    )
    inventory = "inventories/lab-map.yaml" if gate == "postfix-map" else "inventories/lab.yaml"
    print(f"""\
The lab {lab.name} is up: ord and iad serve, dfw is the spare; profile {profile}, {clients} clients.
Its edge is at {lab.addresses()["edge.smtp"]}, its logs are in {lab.state / "logs"}

  {shared}failover lab status{where}
  failover run runbooks/provider-maintenance.yaml -i {inventory} -p site=ord -p to=iad
  failover lab fault flow-loss iad 2%{where}
  failover lab down{where}""")


@app.command()
@answers_errors
def status(
    as_json: AsJson = False,
    settle: Annotated[
        bool, typer.Option("--settle", help="First pause the clients until no message is in flight, up to 60s.")
    ] = False,
    name: Name = None,
) -> None:
    """Show the hosts, and the ledger: what was accepted, delivered, lost, duplicated and cut."""
    from orchestrator.lab.client import Lab

    lab = Lab.attach(name)
    ledger = lab.settle() if settle else None
    found = lab.status()
    if ledger is not None:
        found = found.model_copy(update={"ledger": ledger})
    if as_json:
        print(found.model_dump_json())
        return
    print("\n".join(_page(found)))


@app.command()
@answers_errors
def down(name: Name = None) -> None:
    """End the lab and every process of it. Its logs stay."""
    from orchestrator.lab.client import Lab

    lab = Lab.attach(name)
    lab.down()
    print(f"The lab {lab.name} is down.")


@fault.command("flow-loss")
@answers_errors
def flow_loss(
    site: Annotated[str, typer.Argument(help="A site, as iad.", metavar="SITE")],
    share: Annotated[str, typer.Argument(help="Which share of connections, as 2%; 0% heals.", metavar="SHARE")],
    name: Name = None,
) -> None:
    """Let a share of new connections on the path to SITE be taken and never answered.

    A load balancer that does this looks healthy to one connection, and to most probes.
    """
    from orchestrator.errors import InputError, Problem
    from orchestrator.lab.client import Lab
    from orchestrator.model.units import format_fraction, parse_fraction

    try:
        fraction = parse_fraction(share)
    except ValueError as error:
        raise InputError([Problem(f"cannot set the flow loss: {error}")]) from error
    Lab.attach(name).flow_loss(site, fraction)
    print(f"{format_fraction(fraction)} of new connections on the path to {site} vanish.")


@fault.command()
@answers_errors
def kill(host: Host, name: Name = None) -> None:
    """Cut the power of HOST: all its processes end at once. What was in its queue stays on its disk."""
    from orchestrator.lab.client import Lab

    Lab.attach(name).kill_host(host)
    print(f"{host} is dead.")


@fault.command()
@answers_errors
def revive(host: Host, name: Name = None) -> None:
    """Start HOST again, on the queue that it left."""
    from orchestrator.lab.client import Lab

    Lab.attach(name).revive_host(host)
    print(f"{host} is up.")


@fault.command()
@answers_errors
def heal(name: Name = None) -> None:
    """Take every fault back."""
    from orchestrator.lab.client import Lab

    Lab.attach(name).heal()
    print("All hosts are up and no path loses flows.")


def _page(found: LabStatus) -> Iterator[str]:
    plan = found.plan
    load = "paused" if found.paused else "running"
    yield f"lab {plan.name}: profile {plan.profile}, {plan.clients} clients ({load}), gate {plan.gate}"
    yield ""
    yield "host      state  sessions  queued"
    for name, host in found.hosts.items():
        yield f"{name:<9} {'up' if host.up else 'DEAD':<6} {host.sessions:>8}  {host.queued:>6}"
    for site, share in found.flow_loss.items():
        if share:
            yield f"the path to {site} loses {share:.2%} of new connections"
    yield ""
    yield from _ledger(found.ledger)


def _ledger(ledger: Ledger) -> Iterator[str]:
    yield f"accepted          {ledger.accepted:>7}   {ledger.rate:.0f}/s over {ledger.sessions} sessions"
    yield f"delivered         {ledger.delivered:>7}   {ledger.in_flight} in flight, {ledger.deferred} deferrals"
    yield f"lost              {ledger.lost:>7}"
    yield f"duplicated        {ledger.duplicated:>7}"
    yield f"transactions cut  {ledger.transactions_cut:>7}"
    yield f"421 replies       {ledger.replies_421:>7}   sessions that a host ended politely"
    yield f"idle closes       {ledger.idle_closes:>7}   sessions that ended between two messages"
    yield f"hard errors       {ledger.hard_errors:>7}   sessions that ended in a command, and bad replies"
    yield f"failed connects   {ledger.failed_connects:>7}"
    if ledger.latency_p50 is not None and ledger.latency_p99 is not None:
        yield f"latency           p50 {ledger.latency_p50 * 1000:.0f} ms, p99 {ledger.latency_p99 * 1000:.0f} ms"


def show_ledger() -> None:
    """Print the settled ledger of the lab whose mail a run has just moved; nothing when it has gone meanwhile."""
    from orchestrator.lab.client import Lab

    try:
        ledger = Lab.attach().settle()
    except FailoverError as error:
        print(f"the lab's ledger cannot be read: {error}", file=sys.stderr)
        return
    print("\nledger of the lab")
    print("\n".join(f"  {line}" for line in _ledger(ledger)))
