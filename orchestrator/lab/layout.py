"""Which sites and hosts every lab has."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, Literal

Gate = Literal["postfix-policy", "postfix-map", "none"]
"""What can answer 421 at MAIL FROM on each host, named as in an inventory."""

SPARE: Final = "dfw"
"""The site that stands ready but takes no traffic: weight 0."""

SITE_HOSTS: Final = MappingProxyType(
    {
        "ord": ("ord-mx1", "ord-mx2"),
        "iad": ("iad-mx1", "iad-mx2"),
        SPARE: ("dfw-mx1", "dfw-mx2"),
    }
)

SITES: Final = tuple(SITE_HOSTS)
HOSTS: Final = tuple(host for hosts in SITE_HOSTS.values() for host in hosts)

CLIENT: Final = "client"
"""The Postfix that plays the sending MTA in the profile ``postfix``; it stands at no site."""

SERVER_NAME: Final = "mx.lab"
"""The name in the certificate that every host shows."""

PROBE_MAILBOX: Final = "probe@lab.example"
"""Sender and recipient of test messages; what arrives here lies in the inbox and is no part of the ledger."""


def site_of(host: str) -> str:
    """The site of a host, or of a name that begins with one, as a banner does."""
    return host.partition("-")[0]


def weight(site: str) -> int:
    """The weight of the site's servers when the lab starts."""
    return 0 if site == SPARE else 100
