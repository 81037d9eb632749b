"""Whatever stands in a file: a model, or an InputError with its reasons, and never anything else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmarks.inputs import Generator, changed, from_schema, large, schemas
from orchestrator.errors import InputError
from orchestrator.load.inventory import load_inventory
from orchestrator.load.problems import read_sources, render
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory
from orchestrator.model.written import RunbookFile

ROOT = Path(__file__).parents[3]
SHIPPED = (ROOT / "runbooks" / "provider-maintenance.yaml").read_text(encoding="utf-8")
OWN = (Path(__file__).parent / "inventory.yaml").read_text(encoding="utf-8")

_KEYS = """
runbook version summary parameters checks guards steps id do with pool site from to by pause deadline settle until
needs before after timeout on_failure probe at over for expect detect success_rate p99 failure_rate check headroom
serving at_least type default sites pools hosts members capacity address switch demand driver socket gate queue
test_mail protocol amount unit compare hold smtp verify
"""
_WORDS = """
verify traffic.shift smtp.drain hold return smtp sessions delivery ord iad mx1 approval 5% 10m 64KiB 400/s haproxy
postfix-policy postfix-map postfix switch flows a b ${site} ${x ${env:A} $${ undo a:25
"""
_ODD = [">= 99.9%", "== 0", "1" * 400, "9" * 400 + "s", "9" * 400 + "GB", "<= 9e9"]
KEYS = st.sampled_from(_KEYS.split()) | st.text(max_size=5)
WORDS = st.sampled_from(_WORDS.split() + _ODD)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | WORDS | st.just(10**299)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
MODEST = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def must_be_told(path: Path, inventory: Inventory) -> None:
    """Load the file as both kinds; trouble must be an InputError that can be shown."""
    with suppress_and_show(path):
        load_runbook(path, inventory, {"site": "ord"})
    with suppress_and_show(path):
        load_inventory([path], {"env": str.upper})


@contextmanager
def suppress_and_show(path: Path) -> Iterator[None]:
    """Let an InputError pass, when it has something to say that can be shown; any other error is one."""
    try:
        yield
    except InputError as error:
        shown = render(error.problems, read_sources(error.problems), colour=True)
        written = path.read_bytes()  # Hypothesis tries texts that it finds in our source, such as these
        jargon = [words for words in (b"Input should", b"validation error") if words not in written]
        if not shown or any(words in shown.encode() for words in jargon):
            raise AssertionError(shown) from error


@MODEST
@given(content=st.binary(max_size=200))
def test_any_bytes(content: bytes, tmp_path: Path, inventory: Inventory) -> None:
    """Arbitrary bytes give a model or an InputError."""
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    must_be_told(path, inventory)


@MODEST
@given(content=st.text(st.sampled_from(" \n\t-:?,[]{}#&*!|>'\"%@`ab01$.~<=\\xuU\u2028é"), max_size=60))
def test_any_punctuation(content: str, tmp_path: Path, inventory: Inventory) -> None:
    """Arbitrary syntax gives a model or an InputError."""
    path = tmp_path / "any.yaml"
    path.write_bytes(content.encode())
    must_be_told(path, inventory)


@MODEST
@given(tree=st.dictionaries(KEYS, TREES, min_size=1, max_size=7) | TREES)
def test_any_tree(tree: object, tmp_path: Path, inventory: Inventory) -> None:
    """Arbitrary trees of our own words give a model or an InputError."""
    path = tmp_path / "any.yaml"
    path.write_text(json.dumps(tree), encoding="utf-8", errors="replace")
    must_be_told(path, inventory)


@MODEST
@given(data=st.data())
@pytest.mark.parametrize("text", [SHIPPED, OWN], ids=["runbook", "inventory"])
def test_any_change_of_a_sound_file(text: str, data: st.DataObject, tmp_path: Path, inventory: Inventory) -> None:
    """A piece cut out of a sound file, or anything put into it, gives a model or an InputError."""
    start = data.draw(st.integers(0, len(text) - 1))
    end = min(len(text), start + data.draw(st.integers(0, 20)))
    path = tmp_path / "any.yaml"
    put = data.draw(WORDS | KEYS)
    path.write_text(text[:start] + put + text[end:], encoding="utf-8", errors="replace")
    must_be_told(path, inventory)


@MODEST
@given(choose=st.randoms(use_true_random=False))
@pytest.mark.parametrize("made", [from_schema, changed])
def test_any_tree_of_the_schema(
    made: Callable[[random.Random], str], choose: random.Random, tmp_path: Path, inventory: Inventory
) -> None:
    """What the JSON Schema allows, or nearly, and any changed tree of a real file, give a model or an InputError."""
    path = tmp_path / "any.yaml"
    path.write_text(made(choose), encoding="utf-8", errors="replace")
    must_be_told(path, inventory)


@settings(MODEST, max_examples=20)
@given(choose=st.randoms(use_true_random=False))
def test_any_large_file(choose: random.Random, tmp_path: Path, inventory: Inventory) -> None:
    """Very much of anything gives a model or an InputError."""
    path = tmp_path / "any.yaml"
    path.write_text(large(choose), encoding="utf-8", errors="replace")
    must_be_told(path, inventory)


@pytest.mark.parametrize("index", [0, 1], ids=["runbook", "inventory"])
def test_the_generator_reaches_what_is_behind_the_schema(index: int) -> None:
    """Without mistakes, many of its trees are taken by the schema's own models, so that the rules see them."""
    generator = Generator(schemas()[index], mistakes=0.0)
    taken = 0
    for seed in range(100):
        with suppress(ValidationError):
            (RunbookFile, Inventory)[index].model_validate(generator.tree(random.Random(seed)))
            taken += 1
    assert taken >= 40
