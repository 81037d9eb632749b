"""iControl REST of an F5 BIG-IP: its login, its transactions, and what its errors are here.

Source: F5 iControl REST User Guide, "Token-based authentication", "Transactions"; F5 DevCentral, "iControl REST
Authentication Token Management".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote, urlsplit

from orchestrator.adapters.http_api import ANSWER_WITHIN, Answer, HttpApi, connect
from orchestrator.adapters.secrets import read_secret, redact, remember
from orchestrator.errors import OutsideError, RejectedError, UnfitError, UnreachableError
from orchestrator.model.switch import F5Switch

LOGIN: Final = "/mgmt/shared/authn/login"
TRANSACTION: Final = "/mgmt/tm/transaction"
CONFIG: Final = "/mgmt/tm/sys/config"

SAVED_WITHIN: Final = 60.0
"""Seconds: a BIG-IP with a large configuration takes its time to write it."""

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_LONGEST_REASON: Final = 300


class Token:
    """What a login has brought, for as long as the BIG-IP takes it: 20 minutes by default."""

    def __init__(self) -> None:
        self.text = ""


class NotFoundError(RejectedError):
    """There is no such object."""


class BigIp:
    """A BIG-IP that somebody is logged in to."""

    def __init__(self, api: HttpApi, switch: F5Switch, token: Token) -> None:
        self._api = api
        self._switch = switch
        self._token = token

    async def get(self, path: str) -> dict[str, Any]:
        """What is there.

        Raises:
            NotFoundError: nothing is.
        """
        return await self._call("GET", path)

    async def change(self, patches: Mapping[str, Mapping[str, object]]) -> None:
        """Make all these changes, by path, or none.

        Raises:
            RejectedError: the BIG-IP takes none of them, and says why.
        """
        transaction = (await self._call("POST", TRANSACTION, body={}))["transId"]
        with_it = {"X-F5-REST-Coordination-Id": str(transaction)}
        for path, patch in patches.items():
            await self._call("PATCH", path, body=dict(patch), headers=with_it)
        where = f"{TRANSACTION}/{transaction}"
        done = await self._call("PATCH", where, body={"state": "VALIDATING"}, within=SAVED_WITHIN)
        if done.get("state") == "FAILED":
            raise RejectedError(f"cannot change {self._switch.pool}: {_short(str(done.get('failureReason', '')))}")

    async def save(self) -> None:
        """Write the running configuration to disk, so that a reboot forgets nothing."""
        await self._call("POST", CONFIG, body={"command": "save"}, within=SAVED_WITHIN)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        within: float = ANSWER_WITHIN,
    ) -> dict[str, Any]:
        for fresh in (False, True):
            if fresh or not self._token.text:
                await self._log_in()
            signed = {**(headers or {}), "X-F5-Auth-Token": self._token.text}
            answer = await self._api.ask(method, path, body=body, headers=signed, within=within)
            if answer.status != _UNAUTHORIZED:
                break
        return _checked(answer)

    async def _log_in(self) -> None:
        password = read_secret(self._switch.password)
        body = {"username": self._switch.user, "password": password, "loginProviderName": "tmos"}
        answer = await self._api.ask("POST", LOGIN, body=body)
        if answer.status == _UNAUTHORIZED:
            raise UnfitError(
                f"cannot log in to BIG-IP at {self._switch.url} as {self._switch.user}: it does not let them in",
                remedy=f"look at the user there, and at the secret {self._switch.password}",
            )
        token = _checked(answer).get("token")
        self._token.text = str(token.get("token", "")) if isinstance(token, dict) else ""
        remember(self._token.text)
        if not self._token.text:
            raise UnfitError(
                f"cannot log in to BIG-IP at {self._switch.url}: it gives no token",
                remedy="look whether the address is that of its management interface",
            )


@asynccontextmanager
async def log_in(switch: F5Switch, token: Token) -> AsyncIterator[BigIp]:
    """The BIG-IP of a switch; it is logged in to with the first request, unless ``token`` is still good.

    Raises:
        UnfitError: its address would send the password in the clear.
    """
    url = urlsplit(switch.url)
    if url.scheme != "https" and not (url.scheme == "http" and _is_here(url.hostname or "")):
        raise UnfitError(
            f"cannot log in to BIG-IP at {switch.url}: the password would be sent in the clear",
            remedy="write its address as https://…",
        )
    async with connect(switch.url.rstrip("/"), f"BIG-IP {url.netloc}", switch.ca_file) as api:
        yield BigIp(api, switch, token)


def path_of(pool: str, member: str | None = None) -> str:
    """The path of a pool, or of one of its members; a slash in a name is a tilde in a path."""
    path = f"/mgmt/tm/ltm/pool/{_escaped(pool)}"
    return path if member is None else f"{path}/members/{_escaped(member)}"


def _escaped(name: str) -> str:
    return quote(name.replace("/", "~"), safe="~:")


def _checked(answer: Answer) -> dict[str, Any]:
    if answer.status < 300:
        reply = answer.json()
        return reply if isinstance(reply, dict) else {}
    raise _translated(answer)


def _translated(answer: Answer) -> OutsideError:
    try:
        said = answer.json()
    except UnfitError:
        said = None
    message = said.get("message", "") if isinstance(said, dict) else answer.text
    text = f"cannot {answer.what}: {_short(str(message)) or 'it gives no reason'} ({answer.status})"
    if answer.status in (_UNAUTHORIZED, _FORBIDDEN):
        return UnfitError(text, remedy="give this user the role of a manager in the pool's partition")
    if answer.status == _NOT_FOUND:
        return NotFoundError(text, remedy="correct the names in the inventory")
    if answer.status >= 500:
        return UnreachableError(text, remedy="it may be busy or starting; look at it, and try again")
    return RejectedError(text)


def _short(text: str) -> str:
    return redact(" ".join(text.split()))[:_LONGEST_REASON]


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
