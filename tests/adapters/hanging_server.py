"""An HTTP server that takes a request and does not answer until it is let: what a network makes of a write."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.adapters.haproxy_bench import in_thread


class HangingServer(http.server.ThreadingHTTPServer):
    """Hangs on every request until ``on`` is set; then it closes the connection without an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.seen: list[str] = []
        """The method of each request."""
        self.met, self.on = threading.Event(), threading.Event()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: HangingServer

    def do_GET(self) -> None:
        self._hang()

    def do_POST(self) -> None:
        self._hang()

    def do_PATCH(self) -> None:
        self._hang()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing."""

    def _hang(self) -> None:
        self.server.seen.append(self.command)
        self.server.met.set()
        self.server.on.wait(20)
        self.close_connection = True


@contextmanager
def hanging() -> Iterator[HangingServer]:
    """One on loopback."""
    with HangingServer() as server, in_thread(server):
        try:
            yield server
        finally:
            server.on.set()
