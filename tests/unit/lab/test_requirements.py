"""What the lab says when this machine cannot run it."""

from __future__ import annotations

import pytest

from orchestrator.errors import MissingToolError, RefusedError
from orchestrator.lab.requirements import require_tools


def test_everything_that_is_missing_is_named_with_one_command() -> None:
    """One apt-get command installs all of it."""
    with pytest.raises(MissingToolError) as caught:
        require_tools(table_gate=False, found=lambda program: program == "openssl", user=0)
    assert "haproxy" in caught.value.message
    assert "apt-get install --no-install-recommends haproxy postfix (" in caught.value.remedy


def test_it_needs_root() -> None:
    """Postfix's master daemon runs as root only; that is said before anything starts."""
    with pytest.raises(RefusedError, match="root"):
        require_tools(table_gate=False, found=lambda program: True, user=1000)


def test_with_all_of_it_there_is_nothing_to_say() -> None:
    """Root with all programs may start a lab."""
    require_tools(table_gate=False, found=lambda program: True, user=0)
