"""What each kind of runbook consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.model.units import format_duration
from orchestrator.report.starter import steps
from orchestrator.report.starter.checks import MAIL_FLOWS, SITE_SILENT, mail_arrives, path_is_whole, site_check, works
from orchestrator.report.starter.kind import Kind
from orchestrator.report.starter.means import Means
from orchestrator.report.starter.outline import Outline
from orchestrator.report.starter.yaml_text import scalar


@dataclass(frozen=True, slots=True)
class Plot:
    """The sections of a runbook, as they stand in the file."""

    about: str
    summary: str
    way: Sequence[str]
    """The steps by name."""
    parameters: dict[str, str]
    checks: Sequence[str]
    guard: str
    """The check that is on watch all the time."""
    steps: Sequence[str]
    pace: str = ""
    """A guard of the pace, where there is one."""


_PAUSE: Final = "{type: duration, default: 5s, help: how long each waypoint of the shift settles}"
_OBSERVE: Final = "{type: duration, default: 10s, help: how long mail is watched before a check is judged}"
_PACE: Final = """\
  # No waypoint moves more of the pool's new traffic at once, or the plan refuses itself.
  - blast_radius: {pool: "${pool}", at_most: 50%}
"""


def plot(outline: Outline, means: Means) -> Plot:
    """The runbook of this kind, with the means that there are."""
    return _PLOTS[outline.kind](outline, means)


def _maintenance(outline: Outline, means: Means) -> Plot:
    deadline = _part(outline, 600)
    emptying = "drain" if means.drains else "quiet"
    returned = "drain, shift" if means.drains else "shift"
    return Plot(
        about="Take a site out of service before its provider works on it, wait while the provider works, and bring it "
        "back. No message is lost or sent twice, no transaction is cut, and nothing moves before its destination is "
        "proved.",
        summary="Empty ${site} of ${pool} into ${to} for a maintenance window, and bring it back.",
        way=("escape", "shift", emptying, "window", "back"),
        parameters={
            **_sites(outline, "the site under maintenance", "the site that takes its traffic"),
            "pause": _PAUSE,
            "observe": _OBSERVE,
            **_drain_parameters(means, deadline),
        },
        checks=(
            path_is_whole(means),
            mail_arrives(means),
            MAIL_FLOWS,
            works("mail-works", "", "The same"),
            site_check(means, "target-healthy", "to", "The site that takes more and more traffic."),
            SITE_SILENT,
            site_check(means, "site-healthy", "site", "After the window, before any traffic goes back."),
        ),
        guard="mail-works",
        pace=_PACE,
        steps=(
            steps.escape(means, "Everything that must work on the other site, proved before anything leaves this one."),
            steps.SHIFT + steps.approval(outline, "Move the new traffic of ${pool} from ${site} to ${to}?"),
            steps.drain(means, deadline),
            steps.WINDOW,
            steps.BACK.replace("STEPS", returned),
        ),
    )


def _trial(outline: Outline, means: Means) -> Plot:
    watch = format_duration(_part(outline, 600))
    return Plot(
        about="Prove that another site carries real mail before you need it: with probes, then with a small share of "
        "the real traffic for a while, then with all of it; and go back. Once an alternate that nobody had tried was "
        "switched to in the middle of an outage; it dropped 2% of all packets, and it took hours to find out why. Do "
        "this on a quiet day before.",
        summary="Prove ${to} with ${share} of the new traffic of ${site} for ${watch}, then with all of it; go back.",
        way=("escape", "shift", "back"),
        parameters={
            **_sites(outline, "the site that serves now", "the site to prove"),
            "share": '{type: percent, default: 5%, help: "how much of the site\'s share is tried first"}',
            "watch": f'{{type: duration, default: {watch}, help: "how long that is watched, and then the whole"}}',
            "observe": _OBSERVE,
        },
        checks=(
            path_is_whole(means),
            mail_arrives(means),
            MAIL_FLOWS,
            works("target-works", "to", "The site on trial"),
        ),
        guard="target-works",
        steps=(
            steps.escape(means, "With probes only; no client is concerned."),
            steps.TRIAL + steps.approval(outline, "Send real traffic of ${pool} to ${to}, to try it?"),
            steps.TRIAL_BACK,
        ),
    )


def _evacuation(outline: Outline, means: Means) -> Plot:
    deadline = _part(outline, 120)
    healthy = (
        "No check and no guard here looks at the site that is left, nor at the whole pool: it may well be what fails, "
        "and must not break off the way out of it."
    )
    return Plot(
        about="Leave a site that is in trouble, or will be, and stay away: in fewer and larger waypoints than for a "
        "maintenance, and nothing of it needs the site to be well. To come back, on a quiet day and with the site "
        "repaired: 'failover undo RUN'. It opens the gates and gives every member the weight that was recorded before, "
        "once the site answers whole transactions.",
        summary="Leave ${site} of ${pool} for ${to}, and stay away.",
        way=("ready", "shift", "drain" if means.drains else "quiet"),
        parameters={
            **_sites(outline, "the site to leave", "the site that takes its traffic"),
            "pause": _PAUSE,
            "observe": "{type: duration, default: 5s, help: how long mail is watched before a check is judged}",
            **_drain_parameters(means, deadline),
        },
        checks=(
            site_check(means, "target-healthy", "to", healthy, latency=True),
            works("target-works", "to", "The other site"),
            SITE_SILENT,
        ),
        guard="target-works",
        steps=(
            steps.READY,
            steps.LEAVE + steps.approval(outline, "Leave ${site} of ${pool} for ${to}, until somebody brings it back?"),
            steps.drain_fast(means, deadline),
        ),
    )


def _reboot(outline: Outline, means: Means) -> Plot:
    emptying = "drain" if means.drains else "take-out"
    path = (
        "The path of the site leads to each of its hosts in turn, also to one that is drained: its gate lets probes "
        "through. So this meets the host before any client does."
    )
    return Plot(
        about="Take one host out of its pool, let a person reboot it, prove it, and put it back. Run it for one host "
        "after the other; or write a runbook that includes this one for each ('do: include').",
        summary="Reboot ${host} of ${pool} while the other hosts carry its mail.",
        way=(emptying, "reboot", "prove", "back"),
        parameters={
            "pool": _pool(outline),
            "site": _site(outline, "site", outline.site, "the site that the host stands at"),
            "host": "{type: host, help: the host to reboot}",
            "observe": _OBSERVE,
            **_drain_parameters(means, _part(outline, 600)),
        },
        checks=(
            site_check(means, "site-answers", "site", path),
            MAIL_FLOWS,
            works("mail-works", "", "The same"),
        ),
        guard="mail-works",
        steps=(
            steps.take_out(outline, means),
            steps.REBOOT,
            steps.PROVE,
            steps.HOST_BACK.replace("STEPS", emptying),
        ),
    )


def _pool(outline: Outline) -> str:
    return f"{{type: pool, default: {scalar(outline.pool)}, help: the service whose traffic it is}}"


def _site(outline: Outline, name: str, site: str, meaning: str) -> str:
    default = f"default: {scalar(site)}, " if name in outline.defaults else ""
    return f"{{type: site, {default}help: {meaning}}}"


def _sites(outline: Outline, site: str, to: str) -> dict[str, str]:
    return {
        "pool": _pool(outline),
        "site": _site(outline, "site", outline.site, site),
        "to": _site(outline, "to", outline.to, to),
    }


def _drain_parameters(means: Means, deadline: float) -> dict[str, str]:
    if not means.drains:
        return {}
    settle, why = "10s", "longer than your slowest message takes to be scanned and queued"
    if means.blind:
        settle, why = "30s", f"{why}; 30s at least, where a gate sees no transactions"
    shown = format_duration(deadline)
    return {
        "deadline": f"{{type: duration, default: {shown}, help: how long the drain may wait for open transactions}}",
        "settle": f'{{type: duration, default: {settle}, help: "{why}"}}',
    }


def _part(outline: Outline, at_most: float) -> float:
    """A twelfth of the window in whole minutes: what waits may do so some four times on the way out and back."""
    return max(60.0, min(at_most, outline.window // 720 * 60))


_PLOTS = {
    Kind.MAINTENANCE: _maintenance,
    Kind.TRIAL: _trial,
    Kind.EVACUATION: _evacuation,
    Kind.REBOOT: _reboot,
}
