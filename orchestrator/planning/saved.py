"""A plan in a file, as it was reviewed: with its checksum, so that nobody runs what nobody has read."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Final

from pydantic import JsonValue, ValidationError

from orchestrator.errors import InputError, Problem
from orchestrator.model.plan import Plan

FORMAT: Final = 1
"""The format's number; a file of a greater one is not read."""

_AGAIN: Final = "make the plan again, and have it reviewed"


def save(plan: Plan, made_at: float, version: str) -> str:
    """The file's text. ``made_at`` is Unix time, ``version`` this program's."""
    made = datetime.fromtimestamp(made_at, tz=UTC).isoformat(timespec="seconds")
    content = {
        "failover_plan": FORMAT,
        "checksum": plan.checksum,
        "made": made,
        "version": version,
        "plan": plan.model_dump(mode="json", by_alias=True),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read_saved(text: str, file: str) -> Plan:
    """The plan in ``text``; ``file`` is what it is called in errors.

    Raises:
        InputError: it is no saved plan, it was changed, or another version of this program made it.
    """
    content = _content(text, file)
    stated, written = content.get("checksum"), content.get("plan")
    if _checksum(written) != stated:
        raise _unusable(file, "it was changed after it was made", _AGAIN)
    try:
        plan = Plan.model_validate(written)
    except ValidationError as error:
        raise _foreign(file, content) from error
    if plan.checksum != stated:
        raise _foreign(file, content)
    return plan


def _content(text: str, file: str) -> dict[str, JsonValue]:
    remedy = "name a file that 'failover plan -o FILE' wrote"
    try:
        content: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unusable(file, "it is not JSON", remedy) from error
    number = content.get("failover_plan") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(number, int) or isinstance(number, bool):
        raise _unusable(file, "it is not a saved plan", remedy)
    if number > FORMAT:
        raise _unusable(file, f"its format is {number}, newer than {FORMAT}", "use the failover that made it")
    return content


def _checksum(written: JsonValue) -> str:
    """As ``Plan.checksum``, of what is in the file."""
    return hashlib.sha256(json.dumps(written, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _foreign(file: str, content: dict[str, JsonValue]) -> InputError:
    return _unusable(file, f"failover {content.get('version')} made it, and this is another version", _AGAIN)


def _unusable(file: str, why: str, remedy: str) -> InputError:
    return InputError([Problem(f"cannot use this plan: {why}", remedy, file=file)])
