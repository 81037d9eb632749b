"""A run as a tree of its steps: what the live view redraws, and what ``status`` shows once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.text import Text

from orchestrator.model.check import Judgement
from orchestrator.model.plan import PlannedStep
from orchestrator.model.units import format_duration
from orchestrator.report.account import (
    ACTIVE,
    BROKEN,
    Account,
    Finding,
    StepAccount,
    abort_text,
    group_status,
    groups,
    parameters_text,
    verb,
)
from orchestrator.report.advice import Advice, advice
from orchestrator.report.sheet import Page, Sheet, style_of
from orchestrator.report.timing import StepTiming, step_timing, window_timing
from orchestrator.status import RunState, RunStatus, StepStatus

RUN_STYLES: Final[dict[RunStatus, str]] = {
    RunStatus.PLANNED: "dim",
    RunStatus.RUNNING: "cyan",
    RunStatus.HELD: "yellow",
    RunStatus.INTERRUPTED: "yellow",
    RunStatus.UNDOING: "yellow",
    RunStatus.DONE: "green",
    RunStatus.UNDONE: "yellow",
    RunStatus.REFUSED: "red",
    RunStatus.STUCK: "bold red",
}
JUDGEMENT_STYLES: Final[dict[Judgement, str]] = {
    Judgement.PASS: "green",
    Judgement.FAIL: "red",
    Judgement.UNKNOWN: "yellow",
}
_SETTLED: Final = frozenset({StepStatus.DONE, StepStatus.NOTHING, StepStatus.UNDONE})
_STATUS: Final = max(map(len, StepStatus))
"""So wide that no column moves while steps change."""
_BELOW: Final = 5
"""Blanks before what belongs to the step above."""


@dataclass(slots=True)
class _Row:
    """One step: its cells without the detail, the detail, and the lines below it."""

    cells: list[Text]
    detail: str
    status: StepStatus
    planned: PlannedStep | None
    below: list[Text] = field(default_factory=list)


def run_tree(account: Account, now: float, height: int | None = None) -> Page:
    """The tree at ``now`` (Unix time), in at most ``height`` lines as far as finished and coming steps can give way."""
    return Page(lambda sheet: _lines(account, now, sheet, height))


def advice_lines(orders: Sequence[Advice], sheet: Sheet) -> list[Text]:
    """What can be typed, beside what it does; where that is too wide the commands alone."""
    table = [[Text(sheet.say(order.command), "bold"), Text(order.effect, "dim")] for order in orders]
    wide = max((sum(cell.cell_len + 2 for cell in row) for row in table), default=0)
    if wide <= sheet.width:
        return sheet.table(table, indent=2)
    return [line for order in orders for line in sheet.command(order.command, 2, "bold")]


def _lines(account: Account, now: float, sheet: Sheet, height: int | None) -> Iterator[Text]:
    head = [*_header(account, now, sheet), Text()]
    foot = _footer(account, sheet)
    blocks = _blocks(account, now, sheet)
    if height is not None:
        blocks = _squeezed(blocks, height - len(head) - len(foot), sheet)
    yield from head
    for _, lines in blocks:
        yield from lines
    yield from foot


def _header(account: Account, now: float, sheet: Sheet) -> Iterator[Text]:
    state = account.state
    title = Text(sheet.say(account.plan.runbook.runbook), "bold")
    yield title.append("  ").append(sheet.say(parameters_text(account.plan)), "dim not bold")
    line = Text(f"run {sheet.say(account.run)}  " if account.run else "")
    line.append(state.status, RUN_STYLES[state.status])
    yield line if state.began is None else line.append(f"  {format_duration(account.elapsed(now))}")
    if (window := window_timing(account)) is not None:
        style = "bold red" if window.is_late(now) else "dim"
        yield from (Text(part, style) for part in sheet.wrap(window.text(now), 0, 2))
    if asked := abort_text(state):
        yield from (Text(part, "bold yellow") for part in sheet.wrap(f"aborted {asked}", 0, 2))
    for rule, reason in account.plan.overrides.items():
        yield Text(sheet.say(f"set aside: {rule}: {reason}"), "yellow")


def _footer(account: Account, sheet: Sheet) -> list[Text]:
    state, orders = account.state, advice(account)
    breaches = [found for found in account.breaches.values() if found.verdict.reason not in state.reason]
    lines = [_finding(found, sheet) for found in breaches]
    if state.reason and state.status is not RunStatus.RUNNING and not _said_above(state):
        said = state.reason if state.reason.startswith(f"{state.status} ") else f"{state.status}: {state.reason}"
        reason = sheet.wrap(said, 0, 3)
        lines += [Text(part, RUN_STYLES[state.status]) for part in reason]
    lines += advice_lines(orders, sheet)
    return [Text(), *lines] if lines else []


def _said_above(state: RunState) -> bool:
    """Whether the run's reason repeats that of a step, which stands in full below the step."""
    steps = [step for step in state.steps.values() if step.status in BROKEN]
    return any(step.reason and step.reason in state.reason for step in steps)


