"""A lab on which runs of the main runbook are killed at their writes, then taken on or back."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.lab.client import Lab
from orchestrator.status import RunState, RunStatus, fold
from tests.crash.lab_victim import CLOSES, JOURNAL, KILLED, Death, Side, tamper
from tests.lab.command import INVENTORY, RUNBOOK
from tests.lab.forked import Child, failover
from tests.lab.sight import Seen, Sight

Then = Literal["resume", "abort"]
SERIES: Final[tuple[Then, ...]] = ("resume", "abort")
CLIENTS: Final = 10
SITES: Final = ("ord", "iad")

PROVED: Final = Death("journal step escape done", Side.AFTER)
"""Nothing is touched before this, and nothing after it depends on it: points behind it need no new proof of the path,
which is half of a run's work. Runs that are killed there go on from a journal that was killed here."""

TRIES: Final = 3
TOO_SLOW: Final = "could not be judged"

OVER: Final = frozenset({RunStatus.DONE, RunStatus.UNDONE, RunStatus.REFUSED})


class Point(NamedTuple):
    """A place to die: while the path is proved, or after."""

    proved: bool
    death: Death

    def __str__(self) -> str:
        return f"{self.death.side} {self.death.what}{'' if self.proved else ' (at the start)'}"


class Task(NamedTuple):
    """A point, and what somebody does about it."""

    point: Point
    then: Then


