"""What a runbook's schema cannot say: names that must be there, what a check can measure, limits that must fit.

The rules look at nodes, not at the model, so that one mistake in a step does not hide the next one. A name that is
unknown or no name at all is passed over: that is reported where it is found out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import TypeAdapter

from orchestrator.load import schema
from orchestrator.load.capacity import check_growth, check_node, check_scaling
from orchestrator.load.node import (
    MappingNode,
    Name,
    Node,
    Pair,
    SequenceNode,
    child,
    descend,
    has,
    name_at,
    names_at,
    place_of,
)
from orchestrator.load.order import check_order
from orchestrator.load.problems import Problems, listed, meant, quote
from orchestrator.load.subject import subject
from orchestrator.model.check import METRICS, Check, Detect
from orchestrator.model.inventory import Inventory, Pool
from orchestrator.model.runbook import ShiftArguments
from orchestrator.model.switch import AnySwitch
from orchestrator.model.units import Threshold, format_fraction

_CHECK: Final[TypeAdapter[Check]] = TypeAdapter(Check)
_DETECT: Final = TypeAdapter(Detect)
_SHIFT: Final = TypeAdapter(ShiftArguments)

_CHECK_LISTS: Final = ("before", "after", "checks")
_DRAINS: Final = ("smtp.drain", "traffic.drain")
_MAIL_PROBES: Final = ("smtp", "delivery")
_SECONDS_METRICS: Final = frozenset({"p50", "p95", "p99"})


def check_rules(root: MappingNode, inventory: Inventory, problems: Problems) -> None:
    """Report every rule that the runbook breaks."""
    rules = _Rules(root, inventory, problems)
    for pair in _section(root, "checks"):
        rules.check_check(pair)
    for index, guard in enumerate(_entries(root, "guards")):
        rules.check_guard(index, guard)
    for index, step in enumerate(_entries(root, "steps")):
        what = subject(root, ("steps", index))
        rules.check_step(what, step)
        rules.check_plan_b(what, step)
    check_order(root, inventory, problems)


def _section(root: MappingNode, key: str) -> tuple[Pair, ...]:
    found = child(root, key)
    return found.pairs if isinstance(found, MappingNode) else ()


def _entries(root: Node, key: str) -> tuple[Node, ...]:
    found = child(root, key)
    return found.items if isinstance(found, SequenceNode) else ()


class _Rules:
    """The rules for one runbook and one inventory."""

    def __init__(self, root: MappingNode, inventory: Inventory, problems: Problems) -> None:
        self._root = root
        self._inventory = inventory
        self._problems = problems
        checks = child(root, "checks")
        self._checks = checks.keys() if isinstance(checks, MappingNode) else None
        """None where it cannot be known which checks there are."""
        if checks is None and not schema.is_mistyped(root, "checks"):
            self._checks = ()

    def check_check(self, pair: Pair) -> None:
        """A check measures something that is there, and says what it must be."""
        what = f"check {quote(pair.key)}"
        pool = self._pool(name_at(pair.value, "at", "pool"), what)
        if pool is not None:
            self._site(pool, name_at(pair.value, "at", "site"), what)
            self._inbox(pair.value, pool, what)
        check = schema.part(_CHECK, pair.value)
        if check is not None:
            self._judged(check, pair.value, what)
        self._detectable(pair.value, what)

    def check_guard(self, index: int, guard: Node) -> None:
        """A guard names a check or a pool that is there, and can hold while a site is emptied."""
        what = f"guard {index + 1}"
        name = name_at(guard, "check")
        if name is not None:
            self._known_check(name, what)
            self._guard_of_emptied_site(name, what)
        for kind in ("headroom", "serving", "blast_radius"):
            found = self._pool(name_at(guard, kind, "pool"), what)
            wanted = descend(guard, kind, "at_least") if kind == "serving" else None
            if found is not None and wanted is not None:
                self._enough_sites(found, wanted, what)

    def check_step(self, what: str, step: Node) -> None:
        """A step names checks, pools and sites that are there, and its arguments fit together."""
        for key in _CHECK_LISTS:
            for name in names_at(step, key):
                self._known_check(name, what)
        kind = name_at(step, "do")
        if kind is not None and kind.text == "traffic.shift":
            self._shift(step, what)
        elif kind is not None and kind.text in _DRAINS:
            self._drain(step, what, gated=kind.text == "smtp.drain")
        elif kind is not None and kind.text == "scale.out":
            self._scale_out(step, what)
        elif kind is not None and kind.text == "node.drain":
            check_node(step, what, self._inventory, self._problems)

    def check_plan_b(self, what: str, step: Node) -> None:
        """A plan B belongs to a step that cannot be undone; its steps are done one after the other."""
        if has(step, "plan_b") and _can_be_undone(step):
            message = f"cannot use the plan B of {what}: it can be undone, so its plan B would never be done"
            self._problems.add(place_of(step, "plan_b"), message, "leave it out")
        for instead in _entries(step, "plan_b"):
            self._instead(instead, what)

    def _instead(self, step: Node, what: str) -> None:
        """A plan B is the last resort, while all else is being undone: nothing in it is undone or returned."""
        called = name_at(step, "id")
        mine = f"step {quote(called.text)} of the plan B of {what}" if called else f"the plan B of {what}"
        self.check_step(mine, step)
        for key, remedy in (
            ("needs", "its steps are done from top to bottom"),
            ("plan_b", "it is the last resort: what is in it is not undone"),
            ("when", "put 'when' at the step that it belongs to"),
        ):
            if has(step, key):
                self._problems.add(place_of(step, key), f"cannot use {mine}: it has {quote(key)}", remedy)
        kind = name_at(step, "do")
        if kind is not None and kind.text == "return":
            message = f"cannot use {mine}: the undo returns everything itself"
            self._problems.add(kind.place, message, "leave it out")

    def _shift(self, step: Node, what: str) -> None:
        pool = self._pool(name_at(step, "with", "pool"), what)
        ends = [name_at(step, "with", key) for key in ("from", "to")]
        for name in ends:
            if pool is not None:
                self._site(pool, name, what)
        if pool is not None and not pool[1].switch.weighs:
            message = f"the members of a switch of kind {quote(pool[1].switch.driver)} have no weights"
            self._cannot(step, what, message, "take the site out of service with 'do: traffic.drain'")
        giving, taking = ends
        if giving and taking and giving.text == taking.text:
            message = f"cannot use {what}: it moves traffic from {quote(giving.text)} to {quote(taking.text)}"
            self._problems.add(taking.place, message, "name two sites")
        self._rising(step, what)

    def _rising(self, step: Node, what: str) -> None:
        arguments = descend(step, "with")
        shift = schema.part(_SHIFT, arguments) if arguments else None
        if shift is None or arguments is None:
            return
        shown = ", ".join(format_fraction(share) for share in shift.by)
        for index, (before, share) in enumerate(zip((0.0, *shift.by), shift.by, strict=False)):
            if share <= before:
                message = f"cannot use 'by' of {what}: its waypoints do not rise ({shown})"
                self._problems.add(place_of(arguments, "by", index), message, "write for example [5%, 25%, 100%]")
                return
        if shift.by[-1] < 1:
            message = f"cannot use 'by' of {what}: it ends at {format_fraction(shift.by[-1])}"
            place = place_of(arguments, "by", len(shift.by) - 1)
            self._problems.add(place, message, "let the last waypoint be 100%")

    def _drain(self, step: Node, what: str, *, gated: bool) -> None:
        site, one = name_at(step, "with", "site"), name_at(step, "with", "host")
        pool = self._pool(name_at(step, "with", "pool"), what)
        self._site_or_host(step, what)
        name = one or site
        if pool is None or name is None:
            return
        if not (self._member(pool, one, what) if one else self._site(pool, site, what)):
            return
        if one and site and not self._stands_at(pool, one, site, what):
            return
        self._drainable(pool[1].switch, step, what, gated=gated)
        members = (name.text,) if one else pool[1].members(name.text)
        for member in members if gated else ():
            host = self._inventory.hosts.get(member)
            if host is None or host.gate is None:
                message = f"cannot drain {quote(name.text)} in {what}: host {quote(member)} has no gate"
                self._problems.add(name.place, message, f"give it one in the inventory, under hosts.{member}.gate")

    def _scale_out(self, step: Node, what: str) -> None:
        pool, site = self._pool(name_at(step, "with", "pool"), what), name_at(step, "with", "site")
        if pool is not None and site is not None and self._site(pool, site, what):
            check_scaling(*pool, site, what, self._problems)
        check_growth(step, what, self._problems)

    def _drainable(self, switch: AnySwitch, step: Node, what: str, *, gated: bool) -> None:
        """Whether the pool's kind of switch can do what a drain needs."""
        kind = quote(switch.driver)
        if gated and not switch.lists_sessions:
            message = f"a switch of kind {kind} lists no sessions, so that nobody could see when they have ended"
            remedy = "drain at the load balancer that carries them, as a pool of its own, or use 'do: traffic.drain'"
            self._cannot(step, what, message, remedy)
        elif not gated and "drain" not in switch.admins:
            message = f"the members of a switch of kind {kind} have weights only, and cannot be taken out"
            self._cannot(step, what, message, "move their traffic away with 'do: traffic.shift'")

    def _cannot(self, step: Node, what: str, why: str, remedy: str) -> None:
        self._problems.add(place_of(step, "do"), f"cannot use {what}: {why}", remedy)

    def _site_or_host(self, step: Node, what: str) -> None:
        arguments = child(step, "with")
        if isinstance(arguments, MappingNode) and not any(has(arguments, key) for key in ("site", "host")):
            message = f"cannot drain in {what}: it has neither 'site' nor 'host'"
            self._problems.add(arguments.place, message, "name a site, a host, or a host with its site")

    def _stands_at(self, pool: tuple[str, Pool], host: Name, site: Name, what: str) -> bool:
        """A host that is named with its site stands there: the checks look at the site, and would prove another one."""
        home = pool[1].site_of(host.text)
        if home is None or not self._site(pool, site, what):
            return False
        if home == site.text:
            return True
        message = f"cannot drain {quote(host.text)} in {what}: it stands at {quote(home)}, not at {quote(site.text)}"
        there = listed(pool[1].members(site.text))
        remedy = f"give its site, {quote(home)}, or a member of {quote(pool[0])} at {quote(site.text)}: {there}"
        self._problems.add(host.place, message, remedy)
        return False

    def _member(self, pool: tuple[str, Pool], name: Name, what: str) -> bool:
        if pool[1].site_of(name.text) is not None:
            return True
        members = [member for site in pool[1].sites.values() for member in site.members]
        message = f"cannot use {what}: pool {quote(pool[0])} has no member {quote(name.text)}"
        self._problems.add(name.place, message, meant(name.text, members, "members"))
        return False

    def _pool(self, name: Name | None, what: str) -> tuple[str, Pool] | None:
        if name is None:
            return None
        pool = self._inventory.pools.get(name.text)
        if pool is None:
            message = f"cannot use {what}: there is no pool {quote(name.text)}"
            self._problems.add(name.place, message, meant(name.text, self._inventory.pools, "pools"))
            return None
        return name.text, pool

    def _site(self, pool: tuple[str, Pool], name: Name | None, what: str) -> bool:
        if name is None or name.text in pool[1].sites:
            return name is not None
        if name.text in self._inventory.sites:
            message = f"cannot use {what}: pool {quote(pool[0])} is not at site {quote(name.text)}"
            remedy = meant("", pool[1].sites, f"sites of {quote(pool[0])}")
        else:
            message = f"cannot use {what}: there is no site {quote(name.text)}"
            remedy = meant(name.text, self._inventory.sites, "sites")
        self._problems.add(name.place, message, remedy)
        return False

    def _known_check(self, name: Name, what: str) -> None:
        if self._checks is not None and name.text not in self._checks:
            message = f"cannot use {what}: there is no check {quote(name.text)}"
            self._problems.add(name.place, message, meant(name.text, self._checks, "checks"))

    def _guard_of_emptied_site(self, name: Name, what: str) -> None:
        """The orchestrator needs nothing from the site that it empties."""
        check = descend(self._root, "checks", name.text)
        probe, site = name_at(check, "probe"), name_at(check, "at", "site")
        if probe is None or site is None or probe.text not in _MAIL_PROBES:
            return
        if site.text in {emptied.text for emptied in self._emptied()}:
            message = f"cannot use {what}: check {quote(name.text)} sends mail to {quote(site.text)}, which is emptied"
            self._problems.add(name.place, message, "guard the pool or the other site")

    def _emptied(self) -> Iterator[Name]:
        for step in _entries(self._root, "steps"):
            kind = name_at(step, "do")
            site = name_at(step, "with", "site") if kind and kind.text in _DRAINS else None
            if site is not None and not has(child(step, "with"), "host"):
                yield site

    def _enough_sites(self, pool: tuple[str, Pool], wanted: Node, what: str) -> None:
        count = schema.part(TypeAdapter(int), wanted)
        if count is not None and count > len(pool[1].sites):
            message = f"cannot use {what}: pool {quote(pool[0])} has {len(pool[1].sites)} sites, not {count}"
            self._problems.add(wanted.place, message, "ask for fewer")

    def _inbox(self, node: Node, pool: tuple[str, Pool], what: str) -> None:
        probe = name_at(node, "probe")
        if probe is not None and probe.text == "delivery" and pool[1].test_mail.inbox is None:
            message = f"cannot use {what}: pool {quote(pool[0])} has no inbox in which mail can be seen to arrive"
            remedy = f"name a Maildir in the inventory, under pools.{pool[0]}.test_mail.inbox"
            self._problems.add(probe.place, message, remedy)

    def _judged(self, check: Check, node: Node, what: str) -> None:
        """Either numbers that are expected over some time, or a fault that must be found."""
        if bool(check.expect) == (check.detect is not None):
            why = "it has both 'expect' and 'detect'" if check.expect else "it has neither 'expect' nor 'detect'"
            place = place_of(node, "detect")  # the check, where there is none
            self._problems.add(place, f"cannot judge {what}: {why}", "write exactly one of them")
        elif check.detect is not None and check.for_ is not None:
            why = "'for' does not go with 'detect', which finds out itself how many probes it takes"
            self._problems.add(place_of(node, "for"), f"cannot judge {what}: {why}", "leave 'for' out")
        elif check.over is not None and check.for_ is not None:
            remedy = "keep 'over' to judge all samples together, or 'for' to look again and again"
            self._problems.add(place_of(node, "for"), f"cannot judge {what}: it has both 'over' and 'for'", remedy)
        for metric, threshold in check.expect.items():
            self._metric(check.probe, metric, threshold, node, what)

    def _metric(self, probe: str, metric: str, threshold: Threshold, node: Node, what: str) -> None:
        expect = descend(node, "expect")
        pair = expect.pair(metric) if isinstance(expect, MappingNode) else None
        if pair is None:
            return
        if metric not in METRICS[probe]:
            message = f"cannot judge {what}: the probe {quote(probe)} does not measure {quote(metric)}"
            self._problems.add(pair.place, message, meant(metric, sorted(METRICS[probe]), "measured numbers"))
            return
        example = _misfit(metric, threshold)
        if example:
            message = f"cannot judge {what}: {quote(str(threshold))} is no bound for {quote(metric)}"
            self._problems.add(pair.value.place, message, f"write for example {quote(example)}")

    def _detectable(self, node: Node, what: str) -> None:
        """Wald's sequential test needs a fault that differs from what is normal, and chances that can be had."""
        wanted = child(node, "detect")
        probe = name_at(node, "probe")
        if not has(wanted) or wanted is None or probe is None:
            return
        if probe.text in METRICS and probe.text not in _MAIL_PROBES:
            message = f"cannot judge {what}: 'detect' counts failing probes, and {quote(probe.text)} has none"
            self._problems.add(place_of(node, "detect"), message, "use 'expect', or the probe 'smtp' or 'delivery'")
            return
        detect = schema.part(_DETECT, wanted)
        if detect is None:
            return
        for key, low in (("confidence", 0.5), ("false_alarms", 0.0)):
            if not low < getattr(detect, key) < low + 0.5:
                limits = f"{format_fraction(low)} and {format_fraction(low + 0.5)}"
                message = f"cannot judge {what}: '{key}' must lie between {limits}, and be neither"
                self._problems.add(place_of(wanted, key), message, "no number of probes makes anything certain")
        if detect.failure_rate <= detect.baseline:
            message = (
                f"cannot judge {what}: it is to find failures of {format_fraction(detect.failure_rate)}, "
                f"and {format_fraction(detect.baseline)} of them are normal"
            )
            remedy = "raise 'failure_rate' above 'baseline'"
            self._problems.add(place_of(wanted, "failure_rate"), message, remedy)


def _can_be_undone(step: Node) -> bool:
    """Whether a step has a way back: all but a person's task that says none. Blank text says none either."""
    kind, undo = name_at(step, "do"), name_at(step, "with", "undo")
    if kind is None or kind.text != "manual":
        return kind is not None
    return undo is not None and bool(undo.text.strip())


def _misfit(metric: str, threshold: Threshold) -> str:
    """An example of a fitting threshold where this one measures something else; empty where it fits."""
    bound = threshold.text.removeprefix(threshold.compare).strip()
    number = bound.replace(".", "", 1).isdigit()
    if metric == "success_rate":
        return "" if bound.endswith("%") or (number and threshold.bound <= 1) else ">= 99.9%"
    if metric in _SECONDS_METRICS:
        return "" if not bound.endswith("%") else "<= 500ms"
    return "" if number else ("== 0" if metric == "sessions" else ">= 14")
