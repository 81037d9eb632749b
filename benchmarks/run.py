"""Ratios, each measured in this one run: our way against the bare way on the same machine at the same time."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from orchestrator.adapters.haproxy import HaproxyDriver
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.lab.client import Lab
from orchestrator.lab.runtime_api import ask_edge
from orchestrator.model.inventory import HaproxySwitch
from orchestrator.model.journal import Entry
from orchestrator.model.traffic import Intake

ROUNDS = 5
HOSTS = tuple(f"{site}-mx{number}" for site in ("ord", "iad", "dfw") for number in (1, 2))


def seconds(work: Callable[[], object]) -> float:
    """The time that ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(what: str, ours: Callable[[], object], bare: Callable[[], object], aim: str) -> None:
    """Both in turn, several times; print the medians and their ratio."""
    pairs = [(seconds(ours), seconds(bare)) for _ in range(ROUNDS)]
    mine, other = (median(one) for one in zip(*pairs, strict=True))
    ratio = median(one / two for one, two in pairs)
    print(f"{what:<58} {mine * 1000:>8.1f} ms {other * 1000:>8.1f} ms  ratio {ratio:>5.2f}  {aim}", flush=True)


def journal(folder: Path) -> None:
    """Appends with full sync and chained digests against bare commits with full sync."""
    record = SqliteJournal(folder / "journal.sqlite")
    record.create("run", "{}", "bench", 0.0)
    epoch = record.take("run")
    bare = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    bare.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE entries (data TEXT);")
    data = {"status": "running", "reason": ""}
    entry = Entry(run="run", at=0.0, epoch=epoch, kind="verdict", step="shift", data={})

    def ours() -> None:
        for _ in range(300):
            record.append(entry)

    def other() -> None:
        for _ in range(300):
            bare.execute("INSERT INTO entries VALUES (?)", (str(data),))

    compare("300 journal entries / 300 bare SQLite commits", ours, other, "aim < 2")
    record.close()
    bare.close()


def switch(lab: Lab) -> None:
    """All weights in one batch with read-back, against one connection for each command without."""
    edge = lab.addresses()["edge.socket"]
    driver = HaproxyDriver(HaproxySwitch(driver="haproxy", socket=edge, backend="smtp"), HOSTS)

    def ours() -> None:
        asyncio.run(driver.apply({name: Intake(weight=100) for name in HOSTS}))

    def other() -> None:
        for name in HOSTS:
            ask_edge(Path(edge), f"set server smtp/{name} weight 100")
            ask_edge(Path(edge), f"set server smtp/{name} state ready")
        ask_edge(Path(edge), "show servers state smtp")

    compare("6 members applied and read back / a connection a command", ours, other, "")


def main() -> None:
    """Everything, then the drains."""
    os.environ["FAILOVER_LAB"] = "bench"
    with tempfile.TemporaryDirectory(prefix="failover-bench-") as folder:
        os.environ["FAILOVER_STATE"] = folder
        print(f"{'what':<58} {'ours':>11} {'bare':>11}")
        journal(Path(folder))
        with Lab.up("bench", clients=5) as lab:
            switch(lab)
    project = Path(__file__).parents[1]
    print("\nThe command line against its two libraries alone (aims: help < 1.5, lint < 3)")
    subprocess.run([sys.executable, "-m", "benchmarks.start_up"], cwd=project, check=True)
    print("\nRuns of steps that do nothing: the engine with its journal, full sync, against bare SQLite commits")
    subprocess.run([sys.executable, "-m", "benchmarks.engine"], cwd=project, check=True)
    print("\nA plan that rests on 1,000 targets in AWS against the bare calls of boto3, with as many side by side")
    subprocess.run([sys.executable, "-m", "benchmarks.aws_plan"], cwd=project, check=True)
    move = [sys.executable, str(Path(__file__).with_name("move.py")), "--rounds", "1"]
    print("\nA site emptied and brought back under live mail; the drain against the longest transaction in flight")
    subprocess.run([*move, "pause=1s", "observe=3s"], check=True)
    print("\nThe same by cutting the sessions")
    subprocess.run([*move, "--naive", "--profile", "scan", "--profile", "hot"], check=True)
    print("\n200,000 files that nobody would write; none may end in a traceback, take a second or 256 MB")
    subprocess.run([sys.executable, "-m", "benchmarks.fuzz"], cwd=project, check=True)


if __name__ == "__main__":
    main()
