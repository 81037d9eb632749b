"""Machines and pods on virtual time: a scaling group whose instances take time, and a node with budgets for its pods.

An instance that is asked for is healthy ``boots`` seconds later; what is too much goes at once. A pod that is evicted
ends after its ``grace``; its budget allows the next one only when its replacement is ready elsewhere.
"""

# ruff: noqa: D102 - the ports say what their methods mean

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import RejectedError, UnreachableError
from orchestrator.model.capacity import NodeReading, Pod, ScalingReading

from .journal import Killed
from .mail import moment

CALL = 0.05
"""Seconds of one question."""


class _Reachable:
    """What may be out of reach until some moment."""

    def __init__(self) -> None:
        self.lost_until = float("-inf")
        self.log: list[str] = []
        """Every write."""
        self.dead: Callable[[], bool] = lambda: False
        """Whether the process that asks is dead: its writes do not arrive."""

    def _write(self, what: str) -> None:
        if self.dead():
            raise Killed
        self.log.append(what)

    async def _call(self) -> None:
        await asyncio.sleep(CALL)
        if moment() < self.lost_until:
            raise UnreachableError("cannot reach it: connection refused")


class FakeGroup(_Reachable):
    """``ports.ScalingGroup``. Of the instances at the start so many as ``sick`` never become healthy."""

    def __init__(
        self, desired: int, *, boots: float = 60.0, least: int = 0, most: int | None = None, sick: int = 0
    ) -> None:
        super().__init__()
        self.boots = boots
        self.least = least
        self.most = most
        self.ready_at = [float("inf") if number < sick else float("-inf") for number in range(desired)]
        """When each instance is healthy, in virtual seconds."""

    @property
    def desired(self) -> int:
        """What it has been asked for."""
        return len(self.ready_at)

    def resize(self, count: int) -> None:
        """Somebody, as a scaling policy, asks for so many."""
        now = moment()
        new = [now + self.boots] * (count - self.desired)
        self.ready_at = [*self.ready_at, *new][:count]

    async def read(self) -> ScalingReading:
        await self._call()
        late = [number for number, ready in enumerate(self.ready_at) if ready > moment()]
        return ScalingReading(
            desired=self.desired,
            healthy=self.desired - len(late),
            least=self.least,
            most=self.most,
            waits_for=tuple(f"i-{number} Pending" for number in late),
        )

    async def set_desired(self, count: int) -> None:
        await self._call()
        if count < self.least or (self.most is not None and count > self.most):
            raise RejectedError(f"cannot ask for {count}: the group's limits are {self.least} and {self.most}")
        self._write(f"desired {count}")
        self.resize(count)

    def by_hand(self, count: int) -> Sequence[str]:
        return [f"scale {count}"]


@dataclass(eq=False)
class LivePod:
    """A pod as it really is."""

    name: str
    budget: str = ""
    """The PodDisruptionBudget that it counts for."""
    grace: float = 2.0
    """Seconds that it takes to end."""
    stays: str = ""
    alone: str = ""
    ends_at: float | None = None


@dataclass
class Budget:
    """A PodDisruptionBudget: ``free`` more evictions now; each is given back after ``heals`` seconds."""

    free: int = 1
    heals: float = 10.0
    taken: list[float] = field(default_factory=list)

    @property
    def allows(self) -> bool:
        """Whether one more pod may go now."""
        return self.free > sum(1 for at in self.taken if moment() < at + self.heals)


class FakeNode(_Reachable):
    """``ports.Node``. All its pods are in the namespace ``shop``."""

    def __init__(self, *pods: LivePod, budgets: Mapping[str, Budget] | None = None, cordoned: bool = False) -> None:
        super().__init__()
        self.cordoned = cordoned
        self.budgets = dict(budgets or {})
        self.at_once = 0
        self.most_at_once = 0
        self.asked: dict[str, list[float]] = {}
        """When each pod's end was asked for."""
        self._pods = list(pods)

    @property
    def left(self) -> list[str]:
        """The pods that run on it, by name."""
        return [pod.name for pod in self._live()]

    def _live(self) -> list[LivePod]:
        return [pod for pod in self._pods if pod.ends_at is None or moment() < pod.ends_at]

    async def read(self) -> NodeReading:
        await self._call()
        pods = tuple(
            Pod(
                name=pod.name,
                namespace="shop",
                uid=f"uid-{pod.name}",
                ends=pod.ends_at is not None,
                stays=pod.stays,
                alone=pod.alone,
            )
            for pod in self._live()
        )
        return NodeReading(cordoned=self.cordoned, pods=pods)

    async def cordon(self, cordoned: bool) -> None:
        await self._call()
        self._write("cordon" if cordoned else "uncordon")
        self.cordoned = cordoned

    async def evict(self, pod: Pod) -> str:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.asked.setdefault(pod.name, []).append(moment())
        try:
            await self._call()
        finally:
            self.at_once -= 1
        for live in self._live():
            if live.name == pod.name and live.ends_at is None:
                return self._end(live)
        return ""

    def _end(self, live: LivePod) -> str:
        budget = self.budgets.get(live.budget)
        if budget is not None and not budget.allows:
            return f"PodDisruptionBudget shop/{live.budget}"
        self._write(f"evict {live.name}")
        if budget is not None:
            budget.taken.append(moment())
        live.ends_at = moment() + live.grace
        return ""

    def by_hand(self, cordoned: bool) -> Sequence[str]:
        return ["cordon" if cordoned else "uncordon"]
