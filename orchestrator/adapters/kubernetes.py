"""How a Kubernetes cluster is called: as whom, how many calls at a time, how often again, and what its errors are here.

The official client is synchronous: calls run in threads, as many as it keeps connections for. Only reads are made
again by themselves, and connections that never came about, as long as somebody waits for the call; whether to write
once more is for who knows what a write does.
Source: Kubernetes documentation, "Kubernetes API Concepts"; API conventions, "Response Status Kind".
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from orchestrator.adapters.call_threads import CallThreads, Limits, sending, ticket
from orchestrator.errors import OutsideError, RejectedError, UnfitError, UnreachableError
from orchestrator.model.access import KubernetesAccess

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from urllib3 import BaseHTTPResponse, Retry

Object: TypeAlias = Mapping[str, Any]
"""A Kubernetes object as its JSON says it: an adapter reads it into values, and nothing of it goes further."""

AT_A_TIME: Final = 8
"""Calls side by side to one cluster."""

TRIES: Final = 3
"""Of a read, and of connecting for any call."""

READS: Final = Limits(connect=5.0, answer=6.0, tries=TRIES, whole=20.0)
"""What looks must not be blind for long: guards, and an undo, wait for it."""
WRITES: Final = Limits(connect=5.0, answer=20.0, tries=TRIES, whole=40.0, lands=True)

_READS: Final = ("get_", "list_", "read_")

LONGEST_WAIT: Final = 2
"""Seconds that a read waits for, at most, where the API server says when to come back (API Priority and Fairness)."""

JSON_PATCH: Final = "application/json-patch+json"
"""RFC 6902. Without this type the client sends a list of operations as a merge patch, and the server says 422."""

_LONGEST_REASON: Final = 300
"""Characters of what the API server says: some errors repeat the whole object."""

_HOW_TO_LOG_IN: Final = "log in as for kubectl; 'kubectl auth whoami' with the same kubeconfig and context must work"
_HOW_TO_BE_ALLOWED: Final = "give this user the right; 'failover permissions RUNBOOK' prints all that it needs"
_LOOK_AGAIN: Final = "look at it as it is now, then try again"


class Cluster:
    """One cluster, as one access sees it. Nothing is imported, read or connected before the first call."""

    def __init__(
        self, access: KubernetesAccess, at_a_time: int = AT_A_TIME, reads: Limits = READS, writes: Limits = WRITES
    ) -> None:
        self._access = access
        self._at_a_time = at_a_time
        self._reads = reads
        self._writes = writes
        self._threads = CallThreads(at_a_time, "kubernetes")
        self._making = threading.Lock()
        self._client: ApiClient | None = None
        self._versions: dict[tuple[str, str], str] = {}

    def core(self) -> Any:
        """The client's ``CoreV1Api``; as with all of these, only ``call`` may call what it has."""
        return _Operations(self, "CoreV1Api")

    def apps(self) -> Any:
        """The client's ``AppsV1Api``."""
        return _Operations(self, "AppsV1Api")

    def policy(self) -> Any:
        """The client's ``PolicyV1Api``; clusters before 1.21 do not serve ``policy/v1``: ask ``served``."""
        return _Operations(self, "PolicyV1Api")

    def custom(self) -> Any:
        """The client's ``CustomObjectsApi``: objects of any group and version, as they are in JSON."""
        return _Operations(self, "CustomObjectsApi")

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Make one call, as ``call(cluster.core().read_node, "node-1")``, and return what it replies.

        When it is cancelled it sends nothing more, and ends when what is on its way has: only a read, which changes
        nothing, is left alone.

        Raises:
            UnreachableError: no answer, or none but "later": what the call has done is not known.
            RejectedError: the API server says no, as when somebody else has changed the object meanwhile.
            UnfitError: no credentials, not the right to do this, or what is named is not there.
                ``status_of`` any of them tells what the API server said.
        """
        what = getattr(function, "__name__", "an operation")
        limits = self._reads if what.startswith(_READS) else self._writes
        timeout = {"_request_timeout": (limits.connect, limits.answer)}
        ask = partial(self._call, what, function, args, timeout | kwargs)
        return await self._threads.run(ask, f"Kubernetes {what}", limits)

    async def served(self, group: str, plural: str, versions: Sequence[str]) -> str:
        """The first of these versions of an API group in which the cluster serves these objects.

        Raises:
            UnfitError: it serves none of them.
        """
        known = self._versions.get((group, plural))
        if known is not None:
            return known
        for version in versions:
            if await self._serves(group, version, plural):
                self._versions[group, plural] = version
                return version
        raise UnfitError(
            f"cannot find {plural}.{group} in the cluster: it serves none of {', '.join(versions)}",
            remedy="install the API's custom resource definitions, or correct the cluster in the inventory",
        )

    def kubectl(self, *arguments: str) -> str:
        """The shell command by which a person does something as the same user in the same cluster."""
        access = self._access
        own = ["--kubeconfig", access.kubeconfig] if access.kubeconfig is not None else []
        own += ["--context", access.context] if access.context is not None else []
        return " ".join(map(quote, ["kubectl", *own, *arguments]))

    async def _serves(self, group: str, version: str, plural: str) -> bool:
        try:
            listed = await self.call(self.custom().get_api_resources, group, version)
        except UnfitError as error:
            status = status_of(error)
            if status is None or status.code != _NOT_FOUND:
                raise
            return False
        return any(resource.name == plural for resource in listed.resources)

    def _call(self, what: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return function(*args, **kwargs)
        except ApiException as error:
            raise _answered(what, error) from error
        except HTTPError as error:
            raise UnreachableError(
                f"cannot call Kubernetes {what}: {_short(str(error))}",
                remedy="look at the network, and whether the API server runs",
            ) from error
        except ValueError:
            # Not chained: such an error quotes what it did not like, as a header with the token, or a whole object.
            raise UnfitError(
                f"cannot call Kubernetes {what}: the client cannot make sense of what it is to send, or has got back",
                remedy="look at the credentials for line breaks, and whether this is a Kubernetes API server",
            ) from None

    def _open(self) -> ApiClient:
        with self._making:
            if self._client is None:
                self._client = self._make()
            return self._client

    def _make(self) -> ApiClient:
        from kubernetes.client import ApiClient, Configuration

        settings = Configuration()
        self._load(settings)
        settings.client_side_validation = False  # servers send null where the schema does not have it
        settings.connection_pool_maxsize = self._at_a_time
        settings.retries = _retries()
        client = ApiClient(settings)
        client.user_agent = "failover"
        client.rest_client = _Sender(client.rest_client)  # type: ignore[assignment]
        return client

    def _load(self, settings: Any) -> None:
        """Read the kubeconfig; without any, what a pod is given. Whatever it is read from is never written to."""
        from kubernetes.config import ConfigException, load_incluster_config, load_kube_config
        from yaml import YAMLError

        path = self._access.kubeconfig or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
        inside = self._access == KubernetesAccess() and not any(map(os.path.exists, path.split(os.pathsep)))
        try:
            if inside:
                load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            else:
                load_kube_config(  # type: ignore[no-untyped-call]
                    path, self._access.context, settings, persist_config=False
                )
        except (ConfigException, OSError, YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
            where = "there is no kubeconfig, and this is no pod" if inside else f"cannot use kubeconfig {path}"
            # Its other errors quote the file, in which there are credentials.
            said = f": {_short(str(error))}" if isinstance(error, (ConfigException, OSError)) else ""
            raise UnfitError(f"cannot find the cluster: {where}{said}", remedy=_HOW_TO_LOG_IN) from None


@cache
def cluster(access: KubernetesAccess) -> Cluster:
    """The cluster of this access, with its connections; the same one each time."""
    return Cluster(access)


class _Operations:
    """The operations of one API of the client, by name: what stands behind a name is made in the thread that calls it.

    The client takes most of a second to import, which must not stop the event loop.
    """

    def __init__(self, of: Cluster, api: str) -> None:
        self._of = of
        self._api = api

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            from kubernetes import client

            return getattr(getattr(client, self._api)(self._of._open()), name)(*args, **kwargs)

        operation.__name__ = name
        return operation


class _Sender:
    """What sends the client's requests, none of them for nobody: the client may look for credentials until then."""

    def __init__(self, rest: Any) -> None:
        self._rest = rest

    def request(self, *args: Any, **kwargs: Any) -> Any:
        with sending():
            return self._rest.request(*args, **kwargs)

    def close(self) -> None:
        self._rest.close()


