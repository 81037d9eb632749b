"""The process that owns a lab: starts every part, answers for it, and takes all of it along when it goes.

Run as ``python -m orchestrator.lab.supervisor STATE PLAN PARENT``. Until the lab is ready it writes a JSON object a
line to its standard output: ``{"step": …}``, then ``{"ready": true}`` or ``{"failed": …, "remedy": …}``; and until
then it dies with the process that started it. Afterwards it is on its own, and listens on its control socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from orchestrator.errors import FailoverError, OutsideError, RefusedError, UnreachableError
from orchestrator.lab.addresses import Folders, folders
from orchestrator.lab.control import Request, ask_async, serve_control
from orchestrator.lab.layout import CLIENT, HOSTS, SITES, site_of
from orchestrator.lab.parts import LabPlan, Parts, plan_parts
from orchestrator.lab.postfix_instance import queued_in
from orchestrator.lab.processes import (
    Child,
    Guard,
    ProcessMark,
    adopt_orphans,
    die_with_parent,
    kill_all,
    kill_marked,
    mark,
    wait_until,
)
from orchestrator.lab.runtime_api import checked_hosts, host_sessions, set_flow_loss

_GATE_FIRST: Final = 2.0
"""Seconds from the gates' start to the first client: whole seconds of age must not make a session look older."""
_START_TIMEOUT: Final = 30.0
_LOG_LIMIT: Final = 8 * 2**20
_TRIM_EVERY: Final = 5.0
_LOCK_PATIENCE: Final = 0.3
"""Who only looks whether a lab runs holds its lock for a moment."""


