"""Programs of a host, here and over ssh (whose part a script plays), and both gates worked that way."""

from __future__ import annotations

import asyncio
import shlex
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.adapters import postfix_map
from orchestrator.adapters.command import CommandRunner, LocalCommands, SshCommands, commands_for
from orchestrator.adapters.postfix_map import MapGateDriver
from orchestrator.adapters.postfix_policy import ControlSocket, PolicyGateDriver
from orchestrator.errors import OutsideError, RejectedError, UnfitError, UnreachableError
from orchestrator.model.inventory import Host, MapGate, PolicyGate
from tests.adapters.postfix_bench import Service, wait_for

PLAYED_SSH = """#!/bin/sh
# As ssh(1): options, the target, --, and the rest as one line for the login shell of the other side.
while [ "$1" != "--" ]; do target="$1"; shift; done
shift
[ "$target" = unreachable ] && { echo "ssh: connect to host unreachable port 22: No route to host" >&2; exit 255; }
exec sh -c "$*"
"""


@pytest.fixture
def ssh(tmp_path: Path) -> str:
    """The script that plays ssh."""
    script = tmp_path / "ssh"
    script.write_text(PLAYED_SSH)
    script.chmod(0o755)
    return str(script)


@pytest.fixture(params=["local", "ssh"])
def commands(request: pytest.FixtureRequest, ssh: str) -> CommandRunner:
    """Both ways to run a program."""
    return LocalCommands("mx1") if request.param == "local" else SshCommands("mx1", "root@mx1", ssh)


def run(commands: CommandRunner, *command: str, stdin: str = "", timeout: float = 10.0) -> str:
    """Run one program."""
    return asyncio.run(commands.run(command, stdin=stdin, timeout=timeout))


def test_arguments_and_input_arrive_as_they_are(commands: CommandRunner) -> None:
    """No shell on the way takes anything apart."""
    hostile = ["a b", "$HOME", "'; echo gone", '"', "<>", "*"]
    assert run(commands, "printf", "%s\n", *hostile).splitlines() == hostile
    assert run(commands, "cat", stdin="ü\nlast") == "ü\nlast"


def test_postfix_programs_are_found(commands: CommandRunner) -> None:
    """They lie in /usr/sbin, which is not on every user's PATH."""
    assert "/usr/sbin" in run(commands, "sh", "-c", "echo $PATH")


def test_a_failure_says_what_the_program_said(commands: CommandRunner) -> None:
    """With the host, the program and its status, and no more of its words than fit."""
    with pytest.raises(RejectedError, match=r"cannot do sh at mx1: it ended with status 3: .*no luck") as rejected:
        run(commands, "sh", "-c", f"echo {'x' * 1000} no luck >&2; exit 3")
    assert len(str(rejected.value)) < 500


def test_a_missing_program_is_unfit(commands: CommandRunner) -> None:
    """It is named, with the host."""
    with pytest.raises(UnfitError, match=r"cannot run no-such-program (at|for) mx1"):
        run(commands, "no-such-program")


def test_a_program_that_hangs_is_ended(commands: CommandRunner, tmp_path: Path) -> None:
    """After the timeout the effect is unknown, and neither it nor its children stay behind here."""
    file = tmp_path / "pid"
    begun = time.monotonic()
    with pytest.raises(UnreachableError, match=r"runs longer than 0\.3 s"):
        run(commands, "sh", "-c", f"sleep 60 & echo $! > {shlex.quote(str(file))}; wait", timeout=0.3)
    assert time.monotonic() - begun < 5
    assert not is_alive(int(file.read_text()))


