"""What a file may cost: the largest that is read, in the shapes that cost the most, takes a second at most."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestrator.errors import InputError, MissingToolError
from orchestrator.load.document import MAX_BYTES, MAX_NODES, MAX_TEXT, read
from orchestrator.load.insert import LONGEST
from orchestrator.load.inventory import load_inventory
from orchestrator.load.node import MappingNode, Place
from orchestrator.load.problems import MOST, Problems, closest, meant, read_sources, render
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory

SECONDS = 1.0
MEGABYTES = 100

HEAD = "runbook: x\n"
HOLD = "steps: [{id: a, do: hold, with: {until: approval}}]\n"


def many(count: int, piece: str, joined: str = "") -> str:
    """The piece with the numbers from 0 in it."""
    return joined.join(piece.replace("%d", str(number)) for number in range(count))


def checks(count: int) -> str:
    """As many guards as checks, each name mistyped."""
    named = many(count, " check-%d: {probe: smtp, at: {pool: smtp}, expect: {success_rate: '> 9%'}}\n")
    return f"{HEAD}{HOLD}checks:\n{named}guards: [{many(count, '{check: chek-%d}', ', ')}]\n"


def holds(count: int, needs: str = "") -> str:
    """Steps, one after the other."""
    return f"{HEAD}steps:\n" + many(count, f" - {{id: s%d, do: hold, {needs}with: {{until: approval}}}}\n")


def returned(count: int) -> str:
    """A return of very many steps, in the right order."""
    drain = " - {id: s%d, do: smtp.drain, with: {pool: smtp, site: ord, deadline: 1m}}\n"
    names = ", ".join(f"s{number}" for number in reversed(range(count)))
    return f"{HEAD}steps:\n{many(count, drain)} - {{id: back, do: return, steps: [{names}]}}\n"


WORST = {
    "sound steps": holds(1600),
    "a circle of steps": holds(1600, "needs: [s1], "),
    "a long return": returned(700),
    "unknown root keys": HEAD + HOLD + many(9000, "parameter%d: 1\n"),
    "long unknown keys": HEAD + HOLD + many(2500, f"{'parameters' * 9}%d: 1\n"),
    "empty steps": HEAD + "steps: [" + "{}, " * 9000 + "]",
    "scalars for steps": HEAD + "steps: [" + "a, " * 19000 + "]",
    "scalars for waypoints": HEAD
    + "steps: [{id: a, do: traffic.shift, with: {pool: smtp, from: ord, to: iad, by: ["
    + "x, " * 19000
    + "]}}]",
    "mistyped names of many": checks(1000),
    "aliases": "steps: [" + many(19000, "*a%d, ") + "]",
    "tags": "steps: [" + "!t x, " * 19000 + "]",
    "tag directives": many(15000, "%TAG !a%d! x\n") + "---\na: 1",
    "wide characters": "steps: [" + "日, " * 19000 + "]",
    "a long line that ends too soon": "a: [" + "x, " * 60000 + "]]",
    "deep lists": HEAD + "steps: [" + ("[" * 45 + "]" * 45 + ", ") * 400 + "]",
    "deep mappings": HEAD + "{a: " * 60000,
    "long durations": HEAD + f"steps: [{{id: a, do: hold, with: {{until: {'1s' * 4000}x}}}}]",
    "unknown parameters": HEAD + "steps: [" + many(9000, "'${b%d}', ") + "]",
    "a parameter in itself": HEAD
    + f"parameters: {{a: {{type: string, default: '{'x' * 8000}'}}}}\nsteps:\n"
    + many(29, f" - {{id: s%d, do: hold, with: {{until: '{'${a}' * 2000}'}}}}\n"),
    "hosts": "sites: {a: {}}\nhosts:\n"
    + many(2000, " h%d: {connect: ssh, gate: {driver: postfix-policy, control: /x}}\n"),
    "mistyped sites": "sites:\n"
    + many(3000, " site-%d: {}\n")
    + f"pools: {{p: {{sites: {{{many(3000, 'sit-%d: {}', ', ')}}}}}}}",
}


def told(path: Path, inventory: Inventory) -> None:
    """Load the file both ways, and show what is wrong."""
    for load in (lambda: load_runbook(path, inventory, {}), lambda: load_inventory([path], {"env": str.upper})):
        try:
            load()
        except InputError as error:
            render(error.problems, read_sources(error.problems), colour=True)


@pytest.mark.alone
@pytest.mark.parametrize("text", WORST.values(), ids=WORST)
def test_the_worst_files_are_quickly_told(text: str, file: Callable[..., Path], inventory: Inventory) -> None:
    """Each is read both ways, and its mistakes are shown, in less than a second of CPU time."""
    assert len(text.encode()) <= MAX_BYTES
    path = file(text)
    gc.collect()
    gc.freeze()  # what thousands of collected tests hold is not the loader's, and is not walked on its time
    try:
        began = time.process_time()
        told(path, inventory)
        assert time.process_time() - began < SECONDS
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("name", ["a parameter in itself", "scalars for steps"])
def test_the_worst_files_take_little_memory(name: str, file: Callable[..., Path], inventory: Inventory) -> None:
    """What Python takes for a file is less than a hundred megabytes, whatever stands in it."""
    path = file(WORST[name])
    tracemalloc.start()
    try:
        told(path, inventory)
        assert tracemalloc.get_traced_memory()[1] < MEGABYTES * 1024 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" + "a," * MAX_NODES + "]", f"cannot read more than {MAX_NODES} keys and values, in all files together"),
        ("a: " + "x" * (MAX_TEXT + 1), f"cannot read a text of {MAX_TEXT + 1} characters"),
        ("%TAG !a! tag:example.com,2000:\n---\na: 1", "cannot use a %TAG directive"),
    ],
    ids=["nodes", "text", "directive"],
)
def test_what_is_too_much_is_said(text: str, said: str, file: Callable[..., Path]) -> None:
    """Each limit has its sentence."""
    problems = Problems()
    read(file(text), problems)
    with pytest.raises(InputError, match=said):
        problems.raise_any()


@pytest.mark.alone
def test_files_together_cost_no_more_than_one(file: Callable[..., Path], inventory: Inventory) -> None:
    """What a runbook includes counts with it, each time that it does."""
    file(holds(1600), "child.yaml")
    main = file(f"{HEAD}steps:\n" + many(50, " - {id: s%d, do: include, runbook: child.yaml}\n"), "main.yaml")
    began = time.process_time()
    with pytest.raises(InputError, match=f"more than {MAX_NODES} keys and values"):
        load_runbook(main, inventory, {})
    assert time.process_time() - began < SECONDS


def test_without_libyaml_nothing_is_read(file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyYAML that would take a hundred times as long is refused, with the way to another one."""
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    with pytest.raises(MissingToolError, match=r"without libyaml.*pip install"):
        read(file("a: 1"), Problems())


