"""An F5 BIG-IP as a traffic switch: the members of a pool, driven by iControl REST.

A BIG-IP knows no weight 0, and two ways out of rotation. Both are used, each for one thing, so that every state can
come back by itself::

    weight n    session user-enabled, ratio n
    weight 0    session user-disabled; the ratio stays
    ready       state user-up: monitors decide
    drain       state user-down: only connections that it has go on

Source: F5 iControl REST API reference, ``/mgmt/tm/ltm/pool/members``; tmsh reference, ``ltm pool``; F5 K13310
(disabled members still get clients with a persistence record, members forced offline do not).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, Final

from orchestrator.adapters.f5_rest import CONFIG, BigIp, NotFoundError, Token, log_in, path_of
from orchestrator.errors import OutsideError, RejectedError, UnfitError
from orchestrator.model.switch import F5Switch
from orchestrator.model.traffic import Admin, Intake, MemberReading, Session

RATIO_MODES: Final = frozenset({"ratio-member", "ratio-session", "ratio-least-connections-member"})
"""Modes that split by the ratios of members."""

_ENABLED: Final = ("user-enabled", "monitor-enabled")
_DISABLED: Final = "user-disabled"
_FORCED: Final = "user-down"


@dataclass(frozen=True, slots=True)
class _Member:
    path: str
    ratio: int
    session: str
    state: str
    group: int

    def intake(self, weighs: bool) -> Intake:
        weight = self.ratio if weighs else 1
        admin: Admin = "drain" if self.state == _FORCED else "ready"
        return Intake(weight=0 if self.session == _DISABLED else weight, admin=admin)


@dataclass(frozen=True, slots=True)
class _Pool:
    mode: str
    members: Mapping[str, _Member]
    """By their full paths."""

    @property
    def weighs(self) -> bool:
        return self.mode in RATIO_MODES


class F5Driver:
    """``ports.TrafficSwitch`` on one pool of a BIG-IP."""

    def __init__(self, switch: F5Switch, members: Sequence[str]) -> None:
        self._switch = switch
        self._members = tuple(members)
        self._token = Token()

    @property
    def max_weight(self) -> int:
        """The largest ratio."""
        return self._switch.max_weight

    async def read(self) -> Mapping[str, MemberReading]:
        """Every member as it is now; where the pool's mode does not look at ratios, each has weight 1 or 0.

        ``up`` is what the monitors say. They say nothing of a member that is forced offline: it counts as up.

        Raises:
            UnfitError: a member is not in the pool, its node is disabled, or priority groups decide who takes traffic.
        """
        async with log_in(self._switch, self._token) as bigip:
            pool = await self._pool(bigip)
            found = self._pick(pool, self._members)
            stats = _stats(await bigip.get(f"{path_of(self._switch.pool)}/members/stats"))
        return {name: self._reading(pool, member, stats) for name, member in found.items()}

    async def elsewhere(self) -> int:
        """The weights of the pool's other members that are enabled, themselves and as nodes."""
        async with log_in(self._switch, self._token) as bigip:
            pool = await self._pool(bigip)
        ours = {self._switch.name_of(name) for name in self._members}
        others = [one for path, one in pool.members.items() if path not in ours and one.session in _ENABLED]
        return sum(one.intake(pool.weighs).share_weight for one in others)

    async def apply(self, changes: Mapping[str, Intake]) -> None:
        """Bring these members to these intakes, all in one transaction, and save the configuration.

        Raises:
            RejectedError: a change cannot be, the BIG-IP takes none of them, or a member is not as asked afterwards.
            UnfitError: as ``read``; or the pool's mode does not look at ratios, and weights are to differ.
            UnreachableError: no answer to the last request; look before anything else.
        """
        self._refuse_impossible(changes)
        if not changes:
            return
        async with log_in(self._switch, self._token) as bigip:
            pool = await self._pool(bigip)
            self._refuse_unweighed(pool, changes)
            now = {name: member.intake(pool.weighs) for name, member in self._pick(pool, changes).items()}
            patches = {
                path_of(self._switch.pool, self._switch.name_of(name)): _patch(now[name], to, pool.weighs)
                for name, to in changes.items()
                if now[name] != to
            }
            if patches:
                await bigip.change(patches)
            await self._save(bigip)
            self._compare(await self._pool(bigip), changes)

    async def settling(self) -> str:
        """Nothing: a BIG-IP asks its members' states for each new connection."""
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
        """See ``TrafficSwitch.by_hand``: a line for curl(1) each, and one that saves the configuration."""
        lines = []
        for name in dict.fromkeys([*weights, *admins]):
            patch = _weight(weights[name], weighs=True) if name in weights else {}
            if name in admins:
                patch |= _admin(admins[name])
            lines.append(self._curl("PATCH", path_of(self._switch.pool, self._switch.name_of(name)), patch))
        return [*lines, self._curl("POST", CONFIG, {"command": "save"})] if lines else []

    def _curl(self, method: str, path: str, body: object) -> str:
        secret = self._switch.password
        password = f'"${secret.env}"' if secret.env is not None else f'"$(cat {quote(str(secret.file))})"'
        trust = f" --cacert {quote(self._switch.ca_file)}" if self._switch.ca_file else ""
        url = self._switch.url.rstrip("/") + path
        return (
            f"curl -fsS -o /dev/null{trust} -u {quote(self._switch.user)}:{password} -X {method} "
            f"-H 'Content-Type: application/json' -d {quote(json.dumps(body))} {quote(url)}"
        )

    async def _pool(self, bigip: BigIp) -> _Pool:
        try:
            pool = await bigip.get(path_of(self._switch.pool))
        except NotFoundError as error:
            raise self._unfit("there is no such pool", "correct 'pool' in the inventory, as /Common/smtp") from error
        listed = (await bigip.get(f"{path_of(self._switch.pool)}/members")).get("items", ())
        members = {str(item.get("fullPath")): _member(item) for item in listed}
        groups = {member.group for member in members.values()}
        if int(pool.get("minActiveMembers", 0)) and len(groups) > 1:
            told = ", ".join(f"{path} is in group {member.group}" for path, member in members.items())
            raise self._unfit(
                f"its priority groups decide who takes traffic, not weights: {told}",
                f"tmsh modify ltm pool {self._switch.pool} min-active-members 0",
            )
        return _Pool(mode=str(pool.get("loadBalancingMode", "round-robin")), members=members)

    def _pick(self, pool: _Pool, names: Iterable[str]) -> dict[str, _Member]:
        found = {name: pool.members.get(self._switch.name_of(name)) for name in names}
        missing = [f"{name} ({self._switch.name_of(name)})" for name, member in found.items() if member is None]
        if missing:
            raise self._unfit(
                f"{', '.join(missing)} is not in it, but {', '.join(pool.members) or 'nobody'}",
                "give each member its full path under 'names', as /Common/mx1:25",
            )
        members = {name: member for name, member in found.items() if member is not None}
        for name, member in members.items():
            if member.session not in (*_ENABLED, _DISABLED):
                raise self._unfit(
                    f"{name} has the session state {member.session}, which is not its own but its node's",
                    f"enable the node: tmsh modify ltm node {member.path.rpartition(':')[0]} session user-enabled",
                )
        return members

    def _reading(self, pool: _Pool, member: _Member, stats: Mapping[str, Mapping[str, Any]]) -> MemberReading:
        own = stats.get(member.path)
        if own is None:
            raise self._unfit(
                f"it gives no statistics of {member.path}", "look at it with tmsh show ltm pool … members"
            )
        offline = own.get("status.availabilityState") == "offline"
        sessions = own.get("serverside.curConns")  # none is not 0: a drain would take it for empty
        return MemberReading(
            intake=member.intake(pool.weighs),
            up=member.state == _FORCED or not offline,
            sessions=None if sessions is None else int(sessions),
        )

    async def _save(self, bigip: BigIp) -> None:
        try:
            await bigip.save()
        except OutsideError as error:
            raise UnfitError(
                f"cannot save the configuration of BIG-IP at {self._switch.url}: {error.message}; a reboot would "
                "forget this change",
                remedy="tmsh save sys config, then try again",
            ) from error

    def _compare(self, pool: _Pool, asked: Mapping[str, Intake]) -> None:
        now = {name: member.intake(pool.weighs) for name, member in self._pick(pool, asked).items()}
        wrong = [f"{name} has {now[name]} instead of {to}" for name, to in asked.items() if now[name] != to]
        if wrong:
            raise RejectedError(
                f"cannot set members of pool {self._switch.pool}: {'; '.join(wrong)}",
                remedy="look who else changes them, then try again",
            )

    def _refuse_impossible(self, changes: Mapping[str, Intake]) -> None:
        for name, to in changes.items():
            if to.weight > self.max_weight:
                raise RejectedError(f"cannot give {name} weight {to.weight}: the largest ratio is {self.max_weight}")
            if to.admin not in self._switch.admins:
                raise RejectedError(
                    f"cannot bring {name} to {to.admin}: a BIG-IP has only {', '.join(sorted(self._switch.admins))}"
                )

    def _refuse_unweighed(self, pool: _Pool, changes: Mapping[str, Intake]) -> None:
        weighed = [f"{name} weight {to.weight}" for name, to in changes.items() if to.weight > 1]
        if weighed and not pool.weighs:
            raise self._unfit(
                f"it cannot give {', '.join(weighed)}: its mode {pool.mode} does not look at ratios",
                f"tmsh modify ltm pool {self._switch.pool} load-balancing-mode ratio-member",
            )

    def _unfit(self, why: str, remedy: str) -> UnfitError:
        return UnfitError(f"cannot use pool {self._switch.pool} of BIG-IP at {self._switch.url}: {why}", remedy=remedy)

    def _lists_none(self) -> UnfitError:
        return self._unfit(
            "its connections are counted and not listed",
            "wait for its counts to fall, or close sessions at the members",
        )


