"""The steps of the runbooks to start from: what is done, why so, and what to do where the means are missing."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.load.problems import listed
from orchestrator.report.starter.checks import disabled
from orchestrator.report.starter.means import Emptying, Means
from orchestrator.report.starter.outline import Outline
from orchestrator.report.starter.take_out import let_go, let_host_go, no_drain, one_move
from orchestrator.report.starter.yaml_text import comment

LOOK_EVERY: Final = 30
"""Seconds between two looks whether sessions have left by themselves."""


def escape(means: Means, why: str) -> str:
    """Prove the other site."""
    proofs = "path-is-whole, mail-arrives" if means.inbox else "path-is-whole"
    return f"{comment(why, 2)}  - id: escape\n    do: verify\n    checks: [{proofs}]\n"


def approval(outline: Outline, question: str) -> str:
    """Who must say yes before a step, or how to ask somebody."""
    ask = f'approval: {{people: {outline.approval or 2}, ask: "{question}"}}'
    if outline.approval:
        return f"    {ask}\n"
    return f"    # Nobody is asked before this begins. To ask two people (failover approve RUN STEP):\n    # {ask}\n"


def shift(means: Means) -> str:
    """Move the site's new traffic, as finely as its switch can."""
    if not means.in_one_move:
        return _SHIFT
    why = (
        f"New connections go to the other site, {one_move(means)}. After that there is the pause, and then its gates "
        "are asked."
    )
    return comment(why, 2) + _in_one_move(_SHIFT)


def try_out(means: Means) -> str:
    """Send real traffic to the site on trial: a part of it first, where that can be."""
    if not means.in_one_move:
        return _TRIAL
    why = (
        f"The trial: real clients, real messages, {one_move(means)}. So no small share comes first: do this when "
        "little is going on. After so long as you watch the path is probed again, as a load balancer may lose flows "
        "only when it has work. Sessions that are open stay where they are; only new ones move."
    )
    return comment(why, 2) + _in_one_move(_TRIAL)


def leave(means: Means) -> str:
    """Move the site's new traffic in few waypoints."""
    if not means.in_one_move:
        return _LEAVE
    why = (
        f"New connections go to the other site, {one_move(means)}. When it fails the shift waits for a person instead "
        "of undoing itself: back is where the trouble is."
    )
    return comment(why, 2) + _in_one_move(_LEAVE)


def _in_one_move(step: str) -> str:
    """The step itself without its comment, and with one waypoint."""
    lines = [line for line in step.splitlines(keepends=True) if not line.startswith("  #")]
    return re.sub(r"by: \[[^]]*\]", "by: [100%]", "".join(lines))


def drain(means: Means, seconds: float) -> str:
    """Empty the site; where that cannot be, wait until it empties itself, or say that nobody sees it."""
    if means.emptying is Emptying.UNSEEN:
        return no_drain(means)
    if means.emptying is Emptying.LET_GO:
        return let_go(means, "mail-flows, target-healthy")
    if means.emptying is Emptying.CLOSED:
        return comment(_HOW_IT_DRAINS, 2) + _not_watched(means) + _DRAIN
    return _missing_gates(means, _DRAIN, "'drain' into the steps that are returned, before 'shift'") + _quiet(seconds)


def drain_fast(means: Means, seconds: float) -> str:
    """Empty the site without waiting for a pause of the clients; else as ``drain``."""
    if means.emptying is Emptying.UNSEEN:
        return no_drain(means)
    if means.emptying is Emptying.LET_GO:
        return let_go(means, "target-healthy") + "    on_failure: hold\n"
    if means.emptying is Emptying.CLOSED:
        return comment(_HOW_IT_DRAINS_FAST, 2) + _not_watched(means) + _DRAIN_FAST
    return _missing_gates(means, _DRAIN_FAST) + _quiet(seconds)


def take_out(outline: Outline, means: Means) -> str:
    """Empty one host; without a gate a person does it."""
    question = approval(outline, "Take ${host} out of ${pool}?")
    if means.emptying is Emptying.LET_GO:
        return let_host_go(means) + question
    if means.emptying is Emptying.CLOSED:
        return comment(_HOW_IT_DRAINS, 2) + _not_watched(means) + _DRAIN_HOST + question
    return _missing_gates(means, _DRAIN_HOST, "'drain' for 'take-out' in 'back'") + _TAKE_OUT + question


def _quiet(seconds: float) -> str:
    return _QUIET.replace("TIMES", str(round(seconds / LOOK_EVERY)))


def _not_watched(means: Means) -> str:
    text = ""
    if means.unqueued:
        text += (
            f"Of the queue of {listed(means.unqueued)} the inventory says nothing, so nobody waits until it has gone "
            "out: add hosts.NAME.queue there. "
        )
    if means.elsewhere:
        text += f"This cannot be done everywhere yet: {_no_gate(means.elsewhere)}. "
    return comment(text, 2) if text else ""


def _no_gate(hosts: tuple[str, ...]) -> str:
    return f"{listed(hosts)} {'has' if len(hosts) == 1 else 'have'} no gate in the inventory"


def _missing_gates(means: Means, instead: str, besides: str = "") -> str:
    """Why there is no drain, how to come by one, and the step that it then is."""
    why = (
        f"Not a drain: {_no_gate(means.ungated)}, and only a gate can send a client elsewhere between two messages. "
        "Some days before, put one there ('failover gate config' prints what Postfix needs) and name it in the "
        "inventory, under hosts.NAME.gate. Then write this in place of the step below"
        f"{f', and {besides}' if besides else ''}:"
    )
    step = instead.replace('"${deadline}", settle: "${settle}"', "10m")
    return comment(why, 2) + "  #\n" + disabled(step) + "  #\n"