def _retries() -> Retry:
    """What is tried again: reads, and connections that never came about; nothing that nobody waits for any more."""
    from urllib3 import Retry

    class Tries(Retry):
        def sleep(self, response: BaseHTTPResponse | None = None) -> None:
            ticket().land()
            super().sleep(response)
            ticket().send()

    return Tries(
        TRIES - 1,
        other=0,  # as TLS that breaks after a write was sent
        redirect=0,
        allowed_methods={"GET"},
        status_forcelist={429, 503},
        backoff_factor=0.2,
        retry_after_max=LONGEST_WAIT,
        raise_on_status=False,
    )


_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_GONE: Final = 410
_TOO_MANY: Final = 429
_BROKEN: Final = 500


@dataclass(frozen=True, slots=True)
class Status:
    """What the API server answered to a call that failed (API conventions, "Response Status Kind")."""

    code: int
    """The HTTP status."""
    reason: str
    """Its word for why, as Conflict or TooManyRequests; HTTP's where it has none."""
    message: str
    causes: tuple[str, ...]
    """The causes in it, as "DisruptionBudget: The disruption budget smtp needs 2 healthy pods …"."""
    retry_after: float | None
    """Seconds to wait before asking again, where it says so."""


def status_of(error: OutsideError) -> Status | None:
    """What the API server answered, where ``error`` comes from an answer of it."""
    from kubernetes.client import ApiException

    cause = error.__cause__
    return _parse(cause) if isinstance(cause, ApiException) and cause.status else None


