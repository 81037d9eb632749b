"""The page about testing is true: its settings and faults are those of the overlay, its examples those of pytest."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from orchestrator.testing import plugin
from orchestrator.testing.overlay import Settings, faults
from orchestrator.testing.overlay.world import AwsWorld
from orchestrator.testing.world import Ran, World

from .pages import DOCS, blocks, rows

PAGE = DOCS / "testing.md"


def test_the_settings_are_those_of_a_world() -> None:
    """Each setting once, in their order, with the default that it has."""
    assert {name.strip("`"): float(default.strip("`")) for name, default, *_ in rows(PAGE, "setting")} == {
        field.name: field.default for field in fields(Settings)
    }


def test_the_faults_are_those_that_can_be_injected() -> None:
    """Each fault once, in their order."""
    assert [name.strip("`") for name, _ in rows(PAGE, "fault")] == list(faults._KINDS)


@pytest.mark.parametrize("example", blocks(PAGE, "python"))
def test_the_examples_are_python(example: str) -> None:
    """What is there to be copied can be compiled, and imports what is there."""
    compile(example, str(PAGE), "exec")
    for names in re.findall(r"^from orchestrator.testing import (.+)$", example, re.MULTILINE):
        exec(f"from orchestrator.testing import {names}", {})


def test_the_setting_of_pytest_is_that_of_the_plugin() -> None:
    """It is called as the plug-in calls it."""
    assert f"{plugin.INI} = " in blocks(PAGE, "ini")[0]


def test_the_words_of_a_test_are_there() -> None:
    """What the page says of a world and of a run is what they have."""
    world = {name.partition("(")[0].strip("`") for name, _ in rows(PAGE, "of a `World`")}
    for name in world - {"aws", "mail.broken", "switches", "inventory"}:
        assert hasattr(World, name), name
    for names, _ in rows(PAGE, "of what `run` returns"):
        for name in names.replace("`", "").split(", "):
            assert name in {*Ran.__dataclass_fields__, "status", "steps", "reasons"}, name
    aws = AwsWorld()
    for path, method in re.findall(r"`aws\.([\w.]+)\.(\w+)", PAGE.read_text()):
        place: object = aws
        for part in path.split("."):
            place = getattr(place, part)
        assert method in dir(place), f"{path}.{method}"
