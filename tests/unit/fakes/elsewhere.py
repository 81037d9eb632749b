"""A switch of any kind, of which only its members and what it still serves are known; on virtual time."""

# ruff: noqa: D102 - the port says what its methods mean

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.errors import UnfitError, UnreachableError
from orchestrator.model.inventory import Pool
from orchestrator.model.switch import AnySwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session

from .mail import moment

SWITCHES: Mapping[str, Mapping[str, object]] = {
    "elbv2-targets": {"target_group": "arn:tg"},
    "elbv2-weights": {"forward": "arn:listener"},
    "route53-weights": {"zone": "Z1", "name": "mx.example.com"},
    "global-accelerator": {"listener": "arn:listener"},
    "dns": {"server": "192.0.2.53", "zone": "example.com", "name": "mx.example.com"},
    "f5": {"url": "https://192.0.2.5", "pool": "/Common/smtp", "user": "failover", "password": "env:F5"},
}
"""Settings of some kinds, as an inventory has them."""


def pool_behind(driver: str, sites: Mapping[str, Sequence[str]]) -> Pool:
    """A pool with that kind of switch."""
    return Pool.model_validate(
        {
            "protocol": "smtp",
            "address": "vip:25",
            "switch": {"driver": driver, **SWITCHES[driver]},
            "demand": "400/s",
            "test_mail": {"sender": "probe@lab.example", "recipient": "probe@lab.example"},
            "sites": {
                name: {"capacity": "400/s", "members": members, "address": f"{name}:25"}
                for name, members in sites.items()
            },
        }
    )


class DistantSwitch:
    """``ports.TrafficSwitch``. A member that is taken out is served for ``drains_in`` seconds more."""

    def __init__(self, kind: AnySwitch, members: Mapping[str, Intake]) -> None:
        self.max_weight = kind.max_weight
        self.members = dict(members)
        self.strangers = 0
        """The weights of what takes traffic here and is no member of the pool."""
        self.down: set[str] = set()
        """Members that its health checks find down."""
        self.objections: dict[str, str] = {}
        """What it has against taking a member out, by member."""
        self.lapses: dict[str, str] = {}
        """Why a member is out for a while only, until it is taken out by our word."""
        self.settles_in = 0.0
        self.stuck_for = 0.0
        """Seconds after a write in which nothing moves on."""
        self.drains_in = 0.0
        self.carries: dict[str, int] = {}
        """Sessions, by member, where the kind counts them; they end when the draining does."""
        self.hidden_until = float("-inf")
        """Until when a switch that counts does not know its numbers, as while a new process takes over."""
        self.lost_until = float("-inf")
        self.unread = (float("inf"), float("inf"))
        """From when to when it cannot be read."""
        self.writes: list[dict[str, Intake]] = []
        self._counts = kind.counts_sessions
        self._written = float("-inf")
        self.changed_at = float("-inf")
        """When something was changed last."""
        self._out_since: dict[str, float] = {}

    async def read(self) -> Mapping[str, MemberReading]:
        if self.unread[0] <= moment() < self.unread[1]:
            raise UnreachableError("cannot call elbv2 DescribeTargetHealth: 503")
        return {
            name: MemberReading(
                intake=intake,
                up=name not in self.down,
                sessions=self._sessions(name) if self._counts and moment() >= self.hidden_until else None,
                draining=self._drains(name) and not self._counts,
                lapses=self.lapses.get(name, ""),
                objection=self.objections.get(name, ""),
            )
            for name, intake in self.members.items()
        }

    def _drains(self, name: str) -> bool:
        return moment() < self._out_since.get(name, float("-inf")) + self.drains_in

    def still_serves(self, name: str) -> bool:
        """Whether it serves old connections of a member that it has let go."""
        return self._drains(name)

    def _sessions(self, name: str) -> int:
        in_service = self.members[name].admin == "ready"
        return self.carries.get(name, 0) if in_service or self._drains(name) else 0

    async def elsewhere(self) -> int:
        return self.strangers

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        self.writes.append(dict(changes))
        if any(self.members[name] != intake for name, intake in changes.items()):
            self.changed_at = moment()
        self._written = moment()
        for name, intake in changes.items():
            self.lapses.pop(name, None)
            if intake.admin == "ready":
                self._out_since.pop(name, None)
            else:
                self._out_since.setdefault(name, moment())
            self.members[name] = intake

    async def settling(self) -> str:
        if moment() < self.lost_until:
            raise UnreachableError("cannot ask 192.0.2.53: no answer within 2s")
        if moment() < self._written + self.stuck_for:
            return "PENDING"
        left = self._written + self.settles_in - moment()
        return f"resolvers may hold the old answer for {left:g}s more" if left > 0 else ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        raise UnfitError("cannot list sessions: this switch lists none")

    async def close(self, session: Session) -> None:
        raise UnfitError("cannot close a session: this switch lists none")

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        return [f"weight {name} {weight}" for name, weight in weights.items()] + [
            f"state {name} {admin}" for name, admin in admins.items()
        ]
