"""Runbooks that bring up capacity and drain nodes: what is loaded, and what lint says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.inventory import load_inventory
from orchestrator.load.lint import lint
from orchestrator.load.runbook import load_runbook
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import NodeDrainStep, ScaleOutStep

INVENTORY = """
sites: {ord: {}, iad: {kubernetes: {context: iad}}}
pools:
  smtp:
    protocol: smtp
    address: "192.0.2.10:25"
    switch: {driver: haproxy, socket: /run/haproxy.sock, backend: smtp}
    test_mail: {sender: probe@example.org, recipient: probe@example.org}
    sites:
      ord: {members: [mx1], capacity: 40 sessions, address: "192.0.2.1:25"}
      iad:
        members: [mx2]
        capacity: 40 sessions
        address: "192.0.2.2:25"
        scaling: {driver: kubernetes-deployment, name: postfix}
hosts: {n1: {node: {driver: kubernetes}}}
"""
MORE = "{id: more, do: scale.out, with: {pool: smtp, site: iad, to: 6}}"
EMPTY = "{id: empty, do: node.drain, with: {host: n1}}"


@pytest.fixture
def known(file: Callable[..., Path]) -> Inventory:
    """A Deployment at iad, and a node that is no member of any pool."""
    return load_inventory([file(INVENTORY, "inventory.yaml")], {})


@pytest.fixture
def said(file: Callable[..., Path], known: Inventory) -> Callable[..., Sequence[str]]:
    """What lint says of a runbook of these steps."""

    def linted(*steps: str, window: str = "") -> Sequence[str]:
        lines = ["runbook: capacity", *([f"window: {window}"] if window else []), "steps:"]
        text = "\n".join([*lines, *(f"  - {step}" for step in steps)])
        found = lint(load_runbook(file(text), known, {}), known)
        return [f"{one.rule}: {one.problem.message}" for one in found]

    return linted


def test_both_verbs_are_loaded(file: Callable[..., Path], known: Inventory) -> None:
    """Their defaults: a quarter of an hour for capacity, and no pod is ended that nothing starts again."""
    more, empty = load_runbook(file(f"runbook: x\nsteps: [{MORE}, {EMPTY}]"), known, {}).runbook.steps
    assert isinstance(more, ScaleOutStep)
    assert isinstance(empty, NodeDrainStep)
    assert (more.with_.to, more.with_.add, more.with_.deadline) == (6, None, 900)
    assert (empty.with_.deadline, empty.with_.alone) == (None, "refuse")


def test_a_node_drain_without_a_deadline(said: Callable[..., Sequence[str]]) -> None:
    """A budget that never allows an eviction would hold the run for ever; a timeout ends that as well."""
    (finding,) = said(EMPTY)
    why = "one PodDisruptionBudget that never allows an eviction holds it for ever"
    assert finding == f"drain-without-deadline: step 'empty' has no deadline: {why}"
    assert said(EMPTY.replace("}}", "}, timeout: 5m}")) == []
    assert said(EMPTY.replace("n1}", "n1, deadline: 5m}")) == []


def test_their_deadlines_count_for_the_window(said: Callable[..., Sequence[str]]) -> None:
    """Also the deadline that is not written."""
    (alone,) = said(MORE, window="10m")
    assert alone.endswith("step 'more' has a deadline of 15m, and the window of the runbook is 10m")
    (both,) = said(MORE, EMPTY.replace("n1}", "n1, deadline: 10m}"), window="20m")
    assert "the runbook may take 25m, and its window is 20m: more 15m, empty 10m" in both


def test_a_hold_after_which_nothing_opens_the_node(said: Callable[..., Sequence[str]]) -> None:
    """Who approves expects that something happens: the node's return, or more capacity."""
    drain, wait = (
        EMPTY.replace("n1}", "n1, deadline: 5m}"),
        "{id: wait, do: hold, with: {until: approval}, timeout: 1h}",
    )
    (leads_nowhere,) = said(drain, wait)
    assert leads_nowhere.startswith("hold-without-way-out: step 'wait' leads nowhere")
    assert said(drain, wait, "{id: back, do: return, steps: [empty]}") == []
    assert said(drain, wait, MORE) == []


def test_the_later_of_two_is_returned_first(file: Callable[..., Path], known: Inventory) -> None:
    """What the later one recorded holds what the first one did; so with groups, and so with nodes."""
    for verb, one in (("scales 'iad'", MORE.replace("more", "a")), ("cordons 'n1'", EMPTY.replace("empty", "a"))):
        other = one.replace("id: a", "id: b")
        text = f"runbook: x\nsteps: [{one}, {other}, {{id: back, do: return, steps: [a]}}]"
        with pytest.raises(InputError, match=f"cannot return 'a' in step 'back': 'b' was done after it and {verb} too"):
            load_runbook(file(text), known, {})


SHIFT = "{id: go, do: traffic.shift, with: {pool: smtp, from: ord, to: iad}}"
DRAIN = "{id: go, do: traffic.drain, with: {pool: smtp, site: ord, deadline: 5m}}"


def back(name: str, *steps: str) -> str:
    """A return."""
    return f"{{id: {name}, do: return, steps: [{', '.join(steps)}]}}"


def load_steps(path: Callable[..., Path], known: Inventory, *steps: str) -> None:
    """Load a runbook of these steps."""
    load_runbook(path(f"runbook: x\nsteps: [{', '.join(steps)}]"), known, {})


@pytest.mark.parametrize("go", [SHIFT, DRAIN])
@pytest.mark.parametrize("late", [(back("back", "more"), back("later", "go")), (back("back", "more"),)])
def test_capacity_is_not_returned_from_under_traffic(
    file: Callable[..., Path], known: Inventory, go: str, late: Sequence[str]
) -> None:
    """What traffic was moved to stays as long as the traffic does: the message names the step that moved it."""
    with pytest.raises(InputError) as error:
        load_steps(file, known, MORE, go, *late)
    (problem,) = error.value.problems
    assert str(problem).endswith(
        "cannot return 'more' in step 'back': 'go' was done after it and has moved traffic to what it has brought up "
        "— return 'go' first"
    )


@pytest.mark.parametrize("go", [SHIFT, DRAIN])
@pytest.mark.parametrize(
    "steps",
    [
        (MORE, "GO", back("back", "go", "more")),
        (MORE, "GO", back("one", "go"), back("two", "more")),
        ("GO", MORE, back("back", "more")),
        (MORE, back("back", "more"), "GO"),
        (MORE, "GO", back("back", "go")),
        (MORE, EMPTY, back("back", "more")),
    ],
)
def test_capacity_that_no_traffic_counts_on_is_returned(
    file: Callable[..., Path], known: Inventory, go: str, steps: Sequence[str]
) -> None:
    """Once the traffic is back, or where it was there before; what is never returned may stay, too."""
    load_steps(file, known, *(go if step == "GO" else step for step in steps))


def test_traffic_that_goes_elsewhere_counts_on_nothing_here(file: Callable[..., Path], known: Inventory) -> None:
    """A shift away from the site and a drain of it are not in the way."""
    for away in (
        "{id: go, do: traffic.shift, with: {pool: smtp, from: iad, to: ord}}",
        "{id: go, do: traffic.drain, with: {pool: smtp, site: iad, deadline: 5m}}",
    ):
        load_steps(file, known, MORE, away, back("back", "more"))
