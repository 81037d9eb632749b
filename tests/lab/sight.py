"""What a run may change in the lab, looked at again and again while others work on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.haproxy_parse import parse_servers
from orchestrator.lab.addresses import lab_addresses
from orchestrator.load.inventory import load_inventory
from orchestrator.wiring import RealOutside
from tests.lab.command import INVENTORY

LOOKS_A_SECOND: Final = 20

_NOTHING_SAVED: Final = "1"
"""A state file that holds its format's version alone, as the lab makes it."""

Seen = Mapping[str, object]
"""Every member's intake and every gate, by name."""


class Sight:
    """A way to look at the running lab."""

    def __init__(self) -> None:
        addresses = lab_addresses()
        inventory = load_inventory([INVENTORY], {"lab": lambda key: addresses[key]})
        self._outside = RealOutside(inventory, SystemClock())
        self._state_file = Path(addresses["edge.state-file"])

    def look(self) -> Seen:
        """The world now, as HAProxy and the gates tell it."""

        async def read() -> Seen:
            members = await self._outside.switch("smtp").read()
            gates = {host: await self._outside.gate(host).read() for host in self._outside.inventory.hosts}
            closed = {f"gate of {host}": "closed" if gate.closed else "open" for host, gate in gates.items()}
            return {name: str(reading.intake) for name, reading in members.items()} | closed

        return asyncio.run(read())

    def saved(self) -> Seen:
        """The intakes that HAProxy would have after a reload; empty where nothing has ever been saved."""
        text = self._state_file.read_text()
        servers = parse_servers(text) if text.strip() != _NOTHING_SAVED else []
        return {server.name: str(server.intake) for server in servers if server.backend == "smtp"}

    def watch(self, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> list[Seen]:
        """What there was to see: each world that differs from the one before it, the first one first."""
        until, worlds = time.monotonic() + seconds, [self.look()]
        meanwhile()
        while time.monotonic() < until:
            time.sleep(1 / LOOKS_A_SECOND)
            if (now := self.look()) != worlds[-1]:
                worlds.append(now)
        return worlds
