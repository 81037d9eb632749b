"""Who works on a run: the locks that keep a second owner away, and what people are told when there is none."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.model.plan import Plan
    from orchestrator.status import RunStatus

OVER: Final = frozenset({"done", "undone", "refused"})
"""The RunStatus that no owner goes on from, by value: the command starts without the models behind the type."""


@contextmanager
def locked(plan: Plan, run: str) -> Iterator[None]:
    """The run and its pools, for this process alone while the block lasts.

    Raises:
        RefusedError: somebody else has one of them.
    """
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import lock_names, open_lock

    lock = open_lock(SystemClock())
    lock.acquire([_name(run), *lock_names(plan)], f"run {run} of {who()} (process {os.getpid()})")
    try:
        yield
    finally:
        lock.release()


def owner_of(run: str) -> str | None:
    """Who works on the run now; None when nobody does. Ask before you read the run's journal, not after.

    In the other order a run that ends between the two looks abandoned.
    """
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import open_lock

    return open_lock(SystemClock()).holder(_name(run))


def is_abandoned(status: RunStatus, owner: str | None) -> bool:
    """Whether nothing will happen with the run until somebody resumes it."""
    return owner is None and status not in OVER


def abandoned(run: str) -> str:
    """What to say of a run that nobody works on."""
    return f"nobody works on this run now: failover resume {run}"


def who(user: Callable[[], str] = getpass.getuser) -> str:
    """The person at this terminal, as the journal and the locks name them: user@host."""
    try:
        name = user()
    except (KeyError, OSError):  # a uid without an entry in passwd(5), as in a container; OSError since Python 3.13
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


def _name(run: str) -> str:
    return f"run {run}"
