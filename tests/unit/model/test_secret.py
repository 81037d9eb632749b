"""Secrets by reference: what is one, what never is, and what plans hold of it."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from orchestrator.model.secret import Login, Secret, parse_secret


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("env:PROBE_PASSWORD", Secret(env="PROBE_PASSWORD")),
        ("env:_x1", Secret(env="_x1")),
        ("file:/etc/failover/probe", Secret(file="/etc/failover/probe")),
        ("file:/a b:c", Secret(file="/a b:c")),
    ],
)
def test_a_reference_is_read_and_written_as_the_same_text(text: str, secret: Secret) -> None:
    """What is read from the text is written as that text."""
    assert parse_secret(text) == secret
    assert str(secret) == text
    assert parse_secret(secret) is secret


@pytest.mark.parametrize(
    "wrong",
    ["hunter2", "env:", "env:hunter 2", "env:2hunter", "file:", "file:hunter2", "file:/hunter\n2", "ENV:hunter2"],
)
def test_what_is_no_reference_is_not_repeated(wrong: str) -> None:
    """It may be the secret itself: the message says what to write, and nothing of what was written."""
    with pytest.raises(ValueError, match="write env:NAME or file:/PATH") as caught:
        parse_secret(wrong)
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 12345, True, ["env:A"], {"env": "A"}])
def test_only_text_is_a_reference(wrong: object) -> None:
    """A number, a list or nothing is none."""
    with pytest.raises(ValueError, match="write env:NAME"):
        parse_secret(wrong)


def test_a_secret_has_exactly_one_place() -> None:
    """A variable or a file, not both and not neither."""
    for places in ({}, {"env": "A", "file": "/a"}):
        with pytest.raises(ValidationError, match="one place"):
            Secret(**places)


def test_json_holds_the_reference_only() -> None:
    """A login that goes through JSON is the same, and its JSON is what the file says."""
    login = Login.model_validate({"user": "probe", "password": "env:PROBE_PASSWORD"})
    text = login.model_dump_json()
    assert json.loads(text) == {"user": "probe", "password": "env:PROBE_PASSWORD"}
    assert Login.model_validate_json(text) == login
