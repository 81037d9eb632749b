"""The JSON Schema of files: it is current, it accepts what loading accepts, and it refuses what is mistyped."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from pydantic import TypeAdapter, ValidationError
from typer.testing import CliRunner

from orchestrator.cli.main import app
from orchestrator.load import document
from orchestrator.load.json_schema import MODELS, FileKind, schema_text
from orchestrator.load.node import plain
from orchestrator.load.problems import Problems
from orchestrator.model import units
from orchestrator.model.written import RunbookFile

PROJECT = Path(__file__).parents[3]
COMMITTED: dict[FileKind, str] = {
    "runbook": "runbooks/runbook.schema.json",
    "inventory": "inventories/inventory.schema.json",
}
KINDS = get_args(FileKind)
RUNBOOKS = sorted((PROJECT / "runbooks").glob("*.yaml"))
INVENTORIES = [*sorted((PROJECT / "inventories").glob("*.yaml")), Path(__file__).parent / "inventory.yaml"]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("**/*.md"))]
WRONG = sorted((Path(__file__).parent / "wrong").glob("schema-*.yaml"))
VALIDATORS = {kind: Draft7Validator(json.loads(schema_text(kind))) for kind in KINDS}
GIVEN = {"site": "ord", "pool": "smtp", "host": "mx1", "duration": "5s", "percent": "5%", "number": 2}
"""What stands for a parameter that has no default."""

Tree = Any
Way = tuple[str | int, ...]


@functools.cache
def tree_of(path: Path) -> Tree:
    """The file as plain mappings, lists and scalars; not to be changed."""
    node = document.read(path, Problems())
    assert node is not None
    return plain(node)


def mistakes(kind: FileKind, tree: Tree) -> list[str]:
    """What the schema has against it, with the place."""
    return [f"{error.json_path}: {error.message}" for error in VALIDATORS[kind].iter_errors(tree)]


def bound(tree: Tree) -> Tree:
    """A runbook with something in the place of each parameter."""
    parameters = tree.get("parameters", {})
    values = {name: one.get("default", GIVEN.get(one["type"], "word")) for name, one in parameters.items()}

    def insert(node: Tree) -> Tree:
        if isinstance(node, dict):
            return {key: insert(value) for key, value in node.items()}
        if isinstance(node, list):
            return [insert(value) for value in node]
        if not isinstance(node, str):
            return node
        whole = re.fullmatch(r"\$\{(\w+)\}", node)
        return values[whole[1]] if whole else re.sub(r"\$\{(\w+)\}", lambda match: str(values[match[1]]), node)

    return insert(tree)


def ways(node: Tree, way: Way = ()) -> Iterator[Way]:
    """The way to everything in a tree."""
    yield way
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield from ways(value, (*way, key))


def at(node: Tree, way: Way) -> Tree:
    """What stands there."""
    for key in way:
        node = node[key]
    return node


def changed(tree: Tree, way: Way, value: Tree) -> Tree:
    """A copy with another value there."""
    copied = copy.deepcopy(tree)
    at(copied, way[:-1])[way[-1]] = value
    return copied


def has_own_keys(way: Way) -> bool:
    """Whether a mapping there has the keys that its author likes."""
    return way in {("parameters",), ("checks",)} or way[-3:-2] == ("includes",)


@pytest.mark.parametrize("kind", KINDS)
def test_committed_schema_is_current(kind: FileKind) -> None:
    """The files that editors read are what the models say today."""
    remedy = f"failover schema {kind} -o {COMMITTED[kind]}"
    assert (PROJECT / COMMITTED[kind]).read_text(encoding="utf-8") == schema_text(kind), remedy


@pytest.mark.parametrize("kind", KINDS)
def test_schema_is_a_schema(kind: FileKind) -> None:
    """It follows the rules of draft-07 itself."""
    Draft7Validator.check_schema(json.loads(schema_text(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_schema_explains_everything(kind: FileKind) -> None:
    """Each key and each kind has words that an editor can show."""
    schema = json.loads(schema_text(kind))
    definitions = schema.pop("definitions")
    for name, model in {"": schema, **definitions}.items():
        for key, value in model.get("properties", {}).items():
            told = definitions[value["$ref"].rpartition("/")[2]] if "$ref" in value else {}
            words = value.get("description") or value.get("enumDescriptions") or told.get("description")
            assert words, f"{name}.{key} has no description"


@pytest.mark.parametrize("path", RUNBOOKS + INVENTORIES, ids=lambda path: path.name)
def test_good_file_is_accepted(path: Path) -> None:
    """What we ship, and what other tests load, has no mistake."""
    assert mistakes("runbook" if path in RUNBOOKS else "inventory", tree_of(path)) == []


@pytest.mark.parametrize("path", RUNBOOKS + INVENTORIES[:-1], ids=lambda path: path.name)
def test_shipped_file_names_its_schema(path: Path) -> None:
    """Whoever opens a file that we ship has the editor's help at once."""
    kind = "runbook" if path in RUNBOOKS else "inventory"
    assert path.read_text(encoding="utf-8").startswith(f"# yaml-language-server: $schema={kind}.schema.json\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_example_in_the_docs_is_accepted(page: Path, file: Callable[..., Path]) -> None:
    """An example may leave keys out; what it has is right."""
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        tree = tree_of(file(block))
        if "switch" in tree:  # a part of a pool
            tree = {"pools": {"smtp": tree}}
        if not set(tree) & {*MODELS["inventory"].model_fields, *MODELS["runbook"].model_fields}:
            continue  # somebody else's file
        kind: FileKind = "inventory" if set(tree) & set(MODELS["inventory"].model_fields) - {"version"} else "runbook"
        found = [one for one in VALIDATORS[kind].iter_errors(tree) if one.validator != "required"]
        assert found == [], block


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.name)
def test_wrong_file_is_refused(path: Path) -> None:
    """What loading refuses for its form an editor underlines too, without exception."""
    assert mistakes("runbook", tree_of(path))


