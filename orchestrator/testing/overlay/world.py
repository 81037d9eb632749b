"""The world of a test: moto with everything of the overlay installed, for the time of a ``with`` block."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from orchestrator.testing.overlay.arc import Arc
from orchestrator.testing.overlay.autoscaling import Groups
from orchestrator.testing.overlay.calls import Calls
from orchestrator.testing.overlay.clock import WorldClock
from orchestrator.testing.overlay.ec2 import Compute
from orchestrator.testing.overlay.elbv2 import Targets
from orchestrator.testing.overlay.faults import Faults
from orchestrator.testing.overlay.global_accelerator import Accelerators
from orchestrator.testing.overlay.health import Health
from orchestrator.testing.overlay.missing import Missing
from orchestrator.testing.overlay.route53 import Zones

_ENVIRONMENT: Final[Mapping[str, str | None]] = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_PROFILE": None,
    "AWS_DEFAULT_PROFILE": None,
    "AWS_REGION": None,
    "AWS_ENDPOINT_URL": None,
    "AWS_ROLE_ARN": None,
    "AWS_WEB_IDENTITY_TOKEN_FILE": None,
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": None,
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": None,
}
"""What boto3 finds in the environment: nobody's profile, keys, role or endpoint. None: the variable is not there."""

_OPEN: Final = threading.Lock()
"""Held by the one world that is open: what it changes belongs to the whole process."""


@dataclass(slots=True)
class Settings:
    """How long things take, in seconds of the world's clock. A test may change them at any time."""

    target_healthy_after: float | None = 20.0
    """From a target's registration, or the first use of its group, until it is healthy. None: as the group's own health
    check says, its interval times the healthy threshold."""
    instance_in_service_after: float = 60.0
    """From the launch of an instance of an Auto Scaling group until hooks hold it, or it comes into service."""
    image_available_after: float = 120.0
    """From the making or copying of an image until instances can be launched of it."""
    insync_after: float = 30.0
    """From a change of record sets until it has reached all servers of Route 53."""
    accelerator_deployed_after: float = 30.0
    """From a change of an accelerator until it is deployed to all edge locations."""


class Part(Protocol):
    """A piece of the overlay. Its class may be made without moto; ``install`` imports what it needs."""

    def install(self, world: AwsWorld) -> None:
        """Put it in place. Called once, under moto's ``mock_aws``."""

    def remove(self) -> None:
        """Put back what was there."""


class AwsWorld:
    """What a test holds in its hands: the clock, the settings, and the words that it may speak."""

    def __init__(self, seed: int = 0) -> None:
        self.seed: Final = seed
        self.clock: Final = WorldClock()
        self.settings: Final = Settings()
        self.calls: Final = Calls()
        self.faults: Final = Faults()
        self.missing: Final = Missing()
        self.targets: Final = Targets()
        self.compute: Final = Compute()
        self.groups: Final = Groups()
        self.health: Final = Health()
        self.zones: Final = Zones()
        self.accelerators: Final = Accelerators()
        self.arc: Final = Arc()

    def parts(self) -> tuple[Part, ...]:
        """Everything that is installed, in this order, and removed in reverse."""
        aws: tuple[Part, ...] = (
            self.targets,
            self.compute,
            self.groups,
            self.zones,
            self.accelerators,
            self.arc,
            self.health,
        )
        return (self.calls, self.faults, *aws)


@contextmanager
def aws_world(seed: int = 0) -> Iterator[AwsWorld]:
    """Open a world: no call of boto3 leaves this process, and no credentials of this machine are read.

    Args:
        seed: of the ids that AWS invents and of the jitter between retries. The same seed gives the same ones.

    Raises:
        RuntimeError: a world is open already in this process.
    """
    if not _OPEN.acquire(blocking=False):
        raise RuntimeError("cannot open a world: one is open already in this process — leave its block first")
    try:
        with ExitStack() as stack:
            world = AwsWorld(seed)
            stack.enter_context(_moto(seed))
            stack.enter_context(_environment())
            stack.callback(world.missing.remove)
            world.missing.install()
            for part in world.parts():
                stack.callback(part.remove)
                part.install(world)
            yield world
    finally:
        _OPEN.release()


@contextmanager
def _moto(seed: int) -> Iterator[None]:
    from moto import mock_aws
    from moto.moto_api._internal import mock_random

    state = mock_random.getstate()
    with mock_aws():
        mock_random.seed(seed)
        try:
            yield
        finally:
            mock_random.setstate(state)


@contextmanager
def _environment() -> Iterator[None]:
    endpoints = {name: None for name in os.environ if name.startswith("AWS_ENDPOINT_URL_")}
    wanted: Mapping[str, str | None] = {**_ENVIRONMENT, **endpoints}
    was = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(was)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
