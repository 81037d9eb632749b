"""What a person types to say one line to a socket: socat(1), as HAProxy's manual has it.

Source: HAProxy Management Guide, 9.3 "Unix Socket commands"; socat(1), ADDRESS SPECIFICATIONS.
"""

from __future__ import annotations

import re
from shlex import quote
from typing import Final

from orchestrator.adapters.haproxy_socket import is_path

_SPECIAL: Final = re.compile(r"""[\\"'!,:(\[{]""")
"""What socat takes apart in the name of a file, unless a backslash stands before it."""

_WAIT: Final = 5
"""Seconds that socat waits for the answer once the line is sent; by itself it waits for half a second."""


def pipe_to(place: str, line: str) -> str:
    """The shell command that sends a line to a socket, a path or host:port, and prints the answer."""
    # The echo of some shells takes backslashes apart, and options for itself.
    plain = "\\" not in line and not line.startswith("-")
    say = f"echo {quote(line)}" if plain else f"printf '%s\\n' {quote(line)}"
    return f"{say} | socat -t{_WAIT} stdio {quote(_address(place))}"


def _address(place: str) -> str:
    if is_path(place):
        return "UNIX-CONNECT:" + _SPECIAL.sub(r"\\\g<0>", place)
    return f"TCP6:{place}" if place.startswith("[") else f"TCP:{place}"
