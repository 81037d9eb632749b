"""How the lab's processes answer each other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import JsonValue

from orchestrator.errors import RefusedError, UnreachableError
from orchestrator.lab.control import Request, ask, ask_async, serve_control


async def _double(request: Request) -> JsonValue:
    return 2 * float(str(request["number"]))


async def _refuse(request: Request) -> JsonValue:
    raise RefusedError("cannot do that", remedy="do this")


def answered(path: Path, do: str, **arguments: float) -> JsonValue:
    """What a server with two handlers answers."""

    async def converse() -> JsonValue:
        server = await serve_control(path, {"double": _double, "refuse": _refuse})
        try:
            return await ask_async(path, do, 10.0, **arguments)
        finally:
            server.close()

    return asyncio.run(converse())


def test_a_handler_gets_the_request_and_its_value_comes_back(tmp_path: Path) -> None:
    """Numbers go there and back."""
    assert answered(tmp_path / "s", "double", number=21) == 42


def test_a_refusal_arrives_with_its_remedy(tmp_path: Path) -> None:
    """An expected error is the same error on the other side."""
    with pytest.raises(RefusedError, match=r"^cannot do that — do this$"):
        answered(tmp_path / "s", "refuse")


def test_an_unknown_request_is_refused(tmp_path: Path) -> None:
    """What nobody can do is said, not ignored."""
    with pytest.raises(RefusedError, match="'dance': unknown"):
        answered(tmp_path / "s", "dance")


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    """A socket that is not there is an expected error."""
    with pytest.raises(UnreachableError, match="cannot ask the lab"):
        ask(tmp_path / "none", "double")
