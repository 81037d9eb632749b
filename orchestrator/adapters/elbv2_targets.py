"""The targets of one target group as a traffic switch: registered, or deregistered with their draining.

Source: Elastic Load Balancing API, ``RegisterTargets``, ``DeregisterTargets`` and ``TargetHealth``; Application Load
Balancer User Guide, "Deregistration delay".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard, TypeVar

from orchestrator.adapters.aws import READ_BACK_PAUSE, Aws, read_back
from orchestrator.adapters.elbv2 import Target, parse_arn, refuse_unknown, targets_of
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.switch import Elbv2TargetsSwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session

T = TypeVar("T")

_NAME: Final = re.compile(r"(?P<id>[^:\[\]@]+|\[[0-9a-fA-F:.]+\])(?::(?P<port>\d{1,5}))?(?:@(?P<zone>[a-z0-9-]+))?")
_INSTANCE: Final = re.compile(r"i-[0-9a-f]+")

_CUTS: Final = "deregistration_delay.connection_termination.enabled"
_PASSED_ON: Final = frozenset({"TCP", "TLS", "UDP", "TCP_UDP", "QUIC", "TCP_QUIC"})
"""Protocols of Network Load Balancers, which let connections go on after the delay unless that attribute is set
(Network Load Balancer User Guide, "Deregistration delay"); an Application Load Balancer closes what is left."""

_AT_ONCE: Final = 200
"""Targets of one call, as the AWS Load Balancer Controller has it (its ``targetgroupbinding`` package)."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A target as the inventory names it (``TargetDescription``)."""

    id: str
    port: int | None = None
    """None: the group's own."""
    zone: str = ""
    """The Availability Zone, or "all", which AWS wants of an address outside the group's VPC."""

    @property
    def description(self) -> dict[str, Any]:
        """As the API takes it."""
        port = {} if self.port is None else {"Port": self.port}
        return {"Id": self.id, **port, **({"AvailabilityZone": self.zone} if self.zone else {})}

    @property
    def shorthand(self) -> str:
        """As the ``aws`` command line takes it."""
        return ",".join(f"{key}={value}" for key, value in self.description.items())


@dataclass(frozen=True, slots=True)
class _Group:
    """What the target group is set to."""

    port: int | None
    ends: bool
    """Whether what a target served has ended when its draining has."""


