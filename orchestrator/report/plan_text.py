"""A plan to read before it is run, as text: a diff for each step, what it risks, and the way back."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.report import plan_words as words
from orchestrator.report.account import parameters_text
from orchestrator.report.plan_times import plan_times, times_lines
from orchestrator.report.sheet import one_line

WIDTH: Final = 100
"""Columns: what two windows side by side, a pull request and a mail all show."""
_BODY: Final = 4
"""Blanks before what belongs to the step above."""
_LEAST: Final = 24
"""Columns for a text, however long its lead and narrow the terminal."""
_TITLE: Final = 9
"""As wide as the longest title of a step's lines, and a blank."""

Style = Literal["", "title", "change", "back", "danger", "quiet", "struck"]
_ANSI: Final[dict[Style, str]] = {
    "title": "\x1b[1m",
    "change": "\x1b[33m",
    "back": "\x1b[36m",
    "danger": "\x1b[31m",
    "quiet": "\x1b[2m",
    "struck": "\x1b[2;9m",
}
_PLAIN: Final = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class _Line:
    text: str = ""
    style: Style = ""
    indent: int = 0
    lead: str = ""
    """Stands before the text, which hangs below itself."""
    wraps: bool = False
    """It is broken at words where it is too wide; what is no prose never is."""


def plan_text(plan: Plan, *, colour: bool = False, width: int = WIDTH) -> str:
    """The plan for people, so many columns wide, but for tables and single long words.

    A step with changes is marked ``~``, one that takes others back ``<``, one that finds everything as it wants it
    ``=``, one of a plan B ``B``, one that is left out ``-``; checks and waits have no mark. ``colour`` is for
    terminals only; without it there is no control character in the text.
    """
    return "".join(f"{_shown(part, colour)}\n" for line in _lines(plan) for part in _broken(line, width))


def _broken(line: _Line, width: int) -> Iterator[_Line]:
    """The line as it fits: its first part behind the lead, the others below."""
    if not line.wraps:
        yield line
        return
    hang = len(line.lead) or 2
    room = max(_LEAST, width - line.indent - hang)
    for number, part in enumerate(textwrap.wrap(line.text, room, break_long_words=False, break_on_hyphens=False)):
        yield _Line(part if number else line.lead + part, line.style, line.indent + (hang if number else 0))


def _shown(line: _Line, colour: bool) -> str:
    text = line.text.rstrip()
    if colour and line.style and text:
        text = f"{_ANSI[line.style]}{text}{_PLAIN}"
    return (" " * line.indent + text).rstrip()


def _lines(plan: Plan) -> Iterator[_Line]:
    yield from _head(plan)
    yield from _steps(plan)
    yield from _section("left out", _skipped(plan))
    yield from _section("checks", _checks(plan))
    yield from _section("guards", _guards(plan))
    yield from _section("warnings", (line for text in plan.warnings for line in _wrapped(text)))
    yield from _section("undo, the last step first", _undo(plan))
    yield from _section("times", _times(plan))
    count = sum(words.changes(planned) for planned in plan.forward)
    yield from (_Line(), _Line(f"{count} of {len(plan.forward)} steps change something now; checksum {plan.checksum}"))


def _head(plan: Plan) -> Iterator[_Line]:
    given = parameters_text(plan) or "(no parameters)"
    yield from _wrapped(given, lead=f"{plan.runbook.runbook}  ", style="title")
    yield from _wrapped(plan.runbook.summary)


def _steps(plan: Plan) -> Iterator[_Line]:
    included = words.included_before(plan)
    for planned, above in words.with_above(plan.forward):
        for name in included.get(planned.id, ()):
            yield _Line()
            yield from _include(plan, name)
        yield _Line()
        yield from _step(planned, _mark(planned), words.needs_text(planned, above))
        yield from _plan_b(plan, planned)


def _include(plan: Plan, name: str) -> Iterator[_Line]:
    what = plan.runbook.includes[name]
    given = " ".join(f"{key}={value}" for key, value in what.parameters.items()) or "(no parameters)"
    yield from _wrapped(given, lead=f"▸ {name}: runbook {what.runbook}  ", style="title")


