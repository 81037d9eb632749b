"""What the command line says, and where: bad input, wrong use, values that may be secrets, output that breaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.status import RunStatus

from .desk import RUN, Desk

ROOT = Path(__file__).parents[3]
INVENTORY = str(ROOT / "tests" / "unit" / "load" / "inventory.yaml")
RUNBOOK = str(ROOT / "runbooks" / "reboot-host.yaml")


def failover(*arguments: str | bytes, to: int = subprocess.PIPE, **variables: str | bytes) -> tuple[int, bytes, str]:
    """The exit code, standard output and standard error of a command in a process of its own."""
    command: list[str | bytes] = [sys.executable, "-m", "orchestrator", *arguments]
    environment = {**{key.encode(): value.encode() for key, value in os.environ.items()}}
    environment |= {k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in variables.items()}
    done = subprocess.run(command, cwd=ROOT, stdout=to, stderr=subprocess.PIPE, env=environment, check=False)
    return done.returncode, done.stdout or b"", done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lint", "--bogus"], "No such option: --bogus"),
        (["lint"], "Missing argument"),
        (["plan"], "Missing argument"),
        (["schema", "poem"], "'poem' is not one of"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_wrong_use_is_bad_input(desk: Desk, arguments: list[str], said: str) -> None:
    """Wrong use exits with 1: 2 is kept for "there is something to do"."""
    result = desk.failover(*arguments)
    assert result.exit_code == 1
    assert said in result.stderr


@pytest.mark.parametrize("arguments", [[], ["lab"], ["inventory"]])
def test_no_arguments_show_help(desk: Desk, arguments: list[str]) -> None:
    """A command that has only sub-commands shows what they are."""
    result = desk.failover(*arguments)
    assert "Usage: failover" in result.output
    assert result.exit_code == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
@pytest.mark.parametrize("command", ["lint", "plan", "run"])
def test_an_unreadable_file_is_explained(desk: Desk, tmp_path: Path, command: str) -> None:
    """What cannot be read is a problem of that file, whoever notices first."""
    path = tmp_path / "closed.yaml"
    path.touch(mode=0)
    result = desk.failover(command, str(path), "-i", INVENTORY)
    assert result.exit_code == 1
    assert "closed.yaml: cannot read this file: no permission" in result.output


def test_a_name_that_no_file_can_have(desk: Desk) -> None:
    """Such a name is one problem, and its file is not looked for again to show a line of it."""
    result = desk.failover("lint", "n" * 300, "-i", INVENTORY)
    assert result.exit_code == 1
    assert "cannot read this file" in result.output


def test_values_of_parameters_are_not_repeated(desk: Desk) -> None:
    """What stands behind -p may be a secret, whatever is wrong with it."""
    given = ["-p", "key:hunter2", "-p", "key=hunter3", "-p", "key=hunter4", "-p", "=hunter5"]
    result = desk.failover("lint", RUNBOOK, "-i", INVENTORY, *given)
    assert result.exit_code == 1
    assert "cannot use -p number 1: it is not name=value" in result.output
    assert "cannot use -p key=…: key is given twice" in result.output
    assert "hunter" not in result.output


def test_no_inventory_is_one_problem(desk: Desk) -> None:
    """That no inventory is named is said once, and nothing that follows from it."""
    assert desk.failover("lint", RUNBOOK).output.splitlines() == [
        "cannot do anything without an inventory: no file is named — name one with -i [cannot-load]",
        "1 error",
    ]


def test_parameters_are_shown_as_typed(desk: Desk) -> None:
    """Lint says with which values it has looked: as one would type them, on one line, with nothing to obey."""
    given = ["-p", "observe=90s", "-p", "kernel=a\x1b[31m\nb"]
    result = desk.failover("lint", RUNBOOK, "-i", INVENTORY, *given)
    last = result.output.splitlines()[-1]
    assert last.startswith("reboot-host: ")
    assert r"kernel='a\x1b[31m\nb' observe=90s deadline=10m" in last


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
@pytest.mark.parametrize("arguments", [("lint", RUNBOOK, "-i", INVENTORY), ("schema", "runbook"), ("--help",)])
def test_output_that_cannot_be_written(arguments: tuple[str, ...]) -> None:
    """A full disk behind standard output is one clear line, and no success."""
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        code, _, said = failover(*arguments, to=full)
    finally:
        os.close(full)
    assert (code, said) == (
        1,
        "cannot write the answer: No space left on device — see where standard output goes\n",
    )


def test_a_reader_who_has_gone_is_no_mistake() -> None:
    """When the pipe is closed there is nobody left to be told."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        code, _, said = failover("--version", to=writer)
    finally:
        os.close(writer)
    assert (code in {0, 1}, said) == (True, "")


def test_a_run_without_standard_error(desk: Desk) -> None:
    """Who starts a run with standard error closed gets its output, and no logs."""
    desk.has_run(RunStatus.RUNNING)
    assert desk.failover("approve", RUN, "window", "--ahead").exit_code == 0
    command = [sys.executable, "-m", "orchestrator", "resume", RUN, "--json"]
    shell = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    done = subprocess.run(shell, cwd=ROOT, stdout=subprocess.PIPE, check=False, timeout=60)
    assert (done.returncode, json.loads(done.stdout.splitlines()[-1])["status"]) == (0, "done")


def test_a_terminal_of_few_letters() -> None:
    """What an encoding cannot express is shown as an escape."""
    code, said, _ = failover("lint", "no-such.yaml", "-i", INVENTORY, PYTHONIOENCODING="ascii")
    assert code == 1
    assert b"it does not exist \\u2014 check its path" in said


def test_a_name_that_is_not_utf_8() -> None:
    """A file's name may be any bytes: JSON and SARIF carry them in their own ways."""
    odd = b"\xff.yaml"
    _, said, _ = failover("lint", odd, "-i", INVENTORY, "--format", "json")
    assert json.loads(said)["files"][1] == "\udcff.yaml"
    _, said, _ = failover("lint", odd, "-i", INVENTORY, "--format", "sarif")
    location = json.loads(said)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "%FF.yaml"


def test_values_that_are_not_utf_8(tmp_path: Path) -> None:
    """What is inserted must be text: it lands in plans and in the journal."""
    path = tmp_path / "inventory.yaml"
    path.write_text("sites: {ord: {provider: '${env:WHOSE}'}}\n")
    code, _, said = failover("inventory", "show", "--json", "-i", str(path), WHOSE=b"\xff")
    assert code == 1
    assert "cannot insert ${env:WHOSE}: it is not UTF-8 — export WHOSE=…, as UTF-8" in said
    code, answer, _ = failover("lint", RUNBOOK, "-i", INVENTORY, "-p", b"kernel=\xff")
    assert code == 1
    assert "cannot use -p kernel=…: it is not UTF-8" in answer.decode()
