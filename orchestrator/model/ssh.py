"""Where ssh is to connect to, as people write it: ``[user@]host[:port]``."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema

from orchestrator.model.value import Value

_ADDRESS: Final = re.compile(
    r"(?:(?P<user>[^\s@-][^\s@]*)@)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s@:\[\]-][^\s@:\[\]]*))(?::(?P<port>[0-9]{1,5}))?"
    r"|(?:(?P<user_of_bare>[^\s@-][^\s@]*)@)?(?P<bare_v6>[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)"
)
"""A host that begins with ``-`` would be an option to ssh(1). An IPv6 address has a port only in brackets."""


class SshTarget(Value):
    """The parts of an address; None: as ssh_config(5) says."""

    host: str
    user: str | None = None
    port: int | None = None

    @property
    def destination(self) -> str:
        """``[user@]host``, as ssh(1) takes it."""
        return f"{self.user}@{self.host}" if self.user else self.host


def parse_ssh(text: str) -> SshTarget:
    """The target from ``host``, ``user@host``, ``user@host:2222`` or ``user@[2001:db8::1]:2222``.

    Raises:
        ValueError: it is none of these.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or (match["port"] and not 0 < int(match["port"]) < 65536):
        raise ValueError(f"{text!r} is no address for ssh: write for example admin@192.0.2.10:22")
    host = match["v6"] or match["host"] or match["bare_v6"]
    return SshTarget(
        host=host,
        user=match["user"] or match["user_of_bare"],
        port=int(match["port"]) if match["port"] else None,
    )


def _checked(text: str) -> str:
    if text:
        parse_ssh(text)
    return text


SshAddress = Annotated[
    str,
    AfterValidator(_checked),
    WithJsonSchema({"type": "string", "description": "An address for ssh.", "examples": ["admin@192.0.2.10:22"]}),
]
"""The text of an ``SshTarget``, or nothing."""
