"""What all traffic switches have, whatever their driver; see ``orchestrator.model.switch``."""

from __future__ import annotations

from typing import ClassVar, Final

from pydantic import Field

from orchestrator.model.traffic import Admin
from orchestrator.model.value import Value

ALL_OR_NOTHING: Final = 1
"""The largest weight of a switch whose members take traffic or do not, without shares in between."""

RESOLVERS: Final = (
    "Resolvers that clients use, as host or host:port: a change is done when none of them gives the old answer any "
    "more."
)
"""What ``resolvers`` of a switch in the DNS means."""

_SITE: Final = "Where it stands; a runbook that empties this site must not depend on it."


class SwitchKind(Value):
    """What all switches have: facts of their kind, which need nobody to be asked."""

    weighs: ClassVar[bool] = True
    """Whether its members have weights; else they can only be taken out and put back."""
    max_weight: ClassVar[int]
    """The largest weight of a member; without weights, the only one."""
    dials: ClassVar[bool] = False
    """Whether a weight is a dial: how much a member takes of what would come to it anyway, whatever others have."""
    admins: ClassVar[frozenset[Admin]] = frozenset({"ready"})
    """The admin states that a member can be brought to."""
    counts_sessions: ClassVar[bool] = False
    """Whether it says how many sessions a member carries."""
    lists_sessions: ClassVar[bool] = False
    """Whether it lists sessions and can close one, as a drain of persistent sessions needs."""
    drains_in: ClassVar[float | None] = 0.0
    """Seconds for which it usually serves what a member had that is taken out; None: as long as the clients stay."""
    read_every: ClassVar[float] = 1.0
    """Seconds between two looks of guards at it, all through a run; longer where its API takes few requests."""
    site: str | None = Field(default=None, description=_SITE)

    @property
    def known_as(self) -> str:
        """What it is, in the same words in whichever inventory it stands."""
        raise NotImplementedError

    @property
    def paths(self) -> tuple[tuple[str, str], ...]:
        """The addresses that it is driven by: what each is called, and the address."""
        return ()

    @property
    def settles_in(self) -> float:
        """Seconds until clients meet a change, usually; 0: at once, so that ``settling`` never waits."""
        return 0.0


class NamedSwitch(SwitchKind):
    """A switch that may call its members otherwise than the inventory does."""

    names: dict[str, str] = Field(
        default_factory=dict, description="What the switch calls a member, where the member has another name here."
    )

    def name_of(self, member: str) -> str:
        """What the switch calls ``member``."""
        return self.names.get(member, member)

    @classmethod
    def plain(cls, name: str) -> str:
        """What the switch calls a member, in the one spelling that all names of that thing have in common."""
        return name
