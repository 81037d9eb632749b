"""The gate service as a process: its sockets, its neighbours on them, its end; and its command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.adapters import policy_server
from orchestrator.adapters.command import LocalCommands
from orchestrator.adapters.postfix_policy import ControlSocket
from orchestrator.cli.gate import app
from orchestrator.errors import FailoverError, InputError, RefusedError
from tests.adapters.postfix_bench import Service, free_port

pytestmark = pytest.mark.lab

QUESTION = b"request=smtpd_access_policy\nprotocol_state=MAIL\nsender=a@b\nclient_address=192.0.2.7\nclient_port=%d\n\n"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A gate service that runs."""
    running = Service(tmp_path)
    running.start()
    yield running
    running.stop()


def ask(service: Service, request: bytes) -> bytes:
    """One question on a connection of its own; empty when the service hangs up."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        try:
            connection.sendall(request)
            return connection.recv(1000)
        except ConnectionError:
            return b""


def test_the_control_socket_is_for_its_owner_only(service: Service) -> None:
    """Who can open it can close the gate."""
    assert stat.S_IMODE(Path(service.control).stat().st_mode) == 0o600


def test_sigterm_ends_it_cleanly(service: Service) -> None:
    """With connections open: status 0, no word, no socket left behind."""
    assert service.process is not None
    assert service.process.stderr is not None
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(QUESTION % 1)
        assert connection.recv(100) == b"action=DUNNO\n\n"
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(5) == 0
        assert service.process.stderr.read() == b""
    assert not Path(service.control).exists()


def test_a_killed_service_starts_again_in_the_same_place(service: Service) -> None:
    """Its socket file is left behind and is no obstacle."""
    service.stop(signal.SIGKILL)
    assert Path(service.control).exists()
    service.start()
    assert ask(service, QUESTION % 1) == b"action=DUNNO\n\n"


def test_a_second_service_refuses_to_take_over(service: Service, tmp_path: Path) -> None:
    """Neither the control socket nor the port of a running one is taken away."""
    state = tmp_path / "other"
    for listen, control in (
        (f"127.0.0.1:{free_port()}", service.control),
        (f"127.0.0.1:{service.port}", str(tmp_path / "b")),
    ):
        with pytest.raises(RefusedError, match="cannot serve the gate at"):
            policy_server.serve(listen, control, state, lambda address: None)
    assert ask(service, QUESTION % 1) == b"action=DUNNO\n\n"


@pytest.mark.parametrize(
    ("listen", "control", "error"),
    [
        ("9998", "/tmp/c", InputError),
        ("127.0.0.1:x", "/tmp/c", InputError),
        ("127.0.0.1:0", "0.0.0.0:0", RefusedError),
        ("127.0.0.1:0", "/no/such/folder/c", RefusedError),
        ("192.0.2.1:0", "/tmp/c", RefusedError),
    ],
)
def test_unusable_addresses_are_refused(tmp_path: Path, listen: str, control: str, error: type[FailoverError]) -> None:
    """With a clear error; a control port beyond the loopback interface would be open to everybody."""
    with pytest.raises(error, match="cannot"):
        policy_server.serve(listen, control, tmp_path / "state", lambda address: None)


def test_a_file_in_the_place_of_the_control_socket_is_kept(tmp_path: Path) -> None:
    """A mistyped --control removes nothing."""
    file = tmp_path / "precious"
    file.write_text("mine")
    with pytest.raises(RefusedError, match="cannot serve the gate at"):
        policy_server.serve("127.0.0.1:0", str(file), tmp_path / "state", lambda address: None)
    assert file.read_text() == "mine"


def test_garbage_and_hang_ups_do_not_harm_others(service: Service) -> None:
    """Endless lines are hung up on, half requests dropped; a good question is answered as before."""
    assert ask(service, b"x" * 200_000) == b""
    for half in (b"request=smtpd", b"", b"\n", b"\0" * 1000):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(half)
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(service.control)
        control.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b'"ok": false' in control.recv(1000)
    assert ask(service, QUESTION % 1) == b"action=DUNNO\n\n"


def test_questions_may_come_in_pieces_and_together(service: Service) -> None:
    """The connection is a stream: what matters is the empty line."""
    question = QUESTION % 5
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(0, len(question), 7):
            connection.sendall(question[place : place + 7])
        assert connection.recv(100) == b"action=DUNNO\n\n"
        connection.sendall(question * 3)
        received = b""
        while len(received) < 3 * len(b"action=DUNNO\n\n"):
            received += connection.recv(100)
        assert received == b"action=DUNNO\n\n" * 3


def test_many_connections_are_served_at_once(service: Service) -> None:
    """Five hundred smtpd processes, each with a connection that it keeps."""

    async def storm() -> None:
        opened = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(500)]
        for number, (_, writer) in enumerate(opened):
            writer.write(QUESTION % (number + 1))
        for reader, _ in opened:
            assert await reader.readuntil(b"\n\n") == b"action=DUNNO\n\n"
        status = await ControlSocket(service.control, LocalCommands("mx1")).ask({"do": "read"})
        assert len(status.transactions) == 500
        for _, writer in opened:
            writer.close()
            await writer.wait_closed()

    asyncio.run(storm())


def test_the_command_starts_without_the_heavy_libraries(service: Service) -> None:
    """It runs once for each host, in the mail's path: no pydantic, no yaml, nothing that it does not need."""
    assert service.process is not None
    loaded = subprocess.run(
        [
            sys.executable,
            "-X",
            "importtime",
            "-c",
            "import orchestrator.adapters.policy_server",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "orchestrator.adapters.policy_service" in loaded
    assert not [name for name in ("pydantic", "yaml", "structlog", "rich") if f" {name}\n" in loaded]


def test_status_says_what_the_gate_does(service: Service) -> None:
    """For people in words, for machines as JSON."""
    ask(service, QUESTION % 1)
    asyncio.run(ControlSocket(service.control, LocalCommands("mx1")).ask({"do": "close", "spare": ["p@x"]}))
    shown = CliRunner().invoke(app, ["status", "--control", service.control]).output
    assert "closed: MAIL FROM gets 421, except for p@x" in shown
    assert "1 known, 1 with an open transaction" in shown
    read = json.loads(CliRunner().invoke(app, ["status", "--control", service.control, "--json"]).output)
    assert (read["closed"], read["listen"]) == (True, f"127.0.0.1:{service.port}")


def test_errors_are_one_message_and_exit_code_1(tmp_path: Path) -> None:
    """What is expected to go wrong is no traceback."""
    for arguments in (
        ["status", "--control", str(tmp_path / "none")],
        ["serve", "--listen", "x", "--control", str(tmp_path / "c"), "--state", str(tmp_path / "s")],
    ):
        ended = CliRunner().invoke(app, arguments)
        assert ended.exit_code == 1
        assert ended.output.count("cannot") == 1
        assert "Traceback" not in ended.output


def test_config_prints_what_the_drivers_accept(tmp_path: Path) -> None:
    """The printed shell lines make the table's database; main.cf gets the gate first."""
    policy = CliRunner().invoke(app, ["config", "--service", "inet:127.0.0.1:7"]).output
    assert "smtpd_sender_restrictions = check_policy_service { inet:127.0.0.1:7, timeout=1s, try_limit=1, " in policy
    database = tmp_path / "gate" / "gate.sqlite"
    printed = CliRunner().invoke(app, ["config", "--driver", "postfix-map", "--database", str(database)]).output
    assert f"check_sender_access sqlite:{tmp_path}/gate/gate.cf" in printed
    shell = printed[printed.index("mkdir -p") :]
    subprocess.run(["sh", "-ec", shell], check=True, capture_output=True, env=dict(os.environ))
    assert database.exists()
