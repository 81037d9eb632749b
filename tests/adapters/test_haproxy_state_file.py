"""Saving HAProxy's server state, on real files before a HAProxy of two lines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.adapters.haproxy_state_file import save
from orchestrator.errors import UnfitError

COLUMNS = "# be_name srv_name srv_op_state srv_admin_state srv_uweight srv_check_result srv_check_state srv_age"


class ChangingHaproxy:
    """Somebody changes its only server, as often as there are weights, each time after it was asked."""

    def __init__(self, *weights: int) -> None:
        self.weights = list(weights)
        self.age = 0

    async def ask(self, command: str) -> str:
        """Its state now; its server grows older, whatever happens."""
        assert command == "show servers state"
        self.age += 1
        weight = self.weights.pop(0) if len(self.weights) > 1 else self.weights[0]
        return f"1\n{COLUMNS}\nsmtp mx1 2 0 {weight} 0 0 {self.age}\n\n"


@pytest.mark.parametrize("weights", [(7,), (1, 7), (1, 2, 7)])
def test_saves_what_is_true_in_the_end(tmp_path: Path, weights: tuple[int, ...]) -> None:
    """Where the state changes while it is saved, it is saved again, and nothing else is left in the folder."""
    path = tmp_path / "state"
    path.write_text("an old one")
    asyncio.run(save(ChangingHaproxy(*weights).ask, str(path)))
    assert path.read_text().splitlines()[-1].startswith("smtp mx1 2 0 7 ")
    assert list(tmp_path.iterdir()) == [path]


def test_gives_up_on_what_never_rests(tmp_path: Path) -> None:
    """A state that changes for ever is said."""
    with pytest.raises(UnfitError, match="changes faster"):
        asyncio.run(save(ChangingHaproxy(*range(100)).ask, str(tmp_path / "state")))


def test_leaves_the_old_file_where_it_cannot_write(tmp_path: Path) -> None:
    """A file that cannot be replaced is told with what it means, and no half of a new one is left."""
    path = tmp_path / "state"
    path.mkdir()
    with pytest.raises(UnfitError, match="a reload of HAProxy forgets this change"):
        asyncio.run(save(ChangingHaproxy(7).ask, str(path)))
    assert list(tmp_path.iterdir()) == [path]
