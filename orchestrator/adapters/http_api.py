"""Calls an HTTP API that speaks JSON, and says in our words what went wrong on the way."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2

from orchestrator.adapters.call_threads import forget, land
from orchestrator.errors import OutsideError, UnfitError, UnreachableError

CONNECT_WITHIN: Final = 3.0
ANSWER_WITHIN: Final = 20.0
"""Seconds."""

_LARGEST: Final = 64 * 1024 * 1024
"""Bytes of an answer: nothing that is asked for here comes near it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status says."""

    status: int
    text: str
    what: str
    """The request, for messages; never with what was sent."""

    def json(self) -> Any:
        """The body.

        Raises:
            UnfitError: it is no JSON.
        """
        try:
            return json.loads(self.text)
        except ValueError as error:
            raise UnfitError(
                f"cannot understand the answer to {self.what}: it is no JSON",
                remedy="look whether the address is that of this API, and not of a proxy or a login page",
            ) from error


class HttpApi:
    """One connection to an API."""

    def __init__(self, client: httpx2.AsyncClient, name: str) -> None:
        self._client = client
        self._name = name

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        within: float = ANSWER_WITHIN,
    ) -> Answer:
        """Send one request; ``body`` goes out as JSON. ``within`` are seconds for all of the answer.

        When it is cancelled it ends when its request has: only a GET, which changes nothing, is left alone.

        Raises:
            UnreachableError: no answer, so what the request has done is not known.
            UnfitError: the server's certificate is not valid.
        """
        what = f"{method} {path} at {self._name}"
        limits = httpx2.Timeout(within, connect=CONNECT_WITHIN)
        request = self._client.build_request(method, path, params=query, headers=headers, json=body, timeout=limits)
        sent = asyncio.ensure_future(self._send(request, what, CONNECT_WITHIN + within))
        try:
            return await asyncio.shield(sent)
        except asyncio.CancelledError:
            if method == "GET":
                sent.cancel()
            await land(sent)
            raise
        finally:
            forget(sent)

    async def _send(self, request: httpx2.Request, what: str, within: float) -> Answer:
        try:
            async with asyncio.timeout(within):
                response = await self._client.send(request, stream=True)
                try:
                    return Answer(response.status_code, await _read(response, what), what)
                finally:
                    await response.aclose()
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise _translated(what, error) from error


@asynccontextmanager
async def connect(url: str, name: str, ca_file: str | None = None) -> AsyncIterator[HttpApi]:
    """An API at ``url``, called ``name`` in messages. Proxies of the environment are not asked.

    Raises:
        UnfitError: the CA file cannot be used.
    """
    verify = _trust(ca_file) if url.startswith("https:") else False  # reading the system's CAs takes a while
    async with httpx2.AsyncClient(base_url=url, verify=verify, trust_env=False) as client:
        yield HttpApi(client, name)


async def _read(response: httpx2.Response, what: str) -> str:
    data = bytearray()
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > _LARGEST:
            raise UnfitError(f"cannot read the answer to {what}: it is larger than {_LARGEST >> 20} MiB")
    return data.decode(errors="replace")


def _trust(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UnfitError(
            f"cannot use the CA file {ca_file}: {why}", remedy="name a PEM file that this user may read"
        ) from error


def _translated(what: str, error: Exception) -> OutsideError:
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, ssl.SSLCertVerificationError):
            return UnfitError(
                f"cannot ask {what}: its certificate is not valid: {chain.verify_message}",
                remedy="name the CA that signed it as 'ca_file', and the server as its certificate does",
            )
        chain = chain.__cause__ or chain.__context__
    if isinstance(error, (httpx2.TimeoutException, TimeoutError)):
        return UnreachableError(f"cannot ask {what}: no answer in time", remedy="look at that machine and the network")
    why = str(error) or type(error).__name__
    return UnreachableError(f"cannot ask {what}: {why}", remedy="look whether it runs, and at the address")
