"""The weighted backends of a Gateway API route as a traffic switch.

Source: https://gateway-api.sigs.k8s.io/reference/spec/ (``BackendRef.weight``, ``RouteParentStatus``) and the guide
"HTTP traffic splitting". A write is a JSON patch (RFC 6902) of the weights alone; its ``test`` operations make it a
compare-and-swap, so that nothing of what somebody else has changed in the route's spec meanwhile is written over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, Final

from orchestrator.adapters.kubernetes import JSON_PATCH, Cluster, Object
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.switch import HttpRouteSwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session

_GROUP: Final = "gateway.networking.k8s.io"
_VERSIONS: Final = ("v1", "v1beta1", "v1alpha3", "v1alpha2")
"""The newest first: an object is the same in all that a cluster serves."""

_DEFAULT_WEIGHT: Final = 1
"""Of a backend that says none (``BackendRef.weight``)."""


@dataclass(frozen=True, slots=True)
class _Route:
    """What of a route is read."""

    generation: int
    """Counts the changes of its spec, by anybody; not those of its status, which gateways write again and again."""
    names: tuple[str, ...]
    weights: tuple[int | None, ...]
    """Of the rule's backends, in its order; None: it says none."""
    parents: tuple[Object, ...]
    """What each gateway says of the route."""


class RouteDriver:
    """``ports.TrafficSwitch`` on one rule of an HTTPRoute, TCPRoute or TLSRoute."""

    def __init__(self, switch: HttpRouteSwitch, members: Sequence[str], cluster: Cluster) -> None:
        self._switch = switch
        self._members = tuple(members)
        self._cluster = cluster
        self._plural = f"{switch.kind.lower()}s"
        self._what = f"rule {switch.rule} of {switch.kind} {switch.namespace}/{switch.name}"

    @property
    def max_weight(self) -> int:
        """See ``HttpRouteSwitch``."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member as the route's spec has it; a route checks nobody's health and counts nothing.

        Raises:
            UnfitError: a member is no backend of the rule, or is one more than once.
        """
        weights = self._weights(await self._look(), self._members)
        return {
            name: MemberReading(intake=Intake(weight=weight), up=True, sessions=None)
            for name, weight in weights.items()
        }

    async def elsewhere(self) -> int:
        """The weights of the rule's other backends."""
        route, ours = await self._look(), {self._switch.name_of(member) for member in self._members}
        backends = zip(route.names, route.weights, strict=True)
        return sum(_weight(weight) for name, weight in backends if name not in ours)

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Bring these members to these weights, all in one write or none; the rule's other backends stay.

        Raises:
            RejectedError: a weight or state that a route cannot have; somebody else has changed the route meanwhile;
                or a member is not as asked when read back.
            UnfitError: a member is no backend of the rule.
        """
        route = await self._look()
        now = self._weights(route, changes)
        self._refuse_impossible(changes)
        differing = {name: to.weight for name, to in changes.items() if to.weight != now[name]}
        if not differing:
            return
        await self._write(route, differing)
        self._compare(self._weights(await self._look(), changes), changes)

    async def settling(self) -> str:
        """Which gateways do not serve the route as it is now: they say up to which generation they have taken it up.

        A gateway that does not accept the route serves nothing of it, and is not waited for where another one does.
        """
        route = await self._look()
        said = {_name_of(parent): _acceptance(parent) for parent in route.parents}
        taken_up = f"generation {route.generation} of {self._switch.kind} {self._switch.namespace}/{self._switch.name}"
        behind = [gateway for gateway, (_, generation, _) in said.items() if generation < route.generation]
        if not said:
            return f"no gateway has taken up {taken_up}"
        if behind:
            return f"{', '.join(behind)} has not taken up {taken_up}"
        if not any(accepted for accepted, _, _ in said.values()):
            reasons = "; ".join(f"{gateway}: {reason}" for gateway, (_, _, reason) in said.items())
            return f"no gateway accepts {taken_up} ({reasons})"
        return ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """A route lists none.

        Raises:
            UnfitError: always.
        """
        raise UnfitError(f"cannot list sessions of {', '.join(members)}: a {self._switch.kind} knows none")

    async def close(self, session: Session) -> None:
        """A route can close none.

        Raises:
            UnfitError: always.
        """
        raise UnfitError(f"cannot close the session of {session.client}: a {self._switch.kind} knows none")

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: for each member, find its place in the rule and patch its weight there.

        Backends have no key but their place, so that is looked up; the patch tests that the member still stands there.
        """
        return [self._line(name, weight) for name, weight in weights.items()]

    def _line(self, member: str, weight: int) -> str:
        switch, name = self._switch, self._switch.name_of(member)
        kubectl = self._cluster.kubectl("--namespace", switch.namespace)
        route = quote(f"{self._plural}.{_GROUP}/{switch.name}")
        names = f'{{range .spec.rules[{switch.rule}].backendRefs[*]}}{{.name}}{{"\\n"}}{{end}}'
        find = f"{kubectl} get {route} -o {quote(f'jsonpath={names}')} | grep -nxF {quote(name)} | cut -d: -f1"
        place = f"/spec/rules/{switch.rule}/backendRefs/\0"
        patch = quote(json.dumps([_operation("test", f"{place}/name", name), _set(f"{place}/weight", weight)]))
        return f"n=$({find}) && {kubectl} patch {route} --type=json -p {patch.replace(_NUL, _PLACE)}"

    async def _look(self) -> _Route:
        """The route.

        Raises:
            UnfitError: there is no such route, or it has no such rule.
        """
        version = await self._version()
        switch = self._switch
        it: Object = await self._cluster.call(
            self._cluster.custom().get_namespaced_custom_object,
            *(_GROUP, version, switch.namespace, self._plural, switch.name),
        )
        rules = it["spec"].get("rules") or []
        if switch.rule >= len(rules):
            raise UnfitError(
                f"cannot find {self._what}: it has {len(rules)} rules, counted from 0",
                remedy="correct 'rule' in the inventory",
            )
        backends = rules[switch.rule].get("backendRefs") or []
        return _Route(
            generation=it["metadata"]["generation"],
            names=tuple(backend["name"] for backend in backends),
            weights=tuple(backend.get("weight") for backend in backends),
            parents=tuple((it.get("status") or {}).get("parents") or ()),
        )

    def _weights(self, route: _Route, wanted: Iterable[str]) -> dict[str, int]:
        """The weights of these members, by their names in the inventory.

        Raises:
            UnfitError: the rule does not have each of them exactly once.
        """
        names = {member: self._switch.name_of(member) for member in wanted}
        missing = [member for member, name in names.items() if name not in route.names]
        if missing:
            raise UnfitError(
                f"cannot find {', '.join(missing)} in {self._what}: its backends are {', '.join(route.names)}",
                remedy="add the backend to the rule, or say in 'names' which Service the member is",
            )
        double = [member for member, name in names.items() if route.names.count(name) > 1]
        if double:
            raise UnfitError(
                f"cannot tell the backends of {', '.join(double)} in {self._what} apart: one Service is there twice",
                remedy="name each Service once in a rule",
            )
        found = dict(zip(route.names, route.weights, strict=True))
        return {member: _weight(found[name]) for member, name in names.items()}

    def _refuse_impossible(self, changes: Mapping[str, Intake]) -> None:
        wrong = [
            f"{name} to {to}" for name, to in changes.items() if to.weight > self.max_weight or to.admin != "ready"
        ]
        if wrong:
            raise RejectedError(
                f"cannot set {', '.join(wrong)} in {self._what}: backends have weights from 0 to {self.max_weight}, "
                "and no admin state"
            )

    async def _write(self, route: _Route, weights: Mapping[str, int]) -> None:
        """Write these weights, if the route is still as it was read.

        Raises:
            RejectedError: it is not, or the API server does not take them.
        """
        switch = self._switch
        try:
            await self._cluster.call(
                self._cluster.custom().patch_namespaced_custom_object,
                *(_GROUP, await self._version(), switch.namespace, self._plural, switch.name),
                self._patch(route, {switch.name_of(member): weight for member, weight in weights.items()}),
                _content_type=JSON_PATCH,
                field_manager="failover",
            )
        except RejectedError as error:
            if (await self._look()).generation == route.generation:
                raise
            raise RejectedError(
                f"cannot set {', '.join(weights)} in {self._what}: somebody else changed it meanwhile",
                remedy="look at it as it is now, then try again",
            ) from error

    def _patch(self, route: _Route, weights: Mapping[str, int]) -> list[dict[str, Any]]:
        """The operations that set these weights, by the names of Services, if the route is as it was read."""
        tests, sets = [_operation("test", "/metadata/generation", route.generation)], []
        for place, (name, weight) in enumerate(zip(route.names, route.weights, strict=True)):
            path = f"/spec/rules/{self._switch.rule}/backendRefs/{place}"
            tests.append(_operation("test", f"{path}/name", name))
            if weight is not None:
                tests.append(_operation("test", f"{path}/weight", weight))
            if name in weights:
                sets.append(_set(f"{path}/weight", weights[name]))
        return tests + sets

    def _compare(self, now: Mapping[str, int], asked: Mapping[str, Intake]) -> None:
        wrong = [
            f"{name} has weight {now[name]} instead of {to.weight}"
            for name, to in asked.items()
            if now[name] != to.weight
        ]
        if wrong:
            raise RejectedError(
                f"cannot set backends of {self._what}: {'; '.join(wrong)}",
                remedy="look who else changes it, as a GitOps controller or a progressive delivery does",
            )

    async def _version(self) -> str:
        return await self._cluster.served(_GROUP, self._plural, _VERSIONS)


