"""The pages about switches and capacity are true: their examples load, and the table says what the models say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from orchestrator.load.inventory import load_inventory
from orchestrator.load.lint import examine
from orchestrator.load.runbook import load_runbook
from orchestrator.model.capacity import Node, Scaling
from orchestrator.model.inventory import Inventory
from orchestrator.model.switch import ALL_OR_NOTHING, AnySwitch

from .pages import DOCS, blocks, rows

OVERVIEW = DOCS / "switches.md"
PAGES = (OVERVIEW, DOCS / "capacity.md", *sorted((DOCS / "switches").glob("*.md")))
KINDS = {driver: kind for kind in get_args(AnySwitch) for driver in get_args(kind.model_fields["driver"].annotation)}

EXAMPLES = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(blocks(page, "yaml"))
    if not text.startswith(("# envoy.yaml\n", "runbook: "))  # the first is Envoy's own
]

POOL: dict[str, Any] = {
    "protocol": "smtp",
    "address": "mx.example.com:25",
    "switch": {"driver": "haproxy", "socket": "/run/haproxy/admin.sock", "backend": "smtp"},
    "demand": "100/s",
    "test_mail": {"sender": "probe@example.com", "recipient": "probe@example.com"},
}
"""What an example of a pool that is not whole leaves out."""


def whole(example: str) -> dict[str, Any]:
    """The inventory that an example is a part of."""
    part: dict[str, Any] = yaml.safe_load(example)
    switch = part.pop("switch", None)
    sites = part.setdefault("sites", {"ord": {}, "iad": {}})
    if switch is not None:
        part["pools"] = {"smtp": {"switch": switch, "sites": _parts(list(switch["names"]))}}
    part.setdefault("pools", {"smtp": {"sites": {next(iter(sites)): _part(["mx1"])}}})
    part["pools"] = {name: {**POOL, **pool} for name, pool in part["pools"].items()}
    for pool in part["pools"].values():
        if pool["switch"]["driver"] == "haproxy":
            pool.pop("demand")
            pool["demand"] = "100/s" if "/s" in str(pool["sites"]) else "100 sessions"
    return part


def _parts(members: list[str]) -> dict[str, Any]:
    return {"ord": _part(members[:1]), "iad": _part(members[1:])}


def _part(members: list[str]) -> dict[str, Any]:
    return {"members": members, "capacity": "400/s", "address": "mx.example.com:25"}


def load(example: str, folder: Path) -> Inventory:
    """As ``-i`` loads it."""
    path = folder / "inventory.yaml"
    path.write_text(yaml.safe_dump(whole(example)))
    return load_inventory([path], {})


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_loads(example: str, tmp_path: Path) -> None:
    """Each example is an inventory, or a part of one, that can be read."""
    assert load(example, tmp_path).pools


def test_the_example_of_two_layers_is_whole(tmp_path: Path) -> None:
    """What is there to be copied loads as it stands, with the pool of the sites and that of one site's servers."""
    path = tmp_path / "inventory.yaml"
    path.write_text(blocks(OVERVIEW, "yaml")[0])
    pools = load_inventory([path], {}).pools
    assert [pool.switch.driver for pool in pools.values()] == ["route53-weights", "haproxy"]


def test_the_runbook_of_two_layers_can_be_run(tmp_path: Path) -> None:
    """It fits that inventory; lint finds nothing but what it silences itself."""
    inventory, runbook = blocks(OVERVIEW, "yaml")[:2]
    (tmp_path / "inventory.yaml").write_text(inventory)
    (tmp_path / "runbook.yaml").write_text(runbook)
    there = load_inventory([tmp_path / "inventory.yaml"], {})
    examined = examine(load_runbook(tmp_path / "runbook.yaml", there, {}), there)
    assert not examined.findings
    assert {one.finding.rule for one in examined.silenced} == {"depends-on-emptied-site"}


def test_every_driver_has_an_example(tmp_path: Path) -> None:
    """Each driver of a switch, of a scaling group and of a node is shown on some page."""
    shown = "\n".join(example.values[0] for example in EXAMPLES if isinstance(example.values[0], str))
    others = [of for union in (Scaling, Node) for of in _members(get_args(union)[0])]
    drivers = [*KINDS, *(get_args(model.model_fields["driver"].annotation)[0] for model in others)]
    missing = [driver for driver in drivers if f"driver: {driver}" not in shown and f"or {driver}" not in shown]
    assert not missing


def _members(union: Any) -> list[Any]:
    return list(get_args(union)) or [union]


def test_the_table_says_what_the_models_say() -> None:
    """Every driver once, in the order of the models, with its weights, what it can take out, and its sessions."""
    table = {cells[0].partition("`")[2].partition("`")[0]: cells for cells in rows(OVERVIEW, "`driver`")}
    assert list(table) == list(KINDS)
    for driver, (_, _, weights, drains, sessions, *_) in table.items():
        kind = KINDS[driver]
        assert weights == _weights(kind), driver
        assert drains == ("yes" if "drain" in kind.admins else "no"), driver
        assert sessions == _sessions(kind), driver


def _weights(kind: Any) -> str:
    if not kind.weighs:
        return "none"
    if kind.max_weight == ALL_OR_NOTHING:
        return "in or out"
    return f"{'dial, ' if kind.dials else ''}0 to {kind.max_weight}"


def _sessions(kind: Any) -> str:
    if kind.lists_sessions:
        return "counted, listed"
    return "counted" if kind.counts_sessions else "-"


def test_only_switches_that_never_wait_are_said_to_wait_for_nothing(tmp_path: Path) -> None:
    """Where the table says that nothing is waited for, the plan counts no time for it, and the other way round."""
    settles: dict[str, float] = {}
    for example in EXAMPLES:
        for pool in load(str(example.values[0]), tmp_path).pools.values():
            settles[pool.switch.driver] = pool.switch.settles_in
    for cells in rows(OVERVIEW, "`driver`"):
        driver = cells[0].partition("`")[2].partition("`")[0]
        assert driver not in settles or (cells[6] == "nothing") == (settles[driver] == 0.0), driver
