"""The selector of a Service as a traffic switch: one of its labels says whose pods get all of the traffic.

Source: Kubernetes documentation, "Service" and "EndpointSlices"; API reference, ``ServiceSpec.selector``. A write is a
JSON patch (RFC 6902) of that label alone, with a ``test`` of the whole selector: a compare-and-swap.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote
from typing import Final, TypeAlias

from orchestrator.adapters.kubernetes import JSON_PATCH, Cluster, Object
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.switch import ServiceSelectorSwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session

_DISCOVERY: Final = "discovery.k8s.io"
_SLICES: Final = "endpointslices"
_VERSIONS: Final = ("v1", "v1beta1")
_OF_SERVICE: Final = "kubernetes.io/service-name"
"""The label by which a slice says whose it is ("EndpointSlices", Ownership)."""

_Selector: TypeAlias = Mapping[str, str]


class SelectorDriver:
    """``ports.TrafficSwitch`` on one label of a Service's selector: the member whose value it has gets everything."""

    def __init__(self, switch: ServiceSelectorSwitch, members: Sequence[str], cluster: Cluster) -> None:
        self._switch = switch
        self._members = tuple(members)
        self._cluster = cluster
        self._values = {name: switch.name_of(name) for name in members}
        self._what = f"label {switch.label} in the selector of Service {switch.namespace}/{switch.name}"
        if len(set(self._values.values())) < len(self._values):
            raise UnfitError(
                f"cannot tell the members {', '.join(members)} apart: two have the same value of {self._what}",
                remedy="give each member a value of its own in 'names'",
            )

    @property
    def max_weight(self) -> int:
        """See ``ServiceSelectorSwitch``."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member: weight 1 for the one that the Service selects; up where a pod is ready that would serve.

        Raises:
            UnfitError: the selector names none of the members.
        """
        selector = await self._look()
        selected = self._selected(selector)
        ready = await self._ready_pods(selector, self._values.values())
        return {
            name: MemberReading(intake=Intake(weight=int(name == selected)), up=bool(ready[value]), sessions=None)
            for name, value in self._values.items()
        }

    async def elsewhere(self) -> int:
        """None: a Service selects one member, and all traffic is with it."""
        return 0

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Have the Service select the member that is to have weight 1.

        Raises:
            RejectedError: then not exactly one member would have weight 1; a weight or state that a selector cannot
                have; somebody else has changed the selector meanwhile; or it is not as asked when read back.
            UnfitError: a member is not of the inventory, or the selector names none of them.
        """
        self._refuse_unknown(changes)
        self._refuse_impossible(changes)
        selector = await self._look()
        now = self._selected(selector)
        chosen = self._chosen(now, changes)
        if chosen == now:
            return
        await self._write(selector, chosen)
        after = self._selected(await self._look())
        if after != chosen:
            raise RejectedError(
                f"cannot give {chosen} the traffic: {self._what} is that of {after} again",
                remedy="look who else changes it, as a GitOps controller does",
            )

    async def settling(self) -> str:
        """Which of the Service's endpoints do not follow from its selector yet; and that nobody is there to serve.

        Nodes program these endpoints within moments after that; no API says when.
        """
        selector = await self._look()
        value = selector[self._switch.label]
        ready = (await self._ready_pods(selector, [value]))[value]
        serving = await self._serving_pods()
        service = f"Service {self._switch.namespace}/{self._switch.name}"
        if serving - ready:
            return f"{service} still sends clients to {_listed(serving - ready)}"
        if not serving:
            return f"{service} has no endpoint that is ready: {len(ready)} pods with {self._switch.label}={value} are"
        if ready - serving:
            return f"{service} does not send clients to {_listed(ready - serving)} yet"
        return ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """A Service lists none.

        Raises:
            UnfitError: always.
        """
        raise UnfitError(f"cannot list sessions of {', '.join(members)}: a Service knows none")

    async def close(self, session: Session) -> None:
        """A Service can close none.

        Raises:
            UnfitError: always.
        """
        raise UnfitError(f"cannot close the session of {session.client}: a Service knows none")

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: one patch for the member that gets the traffic; the others lose it by that."""
        switch = self._switch
        kubectl = self._cluster.kubectl("--namespace", switch.namespace, "patch", "service", switch.name)
        patches = [
            json.dumps({"spec": {"selector": {switch.label: switch.name_of(name)}}})
            for name, weight in weights.items()
            if weight
        ]
        return [f"{kubectl} --type=merge -p {quote(patch)}" for patch in patches]

    async def _look(self) -> _Selector:
        """The Service's selector.

        Raises:
            UnfitError: there is no such Service, or its selector does not have the label.
        """
        service = await self._cluster.call(
            self._cluster.core().read_namespaced_service, self._switch.name, self._switch.namespace
        )
        selector: _Selector = service.spec.selector or {}
        if self._switch.label not in selector:
            raise UnfitError(
                f"cannot find {self._what}: it has {', '.join(selector) or 'no labels'}",
                remedy="correct 'label' in the inventory, or add it to the selector",
            )
        return selector

    def _selected(self, selector: _Selector) -> str:
        """The member whose value the selector has."""
        value = selector[self._switch.label]
        for name, of in self._values.items():
            if of == value:
                return name
        raise UnfitError(
            f"cannot tell who has the traffic: {self._what} is {value}, and members have "
            f"{', '.join(self._values.values())}",
            remedy="correct 'names' in the inventory, or the selector",
        )

    def _refuse_unknown(self, changes: Iterable[str]) -> None:
        unknown = [name for name in changes if name not in self._values]
        if unknown:
            raise UnfitError(
                f"cannot find {', '.join(unknown)} behind {self._what}: the members are {', '.join(self._members)}",
                remedy="add it to a site of the pool, and its value of the label to 'names'",
            )

    def _refuse_impossible(self, changes: Mapping[str, Intake]) -> None:
        wrong = [
            f"{name} to {to}" for name, to in changes.items() if to.weight > self.max_weight or to.admin != "ready"
        ]
        if wrong:
            raise RejectedError(
                f"cannot set {', '.join(wrong)}: {self._what} names one member that gets all of the traffic, there are "
                "no shares and no admin states",
                remedy="give one member weight 1 and the others 0",
            )

    def _chosen(self, now: str, changes: Mapping[str, Intake]) -> str:
        """The member that is to have the traffic.

        Raises:
            RejectedError: with these changes, and those that are not named as they are, it is not exactly one.
        """
        weights = {name: int(name == now) for name in self._values} | {name: to.weight for name, to in changes.items()}
        chosen = [name for name, weight in weights.items() if weight]
        if len(chosen) == 1:
            return chosen[0]
        raise RejectedError(
            f"cannot give the traffic to {', '.join(chosen) or 'nobody'}: {self._what} names exactly one member, now "
            f"{now}",
            remedy="take it from the one and give it to the other in the same step",
        )

    async def _write(self, selector: _Selector, chosen: str) -> None:
        """Write the label, if the selector is still as it was read.

        Raises:
            RejectedError: it is not, or the API server does not take it.
        """
        path = f"/spec/selector/{_escaped(self._switch.label)}"
        patch = [
            {"op": "test", "path": "/spec/selector", "value": dict(selector)},
            {"op": "replace", "path": path, "value": self._values[chosen]},
        ]
        try:
            await self._cluster.call(
                self._cluster.core().patch_namespaced_service,
                *(self._switch.name, self._switch.namespace, patch),
                _content_type=JSON_PATCH,
                field_manager="failover",
            )
        except RejectedError as error:
            if await self._look() == selector:
                raise
            raise RejectedError(
                f"cannot give {chosen} the traffic: somebody else changed the selector of Service "
                f"{self._switch.namespace}/{self._switch.name} meanwhile",
                remedy="look at it as it is now, then try again",
            ) from error

    async def _ready_pods(self, selector: _Selector, values: Iterable[str]) -> dict[str, set[str]]:
        """The pods that are ready and not ending, by the value of the label that they have."""
        label = self._switch.label
        ready: dict[str, set[str]] = {value: set() for value in values}
        terms = [f"{key}={value}" for key, value in selector.items() if key != label]
        wanted = ",".join([*terms, f"{label} in ({','.join(ready)})"])
        pods = await self._cluster.call(
            self._cluster.core().list_namespaced_pod, self._switch.namespace, label_selector=wanted
        )
        for pod in pods.items:
            conditions = pod.status.conditions or ()
            if pod.metadata.deletion_timestamp is None and any(_is_ready(it.type, it.status) for it in conditions):
                ready[pod.metadata.labels[label]].add(pod.metadata.name)
        return ready

    async def _serving_pods(self) -> set[str]:
        """The pods that the Service sends clients to."""
        version = await self._cluster.served(_DISCOVERY, _SLICES, _VERSIONS)
        slices: Object = await self._cluster.call(
            self._cluster.custom().list_namespaced_custom_object,
            *(_DISCOVERY, version, self._switch.namespace, _SLICES),
            label_selector=f"{_OF_SERVICE}={self._switch.name}",
        )
        return {
            (endpoint.get("targetRef") or {}).get("name") or ", ".join(endpoint["addresses"])
            for slice_ in slices["items"]
            for endpoint in slice_.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready") is not False  # unknown is to be taken as ready
        }


def _is_ready(kind: str, status: str) -> bool:
    return kind == "Ready" and status == "True"


def _escaped(key: str) -> str:
    """A key as a part of a JSON Pointer (RFC 6901, 3)."""
    return key.replace("~", "~0").replace("/", "~1")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
