"""The page that teaches the language is true: its examples load, and its tables say what the models say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest
from pydantic.fields import FieldInfo

from orchestrator.load.document import MAX_BYTES, MAX_DEPTH, MAX_NODES
from orchestrator.load.lint import lint
from orchestrator.load.runbook import MAX_DEPTH as MAX_INCLUDES_DEEP
from orchestrator.load.runbook import MAX_INCLUDES, MAX_STEPS, load_runbook
from orchestrator.model.check import (
    METRICS,
    DeliveryArguments,
    Detect,
    SessionsArguments,
    SmtpArguments,
    SmtpCheck,
)
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import (
    Approval,
    ChoiceParameter,
    DrainArguments,
    HoldArguments,
    ManualArguments,
    NodeDrainArguments,
    PlainType,
    Retries,
    ReturnStep,
    ScaleOutArguments,
    ShiftArguments,
    TakeOutArguments,
    VerifyStep,
    When,
)
from orchestrator.model.units import parse_duration, parse_fraction, parse_size
from orchestrator.model.value import Value
from orchestrator.model.written import IncludeStep, ParallelStep, RunbookFile, Silence

from .shelf import FOLDER, PROJECT, lab_inventory

PAGE = (PROJECT / "docs" / "language.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

REST = {
    "runbook": "runbook: example\n",
    "parameters": "parameters:\n  site: {type: site, default: ord}\n  to: {type: site, default: iad}\n",
    "checks": (
        "checks:\n"
        "  mail-flows: {probe: smtp, at: {pool: smtp}, over: 10s, expect: {success_rate: '>= 99%'}}\n"
        "  site-healthy: {probe: smtp, at: {pool: smtp, site: iad}, over: 10s, expect: {success_rate: '>= 99%'}}\n"
    ),
    "steps": "steps:\n  - {id: look, do: verify, checks: [mail-flows]}\n",
}
"""What an example that is only a part of a runbook leaves out."""

STEP = frozenset(VerifyStep.model_fields) - {"checks"}

TABLES: Mapping[str, tuple[type[Value], frozenset[str]]] = {
    "## The file": (RunbookFile, frozenset()),
    "## Parameters": (ChoiceParameter, frozenset()),
    "## Checks": (SmtpCheck, frozenset()),
    "`with` of `smtp`:": (SmtpArguments, frozenset()),
    "`with` of `delivery`:": (DeliveryArguments, frozenset()),
    "`with` of `sessions`:": (SessionsArguments, frozenset()),
    "`detect`:": (Detect, frozenset()),
    "## Steps": (VerifyStep, frozenset({"checks"})),
    "`when`:": (When, frozenset()),
    "### verify": (VerifyStep, STEP),
    "### traffic.shift": (ShiftArguments, frozenset()),
    "### traffic.drain": (TakeOutArguments, frozenset()),
    "### smtp.drain": (DrainArguments, frozenset()),
    "### scale.out": (ScaleOutArguments, frozenset()),
    "### node.drain": (NodeDrainArguments, frozenset()),
    "### hold": (HoldArguments, frozenset()),
    "### manual": (ManualArguments, frozenset()),
    "### return": (ReturnStep, STEP),
    "### include": (IncludeStep, frozenset({"id", "do", "needs", "when"})),
    "### parallel": (ParallelStep, frozenset({"id", "do", "needs", "when"})),
    "`retries`:": (Retries, frozenset()),
    "`approval`:": (Approval, frozenset()),
    "## Silence": (Silence, frozenset()),
}
"""Under which words which model's keys are listed, but for those that are listed elsewhere."""


def larger_lab() -> Inventory:
    """The lab, as if each of its pools could grow at each site and each host were a node."""
    text = lab_inventory().model_dump(mode="json", by_alias=True)
    for pool in text["pools"].values():
        for site in pool["sites"].values():
            site["scaling"] = {"driver": "autoscaling", "group": "mx"}
    for host in text["hosts"].values():
        host["node"] = {"driver": "kubernetes"}
    return Inventory.model_validate(text)