_HOW_IT_DRAINS: Final = (
    "Clients that keep their connection open would stay for ever. Each is closed between two messages, as soon as it "
    "is proved that none is under way; one that never pauses is told to come again (421) when it next begins a "
    "message. A message that is under way is waited for, up to the deadline; then the step fails, and nothing is cut."
)

_DRAIN: Final = """\
  - id: drain
    do: smtp.drain
    with: {pool: "${pool}", site: "${site}", deadline: "${deadline}", settle: "${settle}"}
    after: [site-silent]
"""

_HOW_IT_DRAINS_FAST: Final = (
    "Every client is told to come again (421) when it next begins a message, and those that say nothing are closed. "
    "Some will wait for minutes before they do: that is the price. Still no transaction is cut; when the deadline is "
    "over a person decides about the rest."
)

_DRAIN_FAST: Final = """\
  - id: drain
    do: smtp.drain
    with: {pool: "${pool}", site: "${site}", clients: any, deadline: "${deadline}", settle: "${settle}"}
    after: [site-silent]
    on_failure: hold
"""

_QUIET: Final = """\
  # Until then: new sessions go elsewhere, and those that are open end when their clients want. This waits for them, and
  # then for a person: 'failover resume RUN' looks again, 'failover undo RUN' goes back. Nothing is cut.
  - id: quiet
    do: verify
    checks: [site-silent]
    retries: {times: TIMES, pause: 30s, factor: 1}
    on_failure: hold
"""

_DRAIN_HOST: Final = """\
  - id: drain
    do: smtp.drain
    with: {pool: "${pool}", site: "${site}", host: "${host}", deadline: "${deadline}", settle: "${settle}"}
    after: [mail-flows]
"""

_TAKE_OUT: Final = """\
  # Until then a person does it, and waits.
  - id: take-out
    do: manual
    with:
      task: >-
        Take ${host} out of ${pool} in the switch (HAProxy: set server BACKEND/${host} state drain), and wait until it
        carries no session (show servers conn). Approve then.
      undo: "Put ${host} back into ${pool} in the switch (HAProxy: set server BACKEND/${host} state ready)."
    after: [mail-flows]
"""

_SHIFT: Final = """\
  # New connections go to the other site, in four waypoints; at each there is the pause, and then its gates are asked.
  - id: shift
    do: traffic.shift
    with: {pool: "${pool}", from: "${site}", to: "${to}", by: [5%, 25%, 60%, 100%], pause: "${pause}"}
    after: [mail-flows, target-healthy]
"""

WINDOW: Final = """\
  # The provider works. The guards stay on watch. A person says when it is over: failover approve RUN window
  - id: window
    do: hold
    with: {until: approval}
"""

BACK: Final = """\
  # The way back is the way out in reverse, as carefully. Where it fails the traffic stays on the other site, which
  # serves, and a person decides.
  - id: back
    do: return
    steps: [STEPS]
    before: [site-healthy]
    after: [mail-flows]
    on_failure: hold
"""

_TRIAL: Final = """\
  # The trial: real clients, real messages, at the small share for as long as you watch. The path is then probed again,
  # as a load balancer may lose flows only when it has work. Only after that comes the rest, for as long again.
  # Sessions that are open stay where they are; only new ones move.
  - id: shift
    do: traffic.shift
    with: {pool: "${pool}", from: "${site}", to: "${to}", by: ["${share}", 100%], pause: "${watch}"}
    after: [mail-flows, path-is-whole]
"""

TRIAL_BACK: Final = """\
  # Back along the same waypoints. Without this step the traffic stays there; 'failover undo RUN' brings it back later.
  - id: back
    do: return
    steps: [shift]
    after: [mail-flows]
    on_failure: hold
"""

READY: Final = """\
  # A moment that is always there: the other site answers, and not once by luck.
  - id: ready
    do: verify
    checks: [target-healthy]
    on_failure: hold
"""

_LEAVE: Final = """\
  # Half at once, then all: the other site is cold, and this one burns. With more time write more waypoints.
  # When it fails the shift waits for a person instead of undoing itself: back is where the trouble is.
  - id: shift
    do: traffic.shift
    with: {pool: "${pool}", from: "${site}", to: "${to}", by: [50%, 100%], pause: "${pause}"}
    after: [target-healthy]
    on_failure: hold
"""

REBOOT: Final = """\
  # A reboot cannot be undone, so the runbook says what to do instead: the plan B. It is asked for when this step, or a
  # later one, has failed and the run is undone; then the host goes back into the pool, if its site answers.
  # The kernel is asked for because one with a known bug has come back before on a server that nobody looked at.
  - id: reboot
    do: manual
    with:
      task: >-
        Reboot ${host}. When it is up, see that it runs the kernel that you want (uname -r) and that Postfix serves
        (postfix status). Approve then; if it does not come back, type 'failover abort RUN' in any terminal.
    estimate: 10m
    plan_b:
      - id: repair
        do: manual
        with:
          task: >-
            Start ${host} with the kernel that it had before, or repair it. If it cannot be repaired take it out of the
            pool for good. Approve then.
          undo: Leave ${host} as it is; nothing has to be taken back.
"""

PROVE: Final = """\
  # Before any client meets it. A host that has just come up needs a moment, so what fails is asked again, after 5, 10
  # and 20 seconds. If it still fails the host stays out, which is safe, and a person looks: failover resume RUN
  - id: prove
    do: verify
    checks: [site-answers]
    retries: {times: 3, pause: 5s}
    on_failure: hold
"""

HOST_BACK: Final = """\
  - id: back
    do: return
    steps: [STEPS]
    before: [site-answers]
    after: [mail-flows]
    on_failure: hold
"""
