"""Addresses in the one spelling that two inventories have in common."""

from __future__ import annotations

import re
from typing import Final

_PORT: Final = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(:0*(?P<port>\d+))?")
_PORTS: Final = {"http": 80, "https": 443}


def plain_place(place: str, port: int) -> str:
    """``host`` or ``host:port``, in lower case and without what goes without saying: ``port``, a last dot, brackets."""
    match = _PORT.fullmatch(place.strip())
    if match is None:  # an IPv6 address without brackets has no port
        return place.strip().lower()
    host = match["host"].strip("[]").rstrip(".").lower()
    if match["port"] is None or int(match["port"]) == port:
        return host
    return f"[{host}]:{match['port']}" if ":" in host else f"{host}:{match['port']}"


def plain_url(url: str) -> str:
    """A URL, in lower case but for its path, without a port that its scheme has anyway or a last slash."""
    scheme, _, rest = url.strip().partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{plain_place(host, _PORTS.get(scheme.lower(), 0))}{slash}{path}".rstrip("/")
