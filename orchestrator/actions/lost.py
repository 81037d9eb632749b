"""How long an action that only waits bears with a system that is out of reach."""

from __future__ import annotations

from orchestrator.actions.action import Watch
from orchestrator.errors import UnreachableError

PATIENCE = 60.0
"""Seconds: a cluster's API server that is replaced, or a throttled API, is back by then."""


class Lost:
    """Since when one system has been out of reach. Who only looks loses nothing by looking again."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._since: float | None = None

    def bear(self, error: UnreachableError) -> None:
        """Say that nothing can be seen.

        Raises:
            UnreachableError: ``error``, once it has lasted too long.
        """
        now = self._watch.clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= PATIENCE:
            raise error
        self._watch.progress(f"cannot look: {error.message}")

    def found(self) -> None:
        """It has answered."""
        self._since = None
