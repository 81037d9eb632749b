"""A lab, for those who use it: tests, drills and the command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

from pydantic import JsonValue, TypeAdapter

from orchestrator.errors import OutsideError, RefusedError, UnreachableError
from orchestrator.lab.addresses import NO_LAB, START_ONE, Folders, default_name, folders, lab_addresses
from orchestrator.lab.control import ask
from orchestrator.lab.layout import HOSTS, SITES, Gate
from orchestrator.lab.ledger import Ledger
from orchestrator.lab.parts import LabPlan
from orchestrator.lab.processes import wait_until
from orchestrator.lab.profiles import ProfileName
from orchestrator.lab.requirements import require_tools
from orchestrator.model.value import Value

_DOWN_TIMEOUT: Final = 10.0
_SLACK: Final = 10.0


class HostStatus(Value):
    """One mail host of the lab."""

    site: str
    up: bool
    sessions: int
    """What the edge has open to it."""
    queued: int
    """Messages in its queue."""


class LabStatus(Value):
    """A running lab."""

    supervisor: int
    """Process id."""
    since: float
    """Unix time."""
    plan: LabPlan
    pids: dict[str, int]
    flow_loss: dict[str, float]
    """Share of new connections on each site's path that vanish."""
    hosts: dict[str, HostStatus]
    paused: bool
    ledger: Ledger


class Lab:
    """A running lab. As a context manager it is taken down at the end."""

    def __init__(self, place: Folders, supervisor: subprocess.Popen[bytes] | None = None) -> None:
        self._place = place
        self._supervisor = supervisor

    @classmethod
    def up(
        cls,
        name: str | None = None,
        profile: ProfileName = "steady",
        clients: int = 50,
        gate: Gate = "postfix-policy",
        root: Path | None = None,
        progress: Callable[[str], None] = lambda _: None,
    ) -> Lab:
        """Start a lab and wait until mail flows through all of it. ``root`` is the folder of all labs' states.

        Raises:
            MissingToolError: a program that it needs is not installed.
            RefusedError: we are not root, or that lab runs already.
            OutsideError: a part did not start.
        """
        require_tools(table_gate=gate == "postfix-map")
        plan = LabPlan(name=name or default_name(), profile=profile, clients=clients, gate=gate)
        place = folders(plan.name, root)
        argv = [sys.executable, "-m", "orchestrator.lab.supervisor", str(place.state), plan.model_dump_json()]
        supervisor = subprocess.Popen(
            [*argv, str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_ready(supervisor, progress)
        except BaseException:
            supervisor.terminate()
            supervisor.wait(_DOWN_TIMEOUT)
            raise
        finally:
            assert supervisor.stdout is not None
            supervisor.stdout.close()
        return cls(place, supervisor)

    @classmethod
    def attach(cls, name: str | None = None, root: Path | None = None) -> Lab:
        """The lab of this name that runs already.

        Raises:
            RefusedError: there is none.
        """
        place = folders(name or default_name(), root)
        if not place.running():
            text = NO_LAB if place.name == "default" else f"no lab {place.name} is running"
            raise RefusedError(text, remedy=START_ONE)
        return cls(place)

    @property
    def name(self) -> str:
        """Its name."""
        return self._place.name

    @property
    def state(self) -> Path:
        """Its state folder, where its logs are."""
        return self._place.state

    def addresses(self) -> Mapping[str, str]:
        """What ``${lab:KEY}`` stands for in inventories."""
        return lab_addresses(self._place.name, self._place.state.parent)

    def status(self) -> LabStatus:
        """Everything about it now."""
        found = _mapping(ask(self._place.control, "status"))
        return LabStatus.model_validate(found | _mapping(self._ask_traffic("ledger")))

    def settle(self, timeout: float = 60.0) -> Ledger:
        """Pause the load until every accepted message has arrived or is certainly lost; then go on as before.

        After ``timeout`` seconds what has not settled is returned as in flight.
        """
        answer = self._ask_traffic("settle", patience=timeout + _SLACK, timeout=timeout)
        return Ledger.model_validate(_mapping(answer)["ledger"])

    def reset_ledger(self) -> None:
        """Begin a new ledger; messages under way count in neither."""
        self._ask_traffic("reset")

    def longest_in_flight(self, site: str, at: float) -> float:
        """Seconds that the transactions open on ``site`` at unix time ``at`` still took: no drain can be faster.

        Raises:
            RefusedError: the client is a real Postfix, whose transactions the lab does not time.
        """
        return TypeAdapter(float).validate_python(self._ask_traffic("longest-in-flight", site=site, at=at))

    def kill_host(self, host: str) -> None:
        """Cut the power of a host: Postfix, all its processes, and its gate. Its queue's files stay."""
        ask(self._place.control, "kill-host", host=host)

    def revive_host(self, host: str) -> None:
        """Start it again, on the queue that it left; returns when it answers."""
        ask(self._place.control, "revive-host", patience=60.0, host=host)

    def flow_loss(self, site: str, fraction: float) -> None:
        """Let this share of new connections on ``path-<site>`` be taken and never answered."""
        ask(self._place.control, "flow-loss", site=site, fraction=fraction)

    def heal(self) -> None:
        """Take every fault back."""
        status = self.status()
        for site in SITES:
            if status.flow_loss[site]:
                self.flow_loss(site, 0.0)
        for host in HOSTS:
            if not status.hosts[host].up:
                self.revive_host(host)

    def pause_load(self) -> None:
        """Let the clients finish what they are sending, and start nothing new. Their sessions stay open."""
        self._ask_traffic("pause")

    def resume_load(self) -> None:
        """Let them send again."""
        self._ask_traffic("resume")

    def down(self) -> None:
        """End it and every process of it; returns when all are gone."""
        with contextlib.suppress(UnreachableError):  # it is gone already, or hangs
            ask(self._place.control, "down", patience=_DOWN_TIMEOUT)
        if not wait_until(lambda: not self._place.running(), 2.0):
            self._kill()
        if self._supervisor is not None:
            self._supervisor.wait(_DOWN_TIMEOUT)

    def _kill(self) -> None:
        """The last resort; its parts die with the supervisor."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int(self._place.lock.read_text()), signal.SIGKILL)
        wait_until(lambda: not self._place.running(), 2.0)
        self._place.remove_runtime()

    def _ask_traffic(self, do: str, patience: float = 10.0, **arguments: JsonValue) -> JsonValue:
        return ask(self._place.traffic_control, do, patience, **arguments)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.down()


def _mapping(answer: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(answer, dict)
    return answer


def _wait_ready(supervisor: subprocess.Popen[bytes], progress: Callable[[str], None]) -> None:
    """Read what the supervisor says until the lab is ready."""
    assert supervisor.stdout is not None
    said: list[str] = []
    for line in supervisor.stdout:
        try:
            event = json.loads(line)
        except ValueError:
            said.append(line.decode(errors="replace").rstrip())
            continue
        if "ready" in event:
            return
        if "failed" in event:
            kind = RefusedError if event["refused"] else OutsideError
            raise kind(event["failed"], remedy=event["remedy"])
        progress(event["step"])
    raise OutsideError(f"cannot start the lab: its supervisor ended{': ' + said[-1] if said else ''}")
