"""Envoy's endpoints, as they stand in a ClusterLoadAssignment, and the file that Envoy reads them from.

Envoy knows no weight 0. A member that is to take nothing new is marked DRAINING, and what was asked for is kept in the
endpoint's own metadata, which Envoy carries and does not look at. So all that there is to know stands in this one
file, and every state can come back. Where Envoy and that mark disagree, Envoy's own words are right.

Source: Envoy API v3, ``config.endpoint.v3.LbEndpoint``, ``config.core.v3.HealthStatus``, ``PathConfigSource``: Envoy
reads the file again when another one is moved to its name, never when it is written to.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from tempfile import NamedTemporaryFile
from typing import Any, Final, cast

from orchestrator.errors import RejectedError, UnfitError
from orchestrator.model.traffic import Admin, Intake

DRAINING: Final = "DRAINING"
"""Takes no new connection; those that it has go on (``config.core.v3.HealthStatus``)."""

TAKES: Final = frozenset({"UNKNOWN", "HEALTHY"})
"""What Envoy treats as healthy, where it checks nothing itself."""

_MARK: Final = "failover"
LOCK_WITHIN: Final = 3.0
"""Seconds to wait for another orchestrator, which needs far less for a change that Envoy takes."""

_PAUSE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of a cluster."""

    address: str
    """ip:port, or [ip]:port."""
    weight: int
    """Envoy's own: 1 or more."""
    health: str
    """What its control plane, here the file, says of its health."""
    mark: Intake | None
    """What was asked for, while it takes nothing."""
    priority: int = 0
    locality: str = ""

    @property
    def intake(self) -> Intake:
        """What it takes. A foreign DRAINING is a drain."""
        if self.health != DRAINING:
            return Intake(weight=self.weight)
        if self.mark is None:
            return Intake(weight=self.weight, admin="drain")
        return Intake(weight=self.weight if self.mark.weight else 0, admin=self.mark.admin)


def parse_assignment(assignment: Mapping[str, Any]) -> dict[str, Endpoint]:
    """The endpoints of a ClusterLoadAssignment that have an IP address, by it.

    Raises:
        UnfitError: an address is there twice.
    """
    found: dict[str, Endpoint] = {}
    for group, raw in _endpoints(assignment):
        address = _address(raw)
        if address in found:
            raise UnfitError(
                f"cannot use cluster {assignment.get('cluster_name')}: {address} is there twice",
                remedy="take one of them out of the file of its endpoints",
            )
        if address:
            found[address] = Endpoint(
                address=address,
                weight=int(raw.get("load_balancing_weight") or 1),
                health=str(raw.get("health_status", "UNKNOWN")),
                mark=_mark(raw),
                priority=int(group.get("priority", 0)),
                locality=json.dumps(group.get("locality", {}), sort_keys=True),
            )
    return found


def address_of(socket: Mapping[str, Any]) -> str:
    """What a SocketAddress is called here."""
    host, port = str(socket.get("address", "")), socket.get("port_value", 0)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Contents:
    """What stood in the file when it was read."""

    path: str
    cluster: str
    data: bytes

    def endpoints(self) -> dict[str, Endpoint]:
        """The cluster's endpoints, by their addresses."""
        return parse_assignment(self._assignment(self._document()))

    def changed(self, changes: Mapping[str, Intake]) -> bytes:
        """The file's new text: these endpoints have these intakes, and all else is as it was."""
        document = self._document()
        for _, raw in _endpoints(self._assignment(document)):
            to = changes.get(_address(raw))
            if to is not None:
                _set(raw, to)
        digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
        document["version_info"] = f"failover-{digest[:16]}"
        return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()

    def _document(self) -> dict[str, Any]:
        try:
            document = json.loads(self.data)
        except ValueError as error:
            raise self._unfit("it is no JSON", "write the endpoints as JSON; YAML is not supported") from error
        if not isinstance(document, dict) or not isinstance(document.get("resources"), list):
            raise self._unfit("it has no list of resources", "write a DiscoveryResponse, as Envoy's EDS takes it")
        return document

    def _assignment(self, document: dict[str, Any]) -> dict[str, Any]:
        resources = [each for each in document["resources"] if isinstance(each, dict)]
        ours = [each for each in resources if each.get("cluster_name") == self.cluster]
        if len(ours) != 1:
            there = ", ".join(str(each.get("cluster_name", "one without 'cluster_name'")) for each in resources)
            raise self._unfit(
                f"it has {len(ours)} assignments of cluster {self.cluster}, and these: {there or 'none'}",
                "correct 'cluster' in the inventory; fields are written as in cluster_name, not clusterName",
            )
        return ours[0]

    def _unfit(self, why: str, remedy: str) -> UnfitError:
        return UnfitError(f"cannot use the endpoints in {self.path}: {why}", remedy=remedy)


