"""HAProxy's server state file: without it a reload forgets who drains, with a stale one it drains the healthy.

Source: HAProxy Configuration Manual, 'server-state-file'; Management Guide, 'show servers state'.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from orchestrator.adapters.haproxy_parse import parse_servers
from orchestrator.errors import UnfitError

_TRIES: Final = 5


def check_writable(path: str) -> None:
    """Find out before anything is changed.

    Raises:
        UnfitError: the file's folder cannot be written.
    """
    folder = Path(path).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        why = "it is not writable" if folder.is_dir() else "there is no such folder"
        raise UnfitError(
            f"cannot save HAProxy's server state in {folder}: {why}",
            remedy="create it, writable for this user, or correct 'state_file' in the inventory",
        )


async def save(ask: Callable[[str], Awaitable[str]], path: str) -> None:
    """Write the state of all servers, as HAProxy replies to ``ask``, to ``path``: whole or not at all.

    Two orchestrators may save at once, for two backends of one HAProxy, and the older picture may land last.
    So each looks once more after its own write, and the last writer leaves what is true.

    Raises:
        UnfitError: the file cannot be written, or other changes keep coming.
    """
    text = await ask("show servers state")
    for _ in range(_TRIES):
        _replace(path, text)
        saved, text = text, await ask("show servers state")
        if _intakes(saved) == _intakes(text):
            return
    raise UnfitError(
        f"cannot save HAProxy's server state to {path}: it changes faster than it can be written",
        remedy="find out who else changes servers on this HAProxy",
    )


def _intakes(text: str) -> list[tuple[str, str, str]]:
    return [(server.backend, server.name, str(server.intake)) for server in parse_servers(text)]


def _replace(path: str, text: str) -> None:
    target = Path(path)
    try:
        with NamedTemporaryFile("w", dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            try:
                file.write(text.rstrip("\n") + "\n")
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
                Path(file.name).replace(target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UnfitError(
            f"cannot save HAProxy's server state to {path}: {error.strerror}",
            remedy="until it is saved, a reload of HAProxy forgets this change; make the file writable and try again",
        ) from error
