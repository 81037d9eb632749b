"""An ``aws`` command line whose calls are made in this process, for lines that a real shell runs.

A small program called ``aws`` hands its words and its input over a socket, and boto3 makes the call here, where the
test's world is. Words are read by the operation's own model, so that a wrong option or value is an error.
"""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import jmespath  # type: ignore[import-untyped]
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

PROGRAM = """#!{python} -I
import json, socket, sys
words = sys.argv[1:]
given = sys.stdin.read() if "file:///dev/stdin" in words else ""
with socket.socket(socket.AF_UNIX) as way:
    way.connect({socket!r})
    way.sendall(json.dumps([words, given]).encode() + b"\\n")
    code, out = json.loads(way.makefile().readline())
print(out, file=sys.stderr if code else sys.stdout)
sys.exit(code)
"""

GLOBAL = ("--region", "--endpoint-url", "--query", "--output", "--cli-connect-timeout", "--cli-read-timeout")


class Clerk(socketserver.StreamRequestHandler):
    """Makes one call."""

    def handle(self) -> None:
        """Read the words, and answer with an exit code and what is printed."""
        words, given = json.loads(self.rfile.readline())
        try:
            code, out = 0, call(words, given)
        except (BotoCoreError, ClientError) as error:
            code, out = 254, str(error)
        except (KeyError, ValueError, TypeError) as error:
            code, out = 252, f"usage: {error!r}"
        self.wfile.write(json.dumps([code, out]).encode() + b"\n")


@contextmanager
def aws_cli(folder: Path) -> Iterator[Mapping[str, str]]:
    """The environment in which a shell finds this ``aws``, for the time of the block."""
    path = str(folder / "aws.sock")
    program = folder / "aws"
    program.write_text(PROGRAM.format(python=sys.executable, socket=path))
    program.chmod(0o700)
    with socketserver.ThreadingUnixStreamServer(path, Clerk) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        finally:
            server.shutdown()
            thread.join()


def run(line: str, environment: Mapping[str, str]) -> None:
    """Type a line into a shell, and see it succeed."""
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr


def call(words: Sequence[str], given: str) -> str:
    """What the real one prints."""
    options, rest = _options(words)
    service, operation, *named = rest
    made = boto3.Session().client(
        service, region_name=options.get("--region"), endpoint_url=options.get("--endpoint-url")
    )
    method = operation.replace("-", "_")
    model = made.meta.service_model.operation_model(made.meta.method_to_api_mapping[method])
    members = {f"--{xform_name(name, '-')}": (name, shape) for name, shape in model.input_shape.members.items()}
    arguments = {}
    for option, word in zip(named[::2], named[1::2], strict=True):
        name, shape = members[option]
        arguments[name] = _value(shape, given if word == "file:///dev/stdin" else word)
    reply = getattr(made, method)(**arguments)
    found = jmespath.search(options["--query"], reply) if "--query" in options else reply
    return _text(found) if options.get("--output") == "text" else json.dumps(found, default=str)


def _options(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The options of every call, wherever they stand, and the words without them."""
    options, rest, left = {}, [], list(words)
    while left:
        word = left.pop(0)
        if word in GLOBAL:
            options[word] = left.pop(0)
        else:
            rest.append(word)
    return options, rest


def _value(shape: Any, word: str) -> Any:
    match shape.type_name:
        case "structure" | "list" | "map":
            return json.loads(word)
        case "integer" | "long":
            return int(word)
        case "float" | "double":
            return float(word)
        case _:
            return word


def _text(found: Any) -> str:
    return "\t".join(map(_text, found)) if isinstance(found, list) else str(found)
