"""How the lab's clients behave. Each profile shows what another one hides.

* ``hot``: the next message follows at once, as fast as all clients together may, and the servers need 0.05 s to queue a
  message, as with a busy disk: about a third of the sessions is always between a final dot and its reply.
* ``steady``: a message every one to three seconds; most sessions are idle at any moment.
* ``scan``: the servers hold each message for 0.3 s after its final dot, before they queue it, as a virus scanner does.
  In that time a message that will be delivered is not yet acknowledged: cut there, it arrives twice.
* ``mixed``: chatty clients beside slow DATA, long pauses, and one client that sends nothing but NOOP.
* ``postfix``: the sending side is a real Postfix with its connection cache, its back-off and its one next hop; half as
  many messages a second as there are clients are handed to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

ProfileName = Literal["hot", "steady", "scan", "mixed", "postfix"]
PROFILES: Final[tuple[ProfileName, ...]] = get_args(ProfileName)

MAX_RATE: Final = 250.0
"""Messages a second of all clients together, so that a lab leaves something of a small machine to others."""

_QUEUEING_DELAY: Final[dict[ProfileName, float]] = {"hot": 0.05, "scan": 0.3}
_SLOW_SHARE: Final = 4 / 50
_PAUSING_SHARE: Final = 3 / 50


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One client's manner. Seconds."""

    gap: tuple[float, float]
    """Shortest and longest pause between two messages."""
    data_seconds: float = 0.0
    """How long it takes to send a message's text."""
    noop_only: bool = False
    """It keeps its session busy with NOOP and never sends a message."""
    in_step: bool = False
    """It begins together with all others of its kind, so that their messages come in bursts."""


HOT: Final = Behaviour(gap=(0.0, 0.02))
STEADY: Final = Behaviour(gap=(1.0, 3.0))
SCANNED: Final = Behaviour(gap=(0.0, 0.4))
CHATTY: Final = Behaviour(gap=(0.1, 0.5))
SLOW: Final = Behaviour(gap=(0.1, 0.5), data_seconds=6.5)
PAUSING: Final = Behaviour(gap=(15.0, 20.0))
NOOP: Final = Behaviour(gap=(0.5, 1.0), noop_only=True)
FEEDER: Final = Behaviour(gap=(1.0, 1.0), in_step=True)
"""A burst each second: a Postfix that sends one message at a time needs, and keeps, only one session."""


def behaviours(profile: ProfileName, clients: int) -> tuple[Behaviour, ...]:
    """What each of so many clients does."""
    if profile == "postfix":
        return (FEEDER,) * max(1, clients // 2)  # they feed the Postfix that is the client
    if profile == "mixed":
        return _mixed(clients)
    return ({"hot": HOT, "steady": STEADY, "scan": SCANNED}[profile],) * clients


def _mixed(clients: int) -> tuple[Behaviour, ...]:
    odd = (SLOW,) * max(1, round(clients * _SLOW_SHARE))
    odd += (PAUSING,) * max(1, round(clients * _PAUSING_SHARE))
    odd += (NOOP,)
    return (odd + (CHATTY,) * (clients - len(odd)))[:clients]


def queueing_delay(profile: ProfileName) -> float:
    """Seconds that a server takes between a message's final dot and its queueing, beside Postfix's own few ms."""
    return _QUEUEING_DELAY.get(profile, 0.0)
