"""AWS's no as bytes, in the protocol and with the code of each service, so that botocore's own parser reads it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.model import OperationModel

_REQUEST: Final = "00000000-0000-4000-8000-000000000000"


class Refusal(NamedTuple):
    """An error of AWS."""

    code: str
    message: str
    status: int


def throttled(model: OperationModel) -> Refusal:
    """Too many requests, as this service says it.

    EC2 has a code of its own (EC2 Developer Guide, "Request throttling"); of the others those that speak JSON say
    ThrottlingException, those that speak XML say Throttling ("Common errors" of each API reference).
    """
    match _protocol(model):
        case "ec2":
            return Refusal("RequestLimitExceeded", "Request limit exceeded.", 503)
        case "query" | "rest-xml":
            return Refusal("Throttling", "Rate exceeded", 400)
        case _:
            return _modelled(model, "ThrottlingException", "Rate exceeded", 400)


def denied(model: OperationModel) -> Refusal:
    """No right to make this call, as this service says it."""
    action = f"{model.service_model.signing_name}:{model.name}"
    message = f"User: arn:aws:iam::123456789012:user/testing is not authorized to perform: {action}"
    match _protocol(model):
        case "ec2":
            return Refusal("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)
        case "query" | "rest-xml":
            return Refusal("AccessDenied", message, 403)
        case _:
            return _modelled(model, "AccessDeniedException", message, 400)


def response(url: str, model: OperationModel, refusal: Refusal) -> AWSResponse:
    """What the HTTP client would have got."""
    from botocore.awsrequest import AWSResponse, HeadersDict
    from moto.core.botocore_stubber import MockRawResponse

    headers = HeadersDict({"x-amzn-requestid": _REQUEST, "x-amzn-errortype": refusal.code})
    return AWSResponse(url, refusal.status, headers, MockRawResponse(_body(model, refusal)))


def _protocol(model: OperationModel) -> str:
    return str(model.service_model.resolved_protocol)


def _modelled(model: OperationModel, code: str, message: str, status: int) -> Refusal:
    """With the HTTP status that the service's model gives the error, where it knows it."""
    for shape in model.service_model.error_shapes:
        if shape.name == code:
            status = int((shape.metadata.get("error") or {}).get("httpStatusCode", status))
    return Refusal(code, message, status)


def _body(model: OperationModel, refusal: Refusal) -> str:
    code, message = escape(refusal.code), escape(refusal.message)
    error = f"<Code>{code}</Code><Message>{message}</Message>"
    match _protocol(model):
        case "ec2":
            return f"<Response><Errors><Error>{error}</Error></Errors><RequestID>{_REQUEST}</RequestID></Response>"
        case "query" | "rest-xml":
            error = f"<Error><Type>Sender</Type>{error}</Error><RequestId>{_REQUEST}</RequestId>"
            return f"<ErrorResponse>{error}</ErrorResponse>"
        case _:
            return json.dumps({"__type": refusal.code, "message": refusal.message})
