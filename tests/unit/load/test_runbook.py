"""Runbooks: parameters, and the shipped files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.inventory import load_inventory
from orchestrator.load.runbook import LoadedRunbook, load_runbook
from orchestrator.model.check import SmtpCheck
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import DrainStep, HoldStep, ReturnStep, ShiftStep

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "runbooks" / "provider-maintenance.yaml"
INVENTORIES = sorted((ROOT / "inventories").glob("*.yaml"))

TYPED = """
runbook: trial
summary: "${text} ${count} ${ratio} ${wait} ${share} ${where} ${which} ${who}"
parameters:
  text: {type: string, default: hello}
  count: {type: number, default: 3}
  ratio: {type: number, default: 1.5}
  wait: {type: duration, default: 1h30m}
  share: {type: percent, default: 25%}
  where: {type: site, default: ord}
  which: {type: pool, default: smtp}
  who: {type: host, default: mx3}
checks:
  flows: {probe: smtp, at: {pool: "${which}", site: "${where}"}, with: {concurrency: "${count}"},
          over: "${wait}", expect: {success_rate: ">= ${share}"}}
guards:
  - headroom: {pool: smtp, at_least: "${ratio}"}
steps:
  - {id: shift, do: traffic.shift, with: {pool: smtp, from: ord, to: iad, by: ["${share}", 100%], pause: "${wait}"}}
"""


def problems_of(path: Path, inventory: Inventory, given: dict[str, str]) -> list[str]:
    """Everything that is wrong, without the file's name."""
    with pytest.raises(InputError) as caught:
        load_runbook(path, inventory, given)
    return [str(problem).removeprefix(str(path)) for problem in caught.value.problems]


def loaded(path: Path, inventory: Inventory, **given: str) -> LoadedRunbook:
    """The runbook."""
    return load_runbook(path, inventory, given)


def test_parameters_have_types(file: Callable[..., Path], inventory: Inventory) -> None:
    """Each type is inserted as its value: seconds, a fraction, a number; inside text as it was written."""
    result = loaded(file(TYPED), inventory)
    assert result.parameters == {
        "text": "hello",
        "count": 3,
        "ratio": 1.5,
        "wait": 5400.0,
        "share": 0.25,
        "where": "ord",
        "which": "smtp",
        "who": "mx3",
    }
    assert result.runbook.summary == "hello 3 1.5 1h30m 25% ord smtp mx3"
    check, step = result.runbook.checks["flows"], result.runbook.step("shift")
    assert isinstance(check, SmtpCheck)
    assert isinstance(step, ShiftStep)
    assert (check.over, check.with_.concurrency, str(check.expect["success_rate"])) == (5400.0, 3, ">= 25%")
    assert (step.with_.by, step.with_.pause) == ((0.25, 1.0), 5400.0)


def test_what_is_given_replaces_the_default(file: Callable[..., Path], inventory: Inventory) -> None:
    """Given text is read as the parameter's type; a plain number is seconds."""
    result = loaded(file(TYPED), inventory, wait="90", share="0.001%", count="+4", ratio="2", where="iad")
    assert [result.parameters[name] for name in ("wait", "share", "count", "ratio", "where")] == [
        90.0,
        pytest.approx(1e-5),
        4,
        2,
        "iad",
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("wait", "soon", "parameter wait: 'soon' is not a duration — write for example 30s, 10m or 1h30m"),
        ("wait", "-5", "parameter wait: '-5' is not a duration — write for example 30s, 10m or 1h30m"),
        ("wait", "nan", "parameter wait: 'nan' is not a duration — write for example 30s, 10m or 1h30m"),
        ("share", "half", "parameter share: 'half' is not a percentage — write for example 25%"),
        ("share", "101%", "parameter share: '101%' is more than 100% — write a percentage from 0% to 100%"),
        ("ratio", "inf", "parameter ratio: 'inf' is not a number — write for example 3 or 1.5"),
        ("where", "orf", "parameter where: there is no site 'orf' — did you mean 'ord'?"),
        ("where", "moon", "parameter where: there is no site 'moon' — there are these sites: ord, iad, fra"),
        ("which", "pop", "parameter which: there is no pool 'pop' — there are these pools: smtp, quiet"),
        ("who", "web", "parameter who: there is no host 'web' — there are these hosts: mx1, mx2, mx3, mx4"),
        ("wehre", "ord", "parameter wehre: the runbook has no such parameter — did you mean 'where'?"),
        ("", "ord", "parameter : the runbook has no such parameter — there are these parameters: "),
    ],
)
def test_wrong_parameter(file: Callable[..., Path], inventory: Inventory, name: str, text: str, expected: str) -> None:
    """A wrong value is one problem, without a file, and nothing that uses the parameter is blamed."""
    (problem,) = problems_of(file(TYPED), inventory, {name: text})
    assert problem.startswith(expected)