@pytest.mark.parametrize(
    ("where", "text"),
    [
        (("steps", 0, "timeout"), "${limit}"),
        (("steps", 0, "on_failure"), "${how}"),
        (("steps", 0, "retries"), {"times": "${n}", "factor": "${n}", "pause": "${n}s"}),
        (("checks", "flows", "with"), {"starttls": "${tls}", "concurrency": "${n}", "message_size": "${n}KiB"}),
        (("checks", "flows", "expect"), {"p99": "<= ${limit}"}),
        (("guards", 0, "headroom", "at_least"), "${n}"),
        (("steps", 0, "id"), "look-at-${site}"),
    ],
)
def test_reference_stands_for_any_value(where: Way, text: Tree) -> None:
    """Where a number, a word or a unit is wanted ``${name}`` is right as well."""
    tree = {
        "runbook": "trial",
        "checks": {"flows": {"probe": "smtp", "at": {"pool": "smtp"}}},
        "guards": [{"headroom": {"pool": "smtp", "at_least": 1.3}}],
        "steps": [{"id": "look", "do": "verify", "checks": ["flows"]}],
    }
    assert mistakes("runbook", changed(tree, where, text)) == []


@pytest.mark.parametrize(
    ("where", "key"),
    [(("steps", 0), "do"), (("checks", "flows"), "probe"), (("parameters", "site"), "type")],
)
def test_kind_is_no_reference(where: Way, key: str) -> None:
    """What tells the kind of a mapping cannot be left open."""
    tree = {
        "runbook": "trial",
        "parameters": {"site": {"type": "site"}},
        "checks": {"flows": {"probe": "smtp", "at": {"pool": "smtp"}}},
        "steps": [{"id": "look", "do": "verify", "checks": ["flows"]}],
    }
    assert mistakes("runbook", tree) == []
    assert mistakes("runbook", changed(tree, (*where, key), "${kind}"))


