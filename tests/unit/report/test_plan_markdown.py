"""A change ticket, as a Markdown parser with GitHub's tables reads it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from orchestrator.model.plan import Plan
from orchestrator.report.plan_markdown import plain_text, plan_markdown
from orchestrator.report.sheet import one_line

from . import plans, story

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
PLANS = [plans.maintenance, plans.everything, story.plan]


def text_of(token: Token) -> str:
    """What a reader sees of an inline token; anything but plain text is told by its kind."""
    return "".join(child.content if child.type == "text" else f"<{child.type}>" for child in token.children or ())


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every row of every table."""
    found: list[list[list[str]]] = []
    tokens = PARSER.parse(text)
    for token, inside in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in {"td_open", "th_open"} and inside is not None:
            found[-1][-1].append(text_of(inside))
    return found


@pytest.mark.parametrize("made", PLANS)
def test_each_table_is_a_table(made: Callable[[], Plan]) -> None:
    """A parser finds all tables, each with as many cells in each row as it has columns."""
    found = tables(plan_markdown(made()))
    heads = [table[0][0] for table in found]
    assert heads[:2] == ["parameter", "#"]
    assert heads[-1] == "check"
    assert all(len({len(row) for row in table}) == 1 for table in found)


def test_the_steps_are_all_there() -> None:
    """The table of steps has a row for each step, with its blast radius, headroom, time and undo."""
    steps = tables(plan_markdown(plans.maintenance()))[1]
    assert [row[1].split()[0] for row in steps[1:]] == [step.id for step in plans.maintenance().steps]
    assert steps[2][3:6] == ["37.5% of smtp at once", "1.33 at 100%", "~2m, at most 6m"]
    assert steps[3][3] == "50 sessions"


def test_texts_of_files_are_no_markup() -> None:
    """A pipe, a backtick or a tag in a summary, a help text or a warning is shown as it is."""
    text = plan_markdown(plans.everything())
    assert tables(text)[0][2] == ["size", "small", "how large | it is"]
    inline = [text_of(token) for token in PARSER.parse(text) if token.type == "inline"]
    assert "Leave ord <now>, reboot it | and `hope`." in inline
    assert "warning: r.yaml:4:2: no check after the shift *ever* | pipes [no-check-after-shift]" in inline


@given(st.text(alphabet=st.one_of(st.sampled_from("\\`*_|<>&#~[]()!+-=1.) \t\nab"), st.characters(codec="utf-8"))))
def test_no_text_is_markup(text: str) -> None:
    """Whatever a text is, a list, a paragraph and a table cell show it as one line, and nothing else."""
    shown = one_line(text)
    for page in (f"- {plain_text(text)}\n", f"{plain_text(text)}\n", f"| a |\n|---|\n| {plain_text(text)} |\n"):
        tokens = PARSER.parse(page)
        assert [text_of(token) for token in tokens if token.type == "inline"][-1:] == [shown] or not shown
        assert not {"heading_open", "html_block", "fence", "hr", "code_block"} & {token.type for token in tokens}


def test_the_command_runs_what_was_reviewed() -> None:
    """The ticket ends with the command for the plan's own file, and the checksum by which it was reviewed."""
    text = plan_markdown(plans.maintenance(), "change-17.json")
    assert "\n    failover run change-17.json\n" in text
    assert text.endswith(f"Checksum: `{plans.maintenance().checksum}`\n")
