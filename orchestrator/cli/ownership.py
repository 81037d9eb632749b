"""Who works on a run: the locks that keep a second owner away, and what people are told when there is none."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from orchestrator.model.plan import Plan
    from orchestrator.ports import Holder, Lock
    from orchestrator.status import RunStatus

OVER: Final = frozenset({"done", "undone", "refused"})
"""The RunStatus that no owner goes on from, by value: the command starts without the models behind the type."""


LOGIN_UID: Final = Path("/proc/self/loginuid")
_NOBODY_LOGGED_IN: Final = 2**32 - 1
"""What the kernel has there for what no login has started."""


@contextmanager
def locked(plan: Plan, run: str, *, take_over: bool = False) -> Iterator[Lock]:
    """The run and its pools, for this process alone while the block lasts.

    With ``take_over`` an owner that gives no sign of life is ended first.

    Raises:
        RefusedError: somebody else has one of them, or lives and is not to be taken over.
    """
    from orchestrator.adapters.clock import SystemClock
    from orchestrator.wiring import lock_names, open_lock

    lock = open_lock(SystemClock())
    if take_over and (ended := lock.take_over(_name(run))):
        print(f"ended {ended}: it gave no sign of life", file=sys.stderr)
    lock.acquire([_name(run), *lock_names(plan)], f"run {run} of {who()} (process {os.getpid()})")
    try:
        yield lock
    finally:
        lock.release()


def owner_of(run: str) -> str | None:
    """Who works on the run now, for people; as ``holder_of``."""
    holder = holder_of(run)
    return None if holder is None else str(holder)


def holder_of(run: str) -> Holder | None:
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


def who(uid: Callable[[], int] = lambda: person(os.getuid(), os.environ, LOGIN_UID)) -> str:
    """The person at this terminal, as the journal and the locks name them: user@host. It is no proof of who it is."""
    number = uid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:  # a uid without an entry in passwd(5), as in a container
        name = f"uid {number}"
    return f"{name}@{os.uname().nodename}"


def person(uid: int, environment: Mapping[str, str], login_uid: Path) -> int:
    """The uid of the person: root is whoever became it by sudo(8), or logged in (the kernel's loginuid)."""
    if uid != 0:
        return uid
    with suppress(KeyError, ValueError):
        return int(environment["SUDO_UID"])
    with suppress(OSError, ValueError):
        number = int(login_uid.read_text())
        return number if number != _NOBODY_LOGGED_IN else uid
    return uid


def _name(run: str) -> str:
    return f"run {run}"