def _blocks(account: Account, now: float, sheet: Sheet) -> list[tuple[StepStatus, list[Text]]]:
    rows = [row for name, steps in groups(account.steps) for row in _group(account, name, steps, now, sheet)]
    for row in rows:
        row.cells.append(Text(sheet.say(row.detail), _detail_style(row.status)))
    full = max((sum(cell.cell_len + 2 for cell in row.cells[:-1]) for row in rows), default=0)
    for row in rows:
        if row.planned is not None:
            fits = full + row.cells[-1].cell_len <= sheet.width
            row.below = list(_below(account, row, now, sheet, said="" if not fits else row.detail))
            if not fits and row.status in ACTIVE:
                row.cells[-1] = Text()
    table = sheet.table([row.cells for row in rows], indent=1)
    return [(row.status, [line, *row.below]) for row, line in zip(rows, table, strict=True)]


def _group(account: Account, name: str, steps: Sequence[PlannedStep], now: float, sheet: Sheet) -> Iterator[_Row]:
    if all(step.id != name for step in steps):
        status = group_status(account.state.step(step.id) for step in steps)
        yield _Row(_cells(sheet, name, "return", status, _spent(account, steps, now)), "", status, None)
    for step in steps:
        status = account.state.step(step.id).status
        part = step.id.removeprefix(f"{name}.")
        shown = part if part == step.id else f"  {part}"
        detail = account.detail(step)
        does = verb(account.plan, step)
        if step.instead_of is not None:
            shown, does = f"  {shown}", f"plan B: {does}"
        yield _Row(_cells(sheet, shown, does, status, account.took(step.id, now)), detail, status, step)


def _cells(sheet: Sheet, name: str, do: str, status: StepStatus, took: float | None) -> list[Text]:
    indent = len(name) - len(name.lstrip())
    mark = Text(" " * indent).append(sheet.glyph(status), style_of(status)).append(f" {sheet.say(name)}")
    if status in ACTIVE:
        mark.stylize("bold")
    time = "" if took is None else format_duration(took)
    return [mark, Text(do, "dim"), Text(f"{status:<{_STATUS}}", style_of(status)), Text(f"{time:>6}")]


def _spent(account: Account, steps: Sequence[PlannedStep], now: float) -> float | None:
    times = [took for step in steps if (took := account.took(step.id, now)) is not None]
    return sum(times) if times else None


def _detail_style(status: StepStatus) -> str:
    return "" if status in ACTIVE else "dim"


def _below(account: Account, row: _Row, now: float, sheet: Sheet, said: str) -> Iterator[Text]:
    assert row.planned is not None
    step = account.step(row.planned.id)
    if row.status in ACTIVE:
        if not said and row.detail:
            yield from (Text(part) for part in sheet.wrap(row.detail, _BELOW, 2))
        yield from _way(step, sheet)
        yield from _timing(step_timing(account, row.planned, now), sheet)
    if row.status in ACTIVE or row.status in BROKEN:
        reason = account.state.step(row.planned.id).reason
        news = (found for found in step.recent if found.verdict.reason not in reason)
        yield from (_finding(found, sheet, indent=_BELOW) for found in news)
    if row.status in BROKEN:
        yield from (Text(part, "red") for part in sheet.wrap(reason, _BELOW, 3))


def _way(step: StepAccount, sheet: Sheet) -> Iterator[Text]:
    """The waypoints so far, the one under way last: ``5% reached, 25% reached, 100%``."""
    marks = [f"{mark.label} {mark.result}".strip() for mark in step.waymarks if mark.label]
    if len(marks) > 1:
        towards = {"back": "back: ", "undo": "undo: "}.get(step.waymarks[-1].direction, "")
        yield Text(" " * _BELOW + sheet.say(towards + ", ".join(marks)), "dim")


def _timing(timing: StepTiming | None, sheet: Sheet) -> Iterator[Text]:
    if timing is not None and (text := str(timing)):
        style = "bold yellow" if timing.is_overdue else "dim"
        yield Text(" " * _BELOW + sheet.say(text), style)


def _finding(found: Finding, sheet: Sheet, indent: int = 0) -> Text:
    judgement = found.verdict.judgement
    where = f"{found.gate} {found.verdict.check}" if found.gate not in {"", "checks"} else found.verdict.check
    line = Text(" " * indent).append(judgement, f"dim {JUDGEMENT_STYLES[judgement]}")
    style = "dim" if found.verdict.passed else "red"
    return line.append(f" {sheet.say(f'{where}: {found.verdict.reason}')}", style)


def _squeezed(
    blocks: list[tuple[StepStatus, list[Text]]], room: int, sheet: Sheet
) -> list[tuple[StepStatus, list[Text]]]:
    """Fold finished steps at the top, then coming ones at the bottom, until the rest has room."""
    left, above, below = list(blocks), 0, 0
    while sum(len(lines) for _, lines in left) + bool(above) + bool(below) > room and len(left) > 1:
        if left[0][0] in _SETTLED:
            left, above = left[1:], above + 1
        elif left[-1][0] is StepStatus.PENDING:
            left, below = left[:-1], below + 1
        else:
            break
    dots = sheet.say("…")
    if above:
        left.insert(0, (StepStatus.DONE, [Text(f" {dots} {above} finished above", "dim")]))
    if below:
        left.append((StepStatus.PENDING, [Text(f" {dots} {below} more to come", "dim")]))
    return left
