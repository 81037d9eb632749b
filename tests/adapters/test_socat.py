"""One line to a socket, as a person types it: any path, IPv4, IPv6, and any text."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import pytest

from orchestrator.adapters.socat import pipe_to

pytestmark = pytest.mark.lab

LINES = ["show info", 'it\'s "quoted" $HOME `date` !!', "back\\nslash \\u00fc \\", "-n", "ü"]


def echoed(server: socket.socket, command: str) -> str:
    """What a shell prints that runs ``command`` while ``server`` sends one line back."""

    def answer() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.write(b"got " + stream.readline())

    thread = threading.Thread(target=answer)
    thread.start()
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=10)
    thread.join()
    return done.stdout


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", ["admin.sock", "a b,c:d!e'f\"g\\h(i[j{k}.sock"])
def test_a_line_arrives_as_it_is_at_a_path(tmp_path: Path, name: str, line: str) -> None:
    """Neither the shell nor socat takes the text or the path apart."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / name))
        server.listen()
        assert echoed(server, pipe_to(str(tmp_path / name), line)) == f"got {line}\n"


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_line_arrives_at_a_port(family: socket.AddressFamily, host: str) -> None:
    """Host and port are dialled, IPv6 in brackets."""
    with socket.socket(family) as server:
        server.bind((host, 0))
        server.listen()
        named = f"[{host}]" if ":" in host else host
        assert echoed(server, pipe_to(f"{named}:{server.getsockname()[1]}", "hello")) == "got hello\n"
