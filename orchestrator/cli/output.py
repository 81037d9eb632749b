"""How the command line speaks: reports for the kind of output there is, and one clear message for each error."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

import typer

from orchestrator.errors import FailoverError, InputError, PlanRefusedError

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

    class PlainConsole(Console):
        """Tells of a reader who has gone as any file does; rich would end the process, in the middle of a run."""

        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704 - rich calls it while it handles the error

    return PlainConsole(stderr=stderr, highlight=False, soft_wrap=False)


def show(page: RenderableType) -> None:
    """Print what a report has made."""
    console().print(page)


@contextmanager
def to_whom_may_be_gone() -> Iterator[None]:
    """Output that nobody need read: when the terminal or pipe has gone, what ends there ends as it would have.

    Python flushes standard output once more when it ends, and would then exit with 120: that goes nowhere
    (https://docs.python.org/3/library/signal.html#note-on-sigpipe).
    """
    try:
        yield
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):
            os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def fail(error: FailoverError, code: int = REFUSED) -> NoReturn:
    """Say what is wrong, where and what to do, and end."""
    if isinstance(error, InputError):
        from orchestrator.load.problems import read_sources, render

        colour = sys.stderr.isatty()
        print(render(error.problems, read_sources(error.problems), colour), file=sys.stderr)
        if len(error.problems) > 1:
            print(f"{len(error.problems)} problems", file=sys.stderr)
    elif isinstance(error, PlanRefusedError):
        from orchestrator.report.refusal import plan_refused

        print(plan_refused(error), file=sys.stderr)
    else:
        print(str(error), file=sys.stderr)
    raise typer.Exit(code)


def answers_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Turn an expected error of a command into its message and exit code 1: it has touched nothing."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except FailoverError as error:
            fail(error)

    return wrapped


def configure_logs() -> None:
    """Logs go to standard error, which no machine parses as our answer: for eyes on a terminal, else as JSON."""
    import structlog

    from orchestrator.adapters.secrets import redact_logs

    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ)
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            stamp,
            redact_logs,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


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

        live = LiveReport(plan, screen, clock, so_far)
        with to_whom_may_be_gone():
            live.__enter__()
        try:
            yield live.entry
        finally:
            with to_whom_may_be_gone():
                live.__exit__(None, None, None)
        return
    from orchestrator.report.lines import LineReport

    yield LineReport(plan, lambda line: print(line, flush=True), clock, so_far).entry
