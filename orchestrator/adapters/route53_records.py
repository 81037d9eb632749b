"""The records of one name and type in Amazon Route 53: what they say, and the batch that changes them.

Source: Amazon Route 53 API Reference, ``ResourceRecordSet`` and ``ChangeResourceRecordSets``.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.model.switch import Route53FailoverSwitch, Route53WeightsSwitch

ROLES: Final = {"PRIMARY": 1, "SECONDARY": 0}
"""The weights that stand for the two roles of failover records."""

_ALIAS_TTL: Final = 60.0
"""Seconds that resolvers hold the answer of an alias to a load balancer (Route 53 FAQ, "DNS Failover")."""

_NAMED: Final = frozenset({"CNAME", "MX", "SRV"})
"""Types whose last word is a name; Route 53 holds it as it was written, with or without its final dot."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record set, as Route 53 lists it."""

    whole: Mapping[str, Any]

    @property
    def identifier(self) -> str:
        """Its set identifier; empty for a record without a routing policy."""
        return str(self.whole.get("SetIdentifier", ""))

    @property
    def weight(self) -> int | None:
        """Its weight, or that of its failover role; None where it is routed in another way."""
        if "Failover" in self.whole:
            return ROLES[self.whole["Failover"]]
        return int(self.whole["Weight"]) if "Weight" in self.whole else None

    @property
    def ttl(self) -> float:
        """Seconds for which resolvers may hold its answer; of an alias those of a load balancer's."""
        return float(self.whole.get("TTL", _ALIAS_TTL))

    @property
    def alias_of(self) -> tuple[str, str]:
        """The hosted zone and the name that it is an alias of; empty when it is none."""
        target = self.whole.get("AliasTarget", {})
        return str(target.get("HostedZoneId", "")), str(target.get("DNSName", ""))

    @property
    def health_check(self) -> str:
        """The id of its health check; empty without one."""
        return str(self.whole.get("HealthCheckId", ""))

    @property
    def answers(self) -> frozenset[str]:
        """What resolvers answer from it, as ``resolvers.ask`` gives it; of an alias nothing is known."""
        return frozenset(
            _answer(str(self.whole["Type"]), str(one["Value"])) for one in self.whole.get("ResourceRecords", ())
        )

    def with_weight(self, weight: int) -> Record:
        """The same one with another weight, or the role that stands for it."""
        if "Failover" in self.whole:
            return Record({**self.whole, "Failover": role_of(weight)})
        return Record({**self.whole, "Weight": weight})


def role_of(weight: int) -> str:
    """The failover role that a weight stands for."""
    return next(role for role, stands_for in ROLES.items() if stands_for == weight)


def written(name: str) -> str:
    """A name as Route 53 lists it: lower case, a final dot, and what is no letter, digit, - or _ as ``\\052``.

    Source: Developer Guide, "DNS domain name format". A name may be given with such codes already.
    """
    plain = name.rstrip(".").lower()
    return re.sub(r"[^a-z0-9_.\\-]", lambda other: f"\\{ord(other[0]):03o}", plain) + "."


def batch(before: Iterable[Record], after: Iterable[Record]) -> Mapping[str, Any]:
    """The batch that replaces records: whoever has changed one of them since it was read has made it invalid."""
    deleted = [{"Action": "DELETE", "ResourceRecordSet": dict(record.whole)} for record in before]
    created = [{"Action": "CREATE", "ResourceRecordSet": dict(record.whole)} for record in after]
    return {"Comment": "failover", "Changes": deleted + created}


def batch_query(switch: Route53WeightsSwitch | Route53FailoverSwitch, weights: Mapping[str, int]) -> str:
    """The JMESPath expression that makes such a batch of what ``aws route53 list-resource-record-sets`` prints.

    Args:
        switch: whose records.
        weights: the new weight of each set identifier.
    """
    found = {name: f"ResourceRecordSets[?{_condition(switch, name)}]" for name in weights}
    deleted = [f"{records}.{{Action: 'DELETE', ResourceRecordSet: @}}" for records in found.values()]
    created = [
        f"{found[name]}.{{Action: 'CREATE', ResourceRecordSet: merge(@, {_field(switch, weight)})}}"
        for name, weight in weights.items()
    ]
    return "{Changes: [" + ", ".join([*deleted, *created]) + "][]}"


def _field(switch: Route53WeightsSwitch | Route53FailoverSwitch, weight: int) -> str:
    if isinstance(switch, Route53FailoverSwitch):
        return f"{{Failover: '{role_of(weight)}'}}"
    return f"{{Weight: `{weight}`}}"


def _condition(switch: Route53WeightsSwitch | Route53FailoverSwitch, identifier: str) -> str:
    wanted = {"Name": written(switch.name), "Type": switch.type, "SetIdentifier": identifier}
    return " && ".join(f"{key} == {_literal(value)}" for key, value in wanted.items())


def _literal(text: str) -> str:
    """A string in JMESPath, with which no name can end the expression that it stands in."""
    return "`" + json.dumps(text).replace("`", "\\u0060") + "`"


def _answer(type_: str, value: str) -> str:
    if type_ == "AAAA":
        return str(ipaddress.ip_address(value))
    if type_ not in _NAMED:
        return value
    words: Sequence[str] = value.lower().split()
    return " ".join([*words[:-1], words[-1].rstrip(".") + "."])
