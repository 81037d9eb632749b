"""How AWS is called: whose credentials, how many calls at a time, how often again, and what its errors are here.

boto3 is synchronous: calls run in threads, as many as the HTTP client keeps connections for, so that none waits for
a connection and none is thrown away. Throttled and failed calls are made again by botocore itself ("standard" mode:
exponential back-off with jitter, a quota against retry storms; Boto3 guide, "Retries"), but not once nobody waits for
them any more: a write must not land after its step has been given up.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from orchestrator.adapters.call_threads import CallThreads, Limits, ticket
from orchestrator.errors import OutsideError, RejectedError, UnfitError, UnreachableError
from orchestrator.model.access import AwsAccess

if TYPE_CHECKING:
    import boto3
    from botocore.client import BaseClient
    from botocore.config import Config
    from botocore.exceptions import ClientError

T = TypeVar("T")

Reply: TypeAlias = Mapping[str, Any]
"""What a call returns, as boto3 parses it: an adapter reads it into values, and nothing of it goes further."""

AT_A_TIME: Final = 10
"""Calls side by side of one access: AWS throttles whoever asks much more, and a plan has other things to do too."""

TRIES: Final = 5
READS: Final = Limits(connect=5.0, answer=6.0, tries=TRIES, whole=20.0)
"""What looks must not be blind for long: guards, and an undo, wait for it."""
WRITES: Final = Limits(connect=5.0, answer=20.0, tries=TRIES, whole=60.0, lands=True)

_READS: Final = ("describe_", "get_", "list_")

_LONGEST_REASON: Final = 300
"""Characters of what AWS says: some errors repeat the whole request."""

READ_BACK_TRIES: Final = 4
READ_BACK_PAUSE: Final = 1.0
"""Seconds between two looks at what has just been written: a reply may come from a server that does not know yet
(Amazon EC2 API Reference, "Eventual consistency")."""

_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedAccess"})
_NOT_US: Final = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_BUSY: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "HealthUnavailable",
        "InternalError",
        "InternalFailure",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ResourceContention",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""Codes that mean "later", whatever status they come with (Boto3 guide, "Retries", and the services' own errors)."""

_LATER: Final = 429
_THEIR_FAULT: Final = 500
"""HTTP status codes (RFC 6585, 4; RFC 9110, 15.6)."""


