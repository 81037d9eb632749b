"""The runbooks that ship: every sensible way to call each of them in the lab."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from typing import Final

from orchestrator.load.inventory import load_inventory
from orchestrator.load.runbook import LoadedRunbook, load_runbook
from orchestrator.model.inventory import Inventory

PROJECT: Final = Path(__file__).parents[3]
FOLDER: Final = PROJECT / "runbooks"
SHIPPED: Final = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))

Given = Mapping[str, str]

SITES: Final = ("ord", "iad", "dfw")
PAIRS: Final = tuple(permutations(SITES, 2))

_SHORT: Final = {"observe": "2s"}
_DRAIN: Final = {**_SHORT, "deadline": "1m", "settle": "3s"}
_KERNEL: Final = {"kernel": "6.1.0-28-amd64"}
_IMAGES: Final = {"image": "mx-2026-09-14", "previous": "mx-2026-08-02", "keep": "20s"}


def sensible() -> dict[str, list[Given]]:
    """For each runbook every way to call it that makes sense in the lab; the first one is the most usual."""
    hosts = [(site, f"{site}-mx1", f"{site}-mx2") for site in SITES]
    turns = [(site, *pair) for site, *both in hosts for pair in permutations(both)]
    forms = [(pace, sessions) for pace in ("calm", "urgent") for sessions in ("drain", "leave")]
    return {
        "alternate-load-balancer": [
            {**_SHORT, "from": site, "to": to, "then": then, "watch": "10s"}
            for site, to in PAIRS
            for then in ("back", "stay")
        ],
        "image-rollout": [{**_DRAIN, **_IMAGES, "site": site, "host": one} for site, one, _ in turns],
        "provider-maintenance": [{**_DRAIN, "site": site, "to": to, "pause": "2s"} for site, to in PAIRS],
        "queued-maintenance": [_SHORT],
        "reboot-host": [{**_DRAIN, **_KERNEL, "site": site, "host": one} for site, one, _ in turns],
        "region-evacuation": [
            {**_SHORT, "site": site, "to": to, "pause": "2s", "pace": pace, "sessions": sessions}
            for site, to in PAIRS
            for pace, sessions in forms
        ],
        "rolling-host-reboot": [
            {**_DRAIN, **_KERNEL, "site": site, "first": one, "second": other, "between": "10s"}
            for site, one, other in turns
        ],
    }


def lab_inventory() -> Inventory:
    """The inventory of the lab, with a lab that answers."""

    def answer(name: str) -> str:
        return "127.0.0.1:2525"

    return load_inventory([PROJECT / "inventories" / "lab.yaml"], {"lab": answer, "env": answer})


def take(name: str, given: Given) -> LoadedRunbook:
    """A runbook from the shelf, for the lab."""
    return load_runbook(FOLDER / f"{name}.yaml", lab_inventory(), given)
