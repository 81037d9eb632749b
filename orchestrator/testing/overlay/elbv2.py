"""Elastic Load Balancing v2: targets that become healthy, unhealthy and drained in time, and per port.

What AWS does (User Guide, "Health checks for Application Load Balancer target groups", "Deregistration delay"):

    registered ──▶ initial ──▶ healthy ◀──▶ unhealthy (by the test's word)
                      ▲           │ deregistered
                      └─────── draining ──▶ gone
                     registered      after deregistration_delay.timeout_seconds, as it was when it was deregistered

A target of a group that no listener or rule forwards to is ``unused``; its checks begin when one does. A target that is
gone is not listed; asked for by its id it is ``unused`` with ``Target.NotRegistered``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from orchestrator.testing.overlay.patches import Patches

if TYPE_CHECKING:
    from orchestrator.testing.overlay.world import AwsWorld

Key: TypeAlias = tuple[str, int | None]
"""A target's id and port; a Lambda function has none."""


class Health(NamedTuple):
    """What describe-target-health says of a target."""

    state: str
    reason: str | None = None
    description: str | None = None


_HEALTHY: Final = Health("healthy")
_REGISTERING: Final = Health("initial", "Elb.RegistrationInProgress", "Target registration is in progress")
_DRAINING: Final = Health("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress")
_GONE: Final = Health("unused", "Target.NotRegistered", "Target is not registered to the target group")
_NOT_IN_USE: Final = Health(
    "unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"
)
_STOPPED: Final = Health("unused", "Target.InvalidState", "Target is in the stopped state")
_UNCHECKED: Final = Health("unavailable", "Target.HealthCheckDisabled", "Health checks are not enabled for this target")

_CHANGES_USE: Final = (
    *("create_listener", "modify_listener", "delete_listener", "create_rule", "modify_rule", "delete_rule"),
    *("delete_load_balancer",),
)
"""What of moto's backend can begin or end the use of a group by a load balancer."""


@dataclass(slots=True)
class _Target:
    registered: float
    drained: float | None = None
    """When it is gone, once it has been deregistered. All times are the clock's ``monotonic``."""