_NUL: Final = "\\u0000"
"""How JSON writes what stands for a backend's place until it is known: no name has it."""

_PLACE: Final = "'$((n-1))'"
"""For the shell, in the middle of what is quoted: grep counts lines from 1, JSON Pointer from 0."""


def _operation(op: str, path: str, value: object) -> dict[str, Any]:
    return {"op": op, "path": path, "value": value}


def _set(path: str, weight: int) -> dict[str, Any]:
    """Also where there is none yet (RFC 6902, 4.1)."""
    return _operation("add", path, weight)


def _weight(said: int | None) -> int:
    return _DEFAULT_WEIGHT if said is None else said


def _name_of(parent: Object) -> str:
    of = parent.get("parentRef") or {}
    section = f", {of['sectionName']}" if of.get("sectionName") else ""
    return f"{of.get('kind', 'Gateway')} {of.get('name', '')}{section} ({parent.get('controllerName', '')})"


def _acceptance(parent: Object) -> tuple[bool, int, str]:
    """Whether a gateway accepts the route, up to which generation it has looked, and what it says."""
    for condition in parent.get("conditions") or ():
        if condition.get("type") == "Accepted":
            said = f"{condition.get('reason', '')} {condition.get('message', '')}".strip()
            return condition.get("status") == "True", condition.get("observedGeneration", 0), said
    return False, 0, "it says nothing of Accepted"
