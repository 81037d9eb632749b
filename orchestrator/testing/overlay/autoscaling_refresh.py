"""Instance refreshes: the instances of a group are replaced a few at a time, each warmed up before the next go.

::

    Pending ─▶ InProgress ─▶ (Baking ─▶) Successful        no progress for an hour: Failed, or with AutoRollback
                  │  └▶ Cancelling ─▶ Cancelled             RollbackInProgress ─▶ RollbackSuccessful
                  └▶ RollbackInProgress ─▶ RollbackSuccessful

Source: Amazon EC2 Auto Scaling User Guide, "How an instance refresh works in an Auto Scaling group", "Undo changes with
a rollback". Replaced is by terminating and launching; MaxHealthyPercentage above 100 and checkpoints are refused, not
ignored.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from orchestrator.testing.overlay.autoscaling_instances import Lifecycles, Member, configuration
from orchestrator.testing.overlay.missing import NotInOverlayError

if TYPE_CHECKING:
    from orchestrator.testing.overlay.clock import WorldClock

GIVES_UP_AFTER: Final = 3_600.0
"""Seconds without progress after which a refresh fails."""

_ACTIVE: Final = frozenset({"Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress"})
_UNKNOWN: Final = ("CheckpointPercentages", "CheckpointDelay", "AlarmSpecification")
_CONFIGURATION: Final = (
    *("launch_config", "launch_configuration_name", "ec2_launch_template", "launch_template_version"),
    *("provided_launch_template_version", "mixed_instances_policy"),
)
"""Where moto keeps what a group launches from."""


@dataclass(slots=True, eq=False)
class Refresh:
    """One instance refresh."""

    identity: str
    group: Any
    preferences: Mapping[str, Any]
    desired: Mapping[str, Any]
    started: datetime
    before: Mapping[str, Any]
    """What the group launched from before."""
    old: set[str]
    """The ids of the instances that are to go."""
    total: int
    progress_at: float
    """The clock's ``monotonic`` of the last progress."""
    left: int
    status: str = "Pending"
    reason: str = ""
    ended: datetime | None = None
    busy: bool = False
    rollback: dict[str, Any] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether it still does something."""
        return self.status in _ACTIVE

    @property
    def percentage(self) -> int:
        """Of the instances that are to be replaced: those that are, and have warmed up."""
        return 100 * (self.total - self.left) // self.total if self.total else 100


class Refreshes:
    """The instance refreshes of all groups. What is called here holds the clock's lock."""

    def __init__(self, clock: WorldClock) -> None:
        self._clock = clock
        self._refreshes: list[Refresh] = []

    def use(self, lifecycles: Lifecycles) -> None:
        """Replace instances by these."""
        self._lifecycles = lifecycles

    def start(self, group: Any, arguments: Mapping[str, Any]) -> str:
        """Begin one; its id."""
        from moto.autoscaling.exceptions import AutoscalingClientError

        preferences = arguments.get("Preferences") or {}
        _known_only(arguments, preferences)
        if self._active(group) is not None:
            said = "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh."
            raise AutoscalingClientError("InstanceRefreshInProgress", said)
        desired = arguments.get("DesiredConfiguration") or {}
        before = {name: vars(group)[name] for name in _CONFIGURATION if name in vars(group)}
        _configure(group, desired)
        old = self._to_replace(group, preferences)
        refresh = Refresh(
            f"00000000-0000-4000-8000-{len(self._refreshes) + 1:012x}",
            *(group, preferences, desired, self._at(), before, old, len(old), self._clock.monotonic(), len(old)),
        )
        self._refreshes.append(refresh)
        self._clock.call_later(0.0, partial(self._begin, refresh))
        self._clock.call_later(GIVES_UP_AFTER, partial(self._stuck, refresh))
        return refresh.identity

    def cancel(self, group: Any) -> str:
        """End the one that is active: what is replaced stays so, what warms up is waited for."""
        refresh = self._required(group)
        refresh.status = "Cancelling"
        _restore(refresh)
        self._step(refresh)
        return refresh.identity

    def roll_back(self, group: Any) -> str:
        """Replace what was replaced already, by what was there before."""
        from moto.autoscaling.exceptions import AutoscalingClientError

        refresh = self._required(group)
        version = str(refresh.before.get("launch_template_version", ""))
        if not refresh.desired or version.startswith("$"):
            said = "The instance refresh cannot be rolled back: it has no desired configuration, or the one before is "
            raise AutoscalingClientError("IrreversibleInstanceRefresh", f"{said}$Latest or $Default.")
        self._roll_back(refresh, "The rollback was requested.")
        return refresh.identity

    def of(self, group: Any, identities: list[str]) -> list[dict[str, Any]]:
        """As describe-instance-refreshes says, the newest first."""
        found = [refresh for refresh in reversed(self._refreshes) if refresh.group is group]
        return [self._described(it) for it in found if not identities or it.identity in identities]

    def changed(self, group: Any) -> None:
        """Something about the group's instances has changed: go on."""
        refresh = self._active(group)
        if refresh is not None and refresh.status != "Pending" and not refresh.busy:
            self._step(refresh)

    def _begin(self, refresh: Refresh) -> None:
        if refresh.status == "Pending":
            refresh.status = "InProgress"
            self._step(refresh)

    def _step(self, refresh: Refresh) -> None:
        members = [member for member in self._lifecycles.members(refresh.group) if member.counts]
        old = [member for member in members if member.identity in refresh.old]
        warming = [member for member in members if member not in old and not self._warm(refresh, member)]
        desired = int(refresh.group.desired_capacity or 0)
        missing = max(0, desired - len(members))
        left = min(refresh.total, len(old) + len(warming) + missing)
        if left < refresh.left:
            refresh.left, refresh.progress_at = left, self._clock.monotonic()
        if refresh.status == "Cancelling":
            if not warming and not missing:
                self._end(refresh, "Cancelled", "Cancelled due to user request.")
        elif refresh.status != "Baking" and not left:
            self._replaced(refresh)
        elif refresh.status != "Baking":
            self._replace(refresh, old, len(members) - len(warming), len(warming) + missing)

    def _replace(self, refresh: Refresh, old: list[Member], serving: int, coming: int) -> None:
        """Take out as many as the healthy percentage allows; one, where it would allow none for ever."""
        desired = int(refresh.group.desired_capacity or 0)
        keep = math.ceil(desired * float(refresh.preferences.get("MinHealthyPercentage", 90)) / 100)
        may = max(serving - keep, 0 if coming else 1)
        refresh.busy = True  # each of these changes is told to us, and must not be taken for the whole
        for member in old[:may]:
            self._lifecycles.retire(
                refresh.group, member, "an instance was taken out of service in response to an instance refresh."
            )
        self._lifecycles.reconcile(refresh.group)
        refresh.busy = False

    def _warm(self, refresh: Refresh, member: Member) -> bool:
        """Whether a new instance has served for its warm-up; if not, we come back when it has."""
        if member.in_service is None or member.state.health_status != "Healthy":
            return False
        left = member.in_service + self._warmup(refresh) - self._clock.monotonic()
        if left <= 0:
            return True
        if member.identity not in refresh.old:
            self._clock.call_later(left, partial(self.changed, refresh.group))
        return False

    def _warmup(self, refresh: Refresh) -> float:
        own = refresh.preferences.get("InstanceWarmup")
        if own is None:
            own = getattr(refresh.group, "default_instance_warmup", None)
        return float(refresh.group.health_check_grace_period or 0) if own is None else float(own)

    def _replaced(self, refresh: Refresh) -> None:
        if refresh.status == "RollbackInProgress":
            return self._end(refresh, "RollbackSuccessful", refresh.reason)
        bake = float(refresh.preferences.get("BakeTime", 0))
        if bake:
            refresh.status = "Baking"
            self._clock.call_later(bake, partial(self._bake, refresh))
        else:
            self._end(refresh, "Successful")
        return None

    def _bake(self, refresh: Refresh) -> None:
        if refresh.status == "Baking":
            self._end(refresh, "Successful")

    def _stuck(self, refresh: Refresh) -> None:
        if not refresh.active:
            return
        left = refresh.progress_at + GIVES_UP_AFTER - self._clock.monotonic()
        if left > 0:
            self._clock.call_later(left, partial(self._stuck, refresh))
        elif refresh.preferences.get("AutoRollback") and refresh.status == "InProgress":
            self._roll_back(refresh, "The instance refresh made no progress for an hour.")
            self._clock.call_later(GIVES_UP_AFTER, partial(self._stuck, refresh))
        else:
            rolling = refresh.status == "RollbackInProgress"
            _restore(refresh)
            self._end(refresh, "RollbackFailed" if rolling else "Failed", "No progress was made for an hour.")

    def _roll_back(self, refresh: Refresh, why: str) -> None:
        refresh.rollback = {
            "RollbackReason": why,
            "RollbackStartTime": self._at(),
            "PercentageCompleteOnRollback": refresh.percentage,
            "InstancesToUpdateOnRollback": refresh.left,
        }
        refresh.status, refresh.reason = "RollbackInProgress", why
        _restore(refresh)
        refresh.old = self._to_replace(refresh.group, {"SkipMatching": True})
        refresh.total = refresh.left = len(refresh.old)
        refresh.progress_at = self._clock.monotonic()
        self._step(refresh)

    def _to_replace(self, group: Any, preferences: Mapping[str, Any]) -> set[str]:
        now = configuration(group)
        members = [member for member in self._lifecycles.members(group) if member.counts]
        if preferences.get("SkipMatching"):
            members = [member for member in members if member.configuration != now]
        return {member.identity for member in members if not member.state.protected_from_scale_in}

    def _end(self, refresh: Refresh, status: str, reason: str = "") -> None:
        refresh.status, refresh.reason, refresh.ended = status, reason, self._at()

    def _active(self, group: Any) -> Refresh | None:
        return next((refresh for refresh in self._refreshes if refresh.group is group and refresh.active), None)

    def _required(self, group: Any) -> Refresh:
        from moto.autoscaling.exceptions import AutoscalingClientError

        refresh = self._active(group)
        if refresh is None or refresh.status in ("Cancelling", "RollbackInProgress"):
            said = f"No in progress or pending Instance Refresh found for Auto Scaling group {group.name}"
            raise AutoscalingClientError("ActiveInstanceRefreshNotFound", said)
        return refresh

    def _described(self, refresh: Refresh) -> dict[str, Any]:
        said = {
            "InstanceRefreshId": refresh.identity,
            "AutoScalingGroupName": refresh.group.name,
            "Status": refresh.status,
            "StartTime": refresh.started,
            "PercentageComplete": refresh.percentage,
            "InstancesToUpdate": refresh.left,
            "Preferences": dict(refresh.preferences),
            "Strategy": "Rolling",
        }
        more = {
            "StatusReason": refresh.reason,
            "EndTime": refresh.ended,
            "DesiredConfiguration": dict(refresh.desired),
            "RollbackDetails": refresh.rollback,
        }
        return {**said, **{key: value for key, value in more.items() if value}}

    def _at(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


def _known_only(arguments: Mapping[str, Any], preferences: Mapping[str, Any]) -> None:
    """Refuse what is not played here: to ignore it would let a test pass for nothing."""
    unknown = [name for name in _UNKNOWN if preferences.get(name)]
    if preferences.get("MaxHealthyPercentage", 100) > 100:
        unknown.append("MaxHealthyPercentage above 100")
    if arguments.get("Strategy", "Rolling") != "Rolling":
        unknown.append(f"Strategy {arguments['Strategy']}")
    if unknown:
        raise NotInOverlayError("autoscaling", f"StartInstanceRefresh with {', '.join(unknown)}")


def _configure(group: Any, desired: Mapping[str, Any]) -> None:
    policy = desired.get("MixedInstancesPolicy")
    if policy:
        group.mixed_instances_policy = policy
    if desired:
        group._set_launch_configuration("", desired.get("LaunchTemplate") or {}, policy)


def _restore(refresh: Refresh) -> None:
    for name, value in refresh.before.items():
        setattr(refresh.group, name, value)
