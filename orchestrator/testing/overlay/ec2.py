"""Amazon EC2: images that take time, instances that fail their status checks, and maintenance that AWS schedules.

Added to moto, or put right:

- An image that is made or copied is ``pending`` until ``settings.image_available_after`` is over. A pending, failed,
  disabled or deregistered image launches nothing (``InvalidAMIID.Unavailable``), an unknown one neither
  (``InvalidAMIID.NotFound``).
- ``CopyImage`` copies the user's tags if ``CopyImageTags`` says so, and gives those of ``TagSpecifications``.
- ``DescribeInstanceStatus`` shows the scheduled events that the test announces, and filters by them. At its time an
  event happens: ``instance-stop`` and ``instance-retirement`` stop the instance.
- ``ModifyInstanceEventStartTime`` moves an event, up to its deadline.

Source: Amazon EC2 User Guide, "Scheduled events for your instances", "Copy an Amazon EC2 AMI", "Status checks".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from orchestrator.testing.overlay.patches import Patches

if TYPE_CHECKING:
    from moto.core.responses import ActionResult

    from orchestrator.testing.overlay.world import AwsWorld

EventCode: TypeAlias = Literal[
    "instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop"
]
"""What AWS schedules for an instance (``EventCode``)."""

_DESCRIPTIONS: Final[Mapping[EventCode, str]] = {
    "instance-reboot": "The instance is scheduled for a reboot",
    "system-reboot": "The instance is running on a host that is scheduled for a reboot",
    "system-maintenance": "The instance is running on a host that is scheduled for maintenance",
    "instance-retirement": "The instance is running on degraded hardware",
    "instance-stop": "The instance is running on degraded hardware",
}
_STOPS: Final = frozenset({"instance-stop", "instance-retirement"})
_SHOWN_FOR: Final = 7 * 86_400.0
_EVENT_FILTERS: Final[Mapping[str, str]] = {
    "event.code": "Code",
    "event.instance-event-id": "InstanceEventId",
    "event.description": "Description",
}


@dataclass(slots=True, eq=False)
class ScheduledEvent:
    """Maintenance of one instance. Times are Unix seconds."""

    identity: str
    instance: str
    code: EventCode
    description: str
    not_before: float
    not_after: float | None
    deadline: float | None
    """Until when it can be put off; None: not at all."""


class Compute:
    """Instances and images, and the test's word on them."""

    def __init__(self) -> None:
        self._patches = Patches()
        self._events: dict[str, ScheduledEvent] = {}
        self._made = 0
        self._impaired: dict[str, str] = {}
        self._failing: set[str] = set()

    def install(self, world: AwsWorld) -> None:
        """Take the place of moto's images and instance status."""
        import moto.ec2.models.amis
        import moto.ec2.models.instances
        from moto.ec2.models import EC2Backend
        from moto.ec2.models.instances import Instance
        from moto.ec2.responses.amis import AmisResponse
        from moto.ec2.responses.instances import InstanceResponse

        self._clock, self._settings = world.clock, world.settings
        replace, wrap = self._patches.replace, self._patches.wrap
        for module in (moto.ec2.models.amis, moto.ec2.models.instances):
            replace(module, "utcnow", self._naive)
        wrap(EC2Backend, "create_image", self._create_image)
        wrap(EC2Backend, "copy_image", self._check_source)
        wrap(EC2Backend, "run_instances", self._run_instances)
        wrap(AmisResponse, "copy_image", self._copy_image)
        replace(InstanceResponse, "describe_instance_status", lambda handler: self._describe_status(handler))
        self._patches.add(
            InstanceResponse, "modify_instance_event_start_time", lambda handler: self._modify_event(handler)
        )
        for name in ("instance_status", "system_status"):
            replace(Instance, name, property(partial(self._status, vars(Instance)[name].fget, name)))

    def remove(self) -> None:
        """Leave moto's EC2 as it was."""
        self._patches.remove()

    def schedule_event(
        self,
        instance_id: str,
        code: EventCode,
        after: float,
        lasts: float | None = None,
        deadline: float | None = None,
        description: str = "",
    ) -> str:
        """Announce maintenance of an instance, and have it happen.

        Args:
            instance_id: of any region.
            code: what is to happen.
            after: seconds from now until it begins.
            lasts: seconds that it takes at most; None: AWS does not say.
            deadline: seconds from now until which its begin can be put off; None: it cannot be put off.
            description: AWS's words; empty for those that go with ``code``.

        Returns:
            The event's id.
        """
        with self._clock.lock:
            self._made += 1
            now = self._clock.now()
            event = ScheduledEvent(
                f"instance-event-{self._made:017x}",
                instance_id,
                code,
                description or _DESCRIPTIONS[code],
                now + after,
                None if lasts is None else now + after + lasts,
                None if deadline is None else now + deadline,
            )
            self._events[event.identity] = event
            self._clock.call_later(after, partial(self._happen, event))
        return event.identity

    def cancel_event(self, event_id: str) -> None:
        """Take an announcement back: AWS shows it as canceled, and nothing happens."""
        with self._clock.lock:
            self._close(self._events.pop(event_id), "Canceled")

    def set_impaired(self, instance_id: str, check: Literal["instance", "system"] = "instance") -> None:
        """Have an instance fail a status check from now on; a group that it is in replaces it."""
        with self._clock.lock:
            self._impaired[instance_id] = f"{check}_status"

    def set_ok(self, instance_id: str) -> None:
        """Take ``set_impaired`` back."""
        with self._clock.lock:
            self._impaired.pop(instance_id, None)

    def fail_images(self, source: str) -> None:
        """Have every image that is made of this instance, or copied of this image, end as ``failed``."""
        with self._clock.lock:
            self._failing.add(source)

    def impaired(self, instance_id: str) -> bool:
        """Whether the test has said that an instance fails a status check."""
        return instance_id in self._impaired

    def _create_image(self, original: Any, backend: Any, instance_id: str, *given: Any, **named: Any) -> Any:
        return self._wait_for(original(backend, instance_id, *given, **named), instance_id)

    def _check_source(self, original: Any, backend: Any, source_image_id: str, region: str, *given: Any) -> Any:
        from moto.ec2.exceptions import UnvailableAMIIdError
        from moto.ec2.models import ec2_backends

        source = ec2_backends[backend.account_id][region]
        if source_image_id in source.deleted_amis or _state(source, source_image_id) in ("pending", "failed"):
            raise UnvailableAMIIdError(source_image_id)
        return self._wait_for(original(backend, source_image_id, region, *given), source_image_id)

    def _copy_image(self, original: Any, handler: Any) -> ActionResult:
        from moto.ec2.models import ec2_backends

        reply: ActionResult = original(handler)
        copied: Any = reply.result
        image = handler.ec2_backend.amis[copied["ImageId"]]
        if handler._get_bool_param("CopyImageTags", False):
            source = ec2_backends[handler.current_account][handler._get_param("SourceRegion")]
            tags = source.amis[handler._get_param("SourceImageId")].get_tags()
            image.add_tags({tag["key"]: tag["value"] for tag in tags if not tag["key"].startswith("aws:")})
        for given in handler._get_param("TagSpecifications", []):
            if given["ResourceType"] == "image":
                image.add_tags({tag["Key"]: tag["Value"] for tag in given["Tags"]})
        return reply

    def _wait_for(self, image: Any, source: str) -> Any:
        image.state = "pending"
        becomes = "failed" if source in self._failing else "available"

        def end() -> None:
            if image.state == "pending":
                image.state = becomes

        self._clock.call_later(self._settings.image_available_after, end)
        return image

    def _run_instances(self, original: Any, backend: Any, image_id: str, *given: Any, **named: Any) -> Any:
        from moto.ec2.exceptions import InvalidAMIIdError, UnvailableAMIIdError

        meant = image_id
        if not meant and named.get("launch_template"):
            meant = backend._get_template_from_args(named["launch_template"]).image_id
        if meant in backend.deleted_amis or (meant in backend.amis and _state(backend, meant) != "available"):
            raise UnvailableAMIIdError(meant)
        if meant and meant.startswith("ami-") and meant not in backend.amis:
            raise InvalidAMIIdError(meant)
        return original(backend, image_id, *given, **named)

    def _status(self, original: Any, name: str, instance: Any) -> Any:
        if self._impaired.get(instance.id) != name or instance.state != "running":
            return original(instance)
        return {"Status": "impaired", "Details": [{"Name": "reachability", "Status": "failed"}]}

    def _describe_status(self, handler: Any) -> ActionResult:
        from moto.core.responses import ActionResult

        filters: Mapping[str, Sequence[str]] = handler._filters_from_querystring()
        others = {name: values for name, values in filters.items() if name not in _EVENT_FILTERS}
        found = handler.ec2_backend.describe_instance_status(
            handler._get_param("InstanceIds", []), handler._get_bool_param("IncludeAllInstances", False), others or None
        )
        statuses = []
        for instance in found:
            events = list(self._events_of(instance.id))
            if all(
                any(event[_EVENT_FILTERS[name]] in values for event in events)
                for name, values in filters.items()
                if name in _EVENT_FILTERS
            ):
                statuses.append(
                    {
                        "AvailabilityZone": instance.availability_zone,
                        "InstanceId": instance.id,
                        "InstanceState": {"Code": instance.state_code, "Name": instance.state},
                        "InstanceStatus": instance.instance_status,
                        "SystemStatus": instance.system_status,
                        "Events": events,
                    }
                )
        return ActionResult({"InstanceStatuses": statuses})

    def _events_of(self, instance_id: str) -> Iterator[dict[str, Any]]:
        for event in self._events.values():
            if event.instance == instance_id:
                yield _described(event)

    def _modify_event(self, handler: Any) -> ActionResult:
        from moto.core.responses import ActionResult
        from moto.ec2.exceptions import EC2ClientError

        event = self._events.get(handler._get_param("InstanceEventId"))
        if event is None or event.instance != handler._get_param("InstanceId"):
            raise EC2ClientError("InvalidInstanceEventIDNotFound", "The instance event ID does not exist.")
        wanted = handler._get_param("NotBefore")
        begins = _unix(wanted)
        if event.deadline is None or not self._clock.now() < begins <= event.deadline:
            said = "The start time must be in the future, and not after the event's NotBeforeDeadline."
            raise EC2ClientError("InvalidParameterValue", said)
        if event.not_after is not None:
            event.not_after += begins - event.not_before
        event.not_before = begins
        self._clock.call_later(begins - self._clock.now(), partial(self._happen, event))
        return ActionResult({"Event": _described(event)})

    def _happen(self, event: ScheduledEvent) -> None:
        if event.identity not in self._events or self._clock.now() < event.not_before:
            return
        if event.code in _STOPS:
            _stop(event.instance)
        ends = event.not_after
        if ends is not None and self._clock.now() < ends and event.code not in _STOPS:
            self._clock.call_later(ends - self._clock.now(), partial(self._close, event, "Completed"))
        else:
            self._close(event, "Completed")

    def _close(self, event: ScheduledEvent, word: str) -> None:
        """AWS shows what is over for up to a week, with a word before its description."""
        if event.description.startswith("["):
            return
        event.description = f"[{word}] {event.description}"
        self._events.pop(event.identity, None)
        key = f"{word} {event.identity}"
        self._events[key] = event
        self._clock.call_later(_SHOWN_FOR, partial(self._forget, key))

    def _forget(self, key: str) -> None:
        self._events.pop(key, None)

    def _naive(self) -> datetime:
        """As moto has it."""
        return datetime.fromtimestamp(self._clock.now(), UTC).replace(tzinfo=None)


def _state(backend: Any, image_id: str) -> str:
    image = backend.amis.get(image_id)
    return "" if image is None else str(image.state)


def _described(event: ScheduledEvent) -> dict[str, Any]:
    said: dict[str, Any] = {
        "InstanceEventId": event.identity,
        "Code": event.code,
        "Description": event.description,
        "NotBefore": _at(event.not_before),
    }
    if event.not_after is not None:
        said["NotAfter"] = _at(event.not_after)
    if event.deadline is not None:
        said["NotBeforeDeadline"] = _at(event.deadline)
    return said


def _stop(instance_id: str) -> None:
    from moto.ec2.models import ec2_backends

    for account in list(ec2_backends.values()):
        for backend in list(account.values()):
            instance = backend.get_instance_by_id(instance_id)
            if instance is not None and instance.state == "running":
                backend.stop_instances([instance_id])


def _at(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)


def _unix(moment: Any) -> float:
    """Moto gives a parsed time without a zone, or the text as it was sent; both are UTC."""
    parsed = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return float((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
