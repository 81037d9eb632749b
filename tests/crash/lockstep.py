"""Two processes on one virtual time: a world, and a victim that lives in it until somebody kills it.

The victim is a real process with an event loop of its own. The two take turns, so that the same start gives the same
course every time: the victim works until it has nothing to do before some moment, says so, and blocks; then the world
goes on, up to that moment or until it has an answer, and hands over. A call leaves the victim at once. So what it has
asked for is done, also when it dies before the answer.
"""

# ruff: noqa: D102 - asyncio says what a loop's methods mean

from __future__ import annotations

import asyncio
import gc
import math
import os
import selectors
import signal
import warnings
from collections.abc import Awaitable, Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import NamedTuple, NoReturn

Ready = list[tuple[selectors.SelectorKey, int]]


class Call(NamedTuple):
    """The victim asks something of the world: ``method`` of the object that ``target`` names."""

    number: int
    target: tuple[str, str]
    method: str
    arguments: tuple[object, ...]


class Answer(NamedTuple):
    """What became of a call: its result, or the error that it raised."""

    number: int
    result: object
    error: Exception | None


class Said(NamedTuple):
    """The victim tells people something."""

    what: object


class Quiet(NamedTuple):
    """The victim has nothing to do before ``until``, in virtual seconds."""

    until: float


class Over(NamedTuple):
    """The victim has ended by itself, with this result."""

    result: object


class Broken(NamedTuple):
    """The victim has ended in a way that none of the tests wants."""

    traceback: str


class Turn(NamedTuple):
    """The world hands over: the time now, and the answers that are there."""

    now: float
    answers: list[Answer]


class Line:
    """The victim's end: it asks the world, and lives on its time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._calls = 0
        self.now = 0.0

    def send(self, target: tuple[str, str], method: str, *arguments: object) -> asyncio.Future[object]:
        """Ask for something; it is under way when this returns, and the future is its answer."""
        self._calls += 1
        answer = self._waiting[self._calls] = asyncio.get_running_loop().create_future()
        self._connection.send(Call(self._calls, target, method, arguments))
        return answer

    def say(self, what: object) -> None:
        """Tell people something."""
        self._connection.send(Said(what))

    def end(self, last: Over | Broken) -> None:
        """Say how it ended."""
        self._connection.send(last)

    def rest(self, until: float) -> None:
        """Hand over to the world."""
        self._connection.send(Quiet(until))
        self.wait()

    def wait(self) -> None:
        """Block until it is the victim's turn."""
        try:
            turn: Turn = self._connection.recv()
        except (EOFError, ConnectionError):
            os._exit(0)  # the world is gone
        self.now = turn.now
        for number, result, error in turn.answers:
            future = self._waiting.pop(number)
            if future.done():  # nobody waits for it any more
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)


class _VictimSelector(selectors.DefaultSelector):
    """Where the victim's loop would wait, the world goes on."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def select(self, timeout: float | None = None) -> Ready:
        if timeout is None or timeout > 0:
            self._line.rest(math.inf if timeout is None else self._line.now + timeout)
        return []


class VictimLoop(asyncio.SelectorEventLoop):
    """A loop on the world's time."""

    def __init__(self, line: Line) -> None:
        self._line = line
        super().__init__(_VictimSelector(line))

    def time(self) -> float:
        return self._line.now


class _WorldSelector(selectors.DefaultSelector):
    """Where the world's loop would wait, the victim has its turn, or time leaps."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.victim: Victim | None = None

    def select(self, timeout: float | None = None) -> Ready:
        if timeout is not None and timeout <= 0:
            return []
        due = math.inf if self.victim is None else self.victim.due
        until = min(due, math.inf if timeout is None else self.now + timeout)
        if until == math.inf:
            raise RuntimeError("everything waits for ever")
        if self.victim is not None and due <= self.now:
            self.victim.take_turn(self.now)
        else:
            self.now = until
        return []


class WorldLoop(asyncio.SelectorEventLoop):
    """A loop on leaping time, which it shares with one victim."""

    def __init__(self) -> None:
        self._shared = _WorldSelector()
        super().__init__(self._shared)

    def time(self) -> float:
        return self._shared.now

    def invite(self, victim: Victim | None) -> None:
        """From now on this one has its turns; with None the world is alone."""
        self._shared.victim = victim


class Victim:
    """A process, as the world sees it. It begins to ``work`` at its first turn; the work never returns."""

    def __init__(
        self,
        work: Callable[[Line], NoReturn],
        serve: Callable[[Call], Awaitable[object]],
        hear: Callable[[object], None],
    ) -> None:
        self.due = -math.inf
        """When it wants its turn, in virtual seconds."""
        self.last: Over | Broken | None = None
        """What it said at its end, when it came to that."""
        self.status: int | None = None
        """How it ended, as ``os.waitpid`` tells it."""
        self._serve = serve
        self._hear = hear
        self._answers: list[Answer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: list[asyncio.Future[None]] = []
        self._connection, theirs = Pipe()
        with warnings.catch_warnings():
            # Python 3.12 and later warn where another test has left a thread. Ours needs none of its parent's.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            gc.freeze()  # what it has of its parent it keeps
            self._connection.close()
            work(Line(theirs))
        theirs.close()

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.status is not None and os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL

    async def end(self) -> None:
        """Wait until it is dead."""
        if self.status is None:
            self._ended.append(asyncio.get_running_loop().create_future())
            await self._ended[-1]

    def take_turn(self, now: float) -> None:
        """Let it work until it is quiet, or dead."""
        answers, self._answers, self.due = self._answers, [], math.inf
        self._connection.send(Turn(now, answers))
        try:
            while not isinstance(message := self._connection.recv(), Quiet):
                self._take(message)
            self.due = message.until
        except (EOFError, ConnectionError):
            self._reap()

    def stop(self) -> None:
        """Kill it, where it has not ended yet."""
        if self.status is None:
            os.kill(self._pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        self._connection.close()
        self.status = os.waitpid(self._pid, 0)[1]
        for waiter in self._ended:
            waiter.set_result(None)

    def _take(self, message: Call | Said | Over | Broken) -> None:
        match message:
            case Call():
                task = asyncio.get_running_loop().create_task(self._answer(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case Said(what):
                self._hear(what)
            case _:
                self.last = message

    async def _answer(self, call: Call) -> None:
        """Do what was asked for, whether or not the victim lives to hear of it."""
        try:
            answer = Answer(call.number, await self._serve(call), None)
        except Exception as error:
            answer = Answer(call.number, None, error)
        if self.status is None:
            self._answers.append(answer)
            self.due = -math.inf
