"""Amazon EC2 Auto Scaling: instances that take time, are held by hooks, fail, and are replaced.

Added to moto, or put right: the states of an instance, ``CompleteLifecycleAction``, ``RecordLifecycleActionHeartbeat``,
``DescribeScalingActivities``, instance refreshes, replacement of unhealthy instances, the limits of a group. Instances
are registered with the group's target groups when they come into service, and drain there before they are terminated.
Not played: weighted capacities, warm pools (as in moto), and events to EventBridge, SNS or SQS: what they would tell is
in ``Groups.held``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.testing.overlay.autoscaling_instances import Activity, Held, Launches, Lifecycles
from orchestrator.testing.overlay.autoscaling_refresh import Refreshes
from orchestrator.testing.overlay.patches import Patches

if TYPE_CHECKING:
    from moto.core.responses import ActionResult

    from orchestrator.testing.overlay.world import AwsWorld

_PAGE = 100


class Groups:
    """The Auto Scaling groups, and the test's word on what they launch."""

    def __init__(self) -> None:
        self._patches = Patches()
        self._launches: dict[str, Launches] = {}

    def install(self, world: AwsWorld) -> None:
        """Take the place of moto's instances."""
        from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup
        from moto.autoscaling.responses import AutoScalingResponse

        self._clock = world.clock
        self._refreshes = Refreshes(world.clock)
        self._lifecycles = Lifecycles(world, self._launches, self._refreshes.changed)
        self._refreshes.use(self._lifecycles)
        replace, wrap, add = self._patches.replace, self._patches.wrap, self._patches.add
        replace(FakeAutoScalingGroup, "set_desired_capacity", lambda group, count: self._set_desired(group, count))
        replace(AutoScalingBackend, "update_attached_target_groups", lambda backend, name: self._serve(backend, name))
        # An instance that is terminated by other hands is found by the group's next health check.
        replace(AutoScalingBackend, "notify_terminate_instances", lambda *_: None)
        replace(AutoScalingBackend, "terminate_instance", lambda backend, *given: self._terminate(backend, *given))
        wrap(AutoScalingBackend, "detach_instances", self._detach)
        wrap(AutoScalingBackend, "enter_standby_instances", self._enter_standby)
        wrap(AutoScalingBackend, "exit_standby_instances", self._exit_standby)
        wrap(AutoScalingBackend, "delete_auto_scaling_group", self._forget)
        for name in ("create_auto_scaling_group", "update_auto_scaling_group"):
            wrap(AutoScalingResponse, name, self._create_or_update)
        wrap(AutoScalingResponse, "delete_auto_scaling_group", self._delete)
        wrap(AutoScalingResponse, "set_desired_capacity", self._set_desired_within)
        wrap(AutoScalingResponse, "set_instance_health", self._set_health)
        replace(AutoScalingResponse, "describe_scaling_activities", lambda handler: self._activities(handler))
        add(AutoScalingResponse, "complete_lifecycle_action", lambda handler: self._complete(handler))
        add(AutoScalingResponse, "record_lifecycle_action_heartbeat", lambda handler: self._heartbeat(handler))
        add(AutoScalingResponse, "start_instance_refresh", lambda handler: self._start_refresh(handler))
        add(AutoScalingResponse, "describe_instance_refreshes", lambda handler: self._describe_refreshes(handler))
        add(AutoScalingResponse, "cancel_instance_refresh", lambda handler: self._cancel_refresh(handler))
        add(AutoScalingResponse, "rollback_instance_refresh", lambda handler: self._roll_back_refresh(handler))

    def remove(self) -> None:
        """Leave moto's Auto Scaling as it was."""
        self._patches.remove()

    def set_launches(self, group: str, how: Launches) -> None:
        """Say what becomes of the instances that a group launches from now on.

        Args:
            group: its name; it need not be there yet.
            how: ``healthy``; ``unhealthy``: they come into service, fail every health check from the start, and are
                replaced again and again; ``refused``: none is launched for lack of capacity, and the activity says so.
        """
        with self._clock.lock:
            self._launches[group] = how

    @property
    def held(self) -> tuple[Held, ...]:
        """The lifecycle actions that wait for their completion: what a notification would have told."""
        with self._clock.lock:
            return tuple(self._lifecycles.held())

    def _set_desired(self, group: Any, count: int | None) -> None:
        group.desired_capacity = group.min_size if count is None else count
        self._lifecycles.reconcile(group)

    def _serve(self, backend: Any, name: str) -> None:
        self._lifecycles.serve(backend.autoscaling_groups[name])

    def _terminate(self, backend: Any, instance_id: str, should_decrement: bool) -> Any:
        from moto.autoscaling.exceptions import ValidationError
        from moto.autoscaling.models import TerminateInstanceActivity

        for group in backend.autoscaling_groups.values():
            for member in self._lifecycles.members(group):
                if member.identity == instance_id:
                    before = group.desired_capacity
                    group.desired_capacity -= int(bool(should_decrement))
                    why = "an instance was taken out of service in response to a user request."
                    self._lifecycles.retire(group, member, why)
                    self._lifecycles.reconcile(group)
                    return TerminateInstanceActivity(member.state.instance, before)
        said = f"Instance Id not found - No managed instance found for instance ID: {instance_id}"
        raise ValidationError(said)

    def _detach(self, original: Any, backend: Any, name: str, instance_ids: Sequence[str], *more: Any) -> Any:
        group = backend.autoscaling_groups[name]
        for member in self._lifecycles.members(group):
            if member.identity in instance_ids:
                self._lifecycles.stand_aside(group, member)
        return original(backend, name, instance_ids, *more)

    def _enter_standby(self, original: Any, backend: Any, name: str, instance_ids: Sequence[str], *more: Any) -> Any:
        group = backend.autoscaling_groups[name]
        for member in self._lifecycles.members(group):
            if member.identity in instance_ids:
                self._lifecycles.stand_aside(group, member)
        return original(backend, name, instance_ids, *more)

    def _exit_standby(self, original: Any, backend: Any, name: str, instance_ids: Sequence[str]) -> Any:
        group = backend.autoscaling_groups[name]
        activities = original(backend, name, instance_ids)
        for member in self._lifecycles.members(group):
            if member.identity in instance_ids:
                self._lifecycles.begin(group, member)
        return activities

    def _forget(self, original: Any, backend: Any, group_name: str) -> None:
        group = backend.autoscaling_groups.get(group_name)
        if group is not None:
            self._lifecycles.forget(group)
            for target_group in group.target_group_arns or ():
                known = backend.elbv2_backend.target_groups.get(target_group)
                if known is not None:
                    known.deregister([{"Id": state.instance.id} for state in group.instance_states])
            backend.ec2_backend.terminate_instances([state.instance.id for state in group.instance_states])
            group.instance_states = []
        original(backend, group_name)

    def _create_or_update(self, original: Any, handler: Any) -> ActionResult:
        name = handler._get_param("AutoScalingGroupName")
        backend = handler.autoscaling_backend
        known = backend.autoscaling_groups.get(name)
        desired = handler._get_int_param("DesiredCapacity")
        least, most = (handler._get_int_param(key) for key in ("MinSize", "MaxSize"))
        if known is not None:
            least = known.min_size if least is None else least
            most = known.max_size if most is None else most
        if desired is not None and None not in (least, most) and not least <= desired <= most:
            said = f"Desired capacity:{desired} must be between the specified min size:{least} and max size:{most}"
            raise _invalid(said)
        reply: ActionResult = original(handler)
        group = backend.autoscaling_groups[name]
        warmup = handler._get_int_param("DefaultInstanceWarmup")
        if warmup is not None:
            group.default_instance_warmup = warmup
        for hook in handler._get_param("LifecycleHookSpecificationList", []):
            backend.create_lifecycle_hook(
                name=hook["LifecycleHookName"],
                as_name=name,
                transition=hook["LifecycleTransition"],
                timeout=hook.get("HeartbeatTimeout"),
                result=hook.get("DefaultResult"),
            )
        return reply

    def _delete(self, original: Any, handler: Any) -> ActionResult:
        from moto.autoscaling.exceptions import AutoscalingClientError

        group = self._group(handler)
        if group.instance_states and not handler._get_bool_param("ForceDelete", False):
            said = "You cannot delete an AutoScalingGroup while there are instances or pending Spot instance request(s)"
            raise AutoscalingClientError("ResourceInUse", f"{said} still in the group.")
        reply: ActionResult = original(handler)
        return reply

    def _set_desired_within(self, original: Any, handler: Any) -> ActionResult:
        group, count = self._group(handler), handler._get_int_param("DesiredCapacity")
        for beyond, word, limit in (
            (count > group.max_size, "above max", group.max_size),
            (count < group.min_size, "below min", group.min_size),
        ):
            if beyond:
                said = f"New SetDesiredCapacity value {count} is {word} value {limit} for the AutoScalingGroup."
                raise _invalid(said)
        reply: ActionResult = original(handler)
        return reply

    def _set_health(self, original: Any, handler: Any) -> ActionResult:
        """Within the grace period a report is not heard, unless it says ShouldRespectGracePeriod=False."""
        identity = handler._get_param("InstanceId")
        for group in handler.autoscaling_backend.autoscaling_groups.values():
            for member in self._lifecycles.members(group):
                if member.identity != identity:
                    continue
                if not handler._get_bool_param("ShouldRespectGracePeriod", True) and member.in_service is not None:
                    member.in_service -= float(group.health_check_grace_period or 0)
                reply: ActionResult = original(handler)
                return reply
        said = f"Instance Id not found - No managed instance found for instance ID: {identity}"
        raise _invalid(said)

    def _activities(self, handler: Any) -> ActionResult:
        name, wanted = handler._get_param("AutoScalingGroupName"), handler._get_param("ActivityIds", [])
        found = [
            _described(activity)
            for activity in reversed(self._lifecycles.activities)
            if activity.group.autoscaling_backend is handler.autoscaling_backend
            and name in (None, activity.group.name)
            and (not wanted or activity.identity in wanted)
        ]
        return _paged(handler, "Activities", found)

    def _complete(self, handler: Any) -> ActionResult:
        from moto.core.responses import EmptyResult

        result = handler._get_param("LifecycleActionResult")
        if result not in ("CONTINUE", "ABANDON"):
            raise _invalid("LifecycleActionResult must be CONTINUE or ABANDON")
        self._lifecycles.finish(self._held(handler), result, "it was completed with ABANDON")
        return EmptyResult()

    def _heartbeat(self, handler: Any) -> ActionResult:
        from moto.core.responses import EmptyResult

        held = self._held(handler)
        hook = handler.autoscaling_backend.lifecycle_hooks[f"{held.group}_{held.hook}"]
        held.deadline = min(held.longest, self._clock.monotonic() + float(hook.heartbeat_timeout))
        return EmptyResult()

    def _held(self, handler: Any) -> Held:
        """The action that a call means, by its token or by its instance."""
        group, hook = self._group(handler).name, handler._get_param("LifecycleHookName")
        token, instance = handler._get_param("LifecycleActionToken"), handler._get_param("InstanceId")
        for held in self._lifecycles.held():
            if (held.group, held.hook) == (group, hook) and (held.token == token or held.instance == instance):
                return held
        meant = f"token {token}" if token else f"instance ID {instance}"
        raise _invalid(f"No active Lifecycle Action found with {meant}")

    def _start_refresh(self, handler: Any) -> ActionResult:
        from moto.core.responses import ActionResult

        return ActionResult({"InstanceRefreshId": self._refreshes.start(self._group(handler), handler._get_params())})

    def _describe_refreshes(self, handler: Any) -> ActionResult:
        found = self._refreshes.of(self._group(handler), handler._get_param("InstanceRefreshIds", []))
        return _paged(handler, "InstanceRefreshes", found)

    def _cancel_refresh(self, handler: Any) -> ActionResult:
        from moto.core.responses import ActionResult

        return ActionResult({"InstanceRefreshId": self._refreshes.cancel(self._group(handler))})

    def _roll_back_refresh(self, handler: Any) -> ActionResult:
        from moto.core.responses import ActionResult

        return ActionResult({"InstanceRefreshId": self._refreshes.roll_back(self._group(handler))})

    def _group(self, handler: Any) -> Any:
        name = handler._get_param("AutoScalingGroupName")
        group = handler.autoscaling_backend.autoscaling_groups.get(name)
        if group is None:
            raise _invalid(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
        return group


def _invalid(said: str) -> Exception:
    from moto.autoscaling.exceptions import ValidationError

    error: Exception = ValidationError(said)
    return error


def _described(activity: Activity) -> Mapping[str, Any]:
    said = {
        "ActivityId": activity.identity,
        "AutoScalingGroupName": activity.group.name,
        "AutoScalingGroupARN": activity.group.arn,
        "Description": activity.description,
        "Cause": activity.cause,
        "StartTime": activity.started,
        "StatusCode": activity.status,
        "Progress": activity.progress,
    }
    more = {"StatusMessage": activity.message, "EndTime": activity.ended}
    return {**said, **{key: value for key, value in more.items() if value}}


def _paged(handler: Any, key: str, found: Sequence[Mapping[str, Any]]) -> ActionResult:
    """The page that is asked for; a token is the number of the first on it."""
    from moto.core.responses import ActionResult

    start = int(handler._get_param("NextToken") or 0)
    end = start + min(handler._get_int_param("MaxRecords", _PAGE), _PAGE)
    more = {"NextToken": str(end)} if end < len(found) else {}
    return ActionResult({key: list(found[start:end]), **more})
