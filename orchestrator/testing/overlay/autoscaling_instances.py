"""The life of an instance in an Auto Scaling group.

::

    Pending ──▶ Pending:Wait ──▶ InService ──▶ Terminating ──▶ Terminating:Wait ──▶ terminated
     boots     launching hooks                   drains        terminating hooks

Source: Amazon EC2 Auto Scaling User Guide, "Amazon EC2 Auto Scaling instance lifecycle", "How lifecycle hooks work in
Auto Scaling groups", "Health checks for instances in an Auto Scaling group".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from orchestrator.testing.overlay.world import AwsWorld

CHECKED_EVERY: Final = 30.0
"""Seconds between two looks of a group at its instances: health checks, replacements, launches that failed before."""

Launches: TypeAlias = Literal["healthy", "unhealthy", "refused"]
"""What becomes of the instances that a group launches."""

_LONGEST_HOLD: Final = 172_800.0
"""A hook holds for 48 hours at most, or 100 times its heartbeat timeout, whichever is less."""
_NO_CAPACITY: Final = (
    "We currently do not have sufficient {type} capacity in the Availability Zone you requested ({zone}). Our system "
    "will be working on provisioning additional capacity. Launching EC2 instance failed."
)
_DIFFERENCE: Final = "an instance was {verb} in response to a difference between desired and actual capacity, {how}"


@dataclass(slots=True, eq=False)
class Activity:
    """A scaling activity."""

    identity: str
    group: Any
    description: str
    cause: str
    started: datetime
    status: str = "InProgress"
    message: str = ""
    ended: datetime | None = None
    progress: int = 0

    def end(self, status: str, at: datetime, message: str = "") -> None:
        """It is over; what is over stays as it is."""
        if self.ended is None:
            self.status, self.ended, self.message, self.progress = status, at, message, 100


@dataclass(slots=True, eq=False)
class Held:
    """A lifecycle action that waits for ``complete-lifecycle-action``: what AWS's notification of it would say."""

    group: str
    hook: str
    instance: str
    transition: str
    token: str
    deadline: float
    """When the hook's default result is taken; times are the clock's ``monotonic``."""
    longest: float
    """Until when heartbeats can put it off."""
    result: str
    """The hook's default result."""


@dataclass(slots=True, eq=False)
class Member:
    """An instance of a group; ``state`` is moto's record of it."""

    state: Any
    configuration: tuple[object, ...]
    activity: Activity
    sick: bool = False
    in_service: float | None = None
    held: dict[str, Held] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """The instance's id."""
        return str(self.state.instance.id)

    @property
    def leaving(self) -> bool:
        """Whether it is on its way out."""
        return str(self.state.lifecycle_state).startswith("Terminating")

    @property
    def counts(self) -> bool:
        """Whether it is part of the group's desired capacity."""
        return self.state.lifecycle_state == "InService" or str(self.state.lifecycle_state).startswith("Pending")