def test_mistyped_key_of_a_kind_is_named() -> None:
    """Where the kind is missing because its key is mistyped, that key is underlined too."""
    tree = {"runbook": "trial", "steps": [{"id": "look", "du": "verify", "checks": ["flows"]}]}
    assert any("'du'" in mistake for mistake in mistakes("runbook", tree))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_unknown_key_is_refused(data: st.DataObject) -> None:
    """Wherever keys are fixed no other one is accepted."""
    tree = tree_of(data.draw(st.sampled_from(RUNBOOKS)))
    fixed = [way for way in ways(tree) if isinstance(at(tree, way), dict) and not has_own_keys(way)]
    way = data.draw(st.sampled_from(fixed))
    assume(at(tree, way[:-1]).get("do") != "include" if way[-1:] == ("with",) else True)  # another runbook's parameters
    assert mistakes("runbook", changed(tree, (*way, "pol"), "smtp"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_mapping_in_the_place_of_a_value_is_refused(data: st.DataObject) -> None:
    """No value of a runbook can be a mapping with any keys."""
    tree = tree_of(data.draw(st.sampled_from(RUNBOOKS)))
    way = data.draw(st.sampled_from([way for way in ways(tree) if not isinstance(at(tree, way), dict | list)]))
    assert mistakes("runbook", changed(tree, way, {"pol": 1}))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_accepted_runbook_can_be_read(data: st.DataObject) -> None:
    """Whatever is changed in a bound runbook: what the schema lets pass, the model takes."""
    tree = bound(tree_of(data.draw(st.sampled_from(RUNBOOKS))))
    way = data.draw(st.sampled_from([way for way in ways(tree) if way]))
    values = [0, 1, 7, -1, 0.5, 2.5, True, "", "word", "5s", "5%", "250%", "64KiB", "<= 5s", [], ["a"], {}, None]
    tree = changed(tree, way, data.draw(st.sampled_from([value for value in values if value != at(tree, way)])))
    if not mistakes("runbook", tree):
        RunbookFile.model_validate(tree)


_PIECES = """
0 1 5 00 0.5 1.0 99.9 100 100.0 100.5 250 . - % s ms m h d B KiB kB GB /s session sessions >= <= == > < = word
"""
TEXTS = st.lists(st.sampled_from([*_PIECES.split(), " "]), max_size=5).map("".join)


@pytest.mark.parametrize(
    ("unit", "parse"),
    [
        (units.Duration, units.parse_duration),
        (units.Fraction, units.parse_fraction),
        (units.Size, units.parse_size),
        (units.Load, units.parse_quantity),
        (units.Bound, units.parse_threshold),
    ],
)
def test_pattern_of_a_unit_is_its_parser(unit: Any, parse: Callable[[object], object]) -> None:
    """An editor accepts the texts that loading accepts, and no others."""
    pattern = TypeAdapter(unit).json_schema()["pattern"]

    @settings(max_examples=300, deadline=None)
    @given(TEXTS)
    def agree(text: str) -> None:
        try:
            parse(text)
        except (ValueError, ValidationError) as error:
            too_much = re.search("is too (large|long)", str(error))  # of that a pattern knows nothing
            assert too_much or not re.search(pattern, text)
        else:
            assert re.search(pattern, text)

    agree()


@pytest.mark.parametrize("kind", KINDS)
def test_command_prints_or_writes_the_schema(kind: FileKind, tmp_path: Path) -> None:
    """``failover schema`` gives what is committed, on standard output or in a file."""
    printed = CliRunner().invoke(app, ["schema", kind])
    assert printed.exit_code == 0
    assert printed.stdout == schema_text(kind)
    file = tmp_path / "schema.json"
    assert CliRunner().invoke(app, ["schema", kind, "-o", str(file)]).exit_code == 0
    assert file.read_text(encoding="utf-8") == schema_text(kind)


def test_command_says_why_it_cannot_write(tmp_path: Path) -> None:
    """A file that cannot be written is an answer, not a traceback."""
    done = CliRunner().invoke(app, ["schema", "runbook", "-o", str(tmp_path / "nowhere" / "schema.json")])
    assert done.exit_code == 1
    assert "cannot write" in done.stderr
