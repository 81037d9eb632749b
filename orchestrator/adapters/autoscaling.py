"""An Auto Scaling group of Amazon EC2 as what makes a pool larger.

Source: Amazon EC2 Auto Scaling API, ``SetDesiredCapacity``, ``DescribeAutoScalingGroups`` and
``DescribeScalingActivities``; User Guide, "Amazon EC2 Auto Scaling instance lifecycle".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from orchestrator.adapters.aws import READ_BACK_PAUSE, Aws, Reply, read_back
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.capacity import AutoScaling, ScalingReading

_OVER: Final = frozenset({"Successful", "Failed", "Cancelled"})
"""``ScalingActivityStatusCode``: an activity in any other state still runs."""

_RECENT: Final = 20
"""Activities that are looked at: those that run stand before the last one that is over."""


class AutoScalingDriver:
    """``ports.ScalingGroup`` on one Auto Scaling group.

    Where instances have weights (a mixed instances policy), all numbers are in these, as the group's own are.
    """

    def __init__(self, scaling: AutoScaling, aws: Aws, pause: float = READ_BACK_PAUSE) -> None:
        self._group = scaling.group
        self._aws = aws
        self._pause = pause

    async def read(self) -> ScalingReading:
        """The group as it is; while instances are missing, what each waits for and why the last launch failed.

        Raises:
            UnfitError: there is no such group.
        """
        group = await self._describe()
        desired = int(group["DesiredCapacity"])
        healthy = sum(_capacity(one) for one in group["Instances"] if _serves(one))
        return ScalingReading(
            desired=desired,
            healthy=healthy,
            least=group["MinSize"],
            most=group["MaxSize"],
            waits_for=tuple(_waits(group)) + (await self._failure()) if healthy < desired else (),
        )

    async def set_desired(self, count: int) -> None:
        """Ask for so many, whatever cooldown is going on; read back.

        Raises:
            RejectedError: the group's own limits do not allow it, AWS refused it, or it does not say so afterwards.
            UnfitError: there is no such group.
        """
        group = await self._describe()
        if not group["MinSize"] <= count <= group["MaxSize"]:
            raise RejectedError(
                f"cannot set Auto Scaling group {self._group} to {count}: its limits are {group['MinSize']} to "
                f"{group['MaxSize']}",
                remedy="ask for less, or change its MinSize or MaxSize",
            )
        if group["DesiredCapacity"] == count:
            return
        await self._aws.call(
            "autoscaling",
            "set_desired_capacity",
            AutoScalingGroupName=self._group,
            DesiredCapacity=count,
            HonorCooldown=False,
        )
        now = await read_back(self._describe, lambda seen: seen["DesiredCapacity"] == count, self._pause)
        if now["DesiredCapacity"] != count:
            raise RejectedError(
                f"cannot set Auto Scaling group {self._group} to {count}: it wants {now['DesiredCapacity']}",
                remedy="look at its scaling policies and who else sets it, then try again",
            )

    def by_hand(self, count: int) -> Sequence[str]:
        """See ``ScalingGroup.by_hand``."""
        arguments = "--auto-scaling-group-name", self._group, "--desired-capacity", str(count), "--no-honor-cooldown"
        return [self._aws.by_hand("autoscaling", "set-desired-capacity", *arguments)]

    async def _describe(self) -> Reply:
        reply = await self._aws.call("autoscaling", "describe_auto_scaling_groups", AutoScalingGroupNames=[self._group])
        for group in reply["AutoScalingGroups"]:
            found: Reply = group
            return found
        raise UnfitError(
            f"cannot find Auto Scaling group {self._group}",
            remedy="correct 'group' in the inventory, and the region and account that 'aws' means",
        )

    async def _failure(self) -> tuple[str, ...]:
        """Why the last activity that is over failed, if it did."""
        reply = await self._aws.call(
            "autoscaling", "describe_scaling_activities", AutoScalingGroupName=self._group, MaxRecords=_RECENT
        )
        over = next((one for one in reply["Activities"] if one["StatusCode"] in _OVER), None)  # the newest comes first
        if over is None or over["StatusCode"] != "Failed":
            return ()
        return (f"the last activity failed: {over.get('StatusMessage') or over.get('Description') or 'no reason'}",)


def _serves(instance: Reply) -> bool:
    return bool(instance["LifecycleState"] == "InService" and instance["HealthStatus"].lower() == "healthy")


def _capacity(instance: Reply) -> int:
    return int(instance.get("WeightedCapacity") or 1)


def _waits(group: Reply) -> Iterator[str]:
    """What stands between each missing instance and its service."""
    for one in group["Instances"]:
        if not _serves(one):
            state = one["HealthStatus"] if one["LifecycleState"] == "InService" else one["LifecycleState"]
            yield f"{one['InstanceId']} is {state}"
    for process in group.get("SuspendedProcesses", ()):
        if process["ProcessName"] == "Launch":
            yield f"the process Launch is suspended: {process.get('SuspensionReason') or 'no reason is given'}"
