"""How long the command line takes to start, against the libraries that it stands on.

    python -m benchmarks.start_up [--rounds 15] [--steps 200]

Every command is run once to warm up, then by turns; medians of wall and CPU time are printed, and their ratio to
``python -c "import typer, rich"``. ``one argument`` is the smallest Typer command that takes a path: what any command
costs before it does anything, because Typer reads arguments with pydantic.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

PROJECT = Path(__file__).parents[1]
INVENTORY = PROJECT / "tests" / "unit" / "load" / "inventory.yaml"
ONE_ARGUMENT = "import pathlib, sys, typer\ndef f(path: pathlib.Path): pass\nsys.argv = ['x', '.']\ntyper.run(f)"


@dataclass
class Times:
    """Seconds that the rounds of one command took."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def big_runbook(steps: int) -> str:
    """A runbook with that many shifts to and fro, each with a check after it."""
    ends = ["from: ord, to: iad", "from: iad, to: ord"]
    shifts = [
        f"  - {{id: s{number}, do: traffic.shift, after: [mail-flows], "
        f"with: {{pool: smtp, {ends[number % 2]}, by: [5%, 25%, 100%], pause: 1s}}}}"
        for number in range(steps)
    ]
    check = "  mail-flows: {probe: smtp, at: {pool: smtp}, over: 5s, expect: {success_rate: '>= 99%'}}"
    return "\n".join(["version: 1", "runbook: big", "checks:", check, "steps:", *shifts, ""])


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="failover-start-") as folder:
        runbook = Path(folder) / "big.yaml"
        runbook.write_text(big_runbook(asked.steps))
        failover = [sys.executable, "-m", "orchestrator"]
        commands = {
            "import typer, rich": [sys.executable, "-c", "import typer, rich"],
            "one argument": [sys.executable, "-c", ONE_ARGUMENT],
            "failover --help": [*failover, "--help"],
            f"failover lint, {asked.steps} steps": [*failover, "lint", str(runbook), "-i", str(INVENTORY)],
        }
        taken = measure(commands, asked.rounds)
    base = taken["import typer, rich"]
    for name, times in taken.items():
        wall, cpu = statistics.median(times.wall), statistics.median(times.cpu)
        ratios = f"{wall / statistics.median(base.wall):.2f}  {cpu / statistics.median(base.cpu):.2f}"
        print(f"{name:<26} wall {wall * 1000:4.0f} ms  cpu {cpu * 1000:4.0f} ms  times the first {ratios}")
    return 0


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, Times]:
    """Run all commands by turns, so that a busy machine slows all of them alike."""
    taken = {name: Times() for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            before, began = getrusage(RUSAGE_CHILDREN), time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
            wall, after = time.perf_counter() - began, getrusage(RUSAGE_CHILDREN)
            if done.returncode != 0:
                raise SystemExit(f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
            if number:  # the first round warms the caches
                taken[name].wall.append(wall)
                taken[name].cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return taken


if __name__ == "__main__":
    sys.exit(main())