def _parse(error: Any) -> Status:
    try:
        body = json.loads(error.body or "{}")
    except ValueError:  # a proxy or load balancer before the API server has answered
        body = {}
    body = body if isinstance(body, dict) else {}
    details = body.get("details") or {}
    causes = [f"{cause.get('reason', '')}: {cause.get('message', '')}" for cause in details.get("causes") or ()]
    after = (error.headers or {}).get("Retry-After") or details.get("retryAfterSeconds") or ""
    return Status(
        code=int(error.status),
        reason=str(body.get("reason") or error.reason or ""),
        message=str(body.get("message") or ""),
        causes=tuple(causes),
        retry_after=float(after) if str(after).isdecimal() else None,
    )


def _answered(what: str, error: Any) -> OutsideError:
    if not error.status:  # the client's own: TLS, or a reply of another type
        said = _short(str(error.reason))
        remedy = "look at the certificates, and whether this is a Kubernetes API server"
        return UnreachableError(f"cannot call Kubernetes {what}: {said}", remedy=remedy)
    status = _parse(error)
    said = _short("; ".join(filter(None, [status.message, *status.causes]))) or "the API server gives no reason"
    text = f"cannot call Kubernetes {what}: {said} ({status.code} {status.reason})"
    if status.code == _UNAUTHORIZED:
        return UnfitError(text, remedy=_HOW_TO_LOG_IN)
    if status.code == _FORBIDDEN:
        return UnfitError(text, remedy=_HOW_TO_BE_ALLOWED)
    if status.code == _NOT_FOUND:
        return UnfitError(text, remedy="correct the names in the inventory, or make what is missing")
    if status.code == _TOO_MANY or status.code >= _BROKEN:
        wait = f" in {status.retry_after:.0f} seconds" if status.retry_after is not None else " later"
        return UnreachableError(text, remedy=f"try again{wait}")
    if status.code == _GONE:
        return UnreachableError(f"{text}: what was being read has changed too much meanwhile", remedy="try again")
    if status.code == _CONFLICT:
        return RejectedError(f"{text}: somebody else changed it meanwhile", remedy=_LOOK_AGAIN)
    return RejectedError(text)


def _short(said: str) -> str:
    line = " ".join(said.split())
    return line if len(line) <= _LONGEST_REASON else f"{line[: _LONGEST_REASON - 1]}…"
