"""Which steps may start: the graph by ``needs``, walked once, however many steps there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.model.plan import PlannedStep


class Schedule:
    """The steps that are not over yet, each with what it still waits for. ``over`` says which are when it is made."""

    def __init__(self, steps: Iterable[PlannedStep], over: Callable[[PlannedStep], bool]) -> None:
        steps = tuple(steps)
        self._left = {step.id: step for step in steps if not over(step)}
        done = {step.id for step in steps} - self._left.keys()
        self._waits_for = {name: set(step.needs) - done for name, step in self._left.items()}
        self._needed_by: dict[str, list[str]] = {}
        for name, needs in self._waits_for.items():
            for need in needs:
                self._needed_by.setdefault(need, []).append(name)
        self._ready = [name for name, needs in self._waits_for.items() if not needs]

    def ready(self) -> list[PlannedStep]:
        """The steps that need nothing any more and were not started, in the plan's order."""
        return [self._left[name] for name in self._ready]

    def start(self) -> list[PlannedStep]:
        """As ``ready``; from now on they count as started."""
        steps, self._ready = self.ready(), []
        return steps

    def settle(self, step: PlannedStep) -> None:
        """``step`` is over; what waited for nothing else is ready."""
        for name in self._needed_by.pop(step.id, ()):
            self._waits_for[name].discard(step.id)
            if not self._waits_for[name]:
                self._ready.append(name)
