"""How the lab's processes talk: one JSON object a line over a unix socket, one answer to each."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from pydantic import JsonValue

from orchestrator.errors import FailoverError, RefusedError, UnreachableError

Request = Mapping[str, JsonValue]
Handler = Callable[[Request], Awaitable[JsonValue]]


async def serve_control(path: Path, handlers: Mapping[str, Handler]) -> asyncio.Server:
    """Answer requests ``{"do": NAME, …}`` with what ``handlers[NAME]`` returns."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await _answer(json.loads(line), handlers)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the asker has gone, or we are going
        finally:
            writer.close()

    return await asyncio.start_unix_server(converse, path)


async def _answer(request: Request, handlers: Mapping[str, Handler]) -> Mapping[str, JsonValue]:
    handler = handlers.get(str(request.get("do")))
    if handler is None:
        return {"error": f"cannot do {request.get('do')!r}: unknown", "remedy": ""}
    try:
        return {"value": await handler(request)}
    except FailoverError as error:
        return {"error": error.message, "remedy": error.remedy}


def ask(path: Path, do: str, patience: float = 10.0, **arguments: JsonValue) -> JsonValue:
    """The answer to one request.

    Raises:
        UnreachableError: nobody answers in ``patience`` seconds.
        RefusedError: the answer was no.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(patience)
            connection.connect(str(path))
            connection.sendall(json.dumps({"do": do, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
    except OSError as error:
        raise UnreachableError(f"cannot ask the lab at {path}: {error}") from error
    return _value(line, path)


async def ask_async(path: Path, do: str, patience: float = 10.0, **arguments: JsonValue) -> JsonValue:
    """As ``ask``, without blocking the event loop."""
    return await asyncio.to_thread(lambda: ask(path, do, patience, **arguments))


def _value(line: bytes, path: Path) -> JsonValue:
    if not line:
        raise UnreachableError(f"cannot ask the lab at {path}: it hung up")
    answer: dict[str, JsonValue] = json.loads(line)
    if "error" in answer:
        raise RefusedError(str(answer["error"]), remedy=str(answer.get("remedy", "")))
    return answer["value"]
