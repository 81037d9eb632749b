"""Services that moto has not: what botocore's models allow goes through, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError

from orchestrator.testing.overlay import AwsWorld, aws_world
from orchestrator.testing.overlay.missing import BadReplyError, NotInOverlayError, ServiceError

AT = datetime(2026, 1, 5, tzinfo=UTC)


class Scripted:
    """A service that says what it is told to."""

    def __init__(self, name: str, reply: Mapping[str, Any] | Exception) -> None:
        self.name = name
        self.reply = reply
        self.asked: list[tuple[str, Mapping[str, Any], str]] = []

    def answer(self, operation: str, arguments: Mapping[str, Any], region: str) -> Mapping[str, Any]:
        """See ``missing.Service``."""
        self.asked.append((operation, dict(arguments), region))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """AWS with time."""
    with aws_world() as world:
        yield world


def shifts() -> Any:
    """A client of a service that moto has not; it speaks REST with JSON."""
    return boto3.client("arc-zonal-shift", region_name="eu-west-1")


def shift(**more: object) -> dict[str, Any]:
    """A zonal shift as it may be replied."""
    return {
        "zonalShiftId": "00000000-0000",
        "resourceIdentifier": "arn:aws:lb",
        "awayFrom": "use1-az1",
        "expiryTime": AT,
        "startTime": AT,
        "status": "ACTIVE",
        "comment": "",
        **more,
    }


def test_a_call_is_answered_with_what_the_service_says(world: AwsWorld) -> None:
    """Arguments and region arrive as they were given, and the reply as botocore parses it."""
    service = Scripted("arc-zonal-shift", shift())
    world.missing.add(service)
    reply = shifts().cancel_zonal_shift(zonalShiftId="00000000-0000")
    assert service.asked == [("CancelZonalShift", {"zonalShiftId": "00000000-0000"}, "eu-west-1")]
    assert (reply["status"], reply["expiryTime"].timestamp()) == ("ACTIVE", AT.timestamp())
    assert reply["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_call_within_a_call_is_kept_apart(world: AwsWorld) -> None:
    """A service that is asked by another client while a call is on its way mixes nothing up."""
    service = Scripted("arc-zonal-shift", shift())
    world.missing.add(service)
    outer, inner = shifts(), shifts()

    def ask(**_: object) -> None:
        inner.cancel_zonal_shift(zonalShiftId="inner-0000")

    outer.meta.events.register_last("before-call.arc-zonal-shift.CancelZonalShift", ask)
    outer.cancel_zonal_shift(zonalShiftId="outer-0000")
    assert [arguments["zonalShiftId"] for _, arguments, _ in service.asked] == ["inner-0000", "outer-0000"]


def test_a_bad_request_does_not_arrive(world: AwsWorld) -> None:
    """botocore refuses what its model refuses."""
    service = Scripted("arc-zonal-shift", shift())
    world.missing.add(service)
    with pytest.raises(ParamValidationError, match="zonalShiftId"):
        shifts().cancel_zonal_shift()
    assert service.asked == []


@pytest.mark.parametrize("reply", [{}, shift(expiryTime="later"), shift(unknown="yes"), shift(status=1)])
def test_a_reply_that_aws_cannot_give_is_a_fault_of_ours(world: AwsWorld, reply: Mapping[str, Any]) -> None:
    """What is missing, of the wrong type or unknown to the model is told, not passed on."""
    world.missing.add(Scripted("arc-zonal-shift", reply))
    with pytest.raises(BadReplyError, match="CancelZonalShift cannot reply this"):
        shifts().cancel_zonal_shift(zonalShiftId="00000000-0000")


def test_a_refusal_is_a_client_error_with_its_code(world: AwsWorld) -> None:
    """The error is the one that botocore models, with its status and its details."""
    no = ServiceError("ConflictException", "not now", reason="ZonalShiftStatusNotActive")
    world.missing.add(Scripted("arc-zonal-shift", no))
    client = shifts()
    with pytest.raises(ClientError) as told:
        client.cancel_zonal_shift(zonalShiftId="00000000-0000")
    assert isinstance(told.value, client.exceptions.ConflictException)
    assert told.value.response["Error"] == {"Code": "ConflictException", "Message": "not now"}
    assert told.value.response["reason"] == "ZonalShiftStatusNotActive"
    assert told.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409


@pytest.mark.parametrize(
    "no",
    [ServiceError("NoSuchHostedZone", "gone"), ServiceError("ConflictException", "it lacks its reason")],
)
def test_a_refusal_that_aws_does_not_know_is_a_fault_of_ours(world: AwsWorld, no: ServiceError) -> None:
    """A code that is none of the operation's, or an error without what its shape requires, is told."""
    world.missing.add(Scripted("arc-zonal-shift", no))
    with pytest.raises(BadReplyError):
        shifts().cancel_zonal_shift(zonalShiftId="00000000-0000")


@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_a_call_that_is_not_there_is_said_at_once(world: AwsWorld, mode: str) -> None:
    """No retry, no 404: the service and the operation are named."""
    from botocore.config import Config

    client = boto3.client("arc-zonal-shift", region_name="eu-west-1", config=Config(retries={"mode": mode}))
    with pytest.raises(NotInOverlayError, match="arc-zonal-shift ListAutoshifts"):
        client.list_autoshifts()
    assert world.calls.waits == ()


def test_a_service_in_xml_is_refused(world: AwsWorld) -> None:
    """Only the JSON protocols are spoken here, and it is said at the first call."""
    world.missing.add(Scripted("importexport", {}))
    with pytest.raises(BadReplyError, match="it speaks query, not JSON"):
        boto3.client("importexport", region_name="us-east-1").list_jobs()


def test_nothing_is_answered_after_the_world(world: AwsWorld) -> None:
    """The hooks go with the world; in the next one they are there once, not twice."""
    from botocore.handlers import BUILTIN_HANDLERS

    world.missing.remove()
    count = len(BUILTIN_HANDLERS)
    world.missing.install()
    assert len(BUILTIN_HANDLERS) == count + 3


def test_an_address_where_nobody_is_cannot_be_reached(world: AwsWorld) -> None:
    """Global Accelerator has no API outside us-west-2."""
    config = boto3.session.Config(retries={"total_max_attempts": 1})
    client = boto3.client("globalaccelerator", region_name="eu-west-1", config=config)
    with pytest.raises(EndpointConnectionError, match="eu-west-1"):
        client.list_listeners(AcceleratorArn="arn:aws:globalaccelerator::123456789012:accelerator/1")
