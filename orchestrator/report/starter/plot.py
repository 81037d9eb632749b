"""What each kind of runbook consists of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.model.units import format_duration
from orchestrator.report.starter import steps
from orchestrator.report.starter.checks import MAIL_FLOWS, SITE_SILENT, mail_arrives, path_is_whole, site_check, works
from orchestrator.report.starter.kind import Kind
from orchestrator.report.starter.means import Emptying, Means
from orchestrator.report.starter.outline import Outline
from orchestrator.report.starter.take_out import comes_back, no_sessions_check
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
_PROMISES: Final = {
    True: "No message is lost or sent twice, no transaction is cut, and nothing moves before its destination is "
    "proved.",
    False: "Nothing moves before its destination is proved, and failover itself cuts nothing.",
}
"""By whether the switch lists its sessions."""

_COMES_BACK: Final = {
    True: "It opens the gates and gives every member the weight that was recorded before",
    False: "It brings every member back to what was recorded before",
}
_IN_TWO_PARTS: Final = "a small share of the real traffic for a while, then with all of it"
_THROUGH_THE_GATE: Final = (
    "The path of the site leads to each of its hosts in turn, also to one that is drained: its gate lets probes "
    "through. So this meets the host before any client does."
)
_PAST_THE_SWITCH: Final = (
    "The path of the site must lead to its hosts past the switch, also to one that is taken out: only then this meets "
    "the host before any client does."
)
_SPARE: Final = 60.0
"""Seconds more than a switch needs to let go."""

_PACE: Final = """\
  # No waypoint moves more of the pool's new traffic at once, or the plan refuses itself.
  - blast_radius: {pool: "${pool}", at_most: 50%}