def test_a_cancelled_program_is_ended(commands: CommandRunner, tmp_path: Path) -> None:
    """The same when our side gives up."""
    file = tmp_path / "pid"

    async def give_up() -> None:
        task = asyncio.create_task(commands.run(["sh", "-c", f"echo $$ > {shlex.quote(str(file))}; sleep 60"]))
        await asyncio.to_thread(wait_for, lambda: file.exists() and bool(file.read_text()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    assert not is_alive(int(file.read_text()))


def is_alive(process: int) -> bool:
    """Whether a process runs; one that is ended and not yet collected does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_host_out_of_reach_is_unreachable(ssh: str) -> None:
    """What ssh says is passed on."""
    with pytest.raises(UnreachableError, match=r"cannot reach mx1: ssh unreachable: .*No route to host"):
        run(SshCommands("mx1", "unreachable", ssh), "true")


@pytest.mark.parametrize("target", ["", "-oProxyCommand=touch /tmp/x"])
def test_a_target_cannot_be_an_option(target: str) -> None:
    """An inventory must not be able to slip ssh an option."""
    with pytest.raises(UnfitError, match="is no ssh target"):
        SshCommands("mx1", target)


def test_the_inventory_says_how_a_host_is_reached() -> None:
    """Local, or ssh to the target that is named, else to the host's own name."""
    assert commands_for("mx1", Host(connect="local")) == LocalCommands("mx1")
    assert commands_for("mx1", Host()) == SshCommands("mx1", "mx1")
    assert commands_for("mx1", Host(ssh="root@10.0.0.1")) == SshCommands("mx1", "root@10.0.0.1")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A gate service that runs."""
    running = Service(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.mark.lab
def test_the_policy_gate_is_worked_the_same_way_here_and_there(service: Service, commands: CommandRunner) -> None:
    """Over ssh a few lines of Python speak to the socket on the host."""
    driver = PolicyGateDriver("mx1", PolicyGate(driver="postfix-policy", control=service.control), commands, ["P@x"])
    asked = ControlSocket(service.control, commands)
    asyncio.run(driver.set_closed(True))
    status = asyncio.run(asked.ask({"do": "read"}))
    assert (status.closed, status.spare, status.listen) == (True, ("p@x",), f"127.0.0.1:{service.port}")
    asyncio.run(driver.set_closed(False))
    assert not asyncio.run(asked.ask({"do": "read"})).closed
    with pytest.raises(RejectedError, match="cannot work the gate of mx1: cannot do what was asked"):
        asyncio.run(asked.ask({"do": "explode"}))
    service.stop()
    with pytest.raises(UnreachableError, match="cannot reach the gate of mx1"):
        asyncio.run(driver.set_closed(True))


@pytest.mark.lab
def test_the_map_gate_is_worked_the_same_way_here_and_there(tmp_path: Path, commands: CommandRunner) -> None:
    """Written, read back from the file, and read back through Postfix's own lookup."""
    (tmp_path / "main.cf").write_text("compatibility_level = 3.6\n")
    gate = MapGate(driver="postfix-map", database=str(tmp_path / "gate o'clock.sqlite"), config=str(tmp_path))
    postfix_map.prepare(Path(gate.database))
    Path(postfix_map.table_path(gate)).write_text(postfix_map.table_text(gate.database))
    driver = MapGateDriver("mx1", gate, commands, ["o'hara@x.example"])
    for closed in (True, True, False, False, True):
        asyncio.run(driver.set_closed(closed))


@pytest.mark.lab
def test_both_gates_are_worked_by_hand_the_same_way_here_and_there(
    service: Service, tmp_path: Path, commands: CommandRunner
) -> None:
    """What a person types arrives as it is, through one shell or two, whatever stands in paths and addresses."""
    policy = PolicyGateDriver("mx1", PolicyGate(driver="postfix-policy", control=service.control), commands, ["ü@x"])
    database = MapGate(driver="postfix-map", database=str(tmp_path / "gate o'clock.sqlite"), config=str(tmp_path))
    postfix_map.prepare(Path(database.database))
    table = MapGateDriver("mx1", database, commands, ["o'hara@x.example"])
    for closed in (True, False):
        for line in (*policy.by_hand(closed), *table.by_hand(closed)):
            subprocess.run(["sh", "-c", line], check=True, capture_output=True, cwd="/")
        status = asyncio.run(ControlSocket(service.control, commands).ask({"do": "read"}))
        assert (status.closed, status.spare) == (closed, ("ü@x",) if closed else ())
        with closing(sqlite3.connect(database.database)) as connection:
            spared = [("o'hara@x.example",)] if closed else []
            assert connection.execute("SELECT closed FROM gate").fetchall() == [(int(closed),)]
            assert connection.execute("SELECT sender FROM spare").fetchall() == spared


def test_by_hand_over_ssh() -> None:
    """The line is one word for ssh, with the port of the inventory; here it is as it stands."""
    line = 'echo \'{"do": "open"}\' | socat -t5 stdio UNIX-CONNECT:/run/gate.sock'
    assert LocalCommands("mx1").by_hand(line) == line
    there = shlex.split(SshCommands("mx1", "root@mx1:2222").by_hand(line))
    assert there == ["ssh", "-p", "2222", "root@mx1", "--", line]


@pytest.mark.lab
def test_a_database_that_is_not_there_is_named_and_not_made(tmp_path: Path, commands: CommandRunner) -> None:
    """An empty file would make Postfix answer 451."""
    gate = MapGate(driver="postfix-map", database=str(tmp_path / "none.sqlite"), config=str(tmp_path))
    with pytest.raises(OutsideError, match=r"mx1.*none\.sqlite"):
        asyncio.run(MapGateDriver("mx1", gate, commands, []).set_closed(True))
    assert not Path(gate.database).exists()


def test_something_else_on_the_control_socket_is_rejected(tmp_path: Path) -> None:
    """Whoever answers there without being a gate is not taken for one."""

    async def talk() -> None:
        path = str(tmp_path / "other.sock")

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"220 hello\r\n")
            writer.close()

        async with await asyncio.start_unix_server(answer, path):
            with pytest.raises(RejectedError, match="cannot understand the gate of mx1"):
                await ControlSocket(path, LocalCommands("mx1")).ask({"do": "read"})

    asyncio.run(talk())
