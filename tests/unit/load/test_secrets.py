"""Secrets in files: none gets in, and none is shown that somebody tried to get in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.errors import InputError, Problem
from orchestrator.load.inventory import load_inventory
from orchestrator.load.masks import without_secrets
from orchestrator.load.problems import read_sources, render
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory
from orchestrator.model.secret import Secret

LITERAL = "hunter2-literal"
WRONG = sorted((Path(__file__).parent / "wrong").glob("inventory-secret-*.yaml"))
INVENTORY = """
sites: {ord: {}}
pools:
  smtp:
    protocol: smtp
    address: 192.0.2.1:25
    switch: {driver: haproxy, socket: /run/haproxy.sock, backend: smtp}
    test_mail:
      sender: probe@example.org
      recipient: probe@example.org
      login: {user: "${env:USER}", password: PASSWORD}
    sites:
      ord: {members: [mx1], capacity: 100 sessions, address: "192.0.2.2:25"}
"""


def environment(name: str) -> str:
    """Variables, of which one is a secret and one would refer to one."""
    return {"USER": "probe", "PASSWORD": LITERAL, "REFERENCE": "env:PASSWORD", "FOLDER": "/run/secrets"}[name]


def load(file: Callable[..., Path], password: str) -> Inventory:
    """The inventory with this password."""
    return load_inventory([file(INVENTORY.replace("PASSWORD", password))], {"env": environment})


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_no_message_shows_a_secret(path: Path) -> None:
    """Neither the message, nor the line under it, nor the problem's JSON has anything of the literal."""
    with pytest.raises(InputError) as caught:
        load_inventory([path], {"env": environment})
    problems = caught.value.problems
    shown = [
        str(caught.value),
        render(problems, read_sources(problems), colour=True),
        json.dumps([asdict(problem) for problem in problems]),
        json.dumps(read_sources(problems)) if problems[0].line == 10 else "",
    ]
    assert LITERAL.partition("-")[0] not in "".join(shown)


def test_a_reference_is_taken(file: Callable[..., Path]) -> None:
    """By variable or by file, of which the path may be put together; plain text is inserted beside it."""
    login = load(file, "env:PROBE_PASSWORD").pools["smtp"].test_mail.login
    assert login is not None
    assert (login.user, login.password) == ("probe", Secret(env="PROBE_PASSWORD"))
    login = load(file, '"file:${env:FOLDER}/probe"').pools["smtp"].test_mail.login
    assert login is not None
    assert login.password == Secret(file="/run/secrets/probe")


@pytest.mark.parametrize("name", ["PASSWORD", "REFERENCE", "NOT_SET"])
def test_an_inserted_secret_is_refused_with_the_reference_to_write(file: Callable[..., Path], name: str) -> None:
    """Inserted text would land in plans, whatever it is: it is not even looked up."""
    with pytest.raises(InputError) as caught:
        load_inventory([file(INVENTORY.replace("PASSWORD", f'"${{env:{name}}}"'))], {"env": environment})
    (problem,) = caught.value.problems
    assert problem.message.endswith("a secret is never written into a file")
    assert problem.remedy == f"write env:{name}"


@pytest.mark.parametrize(
    "line",
    [
        "password: hunter2",
        "  probe-password: 'hunter2'",
        '{user: x, "api_key": hunter2, more: hunter2}',
        "TOKEN:  hunter2",
        "client_secret_v2: hunter2",
        "passphrase : hunter2",
    ],
)
def test_a_line_is_masked_by_its_keys_too(line: str) -> None:
    """A mistake elsewhere in a line shows the line, but no value under a key that is called as secrets are."""
    (shown,) = without_secrets([line], [Problem("cannot", line=1, column=1)])
    assert "hunter2" not in shown
    assert shown == line[: line.index("hunter2")].rstrip("'") + "***"


@pytest.mark.parametrize("line", ["password: env:NAME", "password: '${pw}'", "password:", "bypass: x"])
def test_other_lines_are_shown_as_they_are(line: str) -> None:
    """References help to find the mistake."""
    assert without_secrets([line], [Problem("cannot", line=1, column=1)]) == (line,)


def test_only_lines_with_problems_are_masked() -> None:
    """Of the others nothing is shown."""
    lines = ["password: a", "password: b"]
    assert without_secrets(lines, [Problem("cannot", line=2, column=1)]) == ("password: a", "password: ***")


def test_a_runbook_shows_no_secret_either(file: Callable[..., Path], inventory: Inventory) -> None:
    """Neither as a default of a parameter nor in a check."""
    runbook = f"""
        runbook: trial
        parameters:
          pw: {{type: secret, default: {LITERAL}}}
          more:
            type: secret
            default: {LITERAL}
        checks:
          c: {{probe: smtp, at: {{pool: smtp}}, over: 5s, with: {{login: {{user: x, password: {LITERAL}}}}}}}
          d: {{probe: smtp, at: {{pool: smtp}}, over: 5s, with: {{login: {{user: x, password: "${{pw}}{LITERAL}"}}}}}}
        steps:
          - {{id: look, do: verify, checks: [c, d]}}
    """
    with pytest.raises(InputError) as caught:
        load_runbook(file(runbook), inventory, {"pw": "env:PW", "more": LITERAL})
    problems = caught.value.problems
    assert {problem.line for problem in problems} >= {0, 4, 7, 9, 10}
    assert LITERAL not in render(problems, read_sources(problems), colour=False)
