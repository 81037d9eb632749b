"""Includes, groups and ``when``: what plain steps they come to, and what each then needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchestrator.errors import InputError
from orchestrator.load.runbook import LoadedRunbook, load_runbook
from orchestrator.model.inventory import Inventory
from orchestrator.model.runbook import ReturnStep

Load = Callable[..., LoadedRunbook]

CHILD = """
runbook: child
parameters: {site: {type: site}, note: {type: string, default: ""}}
checks:
  flows: {probe: smtp, at: {pool: smtp, site: "${site}"}, over: 5s, expect: {success_rate: ">= 99%"}}
guards:
  - check: flows
  - serving: {pool: smtp, at_least: 1}
steps:
  - {id: look, do: verify, checks: [flows]}
  - {id: out, do: traffic.shift, with: {pool: smtp, from: ord, to: iad}, before: [flows], after: [flows]}
  - {id: drain, do: smtp.drain, with: {pool: smtp, site: ord}, after: [flows]}
"""


@pytest.fixture
def loaded(tmp_path: Path, inventory: Inventory) -> Load:
    """Loads the runbook of these steps, beside which ``child.yaml`` lies."""
    (tmp_path / "child.yaml").write_text(CHILD)

    def load(steps: str, more: str = "", given: Mapping[str, str] | None = None) -> LoadedRunbook:
        path = tmp_path / "main.yaml"
        path.write_text(f"runbook: main\n{more}\nsteps:\n{steps}")
        return load_runbook(path, inventory, given or {})

    return load


def wait(name: str, more: str = "") -> str:
    """A step that waits, as a line of a list."""
    return f"  - {{id: {name}, do: hold, with: {{until: 1s}}{', ' + more if more else ''}}}\n"


def needs(result: LoadedRunbook) -> dict[str, tuple[str, ...]]:
    """What each step waits for."""
    return {step.id: result.runbook.needs(step) for step in result.runbook.steps}


def test_plain_steps_need_the_one_above(loaded: Load) -> None:
    """A runbook without groups is left as it is."""
    assert needs(loaded(wait("a") + wait("b") + wait("c", "needs: [a]"))) == {"a": (), "b": ("a",), "c": ("a",)}


def test_a_group_runs_side_by_side(loaded: Load) -> None:
    """The steps of a group need what the group needs, and what follows needs all of them."""
    group = "  - id: both\n    do: parallel\n    steps:\n" + "".join("    " + wait(name) for name in "bc")
    assert needs(loaded(wait("a") + group + wait("d"))) == {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def test_order_within_a_group(loaded: Load) -> None:
    """Steps of a group may need each other; what follows waits for the last ones only."""
    group = "  - id: both\n    do: parallel\n    steps:\n"
    group += "    " + wait("b") + "    " + wait("c", "needs: [b]") + "    " + wait("d")
    assert needs(loaded(group + wait("e"))) == {"b": (), "c": ("b",), "d": (), "e": ("c", "d")}


def test_needs_of_a_group_by_name(loaded: Load) -> None:
    """To need a group is to need its last steps."""
    group = "  - id: both\n    do: parallel\n    steps:\n" + "".join("    " + wait(name) for name in "bc")
    assert needs(loaded(group + wait("x", "needs: []") + wait("y", "needs: [both, x]")))["y"] == ("b", "c", "x")


def test_an_include_brings_its_steps(loaded: Load) -> None:
    """Steps, checks and guards of an included runbook are there under the include's name, with its parameters in."""
    result = loaded(wait("a") + "  - {id: leave, do: include, runbook: child.yaml, with: {site: iad}}\n" + wait("b"))
    assert needs(result) == {
        "a": (),
        "leave.look": ("a",),
        "leave.out": ("leave.look",),
        "leave.drain": ("leave.out",),
        "b": ("leave.drain",),
    }
    out = result.runbook.step("leave.out")
    assert (out.before, out.after) == (("leave.flows",), ("leave.flows",))
    assert result.runbook.checks["leave.flows"].at.site == "iad"
    assert result.runbook.includes["leave"].parameters == {"site": "iad", "note": ""}
    assert result.runbook.guards[0].model_dump() == {"check": "leave.flows"}


def test_a_guard_of_several_files_is_one(loaded: Load) -> None:
    """A guard that the runbook has too is watched once."""
    guards = "guards: [{serving: {pool: smtp, at_least: 1}}]"
    result = loaded("  - {id: leave, do: include, runbook: child.yaml, with: {site: iad}}\n", guards)
    assert len(result.runbook.guards) == 2


