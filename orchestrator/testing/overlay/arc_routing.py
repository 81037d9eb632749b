"""ARC routing controls: on and off switches in one cluster, which five endpoints in five regions serve.

Updates of several are made whole or not at all, and not against a safety rule: an assertion rule says how many of its
controls must be On after a change. Controls, panels and rules are made by the test, not by the configuration API.
Source: Routing Control (Recovery Cluster) API Reference; ARC Developer Guide, "Creating safety rules".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.testing.overlay.missing import NotInOverlayError, ServiceError

_ARN: Final = "arn:aws:route53-recovery-control::123456789012:"
_REGIONS: Final = ("us-east-1", "us-west-2", "eu-west-1", "ap-northeast-1", "ap-southeast-2")
_PAGE: Final = 50


@dataclass(slots=True)
class _Control:
    arn: str
    name: str
    panel: str
    on: bool


@dataclass(frozen=True, slots=True)
class _Rule:
    arn: str
    name: str
    controls: tuple[str, ...]
    at_least: int


class RoutingControls:
    """The cluster, its controls and rules."""

    name = "route53-recovery-cluster"

    def __init__(self) -> None:
        self.endpoints: Final[Mapping[str, str]] = {
            region: f"https://{number:08x}.route53-recovery-cluster.{region}.amazonaws.com/v1"
            for number, region in enumerate(_REGIONS, start=1)
        }
        """The cluster's endpoints, by region."""
        self._controls: dict[str, _Control] = {}
        self._panels: dict[str, str] = {}
        self._rules: list[_Rule] = []
        self._cut: set[str] = set()
        self._unavailable: set[str] = set()

    def add_control(self, name: str, on: bool = False, panel: str = "DefaultControlPanel") -> str:
        """Make a routing control; returns its ARN."""
        of = self._panels.setdefault(panel, f"{_ARN}controlpanel/{len(self._panels) + 1:032x}")
        arn = f"{of}/routingcontrol/{len(self._controls) + 1:016x}"
        self._controls[arn] = _Control(arn, name, of, on)
        return arn

    def add_rule(self, name: str, controls: Sequence[str], at_least: int = 1) -> str:
        """Make an assertion rule: so many of the controls must be On after each change. Returns its ARN."""
        panel = self._controls[controls[0]].panel
        rule = _Rule(f"{panel}/safetyrule/{len(self._rules) + 1:016x}", name, tuple(controls), at_least)
        self._rules.append(rule)
        return rule.arn

    def cut(self, region: str) -> None:
        """Let nothing answer at the endpoint of a region from now on."""
        self._cut.add(region)

    def be_unavailable(self, region: str) -> None:
        """Let the endpoint of a region say that it is temporarily unavailable from now on."""
        self._unavailable.add(region)

    def mend(self, region: str) -> None:
        """Take ``cut`` and ``be_unavailable`` back."""
        self._cut.discard(region)
        self._unavailable.discard(region)

    def states(self) -> Mapping[str, bool]:
        """Which control is On, by its ARN."""
        return {arn: control.on for arn, control in self._controls.items()}

    def reach(self, url: str, region: str) -> None:
        """Only the cluster's own endpoints answer, each in its own region, while they are not cut."""
        from botocore.exceptions import EndpointConnectionError

        own = self.endpoints.get(region, "")
        if region in self._cut or not own or url.rstrip("/") != own:
            raise EndpointConnectionError(endpoint_url=url)

    def answer(self, operation: str, arguments: Mapping[str, Any], region: str) -> Mapping[str, Any]:
        """See ``missing.Service``."""
        if region in self._unavailable:
            raise ServiceError("EndpointTemporarilyUnavailableException", f"the endpoint in {region} is in maintenance")
        match operation:
            case "GetRoutingControlState":
                control = self._control(arguments["RoutingControlArn"])
                reply = _described(control)
                return {key: reply[key] for key in ("RoutingControlArn", "RoutingControlName", "RoutingControlState")}
            case "ListRoutingControls":
                return self._list(arguments)
            case "UpdateRoutingControlState":
                return self._update([arguments], arguments)
            case "UpdateRoutingControlStates":
                return self._update(arguments["UpdateRoutingControlStateEntries"], arguments)
            case _:
                raise NotInOverlayError(self.name, operation)

    def _control(self, arn: str) -> _Control:
        if arn not in self._controls:
            said = f"no routing control {arn}"
            raise ServiceError("ResourceNotFoundException", said, resourceId=arn, resourceType="RoutingControl")
        return self._controls[arn]

    def _list(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        panel = given.get("ControlPanelArn")
        if panel is not None and panel not in self._panels.values():
            said = f"no control panel {panel}"
            raise ServiceError("ResourceNotFoundException", said, resourceId=panel, resourceType="ControlPanel")
        own = [_described(control) for control in self._controls.values() if panel in (None, control.panel)]
        start, most = int(given.get("NextToken", "0")), given.get("MaxResults", _PAGE)
        following = {"NextToken": str(start + most)} if start + most < len(own) else {}
        return {"RoutingControls": own[start : start + most], **following}

    def _update(self, entries: Iterable[Mapping[str, Any]], given: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted = {self._control(one["RoutingControlArn"]).arn: one["RoutingControlState"] == "On" for one in entries}
        self._assert(wanted, given.get("SafetyRulesToOverride", ()))
        for arn, on in wanted.items():
            self._controls[arn].on = on
        return {}

    def _assert(self, wanted: Mapping[str, bool], overridden: Iterable[str]) -> None:
        after = {**self.states(), **wanted}
        for rule in self._rules:
            applies = rule.arn not in set(overridden) and not wanted.keys().isdisjoint(rule.controls)
            if applies and sum(after[arn] for arn in rule.controls) < rule.at_least:
                said = f"the change violates safety rule {rule.name}: {rule.at_least} of its controls must be On"
                raise ServiceError("ConflictException", said, resourceId=rule.arn, resourceType="SafetyRule")


def _described(control: _Control) -> dict[str, Any]:
    return {
        "ControlPanelArn": control.panel,
        "RoutingControlArn": control.arn,
        "RoutingControlName": control.name,
        "RoutingControlState": "On" if control.on else "Off",
    }
