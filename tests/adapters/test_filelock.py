"""The lock that keeps two orchestrators apart, on real files."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.filelock import FileLock
from orchestrator.errors import RefusedError
from orchestrator.ports import Holder

SINCE = 1_700_000_000.0


class StoppedClock(SystemClock):
    """Always the same moment."""

    def now(self) -> float:
        """Late in 2023."""
        return SINCE


def lock(folder: Path) -> FileLock:
    """Another orchestrator's."""
    return FileLock(folder / "locks", StoppedClock())


def test_tells_who_holds_it_and_since_when(tmp_path: Path) -> None:
    """The second one is refused, and told what is held, by whom and since when."""
    first, second = lock(tmp_path), lock(tmp_path)
    first.acquire(["pool:web"], "ann@ops1")
    with pytest.raises(RefusedError, match="cannot take pool:web: ann@ops1 has held it since 2023-11-14 22:13:20 UTC"):
        second.acquire(["pool:web"], "bob@ops2")
    first.release()


def test_takes_all_or_none(tmp_path: Path) -> None:
    """Where one of several names is held, the others are let go again."""
    first, second, third = lock(tmp_path), lock(tmp_path), lock(tmp_path)
    first.acquire(["b"], "first")
    with pytest.raises(RefusedError, match="cannot take b"):
        second.acquire(["c", "b", "a"], "second")
    third.acquire(["a", "c"], "third")
    first.release()
    third.release()


def test_is_free_after_release(tmp_path: Path) -> None:
    """Whoever comes after the release gets it, as often as that happens."""
    for owner in ("ann", "bob", "ann"):
        holder = lock(tmp_path)
        holder.acquire(["run/2024 spring"], owner)
        holder.release()
        holder.release()


def test_an_owner_may_take_more(tmp_path: Path) -> None:
    """Asking again for what is held is no conflict with oneself."""
    holder, other = lock(tmp_path), lock(tmp_path)
    holder.acquire(["a"], "ann")
    holder.acquire(["a", "b"], "ann")
    with pytest.raises(RefusedError, match="cannot take b: ann"):
        other.acquire(["b"], "bob")
    holder.release()
    other.acquire(["a", "b"], "bob")
    other.release()


def test_a_killed_owner_lets_go(tmp_path: Path) -> None:
    """SIGKILL frees the lock at once, though the file still names the dead."""
    program = """
import sys, time
from pathlib import Path
from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.filelock import FileLock
FileLock(Path(sys.argv[1]), SystemClock()).acquire(["pool:smtp"], "victim")
print("taken", flush=True)
time.sleep(60)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "locks")]
    survivor = lock(tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline() == b"taken\n"
            with pytest.raises(RefusedError, match="victim has held it since"):
                survivor.acquire(["pool:smtp"], "survivor")
        finally:
            victim.kill()
    survivor.acquire(["pool:smtp"], "survivor")
    survivor.release()


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """Trouble with the folder is told as one sentence with its remedy."""
    (tmp_path / "locks").write_text("a file")
    with pytest.raises(RefusedError, match=r"cannot lock in .*/locks: .* — move the file away"):
        lock(tmp_path).acquire(["a"], "ann")


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, "No space left on device — free space there"),
        (errno.EDQUOT, "Disk quota exceeded — free space there"),
        (errno.EROFS, "Read-only file system — make the folder writable"),
        (errno.EIO, "Input/output error — mend that"),
    ],
)
def test_a_disk_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str) -> None:
    """What the disk said is told with the remedy that fits, and none of the locks is kept."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", refuse)
        broken.setattr(os, "ftruncate", refuse)
        with pytest.raises(RefusedError, match=f"cannot lock in {tmp_path}/locks: {told}"):
            lock(tmp_path).acquire(["a", "b"], "ann")
    other = lock(tmp_path)
    other.acquire(["a", "b"], "bob")
    other.release()


def test_makes_its_folders_private(tmp_path: Path) -> None:
    """What it has to make is for this user alone, as the journal beside it; what is there stays as it is."""
    tmp_path.chmod(0o755)
    holder = FileLock(tmp_path / "state" / "locks", StoppedClock())
    holder.acquire(["a"], "ann")
    holder.release()
    made = (tmp_path, tmp_path / "state", tmp_path / "state" / "locks")
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in made] == [0o755, 0o700, 0o700]


def test_tells_who_holds_one_without_taking_it(tmp_path: Path) -> None:
    """A look says what the owner said of itself, or that there is none, and keeps nobody out."""
    first, second = lock(tmp_path), lock(tmp_path)
    assert second.holder("run r1") is None
    first.acquire(["run r1"], "ann@ops1")
    assert first.holder("run r1") == second.holder("run r1") == Holder(owner="ann@ops1", since=SINCE)
    first.release()
    assert first.holder("run r1") is None
    second.acquire(["run r1"], "bob@ops2")
    second.release()


def test_the_dead_hold_nothing(tmp_path: Path) -> None:
    """What the file says of an owner whose process has ended does not count."""
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "a.lock").write_text('{"owner": "victim", "since": 1}')
    assert lock(tmp_path).holder("a") is None


def test_a_look_does_not_refuse_an_owner(tmp_path: Path) -> None:
    """Whoever takes a lock while somebody looks at it waits for that moment."""
    (tmp_path / "locks").mkdir()
    with (tmp_path / "locks" / "a.lock").open("w") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        end = threading.Timer(0.005, fcntl.flock, (looker, fcntl.LOCK_UN))
        end.start()
        holder = lock(tmp_path)
        holder.acquire(["a"], "ann")
        end.join()
        holder.release()


def test_a_folder_that_cannot_be_looked_into(tmp_path: Path) -> None:
    """Trouble with the folder is not taken for a free lock."""
    (tmp_path / "locks").write_text("a file")
    with pytest.raises(RefusedError, match=r"cannot see who holds a in .* — make the folder readable"):
        lock(tmp_path).holder("a")
