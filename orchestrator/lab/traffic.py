"""The process of the load, the sink and the ledger between them.

They share one process because the ledger joins what both see; at the greatest rate it takes a third of one core.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from orchestrator.errors import RefusedError, UnreachableError
from orchestrator.lab.control import Handler, Request, serve_control
from orchestrator.lab.delivery_log import DeliveryLog
from orchestrator.lab.layout import PROBE_MAILBOX, SITES
from orchestrator.lab.ledger import Book
from orchestrator.lab.load import ID_HEADER, Load
from orchestrator.lab.postfix_instance import queued_in
from orchestrator.lab.profiles import ProfileName, behaviours, queueing_delay
from orchestrator.lab.runtime_api import host_sessions
from orchestrator.lab.sink import Blackhole, Maildir, Scanner, Sink
from orchestrator.lab.smtp_session import SmtpSession
from orchestrator.model.value import Value

_GRACE: Final = 2.0
"""Seconds that a message may be in no queue and not at the sink: it is between two files, or on the wire."""
_FLUSH_EVERY: Final = 1.0
_CONNECT_TIMEOUT: Final = 60.0


class TrafficPlan(Value):
    """What this process is told when it starts."""

    profile: ProfileName
    clients: int
    target: int
    """Port that the clients connect to: the edge, or the Postfix that is the client."""
    sink: int
    scanner: int
    blackhole: int
    edge_socket: Path
    control: Path
    inbox: Path
    queues: tuple[Path, ...]
    """The queue folder of every Postfix."""
    client_config: Path | None = None
    """The configuration folder of the Postfix that is the client."""
    client_log: Path | None = None


class Traffic:
    """The load, the sink, and what can be asked of them."""

    def __init__(self, plan: TrafficPlan) -> None:
        self._plan = plan
        self._load = Load(
            lambda: SmtpSession.open(plan.target, _CONNECT_TIMEOUT), behaviours(plan.profile, plan.clients)
        )
        self._log = DeliveryLog(plan.client_log, lambda: self._load.book) if plan.client_log else None

    async def run(self) -> None:
        """Serve until cancelled."""
        plan, loop = self._plan, asyncio.get_running_loop()
        inbox, delay = Maildir(plan.inbox), queueing_delay(plan.profile)
        await loop.create_server(
            lambda: Sink(ID_HEADER, self._arrived, PROBE_MAILBOX, inbox), "127.0.0.1", plan.sink, backlog=500
        )
        await loop.create_server(lambda: Scanner(delay), "127.0.0.1", plan.scanner, backlog=500)
        await loop.create_server(Blackhole, "127.0.0.1", plan.blackhole, backlog=500)
        await serve_control(plan.control, self._handlers())
        work: list[Coroutine[None, None, None]] = [self._load.run()]
        if self._log:
            work.append(self._log.follow())
        await asyncio.gather(*work)

    def _arrived(self, message: str) -> None:
        self._load.book.arrive(message)

    def _handlers(self) -> Mapping[str, Handler]:
        return {
            "ledger": self._ledger,
            "settle": self._settle,
            "reset": self._reset,
            "pause": self._pause,
            "resume": self._resume,
            "longest-in-flight": self._longest_in_flight,
        }

    async def _ledger(self, request: Request) -> JsonValue:
        if self._log:
            self._log.read()
        return {
            "ledger": self._load.book.ledger(await self._sessions()).model_dump(mode="json"),
            "paused": self._load.paused,
        }

    async def _sessions(self) -> int:
        if self._log is None:
            return self._load.sessions
        try:  # only the edge knows how many sessions a Postfix has to it
            return sum((await asyncio.to_thread(host_sessions, self._plan.edge_socket)).values())
        except UnreachableError:
            return 0

    async def _pause(self, request: Request) -> JsonValue:
        self._load.pause()
        return None

    async def _resume(self, request: Request) -> JsonValue:
        self._load.resume()
        return None

    async def _reset(self, request: Request) -> JsonValue:
        if self._log:
            self._log.read()
            self._log.ignore(self._load.book.waiting.values())
        self._load.book = Book()
        return None

    async def _longest_in_flight(self, request: Request) -> JsonValue:
        site, at = str(request["site"]), float(str(request["at"]))
        if site not in SITES:
            raise RefusedError(f"cannot tell of site {site!r}: the lab has {', '.join(SITES)}")
        if self._log:
            raise RefusedError(
                "cannot tell how long transactions took: the client is a real Postfix",
                remedy="use another profile than postfix",
            )
        return self._load.book.longest_in_flight(site, at)

    async def _settle(self, request: Request) -> JsonValue:
        """Pause the load, wait until each message is somewhere for good, then go on as before; return the ledger."""
        deadline = time.monotonic() + float(str(request["timeout"]))
        was_paused = self._load.paused
        self._load.pause()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self._load.quiet()
                await self._wait_for_arrivals()
        except TimeoutError:
            pass  # what has not settled is still in flight, and the ledger says so
        finally:
            if not was_paused:
                self._load.resume()
        return await self._ledger(request)

    async def _wait_for_arrivals(self) -> None:
        book = self._load.book
        vanished: dict[str, float] = {}
        next_flush = time.monotonic() + _FLUSH_EVERY
        while waiting := book.waiting:
            now = time.monotonic()
            nowhere = self._nowhere(waiting)
            vanished = {message: vanished.get(message, now) for message in nowhere}
            book.give_up(message for message, since in vanished.items() if now - since > _GRACE)
            if now > next_flush and self._plan.client_config:
                await _flush(self._plan.client_config)
                next_flush = now + _FLUSH_EVERY
            await asyncio.sleep(0.1)

    def _nowhere(self, waiting: Mapping[str, str]) -> list[str]:
        if self._log:
            self._log.read()
        queued = {name for queue in self._plan.queues for name in queued_in(queue)}
        return [message for message, queue_id in waiting.items() if not queued & self._names(queue_id)]

    def _names(self, queue_id: str) -> set[str]:
        return self._log.names(queue_id) if self._log else {queue_id}


async def _flush(config: Path) -> None:
    """Have the client try again now: its own back-off of five minutes is counted as deferred, not waited for."""
    process = await asyncio.create_subprocess_exec(
        "/usr/sbin/postqueue", "-c", str(config), "-f", stderr=asyncio.subprocess.DEVNULL
    )
    await process.wait()


async def _main(plan: TrafficPlan) -> None:
    task = asyncio.ensure_future(Traffic(plan).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


if __name__ == "__main__":
    asyncio.run(_main(TrafficPlan.model_validate_json(sys.argv[1])))
