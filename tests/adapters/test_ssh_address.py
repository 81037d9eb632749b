"""What ssh(1) is called with for the addresses of an inventory; a script in its place tells."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.adapters.command import SshCommands
from orchestrator.errors import UnfitError


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("mx1", ["mx1"]),
        ("root@mx1", ["root@mx1"]),
        ("root@mx1:2222", ["-p", "2222", "root@mx1"]),
        ("root@[2001:db8::1]:22", ["-p", "22", "root@2001:db8::1"]),
        ("2001:db8::1", ["2001:db8::1"]),
    ],
)
def test_ssh_gets_the_port_as_it_wants_it(target: str, expected: list[str], tmp_path: Path) -> None:
    """With -p and before the host; brackets are ours, not ssh's."""
    script = tmp_path / "ssh"
    script.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    script.chmod(0o755)
    output = asyncio.run(SshCommands("mx1", target, str(script)).run(["true"]))
    arguments = output.splitlines()
    assert arguments[4 : arguments.index("--")] == expected


@pytest.mark.parametrize("target", ["", "-oProxyCommand=true", "mx1:99999", "ssh://mx1"])
def test_what_is_no_address_is_refused(target: str) -> None:
    """Before ssh is called at all."""
    with pytest.raises(UnfitError, match=r"is no ssh target — write user@name or user@name:port"):
        SshCommands("mx1", target)
