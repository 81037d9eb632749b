"""Random runbooks for the lab: steps of every kind, steered so that loader and planner take most of them.

The draft is followed step by step: where traffic is, which hosts are drained, and what stands and could be returned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hypothesis import strategies as st
from pydantic import JsonValue

from orchestrator.load.runbook import LoadedRunbook, load_runbook
from orchestrator.model.inventory import Inventory
from orchestrator.model.traffic import Intake

from .shelf import SITES

StepText = dict[str, JsonValue]

HOSTS: Final = {site: (f"{site}-mx1", f"{site}-mx2") for site in SITES}
PLACES: Final = [*((site, None) for site in SITES), *((site, host) for site in SITES for host in HOSTS[site])]
CHECKS: Final = ("flows", "arrives", "answers")
WAYPOINTS: Final = (["100%"], ["50%", "100%"], ["5%", "25%", "100%"], ["33%", "34%", "100%"])
MOST_ENTRIES: Final = 8

_SHORT: Final = st.sampled_from(["0s", "300ms", "2s", "5s"])
_PAUSE: Final = st.sampled_from(["0s", "500ms", "3s"])
_TIMEOUT: Final = st.sampled_from(["1500ms", "4s", "15s", "2m"])
_DEADLINE: Final = st.sampled_from(["500ms", "3s", "1m"])
_SETTLE: Final = st.sampled_from(["500ms", "3s", "10s"])
"""Each longer than the slowest commit of a message on the stage."""
_CHECKS: Final = st.lists(st.sampled_from(CHECKS), min_size=1, max_size=2, unique=True)
_RARELY: Final = st.integers(0, 5).map(lambda number: number == 5)
_OFTEN: Final = st.integers(0, 2).map(bool)
NEVER: Final = st.just(value=False)
NOW_AND_THEN: Final = _RARELY


_INTAKE: Final = st.builds(
    Intake, weight=st.sampled_from([0, 1, 37, 100, 256]), admin=st.sampled_from(["ready", "ready", "drain", "maint"])
)
_UNUSUAL: Final = [host for hosts in HOSTS.values() for host in hosts if host != "iad-mx1"]
"""One member is always as usual: somebody serves."""
_STARTS: Final = _RARELY.flatmap(
    lambda rare: st.dictionaries(st.sampled_from(_UNUSUAL), _INTAKE, max_size=3 if rare else 0)
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where traffic is at one point of the way out: hosts with a weight, and hosts out of service."""

    weighted: frozenset[str] = frozenset({*HOSTS["ord"], *HOSTS["iad"]})
    drained: frozenset[str] = frozenset()

    @classmethod
    def of(cls, start: Mapping[str, Intake]) -> Traffic:
        """The traffic where ``start`` is not as usual."""
        weighted = cls().weighted | {name for name, intake in start.items() if intake.weight}
        weighted -= {name for name, intake in start.items() if not intake.weight}
        return cls(weighted, frozenset(name for name, intake in start.items() if intake.admin != "ready"))

    @property
    def serving(self) -> frozenset[str]:
        """The hosts that get traffic."""
        return self.weighted - self.drained

    def shifted(self, giver: str, taker: str) -> Traffic:
        """After a shift: it sets the weights of the hosts that are in service."""
        gone, come = (frozenset(HOSTS[site]) - self.drained for site in (giver, taker))
        return replace(self, weighted=self.weighted - gone | come) if gone & self.weighted else self


@dataclass(frozen=True, slots=True)
class Deed:
    """A step that stands and can be returned."""

    step: str
    before: Traffic
    moves: frozenset[str] = frozenset()
    """The hosts whose weights (``w:``) or service (``s:``) it sets; of a person's task none."""


@dataclass
class Draft:
    """A runbook under way; ``repr`` is its file, and the members that are not as usual at the start."""

    start: dict[str, Intake] = field(default_factory=dict)
    """The members that a run finds otherwise than the stage puts them."""
    entries: list[StepText] = field(default_factory=list)
    guards: list[JsonValue] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    deeds: list[Deed] = field(default_factory=list)
    after: dict[str, frozenset[str]] = field(default_factory=dict)
    """By step: all that is over when it begins."""
    last: tuple[str, ...] = ()
    """What the next entry waits for when it does not say."""
    mover: str = ""
    """The last step that moves traffic: movers of one pool must come one after the other."""
    number: int = 0
    mistakes: st.SearchStrategy[bool] = NEVER
    """Whether a return may take a step from under one that stands."""
    mistaken: bool = False
    """One does: the loader must refuse it."""

    def __repr__(self) -> str:
        start = ", ".join(f"{name}: {intake}" for name, intake in self.start.items())
        return f"# start: {start or 'as usual'}\n{self.text}"

    @property
    def text(self) -> str:
        """The file: JSON, which is YAML."""
        checks = {
            name: {"probe": "smtp", "at": {"pool": "smtp"}, "over": "5s", "expect": {"success_rate": ">= 99%"}}
            for name in CHECKS
        }
        steps = ",\n  ".join(json.dumps(entry) for entry in self.entries)
        head = f'"runbook": "random", "checks": {json.dumps(checks)},\n "guards": {json.dumps(self.guards)}'
        return f'{{{head},\n "steps": [\n  {steps}]}}\n'

    def name(self, kind: str) -> str:
        """A new name."""
        self.number += 1
        return f"{kind}{self.number}"

    def place(self, step: str, needs: Sequence[str]) -> None:
        """``step`` waits for ``needs``, and so for all that they have waited for."""
        self.after[step] = frozenset(needs).union(*(self.after[need] for need in needs))

    def kinds(self) -> set[str]:
        """The kinds of steps in it."""
        inner = (one for entry in self.entries for one in (entry, *_entries(entry.get("steps"))))
        return {str(entry["do"]) for entry in inner}


