"""Who reads a run's report slowly, or not at all, does not hold the run: it hears, renews its lease, and ends."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TextIO

import pytest

from orchestrator.cli.outbox import Log, Outbox
from orchestrator.cli.ownership import owner_of
from orchestrator.status import RunStatus, StepStatus

from ..engine.scene import hold
from .desk import RUN, Desk

SOON = 30.0
"""Seconds after which a test gives up."""

PAGE = 4096
"""Bytes of a pipe's smallest size, and what must be free in a full one before a write goes on."""


class Pipe:
    """A small pipe; ``reader`` is its reading end, ``writer`` its writing end."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PAGE)
        self.out: TextIO = io.TextIOWrapper(io.FileIO(self.writer, "w", closefd=False), "utf-8")
        self._open = {self.reader, self.writer}

    def fill(self) -> int:
        """Put so many bytes in that there is no room left."""
        os.set_blocking(self.writer, False)
        count = 0
        with suppress(BlockingIOError):
            while True:
                count += os.write(self.writer, b"." * PAGE)
        os.set_blocking(self.writer, True)
        return count

    def read(self, size: int = 65536) -> bytes:
        """What the reader takes in one go; empty when nobody writes any more."""
        return os.read(self.reader, size)

    def let_go(self, end: int) -> None:
        """Close this end; where it is the reader's, who waits for room hears that nobody will read."""
        self._open.remove(end)
        os.close(end)

    def close(self) -> None:
        """Close what is open."""
        for end in set(self._open):
            self.let_go(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A small pipe."""
    with closing(Pipe()) as it:
        yield it


def lines(count: int) -> list[str]:
    """As many lines, each its own, of some hundred bytes."""
    return [f"{number:06d}{'x' * 100}" for number in range(count)]


def within(seconds: float, found: Callable[[], bool]) -> bool:
    """Whether that comes about in time."""
    until = time.monotonic() + seconds
    while not found():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def reading(pipe: Pipe, size: int, pause: float) -> Iterator[list[bytes]]:
    """A reader who takes ``size`` bytes, then pauses; what it has so far."""
    got: list[bytes] = []

    def read() -> None:
        while part := pipe.read(size):
            got.append(part)
            time.sleep(pause)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield got
    finally:
        pipe.let_go(pipe.writer)
        reader.join(SOON)


def test_nobody_reads(pipe: Pipe) -> None:
    """Lines are taken in without a wait, the end is waited for no longer than said, and what was missed is counted."""
    outbox, told = Outbox(pipe.out, patience=0.2), lines(1000)
    began = time.monotonic()
    for line in told:
        outbox.put(line)
    assert time.monotonic() - began < 1.0
    outbox.close()
    assert (outbox.is_out(0.1), outbox.wait()) == (False, False)
    assert time.monotonic() - began < 3.0
    written = PAGE // len(told[0] + "\n")
    assert outbox.complaint() == f"standard output has missed {1000 - written} of 1000 lines: nobody reads it"
    pipe.let_go(pipe.reader)
    assert outbox.is_out(SOON)


def test_a_slow_reader_misses_nothing(pipe: Pipe) -> None:
    """As long as it reads on, were it less than makes room for a write, it is waited for."""
    told = lines(150)
    with reading(pipe, size=128, pause=0.02) as got:
        outbox = Outbox(pipe.out, patience=0.4)
        for line in told:
            outbox.put(line)
        outbox.close()
        began = time.monotonic()
        assert outbox.wait()
        assert time.monotonic() - began > 0.8
    assert b"".join(got).decode().splitlines() == told
    assert outbox.complaint() == ""


def test_memory_is_bounded(pipe: Pipe) -> None:
    """Lines for which there is no room are missed and counted; there is room again when the reader reads on."""
    outbox = Outbox(pipe.out, room=10 * PAGE)
    told = lines(1000)
    pipe.fill()
    for line in told:
        outbox.put(line)
    with reading(pipe, size=65536, pause=0.0) as got:
        assert within(SOON, lambda: b"000300" in b"".join(got))
        outbox.put("the last")
        outbox.close()
        assert outbox.is_out(SOON)
    kept = 10 * PAGE // len(told[0])
    assert b"".join(got).decode().lstrip(".").splitlines() == [*told[:kept], "the last"]
    assert outbox.complaint() == (f"standard output has missed {1000 - kept} of 1001 lines: its reader was too slow")


def test_a_reader_who_has_gone_is_told_of_at_the_next_line(pipe: Pipe) -> None:
    """As a print would: the report breaks, and the end has nothing to wait for nor to say."""
    pipe.let_go(pipe.reader)
    outbox = Outbox(pipe.out)
    outbox.put("one")
    assert outbox.is_out(SOON)
    with pytest.raises(BrokenPipeError):
        outbox.put("two")
    assert outbox.complaint() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_full_disk_under_the_last_line_is_said() -> None:
    """Where no further line tells of the trouble, the end does."""
    full = io.TextIOWrapper(io.FileIO("/dev/full", "w"), "utf-8")
    outbox = Outbox(full)
    outbox.put("one")
    assert outbox.is_out(SOON)
    full.detach().close()
    assert outbox.complaint() == "standard output has missed 1 of 1 lines: No space left on device"


def test_logs_do_not_wait(pipe: Pipe) -> None:
    """A log comes out as long as there is room, and is lost where there is none, for that time."""
    log = Log(pipe.out)
    log.write("before")
    assert pipe.read() == b"before"
    full = pipe.fill()
    began = time.monotonic()
    log.write("meanwhile" * PAGE)
    assert time.monotonic() - began < 1.0
    assert len(pipe.read(2 * full)) == full
    log.write("after")
    assert pipe.read() == b"after"


@contextmanager
def owner(desk: Desk, *options: str, stdout: int, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that resumes the desk's run, with buffers as it has them anywhere."""
    command = [sys.executable, "-m", "orchestrator", "resume", RUN, *options]
    environment = {**os.environ, "FAILOVER_STATE": str(desk.state)}
    environment.pop("PYTHONUNBUFFERED", None)
    with subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def last_sign_of_life(desk: Desk) -> float:
    """When the run's owner has last renewed its lease."""
    (file,) = (desk.state / "locks").glob("run*")
    return float(json.loads(file.read_text())["renewed"])


def is_alive(desk: Desk, process: subprocess.Popen[bytes]) -> None:
    """Make sure that the owner hears an approval and a signal, renews its lease, and ends in time."""
    assert within(SOON, lambda: desk.stands().step("first").status is StepStatus.CONVERGING)
    sign = last_sign_of_life(desk)
    assert desk.failover("approve", RUN, "first").exit_code == 0
    assert within(SOON, lambda: desk.stands().step("second").status is StepStatus.CONVERGING)
    assert within(SOON, lambda: last_sign_of_life(desk) > sign)
    process.send_signal(signal.SIGTERM)
    assert process.wait(SOON) == 5
    state = desk.stands()
    assert (state.status, state.reason) == (RunStatus.INTERRUPTED, "interrupted by SIGTERM")


@pytest.mark.parametrize("options", [("--json",), ()], ids=["json", "lines"])
def test_a_run_whose_output_nobody_reads(desk: Desk, pipe: Pipe, options: tuple[str, ...]) -> None:
    """It hears people and signals as ever, and says in the end, once, what was missed."""
    desk.has_run(RunStatus.RUNNING, steps=[hold("first"), hold("second")])
    pipe.fill()
    with owner(desk, *options, stdout=pipe.writer, stderr=subprocess.PIPE) as process:
        is_alive(desk, process)
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert said.startswith("standard output has missed ")
    assert said.endswith("nobody reads it (the run has not waited for it)\n")
    assert len(said.splitlines()) == 1


def test_a_run_of_which_nobody_reads_anything(desk: Desk, pipe: Pipe) -> None:
    """Standard error in the same pipe changes nothing but that what was missed cannot be said."""
    desk.has_run(RunStatus.RUNNING, steps=[hold("first"), hold("second")])
    pipe.fill()
    with owner(desk, "--json", stdout=pipe.writer, stderr=pipe.writer) as process:
        is_alive(desk, process)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_run_on_a_stopped_terminal(desk: Desk, when: str) -> None:
    """Ctrl-S stops what is shown, not the run, whether it comes before the first picture or after."""
    desk.has_run(RunStatus.RUNNING, steps=[hold("first"), hold("second")])
    screen, terminal = pty.openpty()
    try:
        if when == "before":
            termios.tcflow(terminal, termios.TCOOFF)
        with owner(desk, stdout=terminal, stderr=terminal) as process:
            if when == "meanwhile":
                shown = b""
                while b"first" not in shown:
                    shown += os.read(screen, PAGE)
                termios.tcflow(terminal, termios.TCOOFF)
            is_alive(desk, process)
    finally:
        os.close(screen)
        os.close(terminal)


def test_a_slow_reader_gets_all_of_a_run(desk: Desk, pipe: Pipe) -> None:
    """Every event comes, in order, then the run's record, however long after the end; the run is not locked by then."""
    steps = [f"step{number}" for number in range(12)]
    desk.has_run(RunStatus.RUNNING, steps=[hold(step) for step in steps])
    for step in steps:
        assert desk.failover("approve", RUN, step, "--ahead").exit_code == 0
    with owner(desk, "--json", stdout=pipe.writer, stderr=subprocess.PIPE) as process:
        with reading(pipe, size=256, pause=0.05) as got:
            assert within(SOON, lambda: desk.stands().status is RunStatus.DONE)
            assert within(SOON, lambda: owner_of(RUN) is None)
            assert process.poll() is None
        assert process.wait(SOON) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    *events, record = [json.loads(line) for line in b"".join(got).splitlines()]
    with desk.journal() as journal:
        written = [entry.seq for entry in journal.entries(RUN) if entry.kind not in {"progress", "approval"}]
    told = [one["seq"] for one in events if one["event"] not in {"progress", "approval"}]
    assert told == written[1:]
    assert ("event" in record, record["status"]) == (False, "done")
