"""A BIG-IP of ours: iControl REST over one pool, with logins that expire, monitors, transactions and a disk.

It is written from F5's documents and from answers that others have published; it is no BIG-IP. Source: F5 iControl REST
User Guide; F5 DevCentral, "iControl REST: Working with Pool Members" and "Demystifying iControl REST", parts 6 and 7.
"""

from __future__ import annotations

import base64
import copy
import http.server
import itertools
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from tests.adapters.haproxy_bench import in_thread

USER, PASSWORD = "failover", "correct horse"
POOL = "/Common/smtp"
HOST = "https://localhost"


@dataclass
class Member:
    """What a BIG-IP knows of a member."""

    ratio: int = 1
    session: str = "user-enabled"
    forced_down: bool = False
    priority_group: int = 0
    monitor: bool | None = None
    """What its monitor has found; None without one."""
    node_enabled: bool = True
    connections: int = 0

    def shown_session(self) -> str:
        """As a GET shows it."""
        if not self.node_enabled:
            return "addr-disabled"
        return "monitor-enabled" if self.session == "user-enabled" and self.monitor is not None else self.session

    def shown_state(self) -> str:
        """As a GET shows it."""
        if self.forced_down:
            return "user-down"
        return {None: "unchecked", True: "up", False: "down"}[self.monitor]


@dataclass
class Error(Exception):
    """An answer that is none of the good ones."""

    status: int
    message: str


@dataclass
class Fault:
    """What to answer to requests of a kind instead."""

    method: str
    path: str
    status: int
    message: str = "a fault"
    times: int = 1_000


