"""AWS Global Accelerator: accelerators, listeners and endpoint groups, whose changes take time to be deployed.

    create, update ──▶ IN_PROGRESS ──▶ DEPLOYED, after ``settings.accelerator_deployed_after`` of the world's clock

An endpoint is INITIAL until ``settings.target_healthy_after`` is over, then HEALTHY, or UNHEALTHY by the test's word.
Source: AWS Global Accelerator API Reference; the API is in us-west-2 only ("Welcome").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from orchestrator.testing.overlay.missing import NotInOverlayError, ServiceError

if TYPE_CHECKING:
    from orchestrator.testing.overlay.world import AwsWorld

_REGION: Final = "us-west-2"
_ARN: Final = "arn:aws:globalaccelerator::123456789012:accelerator/"
_KEPT: Final = (
    *("HealthCheckPort", "HealthCheckProtocol", "HealthCheckPath", "HealthCheckIntervalSeconds"),
    *("ThresholdCount", "PortOverrides"),
)
_DEFAULTS: Final[Mapping[str, Any]] = {
    "TrafficDialPercentage": 100.0,
    "HealthCheckProtocol": "TCP",
    "HealthCheckIntervalSeconds": 30,
    "ThresholdCount": 3,
}
_PAGE: Final = 10


@dataclass(slots=True)
class _Endpoint:
    identifier: str
    weight: int
    since: float


@dataclass(slots=True)
class _Group:
    arn: str
    region: str
    settings: dict[str, Any]
    endpoints: list[_Endpoint] = field(default_factory=list)


@dataclass(slots=True)
class _Accelerator:
    arn: str
    settings: dict[str, Any]
    created: float
    changed: float
    """The clock's ``monotonic`` at the last change."""
    modified: float


