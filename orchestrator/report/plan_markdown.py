"""A plan for a change ticket, in GitHub Flavored Markdown (https://github.github.com/gfm/).

Only what GitHub, GitLab and the paste boxes of Jira and ServiceNow all know: headings, lists and tables. Texts
from files become one line that is neither markup nor HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from orchestrator.model.plan import Plan, PlannedStep
from orchestrator.report import plan_words as words
from orchestrator.report.account import parameter_text
from orchestrator.report.plan_times import plan_times, times_lines
from orchestrator.report.sheet import one_line

_NOTHING: Final = "–"  # noqa: RUF001 - an empty cell reads as forgotten
_MARKUP: Final = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
_BLOCK: Final = re.compile(r"^(?:([#+=-])|(\d{1,9})([.)]))")
"""What begins a heading, a list or a line under a heading (CommonMark 4.2, 4.3, 5.2)."""


def plan_markdown(plan: Plan, file: str = "plan.json") -> str:
    """The plan for a change ticket; ``file`` is where the plan itself was saved, which the ticket tells to run."""
    sections = [
        _section(f"# Change: {plain_text(plan.runbook.runbook)}", _summary(plan)),
        _section("## Parameters", _parameters(plan)),
        _section("## Steps", _steps(plan)),
        _section("## Risks", _items(_risks(plan))),
        _section("## Back-out plan", _back_out(plan)),
        _section("## Checks", _table(["check", "what it measures, and what it must find"], _checks(plan))),
        _section("## Guards", _items(map(str, words.guard_lines(plan)))),
        _section("## Run", _run(plan, file)),
    ]
    return "\n".join(line for section in sections for line in section).rstrip("\n") + "\n"


def plain_text(text: str) -> str:
    """``text`` on one line, so that Markdown shows it as it is, at the beginning of a line too."""
    return _BLOCK.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", _inline(text))


def _inline(text: str) -> str:
    """The same behind other text, as in a table."""
    line = _MARKUP.sub(r"\\\g<0>", one_line(text))
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(heading: str, lines: Iterable[str]) -> list[str]:
    rows = list(lines)
    return [heading, "", *rows, ""] if rows else []


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    cells = [[_inline(cell) or _NOTHING for cell in row] for row in rows]
    if not cells:
        return
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in cells)


def _items(texts: Iterable[str]) -> Iterator[str]:
    return (f"- {plain_text(text)}" for text in texts)


def _summary(plan: Plan) -> Iterator[str]:
    if plan.runbook.summary:
        yield from (plain_text(plan.runbook.summary), "")
    count = sum(words.changes(planned) for planned in plan.forward)
    yield f"- {count} of {len(plan.forward)} steps change something now"
    yield from _items(f"{title}: {text}" for title, text in times_lines(plan_times(plan)))
    for name, included in plan.runbook.includes.items():
        about = f": {included.summary}" if included.summary else ""
        yield f"- {plain_text(f'{name}: runbook {included.runbook}{about}')}"
    yield from _items(f"left out: {name}: {reason}" for name, reason in plan.runbook.skipped.items())


def _parameters(plan: Plan) -> Iterator[str]:
    asked = plan.runbook.parameters
    rows = [(name, parameter_text(plan, name), asked[name].help if name in asked else "") for name in plan.parameters]
    return _table(["parameter", "value", "what it is"], rows)


def _steps(plan: Plan) -> Iterator[str]:
    head = ["#", "step", "what changes", "blast radius", "headroom", "time", "undo"]
    return _table(head, (_row(plan, str(number), planned) for number, planned in enumerate(plan.forward, 1)))


def _row(plan: Plan, number: str, planned: PlannedStep) -> Sequence[str]:
    return (
        number,
        f"{planned.id} ({words.verb_text(planned)})",
        _what(planned),
        _blast_radius(planned),
        _headroom(planned),
        words.takes_text(planned),
        words.undo_text(plan, planned),
    )


def _what(planned: PlannedStep) -> str:
    terms = [f"{title}: {text}" for title, text in (*words.course_lines(planned), *words.terms_lines(planned))]
    return "; ".join([*words.shortened(words.diff_lines(planned)), *terms])


def _blast_radius(planned: PlannedStep) -> str:
    parts = []
    for pool in words.pools_of(planned):
        moved = max(one.moved for mark in planned.milestones for one in mark.pools if one.pool == pool)
        if words.moves_traffic(planned):
            parts.append(f"{words.share_text(moved)} of {pool} at once")
    if planned.sessions is not None and words.changes(planned):
        parts.append(f"{planned.sessions} sessions")
    return ", ".join(parts)


def _headroom(planned: PlannedStep) -> str:
    if not words.moves_traffic(planned):
        return ""
    known = [
        (one.headroom, mark.label) for mark in planned.milestones for one in mark.pools if one.headroom is not None
    ]
    if not known:
        return ""
    least, label = min(known, key=lambda one: one[0])  # of several the first
    return words.ratio_text(least) + (f" at {label}" if label else "")


def _risks(plan: Plan) -> Iterator[str]:
    yield f"point of no return: {words.point_of_no_return_text(plan)}"
    for rule, reason in plan.overrides.items():
        yield f"set aside: {rule} ({words.rule_text(rule)}), because: {reason}"
        for one in plan.set_aside:
            if one.rule == rule:
                yield f"set aside by {rule}: {words.broken_text(one)}"
    yield from (f"warning: {warning}" for warning in plan.warnings)


def _back_out(plan: Plan) -> Iterator[str]:
    rows = [(planned.id, text) for planned, text in words.undo_order(plan)]
    if rows:
        yield "When a step fails, what was done is undone in this order, behind the same gates, unless the step says"
        yield "hold or continue. By hand, at any time: `failover undo RUN`."
        yield ""
        yield from _table(["step", "what an undo does"], rows)
    for planned in plan.forward:
        steps = plan.plan_b(planned.id)
        if steps:
            yield from ("", f"Plan B, instead of an undo of {plain_text(planned.id)}:", "")
            head = ["#", "step", "what changes", "blast radius", "headroom", "time", "undo"]
            yield from _table(head, (_row(plan, str(number), step) for number, step in enumerate(steps, 1)))


def _checks(plan: Plan) -> Iterator[Sequence[str]]:
    return ((name, words.check_text(check)) for name, check in plan.runbook.checks.items())


def _run(plan: Plan, file: str) -> Iterator[str]:
    yield "This runs exactly this plan, and refuses where the world has moved since it was made:"
    yield from ("", f"    failover run {file}", "", f"Checksum: `{plan.checksum}`")
