"""Envoy as a traffic switch: a cluster whose endpoints it reads from a file (EDS).

What is changed is the file; what is believed is what the admin interface says that Envoy has loaded.
Source: Envoy documentation, "Endpoint discovery service", "Administration interface", "Panic threshold".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from orchestrator.adapters.envoy_admin import EnvoyAdmin, Host
from orchestrator.adapters.envoy_endpoints import DRAINING, TAKES, Endpoint, EndpointsFile, set_by_hand
from orchestrator.adapters.http_api import connect
from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.switch import EnvoySwitch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session

T = TypeVar("T")

LOADED_WITHIN: Final = 5.0
"""Seconds for Envoy to load a file; it takes some milliseconds."""

_PAUSE: Final = 0.02


class EnvoyDriver:
    """``ports.TrafficSwitch`` on a cluster of an Envoy; its members are endpoints."""

    def __init__(self, switch: EnvoySwitch, members: Sequence[str], loaded_within: float = LOADED_WITHIN) -> None:
        self._switch = switch
        self._members = tuple(members)
        self._loaded_within = loaded_within
        self._file = EndpointsFile(switch.endpoints, switch.cluster)

    @property
    def max_weight(self) -> int:
        """Ours: Envoy takes far larger ones, but finer shares are of no use."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member as Envoy has it loaded; sessions are its connections, unknown during a hot restart.

        Then the old process has some, and no Envoy tells of which endpoint. ``up`` is what active health checks and
        outlier detection say, or a foreign UNHEALTHY in the file; true where nobody checks.

        Raises:
            UnfitError: a member is no endpoint of the cluster, weights or drains do not count there, or the file
                says something that Envoy has not loaded.
        """
        async with self._admin() as admin:
            await admin.check()
            hosts = await self._loaded(admin)
            await admin.check_members([host.endpoint for host in hosts.values()])
            hidden = (await admin.counters()).elsewhere
        return {
            name: MemberReading(intake=host.endpoint.intake, up=host.up, sessions=None if hidden else host.sessions)
            for name, host in hosts.items()
        }

    async def elsewhere(self) -> int:
        """The weights of the cluster's other endpoints; those of another priority are not weighed against ours."""
        async with self._admin() as admin:
            hosts = await admin.hosts()
        ours = {host.endpoint.address for host in self._pick(hosts, self._members, "Envoy").values()}
        priorities = {hosts[address].endpoint.priority for address in ours}
        others = [host.endpoint for address, host in hosts.items() if address not in ours]
        return sum(one.intake.share_weight for one in others if one.priority in priorities)

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Bring these members to these intakes: all at once, as Envoy loads the file whole or not at all.

        Raises:
            RejectedError: a change cannot be, Envoy does not load it (then the file is as it was), or somebody else
                changes the file.
            UnfitError: as ``read``; or the file cannot be written.
        """
        self._refuse_impossible(changes)
        async with self._admin() as admin, self._file.locked():
            await admin.check()
            before = self._file.read()
            there = self._pick(before.endpoints(), changes, "the file")
            await admin.check_members(there.values())
            _refuse_foreign({name: end for name, end in there.items() if end.intake != changes[name]})
            differing = {name: to for name, to in changes.items() if there[name].intake != to}
            refused = (await admin.counters()).refused
            written = before.changed({self._switch.name_of(name): to for name, to in differing.items()})
            if differing:
                self._file.put(written, instead_of=before.data)
            wrong = await self._wait(admin, changes, refused)
            if wrong and differing:
                self._file.put(before.data, instead_of=written)
            if wrong:
                raise self._rejected(wrong)

    async def settling(self) -> str:
        """Nothing: a change is loaded when ``apply`` returns, and every new connection meets it."""
        return ""

    async def sessions(self, members: Sequence[str]) -> Sequence[Session]:
        """None can be listed.

        Raises:
            UnfitError: always.
        """
        raise self._lists_none()

    async def close(self, session: Session) -> None:
        """None can be closed.

        Raises:
            UnfitError: always.
        """
        raise self._lists_none()

    def by_hand(self, weights: Mapping[str, int], admins: Mapping[str, Admin]) -> Sequence[str]:
        """See ``TrafficSwitch.by_hand``: a line for python3 each, as neither sh nor sed can be trusted with JSON."""
        lines = []
        for name in dict.fromkeys([*weights, *admins]):
            wanted: dict[str, int | str] = {"weight": weights[name]} if name in weights else {}
            if name in admins:
                wanted["admin"] = admins[name]
            address = self._switch.name_of(name)
            lines.append(set_by_hand(self._switch.endpoints, self._switch.cluster, address, wanted))
        return lines

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[EnvoyAdmin]:
        name = f"Envoy at {self._switch.admin}"
        async with connect(f"http://{self._switch.admin}", name) as api:
            yield EnvoyAdmin(api, self._switch.cluster, self._switch.admin)

    async def _loaded(self, admin: EnvoyAdmin) -> dict[str, Host]:
        """The members as Envoy has them, once it has had the time to load what stands in the file."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._loaded_within
        while True:
            filed = self._pick(self._file.read().endpoints(), self._members, "the file")
            hosts = self._pick(await admin.hosts(), self._members, "Envoy")
            stale = [name for name in hosts if hosts[name].endpoint.intake != filed[name].intake]
            if not stale:
                return hosts
            if loop.time() >= until:
                raise self._stale(stale)
            await asyncio.sleep(_PAUSE)

    async def _wait(self, admin: EnvoyAdmin, wanted: Mapping[str, Intake], refused: int) -> dict[str, str]:
        """What is loaded otherwise than wanted, by member, once all is as wanted, refused, or time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._loaded_within
        while True:
            again = (await admin.counters()).refused > refused or loop.time() >= until
            hosts = self._pick(await admin.hosts(), wanted, "Envoy")
            wrong = {
                name: f"{name} has {hosts[name].endpoint.intake} instead of {to}"
                for name, to in wanted.items()
                if hosts[name].endpoint.intake != to
            }
            if again or not wrong:
                return wrong
            await asyncio.sleep(_PAUSE)

    def _pick(self, there: Mapping[str, T], names: Iterable[str], where: str) -> dict[str, T]:
        names = list(names)
        missing = [name for name in names if self._switch.name_of(name) not in there]
        if missing:
            listed = ", ".join(f"{name} ({self._switch.name_of(name)})" for name in missing)
            raise UnfitError(
                f"cannot find {listed} in cluster {self._switch.cluster} of Envoy at {self._switch.admin}: "
                f"{where} has {', '.join(there) or 'no endpoint'}",
                remedy="give each member its endpoint as ip:port under 'names'",
            )
        return {name: there[self._switch.name_of(name)] for name in names}

    def _refuse_impossible(self, changes: Mapping[str, Intake]) -> None:
        for name, to in changes.items():
            if to.weight > self.max_weight:
                raise RejectedError(f"cannot give {name} weight {to.weight}: the largest is {self.max_weight}")
            if to.admin not in self._switch.admins:
                raise RejectedError(
                    f"cannot bring {name} to {to.admin}: Envoy has only {', '.join(sorted(self._switch.admins))}"
                )

    def _stale(self, names: Sequence[str]) -> UnfitError:
        return UnfitError(
            f"cannot tell how cluster {self._switch.cluster} of Envoy at {self._switch.admin} stands: of "
            f"{', '.join(names)} the file {self._switch.endpoints} says something else than Envoy has loaded",
            remedy="look into Envoy's log whether it takes this file, and that nobody edits it in place",
        )

    def _rejected(self, wrong: Mapping[str, str]) -> RejectedError:
        return RejectedError(
            f"cannot set endpoints of cluster {self._switch.cluster} of Envoy at {self._switch.admin}: "
            f"{'; '.join(wrong.values())}; Envoy has not loaded {self._switch.endpoints}, which is as before",
            remedy="look into Envoy's log why it does not take the file, and whether it reads this one",
        )

    def _lists_none(self) -> UnfitError:
        return UnfitError(
            f"cannot list the sessions of Envoy at {self._switch.admin}: it counts connections and lists none",
            remedy="wait for its counts to fall, or close sessions at the members",
        )


def _refuse_foreign(endpoints: Mapping[str, Endpoint]) -> None:
    """A word of somebody else's, as UNHEALTHY, would be lost."""
    for name, endpoint in endpoints.items():
        if endpoint.health not in (*TAKES, DRAINING):
            raise RejectedError(
                f"cannot change {name}: somebody has marked {endpoint.address} as {endpoint.health} in the file",
                remedy="ask who, and take that 'health_status' out",
            )
