"""How the command line speaks: reports for the kind of output there is, and one clear message for each error."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

import typer

from orchestrator.errors import FailoverError, InputError, JournalError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from orchestrator.engine.recorder import Listener
    from orchestrator.model.journal import Entry
    from orchestrator.model.plan import Plan
    from orchestrator.ports import Clock

P = ParamSpec("P")
T = TypeVar("T")

REFUSED = 1
STUCK = 4


def console(*, stderr: bool = False) -> Console:
    """A rich console; colour only on a terminal, and as NO_COLOR says."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def show(page: RenderableType) -> None:
    """Print what a report has made."""
    console().print(page)


def fail(error: FailoverError, code: int = REFUSED) -> NoReturn:
    """Say what is wrong, where and what to do, and end."""
    if isinstance(error, InputError):
        from orchestrator.load.problems import read_sources, render

        colour = sys.stderr.isatty()
        print(render(error.problems, read_sources(error.problems), colour), file=sys.stderr)
        if len(error.problems) > 1:
            print(f"{len(error.problems)} problems", file=sys.stderr)
    else:
        print(str(error), file=sys.stderr)
    raise typer.Exit(code)


def answers_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Turn an expected error of a command into its message and exit code 1; a journal that broke is code 4."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except JournalError as error:
            fail(error, STUCK)
        except FailoverError as error:
            fail(error)

    return wrapped


@contextmanager
def reporting(plan: Plan, clock: Clock, so_far: Sequence[Entry], *, as_json: bool) -> Iterator[Listener]:
    """What hears a run's next entries: JSON lines, a live tree on a terminal, plain lines elsewhere."""
    if as_json:
        from orchestrator.report.records import entry_record, json_line

        yield lambda entry: print(json_line(entry_record(entry)), flush=True)
        return
    screen = console()
    if screen.is_terminal:
        from orchestrator.report.live import LiveReport

        with LiveReport(plan, screen, clock, so_far) as live:
            yield live.entry
        return
    from orchestrator.report.lines import LineReport

    yield LineReport(plan, lambda line: print(line, flush=True), clock, so_far).entry
