"""What ``${env:NAME}`` and ``${lab:KEY}`` in an inventory stand for, and how every command reads inventories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import RefusedError

if TYPE_CHECKING:
    from orchestrator.model.inventory import Inventory


def read_inventory(paths: Sequence[Path]) -> tuple[Inventory, bool]:
    """The inventory that the files make together, and whether any of them refers to the running lab.

    Raises:
        InputError: with every problem of every file.
    """
    from orchestrator.load.inventory import from_environment, load_inventory

    lab = _LabReferences()
    return load_inventory(paths, {"env": from_environment, "lab": lab}), lab.used


class _LabReferences:
    """What ``${lab:KEY}`` stands for: the addresses of the running lab, read once."""

    def __init__(self) -> None:
        self.used = False
        self._addresses: Mapping[str, str] | None = None

    def __call__(self, key: str) -> str:
        from orchestrator.lab.addresses import lab_addresses

        self.used = True
        if self._addresses is None:
            self._addresses = lab_addresses()
        if key not in self._addresses:
            known = ", ".join(sorted(self._addresses))
            raise RefusedError(f"cannot insert ${{lab:{key}}}: the lab has no such address", remedy=f"it has {known}")
        return self._addresses[key]
