"""AWS Global Accelerator as a traffic switch: the traffic dials of a listener's endpoint groups.

Source: Global Accelerator Developer Guide, "Adjusting traffic flow with traffic dials".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from orchestrator.adapters.aws import READ_BACK_PAUSE, Aws, read_back
from orchestrator.errors import OutsideError, RejectedError, UnfitError
from orchestrator.model.switch import GlobalAcceleratorSwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session

_SERVICE: Final = "globalaccelerator"
_REGION: Final = "us-west-2"
"""The service works in all regions; its API is in this one alone (API Reference, "Welcome")."""


@dataclass(frozen=True, slots=True)
class _Group:
    """One endpoint group."""

    arn: str
    region: str
    dial: float
    healthy: float
    """The share of its endpoints that is; one of which nothing is known yet does not count."""


class GlobalAcceleratorDriver:
    """``ports.TrafficSwitch`` on the endpoint groups of one listener.

    A dial says how much a region takes of what would come to it anyway; what it turns away goes to the next best one.
    Nothing but the dial is written. The API knows no versions: who changes the same dial in the same second as
    somebody else cannot be told, but what comes of it is read back.
    """

    def __init__(
        self, switch: GlobalAcceleratorSwitch, members: Sequence[str], aws: Aws, pause: float = READ_BACK_PAUSE
    ) -> None:
        self._switch = switch
        self._members = tuple(members)
        self._aws = aws
        self._pause = pause
        self._accelerator = switch.listener.partition("/listener/")[0]

    @property
    def max_weight(self) -> int:
        """A dial of 100 percent."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member's dial now; ``up`` is whether any endpoint in its region is healthy, ``healthy`` how many are.

        Raises:
            UnfitError: a member's region has no endpoint group, or a dial that is no whole percentage.
        """
        return {
            name: MemberReading(
                intake=Intake(weight=_whole(name, group)), up=group.healthy > 0, healthy=group.healthy, sessions=None
            )
            for name, group in (await self._groups(self._members)).items()
        }

    async def elsewhere(self) -> int:
        """None: a dial says nothing of what other regions take."""
        return 0

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Turn these members' dials: first up, then down, and none down where one could not be turned up.

        Raises:
            RejectedError: a dial cannot be, or is not as asked.
            UnfitError: as ``read``.
        """
        groups = await self._groups(changes)
        self._check(changes)
        differing = {name: to.weight for name, to in changes.items() if groups[name].dial != to.weight}
        up = {name: dial for name, dial in differing.items() if dial > groups[name].dial}
        errors = await self._turn(groups, up)
        if not errors:
            errors = await self._turn(groups, {name: dial for name, dial in differing.items() if name not in up})
        if not differing:
            return
        read = partial(self._groups, changes)
        now = await (read() if errors else read_back(read, lambda seen: not _wrong(seen, changes), self._pause))
        self._compare(now, changes, errors)

    async def settling(self) -> str:
        """Whether all edge locations have it (API Reference, ``Accelerator``, ``Status``)."""
        reply = await self._aws.call(_SERVICE, "describe_accelerator", region=_REGION, AcceleratorArn=self._accelerator)
        if reply["Accelerator"].get("Status") == "DEPLOYED":
            return ""
        return f"Global Accelerator has not yet told all its edge locations ({self._accelerator})"

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """None can be listed.

        Raises:
            UnfitError: always.
        """
        raise self._no_sessions("list")

    async def close(self, session: Session) -> None:
        """None can be closed.

        Raises:
            UnfitError: always.
        """
        raise self._no_sessions("close")

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: a line each, which looks up the group's ARN by its region."""
        lines = []
        for name, weight in weights.items():
            query = f"EndpointGroups[?EndpointGroupRegion == '{self._switch.name_of(name)}'].EndpointGroupArn"
            listed = ("--listener-arn", self._switch.listener, "--query", query, "--output", "text")
            found = self._aws.by_hand(_SERVICE, "list-endpoint-groups", *listed, region=_REGION)
            dial = ("--traffic-dial-percentage", str(weight))
            update = self._aws.by_hand(_SERVICE, "update-endpoint-group", *dial, region=_REGION)
            lines.append(f'{update} --endpoint-group-arn "$({found})"')
        return lines

    async def _groups(self, names: Iterable[str]) -> dict[str, _Group]:
        """The endpoint group of each member.

        Raises:
            UnfitError: a member has none.
        """
        pages = self._aws.pages(
            _SERVICE, "list_endpoint_groups", "EndpointGroups", region=_REGION, ListenerArn=self._switch.listener
        )
        groups = {group.region: group async for group in (_group(one) async for one in pages)}
        regions = {name: self._switch.name_of(name) for name in names}
        missing = [name for name, region in regions.items() if region not in groups]
        if missing:
            raise UnfitError(
                f"cannot find {', '.join(missing)} behind {self._switch.listener}: it has endpoint groups in "
                f"{', '.join(groups) or 'no region'}",
                remedy="give each member's region under 'names' in the inventory",
            )
        return {name: groups[region] for name, region in regions.items()}

    def _check(self, changes: Mapping[str, Intake]) -> None:
        """Refuse what cannot be, before anything is touched."""
        for name, to in changes.items():
            if to.weight > self.max_weight or to.admin != "ready":
                raise RejectedError(
                    f"cannot set {name} to {to}: a traffic dial goes from 0 to {self.max_weight}, and that is all",
                    remedy="give it weight 0 to take it out",
                )

    async def _turn(self, groups: Mapping[str, _Group], dials: Mapping[str, int]) -> dict[str, OutsideError]:
        """Turn each dial; what went wrong, by member."""
        errors: dict[str, OutsideError] = {}
        for name, dial in dials.items():
            try:
                await self._aws.call(
                    _SERVICE,
                    "update_endpoint_group",
                    region=_REGION,
                    EndpointGroupArn=groups[name].arn,
                    TrafficDialPercentage=float(dial),
                )
            except OutsideError as error:
                errors[name] = error
        return errors

    def _compare(
        self, groups: Mapping[str, _Group], asked: Mapping[str, Intake], errors: Mapping[str, OutsideError]
    ) -> None:
        wrong = _wrong(groups, asked)
        if not wrong:
            return  # a reply got lost, but the dial was turned
        said = [error.message for error in errors.values()]
        raise RejectedError(
            f"cannot turn the dials of {self._switch.listener}: {'; '.join([*wrong, *said])}",
            remedy="look who else turns them, and at AWS's own status",
        ) from next(iter(errors.values()), None)

    def _no_sessions(self, what: str) -> UnfitError:
        return UnfitError(
            f"cannot {what} sessions of {self._switch.listener}: Global Accelerator tells nobody",
            remedy="drain them at the load balancer or the hosts behind it",
        )


def _group(said: Mapping[str, Any]) -> _Group:
    states = [one.get("HealthState") for one in said.get("EndpointDescriptions", ())]
    judged = [state == "HEALTHY" for state in states if state != "INITIAL"]
    healthy = sum(judged) / len(judged) if judged else 0.0
    dial = float(said.get("TrafficDialPercentage", 100.0))
    return _Group(str(said["EndpointGroupArn"]), str(said["EndpointGroupRegion"]), dial, healthy)


def _whole(name: str, group: _Group) -> int:
    if group.dial != int(group.dial):
        raise UnfitError(
            f"cannot read {name}: the traffic dial of {group.region} is {group.dial}%, and ours are whole",
            remedy="set it to a whole percentage",
        )
    return int(group.dial)


def _wrong(groups: Mapping[str, _Group], asked: Mapping[str, Intake]) -> list[str]:
    return [
        f"{name} has a dial of {groups[name].dial:g} instead of {to.weight}"
        for name, to in asked.items()
        if groups[name].dial != to.weight
    ]