"""


def plot(outline: Outline, means: Means) -> Plot:
    """The runbook of this kind, with the means that there are."""
    return _PLOTS[outline.kind](outline, means)


def _maintenance(outline: Outline, means: Means) -> Plot:
    deadline = _deadline(outline, means, 600)
    question = steps.approval(outline, "Move the new traffic of ${pool} from ${site} to ${to}?")
    return Plot(
        about="Take a site out of service before its provider works on it, wait while the provider works, and bring it "
        f"back. {_PROMISES[means.switch.lists_sessions]}",
        summary="Empty ${site} of ${pool} into ${to} for a maintenance window, and bring it back.",
        way=("escape", *_way_out(means), "window", "back"),
        parameters={
            **_sites(outline, "the site under maintenance", "the site that takes its traffic"),
            **_pause(means),
            "observe": _OBSERVE,
            **_drain_parameters(means, deadline),
        },
        checks=(
            path_is_whole(means),
            mail_arrives(means),
            MAIL_FLOWS,
            works("mail-works", "", "The same"),
            site_check(means, "target-healthy", "to", "The site that takes more and more traffic."),
            _site_silent(means),
            site_check(means, "site-healthy", "site", "After the window, before any traffic goes back."),
        ),
        guard="mail-works",
        pace="" if means.in_one_move else _PACE,
        steps=(
            steps.escape(means, "Everything that must work on the other site, proved before anything leaves this one."),
            *_asked_first(means, steps.shift(means), steps.drain(means, deadline), question),
            steps.WINDOW,
            steps.BACK.replace("STEPS", ", ".join(_to_return(means))),
        ),
    )


def _trial(outline: Outline, means: Means) -> Plot:
    watch = format_duration(_part(outline, 600))
    at_once = means.in_one_move
    real = "all of the real traffic for a while" if at_once else _IN_TWO_PARTS
    shown = "the new traffic of ${site} for ${watch}; go back"
    if not at_once:
        shown = "${share} of the new traffic of ${site} for ${watch}, then with all of it; go back"
    share = '{type: percent, default: 5%, help: "how much of the site\'s share is tried first"}'
    watched = "how long it is watched" if at_once else "how long that is watched, and then the whole"
    return Plot(
        about=f"Prove that another site carries real mail before you need it: with probes, then with {real}; and go "
        "back. Once an alternate that nobody had tried was switched to in the middle of an outage; it dropped 2% of "
        "all packets, and it took hours to find out why. Do this on a quiet day before.",
        summary=f"Prove ${{to}} with {shown}.",
        way=("escape", "shift", "back"),
        parameters={
            **_sites(outline, "the site that serves now", "the site to prove"),
            **({} if at_once else {"share": share}),
            "watch": f'{{type: duration, default: {watch}, help: "{watched}"}}',
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
            steps.try_out(means) + steps.approval(outline, "Send real traffic of ${pool} to ${to}, to try it?"),
            steps.TRIAL_BACK,
        ),
    )


def _evacuation(outline: Outline, means: Means) -> Plot:
    deadline = _deadline(outline, means, 120)
    question = steps.approval(outline, "Leave ${site} of ${pool} for ${to}, until somebody brings it back?")
    healthy = (
        "No check and no guard here looks at the site that is left, nor at the whole pool: it may well be what fails, "
        "and must not break off the way out of it."
    )
    return Plot(
        about="Leave a site that is in trouble, or will be, and stay away: in fewer and larger waypoints than for a "
        "maintenance, and nothing of it needs the site to be well. To come back, on a quiet day and with the site "
        f"repaired: 'failover undo RUN'. {_COMES_BACK[means.switch.lists_sessions]}, once the site answers whole "
        f"transactions.{_ends(means)}",
        summary="Leave ${site} of ${pool} for ${to}, and stay away.",
        way=("ready", *_way_out(means)),
        parameters={
            **_sites(outline, "the site to leave", "the site that takes its traffic"),
            **_pause(means),
            "observe": "{type: duration, default: 5s, help: how long mail is watched before a check is judged}",
            **_drain_parameters(means, deadline),
        },
        checks=(
            site_check(means, "target-healthy", "to", healthy, latency=True),
            works("target-works", "to", "The other site"),
            _site_silent(means),
        ),
        guard="target-works",
        steps=(
            steps.READY,
            *_asked_first(means, steps.leave(means), steps.drain_fast(means, deadline), question),
        ),
    )


def _reboot(outline: Outline, means: Means) -> Plot:
    emptying = "take-out" if means.emptying is Emptying.AWAITED else "drain"
    path = _PAST_THE_SWITCH if means.emptying is Emptying.LET_GO else _THROUGH_THE_GATE
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
            **_drain_parameters(means, _deadline(outline, means, 600)),
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


def _pause(means: Means) -> dict[str, str]:
    return {"pause": _PAUSE} if means.switch.weighs else {}


def _way_out(means: Means) -> Iterator[str]:
    """The steps that empty a site, by name."""
    if means.switch.weighs:
        yield "shift"
    if means.emptying is not Emptying.UNSEEN:
        yield "quiet" if means.emptying is Emptying.AWAITED else "drain"


def _to_return(means: Means) -> list[str]:
    """Those of them that change something, the last one first."""
    return [name for name in reversed(list(_way_out(means))) if name != "quiet"]


def _asked_first(means: Means, shift: str, drain: str, question: str) -> tuple[str, ...]:
    """The steps that empty a site; the first one asks."""
    return (shift + question, drain) if means.switch.weighs else (drain + question,)


def _site_silent(means: Means) -> str:
    return SITE_SILENT if means.switch.counts_sessions else no_sessions_check(means)


def _ends(means: Means) -> str:
    ends = comes_back(means)
    return f" {ends}." if ends else ""


def _deadline(outline: Outline, means: Means, at_most: float) -> float:
    """Of a drain; never shorter than what the switch needs when all goes well."""
    drains = means.switch.drains_in
    least = drains + _SPARE if drains and means.emptying is Emptying.LET_GO else 0.0
    return max(_part(outline, at_most), least)


def _drain_parameters(means: Means, deadline: float) -> dict[str, str]:
    if means.emptying is Emptying.LET_GO:
        what = "how long the switch may go on serving what is open"
        return {"deadline": f"{{type: duration, default: {format_duration(deadline)}, help: {what}}}"}
    if means.emptying is not Emptying.CLOSED:
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