class Elbv2TargetsDriver:
    """``ports.TrafficSwitch`` on one target group: who is registered is ready, everybody else is drained."""

    def __init__(
        self, switch: Elbv2TargetsSwitch, members: Sequence[str], aws: Aws, pause: float = READ_BACK_PAUSE
    ) -> None:
        self._switch = switch
        self._aws = aws
        self._pause = pause
        self._region = parse_arn(switch.target_group, "targetgroup").region
        self._names = {member: _parse(member, switch.name_of(member)) for member in members}
        self._asked: _Group | None = None
        """The group, as it was when it was first asked for."""
        self._seen: set[str] = set()
        """Members that the group has listed once, so that they are no mistake when it lists them no more."""
        self._unasked: Sequence[Target] | None = None
        """What the last ``read`` has seen, until ``elsewhere`` counts in it."""
        self._awaited: frozenset[str] = frozenset()
        """Members that the last ``apply`` put into service."""

    @property
    def max_weight(self) -> int:
        """There are no weights: a target takes traffic, or does not."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member as it is now: draining until its deregistration delay is over, up where AWS calls it healthy.

        A registered target that is ``initial``, ``unhealthy``, ``unused`` or ``unavailable`` is not up. Where health
        checks are off, and where it is not registered, AWS checks nothing: it is up as far as anybody can say.
        Objected to is a member that the group has never listed, as its name may be wrong; and every one where a
        drained target would go on serving what it has, as nobody would know when that has ended.
        """
        group, listed = await self._group(), await self._listed()
        self._unasked = listed
        targets = self._matched(listed, group.port)
        endless = "" if group.ends else self._endless()
        return {
            name: _reading(target, endless if name in self._seen else self._unlisted(name, listed, targets))
            for name, target in targets.items()
        }

    async def elsewhere(self) -> int:
        """How many targets are registered that are no member's: each takes as much as a member.

        Asked right after ``read``, as it always is, it counts what that has seen, and makes no second call.
        """
        listed, self._unasked = self._unasked, None
        if listed is None:
            listed = await self._listed()
        return len(_strangers(listed, self._matched(listed, (await self._group()).port)))

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Register and deregister these members: those that take traffic first, so that somebody always does.

        Raises:
            RejectedError: a weight or an admin state that cannot be, AWS refused it, or a member is not as asked.
            UnfitError: a member is none of the pool's.
        """
        refuse_unknown(changes, self._names, f"the pool of {self._switch.target_group}")
        self._refuse_impossible(changes)
        self._unasked = None
        self._awaited = frozenset(name for name, to in changes.items() if to.admin == "ready")
        now = await self._targets()
        differing = {name: to for name, to in changes.items() if _intake(now[name]) != to}
        if not differing:
            return
        comers = [self._names[name].description for name, to in differing.items() if to.admin == "ready"]
        goers = [target.description for name, target in now.items() if name in differing and _takes(target)]
        await self._write("register_targets", comers)
        await self._write("deregister_targets", goers)
        seen = await read_back(self._targets, lambda targets: not _wrong(targets, changes), self._pause)
        if wrong := _wrong(seen, changes):
            raise RejectedError(
                f"cannot set targets of {self._switch.target_group}: {'; '.join(wrong)}",
                remedy="look who else registers targets there, as an Auto Scaling group or a controller does",
            )

    async def settling(self) -> str:
        """Which members are registered and not yet in service, with AWS's own reason.

        A member that the last ``apply`` put into service is waited for until it is healthy. That another one is
        unhealthy is for a check to judge. A draining member is told by ``read``.
        """
        targets = await self._targets()
        return "; ".join(
            f"{name} is {target}"
            for name, target in targets.items()
            if _takes(target) and (target.state == "initial" or (name in self._awaited and not target.up))
        )

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """None are listed.

        Raises:
            UnfitError: always.
        """
        raise _no_sessions()

    async def close(self, session: Session) -> None:
        """None can be cut.

        Raises:
            UnfitError: always.
        """
        raise _no_sessions()

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: a line that registers, and then one that deregisters."""
        comers = [name for name, admin in admins.items() if admin == "ready"]
        goers = [name for name in admins if name not in comers]
        return [
            self._aws.by_hand(
                "elbv2", f"{verb}-targets", "--target-group-arn", self._switch.target_group,
                "--targets", *(self._names[name].shorthand for name in part), region=self._region,
            )
            for verb, members in (("register", comers), ("deregister", goers))
            for part in _parts(members)
        ]  # fmt: skip

    async def _targets(self) -> dict[str, Target | None]:
        """What the group lists of each member; None where it lists nothing."""
        return self._matched(await self._listed(), (await self._group()).port)

    async def _listed(self) -> Sequence[Target]:
        return await targets_of(self._aws, self._switch.target_group)

    def _matched(self, listed: Sequence[Target], own_port: int | None) -> dict[str, Target | None]:
        there = {(target.id, target.port): target for target in listed}
        targets = {
            member: there.get((name.id, name.port or own_port)) or there.get((name.id, None))
            for member, name in self._names.items()
        }
        self._seen.update(member for member, target in targets.items() if target is not None)
        return targets

    async def _group(self) -> _Group:
        """What it is set to: asked for once, as guards read every second."""
        if self._asked is None:
            arn = self._switch.target_group
            reply = await self._aws.call("elbv2", "describe_target_groups", region=self._region, TargetGroupArns=[arn])
            found = reply["TargetGroups"][0]
            ends = found.get("Protocol") not in _PASSED_ON or await self._cuts(arn)
            self._asked = _Group(found.get("Port"), ends)
        return self._asked

    async def _cuts(self, arn: str) -> bool:
        reply = await self._aws.call(
            "elbv2", "describe_target_group_attributes", region=self._region, TargetGroupArn=arn
        )
        return any(one["Key"] == _CUTS and one["Value"] == "true" for one in reply["Attributes"])

    def _endless(self) -> str:
        line = self._aws.by_hand(
            "elbv2", "modify-target-group-attributes", "--target-group-arn", self._switch.target_group,
            "--attributes", f"Key={_CUTS},Value=true", region=self._region,
        )  # fmt: skip
        return (
            "its connections go on after its draining, for as long as they last, and AWS counts none of them — let "
            f"the load balancer end what is left at the end of the delay: {line}"
        )

    def _unlisted(self, member: str, listed: Sequence[Target], targets: Mapping[str, Target | None]) -> str:
        strangers = _strangers(listed, targets)
        besides = f", which lists {', '.join(strangers)} besides, of no member" if strangers else ""
        return (
            f"{self._switch.name_of(member)} is no target of {self._switch.target_group}{besides}: it may be called "
            "wrong, or is out already — correct the inventory, or register it"
        )

    async def _write(self, operation: str, targets: Sequence[Mapping[str, Any]]) -> None:
        for part in _parts(targets):
            await self._aws.call(
                "elbv2", operation, region=self._region, TargetGroupArn=self._switch.target_group, Targets=part
            )

    def _refuse_impossible(self, changes: Mapping[str, Intake]) -> None:
        wrong = [
            f"{name} to {to}" for name, to in changes.items() if to.weight != self.max_weight or to.admin == "maint"
        ]
        if wrong:
            raise RejectedError(
                f"cannot set {', '.join(wrong)} in {self._switch.target_group}: a target has no weight, and is ready "
                "or drained",
                remedy="use traffic.drain, or elbv2-weights to shift shares",
            )


