"""Lets an engine work on a run, and says where the run stands, whatever ends the work."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

import typer

from orchestrator.cli.output import STUCK, configure_logs, reporting
from orchestrator.errors import FailoverError, Fenced, JournalError

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine
    from orchestrator.model.plan import Plan
    from orchestrator.ports import Journal
    from orchestrator.status import RunState

Task = Callable[["Engine"], Awaitable["RunState"]]

RESUMABLE: Final = 5


def work(plan: Plan, run: str, journal: Journal, task: Task, *, as_json: bool) -> RunState:
    """Let an engine do ``task``. SIGINT, SIGTERM and SIGHUP stop it at its next safe point, a second one at once.

    Raises:
        FailoverError: the engine could not be put together; this process has touched nothing.
        typer.Exit: the work broke off; it has been said how to go on.
    """
    import asyncio

    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import open_engine

    configure_logs()
    clock = SystemClock()
    so_far = journal.entries(run)
    engine: Engine | None = None
    try:
        with reporting(plan, clock, so_far, as_json=as_json) as listener:
            engine = open_engine(plan, run, journal, clock, listener)
            return asyncio.run(_interruptible(engine, task))
    except (Exception, KeyboardInterrupt) as error:
        if engine is None and isinstance(error, FailoverError):
            raise
        break_off(error, run)


def break_off(error: BaseException, run: str) -> NoReturn:
    """Say why the work on a run has ended before the run did, and what can be typed now; end with its exit code."""
    import traceback

    while isinstance(error, BaseExceptionGroup):  # what an action did side by side
        error = error.exceptions[0]
    from orchestrator.adapters.secrets import redact

    match error:
        case KeyboardInterrupt():
            _leave(
                RESUMABLE,
                "stopped at once, without waiting for a safe point: the run stands where its journal ends",
                f"where that is: failover status {run}",
                f"go on, after a look at what was under way: failover resume {run}",
            )
        case Fenced():
            _leave(RESUMABLE, f"{error.reason}; this process touches nothing any more", f"see: failover status {run}")
        case JournalError():
            _leave(
                STUCK,
                str(error),
                f"once there is room and the journal can be written, go on with: failover resume {run}",
                "it looks at what was under way before it touches anything",
            )
        case _:
            _leave(
                STUCK,
                redact("".join(traceback.format_exception(error))),
                "this is a bug of failover: please report it with the lines above; the run stands where it broke off",
                f"where that is: failover status {run}",
                f"go on: failover resume {run}",
                f"go back: failover undo {run}",
            )


async def _interruptible(engine: Engine, task: Task) -> RunState:
    import asyncio

    loop = asyncio.get_running_loop()

    def interrupt(number: signal.Signals) -> None:
        engine.interrupt(f"interrupted by {number.name}")
        loop.remove_signal_handler(number)
        # A second Ctrl-C is a person who will not wait. A second SIGHUP is not: shell and kernel both send one.
        hung_up = number is signal.SIGHUP
        signal.signal(number, signal.SIG_IGN if hung_up else signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup(1): the run is meant to outlive its terminal
        loop.add_signal_handler(number, interrupt, number)
    return await task(engine)


def _leave(code: int, *lines: str) -> NoReturn:
    with suppress(OSError):  # the terminal may be gone; the exit code is not
        print(*lines, sep="\n", file=sys.stderr)
    raise typer.Exit(code)
