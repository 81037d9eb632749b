"""A plan for machines: its keys, and what is in them."""

from __future__ import annotations

import json
import re
from typing import Any

from orchestrator.report import plan_record as module
from orchestrator.report.plan_record import plan_record
from orchestrator.report.records import json_line

from . import plans


def record() -> dict[str, Any]:
    """The record of the plan that has everything, as a machine reads it."""
    read = json.loads(json_line(plan_record(plans.everything())))
    assert isinstance(read, dict)
    return read


def test_every_key_is_documented() -> None:
    """The keys of the record and of its steps all stand in the module's docstring."""
    told = set(re.findall(r"[a-z_]+", module.__doc__ or ""))
    assert {*record(), *record()["steps"][0], *record()["times"]} <= told


def test_steps_of_a_plan_b_are_marked() -> None:
    """A step of a plan B names the step that it stands for, which names all of them."""
    steps = {step["id"]: step for step in record()["steps"]}
    assert [name for name, step in steps.items() if step["instead_of"] == "reboot"] == ["call", "stay"]
    assert steps["reboot"]["plan_b"] == ["call", "stay"]
    assert (steps["reboot"]["reversible"], record()["point_of_no_return"]) == (False, "reboot")


def test_what_the_language_has_is_there() -> None:
    """Approvals, retries, includes, skipped steps, overrides, warnings and times are data, not text."""
    read = record()
    shift, _, reboot, *_ = read["steps"]
    assert reboot["approval"] == {"people": 2, "ask": "Is the provider on the phone?"}
    assert (shift["retries"], shift["include"], reboot["include"]) == ([5.0, 10.0], "leave", None)
    assert read["includes"]["leave"]["runbook"] == "leave-site"
    assert read["skipped"] == {"warm-up": "size is small, not large"}
    assert read["overrides"]["headroom"] == "Sunday night, the demand falls"
    assert read["guards_set_aside"] == ["capacity of smtp that serves / demand >= 1.3"]
    assert read["guards_watched"][1] == "capacity of smtp that serves / demand >= 0.84"
    assert [(one["rule"], one["step"], one["found"]) for one in read["set_aside"]] == [
        ("headroom", "leave.shift", 0.9399),
        ("in-use", "", None),
    ]
    assert (read["undo"], len(read["warnings"])) == (["reboot", "leave.shift"], 1)
    assert read["times"] == {
        "expected": 3612.0,
        "at_most": None,
        "window": 14400.0,
        "back": None,
        "people": ["reboot"],
        "with_people": 3612.0,
        "unknown": [],
        "window_ends": None,
        "begin_by": None,
    }


def test_waypoints_are_numbers() -> None:
    """Each waypoint has the shares, what moves at once, the sites that serve and the headroom."""
    assert record()["steps"][0]["milestones"] == [
        {
            "label": "100%",
            "pools": [
                {
                    "pool": "smtp",
                    "shares": {"ord": 0.0, "iad": 1.0},
                    "moved": 0.5,
                    "serving": ["iad"],
                    "headroom": 0.9399,
                }
            ],
        }
    ]