class Lifecycles:
    """The instances of all groups. What is called here holds the clock's lock."""

    def __init__(self, world: AwsWorld, launches: dict[str, Launches], changed: Callable[[Any], None]) -> None:
        self._clock, self._settings, self._targets = world.clock, world.settings, world.targets
        self._compute = world.compute
        self._launches = launches
        self._changed = changed
        """Told of a group whose instances have changed."""
        self._members: dict[str, dict[str, Member]] = {}
        self._numbers = count(1)
        self.activities: list[Activity] = []
        """Of all groups, the oldest first."""

    def members(self, group: Any) -> list[Member]:
        """The group's instances, the oldest first."""
        if group._id not in self._members:
            self._members[group._id] = {}
            self._clock.call_later(CHECKED_EVERY, partial(self._look, group))
        known = self._members[group._id]
        return [known.get(state.instance.id) or self._attached(group, state) for state in group.instance_states]

    def held(self) -> Iterator[Held]:
        """Every lifecycle action that waits."""
        for known in self._members.values():
            for member in known.values():
                yield from member.held.values()

    def reconcile(self, group: Any) -> None:
        """Launch what is missing of the desired capacity, terminate what is too much."""
        members = [member for member in self.members(group) if member.counts]
        have, want = len(members), int(group.desired_capacity or 0)
        if have < want:
            how = f"increasing the capacity from {have} to {want}."
            self._launch(group, want - have, _DIFFERENCE.format(verb="started", how=how))
        how = f"shrinking the capacity from {have} to {want}."
        for member in self._surplus(group, members)[: max(0, have - want)]:
            self.retire(group, member, _DIFFERENCE.format(verb="taken out of service", how=how))

    def retire(self, group: Any, member: Member, why: str) -> None:
        """Terminate an instance: it drains at the group's target groups first, then the hooks hold it."""
        if member.leaving or ("Terminate" in suspended(group)):
            return
        now = self._at()
        member.activity.end("Cancelled", now)
        member.held.clear()
        member.activity = self._begin(group, f"Terminating EC2 instance: {member.identity}", why)
        member.state.lifecycle_state = "Terminating"
        drains = self._deregister(group, member)
        if drains:
            member.activity.status = "WaitingForELBConnectionDraining"
        self._clock.call_later(drains, partial(self._drained, group, member))
        self._changed(group)

    def finish(self, held: Held, result: str, why: str) -> None:
        """Take a result for a lifecycle action that waits."""
        group, member = self._find(held)
        del member.held[held.hook]
        if result == "ABANDON" and not member.leaving:
            member.activity.end(
                "Cancelled",
                self._at(),
                "Instance failed to complete user's Lifecycle Action: "
                f"Lifecycle Action with token {held.token} was abandoned: {why}",
            )
            self.retire(group, member, "an instance was taken out of service in response to an abandoned launch.")
            self.reconcile(group)
            return
        if result == "ABANDON":
            member.held.clear()  # no other hook is waited for; it is terminated either way
        if not member.held:
            self._proceed(group, member)

    def stand_aside(self, group: Any, member: Member) -> float:
        """Take an instance out of the target groups without terminating it; seconds until it has drained."""
        member.in_service = None
        return self._deregister(group, member)

    def begin(self, group: Any, member: Member) -> None:
        """Let an instance come into service, from the start."""
        member.state.lifecycle_state = "Pending"
        self._clock.call_later(self._settings.instance_in_service_after, partial(self._booted, group, member))

    def forget(self, group: Any) -> None:
        """The group is deleted: nothing happens to its instances any more."""
        for member in self._members.pop(group._id, {}).values():
            member.activity.end("Cancelled", self._at())

    def serve(self, group: Any) -> None:
        """Register what is in service with the group's target groups."""
        if "AddToLoadBalancer" in suspended(group):
            return
        for target_group in self._target_groups(group):
            new = [
                {"Id": member.identity, "Port": target_group.port}
                for member in self.members(group)
                if member.state.lifecycle_state == "InService" and member.state.instance.state == "running"
            ]
            target_group.register(new)
            for member in self.members(group):
                if member.sick:
                    self._targets.set_unhealthy(target_group.arn, member.identity)

    def _launch(self, group: Any, number: int, why: str) -> None:
        from moto.core.exceptions import ServiceException

        if "Launch" in suspended(group):
            return None
        how = self._launches.get(group.name, "healthy")
        if how == "refused":
            said = _NO_CAPACITY.format(type=group.instance_type, zone=group.availability_zones[0])
            return self._not_launched(group, why, said)
        before = len(group.instance_states)
        try:
            group.replace_autoscaling_group_instances(number, group.get_propagated_tags())
        except ServiceException as error:
            return self._not_launched(group, why, f"{error.message}. Launching EC2 instance failed.")
        for state in group.instance_states[before:]:
            activity = self._begin(group, f"Launching a new EC2 instance: {state.instance.id}", why)
            activity.status = "PreInService"
            member = Member(state, configuration(group), activity, sick=how == "unhealthy")
            self._members[group._id][member.identity] = member
            self.begin(group, member)
        self._changed(group)
        return None

    def _not_launched(self, group: Any, why: str, said: str) -> None:
        activity = self._begin(group, "Launching a new EC2 instance", why)
        activity.end("Failed", self._at(), said)

    def _booted(self, group: Any, member: Member) -> None:
        if member.state.lifecycle_state == "Pending" and self._here(group, member):
            self._hold(group, member, "autoscaling:EC2_INSTANCE_LAUNCHING")

    def _drained(self, group: Any, member: Member) -> None:
        if member.state.lifecycle_state == "Terminating" and self._here(group, member):
            self._hold(group, member, "autoscaling:EC2_INSTANCE_TERMINATING")

    def _hold(self, group: Any, member: Member, transition: str) -> None:
        """Wait for every hook of the transition that the group has now."""
        now = self._clock.monotonic()
        for hook in group.autoscaling_backend.describe_lifecycle_hooks(group.name):
            if hook.lifecycle_transition != transition:
                continue
            timeout = float(hook.heartbeat_timeout)
            longest = now + min(_LONGEST_HOLD, 100 * timeout)
            token = self._identity()
            held = Held(
                group.name, hook.name, member.identity, transition, token, now + timeout, longest, hook.default_result
            )
            member.held[hook.name] = held
            self._clock.call_later(timeout, partial(self._expire, member, held))
        if not member.held:
            return self._proceed(group, member)
        member.state.lifecycle_state = "Terminating:Wait" if member.leaving else "Pending:Wait"
        member.activity.status = "MidLifecycleAction"
        return None

    def _expire(self, member: Member, held: Held) -> None:
        if member.held.get(held.hook) is not held:
            return
        left = held.deadline - self._clock.monotonic()
        if left > 0:
            self._clock.call_later(left, partial(self._expire, member, held))
        else:
            self.finish(held, held.result, "Heartbeat Timeout")

    def _proceed(self, group: Any, member: Member) -> None:
        if member.leaving:
            return self._end(group, member)
        member.state.lifecycle_state = "InService"
        member.in_service = self._clock.monotonic()
        if member.sick:
            member.state.health_status = "Unhealthy"
        member.activity.end("Successful", self._at())
        group.autoscaling_backend.update_attached_elbs(group.name)
        self.serve(group)
        self._changed(group)
        return None

    def _end(self, group: Any, member: Member) -> None:
        member.state.lifecycle_state = "Terminated"
        group.ec2_backend.terminate_instances([member.identity])
        group.instance_states = [state for state in group.instance_states if state is not member.state]
        self._members[group._id].pop(member.identity, None)
        member.activity.end("Successful", self._at())
        group.autoscaling_backend.update_attached_elbs(group.name)
        self._changed(group)

    def _look(self, group: Any) -> None:
        """Health checks and what follows from them; then again, as long as the group is there."""
        if group.autoscaling_backend.autoscaling_groups.get(group.name) is not group:
            return
        for member in self.members(group):
            why = self._unfit(group, member) if member.state.lifecycle_state == "InService" else ""
            if why:
                member.state.health_status = "Unhealthy"
                if "ReplaceUnhealthy" not in suspended(group):
                    self.retire(group, member, f"an instance was taken out of service in response to {why}.")
        self.reconcile(group)
        self._changed(group)
        self._clock.call_later(CHECKED_EVERY, partial(self._look, group))

    def _unfit(self, group: Any, member: Member) -> str:
        """Why an instance is to be replaced; empty within its grace period, or when nothing is wrong."""
        if "HealthCheck" in suspended(group):
            return ""
        if member.state.instance.state != "running":
            return "an EC2 health check indicating it has been terminated or stopped"
        grace = float(group.health_check_grace_period or 0)
        if self._clock.monotonic() < (member.in_service or 0.0) + grace:
            return ""
        if member.sick or self._compute.impaired(member.identity):
            return "an EC2 instance status checks failure"
        if member.state.health_status == "Unhealthy":
            return "a user health-check"
        checked = "ELB" in str(group.health_check_type)
        if checked and any(
            "unhealthy" in self._targets.states(each, member.identity) for each in self._target_groups(group)
        ):
            return "an ELB system health check failure"
        return ""

    def _surplus(self, group: Any, members: list[Member]) -> list[Member]:
        """In the order in which they go: unhealthy ones, those of an older configuration, then the oldest.

        AWS balances Availability Zones before that; here a group lives in one.
        """
        now = configuration(group)
        free = [member for member in members if not member.state.protected_from_scale_in]
        return sorted(free, key=lambda it: (it.state.health_status == "Healthy", it.configuration == now))

    def _deregister(self, group: Any, member: Member) -> float:
        drains = 0.0
        for target_group in self._target_groups(group):
            target_group.deregister([{"Id": member.identity}])
            drains = max(drains, self._targets.drains_for(target_group, member.identity))
        return drains

    def _target_groups(self, group: Any) -> list[Any]:
        known = group.autoscaling_backend.elbv2_backend.target_groups
        return [known[arn] for arn in group.target_group_arns or () if arn in known]

    def _attached(self, group: Any, state: Any) -> Member:
        """An instance that somebody has attached to the group: in service at once."""
        activity = self._begin(group, f"Attaching an existing EC2 instance: {state.instance.id}", "a user request.")
        activity.end("Successful", self._at())
        member = Member(state, configuration(group), activity, in_service=self._clock.monotonic())
        self._members[group._id][member.identity] = member
        return member

    def _begin(self, group: Any, description: str, why: str) -> Activity:
        cause = f"At {self._at():%Y-%m-%dT%H:%M:%SZ} {why}"
        activity = Activity(self._identity(), group, description, cause, self._at())
        self.activities.append(activity)
        return activity

    def _here(self, group: Any, member: Member) -> bool:
        return self._members.get(group._id, {}).get(member.identity) is member

    def _find(self, held: Held) -> tuple[Any, Member]:
        for known in self._members.values():
            member = known.get(held.instance)
            if member is not None and member.held.get(held.hook) is held:
                return member.state.auto_scaling_group, member
        raise LookupError(held)

    def _identity(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._numbers):012x}"

    def _at(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


def suspended(group: Any) -> set[str]:
    """The names of the group's processes that are suspended."""
    return {process["ProcessName"] for process in group.suspended_processes}


def configuration(group: Any) -> tuple[object, ...]:
    """What the group launches from: a launch template and its version, or a launch configuration."""
    if group.ec2_launch_template is None:
        return (group.launch_config.name,)
    version = group.ec2_launch_template.get_version(group.launch_template_version)
    return group.ec2_launch_template.id, version.number
