"""Lets an engine work on a run, and says where the run stands, whatever ends the work."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

import typer

from orchestrator.cli.by_hand import show_by_hand, whole_record
from orchestrator.cli.output import STUCK, configure_logs, reporting, show, to_whom_may_be_gone
from orchestrator.cli.telemetry import telling
from orchestrator.errors import FailoverError, Fenced, JournalError

if TYPE_CHECKING:
    from orchestrator.engine.engine import Engine
    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.model.plan import Plan
    from orchestrator.ports import Lock
    from orchestrator.report.sinks import Sink
    from orchestrator.status import RunState

Task = Callable[["Engine"], Awaitable["RunState"]]

RESUMABLE: Final = 5

RENEW_EVERY: Final = 2.0
"""Seconds between two signs of life; a lease is ten times as long."""


def work(
    plan: Plan, run: str, journal: SqliteJournal, task: Task, lock: Lock, *, as_json: bool, sinks: Sequence[Sink] = ()
) -> RunState:
    """Let an engine do ``task``. SIGINT, SIGTERM and SIGHUP stop it at its next safe point, a second one at once.

    While it works it renews the lease of ``lock``: one that hangs, or was stopped, can be taken over. ``sinks`` hear of
    what happens, and cannot disturb it.

    Raises:
        FailoverError: the engine could not be put together; this process has touched nothing.
        typer.Exit: the work broke off; it has been said how to go on.
    """
    import asyncio

    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import open_engine, typed_run

    configure_logs()
    clock, typed = SystemClock(), typed_run(journal, run)
    so_far = journal.entries(run)
    engine: Engine | None = None
    try:
        with (
            telling(sinks, run, plan, so_far) as also,
            reporting(plan, clock, so_far, typed, as_json=as_json) as report,
        ):
            engine = open_engine(plan, run, journal, clock, also(report))
            return asyncio.run(_alive(lock, _interruptible(engine, task)))
    except (Exception, KeyboardInterrupt) as error:
        if engine is None and isinstance(error, FailoverError):
            raise
        break_off(error, typed)


def break_off(error: BaseException, typed: str) -> NoReturn:
    """Say why the work on a run has ended before the run did, and what can be typed now; end with its exit code.

    ``typed`` is the run as it is typed in a command.
    """
    import traceback

    while isinstance(error, BaseExceptionGroup):  # what an action did side by side
        error = error.exceptions[0]
    from orchestrator.adapters.secrets import redact

    match error:
        case KeyboardInterrupt():
            _leave(
                RESUMABLE,
                "stopped at once, without waiting for a safe point: the run stands where its journal ends",
                f"where that is: failover status {typed}",
                f"go on, after a look at what was under way: failover resume {typed}",
            )
        case Fenced():
            _leave(RESUMABLE, f"{error.reason}; this process touches nothing any more", f"see: failover status {typed}")
        case JournalError():
            _leave(
                STUCK,
                str(error),
                f"once there is room and the journal can be written, go on with: failover resume {typed}",
                "it looks at what was under way before it touches anything",
            )
        case _:
            _leave(
                STUCK,
                redact("".join(traceback.format_exception(error))),
                "this is a bug of failover: please report it with the lines above; the run stands where it broke off",
                f"where that is: failover status {typed}",
                f"go on: failover resume {typed}",
                f"go back: failover undo {typed}",
            )


async def _alive(lock: Lock, task: Awaitable[RunState]) -> RunState:
    """Do ``task``, and give a sign of life as long as this loop turns."""
    import asyncio

    async def renew() -> None:
        while True:
            with suppress(OSError):  # a full disk: the next sign may find room
                lock.renew()
            await asyncio.sleep(RENEW_EVERY)

    renewing = asyncio.ensure_future(renew())
    try:
        return await task
    finally:
        renewing.cancel()


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


def closing(plan: Plan, name: str, journal: SqliteJournal, *, as_json: bool, in_lab: bool = False) -> None:
    """The closing summary, for whoever is still there to read it."""
    from orchestrator.report.records import json_line
    from orchestrator.report.summary import summary
    from orchestrator.wiring import typed_run

    typed = typed_run(journal, name)
    try:
        row, entries = journal.run(name), journal.entries(name)
        with to_whom_may_be_gone():
            if as_json:
                print(json_line(whole_record(plan, row, entries, None, typed)))
                return
            show(summary(plan, entries, name, typed))
            show_by_hand(plan, typed, entries, None, unasked=True)
            if in_lab:
                from orchestrator.cli.lab import show_ledger

                show_ledger()
    except KeyboardInterrupt:
        return  # a person who has read enough: the run has ended already
    except Exception as error:
        break_off(error, typed)