@dataclass
class FakeBigIp:
    """One pool, its members, who is logged in, and what is on disk."""

    members: dict[str, Member]
    mode: str = "ratio-member"
    min_active_members: int = 0
    faults: list[Fault] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    """Every request: method and path."""
    before: Callable[[str, str], None] = lambda method, path: None
    """Sees method and path before they are looked at."""
    broken: set[str] = field(default_factory=set)
    """Members that cannot be changed."""
    untold: set[str] = field(default_factory=set)
    """Statistics that it does not give."""
    lies: bool = False
    """Whether a transaction is said to be done and is not."""

    def __post_init__(self) -> None:
        self._tokens: set[str] = set()
        self._numbers = itertools.count(1_526_674_837_169_915)
        self._transactions: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        self._lock = threading.RLock()
        self._disk = copy.deepcopy(self.members)

    def expire(self) -> None:
        """No token is good any more."""
        self._tokens.clear()

    def reboot(self) -> None:
        """Come back with what is on disk."""
        self.members = copy.deepcopy(self._disk)
        self.expire()

    def answer(self, method: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        """What it says to a request.

        Raises:
            Error: it says no.
        """
        self.before(method, path)
        with self._lock:
            self.log.append(f"{method} {path}")
            for fault in self.faults:
                if fault.times and fault.method == method and re.fullmatch(fault.path, path):
                    fault.times -= 1
                    raise Error(fault.status, fault.message)
            if path == "/mgmt/shared/authn/login":
                return self._log_in(body)
            self._check_login(headers)
            return self._serve(method, path, headers, body)

    def _log_in(self, body: dict[str, Any]) -> dict[str, Any]:
        if (body.get("username"), body.get("password"), body.get("loginProviderName")) != (USER, PASSWORD, "tmos"):
            raise Error(401, "Authentication failed.")
        token = f"TOKEN{next(self._numbers)}"
        self._tokens.add(token)
        return {"username": USER, "loginProviderName": "tmos", "token": {"token": token, "timeout": 1200}}

    def _check_login(self, headers: dict[str, str]) -> None:
        basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if headers.get("x-f5-auth-token") not in self._tokens and headers.get("authorization") != basic:
            raise Error(401, "X-F5-Auth-Token does not exist.")

    def _serve(self, method: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        pool = f"/mgmt/tm/ltm/pool/{POOL.replace('/', '~')}"
        match method, path.removeprefix(pool) if path.startswith(pool) else path:
            case "GET", "":
                return self._pool()
            case "GET", "/members":
                return {"items": [self._shown(name) for name in self.members]}
            case "GET", "/members/stats":
                return {"entries": dict(self._stats(pool))}
            case "PATCH", inner if inner.startswith("/members/"):
                return self._patch(unquote(inner.removeprefix("/members/")).replace("~", "/"), headers, body)
            case "POST", "/mgmt/tm/transaction":
                number = next(self._numbers)
                self._transactions[str(number)] = []
                return {"transId": number, "state": "STARTED", "timeoutSeconds": 120, "failureReason": ""}
            case "PATCH", inner if inner.startswith("/mgmt/tm/transaction/") and body == {"state": "VALIDATING"}:
                return self._commit(inner.rpartition("/")[2])
            case "POST", "/mgmt/tm/sys/config" if body == {"command": "save"}:
                self._disk = copy.deepcopy(self.members)
                return {"kind": "tm:sys:config:savestate", "command": "save"}
            case _:
                raise Error(404, f"01020036:3: The requested object ({path}) was not found.")

    def _pool(self) -> dict[str, Any]:
        return {
            "kind": "tm:ltm:pool:poolstate",
            "fullPath": POOL,
            "loadBalancingMode": self.mode,
            "minActiveMembers": self.min_active_members,
        }

    def _shown(self, name: str) -> dict[str, Any]:
        member = self.members[name]
        return {
            "kind": "tm:ltm:pool:members:membersstate",
            "fullPath": name,
            "ratio": member.ratio,
            "priorityGroup": member.priority_group,
            "session": member.shown_session(),
            "state": member.shown_state(),
        }

    def _stats(self, pool: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, member in self.members.items():
            node, _, port = name.rpartition(":")
            state = "unknown" if member.monitor is None else "available" if member.monitor else "offline"
            entries = {
                "nodeName": {"description": node},
                "poolName": {"description": POOL},
                "port": {"value": int(port)},
                "serverside.curConns": {"value": member.connections},
                "status.availabilityState": {"description": "offline" if member.forced_down else state},
            }
            told = {key: value for key, value in entries.items() if key not in self.untold}
            yield f"{HOST}{pool}/members/{name.replace('/', '~')}/stats", {"nestedStats": {"entries": told}}

    def _patch(self, name: str, headers: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        transaction = headers.get("x-f5-rest-coordination-id")
        if transaction is None:
            self._change(self.members, name, body)
            return self._shown(name)
        if transaction not in self._transactions:
            raise Error(404, f"transaction ({transaction}) not found")
        self._transactions[transaction].append((name, body))
        return {"method": "PATCH", "body": body, "kind": "tm:transaction:commandsstate"}

    def _commit(self, transaction: str) -> dict[str, Any]:
        if transaction not in self._transactions:
            raise Error(404, f"transaction ({transaction}) not found")
        members = copy.deepcopy(self.members)
        try:
            for name, body in self._transactions.pop(transaction):
                self._change(members, name, body)
        except Error as error:
            raise Error(400, f"transaction failed:{error.message}") from error
        if not self.lies:
            self.members = members
        return {"transId": int(transaction), "state": "COMPLETED"}

    def _change(self, members: dict[str, Member], name: str, body: dict[str, Any]) -> None:
        if name not in members:
            raise Error(404, f"01020036:3: The requested pool member ({POOL} {name}) was not found.")
        if name in self.broken:
            raise Error(400, f"01070712:3: Cannot modify pool member {name}.")
        for key, value in body.items():
            allowed = {"session": ("user-enabled", "user-disabled"), "state": ("user-up", "user-down")}.get(key)
            if (value not in allowed) if allowed else not (key == "ratio" and 1 <= value <= 65_535):
                raise Error(400, f'invalid property value "{key}":"{value}"')
        member = members[name]
        member.ratio = body.get("ratio", member.ratio)
        member.session = body.get("session", member.session)
        member.forced_down = {"user-down": True, "user-up": False}.get(body.get("state", ""), member.forced_down)


class Server(http.server.ThreadingHTTPServer):
    """Its HTTP."""

    daemon_threads = True

    def __init__(self, bigip: FakeBigIp) -> None:
        self.bigip = bigip
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not like our certificate."""


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536  # head and body in one packet: else each answer waits for an acknowledgement

    def do_GET(self) -> None:
        """Read."""
        self._do()

    def do_PATCH(self) -> None:
        """Change."""
        self._do()

    def do_POST(self) -> None:
        """Create, or do."""
        self._do()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing."""

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        headers = {key.lower(): value for key, value in self.headers.items()}
        try:
            status, said = 200, self.server.bigip.answer(self.command, self.path, headers, body)
        except Error as error:
            status, said = error.status, {"code": error.status, "message": error.message, "errorStack": []}
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(bigip: FakeBigIp, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Its URL."""
    with Server(bigip) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        with in_thread(server):
            yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
