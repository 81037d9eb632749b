"""Each rule with what breaks it, at its exact place, and a twin that does not.

``»`` stands before each place that is to be found; a case ends with what is replaced to make it clean.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from orchestrator.load.lint import RULES, Examined, Finding
from orchestrator.load.lint.catalogue import FINDERS
from orchestrator.model.inventory import Control, Inventory
from tests.unit.load.lint.conftest import Look

SHIFT = "- {id: shift, do: traffic.shift, with: {pool: smtp, from: ord, to: iad}, after: [flows]}"
DRAIN = "- {id: drain, do: smtp.drain, with: {pool: smtp, site: ord, deadline: 10m}}"
FLOWS = 'flows: {probe: smtp, at: {pool: smtp}, over: 30s, expect: {success_rate: ">= 99%"}}'
ZONE = "- {id: out, do: traffic.drain, with: {pool: zones, site: ord, deadline: 10m}}"
RETURN = "- {id: back, do: return, steps: [out]}"
SERVING = "guards: [serving: {pool: smtp, at_least: 1}]"


@dataclass(frozen=True)
class Case:
    """A runbook that breaks one rule, and how to make a clean one of it."""

    rule: str
    at: str
    text: str
    replaced: str
    by: str
    says: str = ""

    def places(self) -> list[tuple[int, int]]:
        """Line and column of each place that is marked."""
        found: list[tuple[int, int]] = []
        for number, line in enumerate(self.runbook(marked=True).split("\n"), 1):
            parts = line.split("»")
            found += [(number, len("".join(parts[:index])) + 1) for index in range(1, len(parts))]
        return found

    def runbook(self, *, marked: bool = False) -> str:
        """The whole file."""
        text = f"runbook: case\n{self.text}"
        return text if marked else text.replace("»", "")

    def clean(self) -> str:
        """Its twin."""
        text = self.runbook()
        assert text.count(self.replaced) >= 1
        return text.replace(self.replaced, self.by)


CASES = {
    "manual without undo": Case(
        "no-plan-b",
        "call",
        "steps:\n- {id: »call, do: manual, with: {task: Call them.}}",
        "Call them.",
        "Call them., undo: Call again.",
        "step 'call' cannot be undone, and has no plan B",
    ),
    "a plan B": Case(
        "no-plan-b",
        "call",
        "steps:\n- {id: »call, do: manual, with: {task: Call.}}",
        "{task: Call.}}",
        "{task: Call.}, plan_b: [{id: other, do: manual, with: {task: Call others.}}]}",
    ),
    "shift": Case(
        "shift-without-check",
        "shift",
        "steps:\n- {id: »shift, do: traffic.shift, with: {pool: smtp, from: ord, to: iad}}",
        "to: iad}}",
        f"to: iad}}, after: [flows]}}\nchecks:\n  {FLOWS}",
        "step 'shift' moves traffic, and no check looks at its waypoints",
    ),
    "shift back": Case(
        "shift-without-check",
        "back",
        f"checks:\n  {FLOWS}\nsteps:\n{SHIFT}\n- {{id: »back, do: return, steps: [shift]}}",
        "steps: [shift]}",
        "steps: [shift], after: [flows]}",
    ),
    "shift in a plan B": Case(
        "shift-without-check",
        "away",
        f"checks:\n  {FLOWS}\nsteps:\n- id: call\n  do: manual\n  with: {{task: Call.}}\n  before: [flows]\n"
        "  plan_b: [{id: »away, do: traffic.shift, with: {pool: smtp, from: ord, to: iad}}]",
        "to: iad}}",
        "to: iad}, after: [flows]}",
    ),
    "drain": Case(
        "drain-without-deadline",
        "drain",
        "steps:\n- {id: »drain, do: smtp.drain, with: {pool: smtp, site: ord}}",
        "site: ord}",
        "site: ord, deadline: 1m}",
        "step 'drain' has no deadline: one client that never pauses holds it for ever",
    ),
    "a timeout ends a drain": Case(
        "drain-without-deadline",
        "drain",
        "steps:\n- {id: »drain, do: smtp.drain, with: {pool: smtp, host: ord-1}}",
        "host: ord-1}",
        "host: ord-1}, timeout: 1m",
    ),
    "first waypoint": Case(
        "ramp-too-steep",
        "shift",
        f"checks:\n  {FLOWS}\nguards: [blast_radius: {{pool: smtp, at_most: 30%}}]\nsteps:\n- id: shift\n"
        "  do: traffic.shift\n  with: {pool: smtp, from: ord, to: iad, by: [»40%, 70%, 100%]}\n  after: [flows]",
        "40%, 70%",
        "10%, 40%, 70%",
        "step 'shift' moves up to 40% of the new traffic at once, on the way to 40%, and the guard of pool 'smtp' "
        "allows 30%",
    ),
    "later waypoints": Case(
        "ramp-too-steep",
        "shift",
        f"checks:\n  {FLOWS}\nguards: [blast_radius: {{pool: smtp, at_most: 30%}}]\nsteps:\n- id: shift\n"
        "  do: traffic.shift\n  with: {pool: smtp, from: ord, to: iad, by: [5%, »50%, »100%]}\n  after: [flows]",
        "5%, 50%, 100%",
        "30%, 60%, 90%, 100%",  # in binary 90% - 60% is more than 30%
    ),
    "no waypoints": Case(
        "ramp-too-steep",
        "shift",
        f"checks:\n  {FLOWS}\nguards: [blast_radius: {{pool: smtp, at_most: 99%}}]\nsteps:\n- id: shift\n"
        "  do: traffic.shift\n  with: »{pool: smtp, from: ord, to: iad}\n  after: [flows]",
        "pool: smtp, at_most",
        "pool: bounces, at_most",
    ),
    "the strictest guard": Case(
        "ramp-too-steep",
        "shift",
        f"checks:\n  {FLOWS}\nguards:\n- blast_radius: {{pool: smtp, at_most: 20%}}\n"
        "- blast_radius: {pool: smtp, at_most: 60%}\nsteps:\n- id: shift\n  do: traffic.shift\n"
        "  with: {pool: smtp, from: ord, to: iad, by: [»50%, »100%]}\n  after: [flows]",
        "20%",
        "50%",
    ),
    "switch of the pool": Case(
        "depends-on-emptied-site",
        "drain",
        "steps:\n- {id: »drain, do: smtp.drain, with: {pool: bounces, site: ord, deadline: 1m}}",
        "bounces",
        "smtp",
        "step 'drain' needs the switch of pool 'bounces', and that stands at 'ord', which 'drain' empties",
    ),
    "the other site may be emptied": Case(
        "depends-on-emptied-site",
        "drain",
        "steps:\n- {id: »drain, do: smtp.drain, with: {pool: bounces, site: ord, deadline: 1m}}",
        "site: ord",
        "site: iad",
    ),
    "one host is not a site": Case(
        "depends-on-emptied-site",
        "drain",
        "steps:\n- {id: »drain, do: smtp.drain, with: {pool: bounces, site: ord, deadline: 1m}}",
        "site: ord",
        "host: ord-3",
    ),
    "all hosts at once are a site": Case(
        "depends-on-emptied-site",
        "first",
        "steps:\n- {id: »first, do: smtp.drain, with: {pool: bounces, host: ord-3, deadline: 1m}}\n"
        "- {id: last, do: smtp.drain, with: {pool: bounces, host: ord-5, deadline: 1m}}",
        "- {id: last",
        "- {id: back, do: return, steps: [first]}\n- {id: last",
        "and that stands at 'ord', which 'last' empties",
    ),
    "a host after the traffic has gone is a site": Case(
        "depends-on-emptied-site",
        "late",
        f"checks:\n  {FLOWS}\n  »late: {{probe: sessions, at: {{pool: bounces}}, "
        f'expect: {{sessions: "== 0"}}}}\nsteps:\n{SHIFT}\n'
        "- {id: out, do: smtp.drain, with: {pool: smtp, host: ord-1, deadline: 1m}}\n"
        "- {id: look, do: verify, checks: [late]}",
        f"{SHIFT}\n",
        "- {id: flows, do: verify, checks: [flows]}\n",
        "and that stands at 'ord', which 'out' empties",
    ),
    "a socket in the site's network": Case(
        "depends-on-emptied-site",
        "drain",
        "steps:\n- {id: »drain, do: smtp.drain, with: {pool: ghost, site: ord, deadline: 1m}}",
        "ghost",
        "smtp",
        "and its socket [2001:db8:1::10]:9999 is in 2001:db8:1::/48 at 'ord', which 'drain' empties",
    ),
    "from the shift on": Case(
        "depends-on-emptied-site",
        "shift",
        'checks: {flows: {probe: smtp, at: {pool: bounces}, expect: {success_rate: ">= 99%"}}}\nsteps:\n'
        "- {id: »shift, do: traffic.shift, with: {pool: bounces, from: ord, to: iad}, after: [flows]}\n"
        "- {id: drain, do: smtp.drain, with: {pool: bounces, site: ord, deadline: 1m}}",
        "\n- {id: drain, do: smtp.drain, with: {pool: bounces, site: ord, deadline: 1m}}",
        "",
    ),
    "another pool, while it is empty": Case(
        "depends-on-emptied-site",
        "other",
        f"steps:\n{DRAIN}\n- {{id: »other, do: smtp.drain, with: {{pool: bounces, host: ord-3, deadline: 1m}}}}\n"
        "- {id: back, do: return, steps: [drain]}",
        "- {id: other, do: smtp.drain, with: {pool: bounces, host: ord-3, deadline: 1m}}\n"
        "- {id: back, do: return, steps: [drain]}",
        "- {id: back, do: return, steps: [drain]}\n"
        "- {id: other, do: smtp.drain, with: {pool: bounces, host: ord-3, deadline: 1m}}",
    ),
    "before it is empty": Case(
        "depends-on-emptied-site",
        "gone",
        'checks: {»gone: {probe: sessions, at: {pool: bounces}, expect: {sessions: "== 0"}}}\n'
        "steps:\n- {id: drain, do: smtp.drain, with: {pool: smtp, site: ord, deadline: 10m}}\n"
        "- {id: early, do: verify, checks: [gone]}",
        "- {id: drain, do: smtp.drain, with: {pool: smtp, site: ord, deadline: 10m}}\n"
        "- {id: early, do: verify, checks: [gone]}",
        "- {id: early, do: verify, checks: [gone]}\n"
        "- {id: drain, do: smtp.drain, with: {pool: smtp, site: ord, deadline: 10m}}",
    ),
    "after it is back": Case(
        "depends-on-emptied-site",
        "gone",
        'checks: {»gone: {probe: sessions, at: {pool: bounces}, expect: {sessions: "== 0"}}}\n'
        f"steps:\n{DRAIN}\n- {{id: back, do: return, steps: [drain], before: [gone]}}",
        "before: [gone]",
        "after: [gone]",
    ),
    "a guard": Case(
        "depends-on-emptied-site",
        "headroom bounces",
        f"guards:\n- »headroom: {{pool: bounces, at_least: 1.2}}\nsteps:\n{DRAIN}",
        "pool: bounces",
        "pool: smtp",
        "guard 1 needs the switch of pool 'bounces'",
    ),
    "where probes come from": Case(
        "depends-on-emptied-site",
        "flows",
        "checks:\n  flows: {probe: smtp, at: {pool: smtp}, with: {sources: [203.0.113.7, »198.51.100.7]}, "
        f'expect: {{success_rate: ">= 99%"}}}}\nguards: [check: flows]\nsteps:\n{DRAIN}',
        "198.51.100.7",
        "203.0.113.8",
        "check 'flows' probes from 198.51.100.7, which is in 198.51.100.0/24 at 'ord', which 'drain' empties",
    ),
    "the path to another site": Case(
        "depends-on-emptied-site",
        "path",
        'checks:\n  path: {probe: smtp, at: {pool: ghost, site: »iad}, expect: {success_rate: ">= 99%"}}\n'
        f"guards: [check: path]\nsteps:\n{DRAIN}",
        "pool: ghost",
        "pool: smtp",
        "check 'path' gets to 'iad' over 198.51.100.32:25, which is in 198.51.100.0/24 at 'ord'",
    ),
    "the emptied site itself is looked at": Case(
        "depends-on-emptied-site",
        "path",
        'checks:\n  path: {probe: smtp, at: {pool: ghost, site: »iad}, expect: {success_rate: ">= 99%"}}\n'
        f"steps:\n{DRAIN}\n- {{id: look, do: verify, checks: [path]}}",
        "site: iad",
        "site: ord",
    ),
    "check": Case(
        "unused-check",
        "flows",
        f"checks:\n  »{FLOWS}\nsteps:\n- {{id: wait, do: hold, with: {{until: 1m}}}}",
        "until: 1m}",
        "until: 1m}, before: [flows]",
        "check 'flows' is never asked: no step and no guard names it",
    ),
    "a guard asks a check": Case(
        "unused-check",
        "flows",
        f"checks:\n  »{FLOWS}\nsteps:\n- {{id: wait, do: hold, with: {{until: 1m}}}}",
        "steps:",
        "guards: [check: flows]\nsteps:",
    ),
    "parameter": Case(
        "unused-parameter",
        "wait",
        "parameters:\n  »wait: {type: duration, default: 1m}\nsteps:\n- {id: wait, do: hold, with: {until: 2m}}",
        "until: 2m",
        'until: "${wait}"',
        "parameter 'wait' is never used",
    ),
    "nobody watches": Case(
        "hold-without-way-out",
        "window",
        f"steps:\n{DRAIN}\n- {{id: window, do: hold, with: {{until: »approval}}}}\n"
        "- {id: back, do: return, steps: [drain]}",
        "approval}",
        "approval}, timeout: 4h",
        "step 'window' waits for a person while what 'drain' moved is away",
    ),
    "a pace guard does not watch": Case(
        "hold-without-way-out",
        "window",
        f"guards: [blast_radius: {{pool: smtp, at_most: 100%}}]\nsteps:\n{DRAIN}\n"
        "- {id: window, do: hold, with: {until: »approval}}\n- {id: back, do: return, steps: [drain]}",
        "blast_radius: {pool: smtp, at_most: 100%}",
        "serving: {pool: smtp, at_least: 1}",
    ),
    "held again for the same person": Case(
        "hold-without-way-out",
        "window",
        f"steps:\n{DRAIN}\n- {{id: window, do: hold, with: {{until: »approval}}, timeout: 4h, on_failure: hold}}\n"
        "- {id: back, do: return, steps: [drain]}",
        "on_failure: hold",
        "on_failure: undo",
    ),
    "a person at work": Case(
        "hold-without-way-out",
        "reboot",
        f"steps:\n{DRAIN}\n- {{id: »reboot, do: manual, with: {{task: Reboot., undo: None.}}}}",
        f"{DRAIN}\n- {{id: reboot, do: manual, with: {{task: Reboot., undo: None.}}}}",
        f"- {{id: reboot, do: manual, with: {{task: Reboot., undo: None.}}}}\n{DRAIN}",
    ),
    "people who must approve": Case(
        "hold-without-way-out",
        "back",
        f"steps:\n{DRAIN}\n- {{id: »back, do: return, steps: [drain], approval: {{people: 2}}, timeout: 1h}}",
        "steps:\n",
        f"{SERVING}\nsteps:\n",
    ),
    "nothing comes after": Case(
        "hold-without-way-out",
        "window",
        f"{SERVING}\nsteps:\n{DRAIN}\n- {{id: window, do: hold, with: {{until: »approval}}}}",
        "until: approval}}",
        "until: approval}}\n- {id: back, do: return, steps: [drain]}",
        "step 'window' leads nowhere: what 'drain' emptied stays empty after the approval, as nothing comes after",
    ),
    "a wait that ends by itself": Case(
        "hold-without-way-out",
        "window",
        f"{SERVING}\nsteps:\n{DRAIN}\n- {{id: window, do: hold, with: {{until: »approval}}}}",
        "until: approval}",
        "until: 10m}, approval: {people: 1}",
    ),
    "traffic that only moved": Case(
        "hold-without-way-out",
        "window",
        f"{SERVING}\nchecks:\n  {FLOWS}\nsteps:\n{SHIFT}\n{DRAIN}\n"
        "- {id: window, do: hold, with: {until: »approval}}",
        f"{DRAIN}\n",
        "",
    ),
    "a wait for a person outlasts a zonal shift": Case(
        "expiring-shift",
        "work",
        f"{SERVING}\nsteps:\n{ZONE}\n- {{id: work, do: hold, with: {{until: »approval}}}}\n{RETURN}",
        "until: approval}",
        "until: approval}, timeout: 8h",
        "step 'work' waits for a person without an end while the zone that 'out' took out is away: AWS ends its shift "
        "after 8h, and sends clients there again",
    ),
    "a timeout that only asks the same person": Case(
        "expiring-shift",
        "work",
        f"{SERVING}\nsteps:\n{ZONE}\n- {{id: work, do: hold, with: {{until: »approval}}, timeout: 1h, "
        f"on_failure: hold}}\n{RETURN}",
        ", on_failure: hold",
        "",
    ),
    "a window that is too long": Case(
        "expiring-shift",
        "work",
        f"window: 9h\n{SERVING}\nsteps:\n{ZONE}\n- {{id: »work, do: manual, with: {{task: Call., undo: Call.}}}}"
        f"\n{RETURN}",
        "window: 9h",
        "window: 8h",
        "step 'work' waits up to 9h while",
    ),
    "a hold outlasts a zonal shift": Case(
        "expiring-shift",
        "work",
        f"{SERVING}\nsteps:\n{ZONE}\n- {{id: work, do: hold, with: {{until: »481m}}}}\n{RETURN}",
        "481m",
        "8h",
    ),
    "an approval on the way back": Case(
        "expiring-shift",
        "back",
        f"{SERVING}\nsteps:\n{ZONE}\n- {{id: »back, do: return, steps: [out], approval: {{people: 1}}}}",
        ", approval: {people: 1}",
        "",
    ),
    "a zone that is back": Case(
        "expiring-shift",
        "work",
        f"{SERVING}\nsteps:\n{ZONE}\n- {{id: work, do: hold, with: {{until: »9h}}}}\n{RETURN}",
        "- {id: work, do: hold, with: {until: 9h}}\n- {id: back, do: return, steps: [out]}",
        "- {id: back, do: return, steps: [out]}\n- {id: work, do: hold, with: {until: 9h}}",
    ),
    "single deadline": Case(
        "deadline-past-window",
        "drain",
        "window: 1h\nsteps:\n- {id: drain, do: smtp.drain, with: {pool: smtp, host: ord-2, deadline: »2h}}",
        "deadline: 2h",
        "deadline: 1h",
        "step 'drain' has a deadline of 2h, and the window of the runbook is 1h",
    ),
    "single hold": Case(
        "deadline-past-window",
        "work",
        "window: 1h\nsteps:\n- {id: work, do: hold, with: {until: »61m}}",
        "61m",
        "60m",
    ),
    "single timeout": Case(
        "deadline-past-window",
        "work",
        "window: 1h\nsteps:\n- {id: work, do: hold, with: {until: approval}, timeout: »61m}",
        "61m",
        "60m",
    ),
    "single estimate": Case(
        "deadline-past-window",
        "work",
        "window: 1h\nsteps:\n- {id: work, do: hold, with: {until: approval}, estimate: »61m}",
        "61m",
        "60m",
    ),
    "queues wait anew": Case(
        "deadline-past-window",
        "",
        "window: »19m\nsteps:\n- {id: drain, do: smtp.drain, with: {pool: smtp, host: ord-1, deadline: 10m}}",
        "ord-1",
        "ord-2",
        "the runbook may take 20m, and its window is 19m: drain 20m",
    ),
    "the longest way": Case(
        "deadline-past-window",
        "",
        "window: »10m\nsteps:\n- {id: a, do: hold, with: {until: 6m}}\n"
        "- {id: b, do: hold, with: {until: 5m}, needs: []}\n"
        "- {id: c, do: hold, with: {until: 3m}, needs: [a, b]}\n- {id: d, do: hold, with: {until: 2m}}",
        "6m",
        "4m",
        "the runbook may take 11m, and its window is 10m: a 6m, c 3m, d 2m",
    ),
    "waypoints with pauses and checks": Case(
        "deadline-past-window",
        "",
        f"window: »2m29s\nchecks:\n  {FLOWS}\nsteps:\n- id: shift\n  do: traffic.shift\n"
        "  with: {pool: smtp, from: ord, to: iad, by: [50%, 100%], pause: 30s}\n  before: [flows]\n  after: [flows]",
        "2m29s",
        "2m30s",
        "the runbook may take 2m30s",
    ),
    "a timeout is above all": Case(
        "deadline-past-window",
        "",
        f"window: »110s\nchecks:\n  {FLOWS}\nsteps:\n- id: shift\n  do: traffic.shift\n"
        "  with: {pool: smtp, from: ord, to: iad, by: [50%, 100%], pause: 30s}\n  before: [flows]\n  after: [flows]",
        "before: [flows]",
        "timeout: 100s",
    ),
    "timeouts of what has no end": Case(
        "deadline-past-window",
        "",
        "window: »1h\nsteps:\n- {id: a, do: hold, with: {until: approval}, timeout: 40m}\n"
        "- {id: b, do: manual, with: {task: Call., undo: Call.}, timeout: 30m}",
        "40m",
        "30m",
        "the runbook may take 1h10m, and its window is 1h: a 40m, b 30m",
    ),
    "estimates of people": Case(
        "deadline-past-window",
        "",
        "window: »1h\nsteps:\n- {id: a, do: hold, with: {until: approval}, estimate: 40m}\n"
        "- {id: b, do: hold, with: {until: approval}, estimate: 30m}",
        "40m",
        "30m",
    ),
    "the way back": Case(
        "deadline-past-window",
        "",
        f"window: »4m29s\nchecks:\n  {FLOWS}\nsteps:\n- id: shift\n  do: traffic.shift\n"
        "  with: {pool: smtp, from: ord, to: iad, by: [50%, 100%], pause: 30s}\n  after: [flows]\n"
        "- {id: back, do: return, steps: [shift], before: [flows], after: [flows]}",
        "4m29s",
        "4m30s",
        "the runbook may take 4m30s, and its window is 4m29s: shift 2m, back 2m30s",
    ),
    "a check that says no time": Case(
        "deadline-past-window",
        "",
        f"window: »19s\nchecks:\n  {FLOWS.replace('over: 30s, ', '')}\n"
        "steps:\n- {id: prove, do: verify, checks: [flows, flows]}",
        "19s",
        "20s",  # two times the 10 s that such a check measures
        "prove 20s",
    ),
    "retries": Case(
        "deadline-past-window",
        "",
        f"window: »2m34s\nchecks:\n  {FLOWS}\nsteps:\n"
        "- {id: prove, do: verify, checks: [flows], retries: {times: 3, pause: 5s}}",
        "2m34s",
        "2m35s",  # four tries of 30 s, and pauses of 5, 10 and 20 s
        "prove 2m35s",
    ),
}


def told(examined: Examined) -> list[tuple[str, str, int, int]]:
    """What was found, and where."""
    return [(one.rule, one.at, one.problem.line, one.problem.column) for one in examined.findings]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rule(case: Case, look: Look) -> None:
    """The rule is found at each marked place, with its words and a remedy, and nothing else is."""
    examined = look(case.runbook())
    assert told(examined) == [(case.rule, case.at, line, column) for line, column in case.places()]
    assert case.says in str(examined.findings[0].problem)
    assert all(one.problem.remedy and one.severity == RULES[one.rule].severity for one in examined.findings)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_clean_twin(case: Case, look: Look) -> None:
    """Without what breaks the rule nothing is found."""
    assert told(look(case.clean())) == []


def test_every_rule_has_a_case() -> None:
    """No rule is without an example that breaks it; that of silences stands with the silences."""
    assert {case.rule for case in CASES.values()} == set(FINDERS) == set(RULES) - {"silence-unused"}


def test_failover_itself_at_the_emptied_site(look: Look, sites: Inventory) -> None:
    """Where failover runs is said in the inventory, and a runbook that empties that site depends on it."""
    text = f"runbook: case\nsteps:\n{DRAIN}\n"
    (finding,) = look(text, sites.model_copy(update={"control": Control(site="ord")})).findings
    assert (finding.rule, finding.at, finding.problem.line, finding.problem.column) == (
        "depends-on-emptied-site",
        "drain",
        3,
        text.split("\n")[2].index("ord") + 1,
    )
    assert "where failover itself stands with its journal" in finding.problem.message
    assert not look(text, sites.model_copy(update={"control": Control(site="edge")})).findings


def test_a_drain_of_a_host_may_empty_the_site_of_failover(look: Look, sites: Inventory) -> None:
    """The finding stands at the host that is drained last."""
    text = (
        "runbook: case\nsteps:\n- {id: one, do: smtp.drain, with: {pool: smtp, host: ord-1, deadline: 1m}}\n"
        "- {id: two, do: smtp.drain, with: {pool: smtp, host: ord-2, deadline: 1m}}\n"
    )
    (finding,) = look(text, sites.model_copy(update={"control": Control(site="ord")})).findings
    assert (finding.at, finding.problem.line, finding.problem.column) == (
        "two",
        4,
        text.split("\n")[3].index("ord") + 1,
    )


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("needs: []", "needs: []", "one"),  # side by side
        ("needs: []", "needs: [back]", ""),
        ("needs: [again]", "needs: []", ""),
        ("needs: []", "needs: [one]", "one"),
    ],
)
def test_hosts_that_may_be_out_at_the_same_time(look: Look, first: str, second: str, found: str) -> None:
    """All members of a site empty it where they can be out together, not where each must be back before the next."""
    text = (
        "runbook: case\nguards: [serving: {pool: smtp, at_least: 1}]\nsteps:\n"
        f"- {{id: one, do: smtp.drain, with: {{pool: bounces, host: ord-3, deadline: 1m}}, {first}}}\n"
        "- {id: back, do: return, steps: [one], needs: [one]}\n"
        f"- {{id: two, do: smtp.drain, with: {{pool: bounces, host: ord-5, deadline: 1m}}, {second}}}\n"
        "- {id: again, do: return, steps: [two], needs: [two]}\n"
    )
    assert [one.at for one in look(text).findings] == ([found] if found else [])


def test_a_site_emptied_twice_is_named_once(look: Look) -> None:
    """What is needed in both times is one finding; between them the site is there."""
    again = DRAIN.replace("id: drain", "id: again")
    text = (
        "runbook: case\nguards: [headroom: {pool: bounces, at_least: 1}]\nsteps:\n"
        f"{DRAIN}\n- {{id: back, do: return, steps: [drain]}}\n"
        "- {id: between, do: smtp.drain, with: {pool: bounces, host: ord-3, deadline: 1m}}\n"
        f"- {{id: reopen, do: return, steps: [between]}}\n{again}\n- {{id: back-again, do: return, steps: [again]}}\n"
    )
    assert [finding.at for finding in look(text).findings] == ["headroom bounces"]


@pytest.mark.parametrize("time", ["first", "second"])
def test_each_time_that_a_site_is_empty_counts(look: Look, time: str) -> None:
    """What is needed in one of two times only is found."""
    within = "- {id: within, do: smtp.drain, with: {pool: bounces, host: ord-3, deadline: 1m}}\n"
    again = DRAIN.replace("id: drain", "id: again")
    text = (
        f"runbook: case\nsteps:\n{DRAIN}\n{within if time == 'first' else ''}"
        f"- {{id: back, do: return, steps: [drain]}}\n{again}\n{within if time == 'second' else ''}"
        "- {id: back-again, do: return, steps: [again]}\n"
    )
    assert [finding.at for finding in look(text).findings] == ["within"]


def found_in(findings: tuple[Finding, ...]) -> set[str]:
    """The rules that were found."""
    return {finding.rule for finding in findings}


def test_what_when_leaves_out_may_ask_a_check(look: Look) -> None:
    """Which checks a step names that is left out of this run nobody can say, so none is called unused."""
    text = (
        "runbook: case\nparameters: {size: {type: choice, choices: [large, small]}}\n"
        f"checks:\n  {FLOWS}\nsteps:\n"
        "- {id: wait, do: hold, with: {until: 1m}}\n"
        "- {id: look, do: verify, checks: [flows], when: {param: size, is: large}}\n"
    )
    assert found_in(look(text, size="large").findings) == set()
    assert found_in(look(text, size="small").findings) == set()