def _entries(steps: JsonValue) -> list[StepText]:
    return [one for one in steps if isinstance(one, dict)] if isinstance(steps, list) else []


def load(draft: Draft, inventory: Inventory, folder: Path) -> LoadedRunbook:
    """The draft, read as every runbook is."""
    path = folder / "random.yaml"
    path.write_text(draft.text)
    return load_runbook(path, inventory, {})


@st.composite
def runbooks(draw: st.DrawFn, mistakes: st.SearchStrategy[bool] = NEVER) -> Draft:
    """A runbook of up to ``MOST_ENTRIES`` entries; ``mistakes`` says of each return whether it may be out of order."""
    start = draw(_STARTS)
    draft = Draft(start, traffic=Traffic.of(start), mistakes=mistakes)
    for _ in range(draw(st.integers(1, MOST_ENTRIES))):
        if draw(_RARELY):
            _group(draw, draft)
        else:
            _entry(draw, draft)
    if draw(_RARELY):
        draft.guards.append({"headroom": {"pool": "smtp", "at_least": draw(st.sampled_from([1.0, 2.5, 5.0]))}})
    if draw(_RARELY):
        draft.guards.append({"serving": {"pool": "smtp", "at_least": 1}})
    return draft


def _entry(draw: st.DrawFn, draft: Draft) -> None:
    """One step behind what it needs: the entry above it, or any steps."""
    kind = draw(st.sampled_from(["shift", "drain", "shift", "drain", "back", "back", "hold", "verify", "manual"]))
    step = _step(draw, draft, kind)
    moves = kind in {"shift", "drain", "back"}
    needs = draft.last
    if draw(_RARELY) and draft.after:
        needs = tuple(draw(st.lists(st.sampled_from(sorted(draft.after)), max_size=2, unique=True)))
    needs = _with_needs(draft, step, needs, moves=moves)
    if needs != draft.last or draw(_RARELY):
        step["needs"] = list(needs)
    _append(draft, step, needs, moves=moves)
    draft.entries.append(step)
    draft.last = (str(step["id"]),)


def _group(draw: st.DrawFn, draft: Draft) -> None:
    """Steps side by side, of which one at most moves traffic."""
    first = draw(st.sampled_from(["shift", "drain", "back", "hold", "verify", "manual"]))
    others = draw(st.lists(st.sampled_from(["hold", "verify", "manual"]), min_size=1, max_size=2))
    group: StepText = {"id": draft.name("both"), "do": "parallel"}
    above, inside = draft.last, []
    for kind in [first, *others]:
        step = _step(draw, draft, kind)
        moves = kind in {"shift", "drain", "back"}
        needs = _with_needs(draft, step, above, moves=moves)
        if needs != above:  # what must come first stands outside of the group
            step["needs"] = list(needs)
        _append(draft, step, needs, moves=moves)
        inside.append(step)
    group["steps"] = list[JsonValue](inside)
    draft.entries.append(group)
    draft.last = tuple(str(step["id"]) for step in inside)


def _with_needs(draft: Draft, step: StepText, needs: tuple[str, ...], *, moves: bool) -> tuple[str, ...]:
    """What it must wait for besides: the last mover, and all that it returns."""
    wanted = [draft.mover] if moves and draft.mover else []
    if step["do"] == "return":
        wanted += [str(name) for name in step["steps"]]  # type: ignore[union-attr]
    over = frozenset(needs).union(*(draft.after[need] for need in needs))
    return (*needs, *(name for name in dict.fromkeys(wanted) if name not in over))


def _append(draft: Draft, step: StepText, needs: tuple[str, ...], *, moves: bool) -> None:
    name = str(step["id"])
    draft.place(name, needs)
    if moves:
        draft.mover = name


def _step(draw: st.DrawFn, draft: Draft, kind: str) -> StepText:
    """A step that can be done where the draft stands; a wait where there is none of its kind."""
    made = _MAKERS[kind](draw, draft)
    step = made if made is not None else _hold(draw, draft)
    return step | _around(draw, step)


def _around(draw: st.DrawFn, step: StepText) -> StepText:
    """Gates, tries and what a failure does."""
    more: StepText = {}
    if step["do"] not in {"verify", "hold"}:
        for key in ("before", "after"):
            if draw(_RARELY):
                more[key] = list[JsonValue](draw(_CHECKS))
    if draw(_RARELY):
        more["timeout"] = draw(_TIMEOUT)
    if draw(_RARELY):
        more["retries"] = {"times": draw(st.integers(1, 2)), "pause": draw(_PAUSE)}
    if draw(_RARELY):
        more["approval"] = {"people": draw(st.integers(1, 2))}
    if draw(_RARELY):
        more["on_failure"] = draw(st.sampled_from(["undo", "hold", "continue"]))
    return more


