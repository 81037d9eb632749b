"""The pytest plug-in, as a repository of runbooks meets it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[3] / "docs/examples/ci"

SLOW = 240
"""Seconds that all tests of the example may take on a busy machine."""


def pytest_in(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest as a user does; its exit code and what it says."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:kmock", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SLOW, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_example_repository_is_green(tmp_path: Path) -> None:
    """A copy of the example, elsewhere: every test of it passes, with what its own files say."""
    shutil.copytree(EXAMPLE, tmp_path / "ci", ignore=shutil.ignore_patterns("__pycache__"))
    code, said = pytest_in(tmp_path / "ci")
    assert code == 0, said
    assert "6 passed" in said


def test_an_inventory_must_be_named(tmp_path: Path) -> None:
    """Without the setting the fixture says what to write, without a traceback."""
    (tmp_path / "test_one.py").write_text("def test_one(failover_world):\n    pass\n")
    code, said = pytest_in(tmp_path)
    assert code == 1
    assert "write 'failover_inventory = inventory.yaml' into pytest's configuration" in said
    assert "Traceback" not in said


def test_a_wrong_inventory_is_explained(tmp_path: Path) -> None:
    """A mistake in the inventory is shown as the command line shows it, with its place."""
    (tmp_path / "test_one.py").write_text("def test_one(failover_world):\n    pass\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfailover_inventory = inventory.yaml\n")
    (tmp_path / "inventory.yaml").write_text("sites: {ord: {}}\npool: {}\n")
    code, said = pytest_in(tmp_path)
    assert code == 1
    assert "inventory.yaml:2:1" in said
    assert "did you mean 'pools'" in said


def test_a_fault_that_no_call_has_met_fails_the_test(tmp_path: Path) -> None:
    """At its end, with what was not met; unless the test has taken the fault back."""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nfailover_inventory = {EXAMPLE / 'inventory.yaml'}\n")
    (tmp_path / "test_one.py").write_text(
        "def test_unmet(failover_world):\n"
        "    failover_world.aws.faults.inject('never-in-sync')\n\n\n"
        "def test_taken_back(failover_world):\n"
        "    failover_world.aws.faults.inject('never-in-sync')\n"
        "    failover_world.aws.faults.clear()\n"
    )
    code, said = pytest_in(tmp_path)
    assert code == 1
    assert "no call has met: never-in-sync of route53 ChangeResourceRecordSets" in said
    assert "ERROR test_one.py::test_unmet" in said
    assert "2 passed, 1 error" in said
