"""AWS Health in the world of a test."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from orchestrator.testing.overlay import AwsWorld, aws_world

HOUR = 3_600.0
CODE = "AWS_EC2_INSTANCE_STOP_SCHEDULED"


@pytest.fixture
def world() -> Iterator[AwsWorld]:
    """A new world."""
    with aws_world() as world:
        yield world


@pytest.fixture
def health(world: AwsWorld) -> Any:
    """A client of Health in it."""
    return boto3.client("health", region_name="us-east-1")


def _arns(health: Any, **wanted: Any) -> list[str]:
    return [event["arn"] for event in health.describe_events(filter=wanted)["events"]]


def test_an_event_comes_and_goes(world: AwsWorld, health: Any) -> None:
    """An announced event is upcoming, then open, then closed, with the times that were said."""
    arn = world.health.announce("EC2", CODE, after=2 * HOUR, lasts=HOUR, entities=["i-1"])
    (event,) = health.describe_events()["events"]
    begins = datetime.fromtimestamp(world.clock.now() + 2 * HOUR, UTC)
    assert (event["arn"], event["statusCode"], event["startTime"]) == (arn, "upcoming", begins)
    world.clock.advance(2 * HOUR)
    assert _arns(health, eventStatusCodes=["open"]) == [arn]
    world.clock.advance(HOUR)
    assert _arns(health, eventStatusCodes=["open", "upcoming"]) == []
    assert _arns(health, eventStatusCodes=["closed"]) == [arn]


def test_events_are_filtered(world: AwsWorld, health: Any) -> None:
    """Each filter leaves what it names, and all of them count together."""
    stop = world.health.announce("EC2", CODE, entities=["i-1"])
    issue = world.health.announce("ELASTICLOADBALANCING", "AWS_ELB_OPERATIONAL_ISSUE", "issue", region="us-west-2")
    assert set(_arns(health)) == {stop, issue}
    assert _arns(health, services=["EC2"]) == [stop]
    assert _arns(health, regions=["us-west-2"]) == [issue]
    assert _arns(health, eventTypeCategories=["issue"]) == [issue]
    assert _arns(health, entityValues=["i-1", "i-2"]) == [stop]
    assert _arns(health, services=["EC2"], regions=["us-west-2"]) == []
    now = datetime.fromtimestamp(world.clock.now(), UTC)
    assert set(_arns(health, startTimes=[{"from": now}])) == {stop, issue}
    world.clock.advance(1)
    assert _arns(health, startTimes=[{"from": datetime.fromtimestamp(world.clock.now(), UTC)}]) == []


def test_details_and_entities(world: AwsWorld, health: Any) -> None:
    """An event's words and what it affects can be read; what is not there is named as failed."""
    arn = world.health.announce("EC2", CODE, description="Your instance will be stopped.", entities=["i-1", "i-2"])
    nobody = "arn:aws:health:us-east-1::event/EC2/X/X_1"
    reply = health.describe_event_details(eventArns=[arn, nobody])
    assert reply["successfulSet"][0]["eventDescription"]["latestDescription"] == "Your instance will be stopped."
    assert [one["eventArn"] for one in reply["failedSet"]] == [nobody]
    entities = health.describe_affected_entities(filter={"eventArns": [arn]})["entities"]
    assert [(one["entityValue"], one["statusCode"]) for one in entities] == [("i-1", "PENDING"), ("i-2", "PENDING")]
    world.health.close(arn)
    entities = health.describe_affected_entities(filter={"eventArns": [arn], "entityValues": ["i-2"]})["entities"]
    assert [(one["entityValue"], one["statusCode"]) for one in entities] == [("i-2", "RESOLVED")]


def test_events_come_in_pages(world: AwsWorld, health: Any) -> None:
    """Every event is on one page, and a token that nobody gave is refused."""
    arns = {world.health.announce("EC2", CODE) for _ in range(7)}
    pages = list(health.get_paginator("describe_events").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["events"]) for page in pages] == [3, 3, 1]
    assert {event["arn"] for page in pages for event in page["events"]} == arns
    with pytest.raises(ClientError, match="InvalidPaginationToken"):
        health.describe_events(nextToken="nonsense")


def test_health_meets_faults_too(world: AwsWorld) -> None:
    """A service that moto has not is throttled and tried again as any other."""
    config = Config(retries={"mode": "standard", "total_max_attempts": 4})
    health = boto3.client("health", region_name="us-east-1", config=config)
    world.health.announce("EC2", CODE)
    fault = world.faults.inject("throttling", "health", "DescribeEvents", times=3)
    assert len(health.describe_events()["events"]) == 1
    assert fault.hits == 3


def test_what_is_not_played_is_not_ignored(health: Any) -> None:
    """A filter or call that the overlay does not know is an error, not an answer to another question."""
    with pytest.raises(NotImplementedError, match="DescribeEvents with tags"):
        health.describe_events(filter={"tags": {"role": ["mx"]}})
    with pytest.raises(NotImplementedError, match="DescribeEventTypes"):
        health.describe_event_types()
