"""Makes the disk of a process fail at each of its system calls in turn, by strace(1), and tells how each ended."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from tests.crash.disk_work import WORKS

PROJECT: Final = Path(__file__).parents[2]
_LINE: Final = re.compile(r"(?P<pid>\d+) +(?P<call>\w+)\(.*")


class Fault(NamedTuple):
    """A system call that fails: once, or at all times from then on, as a full disk does."""

    call: str
    error: str
    lasts: Literal["once", "from then on"]

    def __str__(self) -> str:
        return f"{self.call}-{self.error}-{self.lasts.replace(' ', '-')}"


@dataclass(frozen=True)
class Ending:
    """What a process said whose n-th call failed, and the folder that it left."""

    point: int
    folder: Path
    lines: Sequence[str]

    @property
    def end(self) -> str:
        """Its last words: ``end``, ``end Error: message``; or ``broke``, for what should not happen."""
        ends = [line for line in self.lines if line.startswith(("end", "broke")) and not line.startswith("ended")]
        return ends[0] if ends else "nothing"

    @property
    def did(self) -> Sequence[str]:
        """What was acknowledged."""
        return [line.removeprefix("did ") for line in self.lines if line.startswith("did ")]

    @property
    def refused(self) -> Sequence[str]:
        """What was refused: ``NAME: message``."""
        return [line.removeprefix("refused ") for line in self.lines if line.startswith("refused ")]


def why_not() -> str:
    """Why faults cannot be injected here; empty when they can."""
    try:
        done = subprocess.run(_strace("/dev/null", "pwrite64"), capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "strace is not installed"
    return "" if done.returncode == 0 else f"processes cannot be traced here: {done.stderr.strip()}"


def _strace(log: str | Path, call: str, *more: str, program: Sequence[str] = ("true",)) -> Sequence[str]:
    # "?": not every machine has every call.
    return ["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(log), "-e", f"trace=?{call}", *more, "--", *program]


class Calls(NamedTuple):
    """How many calls of one kind are made when nothing fails."""

    work: int
    """By the process that does the work: at so many points it can fail."""
    before: int
    """At most, by a thread of the process that starts it: these must not fail."""


def count(work: str, folder: Path, calls: Sequence[str]) -> Mapping[str, Calls]:
    """How many calls of each kind there are."""
    lines = _run(work, folder, Fault(",?".join(calls), "", "once"), points=1, when=0)
    (ending,) = endings(folder, 1)
    assert ending.end == "end", ending.lines
    found = {}
    for call in calls:
        made = Counter(line["pid"] for line in lines if line["call"] == call)
        own = made.pop(ending.lines[0], 0)
        found[call] = Calls(own, max(made.values(), default=0))
    return found


def fail_at_each(work: str, folder: Path, fault: Fault, calls: Calls, every: int = 1) -> Iterator[Ending]:
    """Let the first call fail, then in another process the second one, and so on; ``every`` leaves some out."""
    opened = calls.work if fault.call == "openat" else 0  # by the driver, one for each point
    lines = _run(work, folder, fault, calls.work, max(calls.work, calls.before + opened) + 1, every)
    failed = {line["pid"] for line in lines if "(INJECTED)" in line[0]}
    said = list(endings(folder, calls.work, every))
    assert failed == {ending.lines[0] for ending in said}, "the fault was injected at each point, and nowhere else"
    yield from said


def endings(folder: Path, points: int, every: int = 1) -> Iterator[Ending]:
    """What the processes of the points said."""
    for point in range(1, points + 1, every):
        place = folder / str(point)
        yield Ending(point, place, (place / "said").read_text().splitlines())


def _run(work: str, folder: Path, fault: Fault, points: int, when: int, every: int = 1) -> list[re.Match[str]]:
    for name in ("warm", *range(1, points + 1, every)):
        place = folder / str(name)
        place.mkdir(parents=True)
        WORKS[work].prepare(place)
    lasts = "+" if fault.lasts == "from then on" else ""
    inject = ["-e", f"inject=?{fault.call}:error={fault.error}:when={when}{lasts}"] if when else []
    arguments = [work, str(folder), fault.call, str(points), str(every), str(when)]
    driver = [sys.executable, "-m", "tests.crash.disk_driver", *arguments]
    log = folder / "strace"
    subprocess.run(_strace(log, fault.call, *inject, program=driver), cwd=PROJECT, check=True)
    return [found for line in log.read_text().splitlines() if (found := _LINE.match(line))]
