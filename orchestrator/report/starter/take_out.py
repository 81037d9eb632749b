"""The steps of a runbook to start from whose switch lists no sessions: it takes members out, or their weights only."""

from __future__ import annotations

from typing import Final

from orchestrator.model.switch import ArcZonalShiftSwitch
from orchestrator.model.units import format_duration
from orchestrator.report.starter.means import Means
from orchestrator.report.starter.yaml_text import comment


def let_go(means: Means, gates: str) -> str:
    """Take the site out of its switch; ``gates`` are the checks to ask where that moves its traffic."""
    asked = [] if means.switch.weighs else [gates]
    if means.switch.counts_sessions:
        asked.append("site-silent")
    return comment(_how(means, "site"), 2) + _LET_GO.replace("CHECKS", ", ".join(asked) or gates)


def let_host_go(means: Means) -> str:
    """Take one host out of its switch."""
    return comment(_how(means, "host"), 2) + _LET_HOST_GO


def no_drain(means: Means) -> str:
    """Why nothing is drained, as a comment."""
    why = (
        f"No drain: a switch of kind {means.switch.driver} takes no member out and sees no session. What is open at "
        "the site ends when its clients want: look there before anybody works on it."
    )
    return comment(why, 2)


def one_move(means: Means) -> str:
    """Why a shift has one waypoint only, to stand behind what it does."""
    return f"all at once: a member of a switch of kind {means.switch.driver} takes traffic or it does not"


def no_sessions_check(means: Means) -> str:
    """Why there is no check of sessions, as a comment."""
    return comment(f"No check of sessions: a switch of kind {means.switch.driver} counts none.", 2)


def comes_back(means: Means) -> str:
    """What AWS does by itself, in a sentence; empty where it does nothing."""
    switch = means.switch
    if not isinstance(switch, ArcZonalShiftSwitch):
        return ""
    ends = format_duration(switch.expires)
    return f"AWS itself ends the shift {ends} after its begin (expires), and sends clients to the zone again"


def _how(means: Means, what: str) -> str:
    kind = f"A switch of kind {means.switch.driver}"
    if means.switch.weighs or what == "host":
        first = (
            f"{kind} lists no sessions, so that nobody could close them between two messages (smtp.drain): it takes "
            f"the {what} out."
        )
    else:
        first = (
            f"{kind} has no weights, so there is no shift: this takes the {what} out, and its new traffic goes to all "
            "that stays in, at once. With more than two sites prove the others, too."
        )
    ends = comes_back(means)
    return f"{first} {_what_is_open(means)}{f' {ends}.' if ends else ''}"


def _what_is_open(means: Means) -> str:
    drains = means.switch.drains_in
    if drains is None:
        return (
            "What is open ends when its clients want, and is waited for up to the deadline; then the step fails, and "
            "nothing is cut."
        )
    if drains:
        return (
            f"It serves what is open for {format_duration(drains)} more, unless somebody has set another delay; that "
            "is waited for, and the deadline must be longer."
        )
    return "What is open ends when its clients want, and nobody counts it: look there before anybody works on it."


_LET_GO: Final = """\
  - id: drain
    do: traffic.drain
    with: {pool: "${pool}", site: "${site}", deadline: "${deadline}"}
    after: [CHECKS]
"""

_LET_HOST_GO: Final = """\
  - id: drain
    do: traffic.drain
    with: {pool: "${pool}", site: "${site}", host: "${host}", deadline: "${deadline}"}
    after: [mail-flows]
"""
