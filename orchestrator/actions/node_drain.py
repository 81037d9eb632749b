"""``node.drain``: cordon a node of a cluster, and evict its pods as their PodDisruptionBudgets allow.

As ``kubectl drain`` does it: pods of DaemonSets and mirror pods stay; an eviction that a budget forbids is asked for
again. No pod is ever deleted past its budget, and none is killed at a deadline. A pod that nothing would start again
elsewhere is left alone, unless the runbook says otherwise.

The way back uncordons the node, if it was not cordoned before. Pods do not come back by that: whatever owns them has
started them elsewhere.
Source: Kubernetes documentation, "Safely Drain a Node" and "API-initiated Eviction".
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import ClassVar

from orchestrator.actions.action import REACHED, ByHand, Effect, Outcome, Watch, Waypoint
from orchestrator.actions.lost import Lost
from orchestrator.errors import UnreachableError
from orchestrator.model.capacity import NodeReading, Pod
from orchestrator.model.runbook import NodeDrainArguments
from orchestrator.model.units import format_duration
from orchestrator.model.value import Value
from orchestrator.ports import Node

LOOK_EVERY = 1.0
"""Seconds between two looks at what is left."""

ASK_AGAIN = 5.0
"""Seconds until an eviction is asked for again; kubectl has the same."""

AT_A_TIME = 16
"""Evictions side by side."""

_SHOWN = 3
"""So many reasons are named while it waits."""


class Emptied(Value):
    """Whether the node takes new pods, and how many of those that a drain evicts run on it."""

    cordoned: bool
    pods: int

    @property
    def is_drained(self) -> bool:
        """Whether it takes none and has none."""
        return self.cordoned and not self.pods


class _Evictions:
    """What was asked for each pod, and what stood against it."""

    def __init__(self) -> None:
        self._asked: dict[str, float] = {}
        self._against: dict[str, str] = {}

    def is_due(self, pod: Pod, now: float) -> bool:
        """Whether to ask for its end now."""
        return not pod.ends and now - self._asked.get(pod.uid, -math.inf) >= ASK_AGAIN

    def note(self, pod: Pod, now: float, against: str) -> None:
        """It was asked for; ``against`` is empty where it was granted."""
        self._asked[pod.uid] = now
        self._against[pod.uid] = against

    def against(self, pod: Pod) -> str:
        """What stands against its end; empty where nothing does any more."""
        return "" if pod.ends else self._against.get(pod.uid, "")


class NodeDrain:
    """Empties one node."""

    state: ClassVar[type[Value]] = Emptied
    reversible: ClassVar[bool] = True
    asks: ClassVar[bool] = False

    def __init__(self, arguments: NodeDrainArguments, node: Node) -> None:
        self._host = arguments.host
        self._deadline = math.inf if arguments.deadline is None else arguments.deadline
        self._evicts_alone = arguments.alone == "evict"
        self._node = node

    async def preflight(self) -> Sequence[str]:
        """Refuse to begin while a pod runs there that nothing would start again."""
        alone = [pod for pod in _evictable(await self._node.read()) if self._is_left_alone(pod)]
        if not alone:
            return []
        named = ", ".join(f"{_name(pod)} ({pod.alone})" for pod in alone)
        remedy = "end them yourself, or say 'alone: evict'"
        return [f"cannot drain the node {self._host}: nothing would start these pods again: {named} — {remedy}"]

    async def observe(self) -> Emptied:
        """Whether it is cordoned, and its pods without those that stay."""
        return _seen(await self._node.read())

    def target(self, observed: Emptied) -> Emptied:
        """Cordoned, and empty but for what stays."""
        return Emptied(cordoned=True, pods=0)

    def reached(self, now: Emptied, wanted: Emptied) -> bool:
        """Cordoned or not, as wanted; and where drained, with no pod left. Nobody brings pods back."""
        return now.cordoned == wanted.cordoned and (now.is_drained or not wanted.is_drained)

    def route(self, start: Emptied, end: Emptied) -> Sequence[Waypoint[Emptied]]:
        """At once, both ways."""
        return [] if self.reached(start, end) else [Waypoint(end)]

    async def converge(self, to: Emptied, watch: Watch) -> Outcome:
        """Cordon the node and evict its pods, or uncordon it."""
        began = watch.clock.monotonic()
        if (await self._node.read()).cordoned != to.cordoned:
            watch.fence()
            await self._node.cordon(to.cordoned)
        if to.is_drained:
            return await self._empty(began, watch)
        watch.progress(f"{self._host} is {_standing(to.cordoned)}, as before")
        return REACHED

    def receivers(self, start: Emptied, end: Emptied) -> Sequence[tuple[str, str]]:
        """Nobody: a node gets pods, and these their traffic, when their owners want more of them."""
        return ()

    def effect(self, state: Emptied) -> Effect:
        """Whether it is cordoned."""
        return Effect(cordons={self._host: state.cordoned})

    def by_hand(self, to: Emptied) -> ByHand:
        """Cordon or uncordon it."""
        what = f"{'cordon' if to.cordoned else 'uncordon'} the node {self._host}"
        if to.is_drained:
            what += ", then see its pods evicted"
        return ByHand(what, self._node.by_hand(to.cordoned))

    def describe(self, observed: Emptied, target: Emptied) -> Sequence[str]:
        """Whether it takes pods, and how many have to leave."""
        lines = []
        if observed.cordoned != target.cordoned:
            lines.append(f"node {self._host}: {_standing(observed.cordoned)} → {_standing(target.cordoned)}")
        if observed.pods and target.is_drained:
            lines.append(f"pods on {self._host}: {observed.pods} → 0")
        return lines

    async def _empty(self, began: float, watch: Watch) -> Outcome:
        """Evict and look until no pod is left, or the deadline comes."""
        evictions, lost, said = _Evictions(), Lost(watch), "nothing is known of its pods"
        while True:
            try:
                now = await self._node.read()
                left = _evictable(now)
                if not now.cordoned:
                    return self._uncordoned()
                if not left:
                    watch.progress("no pod left", pods=0.0)
                    return REACHED
                late = watch.clock.monotonic() - began >= self._deadline
                if not late:
                    await self._evict(left, evictions, watch)
                lost.found()
                said = self._what_is_left(left, evictions)
                if late:
                    return self._too_late(left, evictions)
                watch.progress(said, pods=float(len(left)))
            except UnreachableError as error:
                lost.bear(error)
                if watch.clock.monotonic() - began >= self._deadline:
                    return Outcome(reached=False, reason=f"after {format_duration(self._deadline)}: {said}")
            await watch.pause(LOOK_EVERY)

    async def _evict(self, left: Sequence[Pod], evictions: _Evictions, watch: Watch) -> None:
        """Ask for the end of each pod that it is time for, some side by side; each to its end, then the first error."""
        places = asyncio.Semaphore(AT_A_TIME)

        async def evict(pod: Pod) -> None:
            async with places:
                watch.fence()
                against = await self._node.evict(pod)
                evictions.note(pod, watch.clock.monotonic(), against)

        now = watch.clock.monotonic()
        due = [pod for pod in left if not self._is_left_alone(pod) and evictions.is_due(pod, now)]
        ended = await asyncio.gather(*(evict(pod) for pod in due), return_exceptions=True)
        errors = [one for one in ended if isinstance(one, BaseException)]
        for error in sorted(errors, key=lambda one: isinstance(one, UnreachableError)):
            raise error  # what is only out of reach comes last: a Stop must not get lost in it

    def _is_left_alone(self, pod: Pod) -> bool:
        return bool(pod.alone) and not pod.ends and not self._evicts_alone

    def _what_is_left(self, left: Sequence[Pod], evictions: _Evictions) -> str:
        """Each reason once: a budget stands against many pods."""
        text = f"{_pods(len(left))} left"
        if ending := sum(pod.ends for pod in left):
            text += f", {ending} ending"
        alone = [f"{_name(pod)}, which nothing would start again" for pod in left if self._is_left_alone(pod)]
        reasons = list(dict.fromkeys([*(why for pod in left if (why := evictions.against(pod))), *alone]))
        if not reasons:
            return text
        more = f" and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
        return f"{text}; waits for {', '.join(reasons[:_SHOWN])}{more}"

    def _why_left(self, pod: Pod, evictions: _Evictions) -> str:
        if self._is_left_alone(pod):
            return "nothing would start it again"
        return evictions.against(pod) or ("ending" if pod.ends else "not asked for yet")

    def _too_late(self, left: Sequence[Pod], evictions: _Evictions) -> Outcome:
        """Name every pod with its reason: a person has to go on from here."""
        named = ", ".join(f"{_name(pod)} ({self._why_left(pod, evictions)})" for pod in left)
        deadline = format_duration(self._deadline)
        return Outcome(reached=False, reason=f"after {deadline} {_pods(len(left))} left, none was killed: {named}")

    def _uncordoned(self) -> Outcome:
        """What is evicted would come back: somebody else wants the node in use."""
        why = f"cannot drain the node {self._host}: somebody else has uncordoned it meanwhile"
        return Outcome(reached=False, reason=f"{why} — agree with them, then try again")


def _seen(reading: NodeReading) -> Emptied:
    return Emptied(cordoned=reading.cordoned, pods=len(_evictable(reading)))


def _evictable(reading: NodeReading) -> list[Pod]:
    return [pod for pod in reading.pods if not pod.stays]


def _pods(count: int) -> str:
    return f"{count} pod{'' if count == 1 else 's'}"


def _name(pod: Pod) -> str:
    return f"{pod.namespace}/{pod.name}"


def _standing(cordoned: bool) -> str:
    return "cordoned" if cordoned else "open to new pods"
