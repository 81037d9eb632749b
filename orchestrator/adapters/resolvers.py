"""What a DNS server answers to one question: a resolver that clients use, or a server of the zone itself.

Source: RFC 1035; RFC 7766 for the change to TCP where an answer does not fit into a datagram.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING, Final

from orchestrator.errors import UnfitError, UnreachableError

if TYPE_CHECKING:
    from dns.message import Message
    from dns.rdata import Rdata

PORT: Final = 53
_LARGEST_PORT: Final = 65_535

_PAYLOAD: Final = 1232
"""Bytes of an answer that pass every network in one datagram (DNS Flag Day 2020)."""

_PLACE: Final = re.compile(r"\[([^\]]+)\](?::(\d+))?|([^:]+)(?::(\d+))?|([^\[\]]*:[^\[\]]*:[^\[\]]*)")
"""[IPv6], [IPv6]:port, host, host:port, or an IPv6 address alone."""

_EXACT_CASE: Final = frozenset({"TXT"})
"""Types whose data are more than names and numbers."""


async def ask(resolver: str, name: str, type_: str, within: float = 2.0) -> frozenset[str]:
    """The data of all records of ``name`` and ``type_`` as the server gives them now; empty where there are none.

    Names are in lower case and end with a dot, as ``10 mx1.example.com.``; aliases are followed as far as the server
    says.

    Args:
        resolver: host or host:port.
        name: as mx.example.com, the final dot may be left out.
        type_: as A.
        within: seconds until it is given up.

    Raises:
        UnreachableError: no answer in time, or none but an error.
        UnfitError: there can be no such question, or no dnspython to ask it with.
    """
    try:
        import dns.asyncquery
        import dns.exception
        import dns.message
        import dns.rcode
    except ModuleNotFoundError as error:
        remedy = "pip install 'failover[dns]'"
        raise UnfitError(f"cannot ask {resolver}: dnspython is not installed", remedy=remedy) from error

    cannot = f"cannot ask {resolver} for {name} {type_}"
    query = _question(cannot, name, type_)
    try:
        async with asyncio.timeout(within):
            address, port = await address_of(resolver)
            reply, _ = await dns.asyncquery.udp_with_fallback(
                query, address, port=port, ignore_unexpected=True, ignore_errors=True
            )
        if reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return _answer(reply)
    except (OSError, EOFError, dns.exception.DNSException) as error:
        why = "it does not answer in time" if isinstance(error, TimeoutError) else str(error)
        raise UnreachableError(f"{cannot}: {why}", remedy="look whether it runs, and what is in between") from error
    said = dns.rcode.to_text(reply.rcode())
    raise UnreachableError(f"{cannot}: it answers {said}", remedy="look whether it serves us, and what its logs say")


def record_text(rdata: Rdata) -> str:
    """Record data as ``ask`` gives them, so that they can be compared."""
    from dns.rdatatype import to_text

    text = rdata.to_text()
    return text if to_text(rdata.rdtype) in _EXACT_CASE else text.lower()


def parse_record(type_: str, text: str) -> Rdata:
    """Record data as an inventory writes them; names may lack their final dot.

    Raises:
        ValueError: they are none of this type.
    """
    import dns.exception
    import dns.name
    import dns.rdata
    import dns.rdataclass

    try:
        return dns.rdata.from_text(dns.rdataclass.IN, type_, text, origin=dns.name.root, relativize=False)
    except (dns.exception.DNSException, ValueError) as error:
        raise ValueError(f"{text!r} is no record data of the type {type_}: {error}") from error


def parse_place(place: str) -> tuple[str, int]:
    """Host and port of a DNS server.

    Raises:
        UnfitError: it is neither host nor host:port.
    """
    match = _PLACE.fullmatch(place)
    port = int(match[2] or match[4] or PORT) if match is not None else 0
    if match is None or not 0 < port <= _LARGEST_PORT:
        raise UnfitError(f"cannot use {place!r} as a DNS server", remedy="write host, host:port or [IPv6]:port")
    return match[1] or match[3] or match[5], port


async def address_of(place: str) -> tuple[str, int]:
    """Address and port of a DNS server; a name is looked up as this machine does.

    Raises:
        OSError: it has no address.
        UnfitError: as ``parse_place``.
    """
    host, port = parse_place(place)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(f"{host!r} is no name of a host") from error
    return str(found[0][4][0]), port


def _question(cannot: str, name: str, type_: str) -> Message:
    import dns.exception
    import dns.message

    try:
        return dns.message.make_query(name, type_, use_edns=0, payload=_PAYLOAD)
    except (dns.exception.DNSException, ValueError) as error:
        raise UnfitError(f"{cannot}: {error}", remedy="correct the name and type in the inventory") from error


def _answer(reply: Message) -> frozenset[str]:
    from dns.message import QueryMessage

    found = reply.resolve_chaining().answer if isinstance(reply, QueryMessage) else None
    return frozenset(record_text(rdata) for rdata in found or ())
