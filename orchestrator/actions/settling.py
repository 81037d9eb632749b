"""The wait after a write until clients meet it: DNS caches, servers that are told one after the other, warm-up."""

from __future__ import annotations

from typing import Final

from orchestrator.actions.action import REACHED, Outcome, Watch
from orchestrator.errors import UnreachableError
from orchestrator.model.units import format_duration
from orchestrator.ports import TrafficSwitch

SOON: Final = 15.0
"""Seconds in which most changes have settled: until then somebody looks every second."""

LOOK_EVERY: Final = 1.0
LOOK_LATER: Final = 5.0
"""Seconds between two questions, and after ``SOON``: Route 53 takes five requests a second from a whole account."""

SETTLES_WITHIN: Final = 900.0
"""Seconds without a new word after which a change never settles; a step's own ``timeout`` may be shorter.

A TTL may be longer: its countdown says something new at every look. What is said in turns is not new."""

PATIENCE: Final = 30.0
"""Seconds for which nobody may answer: what has been written stays written meanwhile."""


async def settle(switch: TrafficSwitch, watch: Watch) -> Outcome:
    """Wait until nothing keeps clients from meeting the last ``apply``, and say what is waited for.

    It takes as long as it takes, while there is progress: see ``TrafficSwitch.settling``.

    Raises:
        UnreachableError: nobody has answered for ``PATIENCE`` seconds.
        Stop: as ``Watch.pause``.
    """
    clock = watch.clock
    began = answered = moved = clock.monotonic()
    known: set[str] = set()
    while True:
        try:
            said = await switch.settling()
            answered = clock.monotonic()
            moved = moved if said in known else answered
            known.add(said)
        except UnreachableError as error:
            if clock.monotonic() - answered >= PATIENCE:
                raise
            said = f"cannot look: {error.message}"
        if not said:
            return REACHED
        if clock.monotonic() - moved >= SETTLES_WITHIN:
            return Outcome(reached=False, reason=f"without progress for {format_duration(SETTLES_WITHIN)}: {said}")
        stands = clock.monotonic() - moved
        watch.progress(f"{said}, for {format_duration(round(stands))}" if stands >= SOON else said)
        await watch.pause(pause_after(clock.monotonic() - began))


def pause_after(seconds: float) -> float:
    """Seconds until the next look, so long after the change."""
    return LOOK_EVERY if seconds < SOON else LOOK_LATER
