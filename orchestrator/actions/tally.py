"""What a drain did to a site's sessions, and what is left of them: the numbers of its progress and its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.actions.stragglers import Assessment


@dataclass(slots=True)
class Tally:
    """What a drain did to sessions, and what is left."""

    began: float
    closed: int = 0
    turned_away: dict[str, float] = field(default_factory=dict)
    """Clients that are told 421 at their next MAIL, and when that was last asked for."""
    cut: int = 0
    left: int = 0
    open: int = 0
    idle: int = 0
    unproved: int = 0
    unknown: int = 0
    queue: int = 0

    @property
    def told(self) -> int:
        """How many clients are told 421."""
        return len(self.turned_away)

    def numbers(self, now: float) -> dict[str, float]:
        """All that a progress line carries; ``now`` is monotonic."""
        return {
            "sessions": self.left,
            "open": self.open,
            "idle": self.idle,
            "unproved": self.unproved,
            "closed": self.closed,
            "told": self.told,
            "cut": self.cut,
            "queue": self.queue,
            "seconds": round(now - self.began, 3),
        }

    def text(self) -> str:
        """The same for people."""
        if not self.left:
            return f"0 sessions left: {self.closed} closed idle, {self.told} told 421, {self.cut} cut"
        unproved = f" ({self.unproved} not proved yet)" if self.unproved else ""
        unknown = f", {self.unknown} unknown" if self.unknown else ""
        return f"{self.left} sessions left: {self.open} with an open transaction, {self.idle} idle{unproved}{unknown}"

    def count(self, looked: Sequence[Assessment]) -> None:
        """Take in what a look shows."""
        self.left = len(looked)
        self.unproved = sum(one.unproved for one in looked)
        self.open = sum(one.standing == "open" for one in looked) - self.unproved
        self.idle = sum(one.standing == "idle" for one in looked) + self.unproved
        self.unknown = sum(one.standing == "unknown" for one in looked)