def _shift(draw: st.DrawFn, draft: Draft) -> StepText | None:
    traffic = draft.traffic
    ways = [
        (giver, taker)
        for giver in SITES
        for taker in SITES
        if giver != taker and set(HOSTS[taker]) - traffic.drained and set(HOSTS[giver]) & traffic.serving
    ]
    if not ways:
        return None
    giver, taker = draw(st.sampled_from(ways))
    step: StepText = {"id": draft.name("shift"), "do": "traffic.shift"}
    by: list[JsonValue] = list(draw(st.sampled_from(WAYPOINTS)))
    step["with"] = {"pool": "smtp", "from": giver, "to": taker, "by": by, "pause": draw(_PAUSE)}
    _stands(
        draft, step, traffic.shifted(giver, taker), {f"w:{host}" for site in (giver, taker) for host in HOSTS[site]}
    )
    return step


def _drain(draw: st.DrawFn, draft: Draft) -> StepText | None:
    traffic = draft.traffic
    fits = [
        (site, host, hosts)
        for site, host in PLACES
        if traffic.serving - (hosts := {host} if host else set(HOSTS[site])) and hosts - traffic.drained
    ]
    if not fits:
        return None
    site, host, hosts = draw(st.sampled_from(sorted(fits, key=lambda fit: bool(fit[2] & traffic.serving))))
    arguments: StepText = {"pool": "smtp", "settle": draw(_SETTLE)}
    if host is None or draw(st.booleans()):
        arguments["site"] = site
    if host is not None:
        arguments["host"] = host
    if draw(_OFTEN):
        arguments |= {"deadline": draw(_DEADLINE), "at_deadline": draw(st.sampled_from(["fail", "cut"]))}
    if draw(_RARELY):
        arguments["clients"] = "any"
    step: StepText = {"id": draft.name("drain"), "do": "smtp.drain", "with": arguments}
    _stands(draft, step, replace(traffic, drained=traffic.drained | hosts), {f"s:{name}" for name in hosts})
    return step


def _back(draw: st.DrawFn, draft: Draft) -> StepText | None:
    """Return deeds, the last one first; one that a later one stands upon only together with that, or by mistake."""
    returned: list[Deed] = []
    mistaken = draw(draft.mistakes)
    for deed in reversed(draft.deeds):
        later = draft.deeds[draft.deeds.index(deed) + 1 :]
        is_free = not any(deed.moves & one.moves for one in later if one not in returned)
        if (is_free or mistaken) and draw(_OFTEN):
            draft.mistaken |= not is_free
            returned.append(deed)
    if not returned:
        return None
    for deed in returned:
        draft.deeds.remove(deed)
        draft.traffic = _without(draft.traffic, deed)
    return {"id": draft.name("back"), "do": "return", "steps": [deed.step for deed in returned]}


def _without(traffic: Traffic, deed: Deed) -> Traffic:
    """As it is once ``deed`` is returned: what it set is as before it."""
    weights, service = (frozenset(one[2:] for one in deed.moves if one.startswith(kind)) for kind in ("w:", "s:"))
    return Traffic(
        weighted=traffic.weighted - weights | deed.before.weighted & weights,
        drained=traffic.drained - service | deed.before.drained & service,
    )


def _hold(draw: st.DrawFn, draft: Draft) -> StepText:
    until = "approval" if draw(st.booleans()) else draw(_SHORT)
    return {"id": draft.name("hold"), "do": "hold", "with": {"until": until}}


def _verify(draw: st.DrawFn, draft: Draft) -> StepText:
    return {"id": draft.name("verify"), "do": "verify", "checks": list[JsonValue](draw(_CHECKS))}


def _manual(draw: st.DrawFn, draft: Draft) -> StepText:
    """A person's task with its undo; or without one, and with a plan B in which a person puts it right."""
    name = draft.name("manual")
    if draw(_OFTEN):
        draft.deeds.append(Deed(name, draft.traffic))
        return {"id": name, "do": "manual", "with": {"task": f"do {name}", "undo": f"undo {name}"}}
    instead: list[JsonValue] = [_hold(draw, draft)] if draw(_RARELY) else []
    task = f"{name}-instead"
    instead.append({"id": task, "do": "manual", "with": {"task": f"do {task}"}})
    return {"id": name, "do": "manual", "with": {"task": f"do {name}"}, "plan_b": instead}


def _stands(draft: Draft, step: StepText, traffic: Traffic, moves: set[str]) -> None:
    draft.deeds.append(Deed(str(step["id"]), draft.traffic, frozenset(moves)))
    draft.traffic = traffic


_MAKERS: Final = {
    "shift": _shift,
    "drain": _drain,
    "back": _back,
    "hold": _hold,
    "verify": _verify,
    "manual": _manual,
}
