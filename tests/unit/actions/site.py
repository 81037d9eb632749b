"""A site of two mail hosts with clients on it, and the action that drains it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from orchestrator.actions.action import Outcome
from orchestrator.actions.drain import SiteDrain, SmtpDrain
from orchestrator.model.inventory import Pool
from orchestrator.model.runbook import DrainArguments
from orchestrator.model.traffic import Intake

from ..fakes import mail
from ..fakes.clock import LoopClock, run
from ..fakes.mail import FakeGate, FakeQueue, FakeSwitch, Habit, LiveSession, moment
from ..fakes.watch import FakeWatch

T = TypeVar("T")

POOL = Pool.model_validate(
    {
        "protocol": "smtp",
        "address": "vip:25",
        "switch": {"driver": "haproxy", "socket": "s", "backend": "smtp"},
        "test_mail": {"sender": "probe@lab.example", "recipient": "probe@lab.example"},
        "sites": {
            "ord": {"capacity": "100 sessions", "members": ["mx1", "mx2"], "address": "ord:25"},
            "iad": {"capacity": "100 sessions", "members": ["mx3"], "address": "iad:25"},
        },
    }
)
ORD = ("mx1", "mx2")

HOT = Habit(gap=0.0)
CHATTY = Habit(gap=0.7)
IDLE = Habit(messages=0)
SPENT = Habit(messages=1)
SLOW_DATA = Habit(gap=0.1, data=6.5)
SLOW_COMMIT = Habit(gap=0.1, commit=4.0)
NOOP = Habit(gap=1.0, noop=True)
REFUSED = Habit(gap=0.05, refused=True)

DRAINED = SiteDrain(members={"mx1": "drain", "mx2": "drain"}, gates_closed={"mx1": True, "mx2": True})


class Site:
    """A site with clients on it, and the action that drains it."""

    def __init__(
        self,
        *habits: Habit,
        gate: Callable[[], FakeGate] = FakeGate,
        queues: Mapping[str, FakeQueue] | None = None,
        latency: float = mail.CALL,
        age: float = 0.0,
        **arguments: object,
    ) -> None:
        self.pool = mail.Pool()
        self.switch = FakeSwitch(dict.fromkeys((*ORD, "mx3"), Intake(weight=100)), self.pool, latency)
        self.gates = {name: gate() for name in ORD}
        for one in self.gates.values():
            one.log = self.switch.log
        self.watch = FakeWatch()
        words = {"pool": "smtp", "site": "ord", "deadline": "60s", **arguments}
        self.action = SmtpDrain(
            DrainArguments.model_validate(words), POOL, self.switch, self.gates, queues or {}, LoopClock()
        )
        self.habits = habits
        self._age = age

    def story(self, tell: Callable[[], Awaitable[T]], after: float = 2.0) -> T:
        """Let the clients work for ``after`` seconds, then ``tell``; they are still at work."""

        async def whole() -> T:
            clients = [asyncio.create_task(self._client(number, habit)) for number, habit in enumerate(self.habits)]
            await asyncio.sleep(after)
            try:
                return await tell()
            finally:
                for one in clients:
                    one.cancel()
                await asyncio.gather(*clients, return_exceptions=True)

        return run(whole())

    def drain(self, after: float = 2.0) -> tuple[Outcome, float]:
        """Drain it; the outcome, and the seconds that it took."""

        async def tell() -> tuple[Outcome, float]:
            began = moment()
            end = self.action.target(await self.action.observe())
            outcome = await self.action.converge(end, self.watch)
            return outcome, moment() - began

        return self.story(tell, after)

    @property
    def left(self) -> list[LiveSession]:
        """The sessions that are still there."""
        return [session for name in ORD for session in self.pool.live(name)]

    async def _client(self, number: int, habit: Habit) -> None:
        member = ORD[number % 2]
        await mail.client(f"192.0.2.7:{40000 + number}", habit, member, self.pool, self.gates[member], self._age)
