"""What is wrong with files: as text, as JSON and as GitHub's annotations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import InputError, Problem
from orchestrator.report.findings import (
    Found,
    count_text,
    findings_json,
    findings_text,
    github_annotations,
    relative,
)

from . import mistakes

ANNOTATION = re.compile(r"::(error|warning) ([^:]*)::(.*)")


def test_the_text_names_the_rule_and_shows_the_line() -> None:
    """Each mistake is a sentence with its rule at the end, and its line with a caret; the counts come last."""
    assert findings_text(mistakes.ALL, mistakes.SOURCES) == (
        "books/r.yaml:3:22: cannot use 'traffic.shfit': there is no such verb — did you mean 'traffic.shift'? "
        "[cannot-load]\n"
        "    3 |   - {id: shift, do: traffic.shfit}\n"
        "      |                      ^\n"
        "books/r.yaml:3:5: warning: step shift is not checked [no-check-after-shift]\n"
        "    3 |   - {id: shift, do: traffic.shfit}\n"
        "      |     ^\n"
        "books/r.yaml: cannot use it: 100%��of it — leave it out [unused: a,b]\n"
        "cannot use -p x: it is not name=value [cannot-load]\n"
        "3 errors, 1 warning\n"
    )


def test_nothing_wrong_is_said() -> None:
    """Without a mistake the text says that there are no problems."""
    assert findings_text((), {}) == "no problems\n"
    assert count_text((mistakes.CHECK, mistakes.CHECK)) == "2 warnings"


def test_the_json_has_every_mistake_with_its_place() -> None:
    """The object has files, counts and problems; a place that there is not is null."""
    record = json.loads(findings_json(mistakes.ALL, ["books/r.yaml", "lab.yaml"]))
    assert list(record) == ["files", "errors", "warnings", "problems"]
    assert (record["files"], record["errors"], record["warnings"]) == (["books/r.yaml", "lab.yaml"], 3, 1)
    assert record["problems"][0] == {
        "file": "books/r.yaml",
        "line": 3,
        "column": 22,
        "rule": "cannot-load",
        "severity": "error",
        "message": "cannot use 'traffic.shfit': there is no such verb",
        "remedy": "did you mean 'traffic.shift'?",
    }
    places = [(one["file"], one["line"], one["column"]) for one in record["problems"][1:]]
    assert places == [("books/r.yaml", 3, 5), ("books/r.yaml", None, None), (None, None, None)]


def test_an_annotation_is_a_workflow_command() -> None:
    """GitHub gets the severity, the place as far as it is known, the rule as title, and an escaped message."""
    assert github_annotations(mistakes.ALL).splitlines() == [
        "::error file=books/r.yaml,line=3,col=22,title=failover%3A cannot-load::"
        + mistakes.VERB.problem.message
        + " — did you mean 'traffic.shift'?",
        "::warning file=books/r.yaml,line=3,col=5,title=failover%3A no-check-after-shift::step shift is not checked",
        "::error file=books/r.yaml,title=failover%3A unused%3A a%2Cb::cannot use it: 100%25%0D%0Aof it — leave it out",
        "::error title=failover%3A cannot-load::cannot use -p x: it is not name=value",
    ]


@given(text=st.text(alphabet=st.characters(codec="utf-8")), file=st.text(alphabet="a%:,\r\n/é", min_size=1))
def test_no_text_breaks_out_of_its_annotation(text: str, file: str) -> None:
    """Whatever message and file are, the annotation is one line from which both can be read back."""
    found = Found("rule", "error", Problem(text, "", file, 1, 1))
    annotation = github_annotations((found,))
    assert annotation.count("\n") == 1
    assert "\r" not in annotation
    match = ANNOTATION.fullmatch(annotation.removesuffix("\n"))
    assert match is not None
    properties = dict(part.split("=", 1) for part in match[2].split(","))
    assert unquote(properties["file"]) == relative(file)
    assert re.sub("%(25|0D|0A)", lambda code: unquote(code[0]), match[3]) == text


def test_files_are_named_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An absolute path inside the working folder becomes relative; one that lies elsewhere stays."""
    monkeypatch.chdir(tmp_path)
    inside = Problem("it is wrong", "", str(tmp_path / "books" / "r.yaml"), 1, 1)
    outside = Problem("it is wrong", "", "/etc/failover/r.yaml", 1, 1)
    found = [Found("rule", "error", problem) for problem in (inside, outside)]
    assert findings_text(found, {inside.file: ("a: b",)}).splitlines()[:2] == [
        "books/r.yaml:1:1: it is wrong [rule]",
        "    1 | a: b",
    ]
    places = [one["file"] for one in json.loads(findings_json(found, []))["problems"]]
    assert places == ["books/r.yaml", "/etc/failover/r.yaml"]


def test_what_keeps_a_file_from_being_loaded_is_an_error() -> None:
    """Problems of loading have a rule of their own."""
    problems = [one.problem for one in mistakes.ALL]
    assert {(one.rule, one.severity) for one in Found.unloadable(InputError(problems))} == {("cannot-load", "error")}