def _member(item: Mapping[str, Any]) -> _Member:
    return _Member(
        path=str(item.get("fullPath")),
        ratio=int(item.get("ratio", 1)),
        session=str(item.get("session", "")),
        state=str(item.get("state", "")),
        group=int(item.get("priorityGroup", 0)),
    )


def _patch(now: Intake, to: Intake, weighs: bool) -> dict[str, object]:
    weight = _weight(to.weight, weighs) if to.weight != now.weight else {}
    return weight | (_admin(to.admin) if to.admin != now.admin else {})


def _weight(weight: int, weighs: bool) -> dict[str, object]:
    if weight == 0:
        return {"session": _DISABLED}
    return {"session": "user-enabled", "ratio": weight} if weighs else {"session": "user-enabled"}


def _admin(admin: Admin) -> dict[str, object]:
    return {"state": _FORCED if admin == "drain" else "user-up"}


def _stats(reply: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The statistics of each member by its full path: the keys are URLs whose form depends on the version."""
    found = {}
    for entry in reply.get("entries", {}).values():
        entries = entry.get("nestedStats", {}).get("entries", {})
        values = {key: one.get("value", one.get("description")) for key, one in entries.items()}
        for separator in ":.":  # an IPv6 address is followed by a dot
            found[f"{values.get('nodeName')}{separator}{values.get('port')}"] = values
    return found
