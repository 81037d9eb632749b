"""The live view keeps to its terminal: its height, its characters, its colours."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from orchestrator.report.account import Account
from orchestrator.report.live import LiveReport
from orchestrator.report.sheet import Page, Sheet, plain
from orchestrator.report.tree import run_tree

from . import story
from .story import HandClock, Story


def console(encoding: str = "utf-8", **options: object) -> tuple[Console, io.BytesIO]:
    """A console that writes bytes, and those bytes."""
    sink = io.BytesIO()
    stream = io.TextIOWrapper(sink, encoding=encoding, write_through=True)
    environment = {"TERM": "xterm-256color", **{key: str(value) for key, value in options.items()}}
    return Console(file=stream, width=80, height=24, force_terminal=True, _environ=environment), sink


def shown(told: Story, screen: Console) -> None:
    """Show a story live."""
    clock = HandClock()
    with LiveReport(story.plan(), screen, clock) as live:
        for entry in told.entries:
            clock.set(entry.at)
            live.entry(entry)


def tree(told: Story, height: int | None = None) -> str:
    """The tree of a story, three seconds after its last entry."""
    return plain(run_tree(Account(story.plan(), told.entries), told.at + 3, height))


def test_the_last_picture_stays() -> None:
    """What is on the screen at the end is the tree of the finished run."""
    screen, sink = console()
    shown(story.done(), screen)
    text = sink.getvalue().decode()
    assert "back     return         done" not in text  # colours stand between
    for name in ("escape", "shift", "drain", "window", "back", "12m57s"):
        assert name in text


def test_no_terminal_gets_the_last_picture_once() -> None:
    """On a console that is no terminal there are no escape sequences, and the tree appears once."""
    sink = io.StringIO()
    shown(story.done(), Console(file=sink, width=80, _environ={}))
    assert sink.getvalue().count("run 0610-k3f  done  12m57s") == 1
    assert "\x1b" not in sink.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_gets_ascii(encoding: str) -> None:
    """Where the encoding is not UTF-8, nothing but ASCII is written, also for text from outside."""
    screen, sink = console(encoding)
    shown(story.stuck(), screen)
    assert sink.getvalue().isascii()
    assert b"5s - start HAProxy" in sink.getvalue()


def test_no_color_means_no_colours() -> None:
    """With NO_COLOR set, no foreground colours are written."""
    plainly, coloured = console(NO_COLOR=1), console()
    shown(story.stuck(), plainly[0])
    shown(story.stuck(), coloured[0])
    assert b"31m" in coloured[1].getvalue()
    assert b"31m" not in plainly[1].getvalue()


def test_a_long_detail_moves_below_its_step() -> None:
    """What does not fit beside a step at work stands below it in full."""
    assert "\n     15 sessions left: 4 with an open transaction, 2 idle\n" in tree(story.draining(6))


def test_waypoints_stand_below_the_step_at_work() -> None:
    """The waypoints reached so far are listed, the one under way last."""
    told = story.shifting().towards("shift", "100%")
    assert "\n     5% reached, 25% reached, 100%\n" in tree(told)


def test_a_held_run_shows_the_command() -> None:
    """A run that waits for a person shows the exact command, even on a narrow terminal."""
    page = run_tree(Account(story.plan(), story.held().entries), story.BEGIN + 999)
    assert "\n  failover approve 0610-k3f window\n" in plain(page, 36)
    assert "\n  failover approve \\\n    0610-k3f window\n" in plain(page, 24)


def test_a_failed_guard_is_shown() -> None:
    """A guard that does not pass now is shown below the tree; one that passes again is not."""
    told = story.draining().verdict("", "guard", "serving", "fail", "smtp is served by no site")
    assert "fail guard serving: smtp is served by no site" in tree(told)
    told.verdict("", "guard", "serving", "pass", "smtp is served by iad")
    assert "guard serving" not in tree(told)


def test_a_small_terminal_keeps_the_step_at_work() -> None:
    """Where the tree is too high, finished steps fold, then coming ones, and the step at work stays."""
    text = tree(story.draining(), height=8)
    assert len(text.splitlines()) <= 8
    assert " … 2 finished above\n" in text
    assert "8 sessions left" in text
    assert "more to come" in text


def test_time_stands_still_when_the_run_is_over() -> None:
    """A run that is over does not age."""
    told = story.done()
    account = Account(story.plan(), told.entries)
    assert plain(run_tree(account, told.at)) == plain(run_tree(account, told.at + 9999))


def pictured(*notes: str) -> str:
    """The last picture of a drain, after these notes."""
    sink = io.StringIO()
    with LiveReport(
        story.plan(), Console(file=sink, width=80, _environ={}), HandClock(), story.draining().entries
    ) as it:
        for note in notes:
            it.note(note)
    return sink.getvalue()


def test_what_the_journal_does_not_tell_stands_below() -> None:
    """A note stands below the tree until it is said anew, its command on a line of its own; an empty one is nothing."""
    command = "failover resume 0610-k3f"
    assert pictured("somebody does", f"nobody does:\n{command}") == f"{pictured()}\n\nnobody does:\n  {command}"
    assert pictured("somebody does", "") == pictured()


def test_markup_in_a_reason_is_only_text() -> None:
    """Square brackets in a reason are shown as they are."""
    told = story.escaped().step("shift", "gating").step("shift", "failed", reason="[red]no[/red] route")
    assert "[red]no[/red] route" in tree(told)


def test_a_page_is_made_for_its_console() -> None:
    """A page asks for its lines with the width and the characters of the console that shows it."""
    seen: list[Sheet] = []

    def build(sheet: Sheet) -> list[Text]:
        seen.append(sheet)
        return []

    screen, _ = console("ascii")
    screen.print(Page(build))
    assert seen == [Sheet(80, ascii_only=True)]
