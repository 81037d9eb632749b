"""Reads secrets when they are used, and takes what was read out of every text that leaves this process.

What was read is remembered for as long as the process lives: a server can repeat a password in an answer that comes
much later, and no log line is worth one.
"""

from __future__ import annotations

import base64
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import UnfitError
from orchestrator.model.secret import Secret

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

MASK: Final = "***"

SHORTEST: Final = 4
"""Shorter secrets are not taken out of texts, of which nothing would be left; and they keep nobody out."""

_LARGEST: Final = 64 * 1024
_OTHERS: Final = 0o077

_seen: set[str] = set()


def read_secret(secret: Secret, environment: Mapping[str, str] = os.environ) -> str:
    """What the reference stands for, as it is now, without one line break at the end.

    Raises:
        UnfitError: the variable or file is not there, is empty, or others than its owner may read the file.
    """
    if secret.env is not None:
        value = environment.get(secret.env, "")
        if not value:
            why = "is empty" if secret.env in environment else "is not set"
            raise UnfitError(f"cannot read the secret {secret}: it {why}", remedy=f"export {secret.env}=…")
    else:
        value = _read_file(secret, Path(str(secret.file)))
    remember(value)
    return value


def remember(value: str) -> None:
    """Take this, and what it looks like in JSON, in Python and in base64, out of every text from now on."""
    encoded = base64.b64encode(value.encode()).decode()
    forms = (value, value.strip(), encoded, json.dumps(value)[1:-1], repr(value)[1:-1])
    _seen.update(form for form in forms if len(value) >= SHORTEST <= len(form))


def redact(text: str) -> str:
    """``text`` with ``***`` in place of every secret that was read."""
    for value in sorted(_seen, key=len, reverse=True):  # one secret may be a part of another
        text = text.replace(value, MASK)
    return text


def redact_logs(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor for structlog, to stand before the renderer."""
    return {key: _redacted(value) for key, value in event.items()}


def _redacted(value: object) -> object:
    if isinstance(value, str):
        return redact(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {redact(str(key)): _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted(inner) for inner in value]
    shown = repr(value)  # what the renderer would write
    return value if redact(shown) == shown else redact(shown)


def _read_file(secret: Secret, path: Path) -> str:
    cannot = f"cannot read the secret {secret}"
    try:
        data = _bytes(cannot, path)
    except FileNotFoundError as error:
        raise UnfitError(
            f"{cannot}: there is no such file", remedy="write the secret into it, for you alone"
        ) from error
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UnfitError(f"{cannot}: {why}", remedy="let the user who runs failover read it") from error
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UnfitError(f"{cannot}: it is not UTF-8", remedy="save it as text") from None  # the cause has the bytes
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise UnfitError(f"{cannot}: it is empty", remedy="write the secret into it")
    return value


def _bytes(cannot: str, path: Path) -> bytes:
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not keep us waiting
    try:
        _check_mode(cannot, path, os.fstat(opened).st_mode)
        with os.fdopen(opened, "rb", closefd=False) as stream:
            data = stream.read(_LARGEST + 1)
    finally:
        os.close(opened)
    if len(data) > _LARGEST:
        raise UnfitError(f"{cannot}: it is larger than 64 KiB", remedy="name a file with nothing but the secret")
    return data


def _check_mode(cannot: str, path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise UnfitError(f"{cannot}: it is no regular file", remedy="name a file")
    if mode & _OTHERS:
        why = f"others than its owner may use it (mode {stat.S_IMODE(mode):04o})"
        raise UnfitError(f"{cannot}: {why}", remedy=f"chmod 600 {path}")
