"""Faults by name: what AWS, the network or a target does to a call.

================  ====================================================================================================
throttling        the call is answered with the service's own "too many requests", and not done
access-denied     the call is answered with the service's own "not authorized", and not done
timeout           no answer within the client's read timeout; the call is not done
reply-lost        the call is done, but its answer does not arrive within the client's read timeout
connect-timeout   no connection within the client's connect timeout; the call is not done
unhealthy-target  the targets that ``elbv2 RegisterTargets`` registers fail their health checks
never-in-sync     the change that ``route53 ChangeResourceRecordSets`` makes stays PENDING
never-healthy     the instances that ``autoscaling`` launches after the call fail their health checks
no-capacity       the instances that ``autoscaling`` wants after the call cannot be launched: there is no capacity
================  ====================================================================================================

The first five are injected below botocore's retries: each *try* of a call meets a fault anew, botocore backs off and
tries again as it does with AWS, and a timeout takes its seconds of the world's clock. Faults act on the clients of this
process, whatever they talk to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from orchestrator.testing.overlay.fault_reply import Refusal, denied, response, throttled
from orchestrator.testing.overlay.patches import Patches

if TYPE_CHECKING:
    from botocore.model import OperationModel

    from orchestrator.testing.overlay.world import AwsWorld

Answer: TypeAlias = tuple[tuple[Any, dict[str, Any]] | None, Exception | None]
"""As botocore's endpoint has it: HTTP response and what was parsed of it, or the exception."""

_ARGUMENTS: Final = "failover-faults-arguments"
_LAUNCHES: Final = ("SetDesiredCapacity", "UpdateAutoScalingGroup", "CreateAutoScalingGroup", "StartInstanceRefresh")


@dataclass(slots=True)
class Fault:
    """A fault that was injected. ``hits`` says how many tries have met it."""

    name: str
    service: str
    operations: frozenset[str]
    times: int | None
    matching: Mapping[str, Any]
    hits: int = 0

    @property
    def over(self) -> bool:
        """Whether it has been met as often as it was to be."""
        return self.times is not None and self.hits >= self.times

    def __str__(self) -> str:
        return f"{self.name} of {self.service} {' or '.join(sorted(self.operations))}"


@dataclass(slots=True)
class _Try:
    """One try of one call, on its way out."""

    original: Callable[..., Answer]
    endpoint: Any
    request: Any
    model: OperationModel
    context: Mapping[str, Any]
    arguments: Mapping[str, Any]

    def send(self) -> Answer:
        """Send it, and parse what comes."""
        return self.original(self.endpoint, self.request, self.model, self.context)

    def refuse(self, refusal: Refusal) -> Answer:
        """Parse AWS's no, without any hook that would make the call: by a copy of the endpoint that sends to nobody."""
        from botocore.hooks import HierarchicalEmitter

        endpoint = copy.copy(self.endpoint)
        endpoint._event_emitter = HierarchicalEmitter()
        endpoint._send = lambda request: response(request.url, self.model, refusal)
        return self.original(endpoint, self.request, self.model, self.context)


