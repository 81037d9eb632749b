"""What an editor shows: the committed schemas in the real yaml-language-server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.model.runbook import DrainArguments, DrainStep
from tests.editor.language_server import SERVER, Diagnostic, LanguageServer, running

pytestmark = pytest.mark.lab

PROJECT = Path(__file__).parents[2]
RUNBOOKS = PROJECT / "runbooks"
INVENTORIES = PROJECT / "inventories"
SHIPPED = [*sorted(RUNBOOKS.glob("*.yaml")), *sorted(INVENTORIES.glob("*.yaml"))]


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    """One server for all tests; each document is opened and closed again."""
    if not SERVER.exists():
        pytest.skip("yaml-language-server is not here: run scripts/setup editor")
    with running() as started:
        yield started


def runbook(text: str) -> str:
    """A runbook that names its schema: the text begins in its third line."""
    return f"# yaml-language-server: $schema=runbook.schema.json\nrunbook: trial\n{text}"


def inventory(text: str) -> str:
    """An inventory that names its schema: the text begins in its second line."""
    return f"# yaml-language-server: $schema=inventory.schema.json\n{text}"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_file_has_no_mistake(server: LanguageServer, path: Path) -> None:
    """What we ship opens without one line underlined."""
    assert server.diagnostics(path.parent, path.read_text(encoding="utf-8")) == []


def test_sections_are_offered(server: LanguageServer) -> None:
    """At the left margin the sections are offered that are not there yet, with what they are for."""
    offered = server.completion(RUNBOOKS, runbook("|"))
    assert {"summary", "parameters", "checks", "guards", "steps", "window"} <= offered.keys()
    assert "runbook" not in offered
    assert offered["steps"] == "What is done, from top to bottom."


def test_verbs_are_offered(server: LanguageServer) -> None:
    """After ``do:`` the verbs are offered, each with the docstring of its step."""
    offered = server.completion(RUNBOOKS, runbook("steps:\n  - id: a\n    do: |"))
    assert {"verify", "traffic.shift", "smtp.drain", "hold", "manual", "return", "include"} <= offered.keys()
    assert offered["smtp.drain"] == DrainStep.__doc__


def test_keys_of_the_verb_are_offered(server: LanguageServer) -> None:
    """Inside ``with`` the arguments of this verb are offered, and none of another."""
    offered = server.completion(RUNBOOKS, runbook("steps:\n  - id: a\n    do: traffic.shift\n    with:\n      |"))
    assert {"pool", "from", "to", "by", "pause"} <= offered.keys()
    assert not {"deadline", "site", "until", "id", "do"} & offered.keys()


def test_whole_step_is_offered(server: LanguageServer) -> None:
    """After a dash each verb is offered as a step to be filled in."""
    offered = server.completion(RUNBOOKS, runbook("steps:\n  - |"))
    assert "do: smtp.drain" in server.insertion(RUNBOOKS, runbook("steps:\n  - |"), "smtp.drain")
    assert {"id", "do", "verify", "hold"} <= offered.keys()


def test_guards_and_metrics_are_offered(server: LanguageServer) -> None:
    """A guard is one of the guards, and a check expects what its probe measures."""
    assert {"check", "headroom", "serving"} <= server.completion(RUNBOOKS, runbook("guards:\n  - |")).keys()
    check = "checks:\n  a:\n    probe: {}\n    expect:\n      |"
    assert "sessions" in server.completion(RUNBOOKS, runbook(check.format("sessions")))
    assert "sessions" not in server.completion(RUNBOOKS, runbook(check.format("smtp")))


@pytest.mark.parametrize(
    ("place", "drivers"),
    [
        ("pools:\n  smtp:\n    switch:\n      driver: |", {"haproxy"}),
        ("hosts:\n  mx1:\n    gate:\n      driver: |", {"postfix-policy", "postfix-map"}),
        ("hosts:\n  mx1:\n    queue: {driver: |}", {"postfix"}),
    ],
)
def test_drivers_are_offered(server: LanguageServer, place: str, drivers: set[str]) -> None:
    """After ``driver:`` what can stand there is offered."""
    assert drivers <= server.completion(INVENTORIES, inventory(place)).keys()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("steps:\n  - {id: a, do: smtp.drain, with: {pool: p, dedline: 5m}}", 4, "Property dedline is not allowed."),
        ("steps:\n  - {id: a, do: verify, checks: [c], on_failure: undoo}", 4, 'Valid values: "undo", "hold"'),
        ("steps:\n  - {id: a, do: smtp.drian, with: {pool: p}}", 4, 'Valid values: "verify", "traffic.shift"'),
        ("steps:\n  - {id: a, do: smtp.drain, with: {pool: p, deadline: 10 min}}", 4, "Write for example 30s or 10m."),
        ("steps:\n  - {id: a, do: hold, with: {until: aproval}}", 4, "Write for example approval, 30s or 10m."),
        ("steps:\n  - {id: a, checks: [c]}", 4, 'Missing property "do".'),
        ("steps:\n  - just text", 4, 'Incorrect type. Expected "step".'),
        ("steps:\n  - {id: A, do: verify, checks: [c]}", 4, "Write lower-case letters, digits and dashes"),
        ("cheks: {}\nsteps:\n  - {id: a, do: verify, checks: [c]}", 3, "Property cheks is not allowed."),
    ],
)
def test_mistake_is_one_line_at_its_place(server: LanguageServer, text: str, line: int, message: str) -> None:
    """A mistake is underlined where it stands, in one sentence, with nothing that follows from it."""
    found = server.diagnostics(RUNBOOKS, runbook(text))
    assert [one.line for one in found] == [line]
    assert message in found[0].text


def test_every_mistake_is_shown(server: LanguageServer) -> None:
    """Two mistakes in two steps of different verbs are two."""
    text = "steps:\n  - {id: a, do: hold, with: {till: 5m}}\n  - {id: b, do: verify, cheks: [c]}"
    assert {one.line for one in server.diagnostics(RUNBOOKS, runbook(text))} == {4, 5}


def test_mistake_of_an_inventory_is_at_its_place(server: LanguageServer) -> None:
    """Inventories are looked at as closely, and may come in parts."""
    text = "hosts:\n  mx1:\n    connect: telnet\n    gate: {driver: postfix-polcy}"
    found = server.diagnostics(INVENTORIES, inventory(text))
    assert [one.line for one in found] == [4, 5]
    assert '"postfix-policy", "postfix-map"' in found[1].text


def test_hover_explains_a_key(server: LanguageServer) -> None:
    """Hover on ``deadline`` shows what the model says of it."""
    shown = server.hover(RUNBOOKS, runbook("steps:\n  - {id: a, do: smtp.drain, with: {pool: p, dead|line: 5m}}"))
    assert str(DrainArguments.model_fields["deadline"].description) in shown


def test_hover_explains_a_verb(server: LanguageServer) -> None:
    """Hover on the verb shows the docstring of this step first, and the other verbs below."""
    shown = server.hover(RUNBOOKS, runbook("steps:\n  - {id: a, do: smtp.dr|ain, with: {pool: p}}"))
    assert shown.index(str(DrainStep.__doc__)) < shown.index("Allowed Values") < shown.index("traffic.shift")


def test_reference_is_no_mistake(server: LanguageServer) -> None:
    """A parameter can stand for a duration, a number, a word and for true or false."""
    check = 'c: {probe: smtp, at: {pool: p}, over: "${t}", with: {starttls: "${b}", concurrency: "${n}"}}'
    step = '{id: a, do: verify, checks: [c], timeout: "${t}m", on_failure: "${how}"}'
    assert server.diagnostics(RUNBOOKS, runbook(f"checks:\n  {check}\nsteps:\n  - {step}")) == []


def test_document_without_a_schema_is_left_alone(server: LanguageServer) -> None:
    """The mistakes above come from our schema: without its name the server has nothing to say."""
    assert server.diagnostics(RUNBOOKS, "steps:\n  - {id: a, do: nothing}") == []
    assert server.diagnostics(RUNBOOKS, runbook("steps: []")) == [
        Diagnostic(3, "Array has too few items. Expected 1 or more.")
    ]
