"""How the command line speaks: reports for the kind of output there is, and one clear message for each error."""

from __future__ import annotations

import functools
import io
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, ParamSpec, TextIO, TypeVar, cast

import typer

from orchestrator.errors import FailoverError, InputError, PlanRefusedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console, RenderableType

    from orchestrator.cli.outbox import Outbox
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
    console().print(page, crop=False)  # a command is never cut


@contextmanager
def to_whom_may_be_gone() -> Iterator[None]:
    """Output that nobody need read: when the terminal or pipe has gone, what ends there ends as it would have.

    It comes after all that the report of a run has to say; where nobody reads that, it is not said either.
    Python flushes standard output once more when it ends, and would then exit with 120: that goes nowhere
    (https://docs.python.org/3/library/signal.html#note-on-sigpipe).
    """
    _let_reports_out()
    try:
        yield
        sys.stdout.flush()
    except OSError:
        _to_nowhere()


def _to_nowhere() -> None:
    """Let all further output vanish; who waits in a write to where it went, waits on there."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


_late: Final[list[Outbox]] = []
"""Reports of runs that are over, which are not out yet."""


def _let_reports_out() -> None:
    """Wait for them as long as somebody reads; when nobody does, give up and say once what was missed."""
    while _late:
        report = _late.pop()
        if not report.wait():
            _to_nowhere()
        _complain(report.complaint())


def _complain(words: str) -> None:
    """Say what is wrong with standard output on standard error, unless that would be waited for too."""
    from orchestrator.cli.outbox import has_room

    if words and has_room(sys.stderr):
        with suppress(OSError):
            print(f"{words} (the run has not waited for it)", file=sys.stderr)


class UnwrittenError(OSError):
    """Our own output could not be written; a reader who has gone is a BrokenPipeError, as everywhere."""


class _Whole(io.FileIO):
    """A file that is written to directly, all that it is given.

    A buffer of Python has a lock: when a thread never came back from a write, the process could not end.
    """

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        whole = len(rest)
        while rest:
            written: int | None = super().write(rest)
            if written is None:  # whoever shares the pipe with us has made it non-blocking
                select.select([], [self], [])
            rest = rest[written or 0 :]
        return whole


class _Output(io.TextIOWrapper):
    """Standard output that tells its own trouble from that of other files."""

    def write(self, text: str, /) -> int:
        with _own_trouble():
            return super().write(text)

    def flush(self) -> None:
        with _own_trouble():
            super().flush()


@contextmanager
def _own_trouble() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UnwrittenError(error.errno, error.strerror) from error


def open_output() -> None:
    """Let standard output and error show as an escape what their encoding cannot express, rather than fail."""
    if sys.stderr is None:  # closed by whoever has started us
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as we run
    elif isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as above
    elif isinstance(sys.stdout, io.TextIOWrapper):
        lines, encoding = sys.stdout.line_buffering, sys.stdout.encoding
        sys.stdout.flush()
        file = _Whole(sys.stdout.fileno(), "w", closefd=False)
        sys.stdout = _Output(file, encoding, "backslashreplace", line_buffering=lines)


def written(command: Callable[[], object]) -> int:
    """Run the command line to the end of its output; gives the exit code.

    A reader who has gone is no mistake; an answer that could not be written is one, and said.
    """
    code: object = 0
    try:
        with suppress(BrokenPipeError):
            try:
                command()
            except SystemExit as end:
                code = end.code
            _let_reports_out()
            sys.stdout.flush()
    except UnwrittenError as error:
        _say_unwritten(error)
        code = code or REFUSED
    _discard_rest()
    return code if isinstance(code, int) else 0 if code is None else REFUSED


def _discard_rest() -> None:
    """Python flushes once more when it ends, and would exit with 120 where that fails: see ``to_whom_may_be_gone``."""
    with to_whom_may_be_gone():
        pass


def _say_unwritten(error: UnwrittenError) -> None:
    with suppress(OSError):
        why = error.strerror or error
        print(f"cannot write the answer: {why} — see where standard output goes", file=sys.stderr)


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
    from orchestrator.cli.outbox import Log

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
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", Log(sys.stderr))),
    )


@contextmanager
def reporting(plan: Plan, clock: Clock, so_far: Sequence[Entry], typed: str, *, as_json: bool) -> Iterator[Listener]:
    """What hears a run's next entries: JSON lines, a live tree on a terminal, plain lines elsewhere.

    ``typed`` is the run as it is typed in the commands that are told.

    It never waits for who reads. What is not out soon after the end comes before whatever is said next, see
    ``to_whom_may_be_gone``: not here, where the run is still locked.
    """
    screen = None if as_json else console()
    if screen is not None and screen.is_terminal:
        with _drawing(plan, screen, clock, so_far, typed) as report:
            yield report
        return
    from orchestrator.cli.outbox import PATIENCE, Outbox
    from orchestrator.report.lines import LineReport
    from orchestrator.report.records import entry_record, json_line

    outbox = Outbox(sys.stdout)
    try:
        if as_json:
            yield lambda entry: outbox.put(json_line(entry_record(entry)))
        else:
            yield LineReport(plan, outbox.put, clock, so_far, typed).entry
    finally:
        outbox.close()
        outbox.is_out(PATIENCE)
        _late.append(outbox)


@contextmanager
def _drawing(plan: Plan, screen: Console, clock: Clock, so_far: Sequence[Entry], typed: str) -> Iterator[Listener]:
    """The live tree. A terminal can be stopped (Ctrl-S): its first and its last picture are waited for a while."""
    from orchestrator.cli.outbox import PATIENCE
    from orchestrator.report.live import LiveReport

    live = LiveReport(plan, screen, clock, so_far, typed)
    ours = sys.stdout, sys.stderr  # rich puts its own in their place while it draws
    with to_whom_may_be_gone():
        _done_within(PATIENCE, live.__enter__)
    try:
        yield live.entry
    finally:
        with to_whom_may_be_gone():
            if not _done_within(PATIENCE, lambda: live.__exit__(None, None, None)):
                sys.stdout, sys.stderr = ours
                _to_nowhere()
                _complain("the terminal is stopped: it has not shown the end")


def _done_within(seconds: float, do: Callable[[], object]) -> bool:
    """Do it in a thread that can be left behind, and raise what it raises; whether it is done."""
    trouble: list[Exception] = []

    def work() -> None:
        try:
            do()
        except Exception as error:
            trouble.append(error)

    thread = threading.Thread(target=work, name="terminal", daemon=True)
    thread.start()
    with suppress(KeyboardInterrupt):  # a person who will not wait for a terminal
        thread.join(seconds)
    if trouble:
        raise trouble[0]
    return not thread.is_alive()