def _parse(member: str, called: str) -> _Name:
    """A target by its name in the inventory: an instance, an address or an ARN, with its port and zone.

    Raises:
        UnfitError: AWS cannot have such a target.
    """
    if called.startswith("arn:"):
        return _Name(called)
    if _is_address(called):  # IPv6 without a port has colons too
        return _Name(called)
    match = _NAME.fullmatch(called)
    if match is not None:
        target = match["id"].strip("[]")
        if _is_address(target) or _INSTANCE.fullmatch(target):
            return _Name(target, int(match["port"]) if match["port"] else None, match["zone"] or "")
    raise UnfitError(
        f"cannot use {called!r} as the target of {member}: it is no instance id, IP address or ARN",
        remedy=f"add {member} to 'names', as i-0123456789abcdef0 or 10.0.0.5:25",
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _takes(target: Target | None) -> TypeGuard[Target]:
    return target is not None and target.registered


def _intake(target: Target | None) -> Intake:
    return Intake(weight=1, admin="ready" if _takes(target) else "drain")


def _strangers(listed: Sequence[Target], targets: Mapping[str, Target | None]) -> list[str]:
    """What is registered and no member's."""
    ours = [target for target in targets.values() if target is not None]
    return [target.name for target in listed if target.registered and target not in ours]


def _reading(target: Target | None, objection: str) -> MemberReading:
    return MemberReading(
        intake=_intake(target),
        up=not _takes(target) or target.up,  # nobody checks a target that is not registered
        sessions=None,
        draining=target is not None and target.draining,
        objection=objection,
    )


def _wrong(targets: Mapping[str, Target | None], asked: Mapping[str, Intake]) -> list[str]:
    return [
        f"{name} is {targets[name] or 'not registered'} instead of {'registered' if to.admin == 'ready' else 'drained'}"
        for name, to in asked.items()
        if _intake(targets[name]) != to
    ]


def _parts(every: Sequence[T]) -> Iterator[Sequence[T]]:
    return (every[begin : begin + _AT_ONCE] for begin in range(0, len(every), _AT_ONCE))


def _no_sessions() -> UnfitError:
    return UnfitError(
        "cannot list or cut the sessions of a target group: Elastic Load Balancing shows none",
        remedy="use traffic.drain, which waits for AWS's own draining, or drain at the mail hosts",
    )
