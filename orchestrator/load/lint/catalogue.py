"""Every rule that lint knows. ``docs/lint.md`` has a section for each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from orchestrator.load.lint.emptied import depends_on_emptied_site
from orchestrator.load.lint.expiring import expiring_shift
from orchestrator.load.lint.finding import Finder, Rule
from orchestrator.load.lint.silenced import SILENCE_UNUSED
from orchestrator.load.lint.steps import drain_without_deadline, no_plan_b, ramp_too_steep, shift_without_check
from orchestrator.load.lint.unused import unused_check, unused_parameter
from orchestrator.load.lint.waiting import hold_without_way_out
from orchestrator.load.lint.window import deadline_past_window

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "no-plan-b": Rule(
            "error", "a step that cannot be undone has no plan B", stands="no plan is made of such a step"
        ),
        "depends-on-emptied-site": Rule("error", "something that is needed stands at the site that is emptied"),
        "shift-without-check": Rule("warning", "traffic moves, and no check looks at its waypoints"),
        "drain-without-deadline": Rule("warning", "a drain waits for its clients for ever"),
        "ramp-too-steep": Rule("warning", "a waypoint may move more traffic at once than the guard allows"),
        "hold-without-way-out": Rule("warning", "a wait for a person that nothing else ends, or that leads nowhere"),
        "expiring-shift": Rule("warning", "a wait may outlast a zonal shift, which then ends by itself"),
        "deadline-past-window": Rule("warning", "the runbook may take longer than its window"),
        "unused-check": Rule("warning", "a check is never asked"),
        "unused-parameter": Rule("warning", "a parameter is never used"),
        SILENCE_UNUSED: Rule("warning", "a silence is of no use"),
    }
)

FINDERS: Final[Mapping[str, Finder]] = MappingProxyType(
    {
        "no-plan-b": no_plan_b,
        "depends-on-emptied-site": depends_on_emptied_site,
        "shift-without-check": shift_without_check,
        "drain-without-deadline": drain_without_deadline,
        "ramp-too-steep": ramp_too_steep,
        "hold-without-way-out": hold_without_way_out,
        "expiring-shift": expiring_shift,
        "deadline-past-window": deadline_past_window,
        "unused-check": unused_check,
        "unused-parameter": unused_parameter,
    }
)
"""What looks for each; silences are looked at last, when all else is found."""
