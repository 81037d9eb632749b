"""Mistakes to report: with and without a place, a remedy and a file, and with awkward texts."""

from __future__ import annotations

from orchestrator.errors import Problem
from orchestrator.report.findings import Found

LINES = ("runbook: r", "steps:", "  - {id: shift, do: traffic.shfit}", "    # 100% sure")
SOURCES = {"books/r.yaml": LINES}

VERB = Found(
    "cannot-load",
    "error",
    Problem(
        "cannot use 'traffic.shfit': there is no such verb", "did you mean 'traffic.shift'?", "books/r.yaml", 3, 22
    ),
)
CHECK = Found("no-check-after-shift", "warning", Problem("step shift is not checked", "", "books/r.yaml", 3, 5))
WHOLE = Found("unused: a,b", "error", Problem("cannot use it: 100%\r\nof it", "leave it out", "books/r.yaml"))
NOWHERE = Found("cannot-load", "error", Problem("cannot use -p x: it is not name=value"))

ALL = (VERB, CHECK, WHOLE, NOWHERE)
