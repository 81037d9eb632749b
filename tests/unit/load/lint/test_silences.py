"""Silences: what they cover, and when they are of no use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.load.lint import Examined
from tests.unit.load.lint.conftest import Look

TWO_DRAINS = """runbook: case
guards: [serving: {pool: smtp, at_least: 1}]
steps:
- {id: first, do: smtp.drain, with: {pool: smtp, host: ord-1}}
- {id: second, do: smtp.drain, with: {pool: smtp, host: ord-2}}
silence:
"""
CHILD = """runbook: child
guards: [headroom: {pool: bounces, at_least: 1}]
steps:
- {id: drain, do: smtp.drain, with: {pool: smtp, site: ord}}
"""
PARENT = """runbook: parent
steps:
- {id: out, do: include, runbook: child.yaml}
- {id: own, do: smtp.drain, with: {pool: smtp, host: iad-1}}
"""


def told(examined: Examined) -> list[str]:
    """What was found, short."""
    return [f"{one.rule} {one.at}".strip() for one in examined.findings]


def test_a_silence_covers_its_step(look: Look) -> None:
    """The finding at the named step is left out, and kept with its reason; that at another step stays."""
    examined = look(TWO_DRAINS + "- {rule: drain-without-deadline, at: first, reason: no hurry}\n")
    assert told(examined) == ["drain-without-deadline second"]
    (silenced,) = examined.silenced
    assert (silenced.finding.at, silenced.reason) == ("first", "no hurry")


def test_a_silence_without_a_name_covers_its_file(look: Look) -> None:
    """Every finding of the rule in the file is left out."""
    examined = look(TWO_DRAINS + "- {rule: drain-without-deadline, reason: no hurry}\n")
    assert told(examined) == []
    assert [one.finding.at for one in examined.silenced] == ["first", "second"]


def test_errors_can_be_silenced(look: Look) -> None:
    """An error is silenced like a warning."""
    text = "runbook: case\nsteps:\n- {id: out, do: smtp.drain, with: {pool: bounces, site: ord, deadline: 1m}}\n"
    assert told(look(text)) == ["depends-on-emptied-site out"]
    assert told(look(text + "silence: [{rule: depends-on-emptied-site, at: out, reason: it stays up}]\n")) == []


@pytest.mark.parametrize("at", ["at: call, ", "", "at: nobody, ", "at: skipped, "])
def test_what_no_plan_allows_cannot_be_silenced(look: Look, at: str) -> None:
    """A silence of no-plan-b leaves the error, and is itself found, with why; whatever it names."""
    text = (
        "runbook: case\nparameters: {size: {type: choice, choices: [large, small], default: small}}\nsteps:\n"
        "- {id: call, do: manual, with: {task: Call.}}\n"
        "- {id: skipped, do: manual, with: {task: Call.}, when: {param: size, is: large}}\n"
        f"silence: [{{rule: no-plan-b, {at}reason: talk undoes itself}}]\n"
    )
    error, useless = look(text).findings
    assert (error.rule, error.severity, error.at) == ("no-plan-b", "error", "call")
    assert (useless.rule, useless.problem.line) == ("silence-unused", 6)
    assert useless.problem.message == "the silence of 'no-plan-b' is of no use: no plan is made of such a step"


@pytest.mark.parametrize(
    ("silence", "message", "remedy"),
    [
        (
            "{rule: drain-without-deadlin, at: first, reason: x}",
            "the silence of 'drain-without-deadlin' is of no use: there is no such rule",
            "did you mean 'drain-without-deadline'?",
        ),
        (
            "{rule: ramp-too-steep, at: frist, reason: x}",
            "the silence of 'ramp-too-steep' is of no use: there is no 'frist'",
            "did you mean 'first'?",
        ),
        (
            "{rule: ramp-too-steep, at: first, reason: x}",
            "the silence of 'ramp-too-steep' at 'first' is of no use: the rule finds nothing there",
            "take it out",
        ),
        (
            "{rule: ramp-too-steep, reason: x}",
            "the silence of 'ramp-too-steep' is of no use: the rule finds nothing there",
            "take it out",
        ),
    ],
)
def test_a_silence_of_no_use(look: Look, silence: str, message: str, remedy: str) -> None:
    """A silence that silences nothing is found where it stands, with why."""
    text = f"{TWO_DRAINS}- {{rule: drain-without-deadline, reason: no hurry}}\n- {silence}\n"
    (finding,) = look(text).findings
    assert (finding.rule, finding.severity, finding.problem.line, finding.problem.column) == (
        "silence-unused",
        "warning",
        8,
        3,
    )
    assert (finding.problem.message, finding.problem.remedy) == (message, remedy)


def test_a_silence_of_no_use_can_be_meant_so(look: Look) -> None:
    """Where a finding comes and goes with the parameters its silence is silenced too, whatever stands first."""
    useless = "- {rule: ramp-too-steep, at: first, reason: x}\n"
    meant_so = "- {rule: silence-unused, at: first, reason: at the other site it is needed}\n"
    drains = "- {rule: drain-without-deadline, reason: no hurry}\n"
    assert told(look(TWO_DRAINS + drains + useless + meant_so)) == []
    assert told(look(TWO_DRAINS + drains + meant_so + useless)) == []
    assert told(look(TWO_DRAINS + drains + meant_so)) == ["silence-unused first"]


def test_what_when_leaves_out_is_not_blamed(look: Look) -> None:
    """A silence at a step that is not part of this run, or of a whole file with such a step, is of no use only now."""
    text = (
        "runbook: case\nparameters: {size: {type: choice, choices: [large, small], default: small}}\nsteps:\n"
        "- {id: wait, do: hold, with: {until: 1m}}\n"
        "- {id: drain, do: smtp.drain, with: {pool: smtp, host: ord-1}, when: {param: size, is: large}}\nsilence: "
    )
    for silence in (
        "{rule: drain-without-deadline, at: drain, reason: x}",
        "{rule: drain-without-deadline, reason: x}",
    ):
        assert told(look(f"{text}[{silence}]\n")) == []
        assert told(look(f"{text}[{silence}]\n", size="large")) == []
    assert told(look(f"{text}[{{rule: drain-without-deadline, at: wait, reason: x}}]\n")) == ["silence-unused wait"]


FOUND_IN_CHILD = ["depends-on-emptied-site headroom bounces", "drain-without-deadline out.drain"]


def test_findings_of_an_include_stand_in_its_file(look: Look, file: Callable[..., Path]) -> None:
    """What an included runbook does not have is found there, under the bound name; files come in their order."""
    child = file(CHILD, "child.yaml")
    examined = look(PARENT)
    assert told(examined) == [*FOUND_IN_CHILD, "drain-without-deadline own"]
    assert [one.problem.file == str(child) for one in examined.findings] == [True, True, False]


@pytest.mark.parametrize(
    ("in_child", "in_parent", "left"),
    [
        (
            "{rule: drain-without-deadline, reason: x}",
            "",
            ["depends-on-emptied-site headroom bounces", "drain-without-deadline own"],
        ),
        (
            "{rule: drain-without-deadline, at: drain, reason: x}",
            "",
            ["depends-on-emptied-site headroom bounces", "drain-without-deadline own"],
        ),
        (
            "{rule: depends-on-emptied-site, at: headroom bounces, reason: x}",
            "",
            ["drain-without-deadline out.drain", "drain-without-deadline own"],
        ),
        (
            "{rule: depends-on-emptied-site, reason: x}",
            "",
            ["drain-without-deadline out.drain", "drain-without-deadline own"],
        ),
        ("", "{rule: drain-without-deadline, reason: x}", FOUND_IN_CHILD),
        (
            "",
            "{rule: drain-without-deadline, at: out.drain, reason: x}",
            ["depends-on-emptied-site headroom bounces", "drain-without-deadline own"],
        ),
        (
            "",
            "{rule: drain-without-deadline, at: out, reason: x}",
            ["depends-on-emptied-site headroom bounces", "drain-without-deadline own"],
        ),
        (
            "{rule: drain-without-deadline, at: own, reason: x}",
            "",
            [*FOUND_IN_CHILD, "silence-unused out.own", "drain-without-deadline own"],
        ),
    ],
)
def test_a_silence_speaks_of_the_names_of_its_file(
    look: Look, file: Callable[..., Path], in_child: str, in_parent: str, left: list[str]
) -> None:
    """In an included runbook a silence means its own names; the including one can name them, or the include."""
    file(f"{CHILD}silence: [{in_child}]\n", "child.yaml")
    assert told(look(f"{PARENT}silence: [{in_parent}]\n")) == left


def test_a_file_that_is_included_twice_uses_its_silence_once(look: Look, file: Callable[..., Path]) -> None:
    """A silence that is of use in one of two inclusions is of use."""
    file(
        "runbook: child\nparameters: {to: {type: site}}\n"
        'checks: {gone: {probe: smtp, at: {pool: ghost, site: "${to}"}, expect: {success_rate: ">= 99%"}}}\n'
        "steps:\n- {id: look, do: verify, checks: [gone]}\n"
        "silence: [{rule: depends-on-emptied-site, at: gone, reason: x}]\n",
        "child.yaml",
    )
    text = (
        "runbook: parent\nsteps:\n- {id: drain, do: smtp.drain, with: {pool: smtp, site: ord, deadline: 1m}}\n"
        "- {id: a, do: include, runbook: child.yaml, with: {to: ord}}\n"
        "- {id: b, do: include, runbook: child.yaml, with: {to: iad}}\n"
    )
    examined = look(text)
    assert told(examined) == []
    assert [one.finding.at for one in examined.silenced] == ["b.gone"]
