"""SARIF, held against the standard's own schema."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from orchestrator.errors import Problem
from orchestrator.report.findings import Found
from orchestrator.report.sarif import sarif

from . import mistakes

SCHEMA = json.loads((Path(__file__).parent / "sarif" / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
RULES = {"no-check-after-shift": "a shift with no check after it", "unused": "a name that nothing uses"}


def log_of(found: Sequence[Found], site: str = "") -> dict[str, Any]:
    """The log as a reader gets it, checked against the schema with its formats."""
    log = json.loads(sarif(found, RULES, "1.2.3", site))
    checker = jsonschema.Draft4Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
    assert [error.message for error in checker.iter_errors(log)] == []
    assert isinstance(log, dict)
    return log


@pytest.mark.parametrize("found", [(), mistakes.ALL], ids=["none", "all"])
def test_the_log_is_valid(found: Sequence[Found]) -> None:
    """With mistakes and without, the log is what the standard's schema asks for."""
    assert log_of(found)["version"] == "2.1.0"


def test_the_schema_would_see_a_mistake() -> None:
    """The validation has teeth: a level that SARIF does not know is refused."""
    log = json.loads(sarif(mistakes.ALL, RULES, "1.2.3"))
    log["runs"][0]["results"][0]["level"] = "dreadful"
    assert not jsonschema.Draft4Validator(SCHEMA).is_valid(log)


def test_each_result_names_its_rule_and_place() -> None:
    """A result has its rule by name and index, its level, its sentence, and its place as far as it is known."""
    run = log_of(mistakes.ALL)["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    verb, check, whole, nowhere = run["results"]
    assert verb["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "books/r.yaml"},
                "region": {"startLine": 3, "startColumn": 22},
            }
        }
    ]
    assert verb["message"]["text"].endswith("— did you mean 'traffic.shift'?")
    assert (verb["level"], check["level"]) == ("error", "warning")
    assert whole["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "books/r.yaml"}}}]
    assert "locations" not in nowhere
    assert run["columnKind"] == "unicodeCodePoints"


def test_every_rule_is_explained() -> None:
    """All rules of lint are there with what they ask for, broken or not, and where more is written."""
    rules = {rule["id"]: rule for rule in log_of(())["runs"][0]["tool"]["driver"]["rules"]}
    assert list(rules) == ["cannot-load", "no-check-after-shift", "unused"]
    assert rules["unused"]["shortDescription"]["text"] == "a name that nothing uses"
    assert rules["unused"]["help"]["text"].endswith("docs/lint.md#unused")
    assert "helpUri" not in rules["unused"]


def test_an_address_of_the_documentation_makes_links() -> None:
    """With the address below which the documentation lies each rule has an absolute link."""
    rules = log_of((), "https://example.org/failover/")["runs"][0]["tool"]["driver"]["rules"]
    assert rules[-1]["helpUri"] == "https://example.org/failover/docs/lint.md#unused"


def test_files_are_uri_references() -> None:
    """Blanks, colons and other letters are encoded; what lies outside the working folder is absolute."""
    files = ["a b/ü:1.yaml", "/etc/failover/r.yaml"]
    results = log_of([Found("unused", "error", Problem("it is wrong", "", file, 1, 1)) for file in files])
    uris = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in results["runs"][0]["results"]
    ]
    assert uris == ["a%20b/%C3%BC%3A1.yaml", "file:///etc/failover/r.yaml"]