class Targets:
    """The targets of every target group, and the test's word on their health."""

    def __init__(self) -> None:
        self._patches = Patches()
        self._groups: dict[str, dict[Key, _Target]] = {}
        self._used_since: dict[str, float] = {}
        self._unhealthy: dict[tuple[str, str, int | None], Health] = {}

    def install(self, world: AwsWorld) -> None:
        """Take the place of moto's targets."""
        from moto.elbv2.models import ELBv2Backend, FakeTargetGroup

        self._clock, self._settings = world.clock, world.settings
        patches = self._patches
        patches.replace(FakeTargetGroup, "register", lambda group, targets: self._register(group, targets))
        patches.replace(FakeTargetGroup, "deregister", lambda group, targets: self._deregister(group, targets))
        patches.replace(
            FakeTargetGroup,
            "deregister_terminated_instances",
            lambda group, ids: self._drain(group, [key for each in ids for key in self._of_id(group, each)]),
        )
        patches.replace(
            ELBv2Backend,
            "describe_target_health",
            lambda backend, target_group_arn, targets: self._describe(backend, target_group_arn, targets),
        )
        for name in _CHANGES_USE:
            patches.wrap(ELBv2Backend, name, self._note_use)

    def remove(self) -> None:
        """Leave moto's targets as they were."""
        self._patches.remove()

    def set_unhealthy(
        self, target_group_arn: str, target_id: str, port: int | None = None, reason: str = "Target.FailedHealthChecks"
    ) -> None:
        """Have a target fail its health checks from now on, also before it is registered and when it is so again.

        Args:
            target_group_arn: its group.
            target_id: its id: of an instance, an IP address or an ARN.
            port: this port of it alone; None is all of them.
            reason: AWS's word, one of ``TargetHealthReasonEnum``.
        """
        health = Health("unhealthy", reason, "Health checks failed")
        with self._clock.lock:
            self._unhealthy[target_group_arn, target_id, port] = health

    def set_healthy(self, target_group_arn: str, target_id: str, port: int | None = None) -> None:
        """Take ``set_unhealthy`` back: checks pass again at once. Without a port, for all ports."""
        with self._clock.lock:
            for key in list(self._unhealthy):
                if key[:2] == (target_group_arn, target_id) and port in (None, key[2]):
                    del self._unhealthy[key]

    def states(self, group: Any, target_id: str) -> set[str]:
        """The states of a target on all its ports; ``group`` is moto's target group. Empty: it is not registered."""
        return {self._health(group, key).state for key in self._of_id(group, target_id)}

    def drains_for(self, group: Any, target_id: str) -> float:
        """Seconds until a target has drained on all its ports; 0 when nothing of it drains."""
        known = self._known(group)
        ends = [known[key].drained for key in self._of_id(group, target_id)]
        return max([0.0, *(end - self._clock.monotonic() for end in ends if end is not None)])

    def _register(self, group: Any, targets: Iterable[Mapping[str, Any]]) -> None:
        from moto.elbv2.exceptions import TargetNotRunning

        new = list(targets)
        for target in new:
            instance = group.ec2_backend.get_instance_by_id(target["Id"])
            if instance and instance.state != "running":
                raise TargetNotRunning(instance_id=target["Id"])
        known = self._known(group)
        for target in new:
            key = _key(group, target)
            if key not in known or known[key].drained is not None:
                # Again from the start, also while it drains: it goes to the end of the list, as a new one.
                known.pop(key, None)
                known[key] = _Target(self._clock.monotonic())
        self._show(group)

    def _deregister(self, group: Any, targets: Iterable[Mapping[str, Any]]) -> None:
        """No error for what is not there: "If the specified target does not exist, the action returns successfully".

        An id without a port means the one at the group's own (``TargetDescription``, ``Port``).
        """
        self._drain(group, [_key(group, target) for target in targets])

    def _drain(self, group: Any, keys: Iterable[Key]) -> None:
        delay = float(group.attributes["deregistration_delay.timeout_seconds"])
        known = self._known(group)
        for key in keys:
            if key not in known or known[key].drained is not None:
                continue
            if self._health(group, key).state == "unused":
                del known[key]  # nothing reaches it, so there is nothing to drain
            else:
                known[key].drained = self._clock.monotonic() + delay
        self._show(group)

    def _describe(self, backend: Any, arn: str, targets: Iterable[Mapping[str, Any]]) -> list[Any]:
        from moto.elbv2.exceptions import TargetGroupNotFoundError

        group = backend.target_groups.get(arn)
        if group is None:
            raise TargetGroupNotFoundError
        known = self._known(group)
        asked = list(targets)
        if not asked:
            return [_status(group, key, self._health(group, key)) for key in known]
        found = []
        for target in asked:
            keys = list(self._named(group, target)) or [_key(group, target)]
            found += [_status(group, key, self._health(group, key)) for key in keys]
        return found

    def _health(self, group: Any, key: Key) -> Health:
        target = self._known(group).get(key)
        if target is None:
            return _GONE
        if target.drained is not None:
            return _DRAINING
        if not group.health_check_enabled:
            return _UNCHECKED
        since = self._used_since.get(group.arn)
        if since is None:
            return _NOT_IN_USE
        instance = group.ec2_backend.get_instance_by_id(key[0])
        if instance and instance.state in ("stopping", "stopped"):
            return _STOPPED
        return self._checked(group, key, max(target.registered, since))

    def _checked(self, group: Any, key: Key, begun: float) -> Health:
        for word in ((group.arn, *key), (group.arn, key[0], None)):
            if word in self._unhealthy:
                return self._unhealthy[word]
        takes = self._settings.target_healthy_after
        if takes is None:
            takes = float(group.health_check_interval_seconds) * int(group.healthy_threshold_count)
        return _HEALTHY if self._clock.monotonic() >= begun + takes else _REGISTERING

    def _known(self, group: Any) -> dict[Key, _Target]:
        """The group's targets without those that have drained meanwhile."""
        known = self._groups.setdefault(group.arn, {})
        now = self._clock.monotonic()
        for key, target in list(known.items()):
            if target.drained is not None and now >= target.drained:
                del known[key]
        return known

    def _named(self, group: Any, target: Mapping[str, Any]) -> Iterator[Key]:
        """The targets whose health is asked for: of an id without a port, every port."""
        if "Port" in target:
            wanted = _key(group, target)
            return (key for key in list(self._known(group)) if key == wanted)
        return self._of_id(group, target["Id"])

    def _of_id(self, group: Any, target_id: str) -> Iterator[Key]:
        return (key for key in list(self._known(group)) if key[0] == target_id)

    def _show(self, group: Any) -> None:
        """Let moto's own code, as that of Auto Scaling, see which ids are registered."""
        group.targets.clear()
        for (identity, port), target in self._known(group).items():
            if target.drained is None:
                group.targets[identity] = {"Id": identity, "Port": port}

    def _note_use(self, original: Any, backend: Any, *arguments: Any, **named: Any) -> Any:
        result = original(backend, *arguments, **named)
        used = set(_used_groups(backend))
        for arn in used:
            self._used_since.setdefault(arn, self._clock.monotonic())
        for arn in set(backend.target_groups) - used:
            self._used_since.pop(arn, None)
        return result


def _key(group: Any, target: Mapping[str, Any]) -> Key:
    if group.target_type == "lambda":
        return target["Id"], None
    return target["Id"], int(target.get("Port") or group.port)


def _status(group: Any, key: Key, health: Health) -> Any:
    from moto.elbv2.models import FakeHealthStatus

    identity: str = key[0]
    port: Any = key[1]  # moto annotates a str, and keeps the int of the request
    return FakeHealthStatus(identity, port, group.health_check_port, *health)


def _used_groups(backend: Any) -> Iterator[str]:
    """The groups that any listener or rule forwards to, with whatever weight."""
    for balancer in backend.load_balancers.values():
        for listener in balancer.listeners.values():
            for rule in listener.rules.values():
                yield from _forwarded(rule.actions)
            yield from _forwarded(listener.default_actions)


def _forwarded(actions: Iterable[Any]) -> Iterator[str]:
    for action in actions:
        if "TargetGroupArn" in action.data:
            yield action.data["TargetGroupArn"]
        for group in action.data.get("ForwardConfig", {}).get("TargetGroups", ()):
            yield group["TargetGroupArn"]