def _step(planned: PlannedStep, mark: tuple[str, Style], needs: str = "") -> Iterator[_Line]:
    sign, style = mark
    yield _Line(f"{sign} {planned.id}  {words.verb_text(planned)}", style)
    quiet: Style = "quiet" if sign == "=" else ""
    for text in words.diff_lines(planned):
        yield from _below(_wrapped(text, style=quiet))
    yield from _below(_titled(words.course_lines(planned)))
    yield from _below(_titled([("needs", needs)] if needs else []))
    yield from _below(_titled(words.terms_lines(planned)))
    if not planned.reversible and planned.instead_of is None:
        yield _Line("cannot be undone", "danger", indent=_BODY)
    yield from _forecast(planned)
    yield from _below(_titled(_size(planned)))


def _forecast(planned: PlannedStep) -> Iterator[_Line]:
    if not words.moves_traffic(planned):
        return
    for pool in words.pools_of(planned):
        yield _Line()
        for line in _aligned(words.table_of(pool, planned.milestones)):
            yield _Line(line, indent=_BODY)
    yield _Line()


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The rows in columns; all but the first and the last are numbers, and end at the same column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *numbers, last in rows:
        cells = (f"{text:>{width}}" for text, width in zip(numbers, widths[1:-1], strict=True))
        yield "  ".join((f"{first:<{widths[0]}}", *cells, last))


def _size(planned: PlannedStep) -> Iterator[tuple[str, str]]:
    if planned.sessions is not None and words.changes(planned):
        yield "sessions", f"{planned.sessions} to move"
    if takes := words.takes_text(planned):
        yield "takes", takes


def _plan_b(plan: Plan, planned: PlannedStep) -> Iterator[_Line]:
    for step in plan.plan_b(planned.id):
        yield from _below(_step(step, ("B", "danger")))


def _mark(planned: PlannedStep) -> tuple[str, Style]:
    if planned.returns is not None:
        return "<", "back"
    if words.changes(planned):
        return "~", "change"
    return (" ", "") if words.only_waits(planned) else ("=", "quiet")


def _skipped(plan: Plan) -> Iterator[_Line]:
    for name, reason in plan.runbook.skipped.items():
        yield from _wrapped(f"{name}: {reason}", lead="- ", style="quiet")


def _checks(plan: Plan) -> Iterator[_Line]:
    for name, check in plan.runbook.checks.items():
        yield from _wrapped(words.check_text(check), lead=f"{name}: ")


def _guards(plan: Plan) -> Iterator[_Line]:
    for guard in words.guard_lines(plan):
        yield from _wrapped(guard.text, style="struck" if guard.set_aside else "")
        if guard.set_aside:
            yield from _wrapped(guard.set_aside, lead="  set aside: ", style="danger")
            for broken in guard.broken:
                yield from _wrapped(broken, lead="  broken: ", style="danger")
            if guard.instead:
                yield from _wrapped(guard.instead, lead="  watched instead: ")


def _undo(plan: Plan) -> Iterator[_Line]:
    rows = words.undo_order(plan)
    column = max((len(planned.id) for planned, _ in rows), default=0)
    for planned, text in rows:
        yield from _wrapped(text, lead=f"{planned.id:<{column}}  ", style="" if planned.reversible else "danger")
    danger: Style = "danger" if plan.point_of_no_return else ""
    yield from _wrapped(words.point_of_no_return_text(plan), lead="point of no return: ", style=danger)


def _times(plan: Plan) -> Iterator[_Line]:
    for title, text in times_lines(plan_times(plan)):
        yield from _wrapped(text, lead=f"{title:<15}")


def _section(title: str, lines: Iterable[_Line]) -> Iterator[_Line]:
    rows = list(_below(lines))
    if rows:
        yield from (_Line(), _Line(title, "title", indent=2), *rows)


def _titled(rows: Iterable[tuple[str, str]]) -> Iterator[_Line]:
    for title, text in rows:
        yield from _wrapped(text, lead=f"{title:<{_TITLE}}")


def _below(lines: Iterable[_Line]) -> Iterator[_Line]:
    return (replace(line, indent=line.indent + _BODY) for line in lines)


def _wrapped(text: str, *, lead: str = "", style: Style = "") -> Iterator[_Line]:
    """``text`` behind ``lead``, to be broken at words; no line from no text."""
    if line := one_line(text):
        yield _Line(line, style, lead=lead, wraps=True)