class Aws:
    """AWS as one access sees it. Nothing is imported or connected before the first call."""

    def __init__(
        self, access: AwsAccess, at_a_time: int = AT_A_TIME, reads: Limits = READS, writes: Limits = WRITES
    ) -> None:
        self._access = access
        self._at_a_time = at_a_time
        self._reads = reads
        self._writes = writes
        self._threads = CallThreads(at_a_time, "aws")
        self._making = threading.Lock()
        """boto3 sessions must not be shared by threads while clients are made (Boto3 guide, "Session reference")."""
        self._session: boto3.Session | None = None
        self._clients: dict[tuple[str, str | None, str | None, Limits], BaseClient] = {}

    async def call(
        self,
        service: str,
        operation: str,
        /,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        within: float | None = None,
        **arguments: Any,
    ) -> Reply:
        """Make one call, as ``call("elbv2", "describe_rules", RuleArns=[…])``, and return what it replies.

        When it is cancelled it sends nothing more, and ends when the try that is on its way has: only a read, which
        changes nothing, is left alone.

        Args:
            service: as boto3 calls it.
            operation: its method.
            region: another one than that of the access.
            endpoint: another URL than that of the access.
            within: seconds to wait for a connection, and for the answer, with one try only: for whoever has another
                endpoint to go on to. Nothing of the call is under way any more when it returns.
            arguments: as boto3 takes them.

        Raises:
            UnreachableError: no answer, or none but "later": what the call has done is not known.
            RejectedError: AWS says no. Its ``code`` is AWS's own.
            UnfitError: no credentials, or not the right to do this.
        """
        limits = self._limits(operation, within)
        ask = partial(self._call, service, operation, region, endpoint, limits, arguments)
        return await self._threads.run(ask, f"{service} {_camel(operation)}", limits)

    async def pages(
        self,
        service: str,
        operation: str,
        key: str,
        /,
        *,
        region: str | None = None,
        endpoint: str | None = None,
        **arguments: Any,
    ) -> AsyncIterator[Any]:
        """Every item under ``key`` of all pages; takes and raises what ``call`` does.

        The services do not agree on how the next page is asked for; botocore's models know it of each operation.
        """
        what = f"{service} {_camel(operation)}"
        begin = partial(self._paged, service, operation, region, endpoint, arguments)
        following = await self._threads.run(begin, what, self._reads)
        go_on = partial(self._next, service, operation, following)
        while (page := await self._threads.run(go_on, what, self._reads)) is not None:
            for item in page.get(key, ()):
                yield item

    def by_hand(self, service: str, operation: str, *arguments: str, region: str | None = None) -> str:
        """The same call as a person types it for the ``aws`` command line: ``operation`` with dashes, words quoted.

        It must be typed by somebody who may do what this access may: where that assumes a role, as that role.
        """
        access = self._access
        url = access.endpoints.get(service) or access.endpoint
        options = (("--region", region or access.region), ("--profile", access.profile), ("--endpoint-url", url))
        given = [word for option, value in options if value for word in (option, value)]
        return " ".join(map(quote, ["aws", *given, service, operation, *arguments]))

    def _paged(
        self, service: str, operation: str, region: str | None, endpoint: str | None, arguments: Mapping[str, Any]
    ) -> Iterator[Reply]:
        client = _translated(service, operation, lambda: self._client(service, region, endpoint, self._reads))
        if client.can_paginate(operation):
            return iter(client.get_paginator(operation).paginate(**arguments))
        return (getattr(client, operation)(**arguments) for _ in range(1))

    def _next(self, service: str, operation: str, following: Iterator[Reply]) -> Reply | None:
        return _translated(service, operation, lambda: next(following, None))

    def _call(
        self,
        service: str,
        operation: str,
        region: str | None,
        endpoint: str | None,
        limits: Limits,
        arguments: Mapping[str, Any],
    ) -> Reply:
        def ask() -> Reply:
            reply: Reply = getattr(self._client(service, region, endpoint, limits), operation)(**arguments)
            return _whole(f"{service} {_camel(operation)}", operation, reply)

        return _translated(service, operation, ask)

    def _client(self, service: str, region: str | None, endpoint: str | None, limits: Limits = READS) -> BaseClient:
        key = (service, region, endpoint, limits)
        with self._making:
            if key not in self._clients:
                self._clients[key] = self._make(service, region, endpoint, limits)
            return self._clients[key]

    def _limits(self, operation: str, within: float | None) -> Limits:
        limits = self._reads if operation.startswith(_READS) else self._writes
        if within is None:
            return limits
        return replace(limits, connect=within, answer=within, tries=1, whole=max(READS.whole, 2 * within))

    def _make(self, service: str, region: str | None, endpoint: str | None, limits: Limits) -> BaseClient:
        url = endpoint or self._access.endpoints.get(service) or self._access.endpoint
        return self._open_session().client(service, region_name=region, endpoint_url=url, config=self._config(limits))

    def _config(self, limits: Limits) -> Config:
        from botocore.config import Config

        return Config(
            connect_timeout=limits.connect,
            read_timeout=limits.answer,
            retries={"mode": "standard", "total_max_attempts": limits.tries},
            max_pool_connections=self._at_a_time,
            user_agent_extra="failover",
        )

    def _open_session(self) -> boto3.Session:
        import boto3

        if self._session is None:
            own = boto3.Session(profile_name=self._access.profile, region_name=self._access.region)
            session = own if self._access.assume_role is None else self._as_role(own, self._access.assume_role)
            session.events.register_first("before-send", _send)
            session.events.register("response-received", _land)
            self._session = session
        return self._session

    def _as_role(self, own: boto3.Session, role: str) -> boto3.Session:
        """A session with the role's credentials, which are got anew before they expire."""
        import boto3
        from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
        from botocore.session import get_session

        source = own._session
        url = self._access.endpoints.get("sts") or self._access.endpoint
        extra = {"RoleSessionName": "failover"}
        if self._access.external_id is not None:
            extra["ExternalId"] = self._access.external_id
        credentials = source.get_credentials()
        if credentials is None:
            raise UnfitError(f"cannot assume {role}: there are no AWS credentials", remedy=_HOW_TO_LOG_IN)
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=partial(source.create_client, endpoint_url=url, config=self._config(self._reads)),
            source_credentials=credentials,
            role_arn=role,
            extra_args=extra,
        )
        target = get_session()
        target._credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
        return boto3.Session(botocore_session=target, region_name=own.region_name)


