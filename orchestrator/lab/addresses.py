"""Where a lab keeps its things, and the addresses of a running one."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import platformdirs

from orchestrator.errors import RefusedError

NO_LAB: Final = "no lab is running"
START_ONE: Final = "start one with: failover lab up"

_RUNTIME: Final = Path("/run/failover-lab")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_PORTS: Final = range(20_000, 32_000)
"""Below Linux's range for outgoing connections (32768 on), so that none of those takes a port that we chose."""


def default_name() -> str:
    """The lab that is meant when none is named: ``FAILOVER_LAB``, else ``default``."""
    return os.environ.get("FAILOVER_LAB") or "default"


def state_root() -> Path:
    """The folder of all labs' states: under ``FAILOVER_STATE`` if set, else in the XDG state folder."""
    override = os.environ.get("FAILOVER_STATE")
    root = Path(override) if override else Path(platformdirs.user_state_path("failover"))
    return root.absolute() / "lab"


@dataclass(frozen=True, slots=True)
class Folders:
    """The two folders of one lab.

    ``state`` holds what people and programs look up: addresses, process ids, logs. ``runtime`` holds the parts
    themselves. It lies under /run because a unix socket's name may have 107 bytes only, and because Postfix's
    unprivileged processes must be able to walk there, which root's own state folder forbids.
    """

    name: str
    state: Path
    runtime: Path

    @property
    def addresses(self) -> Path:
        """The addresses, there as long as the lab is ready."""
        return self.state / "addresses.json"

    @property
    def processes(self) -> Path:
        """The processes that the supervisor started, so that a stale lab can be cleaned."""
        return self.state / "processes.json"

    @property
    def lock(self) -> Path:
        """Locked by the supervisor for as long as it lives."""
        return self.state / "lock"

    @property
    def logs(self) -> Path:
        """What the parts print; kept after the lab is gone."""
        return self.state / "logs"

    @property
    def control(self) -> Path:
        """The supervisor's socket."""
        return self.runtime / "lab.sock"

    @property
    def traffic_control(self) -> Path:
        """The socket of the load, the sink and the ledger."""
        return self.runtime / "traffic.sock"

    def running(self) -> bool:
        """Whether a supervisor holds this lab."""
        try:
            with self.lock.open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def make(self) -> None:
        """Make both folders, the runtime one new and empty.

        Raises:
            RefusedError: somebody else owns the runtime folder's place.
        """
        self.remove_runtime()
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)
        _RUNTIME.mkdir(mode=0o755, exist_ok=True)
        if _RUNTIME.is_symlink() or _RUNTIME.stat().st_uid != os.geteuid():
            raise RefusedError(
                f"cannot use {_RUNTIME}: it does not belong to this user", remedy="remove it, then try again"
            )
        self.runtime.mkdir(mode=0o755)
        self.runtime.chmod(0o755)

    def remove_runtime(self) -> None:
        """Remove what a lab leaves behind, except its logs."""
        self.addresses.unlink(missing_ok=True)
        self.processes.unlink(missing_ok=True)
        shutil.rmtree(self.runtime, ignore_errors=True)
        with contextlib.suppress(OSError):  # another lab lives there still
            _RUNTIME.rmdir()


def folders(name: str, root: Path | None = None) -> Folders:
    """The folders of the lab ``name``; ``root`` is the folder of all labs' states.

    Raises:
        RefusedError: the name cannot be used.
    """
    if _NAME.fullmatch(name) is None:
        raise RefusedError(
            f"cannot call a lab {name!r}: a name has up to 31 small letters, digits and dashes",
            remedy="choose one like default or lab-2",
        )
    state = (root.absolute() if root is not None else state_root()) / name
    digest = hashlib.sha256(str(state).encode()).hexdigest()[:8]
    return Folders(name=name, state=state, runtime=_RUNTIME / f"{name}-{digest}")


def lab_addresses(name: str | None = None, root: Path | None = None) -> Mapping[str, str]:
    """The addresses of a running lab, by the keys that ``${lab:KEY}`` takes in an inventory.

    ``edge.smtp`` and ``edge.path-<site>`` are host:port; ``edge.socket``, ``edge.master`` and ``edge.state-file`` are
    paths, as are ``inbox``, ``ca-file`` and ``<host>.config``, ``<host>.gate-control``, ``<host>.gate-database``.

    Raises:
        RefusedError: no such lab is running.
    """
    place = folders(name or default_name(), root)
    try:
        text = place.addresses.read_text()
    except FileNotFoundError:
        text = ""
    if not text or not place.running():
        raise RefusedError(NO_LAB if place.name == "default" else f"no lab {place.name} is running", remedy=START_ONE)
    found = json.loads(text)
    return {str(key): str(value) for key, value in found.items()}


def free_ports(count: int) -> list[int]:
    """So many TCP ports that nothing uses on loopback, all different.

    Raises:
        RefusedError: there are not so many.
    """
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        if len(found) == count:
            return found
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found.append(port)
    raise RefusedError(f"cannot find {count} free ports from {_PORTS.start} to {_PORTS.stop - 1}")
