"""A step is returned only when nothing stands that was done after it and moves the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory

Load = Callable[..., None]


def shift(name: str, giver: str, taker: str, pool: str = "smtp", more: str = "") -> str:
    """A shift."""
    return f"{{id: {name}, do: traffic.shift, with: {{pool: {pool}, from: {giver}, to: {taker}}}{more}}}"


def drain(name: str, what: str, pool: str = "smtp", more: str = "") -> str:
    """A drain of ``what``, as ``site: ord``."""
    return f"{{id: {name}, do: smtp.drain, with: {{pool: {pool}, {what}}}{more}}}"


def back(name: str, *steps: str, more: str = "") -> str:
    """A return."""
    return f"{{id: {name}, do: return, steps: [{', '.join(steps)}]{more}}}"


@pytest.fixture
def loaded(file: Callable[..., Path], inventory: Inventory) -> Load:
    """Loads a runbook of these steps, for the inventory with a third site of the pool and a gate at each host."""
    text = inventory.model_dump(mode="json", by_alias=True)
    text["pools"]["smtp"]["sites"]["fra"] = {"members": ["mx5"], "capacity": "9 sessions", "address": "fra:25"}
    text["pools"]["quiet"]["sites"]["iad"] = {"members": ["mx6"], "capacity": "9/s", "address": "iad:25"}
    text["hosts"] = {f"mx{number}": text["hosts"]["mx1"] for number in range(1, 7)}
    wide = Inventory.model_validate(text)

    def load(*steps: str) -> None:
        load_runbook(file("runbook: trial\nsteps:\n" + "".join(f"  - {step}\n" for step in steps)), wide, {})

    return load


AWAY = (shift("a", "ord", "iad"), shift("b", "iad", "fra"))
HOSTS = (drain("a", "host: mx1"), drain("b", "site: ord"))

REFUSED = {
    "shifts that share a site": (*AWAY, back("one", "a")),
    "the other way round": (shift("a", "ord", "iad"), shift("b", "fra", "ord"), back("one", "a")),
    "a host, then its site": (*HOSTS, back("one", "a")),
    "a site, then its host": (drain("a", "site: ord"), drain("b", "host: mx2"), back("one", "a")),
    "one host in two pools": (drain("a", "site: ord"), drain("b", "site: ord", "quiet"), back("one", "a")),
    "returned only later": (*AWAY, back("one", "a"), back("two", "b")),
    "returned beside": (*AWAY, back("other", "b"), back("one", "a", more=", needs: [b]")),
    "done again": (*AWAY, back("one", "b"), shift("b2", "ord", "fra"), back("two", "a")),
}
REFUSED_BECAUSE = {name: "b2" if name == "done again" else "b" for name in REFUSED}

ACCEPTED = {
    "the last one first": (*AWAY, back("one", "b", "a")),
    "the last one in a step before": (*AWAY, back("one", "b"), back("two", "a")),
    "shifts of two pools": (shift("a", "ord", "iad", "quiet"), shift("b", "iad", "fra"), back("one", "a")),
    "a shift under a drain": (shift("a", "ord", "iad"), drain("b", "site: ord"), back("one", "a")),
    "a drain under a shift": (drain("a", "site: ord"), shift("b", "ord", "iad"), back("one", "a")),
    "another host": (drain("a", "host: mx1"), drain("b", "host: mx2"), back("one", "a")),
    "another site": (drain("a", "site: ord"), drain("b", "site: iad"), back("one", "a")),
    "after the return": (AWAY[0], back("one", "a"), AWAY[1]),
    "what was done before": (*AWAY, back("one", "b")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_from_under_a_step_that_stands(loaded: Load, name: str) -> None:
    """What a later step stands upon is not returned: the message names the two and what they share."""
    later = REFUSED_BECAUSE[name]
    with pytest.raises(InputError) as error:
        loaded(*REFUSED[name])
    (problem,) = error.value.problems
    assert problem.message.startswith("cannot return 'a' in step ")
    assert f": '{later}' was done after it and " in problem.message
    assert problem.remedy == f"return '{later}' first"


@pytest.mark.parametrize("name", ACCEPTED)
def test_with_nothing_upon_it(loaded: Load, name: str) -> None:
    """What nothing stands upon is returned, whatever else stands."""
    loaded(*ACCEPTED[name])


def test_what_is_left_out_stands_upon_nothing(file: Callable[..., Path], inventory: Inventory) -> None:
    """A later step that this run leaves out is not in the way."""
    head = "runbook: trial\nparameters: {more: {type: choice, choices: [some, none], default: none}}\nsteps:\n"
    steps = (AWAY[0], shift("b", "iad", "ord", more=", when: {param: more, is: some}"), back("one", "a"))
    path = file(head + "".join(f"  - {step}\n" for step in steps))
    assert [step.id for step in load_runbook(path, inventory, {}).runbook.steps] == ["a", "one"]
    with pytest.raises(InputError, match="'b' was done after it and moves 'iad', 'ord' too"):
        load_runbook(path, inventory, {"more": "some"})
