"""The kinds of runbooks to start from."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What the runbook is for."""

    MAINTENANCE = "maintenance"
    TRIAL = "trial"
    EVACUATION = "evacuation"
    REBOOT = "reboot"


ABOUT: Final = {
    Kind.MAINTENANCE: "empty a site, wait while its provider works, bring it back",
    Kind.TRIAL: "prove another site with real traffic before it is needed, and go back",
    Kind.EVACUATION: "leave a site that is in trouble, and stay away",
    Kind.REBOOT: "take one host out, let a person reboot it, prove it, put it back",
}
"""In a few words, for whoever has to choose."""

WINDOWS: Final = {
    Kind.MAINTENANCE: 4 * 3600.0,
    Kind.TRIAL: 2 * 3600.0,
    Kind.EVACUATION: 1800.0,
    Kind.REBOOT: 3600.0,
}
"""How long all of it may take, in seconds, where nobody says."""

SHORTEST: Final = {Kind.MAINTENANCE: 900.0, Kind.TRIAL: 900.0, Kind.EVACUATION: 600.0, Kind.REBOOT: 1200.0}
"""Seconds that its steps need at least, with the shortest deadlines that make sense."""
