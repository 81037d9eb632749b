"""Reading secrets from the environment and from real files, and keeping them out of logs."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from orchestrator.adapters.secrets import read_secret, redact, redact_logs
from orchestrator.errors import UnfitError
from orchestrator.model.secret import Secret, parse_secret


@pytest.fixture
def secret(tmp_path: Path) -> Callable[..., Secret]:
    """Writes a file that its owner alone can read, and refers to it."""

    def write(content: bytes, mode: int = 0o600) -> Secret:
        path = tmp_path / "secret"
        path.write_bytes(content)
        path.chmod(mode)
        return parse_secret(f"file:{path}")

    return write


def refused(secret: Secret, environment: dict[str, str] | None = None) -> str:
    """Why a secret cannot be read, and what to do."""
    with pytest.raises(UnfitError) as caught:
        read_secret(secret, environment or {})
    return str(caught.value)


def test_a_variable_is_read_each_time() -> None:
    """A secret that has been changed is the new one at its next use."""
    environment = {"PW": "first-value"}
    assert read_secret(Secret(env="PW"), environment) == "first-value"
    environment["PW"] = "second-value"
    assert read_secret(Secret(env="PW"), environment) == "second-value"


def test_a_variable_that_is_not_there_or_empty_is_refused() -> None:
    """The message says which, and what to type."""
    assert refused(Secret(env="PW")) == "cannot read the secret env:PW: it is not set — export PW=…"
    assert refused(Secret(env="PW"), {"PW": ""}) == "cannot read the secret env:PW: it is empty — export PW=…"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b"s3cret\n\n", "s3cret\n"),
        (b" s3cret ", " s3cret "),
        ("pässwort\n".encode(), "pässwort"),
    ],
)
def test_a_file_is_read_without_one_line_break(secret: Callable[..., Secret], content: bytes, value: str) -> None:
    """Editors put one at the end; whatever else is in the file belongs to the secret."""
    assert read_secret(secret(content)) == value
    assert read_secret(secret(content, 0o400)) == value


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_use_is_refused(secret: Callable[..., Secret], mode: int) -> None:
    """The remedy can be typed as it stands."""
    reference = secret(b"s3cret", mode)
    why = f"others than its owner may use it (mode {mode:04o})"
    assert refused(reference) == f"cannot read the secret {reference}: {why} — chmod 600 {reference.file}"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"\n", "it is empty"),
        (b"s3cret\xff", "it is not UTF-8"),
        (b"x" * 70_000, "it is larger than 64 KiB"),
    ],
)
def test_a_file_with_no_secret_in_it_is_refused(secret: Callable[..., Secret], content: bytes, why: str) -> None:
    """Nothing of the file is in the message, nor in what caused it."""
    with pytest.raises(UnfitError) as caught:
        read_secret(secret(content))
    assert why in str(caught.value)
    assert caught.value.remedy
    assert caught.value.__cause__ is None


def test_no_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    """What is no file is said, and a pipe with no writer keeps nobody waiting."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "there is no such file" in refused(Secret(file=str(tmp_path / "none")))
    assert "no regular file" in refused(Secret(file=str(tmp_path / "pipe")))
    assert "no regular file" in refused(Secret(file=str(tmp_path)))
    assert "not a directory" in refused(Secret(file=str(tmp_path / "pipe" / "x")))


def test_what_was_read_is_taken_out_of_texts() -> None:
    """As it is, in base64, and as JSON and Python write it; a part of another secret does not spoil it."""
    value = read_secret(Secret(env="PW"), {"PW": 'corr"ect\\horse'})
    longer = read_secret(Secret(env="PW"), {"PW": value + " battery"})
    texts = [value, json.dumps(value), repr(value), base64.b64encode(value.encode()).decode(), longer]
    assert [redact(f"<{text}>") for text in texts] == ["<***>", '<"***">', "<'***'>", "<***>", "<***>"]


def test_a_very_short_secret_is_left_in_texts() -> None:
    """Of a text without every 'a' nothing would be left."""
    read_secret(Secret(env="PW"), {"PW": "a"})
    assert redact("a banana") == "a banana"


def test_logs_have_no_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """In no value, key or depth of an event, and in no object that is only printed."""
    read_secret(Secret(env="PW"), {"PW": "opensesame-7"})
    logger = structlog.wrap_logger(
        structlog.PrintLogger(), processors=[redact_logs, structlog.processors.JSONRenderer(sort_keys=True)]
    )
    error = ValueError("535 opensesame-7")
    logger.warning(
        "said opensesame-7", deep={"list": [1, None, "opensesame-7"]}, error=error, path=Path("/plain"), number=1.5
    )
    assert json.loads(capsys.readouterr().out) == {
        "event": "said ***",
        "deep": {"list": [1, None, "***"]},
        "error": "ValueError('535 ***')",
        "path": repr(Path("/plain")),
        "number": 1.5,
    }
