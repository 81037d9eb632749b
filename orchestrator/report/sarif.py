"""What is wrong with files, for code scanners: SARIF 2.1.0.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html; what GitHub reads of it:
https://docs.github.com/en/code-security/reference/code-scanning/sarif-files/sarif-support
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from pydantic import JsonValue

from orchestrator.report.findings import CANNOT_LOAD, Mistake, relative, sentence

DOCUMENTATION: Final = "docs/lint.md"
"""Has a section for each rule."""
_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_UNUSABLE: Final = "a mistake in syntax, names or values, because of which the file cannot be used"


def sarif(found: Sequence[Mistake], rules: Mapping[str, str], version: str, site: str = "") -> str:
    """One run of lint, as indented JSON.

    ``rules`` are all rules of lint with what each finds; ``version`` is that of the program. ``site`` is the
    address below which the documentation lies: only with one have rules a ``helpUri``, which must be absolute
    (3.49.12). Columns are Unicode code points, as YAML parsers count them.
    """
    finds = {CANNOT_LOAD: _UNUSABLE, **rules}
    finds |= {one.rule: one.rule for one in found if one.rule not in finds}
    names = list(finds)
    run: dict[str, JsonValue] = {
        "tool": {
            "driver": {
                "name": "failover",
                "semanticVersion": version,
                "rules": [_rule(name, finds[name], site) for name in names],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, names.index(one.rule)) for one in found],
    }
    log: dict[str, JsonValue] = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"


def _rule(name: str, finds: str, site: str) -> dict[str, JsonValue]:
    section = f"{DOCUMENTATION}#{name}"
    rule: dict[str, JsonValue] = {
        "id": name,
        "shortDescription": {"text": finds},
        "help": {"text": f"{finds}. More in the documentation of failover, {section}"},
    }
    return rule | {"helpUri": f"{site.rstrip('/')}/{section}"} if site else rule


def _result(one: Mistake, index: int) -> dict[str, JsonValue]:
    result: dict[str, JsonValue] = {
        "ruleId": one.rule,
        "ruleIndex": index,
        "level": one.severity,
        "message": {"text": sentence(one)},
    }
    return result | {"locations": [_location(one)]} if one.problem.file else result


def _location(one: Mistake) -> dict[str, JsonValue]:
    place: dict[str, JsonValue] = {"artifactLocation": {"uri": _uri(one.problem.file)}}
    if one.problem.line:
        place["region"] = {"startLine": one.problem.line, "startColumn": max(1, one.problem.column)}
    return {"physicalLocation": place}


def _uri(file: str) -> str:
    """A reference relative to the working folder; an absolute one for what lies elsewhere (RFC 3986)."""
    inside = relative(file)
    # A first segment with a colon would read as a scheme (RFC 3986, 4.2): quote() writes it as %3A.
    return Path(inside).as_uri() if Path(inside).is_absolute() else quote(inside, errors="surrogateescape")