class Faults:
    """The faults of a world."""

    def __init__(self) -> None:
        self._patches = Patches()
        self._faults: list[Fault] = []

    def install(self, world: AwsWorld) -> None:
        """Come between botocore's retries and the sending of each try."""
        from botocore.client import BaseClient
        from botocore.endpoint import Endpoint

        self._world = world
        self._patches.wrap(BaseClient, "_emit_api_params", self._keep_arguments)
        self._patches.wrap(Endpoint, "_do_get_response", self._try)

    def remove(self) -> None:
        """Let every call through."""
        self._patches.remove()

    def inject(
        self,
        name: str,
        service: str | None = None,
        operation: str | None = None,
        times: int | None = 1,
        matching: Mapping[str, Any] | None = None,
    ) -> Fault:
        """Have the next calls meet a fault.

        Args:
            name: one of the faults in the table above.
            service: as boto3 calls it, like ``elbv2``. May be left out for a fault that belongs to one service.
            operation: as AWS calls it, like ``ModifyListener``; ``*`` is every one of the service. May be left out as
                the service may.
            times: how many tries meet it; None is all from now on.
            matching: arguments that the call must have. Of a structure only what is given here is looked at, and of a
                list that it holds each of these: ``{"Targets": [{"Id": "10.0.1.11"}]}``.

        Raises:
            ValueError: there is no such fault, service, operation or argument, so that the fault would never be met.
        """
        kind = _KINDS.get(name)
        if kind is None:
            raise ValueError(f"cannot inject {name!r}: there is no such fault — use one of {', '.join(_KINDS)}")
        service = service or kind.service
        if service is None or (operation is None and not kind.operations):
            raise ValueError(f"cannot inject {name}: it needs a service and an operation")
        operations = frozenset([operation] if operation else kind.operations)
        if kind.operations and (service != kind.service or not operations <= set(kind.operations)):
            can = f"{kind.service} {' or '.join(kind.operations)}"
            raise ValueError(f"cannot inject {name} into {service} {operation}: it belongs to {can}")
        matching = dict(matching or {})
        operations = _checked(name, service, operations, matching)
        fault = Fault(name, service, operations, times, matching)
        with self._world.clock.lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Take all faults back. What has happened already stays."""
        with self._world.clock.lock:
            self._faults.clear()

    def unmet(self) -> tuple[Fault, ...]:
        """The faults that no call has met: a test in which there are some has not tested what it says."""
        with self._world.clock.lock:
            return tuple(fault for fault in self._faults if not fault.hits)

    def _keep_arguments(
        self, original: Any, client: Any, api_params: Any, operation_model: Any, context: dict[str, Any]
    ) -> Any:
        params = original(client, api_params, operation_model, context)
        context[_ARGUMENTS] = params
        return params

    def _try(self, original: Any, endpoint: Any, request: Any, model: Any, context: Mapping[str, Any]) -> Answer:
        call = _Try(original, endpoint, request, model, context, context.get(_ARGUMENTS, {}))
        fault = self._take(model, call.arguments)
        return call.send() if fault is None else _KINDS[fault.name].play(self._world, call)

    def _take(self, model: OperationModel, arguments: Mapping[str, Any]) -> Fault | None:
        service = model.service_model.service_name
        with self._world.clock.lock:
            for fault in self._faults:
                if fault.over or fault.service != service or model.name not in fault.operations:
                    continue
                if _holds(arguments, fault.matching):
                    fault.hits += 1
                    return fault
        return None


def _throttling(_: AwsWorld, call: _Try) -> Answer:
    return call.refuse(throttled(call.model))


def _access_denied(_: AwsWorld, call: _Try) -> Answer:
    return call.refuse(denied(call.model))


def _timeout(world: AwsWorld, call: _Try) -> Answer:
    from botocore.exceptions import ReadTimeoutError

    world.clock.advance(_seconds(call.context["client_config"].read_timeout))
    return None, ReadTimeoutError(endpoint_url=call.request.url)


def _reply_lost(world: AwsWorld, call: _Try) -> Answer:
    call.send()
    return _timeout(world, call)


def _connect_timeout(world: AwsWorld, call: _Try) -> Answer:
    from botocore.exceptions import ConnectTimeoutError

    world.clock.advance(_seconds(call.context["client_config"].connect_timeout))
    return None, ConnectTimeoutError(endpoint_url=call.request.url)


def _unhealthy_target(world: AwsWorld, call: _Try) -> Answer:
    for target in call.arguments["Targets"]:
        world.targets.set_unhealthy(call.arguments["TargetGroupArn"], target["Id"], target.get("Port"))
    return call.send()


def _never_in_sync(world: AwsWorld, call: _Try) -> Answer:
    answer, error = call.send()
    if answer is not None and "ChangeInfo" in answer[1]:
        world.zones.set_never_in_sync(answer[1]["ChangeInfo"]["Id"])
    return answer, error


def _never_healthy(world: AwsWorld, call: _Try) -> Answer:
    world.groups.set_launches(call.arguments["AutoScalingGroupName"], "unhealthy")
    return call.send()


def _no_capacity(world: AwsWorld, call: _Try) -> Answer:
    world.groups.set_launches(call.arguments["AutoScalingGroupName"], "refused")
    return call.send()


def _seconds(timeout: Any) -> float:
    """A client without a limit waits a minute here: some limit of the network's there always is."""
    return 60.0 if timeout is None else float(timeout)


@dataclass(frozen=True, slots=True)
class _Kind:
    play: Callable[[AwsWorld, _Try], Answer]
    service: str | None = None
    operations: tuple[str, ...] = ()
    """The calls that it belongs to; none is any."""


_KINDS: Final[Mapping[str, _Kind]] = {
    "throttling": _Kind(_throttling),
    "access-denied": _Kind(_access_denied),
    "timeout": _Kind(_timeout),
    "reply-lost": _Kind(_reply_lost),
    "connect-timeout": _Kind(_connect_timeout),
    "unhealthy-target": _Kind(_unhealthy_target, "elbv2", ("RegisterTargets",)),
    "never-in-sync": _Kind(_never_in_sync, "route53", ("ChangeResourceRecordSets",)),
    "never-healthy": _Kind(_never_healthy, "autoscaling", _LAUNCHES),
    "no-capacity": _Kind(_no_capacity, "autoscaling", _LAUNCHES),
}


def _checked(name: str, service: str, operations: frozenset[str], matching: Mapping[str, Any]) -> frozenset[str]:
    """The operations by name, once it is sure that they and the arguments are there."""
    from botocore.exceptions import UnknownServiceError
    from botocore.session import get_session

    try:
        model = get_session().get_service_model(service)
    except UnknownServiceError as error:
        raise ValueError(f"cannot inject {name}: boto3 knows no service {service!r}") from error
    known = frozenset(model.operation_names)
    if operations == {"*"}:
        operations = known
    if unknown := operations - known:
        raise ValueError(f"cannot inject {name}: {service} has no operation {', '.join(sorted(unknown))}")
    for operation in operations:
        shape = model.operation_model(operation).input_shape
        missing = set(matching) - set(shape.members if shape else ())
        if missing and len(operations) == 1:
            raise ValueError(f"cannot inject {name}: {operation} has no argument {', '.join(sorted(missing))}")
    return operations


def _holds(has: Any, wanted: Any) -> bool:
    """Whether ``has`` is ``wanted``, or has all of it in it."""
    if isinstance(wanted, Mapping):
        return isinstance(has, Mapping) and all(key in has and _holds(has[key], each) for key, each in wanted.items())
    if isinstance(wanted, (list, tuple)):
        return isinstance(has, (list, tuple)) and all(any(_holds(one, each) for one in has) for each in wanted)
    return bool(has == wanted)