def test_the_same_runbook_twice(loaded: Load) -> None:
    """A runbook can be included more than once, each time with other parameters."""
    include = "  - {{id: {0}, do: include, runbook: child.yaml, with: {{site: iad, note: {0}}}}}\n"
    result = loaded(include.format("one") + include.format("two"))
    assert result.runbook.includes["two"].parameters["note"] == "two"
    assert needs(result)["two.look"] == ("one.drain",)


def test_return_of_an_include(loaded: Load) -> None:
    """To return an include is to return all of it that can be, the last first."""
    result = loaded(
        "  - {id: leave, do: include, runbook: child.yaml, with: {site: iad}}\n"
        "  - {id: back, do: return, steps: [leave]}\n"
    )
    back = result.runbook.step("back")
    assert isinstance(back, ReturnStep)
    assert back.steps == ("leave.drain", "leave.out")


SIZE = "parameters: {size: {type: choice, choices: [small, large]}, count: {type: number, default: 3}}"


@pytest.mark.parametrize(("size", "steps"), [("small", ["b"]), ("large", ["a", "b"])])
def test_when(loaded: Load, size: str, steps: list[str]) -> None:
    """A step whose parameter has another value is left out, which is kept with the reason."""
    result = loaded(wait("a", "when: {param: size, is: large}") + wait("b"), SIZE, {"size": size})
    assert [step.id for step in result.runbook.steps] == steps
    assert bool(result.runbook.skipped) == (size == "small")
    assert result.unused[0].text == "count"


def test_what_is_left_out_passes_its_needs_on(loaded: Load) -> None:
    """Who needs a step that is left out needs what that would have needed."""
    steps = wait("a") + wait("b", "needs: []") + wait("c", "needs: [a], when: {param: count, is: 4}")
    assert needs(loaded(steps + wait("d", "needs: [b, c]"), SIZE, {"size": "small"}))["d"] == ("b", "a")


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_step_left_out_of_a_group_leaves_no_hole(loaded: Load, size: str) -> None:
    """What follows a group waits for what its steps waited for, also for those that are left out."""
    steps = wait("a") + wait("ask", "needs: []") + "  - id: g\n    do: parallel\n    needs: [a]\n    steps:\n"
    steps += "    " + wait("d") + "    " + wait("c", "needs: [ask], when: {param: size, is: large}")
    found = needs(loaded(steps + wait("e"), SIZE, {"size": size}))
    assert set(found["e"]) == ({"d", "c"} if size == "large" else {"d", "ask", "a"})


def test_a_group_waits_as_a_whole(loaded: Load) -> None:
    """A step of a group that waits for something else waits for what the group waits for, too."""
    steps = wait("a") + wait("ask") + "  - id: g\n    do: parallel\n    needs: [ask]\n    steps:\n"
    assert set(needs(loaded(steps + "    " + wait("c", "needs: [a]")))["c"]) == {"a", "ask"}


@pytest.mark.parametrize("more", ["", "    needs:\n"])
def test_needs_with_nothing_behind_it_is_left_out(loaded: Load, more: str) -> None:
    """A blank 'needs' is the step above, not none."""
    group = f"  - id: g\n    do: parallel\n{more}    steps:\n    " + wait("c", "needs: ")
    assert needs(loaded(wait("ask") + group))["c"] == ("ask",)


def test_a_neighbour_left_out_changes_no_order(loaded: Load) -> None:
    """Beside a step that is left out the steps of a group stay side by side."""
    group = "  - id: g\n    do: parallel\n    steps:\n    " + wait("a")
    group += "    " + wait("b", "when: {param: size, is: large}") + "    " + wait("c")
    assert needs(loaded(group, SIZE, {"size": "small"})) == {"a": (), "c": ()}


def test_a_return_goes_against_the_needs(loaded: Load, tmp_path: Path) -> None:
    """An include is returned in the order of its needs, whatever stands first in its file."""
    child = CHILD.replace("{id: drain,", "{id: drain, needs: [look],").replace("{id: out,", "{id: out, needs: [drain],")
    (tmp_path / "child.yaml").write_text(child)
    result = loaded(
        "  - {id: leave, do: include, runbook: child.yaml, with: {site: iad}}\n"
        "  - {id: back, do: return, steps: [leave]}\n"
    )
    back = result.runbook.step("back")
    assert isinstance(back, ReturnStep)
    assert back.steps == ("leave.out", "leave.drain")


