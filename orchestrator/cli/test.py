"""``failover test``: a runbook against AWS as it behaves, in this process, before anybody runs it at night."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import typer

from orchestrator.cli import files
from orchestrator.cli.options import AsJson, InventoryOfRunbook, Overrides, Parameters, RunbookFile
from orchestrator.cli.output import answers_errors, configure_logs, reporting, show, to_whom_may_be_gone
from orchestrator.cli.plan import overrides_of
from orchestrator.errors import InputError, MissingToolError, Problem

if TYPE_CHECKING:
    from pydantic import JsonValue

    from orchestrator.model.journal import Entry
    from orchestrator.model.plan import Plan
    from orchestrator.ports import Clock
    from orchestrator.testing.world import Ran, World

Ending = Literal["done", "undone", "held", "stuck"]

_FAULT: Final = re.compile(
    r"(?P<name>[a-z-]+)(=(?P<service>[a-z0-9-]+)\.(?P<operation>[A-Za-z0-9*]+))?(:(?P<times>[1-9]\d*))?"
)
_UNEXPECTED: Final = 1


class _Fault(NamedTuple):
    """What ``--fault`` asks for."""

    name: str
    service: str | None
    operation: str | None
    times: int | None


@answers_errors
def test(
    runbook: RunbookFile,
    inventory: InventoryOfRunbook = None,
    param: Parameters = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            help="What goes wrong: never-in-sync, unhealthy-target, never-healthy, no-capacity; or throttling, "
            "timeout, reply-lost, connect-timeout, access-denied with the call, as throttling=elbv2.ModifyListener. "
            "With :N at the end the first N calls only.",
            metavar="NAME[=SERVICE.CALL][:N]",
        ),
    ] = None,
    broken: Annotated[
        list[str] | None, typer.Option("--broken", help="A site that answers no probe.", metavar="SITE")
    ] = None,
    expect: Annotated[
        Ending | None, typer.Option("--expect", help="How it must end: then 0 if it does, and 1 if not.")
    ] = None,
    override: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Run a runbook in a world of its own, on a clock that moves as fast as it can. Nothing outside is contacted.

    The world has what the inventory names: AWS is moto with what moto leaves out, targets that drain for as long as AWS
    drains them, changes that are PENDING first, capacity that takes time. What is not AWS is stood in for. People
    approve whatever the run waits for.

    Exit codes: 0 done; 1 refused, not as expected, or with a fault that no call has met; 3 failed and undone; 4 stuck;
    5 held.
    """
    from orchestrator.report.advice import NOBODYS
    from orchestrator.report.summary import exit_code, summary

    loaded = files.load(runbook, inventory, param)
    faults = [_parse(text) for text in fault or []]
    configure_logs()
    began = time.monotonic()
    with _world(loaded, faults, broken or []) as world, ExitStack() as stack:

        def hear(plan: Plan, clock: Clock) -> Callable[[Entry], None]:
            return stack.enter_context(reporting(plan, clock, (), NOBODYS, as_json=as_json))

        ran = world.run_loaded(loaded.runbook, hear, overrides_of(override or []))
        unmet = [str(one) for one in world.aws.faults.unmet()]
    if as_json:
        _say_json(ran, time.monotonic() - began, unmet)
    else:
        with to_whom_may_be_gone():
            show(summary(ran.plan, ran.entries, "test", NOBODYS))
            print()
            print(_took(ran, time.monotonic() - began))
    if unmet:
        with to_whom_may_be_gone():
            typer.echo(f"no call has met: {', '.join(unmet)} — this test has not tested it", err=True)
        raise typer.Exit(_UNEXPECTED)
    if expect is None:
        raise typer.Exit(exit_code(ran.state))
    if ran.status != expect:
        raise typer.Exit(_UNEXPECTED)


def _parse(text: str) -> _Fault:
    """What one ``--fault`` asks for.

    Raises:
        InputError: it is written in another way.
    """
    match = _FAULT.fullmatch(text)
    if match is None:
        remedy = "write for example --fault never-in-sync, or --fault throttling=elbv2.ModifyListener:3"
        raise InputError([Problem(f"cannot read --fault {text!r}", remedy)])
    times = int(match["times"]) if match["times"] else None
    return _Fault(match["name"], match["service"], match["operation"], times)


@contextmanager
def _world(loaded: files.Loaded, faults: Sequence[_Fault], broken: Sequence[str]) -> Iterator[World]:
    """The world of the inventory, with what goes wrong in it.

    Raises:
        InputError: a fault or a site is not there.
        MissingToolError: moto is not installed.
    """
    from orchestrator.load.problems import meant
    from orchestrator.testing.world import world_of

    problems = [
        Problem(f"cannot break {site}: there is no such site", meant(site, loaded.inventory.sites, "sites"))
        for site in broken
        if site not in loaded.inventory.sites
    ]
    if problems:
        raise InputError(problems)
    with ExitStack() as stack:
        try:
            world = stack.enter_context(world_of(loaded.inventory))
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in {"moto", "boto3", "botocore"}:
                raise
            raise MissingToolError(
                f"cannot test: {error.name} is not installed", remedy="pip install 'failover[testing]'"
            ) from error
        for one in faults:
            try:
                world.aws.faults.inject(one.name, one.service, one.operation, times=one.times)
            except ValueError as error:
                why, _, remedy = str(error).partition(" — ")
                raise InputError([Problem(why, remedy)]) from error
        world.mail.broken.update(broken)
        yield world


def _took(ran: Ran, here: float) -> str:
    from orchestrator.model.units import format_duration

    return f"{format_duration(round(ran.seconds))} in that world, {here:.1f} s here; nothing outside was contacted"


def _say_json(ran: Ran, here: float, unmet: Sequence[str]) -> None:
    from orchestrator.report.records import json_line

    steps: dict[str, JsonValue] = dict(ran.steps)
    reasons: dict[str, JsonValue] = dict(ran.reasons)
    record: dict[str, JsonValue] = {
        "runbook": ran.plan.runbook.runbook,
        "status": ran.status,
        "steps": steps,
        "reasons": reasons,
        "as_before": ran.after == ran.before,
        "unmet": list(unmet),
        "seconds": round(ran.seconds, 3),
        "seconds_here": round(here, 3),
    }
    with to_whom_may_be_gone():
        print(json_line({"test": record}))