class Supervisor:
    """One lab while it runs."""

    def __init__(self, parts: Parts, guard: Guard, say: Callable[[str], None]) -> None:
        self._parts = parts
        self._guard = guard
        self._say = say
        self._children: dict[str, Child] = {}
        self._flow_loss: dict[str, float] = dict.fromkeys(SITES, 0.0)
        self._since = time.time()
        self.going = asyncio.Event()
        """Set when the lab shall end."""
        self.gone = asyncio.Event()
        """Set when nothing of it is left."""

    async def start(self) -> None:
        """Start all parts and wait until mail flows through each."""
        parts = self._parts
        self._say("writing the configuration of HAProxy and Postfix")
        parts.write()
        names = list(parts.instances)
        self._say(f"starting {len(names)} Postfix instances and the sink")
        self._keep(parts.start_traffic())
        for name in names:
            self._keep(parts.start_host(name))
        if parts.plan.gate == "postfix-policy":
            for name in HOSTS:
                self._keep(parts.start_gate(name))
        await asyncio.gather(*(self._greeted(name) for name in names))
        await asyncio.gather(*(self._gate_answers(name) for name in HOSTS))
        self._say("starting HAProxy, waiting for its health checks")
        self._keep(parts.start_edge())
        await self._until("edge", self._all_checked)
        await asyncio.sleep(_GATE_FIRST)
        await self._until("traffic", self._traffic_resumed)
        parts.folders.addresses.write_text(json.dumps(parts.addresses(), indent=1))

    def stop(self) -> None:
        """End every part."""
        kill_all(self._children.values())
        for child in self._children.values():
            self._guard.forget(child)
        self._children.clear()

    def _keep(self, child: Child) -> None:
        self._guard.watch(child)
        self._children[child.name] = child
        marks = {name: mark(kept.pid) for name, kept in self._children.items()}
        rows = [[name, found.pid, found.started] for name, found in marks.items() if found]
        self._parts.folders.processes.write_text(json.dumps(rows))

    # Waiting for parts

    async def _until(self, name: str, ready: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not await ready():
            if not self._children[name].alive():
                raise self._not_started(name, "it ended")
            if time.monotonic() > deadline:
                raise self._not_started(name, f"it is not ready after {_START_TIMEOUT:g}s")
            await asyncio.sleep(0.05)

    def _not_started(self, name: str, why: str) -> OutsideError:
        log = self._parts.folders.logs / f"{name}.log"
        said = " / ".join(log.read_text(errors="replace").splitlines()[-3:]) if log.exists() else ""
        instance = self._parts.instances.get(name)
        remedy = f"look into {instance.log}" if instance and not said else f"look into {log}"
        return OutsideError(f"cannot start {name}: {why}{': ' + said if said else ''}", remedy=remedy)

    async def _greeted(self, name: str) -> None:
        instance = self._parts.instances[name]
        hello = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n" if instance.behind_edge else b""
        await self._until(name, lambda: _answers(instance.port, hello, b"220 "))

    async def _gate_answers(self, name: str) -> None:
        if self._parts.plan.gate == "postfix-policy":
            request = b"request=smtpd_access_policy\nprotocol_state=CONNECT\n\n"
            port = self._parts.instances[name].gate_port
            await self._until(f"{name}.gate", lambda: _answers(port, request, b"action="))

    async def _all_checked(self) -> bool:
        try:
            return await asyncio.to_thread(checked_hosts, self._parts.edge.socket) == frozenset(HOSTS)
        except UnreachableError:
            return False

    async def _traffic_resumed(self) -> bool:
        try:
            await ask_async(self._parts.folders.traffic_control, "resume")
        except UnreachableError:
            return False
        return True

    # What can be asked

    def handlers(self) -> Mapping[str, Callable[[Request], Awaitable[JsonValue]]]:
        """The requests that the control socket takes."""
        return {
            "status": self._status,
            "down": self._down,
            "kill-host": self._kill_host,
            "revive-host": self._revive_host,
            "flow-loss": self._set_flow_loss,
        }

    async def _status(self, request: Request) -> JsonValue:
        try:
            sessions = await asyncio.to_thread(host_sessions, self._parts.edge.socket)
        except UnreachableError:
            sessions = {}
        return {
            "supervisor": os.getpid(),
            "since": self._since,
            "plan": self._parts.plan.model_dump(mode="json"),
            "pids": {name: child.pid for name, child in self._children.items() if child.alive()},
            "flow_loss": dict(self._flow_loss),
            "hosts": {name: self._host_status(name, sessions.get(name, 0)) for name in HOSTS},
        }

    def _host_status(self, name: str, sessions: int) -> JsonValue:
        child = self._children.get(name)
        return {
            "site": site_of(name),
            "up": child is not None and child.alive(),
            "sessions": sessions,
            "queued": sum(1 for _ in queued_in(self._parts.instances[name].queue)),
        }

    async def _down(self, request: Request) -> JsonValue:
        self.going.set()
        await self.gone.wait()
        return None

    async def _kill_host(self, request: Request) -> JsonValue:
        """As a power cut: Postfix with all its processes, and the gate beside it."""
        name = _host(request)
        for part in (name, f"{name}.gate"):
            child = self._children.pop(part, None)
            if child:
                child.kill()
                self._guard.forget(child)
        return None

    async def _revive_host(self, request: Request) -> JsonValue:
        """Start it again on the queue that it left."""
        name = _host(request)
        if self._parts.plan.gate == "postfix-policy" and f"{name}.gate" not in self._children:
            self._keep(self._parts.start_gate(name))
        if name not in self._children:
            self._keep(self._parts.start_host(name))
        await self._greeted(name)
        await self._gate_answers(name)
        return None

    async def _set_flow_loss(self, request: Request) -> JsonValue:
        site, fraction = str(request["site"]), float(str(request["fraction"]))
        if site not in SITES:
            raise RefusedError(f"cannot lose flows of site {site!r}: the lab has {', '.join(SITES)}")
        if not 0 <= fraction <= 1:
            raise RefusedError(f"cannot lose {fraction:g} of the flows: it is a share from 0 to 1")
        await asyncio.to_thread(set_flow_loss, self._parts.edge, site, fraction)
        self._flow_loss[site] = fraction
        return None

    async def trim_logs(self) -> None:
        """Keep the mail logs small, for ever: a hot load writes a gigabyte an hour.

        Postfix appends, so a log that is cut to nothing goes on at its beginning. The client's log is counted from and
        stays whole.
        """
        while True:
            await asyncio.sleep(_TRIM_EVERY)
            for name, instance in self._parts.instances.items():
                if name != CLIENT and instance.log.exists() and instance.log.stat().st_size > _LOG_LIMIT:
                    os.truncate(instance.log, 0)


def _host(request: Request) -> str:
    name = str(request["host"])
    if name not in HOSTS:
        raise RefusedError(f"cannot touch host {name!r}: the lab has {', '.join(HOSTS)}")
    return name


async def _answers(port: int, request: bytes, expected: bytes) -> bool:
    """Whether the service on this port answers a request with a line that begins as expected."""
    try:
        async with asyncio.timeout(2.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                return (await reader.readline()).startswith(expected)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


def take_lock(place: Folders) -> None:
    """Hold the lab's lock for as long as this process lives.

    Raises:
        RefusedError: another supervisor holds it.
    """
    place.state.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not wait_until(lambda: _locked(descriptor), _LOCK_PATIENCE):
        raise RefusedError(
            f"cannot start lab {place.name}: it runs already", remedy="see failover lab status, or failover lab down"
        )
    os.truncate(descriptor, 0)
    os.write(descriptor, str(os.getpid()).encode())


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def kill_leftovers(place: Folders) -> int:
    """Kill what a dead supervisor may have left; returns how many processes that were. Needs the lock."""
    try:
        rows = json.loads(place.processes.read_text())
    except FileNotFoundError:
        return 0
    return kill_marked(ProcessMark(pid=int(pid), started=int(started)) for _, pid, started in rows)


async def supervise(
    place: Folders, plan: LabPlan, guard: Guard, report: Callable[[Mapping[str, JsonValue]], None]
) -> None:
    """Be the lab until it is told to end, then leave nothing behind."""
    adopt_orphans()
    take_lock(place)
    kill_leftovers(place)
    place.make()
    supervisor = Supervisor(plan_parts(plan, place), guard, lambda step: report({"step": step}))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.going.set)
    server: asyncio.Server | None = None
    try:
        await _unless(supervisor.going, supervisor.start())
        if not supervisor.going.is_set():
            server = await serve_control(place.control, supervisor.handlers())
            die_with_parent(None)
            report({"ready": True})
            _leave_output(place.logs / "supervisor.log")
            await _unless(supervisor.going, supervisor.trim_logs())
    finally:
        supervisor.stop()
        place.remove_runtime()
        supervisor.gone.set()
        if server:
            await asyncio.sleep(0.05)  # let the answer to "down" go out


async def _unless(event: asyncio.Event, work: Awaitable[None]) -> None:
    """Do the work, but drop it as soon as the event is set."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    for one in (task, stop):
        if not one.done():
            one.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await one
    if not task.cancelled():
        task.result()


def _leave_output(log: Path) -> None:
    """Let go of the pipe to the one who started us."""
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)


def _report(event: Mapping[str, JsonValue]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def main(state: str, plan_text: str, parent: str) -> int:
    """Run one lab; the exit code is 1 when it did not start."""
    die_with_parent(signal.SIGTERM)
    if os.getppid() != int(parent):
        return 1
    guard = Guard()
    plan = LabPlan.model_validate_json(plan_text)
    try:
        asyncio.run(supervise(folders(plan.name, Path(state).parent), plan, guard, _report))
    except FailoverError as error:
        refused = isinstance(error, RefusedError)
        _report({"failed": error.message, "remedy": error.remedy, "refused": refused})
        return 1
    finally:
        guard.end()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