class AwsRejectedError(RejectedError):
    """AWS answered, and said no; ``code`` is its own word for why."""

    def __init__(self, message: str, *, remedy: str = "", code: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.code = code


_HOW_TO_LOG_IN: Final = "log in (aws sso login, AWS_PROFILE, an instance role), as for the aws command line"


def _send(**_: Any) -> None:
    """What botocore asks before each try: whether somebody still waits for it."""
    ticket().send()


def _land(exception: Exception | None, **_: Any) -> None:
    """What botocore calls after each try. After one that failed nobody need wait until it would not be tried again."""
    mine = ticket()
    mine.land()
    if exception is not None:
        mine.check()


async def read_back(
    read: Callable[[], Awaitable[T]], is_right: Callable[[T], bool], pause: float = READ_BACK_PAUSE
) -> T:
    """What ``read`` says after a write: asked again, ``pause`` seconds later, a few times while it is not right."""
    for _ in range(READ_BACK_TRIES - 1):
        if is_right(now := await read()):
            return now
        await asyncio.sleep(pause)
    return await read()


def _translated(service: str, operation: str, ask: Callable[[], T]) -> T:
    """What ``ask`` returns; what botocore raises, as an error of ours."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ask()
    except ClientError as error:
        raise _answered(service, error) from error
    except BotoCoreError as error:
        raise _unanswered(f"{service} {_camel(operation)}", error) from error


def _answered(service: str, answer: ClientError) -> OutsideError:
    """The error for a "no"; it names the call that was refused, which may be the one that assumes the role."""
    error = answer.response.get("Error", {})
    status = answer.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code, said = str(error.get("Code", "")), str(error.get("Message", ""))[:_LONGEST_REASON]
    asked = "sts" if answer.operation_name == "AssumeRole" else service
    text = f"cannot call {asked} {answer.operation_name}: {said or 'AWS gives no reason'} ({code})"
    if code in _DENIED:
        return UnfitError(
            text, remedy="give this role the right; 'failover permissions RUNBOOK' prints all that it needs"
        )
    if code in _NOT_US:
        return UnfitError(text, remedy=_HOW_TO_LOG_IN)
    if code in _BUSY or status == _LATER or status >= _THEIR_FAULT:
        return UnreachableError(text, remedy="try again later")
    return AwsRejectedError(text, code=code)


def _whole(what: str, operation: str, reply: Reply) -> Reply:
    """A reply that has something in it: botocore finds nothing in a page of HTML, and calls that a reply.

    Raises:
        UnreachableError: it has nothing of what was asked for.
    """
    if operation.startswith(("describe_", "list_", "get_")) and not set(reply) - {"ResponseMetadata"}:
        raise UnreachableError(
            f"cannot call {what}: the answer has nothing of what was asked for",
            remedy="look whether AWS answers at that URL, and not a proxy or a login page",
        )
    return reply


def _unanswered(what: str, error: Exception) -> OutsideError:
    from botocore import exceptions

    said = str(error)[:_LONGEST_REASON]
    if isinstance(error, exceptions.ProfileNotFound):
        remedy = "correct aws.profile in the inventory; 'aws configure list-profiles' lists those of this machine"
        return UnfitError(f"cannot call {what}: {said}", remedy=remedy)
    nobody = exceptions.NoCredentialsError, exceptions.PartialCredentialsError
    if isinstance(error, (*nobody, exceptions.CredentialRetrievalError, exceptions.SSOError)):
        return UnfitError(f"cannot call {what}: {said}", remedy=_HOW_TO_LOG_IN)
    if isinstance(error, exceptions.NoRegionError):
        return UnfitError(f"cannot call {what}: no region is given", remedy="add aws.region to the inventory")
    if isinstance(error, exceptions.ParamValidationError):
        return UnfitError(f"cannot call {what}: {said}", remedy="correct the names and ARNs in the inventory")
    return UnreachableError(f"cannot call {what}: {said}", remedy="look at the network and at AWS's own status")


def _camel(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))