@pytest.mark.parametrize("written", ["3", "3.0", '"3"'])
def test_when_compares_values(loaded: Load, written: str) -> None:
    """A number is the same however it is written."""
    steps = wait("a", f"when: {{param: count, is: {written}}}")
    assert not loaded(steps, SIZE, {"size": "small"}).runbook.skipped


def test_an_include_that_is_left_out(loaded: Load) -> None:
    """A whole include can be left out; none of its steps remains, and a return of it goes too."""
    result = loaded(
        wait("a")
        + "  - {id: leave, do: include, runbook: child.yaml, with: {site: iad}, when: {param: size, is: large}}\n"
        + "  - {id: back, do: return, steps: [leave]}\n"
        + wait("b"),
        SIZE,
        {"size": "small"},
    )
    assert [step.id for step in result.runbook.steps] == ["a", "b"]
    assert not result.runbook.includes
    assert not result.runbook.checks
    assert not result.runbook.guards
    assert set(result.runbook.skipped) >= {"leave.out", "back"}


def test_a_plan_b_of_an_include_is_called_by_its_name(loaded: Load, tmp_path: Path) -> None:
    """The steps of a plan B are called like those beside them."""
    child = "runbook: reboot\nsteps:\n  - id: a\n    do: manual\n    with: {task: go}\n"
    child += "    plan_b: [{id: b, do: manual, with: {task: x}}]\n"
    (tmp_path / "reboot.yaml").write_text(child)
    result = loaded("  - {id: one, do: include, runbook: reboot.yaml}\n")
    assert result.runbook.steps[0].plan_b[0].id == "one.b"


def test_a_bound_runbook_is_read_back(loaded: Load) -> None:
    """What a plan keeps of a runbook is the same runbook when it is read again."""
    result = loaded("  - {id: leave, do: include, runbook: child.yaml, with: {site: iad}}\n").runbook
    assert type(result).model_validate_json(result.model_dump_json(by_alias=True)) == result


def test_thousand_steps_that_are_left_out(loaded: Load) -> None:
    """However many steps in a row are left out, what they needed is found."""
    steps = wait("a") + "".join(wait(f"s{i}", "when: {param: size, is: large}") for i in range(1000)) + wait("z")
    assert needs(loaded(steps, SIZE, {"size": "small"})) == {"a": (), "z": ("a",)}


def test_includes_have_a_limit(loaded: Load, tmp_path: Path) -> None:
    """Runbooks that include each other ever deeper are refused, and not read for ever."""
    for depth in range(8):
        step = f"{{id: down, do: include, runbook: deep{depth + 1}.yaml}}"
        (tmp_path / f"deep{depth}.yaml").write_text(f"runbook: deep\nsteps:\n  - {step}\n")
    with pytest.raises(InputError, match="nested deeper than 5 levels"):
        loaded("  - {id: down, do: include, runbook: deep0.yaml}\n")


def test_needs_have_a_limit(loaded: Load) -> None:
    """Wide groups in a row, of which each step needs every step of the one before, are refused before they cost."""
    steps = ""
    for group in "ab":
        steps += f"  - id: {group}\n    do: parallel\n    steps:\n"
        steps += "".join("    " + wait(f"{group}{number}") for number in range(300))
    with pytest.raises(InputError, match="more than 20000 needs"):
        loaded(steps)


def test_values_stand_in_for_parameters(tmp_path: Path, inventory: Inventory) -> None:
    """Without any parameter a runbook can be looked at: each gets a value of its type, two sites are two."""
    path = tmp_path / "main.yaml"
    path.write_text(
        "runbook: main\nparameters: {site: {type: site}, to: {type: site}, pace: {type: duration}, n: {type: number},\n"
        "  p: {type: percent}, pool: {type: pool}, host: {type: host}, c: {type: choice, choices: [x, y]},\n"
        "  s: {type: secret}, t: {type: string}}\nsteps:\n"
        '  - {id: out, do: traffic.shift, with: {pool: "${pool}", from: "${site}", to: "${to}", pause: "${pace}"}}\n'
    )
    result = load_runbook(path, inventory, {"n": "2"}, stand_ins=True)
    assert result.parameters == {
        "site": "ord", "to": "iad", "pace": 60.0, "n": 2, "p": 0.1, "pool": "smtp", "host": "mx1", "c": "x",
        "s": "env:SECRET", "t": "text",
    }  # fmt: skip