def test_of_very_many_mistakes_the_first_are_said() -> None:
    """Nobody reads a thousand: looking ends with the hundredth, and that is said first."""
    problems = Problems()
    for line in range(1000, 1000 - MOST, -1):
        problems.add(Place("a", line, 1), "cannot do it: no")
    with pytest.raises(InputError) as caught:
        problems.add(Place("a", 1, 1), "cannot do it: no")
    first, *others = caught.value.problems
    assert "more than 100 mistakes" in str(first)
    assert [problem.line for problem in others] == list(range(901, 1001))


def test_the_near_one_of_very_many_names() -> None:
    """Among thousands of names the near one is found; names that are longer than anybody types are not looked for."""
    hosts = [f"{site}-mx{number}" for site in ("ord", "iad", "fra", "dfw") for number in range(1000)]
    assert closest("ord_mx777", hosts[:900]) == "ord-mx777"
    assert closest("orx-mxa", [*hosts, "orx-mxb"]) == "orx-mxb"
    assert closest("x" * 61, ["x" * 60]) is None
    assert meant("zzz", hosts, "hosts").startswith("there are these hosts: ord-mx0, ord-mx1, ")


def test_inserted_text_has_an_end(file: Callable[..., Path], inventory: Inventory) -> None:
    """A text that would outgrow the limit by what is inserted is one problem, and is not made."""
    text = f"{HEAD}summary: '{'${a}' * 1000}'\nparameters: {{a: {{type: string, default: {'x' * 100}}}}}\n{HOLD}"
    with pytest.raises(InputError, match=f"longer than {LONGEST} characters"):
        load_runbook(file(text), inventory, {})


@pytest.mark.alone
def test_a_mapping_finds_its_keys(file: Callable[..., Path]) -> None:
    """Keys are found however many there are; what is not there is not found."""
    root = read(file(many(9000, "k%d: %d\n")), Problems())
    assert isinstance(root, MappingNode)
    began = time.process_time()
    assert all(root.pair(f"k{number % 9000}") is not None for number in range(45_000))
    assert time.process_time() - began < SECONDS
    assert root.pair("k9000") is None
