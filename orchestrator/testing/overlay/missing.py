"""Services that moto has not, answered in the process that calls them; requests and replies keep to botocore's models.

botocore checks each request itself. What a service of ours replies is checked against the output shape of the
operation, an error against the errors that the operation may raise, and both then travel as bytes through botocore's
own parser. So a test that passes here has seen nothing that the real API could not have said.

A client must be made while this is installed, as with moto: its session takes over the hooks when it is made.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from botocore.model import OperationModel, Shape

_PROTOCOLS: Final = frozenset({"json", "rest-json"})
_ARGUMENTS: Final = "failover-overlay-arguments"
_HEADER: Final = "x-failover-overlay-call"
"""What is sent is bytes: this header, which leaves no process, says which call they came from."""


class Service(Protocol):
    """One AWS service."""

    name: str
    """As boto3 calls it."""

    def answer(self, operation: str, arguments: Mapping[str, Any], region: str) -> Mapping[str, Any]:
        """What ``operation``, as ``ListEndpointGroups``, replies in ``region``.

        Raises:
            ServiceError: what AWS would say no with.
            NotInOverlayError: the operation is not there.
        """


@runtime_checkable
class Addressed(Protocol):
    """A service that is not behind every address."""

    def reach(self, url: str, region: str) -> None:
        """Raise what botocore raises for a network, where nothing answers at ``url``."""


class ServiceError(Exception):
    """AWS's no; ``code`` is one of the errors of the operation, ``details`` what else its shape has."""

    def __init__(self, code: str, message: str, **details: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details


class NotInOverlayError(NotImplementedError):
    """A call that neither moto nor we answer."""

    def __init__(self, service: str, operation: str) -> None:
        super().__init__(f"cannot answer {service} {operation}: the overlay has no such call")


class BadReplyError(AssertionError):
    """A service of the overlay said what the real one cannot say: a fault of the overlay."""


@dataclass(frozen=True)
class _Call:
    model: OperationModel
    arguments: Mapping[str, Any]
    region: str
    url: str


class Missing:
    """The services that moto lacks."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._calls: dict[str, _Call] = {}
        self._numbers = count(1)
        self._installed = False
        self._one_at_a_time = threading.RLock()

    def add(self, service: Service) -> None:
        """Answer for ``service`` from now on."""
        self._services[service.name] = service

    def install(self) -> None:
        """Answer the calls of all sessions that are made from now on."""
        from botocore.handlers import BUILTIN_HANDLERS

        self._installed = True
        BUILTIN_HANDLERS[:0] = self._hooks()

    def remove(self) -> None:
        """Answer no call any more, also none of the sessions that were made meanwhile."""
        from botocore.handlers import BUILTIN_HANDLERS

        self._installed = False
        for hook in self._hooks():
            BUILTIN_HANDLERS.remove(hook)

    def _hooks(self) -> list[tuple[str, Any]]:
        return [
            ("before-parameter-build", self._keep_arguments),
            ("before-call", self._keep_call),
            ("before-send", self._send),
        ]

    def _keep_arguments(self, params: Mapping[str, Any], context: dict[str, Any], **_: object) -> None:
        context[_ARGUMENTS] = params

    def _keep_call(
        self, model: OperationModel, params: Mapping[str, Any], context: Mapping[str, Any], **_: object
    ) -> None:
        if not self._installed or model.service_model.service_name not in self._services:
            return
        protocol = model.service_model.resolved_protocol
        if protocol not in _PROTOCOLS:
            raise BadReplyError(f"cannot answer for {model.service_model.service_name}: it speaks {protocol}, not JSON")
        number = str(next(self._numbers))
        arguments = context.get(_ARGUMENTS, {})
        self._calls[number] = _Call(model, arguments, str(context.get("client_region")), str(params["url"]))
        params["headers"][_HEADER] = number

    def _send(self, request: AWSPreparedRequest, **_: object) -> AWSResponse | None:
        number = request.headers.get(_HEADER)
        if number is None or not self._installed:
            return None
        call = self._calls[number.decode() if isinstance(number, bytes) else str(number)]
        service = self._services[call.model.service_model.service_name]
        if isinstance(service, Addressed):
            service.reach(call.url, call.region)
        with self._one_at_a_time:
            return _response(request.url, *_answer(service, call))


def _answer(service: Service, call: _Call) -> tuple[int, dict[str, str], Mapping[str, Any]]:
    try:
        reply = service.answer(call.model.name, call.arguments, call.region)
    except ServiceError as error:
        return _refusal(call.model, error)
    shape = call.model.output_shape
    if shape is None:
        return 200, {}, {}
    _check(call.model, shape, reply)
    return int(call.model.http.get("responseCode", 200)), {}, _plain(shape, reply)


def _refusal(model: OperationModel, error: ServiceError) -> tuple[int, dict[str, str], Mapping[str, Any]]:
    shapes = {shape.name: shape for shape in model.error_shapes}
    if error.code not in shapes:
        raise BadReplyError(f"{model.name} cannot fail with {error.code}, only with {', '.join(sorted(shapes))}")
    shape = shapes[error.code]
    message = next((name for name in shape.members if name.lower() == "message"), "message")
    body = {message: error.message, **error.details}
    _check(model, shape, body)
    status = shape.metadata.get("error", {}).get("httpStatusCode", 500 if error.code.startswith("Internal") else 400)
    return int(status), {"x-amzn-errortype": error.code}, {"__type": error.code, **body}


def _check(model: OperationModel, shape: Shape, reply: Mapping[str, Any]) -> None:
    from botocore.validate import ParamValidator

    said = ParamValidator().validate(reply, shape)
    if said.has_errors():
        raise BadReplyError(f"{model.name} cannot reply this: {said.generate_report()}")


def _plain(shape: Shape, value: Any) -> Any:
    """As it stands in JSON; timestamps are Unix seconds (Smithy, "awsJson1_1 protocol", "restJson1 protocol")."""
    match shape.type_name:
        case "structure":
            members = shape.members
            return {
                members[name].serialization.get("name", name): _plain(members[name], it) for name, it in value.items()
            }
        case "list":
            return [_plain(shape.member, item) for item in value]
        case "map":
            return {key: _plain(shape.value, item) for key, item in value.items()}
        case "timestamp":
            return value.timestamp() if isinstance(value, datetime) else value
        case _:
            return value


def _response(url: str, status: int, headers: Mapping[str, str], body: Mapping[str, Any]) -> AWSResponse:
    from botocore.awsrequest import AWSResponse, HeadersDict
    from moto.core.botocore_stubber import MockRawResponse

    raw = MockRawResponse(json.dumps(body))
    return AWSResponse(url, status, HeadersDict({"content-type": "application/json", **headers}), raw)