def whole(example: str) -> str:
    """An example with what it leaves out."""
    there = set(re.findall(r"^([a-z]+):", example, re.MULTILINE))
    text = "".join(section for key, section in REST.items() if key not in there)
    own = "" if "parameters" in there else example
    if "parameters" in there and "runbook" not in there:  # beside its own parameters those that all examples use
        extra = [
            line for line in REST["parameters"].splitlines()[1:] if f"\n  {line.split(':')[0].strip()}:" not in example
        ]
        own = example.replace("parameters:\n", "\n".join(["parameters:", *extra, ""]), 1)
    return text + (own or example)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.splitlines()[1].strip())
def test_every_example_loads(example: str, tmp_path: Path) -> None:
    """Each example on the page is a runbook, or a part of one, that can be read for the lab, were it larger."""
    for path in FOLDER.glob("*.yaml"):
        shutil.copy(path, tmp_path)
    path = tmp_path / "example.yaml"
    path.write_text(whole(example))
    assert load_runbook(path, larger_lab(), {}, stand_ins=True).runbook.steps


def test_the_first_example_is_one_to_copy(tmp_path: Path) -> None:
    """Lint finds nothing in the runbook with which the page begins."""
    path = tmp_path / "example.yaml"
    path.write_text(EXAMPLES[0])
    assert lint(load_runbook(path, lab_inventory(), {}, stand_ins=True), lab_inventory()) == ()


def test_the_examples_are_found() -> None:
    """No example escapes these tests by the way it is fenced."""
    assert len(EXAMPLES) == PAGE.count("```") // 2 >= 10


@pytest.mark.parametrize("words", TABLES)
def test_every_table_has_the_keys_of_its_model(words: str) -> None:
    """The page lists each key once, no other, and with the default that it has."""
    model, elsewhere = TABLES[words]
    fields = {field.alias or name: field for name, field in model.model_fields.items() if name not in elsewhere}
    rows = table_after(words)
    assert list(rows) == [name for name in rows if name in fields], "it lists what is not there"
    assert set(rows) == set(fields)
    wrong = {name: cell for name, cell in rows.items() if not says(cell, fields[name])}
    assert not wrong


def table_after(words: str) -> dict[str, str]:
    """The default column of the first table of keys after these words."""
    rest = PAGE.partition(f"\n{words}\n")[2]
    lines = rest.partition("| key |")[2].splitlines()[2:]
    table = lines[: next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in table]
    return {row[0].strip("`"): row[2].strip("` |") for row in rows}


def says(cell: str, field: FieldInfo) -> bool:
    """Whether a cell of the page says what the field's default is."""
    if field.is_required():
        return cell == "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default in ((), {}, "") or isinstance(default, Value):
        return cell == "-"
    return any(read(cell) == default for read in READERS)


def _text(cell: str) -> object:
    return {"true": True, "false": False}.get(cell, cell)


def _number(cell: str) -> object:
    return float(cell) if cell.replace(".", "").isdigit() else None


def _quantity(cell: str) -> object:
    for parse in (parse_duration, parse_fraction, parse_size):
        try:
            return parse(cell)
        except ValueError:
            continue
    return None


def _list(cell: str) -> object:
    return tuple(_quantity(item) for item in cell.strip("[]").split(", ")) if cell.startswith("[") else None


READERS = (_text, _number, _quantity, _list)


def test_every_word_is_explained() -> None:
    """Each type of parameter, verb, probe and guard is on the page."""
    verbs = [words.removeprefix("### ") for words in TABLES if words.startswith("### ")]
    kinds = [get_args(step.model_fields["do"].annotation)[0] for step in every_step()]
    assert verbs == kinds
    for word in (*get_args(PlainType), "choice", *METRICS, "headroom", "serving", "blast_radius"):
        assert f"`{word}`" in PAGE, word


def every_step() -> list[type[Value]]:
    """The steps that can be written, in the order in which the page has them."""
    union = RunbookFile.model_fields["steps"].annotation
    annotated, _ = get_args(union)
    steps = list(get_args(get_args(annotated)[0]))
    assert len(steps) == 11
    return steps


def test_the_limits_are_those_of_the_loader() -> None:
    """The numbers at the end of the page are the real ones."""
    limits = PAGE.rpartition("\nLimits")[2].replace("\n", " ")
    assert f"{MAX_BYTES // 1024} KiB and {MAX_NODES:,} keys and values in a file, {MAX_DEPTH} levels" in limits
    assert f"includes {MAX_INCLUDES_DEEP} deep and {MAX_INCLUDES} in all; {MAX_STEPS:,} steps" in limits
