"""Routing controls of Amazon Application Recovery Controller (ARC) as a traffic switch.

Source: ARC Developer Guide, "Best practices for routing control", "Getting and updating routing control states".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from shlex import quote
from typing import Any, Final

from orchestrator.adapters.aws import Aws, AwsRejectedError, Reply
from orchestrator.errors import RejectedError, UnfitError, UnreachableError
from orchestrator.model.switch import ArcRoutingSwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session
from orchestrator.model.units import format_duration
from orchestrator.ports import Clock

_SERVICE: Final = "route53-recovery-cluster"
_WITHIN: Final = 3.0
"""Seconds for one endpoint: two of the five may be away at any time, and a failover must not wait for them."""

_ELSEWHERE: Final = frozenset({"EndpointTemporarilyUnavailableException", "InternalServerException"})
"""What one endpoint says of itself alone (Routing Control API Reference, "Errors")."""

_CONTROL: Final = re.compile(r"(arn:[\w-]+:route53-recovery-control::\d+:controlpanel/[\w-]+)/routingcontrol/[\w-]+")
_STATES: Final = ("Off", "On")
"""By the weight that stands for it."""


class ArcRoutingDriver:
    """``ports.TrafficSwitch`` on routing controls of one cluster: On is weight 1, Off is 0.

    The cluster's endpoints are tried in turn: the first time from one at random, as AWS advises, so that not everybody
    asks the same one; then from the one that answered last, so that what was written is read where it was written.
    All members are set in one call, which the cluster does whole or not at all. Safety rules are never overridden.
    """

    def __init__(
        self, switch: ArcRoutingSwitch, members: Sequence[str], aws: Aws, clock: Clock, random: Random | None = None
    ) -> None:
        self._switch = switch
        self._members = tuple(members)
        self._aws = aws
        self._clock = clock
        self._written_at: float | None = None
        endpoints = list(switch.cluster.items())
        first = (random or Random()).randrange(len(endpoints))
        self._endpoints = endpoints[first:] + endpoints[:first]

    @property
    def max_weight(self) -> int:
        """On."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member's control now; ``up`` is always true, as routing controls check nothing.

        Raises:
            UnfitError: a member is no routing control of the cluster.
            UnreachableError: none of the endpoints answers.
        """
        return {
            name: MemberReading(intake=Intake(weight=weight), up=True, sessions=None)
            for name, weight in (await self._weights(self._members)).items()
        }

    async def elsewhere(self) -> int:
        """None: the cluster's other controls are for other traffic."""
        return 0

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Set these members' controls in one call.

        Raises:
            RejectedError: a state cannot be, a safety rule stands against it, or a control is not as asked.
            UnfitError, UnreachableError: as ``read``.
        """
        now = await self._weights(changes)
        self._check(changes)
        differing = {name: to.weight for name, to in changes.items() if now[name] != to.weight}
        if not differing:
            return
        self._written_at = None  # without an answer nobody knows since when
        await self._set(differing)
        self._written_at = self._clock.monotonic()
        now = await self._weights(changes)
        wrong = [
            f"{name} is {_STATES[now[name]]} instead of {_STATES[to.weight]}"
            for name, to in changes.items()
            if now[name] != to.weight
        ]
        if wrong:
            raise RejectedError(f"cannot set routing controls: {'; '.join(wrong)}", remedy="look who else sets them")

    async def settling(self) -> str:
        """The time in which the records follow their health checks, and the answer that clients may hold after that.

        The cluster knows neither, so both are waited out.
        """
        now = self._clock.monotonic()
        self._written_at = now if self._written_at is None else self._written_at
        left = self._written_at + self._switch.settles_in - now
        return f"clients may hold the old answer for {format_duration(math.ceil(left))} more" if left > 0 else ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """None can be listed.

        Raises:
            UnfitError: always.
        """
        raise _no_sessions("list")

    async def close(self, session: Session) -> None:
        """None can be closed.

        Raises:
            UnfitError: always.
        """
        raise _no_sessions("close")

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: one line that tries the endpoints in turn until one has done it."""
        if not weights:
            return []
        within = str(round(_WITHIN))
        options = ("--cli-connect-timeout", within, "--cli-read-timeout", within)
        entries = ("--update-routing-control-state-entries", json.dumps(self._entries(weights)))
        update = self._aws.by_hand(_SERVICE, "update-routing-control-states", *options, *entries)
        places = " ".join(quote(f"{region}={url}") for region, url in self._switch.cluster.items())
        there = '--region "${at%%=*}" --endpoint-url "${at#*=}"'
        return [f"for at in {places}; do {update} {there} && break; done"]

    async def _weights(self, names: Iterable[str]) -> dict[str, int]:
        """The state of each member's control, as a weight.

        Raises:
            UnfitError: a member is none of the cluster's.
        """
        arns = {name: self._switch.name_of(name) for name in names}
        known = (_CONTROL.fullmatch(self._switch.name_of(name)) for name in self._members)
        panels = dict.fromkeys(match[1] for match in known if match is not None)
        states = {arn: state for panel in panels for arn, state in (await self._states(panel)).items()}
        missing = [name for name, arn in arns.items() if arn not in states]
        if missing:
            raise UnfitError(
                f"cannot find {', '.join(missing)} among the routing controls of the cluster: there are "
                f"{', '.join(states) or 'none on the control panels of the members'}",
                remedy="give the ARN of each member's routing control under 'names' in the inventory",
            )
        return {name: _STATES.index(states[arn]) for name, arn in arns.items()}

    async def _states(self, panel: str) -> dict[str, str]:
        """The state of each control on a panel, by its ARN; empty when the cluster has no such panel."""
        states: dict[str, str] = {}
        token: dict[str, str] = {}
        while True:
            try:
                reply = await self._ask("list_routing_controls", ControlPanelArn=panel, **token)
            except AwsRejectedError as error:
                if error.code == "ResourceNotFoundException":
                    return {}
                raise
            states |= {one["RoutingControlArn"]: one["RoutingControlState"] for one in reply["RoutingControls"]}
            if not reply.get("NextToken"):
                return states
            token = {"NextToken": reply["NextToken"]}

    async def _set(self, weights: Mapping[str, int]) -> None:
        try:
            await self._ask("update_routing_control_states", UpdateRoutingControlStateEntries=self._entries(weights))
        except AwsRejectedError as error:
            if error.code != "ConflictException":
                raise
            raise RejectedError(
                f"cannot set the routing controls of {', '.join(weights)}: {error.message}",
                remedy="change what the safety rule asks for in the same step; it is never overridden from here",
            ) from error

    def _entries(self, weights: Mapping[str, int]) -> list[dict[str, str]]:
        return [
            {"RoutingControlArn": self._switch.name_of(name), "RoutingControlState": _STATES[weight]}
            for name, weight in weights.items()
        ]

    async def _ask(self, operation: str, **arguments: Any) -> Reply:
        """What the first endpoint that can answer replies; the next call begins with that one.

        Raises:
            UnreachableError: none can.
        """
        said: list[str] = []
        for place in list(self._endpoints):
            region, url = place
            try:
                reply = await self._aws.call(
                    _SERVICE, operation, region=region, endpoint=url, within=_WITHIN, **arguments
                )
            except UnreachableError as error:
                said.append(f"{region}: {error.message}")
            except AwsRejectedError as error:
                if error.code not in _ELSEWHERE:
                    self._begin_with(place)
                    raise
                said.append(f"{region}: {error.message}")
            else:
                self._begin_with(place)
                return reply
        raise UnreachableError(
            f"cannot ask the routing control cluster: none of its endpoints answers ({'; '.join(said)})",
            remedy="look at the network, and whether 'cluster' has the endpoints that describe-cluster gives",
        )

    def _begin_with(self, place: tuple[str, str]) -> None:
        first = self._endpoints.index(place)
        self._endpoints = self._endpoints[first:] + self._endpoints[:first]

    def _check(self, changes: Mapping[str, Intake]) -> None:
        """Refuse what cannot be, before anything is touched."""
        for name, to in changes.items():
            if to.weight > self.max_weight or to.admin != "ready":
                raise RejectedError(
                    f"cannot set {name} to {to}: a routing control is On (1) or Off (0)",
                    remedy="give it weight 0 to take it out",
                )


def _no_sessions(what: str) -> UnfitError:
    return UnfitError(
        f"cannot {what} sessions of routing controls: they carry none",
        remedy="drain them at the load balancer or the hosts behind it",
    )
