"""The runbook as one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.load.problems import listed
from orchestrator.model.inventory import Inventory
from orchestrator.model.units import format_duration
from orchestrator.report.sheet import one_line
from orchestrator.report.starter.kind import Kind
from orchestrator.report.starter.means import Emptying, Means, means
from orchestrator.report.starter.outline import Outline
from orchestrator.report.starter.plot import Plot, plot
from orchestrator.report.starter.take_out import comes_back
from orchestrator.report.starter.yaml_text import comment, scalar


@dataclass(frozen=True, slots=True)
class Starter:
    """A runbook to start from."""

    text: str
    """The file, in UTF-8."""
    notes: Sequence[str]
    """What it does without, because the inventory lacks it."""


def starter(outline: Outline, inventory: Inventory, arguments: str) -> Starter:
    """The runbook. ``arguments`` are those of ``failover run`` for it: file, inventories, parameters."""
    there = means(outline, inventory)
    told = plot(outline, there)
    sections = (
        _head(outline, there, told, arguments),
        _identity(outline, told),
        _parameters(told, there),
        _CHECKS + "\n".join(told.checks),
        _guards(told, there),
        _STEPS + "\n".join(told.steps),
    )
    return Starter("\n".join(sections), tuple(map(one_line, _notes(outline, there))))


def _head(outline: Outline, there: Means, told: Plot, arguments: str) -> str:
    others = (
        f"At {outline.site} there is more: pool {listed(there.others)}. Each needs a runbook of its own."
        if there.others
        else ""
    )
    shown = arguments if arguments.isprintable() else one_line(arguments)  # a line break would end the comment
    ends = "a person is asked" if outline.kind is Kind.EVACUATION else "everything that was done is undone, in reverse"
    return (
        _MODELINE
        + comment(told.about)
        + comment(others)
        + "#\n"
        + "".join(f"#   failover {command} {shown}\n" for command in ("lint", "plan", "run"))
        + "#\n"
        + comment(f"The way there:  {' ─ '.join(told.way)}")
        + comment(f"When a step fails {ends}, unless the step says otherwise.")
    )


def _identity(outline: Outline, told: Plot) -> str:
    return (
        "version: 1\n"
        f"runbook: {scalar(outline.name)}\n"
        f"summary: {told.summary}\n"
        "\n"
        + comment(
            "How long all of it may take, the way back included. Lint adds up deadlines, pauses and holds against it; "
            "the plan shows the latest moment at which an undo still fits."
        )
        + f"window: {format_duration(outline.window)}\n"
    )


def _parameters(told: Plot, there: Means) -> str:
    meaning = "capacity that serves, divided by demand"
    headroom = f'{{type: number, default: {there.headroom.at_least:g}, help: "{meaning}: so much at least"}}'
    lines = {**told.parameters, "headroom": headroom}
    return (
        "# What the run asks for: -p NAME=VALUE. ${NAME} inserts the value below, and that is all that ${…} can do.\n"
        "parameters:\n" + "".join(f"  {name}: {declared}\n" for name, declared in lines.items())
    )


def _guards(told: Plot, there: Means) -> str:
    return (
        comment("Guards hold all the time, also while the run waits; a breach stops the step that works, as a failure.")
        + "guards:\n"
        + comment(f"Capacity that serves, divided by demand. {there.headroom.because}", 2)
        + '  - headroom: {pool: "${pool}", at_least: "${headroom}"}\n'
        + "  # Sites with a healthy member that takes new traffic.\n"
        + '  - serving: {pool: "${pool}", at_least: 1}\n'
        + told.pace
        + f"  - check: {told.guard}\n"
    )


def _notes(outline: Outline, there: Means) -> Iterator[str]:
    kind = there.switch.driver
    if there.emptying is Emptying.AWAITED and outline.kind is not Kind.TRIAL:
        whose = "host" if len(there.ungated) == 1 else "hosts"
        yield f"no drain: {whose} {listed(there.ungated)} without a gate (failover gate config)"
    if there.emptying is Emptying.UNSEEN and outline.kind is not Kind.TRIAL:
        yield f"no drain: a switch of kind {kind} takes no member out and sees no session"
    if there.in_one_move and outline.kind is Kind.TRIAL:
        yield f"no small share first: a member of a switch of kind {kind} takes traffic or it does not"
    if outline.kind is Kind.EVACUATION and comes_back(there):
        yield f"it does not last: {comes_back(there)}"
    if not there.inbox and outline.kind in {Kind.MAINTENANCE, Kind.TRIAL}:
        yield f"no proof that mail arrives: no pools.{there.pool}.test_mail.inbox"
    if not there.tls:
        yield f"no TLS in the probes: no ca_file and server_name in pools.{there.pool}.test_mail"
    if not there.headroom.enough:
        yield f"too little capacity: {there.headroom.because}"
    if there.others:
        yield f"only pool {there.pool} is moved: {listed(there.others)} stands at {outline.site}, too"


_MODELINE: Final = """\
# yaml-language-server: $schema=runbook.schema.json
# For the line above, which lets an editor complete, check and explain this file:
#   failover schema runbook -o runbook.schema.json        (beside this file)

"""

_CHECKS: Final = """\
# A check is a probe (smtp: whole SMTP transactions; delivery: a message up to its inbox; sessions: what the switch
# carries), a place to look, and what must be so. Too few samples are "unknown", and unknown never passes.
checks:
"""

_STEPS: Final = """\
# Each step waits for the one above it, unless it says "needs". "before" and "after" are its gates.
steps:
"""
