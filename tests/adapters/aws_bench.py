"""What the benches of switches in AWS share: a way to the API with somebody on it, and a shell with ``aws``."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from orchestrator.adapters.aws import Aws
from orchestrator.model.access import AwsAccess
from orchestrator.testing.overlay import AwsWorld
from tests.adapters.aws_cli import run
from tests.adapters.switch_contract import Bench, Intakes


class AwsBench(Bench):
    """A switch in a world of AWS."""

    writes: ClassVar[tuple[str, ...]]
    """The calls that write, as botocore's events call them: ``route-53.ChangeResourceRecordSets``."""
    refusal: ClassVar[str]
    """The code with which AWS refuses a write."""

    def __init__(self, world: AwsWorld, shell: Mapping[str, str]) -> None:
        self.world = world
        self.shell = shell
        self.written: list[Mapping[str, Any]] = []
        """The arguments of each write."""
        self._met: Callable[[str, Mapping[str, Any]], None] = lambda operation, arguments: None

    @abstractmethod
    def called(self, member: str) -> str:
        """What a write that touches this member has in it."""

    @cached_property
    def aws(self) -> Aws:
        """An access, each write of which is noted, and met by whoever waits for it."""
        aws = Aws(AwsAccess(region="us-east-1"))
        events = aws._open_session().events
        for write in self.writes:
            events.register(f"provide-client-params.{write}", self._note)
            events.register(f"before-call.{write}", self._meet)
        return aws

    @contextmanager
    def failing(self, member: str) -> Iterator[None]:
        """See ``Bench.failing``: AWS says no."""

        def refuse(operation: str, arguments: Mapping[str, Any]) -> None:
            if self.called(member) in str(arguments):
                raise ClientError({"Error": {"Code": self.refusal, "Message": "not today"}}, operation)

        with self.meeting(refuse):
            yield

    @contextmanager
    def racing(self, changes: Intakes) -> Iterator[None]:
        """See ``Bench.racing``; where there is no write at all they change it all the same."""
        left = [changes]

        def change(*_: object) -> None:
            if left:
                self.meddle(left.pop())

        with self.meeting(change):
            yield
        change()

    @contextmanager
    def meeting(self, meet: Callable[[str, Mapping[str, Any]], None]) -> Iterator[None]:
        """Call ``meet`` with operation and arguments before each write of the block is sent."""
        self._met, was = meet, self._met
        try:
            yield
        finally:
            self._met = was

    def pass_time(self, seconds: float) -> None:
        """Time in the world."""
        self.world.clock.advance(seconds)

    def obey(self, line: str) -> None:
        """A real shell, whose ``aws`` works on this world."""
        run(line, self.shell)

    def _note(self, params: Mapping[str, Any], **_: object) -> None:
        self.written.append(params)

    def _meet(self, model: Any, **_: object) -> None:
        self._met(model.name, self.written[-1])
