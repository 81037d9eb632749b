"""Move live mail off a site and back, under each kind of client; print the ledger, and the drain against its limit.

    python benchmarks/move.py [--rounds 3] [--profile hot …] [--naive]

The lower limit of a drain is the longest transaction that was in flight on the site when the drain began, as the
clients saw it. ``--naive`` does it the way of 2014 instead: HAProxy's ``maint`` and ``shutdown sessions``.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.lab.client import Lab
from orchestrator.lab.ledger import Ledger
from orchestrator.lab.profiles import PROFILES, ProfileName
from orchestrator.lab.runtime_api import ask_edge

PROJECT = Path(__file__).parents[1]
RUN = ["run", "runbooks/provider-maintenance.yaml", "-i", "inventories/lab.yaml", "-p", "site=ord", "-p", "to=iad"]
HEADER = "profile  round  accepted  lost  duplicated  cut  deferred  421  idle closed   drain    limit  ratio"


def main() -> int:
    """Run every round of every profile; 1 when a message was lost, duplicated or cut, or a run did not end done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="append", choices=PROFILES)
    parser.add_argument("--naive", action="store_true", help="cut the sessions instead, and count the damage")
    parser.add_argument("parameters", nargs="*", help="NAME=VALUE for the runbook, as pause=1s observe=3s")
    asked = parser.parse_args()
    os.environ["FAILOVER_LAB"] = "bench"
    print(HEADER if not asked.naive else "profile  round  sessions cut  duplicated  share", flush=True)
    clean = True
    with tempfile.TemporaryDirectory(prefix="failover-bench-") as state:
        os.environ["FAILOVER_STATE"] = state
        for profile in asked.profile or PROFILES:
            for number in range(1, asked.rounds + 1):
                with Lab.up("bench", profile) as lab:
                    warm_up(lab)
                    if asked.naive:
                        cut(lab, profile, number)
                    else:
                        clean &= move(lab, profile, number, asked.parameters)
    return 0 if clean else 1


def warm_up(lab: Lab) -> None:
    """Wait until every client has sent something."""
    for _ in range(100):
        if lab.status().ledger.accepted >= 100:
            return
        time.sleep(0.2)


def move(lab: Lab, profile: ProfileName, number: int, parameters: list[str]) -> bool:
    """One run of the shipped runbook; whether it ended done with a clean ledger."""
    given = [word for parameter in parameters for word in ("-p", parameter)]
    command = [sys.executable, "-m", "orchestrator", *RUN, *given, "--approve", "window", "--json"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode != 0:
        print(
            f"{profile:<8} {number:>5}  exit code {done.returncode}: {events[-1]['reason'] if events else done.stderr}"
        )
        return False
    seconds, began = drain_of(events)
    limit = None if profile == "postfix" else lab.longest_in_flight("ord", began)
    ledger = lab.settle()
    print(row(profile, number, ledger, seconds, limit), flush=True)
    return ledger.clean and not ledger.deferred


def drain_of(events: list[dict[str, Any]]) -> tuple[float, float]:
    """How long it took until no session was left, and the unix time at which it began."""
    drain = [event for event in events if event.get("step") == "drain"]
    began = next(event["at"] for event in drain if event["event"] == "intent")
    progress = [event for event in drain if event["event"] == "progress" and "sessions" in event["data"]]
    emptied = next(event for event in progress if event["data"]["sessions"] == 0)
    return emptied["data"]["seconds"], datetime.datetime.fromisoformat(began).timestamp()


def row(profile: str, number: int, ledger: Ledger, seconds: float, limit: float | None) -> str:
    """One line of the table."""
    counts = (
        f"{ledger.accepted:>8} {ledger.lost:>5} {ledger.duplicated:>11} {ledger.transactions_cut:>4} "
        f"{ledger.deferred:>9} {ledger.replies_421:>4} {ledger.idle_closes:>12}"
    )
    against = f"{limit:>7.2f}s {seconds / limit:>6.2f}" if limit else f"{'-':>8} {'-':>6}"
    return f"{profile:<8} {number:>5}  {counts} {seconds:>6.2f}s {against}"


def cut(lab: Lab, profile: ProfileName, number: int) -> None:
    """Take ord out the way of 2014."""
    hosts = ("ord-mx1", "ord-mx2")
    sessions = sum(lab.status().hosts[host].sessions for host in hosts)
    edge = Path(lab.addresses()["edge.socket"])
    for host in hosts:
        ask_edge(edge, f"set server smtp/{host} state maint")
        ask_edge(edge, f"shutdown sessions server smtp/{host}")
    time.sleep(1.0)
    ledger = lab.settle()
    print(
        f"{profile:<8} {number:>5}  {sessions:>12} {ledger.duplicated:>11}  {ledger.duplicated / sessions:>5.0%}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