class EndpointsFile:
    """The file that Envoy reads the endpoints of a cluster from."""

    def __init__(self, path: str, cluster: str, lock_within: float = LOCK_WITHIN) -> None:
        self._path = Path(path)
        self._lock_within = lock_within
        self._cluster = cluster

    def read(self) -> Contents:
        """What stands in it now.

        Raises:
            UnfitError: it cannot be read.
        """
        if self._path.is_symlink():  # what is moved to its name would take its place, and Envoy would not notice
            raise UnfitError(
                f"cannot use the endpoints in {self._path}: it is a symbolic link",
                remedy="name the file itself as 'endpoints', and in Envoy's path_config_source",
            )
        try:
            return Contents(str(self._path), self._cluster, self._path.read_bytes())
        except OSError as error:
            raise UnfitError(
                f"cannot read the endpoints in {self._path}: {(error.strerror or str(error)).lower()}",
                remedy="correct 'endpoints' in the inventory, or let this user read the file",
            ) from error

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Keep other orchestrators on this machine away from the file, with flock(2) on one beside it.

        Raises:
            RejectedError: somebody else has it, and does not let go within seconds.
            UnfitError: the folder cannot be written.
        """
        beside = f"{self._path}.lock"
        try:
            lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            await self._take(lock)
            yield
        finally:
            os.close(lock)

    def put(self, data: bytes, instead_of: bytes) -> None:
        """Move a new file to its name, unless it is not any more what was read.

        Raises:
            RejectedError: somebody else has changed it meanwhile; nothing was written.
            UnfitError: the folder cannot be written.
        """
        try:
            self._put(data, instead_of)
        except OSError as error:
            raise self._unwritable(error) from error

    def _put(self, data: bytes, instead_of: bytes) -> None:
        with NamedTemporaryFile("wb", dir=self._path.parent, prefix=f".{self._path.name}.", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                before = self._path.stat()
                with suppress(PermissionError):  # only root may give it away
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), before.st_mode & 0o7777)
                os.fsync(file.fileno())
                if self._path.read_bytes() != instead_of:
                    raise RejectedError(
                        f"cannot change the endpoints in {self._path}: somebody else has changed it meanwhile",
                        remedy="look what they did, then try again",
                    )
                Path(file.name).replace(self._path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    async def _take(self, lock: int) -> None:
        for _ in range(round(self._lock_within / _PAUSE)):
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            await asyncio.sleep(_PAUSE)
        raise RejectedError(
            f"cannot change the endpoints in {self._path}: somebody else is at it",
            remedy="wait for the other failover, and try again",
        )

    def _unwritable(self, error: OSError) -> UnfitError:
        return UnfitError(
            f"cannot change the endpoints in {self._path}: {(error.strerror or str(error)).lower()}",
            remedy="let this user write its folder: a new file is moved to its name",
        )


def set_by_hand(path: str, cluster: str, address: str, wanted: Mapping[str, int | str]) -> str:
    """The shell command that gives one endpoint this weight, admin state, or both, as ``Contents.changed`` does."""
    host, _, port = address.rpartition(":")
    arguments = (path, cluster, host.strip("[]"), port, json.dumps(wanted))
    return f"python3 -c {quote('; '.join(_BY_HAND))} {' '.join(quote(each) for each in arguments)}"


_FIND: Final = (
    "found = [end for one in everything['resources'] if one['cluster_name'] == cluster for group in one['endpoints'] "
    "for end in group['lb_endpoints'] for at in [end['endpoint']['address'].get('socket_address', {})] "
    "if (at.get('address'), str(at.get('port_value'))) == (host, port)]"
)

_BY_HAND: Final = (
    "import json, os, shutil, sys",
    "path, cluster, host, port, wanted = sys.argv[1:]",
    "everything = json.load(open(path))",
    _FIND,
    "end = found[0] if found else sys.exit('there is no endpoint ' + host + ' ' + port)",
    f"out = end.get('health_status') == '{DRAINING}'",
    "notes = end.setdefault('metadata', {}).setdefault('filter_metadata', {})",
    f"note = notes.pop('{_MARK}', {{}})",
    "weight = end.get('load_balancing_weight', 1)",
    "to = {'weight': 0 if out and note.get('weight') == 0 else weight}",
    "to['admin'] = note.get('admin', 'drain') if out else 'ready'",
    "to.update(json.loads(wanted))",
    "end['load_balancing_weight'] = to['weight'] or weight",
    "out = not to['weight'] or to['admin'] == 'drain'",
    f"out and notes.update({_MARK}=to)",
    f"end['health_status'] = '{DRAINING}' if out else 'HEALTHY'",
    "new = open(path + '.new', 'w')",
    "json.dump(everything, new, indent=2)",
    "new.close()",
    "shutil.copymode(path, path + '.new')",
    "os.replace(path + '.new', path)",
)
"""For python3, statement by statement; its arguments tell what is to be done."""


def _endpoints(assignment: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for group in assignment.get("endpoints", ()):
        for raw in group.get("lb_endpoints", ()):
            yield group, raw


def _address(raw: Mapping[str, Any]) -> str:
    socket = raw.get("endpoint", {}).get("address", {}).get("socket_address")
    return address_of(socket) if socket else ""


def _mark(raw: Mapping[str, Any]) -> Intake | None:
    mark = raw.get("metadata", {}).get("filter_metadata", {}).get(_MARK)
    if not isinstance(mark, dict):
        return None
    admin = mark.get("admin")
    return Intake(weight=int(mark.get("weight", 0)), admin=cast("Admin", admin if admin in _ADMINS else "drain"))


_ADMINS: Final = ("ready", "drain")


def _set(raw: dict[str, Any], to: Intake) -> None:
    raw["load_balancing_weight"] = to.weight or raw.get("load_balancing_weight") or 1
    if to.share_weight == 0:
        marks = raw.setdefault("metadata", {}).setdefault("filter_metadata", {})
        marks[_MARK] = {"weight": to.weight, "admin": to.admin}
        raw["health_status"] = DRAINING
        return
    raw["health_status"] = "HEALTHY"
    raw.get("metadata", {}).get("filter_metadata", {}).pop(_MARK, None)
