"""The command line as a person or a script uses it, for tests: a process of its own, its JSON read back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROJECT = Path(__file__).parents[2]
RUNBOOK = PROJECT / "runbooks" / "provider-maintenance.yaml"
INVENTORY = PROJECT / "inventories" / "lab.yaml"
QUICK = ("-p", "site=ord", "-p", "to=iad", "-p", "pause=200ms", "-p", "observe=2s")
"""The shipped runbook, from ord to iad, with short pauses."""

SLOW: Final = (*QUICK[:-1], "observe=4s")
"""The same for hosts that take their time with each message: a check of deliveries needs 20 of them."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    events: list[dict[str, Any]]
    record: dict[str, Any]
    """The last line of ``--json``: the whole run."""
    errors: str

    def step(self, name: str) -> dict[str, Any]:
        """One step of the run."""
        return next(step for step in self.record["steps"] if step["id"] == name)


class Command:
    """One ``failover … --json`` under way."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
        self.events: list[dict[str, Any]] = []

    def lines(self) -> Iterator[dict[str, Any]]:
        """Its output, a record a line, as it comes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))
                yield self.events[-1]

    def until(self, kind: str, step: str, **data: object) -> None:
        """Read on until such an event."""
        for event in self.lines():
            if (
                event.get("event") == kind
                and event["step"] == step
                and all(event["data"].get(key) == value for key, value in data.items())
            ):
                return
        raise AssertionError(f"no {kind} of {step} with {data}: {self.end().errors}")

    def end(self) -> Ended:
        """Read to its end."""
        list(self.lines())
        assert self.process.stderr is not None
        errors = self.process.stderr.read()
        code = self.process.wait()
        last = self.events[-1] if self.events and "steps" in self.events[-1] else {}
        self.close()
        return Ended(code, self.events, last, errors)

    def close(self) -> None:
        """Leave no process and no pipe behind, however the test ends."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


def failover(*arguments: str) -> Ended:
    """Run a command to its end."""
    command = Command(*arguments)
    try:
        return command.end()
    finally:
        command.close()


def maintenance(*more: str, inventory: Path = INVENTORY, parameters: Sequence[str] = QUICK) -> list[str]:
    """``run`` of the shipped runbook."""
    return ["run", str(RUNBOOK), "-i", str(inventory), *parameters, "--json", *more]