def test_missing_parameters(inventory: Inventory) -> None:
    """Each required parameter that is not given is named, with its help, what exists and how to give it."""
    assert problems_of(SHIPPED, inventory, {"site": "ord"}) == [
        "parameter to: it is missing — give it as -p to=VALUE: the site that takes its traffic, one of ord, iad, fra"
    ]


def test_a_mistyped_name_is_not_missing_too(inventory: Inventory) -> None:
    """The parameter that was meant is not reported as missing."""
    assert problems_of(SHIPPED, inventory, {"site": "ord", "too": "iad"}) == [
        "parameter too: the runbook has no such parameter — did you mean 'to'?"
    ]


def test_problems_of_parameters_and_of_the_file_come_together(file: Callable[..., Path], inventory: Inventory) -> None:
    """What was given comes first, then the file's own mistakes; unknown values hide no others."""
    text = TYPED.replace("id: shift,", "id: shift, after: [flow],").replace("pause:", "pase:")
    problems = problems_of(file(text), inventory, {"wait": "soon", "where": "moon"})
    assert [problem.partition(" — ")[0] for problem in problems] == [
        "parameter wait: 'soon' is not a duration",
        "parameter where: there is no site 'moon'",
        ":19:25: cannot use step 'shift': there is no check 'flow'",
        ":19:114: cannot read 'with' of step 'shift': unknown key 'pase'",
    ]


def test_the_same_site_twice_by_parameters(inventory: Inventory) -> None:
    """The rules see what was inserted: a site cannot be emptied into itself."""
    problems = problems_of(SHIPPED, inventory, {"site": "ord", "to": "ord"})
    assert any("moves traffic from 'ord' to 'ord'" in problem for problem in problems)


def test_a_default_that_is_not_used_may_name_what_is_not_there(file: Callable[..., Path], inventory: Inventory) -> None:
    """A runbook's default site need not exist in every inventory, as long as another one is given."""
    text = TYPED.replace("default: ord", "default: lhr")
    assert loaded(file(text), inventory, where="ord").parameters["where"] == "ord"
    assert problems_of(file(text), inventory, {}) == [
        (
            ":10:32: cannot read 'default' of parameter 'where': there is no site 'lhr' — "
            "there are these sites: ord, iad, fra"
        )
    ]


def test_no_is_a_site_like_any_other(file: Callable[..., Path]) -> None:
    """A Norwegian site is not false, and a time is not a number."""
    inventory = load_inventory(
        [
            file(
                "sites: {no: {}, 22:30: {}}\npools: {smtp: {protocol: smtp, address: 'a:25', "
                "switch: {driver: haproxy, socket: s, backend: b}, test_mail: {sender: a, recipient: b}, "
                "sites: {no: {members: [on], capacity: 1 sessions, address: 'a:25'}}}}\n",
                "inventory.yaml",
            )
        ],
        {},
    )
    assert list(inventory.sites) == ["no", "22:30"]
    assert inventory.pools["smtp"].members("no") == ("on",)


def test_shipped_runbook_loads(inventory: Inventory) -> None:
    """The runbook that ships is sound, and does what its comments say."""
    result = load_runbook(SHIPPED, inventory, {"site": "ord", "to": "iad", "deadline": "90s"})
    runbook = result.runbook
    assert [step.id for step in runbook.steps] == ["escape", "shift", "drain", "window", "back"]
    assert list(runbook.parameters) == ["site", "to", "pause", "observe", "deadline", "settle"]
    stated = {"site": "ord", "to": "iad", "deadline": 90.0}
    assert result.parameters == {**stated, "pause": 5.0, "observe": 10.0, "settle": 10.0}
    shift, drain, window, back = (runbook.step(name) for name in ("shift", "drain", "window", "back"))
    assert isinstance(shift, ShiftStep)
    assert (shift.with_.from_, shift.with_.to, shift.with_.by) == ("ord", "iad", (0.05, 0.25, 1.0))
    assert isinstance(drain, DrainStep)
    assert (drain.with_.site, drain.with_.deadline, drain.with_.settle) == ("ord", 90.0, 10.0)
    assert isinstance(window, HoldStep)
    assert isinstance(back, ReturnStep)
    assert (back.steps, back.on_failure, runbook.needs(back)) == (("drain", "shift"), "hold", ("window",))


@pytest.mark.parametrize("path", INVENTORIES, ids=lambda path: path.name)
def test_shipped_inventory_loads(path: Path) -> None:
    """Each inventory is sound with a lab that answers, and the shipped runbook fits it both ways."""

    def lab(name: str) -> str:
        return "127.0.0.1:2525"

    inventory = load_inventory([path], {"lab": lab, "env": lab})
    for site, to in (("ord", "iad"), ("iad", "ord")):
        assert load_runbook(SHIPPED, inventory, {"site": site, "to": to}).runbook.runbook == "provider-maintenance"
