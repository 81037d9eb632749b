"""The primary server of a zone: an RRset read straight from it, and changed by dynamic update.

Everything goes over TCP, without caches in between, and is signed where there is a key: a wrong one is found when a
plan is made and not when it is run. Source: RFC 2136 (updates), RFC 8945 (TSIG), BIND 9 ARM, "Dynamic Update".
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import dataclass
from typing import Final

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.update

from orchestrator.adapters.resolvers import address_of
from orchestrator.adapters.secrets import read_secret
from orchestrator.errors import OutsideError, RejectedError, UnfitError, UnreachableError
from orchestrator.model.switch import DnsSwitch, TsigKey

ANSWER_WITHIN: Final = 5.0
"""Seconds for connection and answer together."""

_CHANGED: Final = frozenset({dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN})
"""What a server answers where a prerequisite does not hold (RFC 2136, 2.2)."""

_LATER: Final = frozenset({dns.rcode.SERVFAIL})


@dataclass(frozen=True, slots=True)
class RecordSet:
    """An RRset as the primary has it; without records where there is none."""

    records: frozenset[dns.rdata.Rdata]
    ttl: int
    """Seconds that caches keep it, or keep that there is none (RFC 2308, 5)."""


class Primary:
    """The primary of one RRset's zone. Nothing is connected, and no secret read, before the first question."""

    def __init__(self, switch: DnsSwitch, within: float = ANSWER_WITHIN) -> None:
        self._server = switch.server
        self._within = within
        self._key = switch.key
        self._zone = dns.name.from_text(switch.zone)
        self._name = dns.name.from_text(switch.name)
        self._type = dns.rdatatype.from_text(switch.type)
        self._what = f"{switch.name} {switch.type} at {switch.server}"

    async def read(self) -> RecordSet:
        """The RRset now.

        Raises:
            UnreachableError: no answer, or none but "later".
            UnfitError: the server is none of the zone, does not know the key, or lets us not read.
        """
        query = dns.message.make_query(self._name, self._type, flags=0)
        cannot = f"cannot read {self._what}"
        reply = await self._exchange(query, cannot)
        if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise self._refused(cannot, reply.rcode())
        if not reply.flags & dns.flags.AA:
            raise UnfitError(f"{cannot}: it is no server of the zone", remedy="name the zone's primary as 'server'")
        return self._found(cannot, reply)

    async def name_servers(self) -> tuple[str, ...]:
        """The zone's name servers, each by its address where the primary knows it, else by its name.

        Raises:
            UnreachableError, UnfitError: as ``read``.
        """
        cannot = f"cannot read the name servers of {self._zone.to_text()} at {self._server}"
        reply = await self._exchange(dns.message.make_query(self._zone, dns.rdatatype.NS, flags=0), cannot)
        if reply.rcode() != dns.rcode.NOERROR:
            raise self._refused(cannot, reply.rcode())
        found = reply.get_rrset(reply.answer, self._zone, dns.rdataclass.IN, dns.rdatatype.NS)
        return tuple(_address(reply, one.target) for one in sorted(found or ()))

    async def replace(self, found: RecordSet, wanted: frozenset[dns.rdata.Rdata], ttl: int) -> None:
        """Make ``wanted`` of ``found``, all of it or nothing, and only if the RRset is still as it was found.

        Raises:
            UnreachableError: no answer, or none but "later": whether it was done is not known.
            RejectedError: somebody else has changed the RRset meanwhile, or the server says no.
            UnfitError: the server does not let us.
        """
        message = dns.update.UpdateMessage(self._zone)
        if found.records:
            message.present(self._name, *sorted(found.records))
        else:
            message.absent(self._name, self._type)
        for record in sorted(found.records - wanted):
            message.delete(self._name, record)
        for record in sorted(wanted - found.records):
            message.add(self._name, ttl, record)
        cannot = f"cannot change {self._what}"
        code = (await self._exchange(message, cannot)).rcode()
        if code in _CHANGED:
            raise RejectedError(f"{cannot}: somebody else changed it meanwhile", remedy="look, then try again")
        if code != dns.rcode.NOERROR:
            raise self._refused(cannot, code)

    async def _exchange(self, message: dns.message.Message, cannot: str) -> dns.message.Message:
        if self._key is not None:
            message.use_tsig(_signer(self._key), fudge=300)
        try:
            async with asyncio.timeout(self._within):
                address, port = await address_of(self._server)
                reply = await dns.asyncquery.tcp(message, address, port=port)
        except dns.tsig.PeerError as error:
            raise self._key_refused(cannot, error) from error
        except dns.exception.FormError as error:  # also an unsigned answer, which anybody may have sent (RFC 8945, 5.3)
            remedy = f"look whether {self._server} is the zone's primary, and knows the key"
            raise UnfitError(f"{cannot}: {error}", remedy=remedy) from error
        except (OSError, EOFError, dns.exception.DNSException) as error:
            why = "it does not answer in time" if isinstance(error, TimeoutError) else str(error)
            raise UnreachableError(f"{cannot}: {why}", remedy="look whether it runs, and what is in between") from error
        return reply

    def _found(self, cannot: str, reply: dns.message.Message) -> RecordSet:
        alias = reply.get_rrset(reply.answer, self._name, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if alias is not None and self._type != dns.rdatatype.CNAME:
            target = alias[0].to_text()
            raise UnfitError(f"{cannot}: the name is an alias of {target}", remedy="name the RRset that it leads to")
        found = reply.get_rrset(reply.answer, self._name, dns.rdataclass.IN, self._type)
        if found is not None:
            return RecordSet(frozenset(found), found.ttl)
        return RecordSet(frozenset(), _negative_ttl(reply))

    def _refused(self, cannot: str, code: dns.rcode.Rcode) -> OutsideError:
        said = f"{cannot}: it answers {dns.rcode.to_text(code)}"
        if code in _LATER:
            return UnreachableError(said, remedy="look at its logs, then try again")
        if code == dns.rcode.REFUSED:
            who = f"the key {self._key.name}" if self._key is not None else "this machine"
            remedy = f"its log says why; in BIND, let {who} change the name by the zone's 'update-policy'"
            return UnfitError(said, remedy=remedy)
        if code in (dns.rcode.NOTAUTH, dns.rcode.NOTZONE):
            remedy = "name the zone's primary as 'server', and the zone as it is there"
            return UnfitError(f"{said} for the zone {self._zone.to_text()}", remedy=remedy)
        if code == dns.rcode.NOTIMP:
            return UnfitError(said, remedy="name the zone's primary as 'server', and let it take dynamic updates")
        return RejectedError(said, remedy="look at its logs")

    def _key_refused(self, cannot: str, error: dns.tsig.PeerError) -> UnfitError:
        name = self._key.name if self._key is not None else "none"
        if isinstance(error, dns.tsig.PeerBadTime):
            return UnfitError(f"{cannot}: BADTIME, the clocks are too far apart", remedy="set both by NTP")
        if isinstance(error, dns.tsig.PeerBadKey):
            remedy = "correct 'key' in the inventory, name and algorithm, or add it to the server"
            return UnfitError(f"{cannot}: BADKEY, it does not know the key {name}", remedy=remedy)
        remedy = "compare the secret with the server's, and the algorithm"
        return UnfitError(f"{cannot}: BADSIG, it has another secret for the key {name}", remedy=remedy)


def _signer(key: TsigKey) -> dns.tsig.Key:
    cannot = f"cannot sign with the key {key.name}: the secret {key.secret}"
    try:
        secret = base64.b64decode(read_secret(key.secret), validate=True)
    except (binascii.Error, ValueError):  # the cause might show it
        raise UnfitError(f"{cannot} is no base64", remedy="copy it from the key's file at the server") from None
    return dns.tsig.Key(dns.name.from_text(key.name), secret, dns.name.from_text(key.algorithm))


def _address(reply: dns.message.Message, host: dns.name.Name) -> str:
    for type_ in (dns.rdatatype.A, dns.rdatatype.AAAA):
        found = reply.get_rrset(reply.additional, host, dns.rdataclass.IN, type_)
        if found is not None:
            return str(found[0].to_text())
    return str(host.to_text(omit_final_dot=True))


def _negative_ttl(reply: dns.message.Message) -> int:
    for found in reply.authority:
        if found.rdtype == dns.rdatatype.SOA:
            return min(found.ttl, *(int(soa.minimum) for soa in found))
    return 0
