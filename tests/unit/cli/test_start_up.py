"""What the command line loads before it does anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.start_up import big_runbook
from orchestrator.cli.ownership import OVER
from orchestrator.status import RunStatus

ROOT = Path(__file__).parents[3]
INVENTORY = ROOT / "tests" / "unit" / "load" / "inventory.yaml"
SDKS = {"boto3", "botocore", "kubernetes", "pyinfra", "gevent", "psycopg", "prometheus_client", "opentelemetry"}
HEAVY = SDKS | {"pydantic", "ruamel", "yaml", "structlog", "asyncio", "aiosmtplib", "ssl", "sqlite3"}
PARTS = {f"orchestrator.{part}" for part in ("model", "load", "status", "engine", "actions", "checks", "adapters")}

REPORT = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"


def loaded(*arguments: str) -> set[str]:
    """The modules that a command has loaded when it ends well, in a process of its own."""
    code = f"{REPORT}sys.argv = ['failover', *{arguments!r}]\nfrom orchestrator.cli.main import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """Help needs neither models, nor YAML, nor rich's pages, nor anything of the world outside."""
    modules = loaded(*arguments)
    assert not modules & (HEAVY | PARTS)
    assert "rich.console" not in modules


def test_lint_loads_no_sdk(tmp_path: Path) -> None:
    """A runbook of 200 steps is linted without a system outside, and without what runs it."""
    path = tmp_path / "big.yaml"
    path.write_text(big_runbook(200))
    modules = loaded("lint", str(path), "-i", str(INVENTORY))
    assert "yaml" in modules
    assert not modules & (SDKS | {"rich.console", "structlog", "orchestrator.engine", "sqlite3"})


def test_over_names_statuses_of_runs() -> None:
    """What the command line knows of the statuses without loading them is what they are."""
    assert set(RunStatus) >= OVER
    assert RunStatus.UNDONE in OVER