class Accelerators:
    """The accelerators of the account, and the test's word on the health of endpoints."""

    name = "globalaccelerator"

    def __init__(self) -> None:
        self._accelerators: dict[str, _Accelerator] = {}
        self._listeners: dict[str, dict[str, Any]] = {}
        self._groups: dict[str, _Group] = {}
        self._unhealthy: set[str] = set()
        self._calls: Mapping[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "CreateAccelerator": self._create_accelerator,
            "DescribeAccelerator": self._describe_accelerator,
            "CreateListener": self._create_listener,
            "DescribeListener": self._describe_listener,
            "ListListeners": self._list_listeners,
            "CreateEndpointGroup": self._create_group,
            "DescribeEndpointGroup": self._describe_group,
            "ListEndpointGroups": self._list_groups,
            "UpdateEndpointGroup": self._update_group,
        }

    def install(self, world: AwsWorld) -> None:
        """Answer the service's calls."""
        self._clock, self._settings = world.clock, world.settings
        world.missing.add(self)

    def remove(self) -> None:
        """Nothing: the calls go with ``world.missing``."""

    def set_unhealthy(self, endpoint: str) -> None:
        """Have an endpoint, by its id, fail its health checks from now on, in whichever group."""
        self._unhealthy.add(endpoint)

    def set_healthy(self, endpoint: str) -> None:
        """Take ``set_unhealthy`` back."""
        self._unhealthy.discard(endpoint)

    def reach(self, url: str, region: str) -> None:
        """The API has no address in another region."""
        from botocore.exceptions import EndpointConnectionError

        if region != _REGION:
            raise EndpointConnectionError(endpoint_url=url)

    def answer(self, operation: str, arguments: Mapping[str, Any], region: str) -> Mapping[str, Any]:
        """See ``missing.Service``."""
        call = self._calls.get(operation)
        if call is None:
            raise NotInOverlayError(self.name, operation)
        with self._clock.lock:
            return call(arguments)

    def _create_accelerator(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        number = len(self._accelerators) + 1
        arn = f"{_ARN}00000000-0000-4000-8000-{number:012x}"
        settings = {
            "Name": given["Name"],
            "IpAddressType": given.get("IpAddressType", "IPV4"),
            "Enabled": given.get("Enabled", True),
            "DnsName": f"a{number:016x}.awsglobalaccelerator.com",
        }
        now = self._clock.now()
        self._accelerators[arn] = _Accelerator(arn, settings, now, self._clock.monotonic(), now)
        return self._describe_accelerator({"AcceleratorArn": arn})

    def _describe_accelerator(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        one = self._accelerators.get(given["AcceleratorArn"])
        if one is None:
            raise ServiceError("AcceleratorNotFoundException", f"no accelerator {given['AcceleratorArn']}")
        deployed = self._clock.monotonic() >= one.changed + self._settings.accelerator_deployed_after
        times = {"CreatedTime": one.created, "LastModifiedTime": one.modified}
        return {
            "Accelerator": {
                "AcceleratorArn": one.arn,
                "Status": "DEPLOYED" if deployed else "IN_PROGRESS",
                **one.settings,
                **{key: datetime.fromtimestamp(at, UTC) for key, at in times.items()},
            }
        }

    def _create_listener(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        self._describe_accelerator(given)
        arn = f"{given['AcceleratorArn']}/listener/{len(self._listeners) + 1:08x}"
        self._listeners[arn] = {
            "ListenerArn": arn,
            "PortRanges": given["PortRanges"],
            "Protocol": given.get("Protocol", "TCP"),
            "ClientAffinity": given.get("ClientAffinity", "NONE"),
        }
        self._touch(arn)
        return {"Listener": self._listeners[arn]}

    def _describe_listener(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        if given["ListenerArn"] not in self._listeners:
            raise ServiceError("ListenerNotFoundException", f"no listener {given['ListenerArn']}")
        return {"Listener": self._listeners[given["ListenerArn"]]}

    def _list_listeners(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        self._describe_accelerator(given)
        own = [one for arn, one in self._listeners.items() if arn.startswith(f"{given['AcceleratorArn']}/")]
        return _page("Listeners", own, given)

    def _create_group(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        listener, region = given["ListenerArn"], given["EndpointGroupRegion"]
        self._describe_listener(given)
        if any(group.region == region for group in self._groups_of(listener)):
            said = f"the listener has an endpoint group in {region} already"
            raise ServiceError("EndpointGroupAlreadyExistsException", said)
        arn = f"{listener}/endpoint-group/{len(self._groups) + 1:012x}"
        self._groups[arn] = _Group(arn, region, dict(_DEFAULTS))
        self._change(self._groups[arn], given)
        return self._describe_group({"EndpointGroupArn": arn})

    def _describe_group(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"EndpointGroup": self._described(self._group(given["EndpointGroupArn"]))}

    def _list_groups(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        self._describe_listener(given)
        own = [self._described(group) for group in self._groups_of(given["ListenerArn"])]
        return _page("EndpointGroups", own, given)

    def _update_group(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        self._change(self._group(given["EndpointGroupArn"]), given)
        return self._describe_group(given)

    def _group(self, arn: str) -> _Group:
        if arn not in self._groups:
            raise ServiceError("EndpointGroupNotFoundException", f"no endpoint group {arn}")
        return self._groups[arn]

    def _groups_of(self, listener: str) -> list[_Group]:
        return [group for group in self._groups.values() if group.arn.startswith(f"{listener}/")]

    def _change(self, group: _Group, given: Mapping[str, Any]) -> None:
        """What is not given stays; endpoints that are given take the place of all (``UpdateEndpointGroup``)."""
        dial = float(given.get("TrafficDialPercentage", group.settings["TrafficDialPercentage"]))
        if not 0 <= dial <= 100:
            raise ServiceError("InvalidArgumentException", f"a traffic dial of {dial} is not between 0 and 100")
        group.settings["TrafficDialPercentage"] = dial
        group.settings.update({key: given[key] for key in _KEPT if key in given})
        if "EndpointConfigurations" in given:
            since = {one.identifier: one.since for one in group.endpoints}
            now = self._clock.monotonic()
            group.endpoints = [
                _Endpoint(one["EndpointId"], one.get("Weight", 128), since.get(one["EndpointId"], now))
                for one in given["EndpointConfigurations"]
            ]
        self._touch(group.arn)

    def _touch(self, arn: str) -> None:
        """Something of an accelerator has changed: it is deployed anew."""
        accelerator = self._accelerators[arn.partition("/listener/")[0]]
        accelerator.changed, accelerator.modified = self._clock.monotonic(), self._clock.now()

    def _described(self, group: _Group) -> dict[str, Any]:
        endpoints = [
            {"EndpointId": one.identifier, "Weight": one.weight, "HealthState": self._health(one)}
            for one in group.endpoints
        ]
        return {
            "EndpointGroupArn": group.arn,
            "EndpointGroupRegion": group.region,
            "EndpointDescriptions": endpoints,
            **group.settings,
        }

    def _health(self, endpoint: _Endpoint) -> str:
        if endpoint.identifier in self._unhealthy:
            return "UNHEALTHY"
        over = self._clock.monotonic() >= endpoint.since + (self._settings.target_healthy_after or 0.0)
        return "HEALTHY" if over else "INITIAL"


def _page(key: str, items: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """One page; the token is where the next one begins."""
    said = str(given.get("NextToken", "0"))
    if not said.isdecimal() or int(said) > len(items):
        raise ServiceError("InvalidNextTokenException", f"no such token: {said}")
    start, most = int(said), given.get("MaxResults", _PAGE)
    following = {"NextToken": str(start + most)} if start + most < len(items) else {}
    return {key: items[start : start + most], **following}
