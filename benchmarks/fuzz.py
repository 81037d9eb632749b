"""Load inputs that nobody would write, many of them; print what they cost, and each one that was not answered well.

    python -m benchmarks.fuzz [--inputs 200000] [--seed 1] [--batch 2500]

Every input is read as a runbook and as an inventory. It must give a model or an InputError that can be shown, within
one second of CPU time and 256 MB of memory. The kinds of input, by turns:

    schema      a tree of the JSON Schema of runbooks or inventories, with mistakes; a seeded random generator
    hypothesis  the same generator, with Hypothesis making its choices
    bytes       arbitrary bytes, punctuation and text, drawn by Hypothesis
    mutated     a runbook or inventory of this repository with pieces cut, put in, repeated or exchanged; seeded
    changed     the same, with values and keys of its tree exchanged, doubled or left out; seeded
    large       one piece of YAML over and over, up to the size that the loader reads; seeded

Each batch has a process of its own, two at a time, and its memory is that process's peak. Exit code 1: a traceback, or
a limit that was passed; such inputs are kept in the folder that is named.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import signal
import sys
import tempfile
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from benchmarks.inputs import INVENTORY, inputs
from orchestrator.errors import InputError
from orchestrator.load.inventory import load_inventory
from orchestrator.load.problems import read_sources, render
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory

SECONDS: Final = 1.0
MEGABYTES: Final = 256
JARGON: Final = ("Input should", "validation error")
HANGS: Final = 20
"""Seconds after which an input is given up."""


@dataclasses.dataclass
class Cost:
    """What one input took."""

    kind: str
    seconds: float
    text: bytes
    grown: float = 0.0
    """Megabytes by which the process's peak grew."""
    end: str = ""
    """Loaded, InputError, or a traceback."""


@dataclasses.dataclass
class Batch:
    """What a batch took."""

    kinds: dict[str, int]
    loaded: dict[str, int]
    slowest: Cost
    heaviest: Cost
    megabytes: float
    bad: list[Cost]


def run_batch(count: int, seed: int) -> Batch:
    """Load ``count`` inputs in this process."""
    inventory = load_inventory([INVENTORY], {})
    kinds: dict[str, int] = {}
    loaded: dict[str, int] = {}
    slowest = heaviest = Cost("", 0.0, b"")
    bad = []
    with tempfile.TemporaryDirectory(prefix="failover-fuzz-") as folder:
        (Path(folder) / "child.yaml").write_text("runbook: child\nsteps: [{id: a, do: hold, with: {until: 1s}}]\n")
        path = Path(folder) / "any.yaml"
        for kind, content in inputs(count, seed):
            kinds[kind] = kinds.get(kind, 0) + 1
            cost = load(
                kind, content if isinstance(content, bytes) else content.encode(errors="replace"), path, inventory
            )
            loaded[kind] = loaded.get(kind, 0) + (cost.end == "loaded")
            slowest = max(slowest, cost, key=lambda it: it.seconds)
            heaviest = max(heaviest, cost, key=lambda it: it.grown)
            if cost.seconds > SECONDS or cost.end not in {"loaded", "refused"}:
                bad.append(cost)
    return Batch(kinds, loaded, slowest, heaviest, peak(), bad)


def peak() -> float:
    """The most memory that this process has had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load(kind: str, content: bytes, path: Path, inventory: Inventory) -> Cost:
    """Write the input and load it both ways."""
    path.write_bytes(content)
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(HANGS)
    before, began = peak(), time.process_time()
    try:
        end = told(path, inventory)
    except Exception:  # whatever it is: that is the question
        end = traceback.format_exc()
    finally:
        signal.alarm(0)
    return Cost(kind, time.process_time() - began, content, peak() - before, end)


def told(path: Path, inventory: Inventory) -> str:
    """``loaded`` or ``refused``; anything else is an exception."""
    ends = set()
    for read in (
        lambda: load_runbook(path, inventory, {}, stand_ins=True),
        lambda: load_inventory([path], {"env": str.upper, "lab": lambda _: "127.0.0.1:25"}),
    ):
        try:
            read()
            ends.add("loaded")
        except InputError as error:
            shown = render(error.problems, read_sources(error.problems), colour=True)
            assert shown.strip(), "an InputError says nothing"
            shown.encode()
            for words in JARGON:  # Hypothesis tries texts that it finds in our source, such as these
                assert words not in shown or words.encode() in path.read_bytes(), "pydantic's own words"
    return "loaded" if "loaded" in ends else "refused"


def _hangs(*_: object) -> None:
    raise TimeoutError(f"no answer within {HANGS} s")


def main() -> int:
    """Run all batches; 1 when an input was not answered as it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=2500)
    asked = parser.parse_args()
    began = time.monotonic()
    sizes = [min(asked.batch, asked.inputs - done) for done in range(0, asked.inputs, asked.batch)]
    seeds = range(asked.seed * 1_000_000, asked.seed * 1_000_000 + len(sizes))
    batches: list[Batch] = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        pool.submit(run_batch, 50, 0).result()  # Hypothesis makes tables of Unicode once, which take much memory
        for batch in pool.map(run_batch, sizes, seeds):
            batches.append(batch)
            print(f"\r{sum(sum(it.kinds.values()) for it in batches)} inputs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return summary(batches, time.monotonic() - began)


def counts(batches: list[dict[str, int]]) -> str:
    """The sums by kind."""
    return ", ".join(f"{sum(batch.get(kind, 0) for batch in batches)} {kind}" for kind in batches[0])


def summary(batches: list[Batch], seconds: float) -> int:
    """Print what all of it took; the exit code."""
    total = sum(sum(batch.kinds.values()) for batch in batches)
    slowest = max((batch.slowest for batch in batches), key=lambda it: it.seconds)
    heaviest = max((batch.heaviest for batch in batches), key=lambda it: it.grown)
    most = max(batch.megabytes for batch in batches)
    bad = [cost for batch in batches for cost in batch.bad]
    print(f"inputs   {total}: {counts([batch.kinds for batch in batches])}")
    print(f"loaded   {counts([batch.loaded for batch in batches])}; the others were refused with an InputError")
    print(f"slowest  {slowest.seconds:.2f} s of CPU time: {shown(slowest)}")
    print(f"memory   {most:.0f} MB at most, the interpreter and Hypothesis included")
    print(f"heaviest {heaviest.grown:.0f} MB more than all before it: {shown(heaviest)}")
    print(f"rate     {total / seconds:.0f} a second, {seconds:.0f} s in all")
    if bad:
        folder = Path(tempfile.mkdtemp(prefix="failover-fuzz-bad-"))
        for number, cost in enumerate(bad):
            (folder / f"{number}.yaml").write_bytes(cost.text)
            (folder / f"{number}.txt").write_text(f"{cost.kind}, {cost.seconds:.2f} s\n{cost.end}\n")
        print(f"BAD      {len(bad)}, kept in {folder}")
    return 1 if bad or most > MEGABYTES else 0


def shown(cost: Cost) -> str:
    """What kind of input it was, and how it begins."""
    return f"{cost.kind}, {len(cost.text)} bytes, {cost.text[:60]!r}"


if __name__ == "__main__":
    sys.exit(main())
