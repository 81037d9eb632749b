"""The main runbook on real HAProxy and Postfix under live mail, killed at each of its writes, then taken on or back.

``make crash-lab`` runs them all, on several labs side by side, and prints what came of it. It heeds:

* ``CRASH_LAB_SHARD=0/3``: only every third point, from the first on;
* ``CRASH_LAB_LABS=2``: so many labs;
* ``CRASH_LAB_ONLY='set server weight'``: only the points whose name has this in it.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.lab_bench import SERIES, Bench, Course, Fate, Task


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for journals, in memory where this system has a place for that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="failover-crash-", dir=memory if memory.is_dir() else None) as path:
        yield Path(path)


@dataclass(slots=True)
class Tally:
    """What became of all."""

    course: Course
    tasks: int
    began: float = field(default_factory=time.monotonic)
    fates: list[Fate] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The sums, for people."""
        its, killed = self.course, [fate for fate in self.fates if fate.killed]
        yield (
            f"{len(its.points)} points: before and after {its.journal_writes} journal writes "
            f"and {its.side_effects} side effects"
        )
        yield f"{self.tasks} runs to be killed, {len(killed)} were; {len(self.fates) - len(killed)} did not come there"
        for then in SERIES:
            ends = Counter(_ending(fate) for fate in killed if fate.task.then == then)
            yield f"{then}: " + ", ".join(f"{times} {end}" for end, times in ends.most_common())
        again = sum(fate.tries - 1 for fate in self.fates)
        yield f"{again} begun again: what is to be killed must come there, and a slow machine fails checks"
        yield f"{sum(bool(fate.problems) for fate in self.fates)} with problems"
        yield f"{time.monotonic() - self.began:.0f} s"


def _line(fate: Fate) -> str:
    missed = "" if fate.killed else ", did not come there"
    again = f", at try {fate.tries}" if fate.tries > 1 else ""
    return f"{fate.task.then} {fate.task.point}: {_ending(fate)}{missed}{again}"


def _ending(fate: Fate) -> str:
    if fate.was is None:
        return "not begun"
    return f"{fate.was} → {fate.status}" if fate.was is not fate.status else f"{fate.status} already"


def _shard(tasks: Sequence[Task], environment: Mapping[str, str]) -> Sequence[Task]:
    """In an order by lot, the same each time: so that a part of them is a fair part."""
    first, _, step = environment.get("CRASH_LAB_SHARD", "0/1").partition("/")
    tasks = [task for task in tasks if environment.get("CRASH_LAB_ONLY", "") in str(task.point)]
    return random.Random("crash-lab").sample(tasks, len(tasks))[int(first) :: int(step)]


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run all points of this shard; 1 where something is not as it must be."""
    labs = int(os.environ.get("CRASH_LAB_LABS", "2"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with folder() as root:
        with Bench("course", root, nullcontext()) as first:
            course = first.course()
        tasks = _shard(course.tasks, os.environ)
        tally = Tally(course, len(tasks))
        _say(f"{len(course.points)} points, {len(tasks)} runs to kill, on {labs} labs")
        with suppress(KeyboardInterrupt):  # the sums so far
            for fate in _on_labs(labs, root, tasks):
                tally.fates.append(fate)
                _say(f"{len(tally.fates)} {_line(fate)}", *(f"    PROBLEM: {problem}" for problem in fate.problems))
    _say(*tally.lines())
    return int(any(fate.problems for fate in tally.fates) or len(tally.fates) < len(tasks))


def _on_labs(labs: int, root: Path, tasks: Sequence[Task]) -> Iterator[Fate]:
    """Share the tasks between so many processes, each with a lab of its own."""
    context = multiprocessing.get_context("fork")
    results, following, starts = context.SimpleQueue(), context.Value("i", 0), context.Lock()

    def work(number: int) -> None:
        try:
            with Bench(f"crash-{number}", root, starts) as its:
                while True:
                    with following.get_lock():
                        index, following.value = following.value, following.value + 1
                    if index >= len(tasks):
                        return
                    results.put(_safely(its, tasks[index]))
        finally:
            results.put(None)

    workers = [context.Process(target=work, args=(number,)) for number in range(labs)]
    for worker in workers:
        worker.start()
    at_work = labs
    try:
        while at_work:
            fate = results.get()
            if fate is None:
                at_work -= 1
            else:
                yield fate
    finally:
        for worker in workers:
            if worker.is_alive() and at_work:
                worker.terminate()
            worker.join()


def _safely(its: Bench, task: Task) -> Fate:
    """What broke the harness is a problem of that run alone."""
    try:
        return its.fate(task)
    except Exception:
        return Fate(task, killed=False, problems=(traceback.format_exc(),))


if __name__ == "__main__":
    sys.exit(main())
