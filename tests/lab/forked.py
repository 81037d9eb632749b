"""The command line in a child of this process: all is imported already, so a command starts in milliseconds.

A child can also be tampered with before it starts: it is this process's copy, and what it changes ends with it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, NoReturn

Event = dict[str, Any]

_PACKAGES: Final = ("cli", "report", "load", "planning", "engine", "journal", "actions", "checks", "adapters")
"""What commands import, some of it only when they need it."""

_LOOK_EVERY: Final = 0.005


class Child:
    """One command under way; what it prints goes into files."""

    def __init__(self, pid: int, out: Path) -> None:
        self.pid = pid
        self.code: int | None = None
        """How it ended: its exit code, or as a negative number the signal that ended it."""
        self._out = out

    @property
    def printed(self) -> str:
        """Its standard output so far."""
        return self._out.read_text()

    @property
    def errors(self) -> str:
        """Its standard error so far."""
        return self._out.with_suffix(".err").read_text()

    @property
    def events(self) -> list[Event]:
        """The records of ``--json`` so far."""
        lines = self.printed.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]

    def ended(self) -> bool:
        """Whether it has."""
        if self.code is None:
            self._take(os.waitpid(self.pid, os.WNOHANG))
        return self.code is not None

    def end(self, within: float = 120.0) -> int:
        """Wait for its end; the code."""
        wait_for(self.ended, within, lambda: f"it has not ended:\n{self.printed[-2000:]}\n{self.errors}")
        assert self.code is not None
        return self.code

    def until(self, what: Callable[[Event], bool], within: float = 120.0) -> Event:
        """Wait until it has written such a record."""
        found: list[Event] = []

        def seen() -> bool:
            over = self.ended()
            found.extend(event for event in self.events if what(event))
            assert found or not over, f"it has ended with {self.code}:\n{self.printed[-2000:]}\n{self.errors}"
            return bool(found)

        wait_for(seen, within, lambda: f"it does not come:\n{self.printed[-2000:]}\n{self.errors}")
        return found[0]

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def close(self) -> None:
        """Leave no process behind."""
        if not self.ended():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._take(os.waitpid(self.pid, 0))

    def _take(self, waited: tuple[int, int]) -> None:
        if waited[0]:
            self.code = os.waitstatus_to_exitcode(waited[1])


def wait_for(met: Callable[[], bool], within: float, otherwise: Callable[[], str]) -> None:
    """Wait until a condition is met; fail after so many seconds."""
    until = time.monotonic() + within
    while not met():
        assert time.monotonic() < until, otherwise()
        time.sleep(_LOOK_EVERY)


def start(arguments: Sequence[str], out: Path, tamper: Callable[[], None] = lambda: None) -> Child:
    """Give a command; its output goes to ``out``, its errors beside. ``tamper`` is called in the child before it."""
    _preload()
    out.write_bytes(b"")
    out.with_suffix(".err").write_bytes(b"")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be(arguments, out, tamper)
    return Child(pid, out)


@contextmanager
def forked(arguments: Sequence[str], out: Path, tamper: Callable[[], None] = lambda: None) -> Iterator[Child]:
    """``start``, ended with the block."""
    child = start(arguments, out, tamper)
    try:
        yield child
    finally:
        child.close()


def failover(arguments: Sequence[str], out: Path, tamper: Callable[[], None] = lambda: None) -> Child:
    """A command from its start to its end."""
    with forked(arguments, out, tamper) as child:
        child.end()
        return child


@cache
def _preload() -> None:
    for package in (importlib.import_module(f"orchestrator.{name}") for name in _PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def _be(arguments: Sequence[str], out: Path, tamper: Callable[[], None]) -> NoReturn:
    """In the child: the command line, with nothing of the test around it."""
    code = 70
    try:
        gc.freeze()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
        _write_to(out, 1)
        _write_to(out.with_suffix(".err"), 2)
        sys.stdout = sys.__stdout__ = open(1, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)  # type: ignore[misc]  # noqa: SIM115
        sys.argv = ["failover", *arguments]
        from orchestrator.cli.main import main

        tamper()
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _write_to(path: Path, descriptor: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, descriptor)
    os.close(file)