@dataclass(frozen=True, slots=True)
class Course:
    """The writes of a run that nobody kills: until the path is proved, and from there on."""

    start: Sequence[str]
    rest: Sequence[str]

    @property
    def points(self) -> list[Point]:
        """All of them."""
        parts = ((False, self.start), (True, self.rest))
        return [Point(proved, Death(what, side)) for proved, names in parts for what in names for side in Side]

    @property
    def tasks(self) -> list[Task]:
        """All of them, each with everything that may be done about it."""
        return [Task(point, then) for point in self.points for then in SERIES]

    @property
    def journal_writes(self) -> int:
        """How many of its writes go to the journal; all others are side effects."""
        return sum(what.startswith(JOURNAL) for what in (*self.start, *self.rest))

    @property
    def side_effects(self) -> int:
        """The others."""
        return len(self.start) + len(self.rest) - self.journal_writes


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a run that was to be killed."""

    task: Task
    killed: bool
    """Not every run comes to every point: some have a session less to close, or end before the next progress."""
    was: RunStatus | None = None
    """Where it stood then; None: the journal did not know of it."""
    status: RunStatus | None = None
    """Where it stands at the end."""
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    tries: int = 1

    @property
    def in_vain(self) -> bool:
        """Whether it shows nothing: nobody was killed, or a check had too little time, and the run stopped as it must.

        That is so where this machine is too slow.
        """
        too_slow = any(TOO_SLOW in problem for problem in self.problems)
        return too_slow or not (self.killed or self.problems)


class Bench:
    """A lab, and the runs that are killed on it, one after the other. Its name and its folder are what commands mean.

    ``turn`` is held while the lab starts: two that start at once may choose the same ports.
    """

    def __init__(self, name: str, root: Path, turn: AbstractContextManager[object]) -> None:
        self._name = name
        self._folder = root / name
        self._turn = turn
        self._number = 0
        self._proved: dict[str, Path] = {}
        """By the site that is emptied, a journal that ends with its path proved."""

    def __enter__(self) -> Self:
        os.environ |= {"FAILOVER_STATE": str(self._folder), "FAILOVER_LAB": self._name}
        self._folder.mkdir()
        self._up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lab.down()

    def _up(self) -> None:
        with self._turn:
            self._lab = Lab.up(self._name, "steady", CLIENTS)
        self._sight = Sight()
        self._before = self._sight.look()
        self._proved.clear()
        self._spoilt = False

    def _up_again(self) -> None:
        self._lab.down()
        self._up()

    def course(self) -> Course:
        """Let a run go its way, with one death where the path is proved."""
        for _ in range(TRIES):
            start, rest = self._base(self._fullest()), self._place()
            _copy(start, rest)
            self._go_on(rest, None)
            end = _stands(rest)[0]
            if end.status is RunStatus.DONE:
                return Course(_writes(start), _writes(rest))
            self._up_again()
        raise AssertionError(f"nobody killed it, and it is {end.status}: {end.reason}")

    def fate(self, task: Task) -> Fate:
        """Kill a run there, then do what is to be done, and see whether all is well.

        A run that does not come there, or is stopped as this machine is too slow for its checks, is begun again.
        """
        tries, fate = 1, self._once(task)
        while fate.in_vain and tries < TRIES:
            tries, fate = tries + 1, self._once(task)
        return replace(fate, tries=tries)

    def _once(self, task: Task) -> Fate:
        if self._spoilt:
            self._up_again()
        self._spoilt = True  # until it is found clean
        began, place = time.monotonic(), self._place()
        victim = self._victim(task.point, place)
        was, run = _stands(place)
        if victim.code != -signal.SIGKILL:
            wrong = [] if victim.code == 0 else [f"nobody killed it, and it is {was.status}: {was.reason}"]
            return Fate(task, killed=False, problems=(*wrong, *self._unclean(place)))
        problems = self._answer(task.then, was, run, place)
        end, _ = _stands(place)
        problems += self._unclean(place)
        _remove(place)
        seconds = time.monotonic() - began
        return Fate(task, True, was.status if run else None, end.status if run else None, seconds, tuple(problems))

    def _victim(self, point: Point, place: Path) -> Child:
        site = self._fullest()
        if not point.proved:
            return self._begin(site, place, point.death)
        _copy(self._base(site), place)
        return self._go_on(place, point.death)

    def _base(self, site: str) -> Path:
        """A journal that ends with the path proved."""
        while site not in self._proved:
            place = self._place()
            child = self._begin(site, place, PROVED)
            if child.code == -signal.SIGKILL:
                self._proved[site] = place
            else:
                assert TOO_SLOW in _stands(place)[0].reason, child.errors
        return self._proved[site]

    def _begin(self, site: str, place: Path, death: Death) -> Child:
        """``failover run`` of the shipped runbook, in its shortest honest way."""
        (other,) = set(SITES) - {site}
        values = {"site": site, "to": other, "pause": "0s", "observe": "2s", "settle": "2s"}
        parameters = [part for name, value in values.items() for part in ("-p", f"{name}={value}")]
        arguments = ["run", str(RUNBOOK), "-i", str(INVENTORY), *parameters, "--approve", "window"]
        return self._command(arguments, place, death)

    def _go_on(self, place: Path, death: Death | None) -> Child:
        return self._command(["resume", _stands(place)[1]], place, death)

    def _command(self, arguments: Sequence[str], place: Path, death: Death | None = None) -> Child:
        out, log = place.with_suffix(".out"), place.with_suffix(".log")
        arguments = [*arguments, "--journal", str(place)]
        return failover(arguments, out, partial(tamper, death, log))

    def _answer(self, then: Then, was: RunState, run: str, place: Path) -> list[str]:
        """Do what a person does; what is wrong with how that ends."""
        if not run or was.status in OVER:
            return []
        verb = "undo" if then == "abort" and was.status is RunStatus.PLANNED else then
        if then == "resume" and not was.step("window").approvers:  # it died before it had written what it was told
            self._command(["approve", run, "window", "--ahead"], place)
        child = self._command([verb, run], place)
        end, _ = _stands(place)
        wanted = {RunStatus.DONE} if then == "resume" else {RunStatus.UNDONE, RunStatus.REFUSED}
        found = []
        if end.status not in wanted:
            found.append(f"after {verb} the run is {end.status} ({end.reason}): {child.errors[-500:]}")
        elif child.code != (1 if end.status is RunStatus.REFUSED and verb == "abort" else 0):
            found.append(f"{verb} ended with {child.code}, and the run is {end.status}: {child.errors[-500:]}")
        if end.status is RunStatus.REFUSED and end.touched:
            found.append(f"it is refused, and has touched {', '.join(end.touched)}")
        found += [f"nobody knows how {name} ended" for name, step in end.steps.items() if _is_open(step.in_doubt, end)]
        return found

    def _unclean(self, place: Path) -> list[str]:
        """What no run may leave or do, killed or not."""
        found = [*_differences("", self._before, self._sight.look())]
        if saved := self._sight.saved():
            found += _differences("after a reload of HAProxy ", {it: self._before[it] for it in saved}, saved)
        ledger = self._lab.settle()
        counts = {"lost": ledger.lost, "duplicated": ledger.duplicated, "cut": ledger.transactions_cut}
        if any(counts.values()) or ledger.in_flight:
            found.append(f"the ledger: {counts}, in flight {ledger.in_flight}")
        lines = place.with_suffix(".log").read_text().splitlines()
        closed = Counter(line for line in lines if line.startswith(CLOSES))
        found += [f"{times} times: {what}" for what, times in closed.items() if times > 1]
        self._spoilt = bool(found)
        return found

    def _fullest(self) -> str:
        """The site that has more sessions to lose: a client stays where it is."""
        hosts = self._lab.status().hosts.values()
        return max(SITES, key=lambda site: sum(host.sessions for host in hosts if host.site == site))

    def _place(self) -> Path:
        self._number += 1
        return self._folder / f"{self._number}.sqlite"


def _stands(journal: Path) -> tuple[RunState, str]:
    """Where the only run of a journal stands, and its name; reading it also proves its chain."""
    if not journal.exists():
        return RunState(), ""
    with SqliteJournal(journal) as file:
        names = [row.run for row in file.runs()]
        assert len(names) <= 1, names
        return (fold(file.entries(names[0])), names[0]) if names else (RunState(), "")


def _is_open(in_doubt: bool, end: RunState) -> bool:
    return in_doubt and end.status is RunStatus.DONE


def _writes(journal: Path) -> list[str]:
    """What a process wrote, by name."""
    lines = journal.with_suffix(".log").read_text().splitlines()
    return [line for line in lines if not line.startswith((KILLED, CLOSES))]


def _copy(journal: Path, to: Path) -> None:
    """As it lies there after a death, with its write-ahead log."""
    for file in journal.parent.glob(f"{journal.name}*"):
        shutil.copyfile(file, to.parent / file.name.replace(journal.name, to.name))


def _remove(journal: Path) -> None:
    for file in journal.parent.glob(f"{journal.stem}.*"):
        file.unlink()


def _differences(where: str, wanted: Seen, found: Seen) -> list[str]:
    return [f"{where}{name} is {found[name]}, not {it}" for name, it in wanted.items() if found[name] != it]
