"""What the lab needs of this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from orchestrator.errors import MissingToolError, RefusedError

MASTER: Final = "/usr/lib/postfix/sbin/master"
_PROGRAMS: Final = {"haproxy": "haproxy", "postconf": "postfix", MASTER: "postfix", "openssl": "openssl"}
_SQLITE: Final = "/usr/lib/postfix/postfix-sqlite.so"


def _found(program: str) -> bool:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is not None


def require_tools(*, table_gate: bool, found: Callable[[str], bool] = _found, user: int | None = None) -> None:
    """Check that the lab can run here; ``table_gate`` asks for Postfix's SQLite tables too.

    Raises:
        MissingToolError: programs are not installed; names the one command that installs them all.
        RefusedError: we are not root, as Postfix's master daemon must be.
    """
    missing = {package: program for program, package in _PROGRAMS.items() if not found(program)}
    if table_gate and "postfix" not in missing and not Path(_SQLITE).exists():
        missing["postfix-sqlite"] = "the SQLite tables of Postfix"
    if table_gate and not found("sqlite3"):
        missing["sqlite3"] = "sqlite3"
    if missing:
        names = ", ".join(Path(program).name for program in missing.values())
        raise MissingToolError(
            f"cannot start the lab: {names} not installed",
            remedy=f"install with: apt-get install --no-install-recommends {' '.join(sorted(missing))}"
            " (in a checkout, 'make setup' does it without starting a mail server)",
        )
    if (os.geteuid() if user is None else user) != 0:
        raise RefusedError(
            "cannot start the lab: Postfix's master daemon runs as root only", remedy="use a root shell (sudo -s)"
        )
